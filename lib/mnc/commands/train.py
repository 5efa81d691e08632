"""`mnc train`: a solver, or a net made for the data set, trained on a data set."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnc.commands import (
    remembered,
    train_fitting,
    train_options,
    train_watching,
    train_workers,
)
from mnc.commands.layout_flags import add_layout_flags, layout_of
from mnc.commands.registration import add_classes_argument, count, count_or_none
from mnc.config import cfg, cfg_from_file, get_output_dir
from mnc.nets import NETS, generate
from mnc.project import project_file

if TYPE_CHECKING:
    from caffe.extend import LogRecord
    from mnc.data import Dataset
    from mnc.training.loop import Care, SolverWrapper
    from mnc.training.schedule import Schedule

log = logging.getLogger("mnc")

ITERATIONS = 40000


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(phase="TRAIN", own_settings=take_net_settings, going_on=remembered.going_on)
    p.add_argument("--solver", metavar="FILE", help="solver.prototxt")
    p.add_argument("--net", choices=NETS,
                   help="instead of --solver: generate this net for the data set")
    p.add_argument("--task", default="mnc_5stage", help="with --net (default %(default)s)")
    add_layout_flags(p)
    p.add_argument("--fit", action=argparse.BooleanOptionalAction,
                   help="choose scales, anchors and limits from the training data, but for what "
                        "--set names (default: with --net on data of one's own, without --cfg)")
    length = p.add_mutually_exclusive_group()
    length.add_argument("--iters", type=count_or_none, metavar="N",
                        help=f"iterations in all (default {ITERATIONS}; with --net on data of "
                             "one's own by the number of images)")
    length.add_argument("--epochs", type=float, metavar="N",
                        help="instead: passes over the images of the data set")
    p.add_argument("--lr", type=float, metavar="RATE", help="base learning rate")
    p.add_argument("--schedule", choices=("step", "cosine", "poly"),
                   help="how the rate falls over the length of the training; step: to a tenth "
                        "after 80 %% of it (default: step with --net; with --fit cosine and a "
                        "warm-up; else as the solver says)")
    p.add_argument("--warmup", type=count_or_none, default=0, metavar="N",
                   help="iterations in which the rate rises to its full height")
    p.add_argument("--batch", type=count, metavar="N", help="images of an update (iter_size)")
    train_options.add_arguments(p)
    p.add_argument("--weights", metavar="FILE", help="initial weights (.caffemodel or .h5)")
    train_watching.add_arguments(p)
    p.add_argument("--no-lock", dest="lock", action="store_false",
                   help="write snapshots even if another training writes the same")
    p.add_argument("--on-nan", choices=("stop", "skip", "ignore"), default="stop",
                   help="where the loss is not finite: stop, leave the update out, or go on "
                        "(default %(default)s)")
    p.add_argument("--check-data", action=argparse.BooleanOptionalAction,
                   help="decode every image before training (default: of up to 3000)")
    p.add_argument("--bad-data", choices=("stop", "skip"), default="stop",
                   help="where an image cannot be read: stop, or pass it over, up to 1 %% of them "
                        "(default %(default)s)")
    p.add_argument("--imdb", default="voc_2012_seg_train", help="data set (default %(default)s)")
    add_classes_argument(p)
    train_workers.add_arguments(p)
    p.add_argument("--rand", action="store_true", help="seed from the clock, not from cfg.RNG_SEED")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    import caffe
    from caffe.extend import LogRecord
    from mnc.nets.fit import TrainingError

    if not args.rand:
        np.random.seed(cfg.RNG_SEED)
        caffe.set_random_seed(cfg.RNG_SEED)
    if args.weights and not Path(args.weights).is_file():
        raise TrainingError(f"{args.weights}: no such weight file; {_origin_of(args.weights)}")
    train_watching.check(args)
    with LogRecord("mnc") as record:
        return _trained(args, record)


def _trained(args: argparse.Namespace, record: LogRecord) -> int:
    from mnc.training.folder import clear
    from mnc.training.loop import prepared

    try:
        with args.team.behind_the_first():      # which draws, generates and caches for all
            ready = _ready(args)
        wrapper = prepared(ready.solver, ready.dataset, ready.output, args.weights, care=ready.care)
    except KeyboardInterrupt:
        print("stopped before training began: there is nothing to go on from", file=sys.stderr)
        raise
    wrapper.solver.rate_factor = ready.schedule.warming
    if args.team.rank:
        wrapper.train_model(ready.schedule.iterations)
        return 0
    if args.overwrite and not wrapper.solver.iter:
        clear(ready.output, args.weights)
    remembered.keep(ready.output, args)
    record.to(ready.output / "train.log")
    return _run_to_the_end(wrapper, ready.schedule.iterations, args)


@dataclass(frozen=True)
class Ready:
    """What a training begins with."""

    solver: Any             # a file, or the SolverParameter
    dataset: Dataset
    output: Path
    schedule: Schedule
    care: Care


def _ready(args: argparse.Namespace) -> Ready:
    from mnc.data import get_dataset
    from mnc.nets.fit import TrainingError
    from mnc.results.names import folder_name
    from mnc.training.folder import output_folder

    if not args.class_file:
        cfg.CLASSES = []                # those of the settings are of another training's data
    dataset = get_dataset(args.imdb)
    cfg.CLASSES = list(dataset.classes[1:])
    if not args.solver and args.net is None:
        raise TrainingError("name a solver file (--solver), or a net to generate "
                            f"(--net {' or '.join(NETS)})")
    output = output_folder(args.out, get_output_dir(folder_name(args.imdb)), args.resume,
                           overwrite=args.overwrite)
    train_options.take_settings(args)
    train_options.take_pixel_means(args)
    fitted = train_fitting.fit_settings(args, dataset)
    path = Path(args.solver or _generated(args, dataset, output))
    if fitted:
        train_fitting.choose_frozen(args, path, len(dataset))
    schedule = schedule_of(args, path, len(dataset), fitted)
    if not args.solver:
        schedule.rewrite(path)
    changed = args.freeze or (args.solver and schedule.changes_solver)
    solver: Any = schedule.over_file(path) if changed else path
    if args.freeze:
        solver = train_options.frozen(args, solver, output)
    if not args.team.rank:
        print(f"Output will be saved to `{output}`", flush=True)
    return Ready(solver, dataset, output, schedule,
                 train_watching.care(args, path, schedule.iterations))


def _run_to_the_end(wrapper: SolverWrapper, iterations: int, args: argparse.Namespace) -> int:
    """Train; what ended it early is said, with what goes on. Returns the exit status."""
    solver, again = wrapper.solver, remembered.command(wrapper.output_dir)
    try:
        wrapper.train_model(iterations, net=solver.net.name, data=args.imdb, validation=args.val,
                            command=" ".join(sys.argv), folder=str(wrapper.output_dir))
    except KeyboardInterrupt:
        if solver.last_snapshot:
            print(f"to go on from {solver.last_snapshot}: {again}", file=sys.stderr)
        raise
    if wrapper.ended_early:
        print(wrapper.ending(), file=sys.stderr)
    if not solver.stopped_by:
        return 0
    print(f"snapshot: {solver.last_snapshot or 'none, nothing was trained'}\nto go on: {again}",
          file=sys.stderr)
    return 128 + solver.stopped_by


def schedule_of(args: argparse.Namespace, solver: Path, images: int,
                fitted: bool = False) -> Schedule:
    """What the flags say; of a generated solver the rate falls with the length in any case."""
    from caffe.extend import read_solver
    from mnc.training.schedule import Schedule, iterations_of, usual_iterations

    param = read_solver(str(solver))
    batch = (args.batch or param.iter_size) * cfg.TRAIN.IMS_PER_BATCH * args.team.count
    iterations = ITERATIONS if args.iters is None else args.iters
    if args.epochs is not None:
        iterations = iterations_of(args.epochs, images, batch)
        log.info("%g epochs of %d images: %d iterations", args.epochs, images, iterations)
    elif args.iters is None and not args.solver and train_fitting.is_own(args.imdb):
        iterations = usual_iterations(images, batch)
        log.info("%d iterations of %d images each, %.3g passes over the data; --iters and --epochs "
                 "say otherwise", iterations, batch, iterations * batch / images)
    if fitted and (args.lr, args.schedule, args.warmup) == (None, None, 0):
        return Schedule.usual(iterations, param.base_lr, args.batch, args.clip)
    policy = args.schedule or (None if args.solver else "step")
    return Schedule(iterations, args.lr, policy, args.warmup, args.batch, args.clip)


def take_net_settings(args: argparse.Namespace) -> None:
    """cfg becomes that of the net to be generated: experiments/cfgs/NET/TASK.yml."""
    if args.net is None or args.solver:
        return
    path = project_file("experiments", "cfgs", args.net, f"{args.task}.yml")
    if path.is_file():
        cfg_from_file(path)
        log.info("settings: %s", path)
    else:
        log.warning("%s is missing: the defaults hold, which are VGG-16's; --cfg names others",
                    path)


def _origin_of(weights: str) -> str:
    if weights.endswith(".mask.caffemodel"):
        return "tools/make_mask_init.py makes it from an ImageNet model (models/README.md)"
    return "models/README.md says where initial weights come from"


def _generated(args: argparse.Namespace, dataset: Dataset, output: Path) -> Path:
    """The solver of a net made for this data set, in the output folder."""
    anchors = len(cfg.ANCHOR_SCALES) * len(cfg.ANCHOR_RATIOS)
    return generate(args.net, args.task, output / "net", classes=len(dataset.classes),
                    anchors=anchors, layout=layout_of(args))[-1]
