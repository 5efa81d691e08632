"""`mnc evaluate`: measure results again that lie in a file."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnc.commands.registration import add_classes_argument
from mnc.commands.report_flags import add_report_arguments, check_forms
from mnc.config import ConfigError, cfg, cfg_from_dict
from mnc.tasks import TASKS, Task

if TYPE_CHECKING:
    from mnc.data import Dataset

log = logging.getLogger("mnc")


def run(args: argparse.Namespace) -> int:
    """Measure results again: of `mnc test`, or of any system; returns the exit status.

    Raises DataError for results that are not of the data set, ConfigError if they would be
    written over.
    """
    from mnc.commands.report import Report
    from mnc.data import DataError
    from mnc.results import saved as saved_results

    saved_results.existing(args.results)
    dataset = dataset_of(args)
    saved = saved_results.load(args.results, dataset)
    wanted = TASKS[args.task] if args.task else saved.task
    if wanted.masks and not saved.task.masks:
        raise DataError(f"{args.results}: it holds boxes without masks: measure it with --task det")
    saved = replace(saved, task=wanted)
    check_forms(wanted, args.write)
    output = Path(args.out or Path(args.results).parent / f"{Path(args.results).stem}_evaluated")
    check_out(output, Path(args.results), wanted)
    output.mkdir(parents=True, exist_ok=True)
    report = Report.of(args, output, dataset, cfg.BINARIZE_THRESH)
    report.check()
    report.make(saved, results=str(args.results))
    return 0


def check_out(output: Path, given: Path, task: Task) -> None:
    """Raises ConfigError if what is written into `output` would be written over the results."""
    written = (f"metrics_{task.name}.json", f"coco_{task.name}.json", "voc_det", "SegInst")
    if given.resolve() in [(output / name).resolve() for name in written]:
        raise ConfigError(f"--out {output}: {given} lies there under a name that this command "
                          "writes; name another folder")


def dataset_of(args: argparse.Namespace) -> Dataset:
    """The data set named, else the one in the results file, which args.imdb names then."""
    from mnc.data import DataError, get_dataset

    own = about_results(args.results).get("imdb")
    if args.imdb:
        if own not in (None, args.imdb):
            log.warning("%s holds results on %s; they are measured on %s now", args.results, own,
                        args.imdb)
        return get_dataset(args.imdb)
    if own is None:
        raise DataError(f"{args.results}: it does not say which data set it is of: name that by "
                        "--imdb")
    args.imdb = own
    try:
        return get_dataset(own)
    except DataError as error:
        raise DataError(f"{args.results}: these are results on {own}: {error}; --imdb names the "
                        "data set where it is now") from error


def take_results_settings(args: argparse.Namespace) -> None:
    """Masks are cut where they were when they were found."""
    settings = about_results(args.results).get("settings", {})
    if "BINARIZE_THRESH" in settings:
        cfg_from_dict({"BINARIZE_THRESH": settings["BINARIZE_THRESH"]}, args.results)


def about_results(path: str) -> dict[str, Any]:
    """What a detections_*.npz says of itself; nothing for other files."""
    from mnc.results.detections import about_detections

    is_ours = Path(path).suffix == ".npz" and Path(path).is_file()
    return about_detections(Path(path)) if is_ours else {}


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_results_settings)
    p.add_argument("results", metavar="RESULTS",
                   help="detections_*.npz, a COCO result .json, or a folder of VOC detection files")
    p.add_argument("--imdb", help="data set (default: the one that a detections_*.npz is of)")
    add_classes_argument(p)
    p.add_argument("--task", choices=("seg", "det"),
                   help="measure instances or boxes (default: what the file holds)")
    add_report_arguments(p)
    p.add_argument("--out", metavar="DIR", help="default: RESULTS_evaluated beside RESULTS")
