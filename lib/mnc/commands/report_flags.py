"""The flags that `mnc test` and `mnc evaluate` share, without what the report itself loads."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mnc.commands.registration import count
from mnc.config import ConfigError
from mnc.tasks import FORMS, METRICS, Task

REPORTED = 60               # images on the page of --report


def add_report_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--metrics", nargs="+", choices=METRICS, default=["voc"],
                   help="PASCAL's and SBD's figures, or COCO's (default: voc)")
    p.add_argument("--area", action="store_true",
                   help="AP is the area under the curve, not the mean at 11 points of recall")
    p.add_argument("--write", nargs="+", choices=FORMS, default=[],
                   help="further files: COCO's result json, VOC's det files, SegInst PNGs, "
                        "precision-recall curves")
    p.add_argument("--report", nargs="?", type=count, const=REPORTED, default=0, metavar="N",
                   help="a page, OUT/report/index.html: figures with what they mean, and truth "
                        "beside result for the best and worst images, N of them (default "
                        f"{REPORTED})")


def check_forms(task: Task, forms: Sequence[str]) -> None:
    """Raises ConfigError if a file is asked for that the task cannot give."""
    for form in forms:
        if form not in task.forms:
            raise ConfigError(f"--write {form} needs masks; task {task.name} has none")
