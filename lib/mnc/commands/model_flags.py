"""The flags that name a trained net, of one meaning in every command.

    --model FOLDER      what a training wrote
    --net NAME          a net of the project; --weights FILE, its weights (or the bundled ones)
    --def FILE          a prototxt in its place

`--net FILE` for weights is the reference's form, and stays: a net's name is no file.
"""

from __future__ import annotations

import argparse

from mnc.config import ConfigError
from mnc.nets.backbones import NETS
from mnc.project import project_file


def add_model_arguments(p: argparse.ArgumentParser, default: str = "") -> None:
    """--model, --net, --weights and --def, each as often as there are nets.

    default: what is said to be used without them.
    """
    p.add_argument("--model", action="append", metavar="FOLDER",
                   help="what a training wrote: its net, its best weights (--val) or else its "
                        "last, its settings; or a weight file of it; for demo also a .onnx file "
                        "that `mnc export` wrote")
    p.add_argument("--net", action="append", metavar="NAME",
                   help=f"a net of the project: {', '.join(NETS)}{default}")
    p.add_argument("--weights", action="append", metavar="FILE",
                   help="its weights (default: those that come with the project)")
    p.add_argument("--def", dest="prototxt", action="append", metavar="FILE",
                   help="test.prototxt, instead of --net")


def named_files(args: argparse.Namespace, task: str = "mnc_5stage") -> tuple[list[str], list[str]]:
    """(prototxts, weights) that --def, --net and --weights name; empty where they name none.

    Raises ConfigError for a net whose weights do not come with the project.
    """
    given = args.net or []
    nets = [name for name in given if name in NETS]
    weights = [*(args.weights or []), *(name for name in given if name not in NETS)]
    folders = [project_file("models", name, task) for name in nets]
    prototxts = [*(args.prototxt or []), *(str(folder / "test.prototxt") for folder in folders)]
    if folders and not weights:
        for name, folder in zip(nets, folders):
            found = sorted(folder.glob("*.caffemodel.h5"))
            if not found:
                raise ConfigError(f"--net {name}: no weights of it come with the project; name "
                                  "them: --weights FILE")
            weights.append(str(found[0]))
    return prototxts, weights
