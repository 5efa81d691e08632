"""How a command becomes known: `caffe train` and its like, and the tools beside it.

An ACTION runs with the flags of the `caffe` command; a TOOL reads its own arguments.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from caffe.engine import plugins
from caffe.engine.errors import CaffeError
from caffe.engine.registry import Registry


class UsageError(CaffeError):
    """A command line that cannot be followed."""


ACTIONS = Registry("command", UsageError)       # name -> run(flags) -> exit status
TOOLS = Registry("tool", UsageError)            # name -> main(argv=None) -> exit status

Main = Callable[..., int]

_OWN = str(Path(__file__).resolve().parents[1])


def tool(name: str) -> Callable[[Callable[[Sequence[str]], int]], Main]:
    """Decorator: register `run(argv)` as the tool `name`, in the form console scripts call."""
    def register(run: Callable[[Sequence[str]], int]) -> Main:
        return TOOLS.register(name)(entry(name)(run))
    return register


def entry(name: str) -> Callable[[Callable[[Sequence[str]], int]], Main]:
    """Decorator: `main(argv=None)`; what a user can put right ends with one line on stderr."""
    def decorate(run: Callable[[Sequence[str]], int]) -> Main:
        @functools.wraps(run)
        def main(argv: Sequence[str] | None = None) -> int:
            try:
                words = sys.argv[1:] if argv is None else list(argv)
                return run(_without_plugins(words))
            except BrokenPipeError:                     # `caffe ... | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                return 1
            except (CaffeError, OSError, ImportError, SyntaxError) as error:
                print(f"{name}: error: {one_line(error)}", file=sys.stderr)
            except ValueError as error:
                if not said_on_purpose(error):
                    raise
                print(f"{name}: error: {one_line(error)}", file=sys.stderr)
            except KeyboardInterrupt:
                print(f"{name}: interrupted", file=sys.stderr)
                return 130
            return 1
        return main
    return decorate


def said_on_purpose(error: ValueError) -> bool:
    """Whether a `raise` of ours raised it: not a library's, not a user's layer's."""
    raised = traceback.extract_tb(error.__traceback__)[-1]
    return raised.filename.startswith(_OWN) and (raised.line or "").startswith("raise ")


def one_line(error: BaseException) -> str:
    """The message, with what was noted on it: the layer in which it was raised."""
    return ", ".join(" ".join(text.split())
                     for text in (str(error), *getattr(error, "__notes__", ())))


def _without_plugins(words: Sequence[str]) -> list[str]:
    """The arguments but for `--plugin MODULE`, whose modules are loaded: every command has it."""
    others: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        flag, equals, value = word.partition("=")
        if flag not in ("--plugin", "-plugin"):
            others.append(word)
            continue
        if not equals and not waiting:
            raise UsageError("--plugin takes the name of a module or a Python file")
        plugins.load(value if equals else waiting.pop(0))
    return others
