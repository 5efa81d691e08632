"""The page of `--report`: figures with what they mean, and truth beside result."""

from __future__ import annotations

import html
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mnc.boxes.overlaps import bbox_overlaps
from mnc.data.dataset import Annotation
from mnc.drawing.instances import draw_instances, instance_colors
from mnc.drawing.report import Page, counted
from mnc.evaluation import matching
from mnc.evaluation.figures import mean_of
from mnc.instances import Instances
from mnc.masks.rendering import solid
from mnc.results.detections import Saved
from mnc.results.names import output_paths
from mnc.tasks import TASKS

if TYPE_CHECKING:
    from mnc.commands.report import Report

PAIR = 1080                 # pixels of the long side of truth and result as the page shows them
SCORE = 0.5                 # least score of what is drawn and counted
MEANINGS = (
    ("AP", "average precision: the mean of precision over recall; 100 finds all and nothing else"),
    ("mAP", "the mean AP of the classes"),
    ("^r", "of masks"), ("^b", "of boxes, those around the masks where there are masks"),
    ("@0.5, @.5", "a find overlaps an instance by half of what both cover (IoU), or more"),
    ("_vol", "the mean of AP at IoU 0.1, 0.2 … 0.9"),
    ("[.5:.95]", "COCO's: the mean of AP at IoU .5, .55 … .95"),
    ("AR", "average recall: the share of instances found, over the same IoUs, with so many "
           "results an image"),
    ("small, medium, large", "instances of less than 32², 96² pixels, and of more"))


def write_page(report: Report, saved: Saved, found: Mapping[str, Any],
               about: Mapping[str, object]) -> None:
    """OUTPUT/report/index.html, with its pictures beside it."""
    page = Page(report.output / "report" / "index.html", f"Results on {report.imdb}")
    page.add(_rows(_origin(report, saved, about)))
    page.add("<h2>Figures</h2>" + figures_by_class(found))
    page.add(meanings())
    _pictures(page, report, saved)


def meanings() -> str:
    """What the names of figures mean, to be unfolded by a click."""
    return "<details><summary>What they mean</summary>" + _rows(MEANINGS) + "</details>"


def _origin(report: Report, saved: Saved,
            about: Mapping[str, object]) -> list[tuple[str, object]]:
    made_by: Mapping[str, Any] = saved.about
    test = (made_by.get("settings") or {}).get("TEST", {})
    models = " + ".join(f"{model['weights']} in {model['prototxt']}"
                        for model in made_by.get("models", ()))
    return [("model", models or "not said"), *about.items(),
            ("data", f"{report.imdb}: {len(report.dataset)} images"),
            ("task", f"{saved.task.name}: {TASKS[saved.task.name].about}"),
            ("date", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")),
            ("command", shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
            ("settings", ", ".join(f"TEST.{key} {value}" for key, value in test.items()))]


def _rows(rows: Sequence[tuple[str, object]]) -> str:
    return "<table>" + "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td>"
                               "</tr>\n" for name, value in rows) + "</table>"


def figures_by_class(found: Mapping[str, Any]) -> str:
    """A table classes × measures, a row of means, and one of the measures that have no classes."""
    columns = {name: values for name, values in found.items() if isinstance(values, Mapping)}
    classes = list(next(iter(columns.values()), {}))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ["class", *columns])
    rows = ["".join([f"<td>{html.escape(name)}</td>",
                     *(f"<td>{_percent(column.get(name))}</td>" for column in columns.values())])
            for name in classes]
    mean = "".join(f"<th>{_percent(found.get(mean_of(name)))}</th>" for name in columns)
    alone = {name: value for name, value in found.items()
             if isinstance(value, float) and name not in map(mean_of, columns)}
    return (f"<table><tr>{head}</tr>\n" + "".join(f"<tr>{row}</tr>\n" for row in rows)
            + f"<tr><th>mean</th>{mean}</tr></table>"
            + _rows([(name, _percent(value)) for name, value in alone.items()]))


def _percent(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f}"


def _pictures(page: Page, report: Report, saved: Saved) -> None:
    """Truth on the left, result on the right, of the best and the worst images."""
    dataset = report.dataset
    matched = matching.match(dataset, saved.detections, report.binarize, masks=saved.task.masks)
    quality = image_f1(matched, len(dataset))
    order = np.argsort(-quality, kind="stable")
    best = -(-report.shown // 2)
    shown = order if len(order) <= report.shown else np.r_[
        order[:best], order[len(order) - report.shown + best:]]
    page.add(f"<h2>Images: the best {min(best, len(order))} and the worst</h2>")
    page.note(f"Left the truth, right the results of a score of {SCORE:g} and more; what is about "
              "one thing has one colour. F1: of the instances and results together, the share that "
              f"belongs together, at an overlap of {matching.RIGHT_OVERLAP:g}.")
    page.sorting({"f1": "F1", "score": "best score", "number": "instances", "name": "name"},
                 dataset.classes[1:])
    paths = output_paths(page.path.parent / "pictures", dataset, ".jpg")
    for i in shown.tolist():
        _picture(page, report, [per_image[i] for per_image in saved.detections],
                 (i, float(quality[i]), paths[i]))


def _picture(page: Page, report: Report, detections: Any, which: tuple[int, float, Path]) -> None:
    """which: (number of the image, its F1, file)."""
    i, f1, path = which
    dataset = report.dataset
    image, truth = dataset.image(i), true_instances(dataset.annotation(i))
    found = Instances.from_detections(detections, SCORE)
    sides = [draw_instances(image, each, dataset.classes, report.binarize, colors=colors)
             for each, colors in zip((truth, found), paired_colors(truth, found))]
    labels = sorted({*truth.labels.tolist(), *found.labels.tolist()})
    caption = (f"{dataset.names[i]}: F1 {f1:.2f}. There: {counted(truth, dataset.classes)}. "
               f"Found: {counted(found, dataset.classes)}.")
    page.picture(caption, cv2.hconcat(sides), path,
                 {"f1": f1, "score": found.boxes[0, 4] if len(found) else 0,
                  "number": len(truth), "name": dataset.names[i],
                  "classes": "|".join(dataset.classes[label] for label in labels)}, PAIR)


def paired_colors(truth: Instances, found: Instances) -> tuple[np.ndarray, np.ndarray]:
    """Colours (G, 3) and (N, 3): a result has that of the instance which its box is about."""
    colors = instance_colors(len(truth) + len(found))
    own = np.arange(len(truth), len(colors))
    overlaps = bbox_overlaps(found.boxes[:, :4], truth.boxes[:, :4])        # (N, G)
    for n in range(len(found) if len(truth) else 0):                        # the best score first
        g = int(overlaps[n].argmax())
        if overlaps[n, g] >= matching.RIGHT_OVERLAP:
            own[n] = g
            overlaps[:, g] = 0
    return colors[:len(truth)], colors[own]


def true_instances(truth: Annotation) -> Instances:
    """As results without a score; masks of different sizes."""
    masks = np.empty(len(truth.labels), object)
    for n, (box, mask) in enumerate(zip(truth.boxes, truth.mask_list)):
        masks[n] = solid(box) if mask is None else mask
    scores = np.full((len(truth.labels), 1), np.nan)
    return Instances(np.hstack((truth.boxes.reshape(-1, 4), scores)), masks, truth.labels)


def image_f1(matched: matching.Matched, images: int) -> np.ndarray:
    """(images,) 2 · right / (results + instances) of each, with scores from SCORE; 1 of nothing."""
    told = (matched.score >= SCORE) & (matched.kind != matching.IGNORED)
    right = told & (matched.kind == matching.RIGHT)
    rights, results = (np.bincount(matched.image[rows], minlength=images) for rows in (right, told))
    wanted = np.bincount(matched.truth_image[~matched.ignored], minlength=images)
    total = results + wanted
    return np.where(total > 0, 2 * rights / np.maximum(total, 1), 1.0)
