"""`mnc test`: run nets on a data set, keep what is found, measure it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from mnc.commands.model_flags import (
    NO_MODEL,
    add_model_arguments,
    check_alone,
    named_files,
)
from mnc.commands.registration import add_classes_argument
from mnc.commands.report_flags import add_report_arguments, check_forms
from mnc.config import ConfigError, cfg, cfg_from_file, get_output_dir
from mnc.nets.trained import model_in
from mnc.tasks import TASKS

Models = list[tuple[str, str]]              # prototxt, weights


def run(args: argparse.Namespace) -> int:
    """Test a net, or several together, on a data set; returns the exit status."""
    from mnc.commands.report import Report, write_pictures
    from mnc.data import get_dataset
    from mnc.inference.calibration import Drawn, arithmetic
    from mnc.inference.cfm import ProposalFolder
    from mnc.inference.networks import load_net
    from mnc.inference.runs import Run
    from mnc.inference.settings import TestSettings
    from mnc.inference.whole_sets import Finder
    from mnc.nets.fit import check_net
    from mnc.results.detections import Saved
    from mnc.results.names import folder_name
    from mnc.results.origin import files_hash, origin

    task = TASKS[args.task]
    check_forms(task, args.write)
    dataset, models = get_dataset(args.imdb), models_of(args)
    for prototxt, _ in models:
        check_net(prototxt, dataset.classes)
    nets = [load_net(prototxt, weights, **arithmetic(cfg)) for prototxt, weights in models]
    output = Path(args.out or get_output_dir(folder_name(args.imdb),
                                             "+".join(net.name for net in nets)))
    output.mkdir(parents=True, exist_ok=True)
    report = Report.of(args, output, dataset, cfg.BINARIZE_THRESH)
    report.check(pictures=task.pictures)
    proposals = proposals_of(args)
    prototxts, weights = zip(*models)
    about = origin(prototxts, weights, cfg, dataset, task.name, proposals)
    if cfg.TEST.PRECISION == "int8":
        about["calibration_sha256"] = files_hash(Drawn(cfg.TEST.CALIBRATE).paths)
    source = ProposalFolder(proposals, dataset) if proposals else None
    finder = Finder(nets, TestSettings.of(cfg), task, source)
    work = Run(output / f"detections_{task.name}.npz", dataset, about)
    detections = work.detections(args.team, finder, args.reuse)
    if args.team.rank == 0 and detections is not None:
        saved = Saved(detections, task, None, about)
        if task.pictures:
            write_pictures(report, saved)
        report.make(saved, weights=" + ".join(map(str, weights)))
    return 0


def proposals_of(args: argparse.Namespace) -> str | None:
    """The folder of the given regions, for a task that takes any."""
    folder = args.proposals or str(Path(cfg.DATA_DIR, "MCG"))
    return folder if TASKS[args.task].regions else None


def take_test_settings(args: argparse.Namespace) -> None:
    """cfg becomes that of the nets."""
    from mnc.nets.settings import find_settings

    own = find_settings(*zip(*models_of(args)))
    if own:
        cfg_from_file(own)


def models_of(args: argparse.Namespace) -> Models:
    """The nets to test; with --wait all of their weights are there."""
    prototxts, weights = named_files(args, "cfm" if TASKS[args.task].regions else "mnc_5stage")
    check_alone(args.model, prototxts, weights)
    if args.model:
        return [model_in(folder) for folder in args.model]
    if not prototxts or not weights:
        raise ConfigError(NO_MODEL)
    models = paired(prototxts, weights)
    if args.wait:
        for _, path in models:
            wait_for(path)
    return models


def paired(prototxts: Sequence[str], weights: Sequence[str]) -> Models:
    """Weight files with their prototxts; a single prototxt serves all."""
    if len(prototxts) == 1:
        prototxts = list(prototxts) * len(weights)
    if len(prototxts) != len(weights):
        raise ConfigError(f"{len(weights)} weight files (--weights) need one --def or as many, got "
                          f"{len(prototxts)}")
    return list(zip(prototxts, weights))


def wait_for(path: str) -> str:
    """Return once the file exists."""
    while not Path(path).exists():
        print(f"Waiting for {path} to exist...", flush=True)
        time.sleep(10)
    return path


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_test_settings)
    p.add_argument("--imdb", default="voc_2012_seg_val", help="data set (default %(default)s)")
    add_model_arguments(p)
    add_classes_argument(p)
    p.add_argument("--task", choices=TASKS, default="seg",
                   help="; ".join(f"{task.name}: {task.about}" for task in TASKS.values())
                        + " (default %(default)s)")
    p.add_argument("--proposals", metavar="DIR",
                   help="with --task cfm: folder with NAME.mat of each image, from "
                        "tools/prepare_mcg_maskdb.py (default: DATA_DIR/MCG)")
    p.add_argument("--wait", action="store_true", help="wait until the weight file exists")
    p.add_argument("--comp", action="store_true",
                   help="competition mode: no effect here, results are always kept")
    p.add_argument("--reuse", action="store_true",
                   help="take the detections of an earlier run, also of one that broke off, if "
                        "nets, settings and images are the same")
    add_report_arguments(p)
    p.add_argument("--out", metavar="DIR", help="default: output/EXP_DIR/IMDB/NET")
