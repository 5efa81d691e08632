"""How a command becomes known: `caffe train` and its like, and the tools beside it.

An ACTION runs with the flags of the `caffe` command; a TOOL reads its own arguments.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence

from caffe.engine.errors import CaffeError
from caffe.engine.registry import Registry


class UsageError(CaffeError):
    """A command line that cannot be followed."""


ACTIONS = Registry("command", UsageError)       # name -> run(flags) -> exit status
TOOLS = Registry("tool", UsageError)            # name -> main(argv=None) -> exit status

Main = Callable[..., int]


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
                return run(sys.argv[1:] if argv is None else list(argv))
            except BrokenPipeError:                     # `caffe ... | head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                return 1
            except (CaffeError, OSError, ImportError) as error:
                print(f"{name}: error: {error}", file=sys.stderr)
            except KeyboardInterrupt:
                print(f"{name}: interrupted", file=sys.stderr)
                return 130
            return 1
        return main
    return decorate
