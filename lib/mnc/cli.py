# PYTHON_ARGCOMPLETE_OK
"""The `mnc` command; tools/*.py are its parts under their old names.

The arguments are read here, without torch: help and mistakes in them answer at once. What a command
runs in is mnc.commands.session; what commands there are, mnc.commands.registration.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata

from mnc.commands.registration import COMMANDS, Parser, fill, like
from mnc.config import ConfigError
from mnc.set_names import NAMES

FLAGS = ("-h", "--help", "--version")           # before any command


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mnc COMMAND …`; what a user can put right ends with a line on stderr and status 1."""
    words = sys.argv[1:] if argv is None else list(argv)
    if argv is None and "_ARGCOMPLETE" in os.environ:
        complete()
    try:
        args = arguments(words)
        from mnc.commands import session  # loads torch
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return session.run(args)


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What is given; a command may say, by `going_on`, what stands for what is not.

    Raises ConfigError where it cannot.
    """
    args = parsed(words)
    defaults = args.going_on(args) if hasattr(args, "going_on") else {}
    check_data_sets(args)
    if not defaults:
        return args
    again = parsed(words, defaults)
    again.set_cfgs = [*defaults.get("set_cfgs", ()), *args.set_cfgs]
    return again


def check_data_sets(args: argparse.Namespace) -> None:
    """ConfigError for a mistyped data set: before torch is loaded, which takes seconds.

    Names that are like none that comes along are left to mnc.data, and so are all where a plugin
    or this process may have registered others.
    """
    if getattr(args, "plugin", None) or "mnc.data.imdb" in sys.modules:
        return
    for given in (getattr(args, "imdb", None), getattr(args, "val", None)):
        for name in given.split("+") if isinstance(given, str) else ():
            hint = "" if name in NAMES or os.path.exists(name) else like(name, NAMES)
            if hint and ":" not in name:
                raise ConfigError(f"unknown data set \"{name}\"{hint}")


def parsed(words: Sequence[str],
           defaults: Mapping[str, object] | None = None) -> argparse.Namespace:
    """The arguments; what is not known ends the process, and what is like it is named.

    defaults: in place of the flags' own.
    """
    command = words[0] if words else None
    top, own = parsers(command)
    own.set_defaults(**(defaults or {}))
    if command and not command.startswith("-") and command not in COMMANDS:
        top.error(f"no command {command!r}{like(command, list(COMMANDS))}")
    if command and command[:1] == "-" and not any(flag.startswith(command) for flag in FLAGS):
        top.error(f"unrecognized arguments: {command}{like(command, FLAGS)}")
    args, unknown = top.parse_known_args(words)
    if unknown:
        known = re.findall(r"--[\w-]+", own.format_usage())
        own.error(f"unrecognized arguments: {' '.join(unknown)}"
                  f"{like(unknown[0].partition('=')[0], known)}")
    return args


def parsers(command: str | None = None) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """(the parser of `mnc`, that of this command in it); of other commands it knows the names."""
    top = own = Parser(prog="mnc", description="Multi-task Network Cascades")
    top.add_argument("--version", action="version", version=f"mnc {version()}")
    names = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, known in COMMANDS.items():
        sub = names.add_parser(name, help=known.summary, description=known.summary)
        if name == command:
            own = sub
            fill(sub, name)
    return top, own


def version() -> str:
    """Of the installed distribution."""
    try:
        return metadata.version("mnc-caffe")
    except metadata.PackageNotFoundError:
        return "(not installed: run from a checkout)"


def complete() -> None:
    """Answer the shell's Tab, where the package argcomplete is installed; else do nothing."""
    try:
        import argcomplete
    except ImportError:
        return
    line = os.environ.get("COMP_LINE", "").split()
    argcomplete.autocomplete(parsers(line[1] if len(line) > 1 else None)[0])


if __name__ == "__main__":
    sys.exit(main())
