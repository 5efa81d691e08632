"""What `mnc train` keeps and says of a training: its folder, validation, TensorBoard."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mnc.commands import remembered
from mnc.commands.registration import count, count_or_none
from mnc.config import ConfigError

if TYPE_CHECKING:
    from mnc.training.loop import Care
    from mnc.validation import Validation

VALIDATIONS = 10            # in a training, without --eval-every


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The flags of this module."""
    _add_keeping_arguments(p)
    _add_validation_arguments(p)


def _add_keeping_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--out", metavar="DIR",
                   help="holds one training (default: output/EXP_DIR/IMDB, with a number behind it "
                        "where another is there)")
    p.add_argument("--overwrite", action="store_true",
                   help="remove the training that is in the output folder")
    p.add_argument("--resume", nargs="?", const=remembered.AUTO, metavar="DIR|FILE|auto",
                   help="go on with the training in this folder, as it began; from its newest good "
                        "snapshot, or from this .solverstate.h5; without a name, or auto: with "
                        "that of --out, if there is any")
    p.add_argument("--keep", type=count_or_none, default=0, metavar="N",
                   help="leave the newest N snapshots on disk (default: all)")


def _add_validation_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--val", metavar="IMDB",
                   help="data set to measure AP on while training; the best weights are kept "
                        "beside the last, as NAME_best")
    p.add_argument("--eval-every", type=count, metavar="N",
                   help=f"iterations between two measurements, which come at the end, too "
                        f"(default: a {VALIDATIONS}th of them all)")
    p.add_argument("--patience", type=count, metavar="N",
                   help="end training after N measurements without a better one")
    p.add_argument("--def", dest="prototxt", metavar="FILE",
                   help="test net for --val (default: test.prototxt beside the train net)")
    p.add_argument("--tensorboard", action="store_true",
                   help="write the figures for TensorBoard, too, in OUT/tensorboard")


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError for flags that need another."""
    if not args.val and (args.eval_every or args.patience):
        raise ConfigError("--eval-every and --patience are of measurements: name images by --val")
    if args.resume and args.overwrite:
        raise ConfigError("--resume goes on with a training, --overwrite removes it: not both")


def care(args: argparse.Namespace, solver: Path, iterations: int) -> Care:
    """As the flags say, for the training of a solver file."""
    from caffe.extend import Sharing
    from mnc.training.loop import Care

    return Care(args.resume, args.keep, args.lock, args.on_nan, args.bad_data,
                args.check_data, _validation(args, solver, iterations), args.tensorboard, args.team,
                Sharing(args.worker_limit, args.compress, args.sync_bn))


def _validation(args: argparse.Namespace, solver: Path, iterations: int) -> Validation | None:
    if not args.val:
        return None
    from mnc.data import get_dataset
    from mnc.nets.fit import TrainingError, train_net_path
    from mnc.validation import Validation

    prototxt = Path(args.prototxt or train_net_path(solver).with_name("test.prototxt"))
    if not prototxt.is_file():
        raise TrainingError(f"{prototxt}: no such file; --val needs the test net of what is "
                            "trained: name it by --def")
    return Validation(get_dataset(args.val), prototxt, patience=args.patience or 0,
                      every=args.eval_every or max(iterations // VALIDATIONS, 1))
