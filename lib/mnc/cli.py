"""The `mnc` command; tools/*.py are its parts under their old names.

The arguments are read here, without torch: help and mistakes in them answer at once. What a command
runs in is mnc.commands.session; what commands there are, mnc.commands.registration.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mnc.commands.registration import COMMANDS, fill


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mnc COMMAND …`; what a user can put right ends with a line on stderr and status 1."""
    words = sys.argv[1:] if argv is None else list(argv)
    args = parser(words[0] if words else None).parse_args(words)
    from mnc.commands import session  # loads torch

    return session.run(args)


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of `mnc`, with the flags of this command; of the others it knows the names."""
    top = argparse.ArgumentParser(prog="mnc", description="Multi-task Network Cascades")
    names = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, known in COMMANDS.items():
        sub = names.add_parser(name, help=known.summary, description=known.summary)
        if name == command:
            fill(sub, name)
    return top


if __name__ == "__main__":
    sys.exit(main())
