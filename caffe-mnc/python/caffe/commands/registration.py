"""Which commands there are, and how one is found: its module is imported when its name is given.

An ACTION runs with the flags of the `caffe` command; a TOOL reads its own arguments.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from caffe.engine.errors import CaffeError


class UsageError(CaffeError):
    """A command line that cannot be followed."""


class Commands:
    """Functions by the names of commands; a module of this package is imported when it is asked.

    entries: name -> (MODULE:FUNCTION, what the help says of it).
    """

    def __init__(self, entries: Mapping[str, tuple[str, str]]) -> None:
        self._entries = entries

    def get(self, name: str) -> Callable[..., int]:
        module, _, function = self._entries[name][0].partition(":")
        found: Any = getattr(import_module(f"{__package__}.{module}"), function)
        return found

    def summary(self, name: str) -> str:
        return self._entries[name][1]

    def names(self) -> list[str]:
        return list(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries


ACTIONS = Commands({         # run(flags) -> exit status
    "train": ("train:run", "train or finetune a model, by one worker or several"),
    "test": ("test:run", "score a model"),
    "time": ("time:run", "benchmark model execution time"),
    "device_query": ("device_query:run", "show GPU diagnostic information"),
})
TOOLS = Commands({           # main(argv=None) -> exit status
    "classify": ("classify:main", "predict the classes of pictures"),
    "compute_image_mean": ("compute_image_mean:main", "compute the mean image of a database"),
    "convert_annoset": ("convert_annoset:main", "store images and boxes as an LMDB or LevelDB"),
    "convert_cifar_data": ("convert_cifar_data:main",
                           "store CIFAR-10's binary files as databases: INPUT_FOLDER "
                           "OUTPUT_FOLDER lmdb|leveldb"),
    "convert_imageset": ("convert_imageset:main", "store images and labels as an LMDB or LevelDB"),
    "convert_mnist_data": ("convert_mnist_data:main", "store MNIST's files as an LMDB or LevelDB"),
    "convert_mnist_siamese_data": ("convert_mnist_siamese_data:main",
                                   "store pairs of MNIST's images as a LevelDB or LMDB"),
    "create_annoset": ("create_annoset:main", "convert_annoset, and a link to the database"),
    "detect": ("detect:main", "score windows of pictures"),
    "diff": ("diff:main",
             "two nets, or two files of weights, layer by layer; status 1 if they differ"),
    "doctor": ("doctor:main",
               "what is installed, which kernels are built, which device is used, and what to do"),
    "draw_net": ("draw_net:main", "draw a net as a graph"),
    "export": ("export:main", "a net as a file of torch or ONNX, run there and compared"),
    "extract_features": ("extract_features:main", "store what a net computes at some blobs"),
    "get_image_size": ("get_image_size:main", "list the sizes of images"),
    "import": ("import_net:main", "torch's weights or an ONNX model as prototxt and caffemodel"),
    "link_tools": ("link_tools:main",
                   "make build/tools and build/examples of an old project, with these commands "
                   "in them: FOLDER"),
    "parse_log": ("parse_log:main", "make CSV tables of a training log"),
    "plot_training_log": ("plot_training_log:main", "draw curves of training logs"),
    "summary": ("summary:main", "the layers of a net: shapes, parameters, multiply-adds, memory"),
    "upgrade_net_proto_binary": ("upgrade:net_binary",
                                 "rewrite an old .caffemodel in the current form"),
    "upgrade_net_proto_text": ("upgrade:net_text",
                               "rewrite an old net prototxt in the current form"),
    "upgrade_solver_proto_text": ("upgrade:solver_text",
                                  "rewrite an old solver prototxt in the current form"),
    "watch": ("watch:main", "show a training while it runs, as a page: losses, tests, rate, speed"),
})

Main = Callable[..., int]

_OWN = str(Path(__file__).resolve().parents[1])


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
        from caffe.engine import plugins  # loads torch

        plugins.load(value if equals else waiting.pop(0))
    return others
