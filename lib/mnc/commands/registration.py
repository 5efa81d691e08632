"""Which commands there are, and how one is found: its module is imported when its name is given.

The command NAME is the module mnc.commands.NAME. It has

    add_arguments(parser)    its own flags; where the default `own_settings` is set, a function of
                             the parsed arguments, it lays the net's settings over cfg unless --cfg
                             names others
    run(args) -> int         the work; returns the exit status

What needs torch or caffe is imported inside run, so that help and mistyped flags answer at once.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

from mnc.config import BACKENDS, PRECISIONS, TEST_PRECISIONS


@dataclass(frozen=True)
class Command:
    """What `mnc --help` says of a command, and which of the common flags mean something in it."""

    summary: str
    device: bool = True         # it computes: --gpu, --cpu
    arithmetic: bool = True     # by a net in a precision: --precision, --backend
    settings: bool = True       # as cfg says: --cfg, --set, --plugin
    shared: bool = False        # several workers may do it together


MEASURES = {"device": False, "arithmetic": False}       # what nets have found
ALONE = {**MEASURES, "settings": False}

COMMANDS: dict[str, Command] = {
    "train": Command("train a net", shared=True),
    "test": Command("test a net, or several together, on a data set", shared=True),
    "evaluate": Command("measure saved results again: of `mnc test`, or COCO result files of any "
                        "system", **MEASURES),
    "analyse": Command("which errors saved results have, what each costs, where they are good: a "
                       "page", **MEASURES),
    "compare": Command("a table of several results on one data set, with published figures",
                       **MEASURES),
    "ablation": Command("train and test the schemes of the paper's Table 1 with several seeds, and "
                        "compare them"),
    "benchmark": Command("time a net, beside its convolutions and matrix products alone",
                         shared=True),
    "demo": Command("draw the instances in images; with --scenes, the whole job on generated "
                    "scenes"),
    "export": Command("write a trained cascade, from the image to instances, as one file for "
                      "onnxruntime or torch", arithmetic=False),
    "watch": Command("show a training while it runs, as a page: losses, AP, rate, speed, pictures",
                     **ALONE),
    "data": Command("look at a data set, check, split or convert it: mnc data show IMDB",
                    **ALONE),
    "serve": Command("a local page: drop a picture, see its instances; and the same as JSON"),
    "generate": Command("write the prototxt files of a net, or of every net in models/",
                        **ALONE),
    "make_init": Command("make the weights that a net starts from out of today's releases",
                         **ALONE),
    "make_mask_init": Command("make the weights that a cascade starts from out of an ImageNet "
                              ".caffemodel", **ALONE),
    "doctor": Command("what is installed, which kernels, device, nets and data are here, and what "
                      "to do where one is missing", **ALONE),
}


def fill(parser: argparse.ArgumentParser, name: str) -> None:
    """Give the parser the flags of this command, and its `run` among the results."""
    module = import_module(f"mnc.commands.{name}")
    run: Callable[[argparse.Namespace], int] = module.run
    parser.set_defaults(run=run, phase="TEST", own_settings=lambda args: None)
    module.add_arguments(parser)
    if COMMANDS[name].shared:
        parser.add_argument("--workers", type=count, metavar="N",
                            help="so many workers on CPUs, which share the work")
    if COMMANDS[name].device:
        _add_device_arguments(parser)
    if COMMANDS[name].arithmetic:
        _add_arithmetic_arguments(parser)
    if COMMANDS[name].settings:
        _add_settings_arguments(parser)


class Parser(argparse.ArgumentParser):
    """Says what a mistyped choice is like. Its subcommands' parsers are of the same kind."""

    def error(self, message: str) -> NoReturn:
        """End the process with the message and status 2."""
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        known = re.findall(r"[\w.+-]+", wrong[2]) if wrong else []
        super().error(message + (like(wrong[1], known) if wrong else ""))


def add_classes_argument(p: argparse.ArgumentParser) -> None:
    """--classes, which becomes cfg.CLASSES."""
    p.add_argument("--classes", dest="class_file", metavar="FILE",
                   help="names of the classes, one a line, or a COCO .json, for data whose files "
                        "have no list of them (default: the labels that occur)")


def like(word: str, known: Sequence[str]) -> str:
    """"; did you mean …?" where a known word is like this one; dashes before it do not count."""
    folded = {each.lower().lstrip("-"): each for each in known}
    near = difflib.get_close_matches(word.lower().lstrip("-"), folded, 1)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def count(text: str) -> int:
    """The type of a flag that takes a whole number from 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {text!r}")
    return int(text)


def count_or_none(text: str) -> int:
    """The type of a flag that takes a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number from 0, not {text!r}")
    return int(text)


def _add_device_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--gpu", default=None, metavar="ID",
                   help="GPU to use, or `cpu` (default: GPU 0 if there is one); in train and test "
                        "also several, 0,1,2, or all: a worker on each")
    p.add_argument("--cpu", action="store_true", help="compute on the CPU")


def _add_arithmetic_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--backend", choices=BACKENDS,
                   help="of tests on the CPU: what computes the dense part; auto measures those "
                        "installed at the first image (default: TEST.BACKEND, torch)")
    training = p.get_default("phase") == "TRAIN"
    p.add_argument("--precision", choices=PRECISIONS if training else TEST_PRECISIONS,
                   help="of convolutions and matrix products: tf32 rounds their inputs on a GPU, "
                        "bf16 computes in bfloat16, int8 in 8 bits, with --calibrate (default: "
                        "TEST.PRECISION, in training TRAIN.PRECISION: fp32)")
    if not training:
        p.add_argument("--calibrate", metavar="IMDB",
                       help="of --precision int8: a data set, or a folder or pattern of images, "
                            "such as the net will see (TEST.CALIBRATE)")


def _add_settings_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--plugin", action="append", metavar="MODULE",
                   help="module or .py file with layer types or data sets of your own; may be "
                        "repeated")
    p.add_argument("--cfg", dest="cfg_file", metavar="FILE",
                   help="configuration laid over the defaults; without it commands take the "
                        "net's own")
    p.add_argument("--set", dest="set_cfgs", nargs=argparse.REMAINDER, default=[],
                   metavar="KEY VALUE",
                   help="single configuration keys; all that follows is read as such pairs")
