"""Command-line flags in gflags' forms: `-flag=v`, `--flag v`, `--switch`, `--noswitch`.

Flags stand anywhere among the other arguments; `--` ends them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from caffe.commands.registration import UsageError
from caffe.engine import log
from caffe.engine.formats.lenient import set_lenient
from caffe.engine.registry import nearest

TRUE, FALSE = ("1", "t", "true", "y", "yes"), ("0", "f", "false", "n", "no")


@dataclass(frozen=True)
class Flag:
    """A flag: its name, its type (bool, int, float or str), its default and what it is for."""

    name: str
    kind: type
    default: bool | int | float | str | None
    help: str

    def read(self, text: str) -> bool | int | float | str:
        """The value that `text` means; UsageError if it means none."""
        try:
            if self.kind is bool:
                return {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False)}[text.lower()]
            if self.kind is int:
                return int(text, 16 if text.lower().startswith("0x") else 10)
            return self.kind(text)
        except (ValueError, KeyError):
            raise UsageError(f"--{self.name} takes {_KINDS[self.kind]}, got "
                             f"{text!r}") from None


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}

GLOG = (
    Flag("logtostderr", bool, None, "log to stderr only, whatever log_dir says"),
    Flag("log_dir", str, None, "write a log file in this folder, too"),
    Flag("minloglevel", int, None, "drop lines below: 0 info, 1 warning, 2 error, 3 fatal"),
)
PLUGIN = Flag("plugin", str, None, "module or .py file with layer types of your own (repeatable)")
LENIENT = Flag("lenient", bool, False, "an unknown field in a prototxt is a warning, not an error")
WITHOUT_EFFECT = (
    *(Flag(name, bool, None, "") for name in (
        "alsologtostderr", "colorlogtostderr", "drop_log_memory", "log_prefix",
        "stop_logging_if_full_disk", "symbolize_stacktrace")),
    *(Flag(name, int, None, "") for name in (
        "logbuflevel", "logbufsecs", "logemaillevel", "max_log_size", "stderrthreshold", "v")),
    *(Flag(name, str, None, "") for name in (
        "alsologtoemail", "log_backtrace_at", "log_link", "logmailer", "vmodule")),
)


def parse(argv: Sequence[str], flags: Sequence[Flag], usage: str,
          version: str = "") -> tuple[SimpleNamespace, list[str]]:
    """The values of all flags by name (glog's among them), and the other arguments.

    --help and --version print and leave by SystemExit. The log is set up as glog's flags say, and
    --lenient takes effect.
    """
    known = {flag.name: flag for flag in (*flags, LENIENT, *GLOG, *WITHOUT_EFFECT)}
    values: dict[str, Any] = {name: flag.default for name, flag in known.items()}
    others: list[str] = []
    waiting = list(argv)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return _configured(values), others + waiting
        if not word.startswith("-") or word == "-":
            others.append(word)
            continue
        name, equals, text = word.lstrip("-").partition("=")
        _leave(name, flags, usage, version)
        flag, text = _find(known, name, text if equals else None, waiting)
        values[flag.name] = flag.read(text)
    return _configured(values), others


def _find(known: dict[str, Flag], name: str, text: str | None,
          waiting: list[str]) -> tuple[Flag, str]:
    """The flag called `name`, and the text of its value: given, implied or the next argument."""
    plain = name.replace("-", "_")
    negated = known.get(plain.removeprefix("no")) if plain.startswith("no") else None
    if plain not in known and negated and negated.kind is bool and text is None:
        return negated, "false"
    if plain not in known:
        raise UsageError(f"unknown flag --{name}"
                         f"{nearest(plain, known, '--help lists the flags')}")
    flag = known[plain]
    if text is None and flag.kind is bool:
        text = "true"
    if text is None and not waiting:
        raise UsageError(f"--{flag.name} needs a value: {flag.help}")
    return flag, waiting.pop(0) if text is None else text


def _leave(name: str, flags: Sequence[Flag], usage: str, version: str) -> None:
    if name in ("help", "helpshort", "helpfull", "h"):
        print(help_text(flags, usage))
        raise SystemExit(0)
    if name == "version" and version:
        print(version)
        raise SystemExit(0)


def names(text: str) -> list[str]:
    """'a,b' -> ['a', 'b']; nothing for ''"""
    return [name.strip() for name in text.split(",") if name.strip()]


def help_text(flags: Sequence[Flag], usage: str) -> str:
    """Usage, then every flag with its default; glog's at the end."""
    own = ["flags:\n" + _table((*flags, PLUGIN, LENIENT))]
    rest = "The other flags of glog are accepted and have no effect."
    return "\n\n".join([usage, *own, f"flags of the log:\n{_table(GLOG)}\n\n{rest}"])


def _table(flags: Sequence[Flag]) -> str:
    lines = []
    for flag in flags:
        default = "" if flag.default in (None, "", False) else f" (default {flag.default})"
        lines.append(textwrap.fill(f"  --{flag.name:17}{flag.help}{default}", width=100,
                                   subsequent_indent=" " * 21))
    return "\n".join(lines)


def _configured(values: dict[str, Any]) -> SimpleNamespace:
    log.configure(values["minloglevel"], values["logtostderr"], values["log_dir"])
    if values["lenient"]:
        set_lenient()
    return SimpleNamespace(**values)
