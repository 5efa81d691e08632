"""The flags that name a trained net, of one meaning in every command.

    --model FOLDER      what a training wrote
    --net NAME          a net of the project; --weights FILE, its weights (or the bundled ones)
    --def FILE          a prototxt in its place

`--net FILE` for weights is the reference's form, and stays: a net's name is no file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mnc.commands.registration import like
from mnc.config import ConfigError
from mnc.nets.backbones import NETS
from mnc.nets.trained import model_in
from mnc.project import project_file


def add_model_arguments(p: argparse.ArgumentParser, default: str = "") -> None:
    """--model, --net, --weights and --def, each as often as there are nets.

    default: what is said to be used without them.
    """
    p.add_argument("--model", action="append", metavar="FOLDER",
                   help="what a training wrote: its net, its best weights (--val) or else its "
                        "last, its settings; or a weight file of it; for demo also a .onnx file "
                        "that `mnc export` wrote")
    p.add_argument("--net", action="append", metavar="NAME", type=net_or_weights,
                   help=f"a net of the project: {', '.join(NETS)}{default}")
    p.add_argument("--weights", action="append", metavar="FILE",
                   help="its weights (default: those that come with the project)")
    p.add_argument("--def", dest="prototxt", action="append", metavar="FILE",
                   help="test.prototxt, instead of --net")


def net_or_weights(text: str) -> str:
    """The type of --net: a net of the project, or else a file, whose name has an ending."""
    if text not in NETS and not Path(text).suffix and not Path(text).exists():
        hint = like(text, list(NETS)) or f"; there are {', '.join(NETS)}"
        raise argparse.ArgumentTypeError(f"no net {text!r}{hint}")
    return text


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


def the_model(args: argparse.Namespace, folders: Sequence[str],
              default: tuple[str, str] | None = None) -> tuple[str, str]:
    """(prototxt, weights) of the one net that is named; what is not named is the default's.

    folders: what --model names. Raises ConfigError for several nets, and for none.
    """
    prototxts, weights = named_files(args)
    check_alone(folders, prototxts, weights)
    if max(len(folders), len(prototxts), len(weights)) > 1:
        raise ConfigError("this is of one net: --model, --net, --weights and --def are given once")
    if folders:
        return model_in(folders[0])
    if default:
        prototxts, weights = [*prototxts, default[0]], [*weights, default[1]]
    if not prototxts or not weights:
        raise ConfigError(NO_MODEL)
    return prototxts[0], weights[0]


NO_MODEL = ("name the net: --model FOLDER that a training wrote, or --net NAME --weights FILE, or "
            "--def test.prototxt --weights FILE")


def check_alone(folders: Sequence[str] | None, prototxts: Sequence[str],
                weights: Sequence[str]) -> None:
    """Raises ConfigError where --model is not alone: it names both."""
    if folders and (prototxts or weights):
        raise ConfigError("--model names net and weights: leave out --def, --net and --weights")
