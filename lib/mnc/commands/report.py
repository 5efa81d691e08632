"""What `mnc test` and `mnc evaluate` share: the figures of results, and the files asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnc.commands.report_page import write_page
from mnc.data.dataset import Dataset
from mnc.drawing import instances as visualisation
from mnc.drawing.curves import Line, draw_curves
from mnc.evaluation import figures
from mnc.evaluation.average_precision import Curve, average_precision
from mnc.instances import Instances
from mnc.results import coco as coco_results
from mnc.results import voc as voc_results
from mnc.results.detections import Saved
from mnc.results.names import output_paths
from mnc.tasks import FORMS

SHOWN = (0.5, 0.7)          # thresholds of the curves that are drawn


@dataclass(frozen=True)
class Report:
    """What is to be said of results on a data set, and where it is written."""

    output: Path
    dataset: Dataset
    imdb: str                       # its name on the command line
    binarize: float                 # a mask covers the pixels where it reaches this
    metrics: Sequence[str] = ("voc",)
    area: bool = False              # AP is the area under the curve, not the mean at 11 points
    forms: Sequence[str] = ()       # further files, of FORMS
    shown: int = 0                  # images on the page, 0: no page

    @classmethod
    def of(cls, args: argparse.Namespace, output: Path, dataset: Dataset,
           binarize: float) -> Report:
        """As the arguments of add_report_arguments say."""
        return cls(output, dataset, args.imdb, binarize, args.metrics, args.area, args.write,
                   args.report)

    def check(self, *, pictures: bool = False) -> None:
        """Raises DataError if a picture would be written over an image, before work is done."""
        folders = ["pictures"] * pictures + ["SegInst/inst", "SegInst/cls"] * (
            "seginst" in self.forms)
        for folder in folders:
            output_paths(self.output / folder, self.dataset, ".png")

    def make(self, saved: Saved, **about: object) -> None:
        """Figures to the screen and to OUTPUT/metrics_TASK.json, and the files asked for."""
        found = figures.figures_of(saved, self.dataset, self.binarize, self.metrics,
                                   eleven_point=not self.area)
        task = saved.task.name
        figures.save_metrics(self.output / f"metrics_{task}.json", found, **about, imdb=self.imdb,
                             images=len(self.dataset), task=task,
                             ap="area" if self.area else "11 points", origin=dict(saved.about))
        for form in self.forms:
            WRITERS[form](self, saved)
        if self.shown:
            write_page(self, saved, found, about)
        print(figures.table(found))
        print(f"Results saved to {self.output}", flush=True)


def write_pictures(report: Report, saved: Saved, score: float = 0.5) -> None:
    """OUTPUT/pictures/NAME.png: each image with its instances."""
    dataset = report.dataset
    for i, path in enumerate(output_paths(report.output / "pictures", dataset, ".png")):
        found = Instances.from_detections([per_image[i] for per_image in saved.detections], score)
        picture = visualisation.draw_instances(dataset.image(i), found, dataset.classes,
                                               report.binarize)
        visualisation.write_image(path, picture)


def write_coco(report: Report, saved: Saved) -> None:
    """OUTPUT/coco_TASK.json"""
    path = report.output / f"coco_{saved.task.name}.json"
    coco_results.write_results(path, report.dataset, saved.detections, report.binarize)


def write_voc(report: Report, saved: Saved) -> None:
    """OUTPUT/voc_det/*.txt"""
    voc_results.write_voc_det(report.output / "voc_det", report.dataset, saved.detections)


def write_instances(report: Report, saved: Saved) -> None:
    """OUTPUT/SegInst"""
    voc_results.write_instance_pictures(report.output / "SegInst", report.dataset,
                                        saved.detections, report.binarize)


def write_curves(report: Report, saved: Saved) -> None:
    """OUTPUT/curves_r.png, curves_b.png: at the thresholds SHOWN, AP in the legend."""
    curves = figures.curves_of(report.dataset, saved.detections, saved.task, report.binarize)
    for kind, thresholds in (("r", figures.VOLUME), ("b", (0.5,))):
        if kind in curves:
            panels = {name: [_line(curve, threshold, report.area)
                             for curve, threshold in zip(found or (), thresholds)
                             if threshold in SHOWN] for name, found in curves[kind].items()}
            draw_curves(report.output / f"curves_{kind}.png", panels)


def _line(curve: Curve, threshold: float, area: bool) -> Line:
    ap = average_precision(curve.recall, curve.precision, eleven_point=not area)
    return Line(curve.recall, curve.precision, f"{threshold:g}: {100 * ap:.1f}")


WRITERS: dict[str, Callable[[Report, Saved], None]] = dict(zip(
    FORMS, (write_coco, write_voc, write_instances, write_curves), strict=True))
