"""The page of `mnc data show`, and what readers of data sets warn of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mnc.augmentations import settings_of
from mnc.config import cfg, overridden
from mnc.data import Dataset, get_dataset, problems
from mnc.data.augmentation import Augmentation, shown
from mnc.data.dataset import listed
from mnc.data.depth import warn_of_depth
from mnc.data.roidb import prepare
from mnc.data.spelling import warn_of_spelling
from mnc.drawing.data_figures import draw_findings
from mnc.drawing.instances import instance_colors, write_image
from mnc.drawing.labels import draw_labels
from mnc.drawing.report import Page
from mnc.drawing.truth import draw_truth
from mnc.training.fitting import Findings

BY_DEFAULT = 3000           # images up to which every one is read, to find what is wrong
SIDE = 640                  # pixels of the long side of a picture


class Warnings(logging.Handler):
    """`with Warnings() as said:` keeps what mnc warns of: said.lines."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.append(record.getMessage())

    def __enter__(self) -> Warnings:
        logging.getLogger("mnc").addHandler(self)
        return self

    def __exit__(self, *raised: object) -> None:
        logging.getLogger("mnc").removeHandler(self)


def show(imdb: str, out: Path, *, images: int, augment: str | None) -> Path:
    """Write OUT/index.html, and the pictures beside it; returns its path."""
    with Warnings() as said:
        dataset = get_dataset(imdb)
        wrong = problems(dataset, progress=True) if len(dataset) <= BY_DEFAULT else {}
        warn_of_depth([dataset.image_path(i) for i in range(len(dataset)) if i not in wrong])
        figures = figures_of(dataset, wrong)
        warn_of_spelling(figures["class"])
    page = Page(out / "index.html", f"Data: {imdb}")
    page.table(figures)
    for line in said.lines:
        page.add(_preformatted(line))
    if wrong:
        page.add(_preformatted(f"{len(wrong)} images cannot be used:\n"
                               f"{listed(list(wrong.values()))}"))
    elif len(dataset) > BY_DEFAULT:
        page.note(f"More than {BY_DEFAULT} images: not every one was read; `mnc data check` does.")
    good = [i for i in range(len(dataset)) if i not in wrong]
    write_image(out / "findings.png", draw_findings(Findings.of(dataset)))
    page.add('<p><img style="max-width: 100%" alt="histograms" src="findings.png"></p>')
    for number, row in enumerate(np.unique(np.linspace(0, len(good) - 1, images).round())
                                 .astype(int).tolist() if good else ()):
        page.picture(*truth_of(dataset, good[row]), out / "pictures" / f"{number}.jpg")
    if augment:
        page.note(f"What training with --augment {augment} sees of some images:")
        for number, (caption, picture) in enumerate(augmented(dataset, augment)):
            page.picture(caption, picture, out / "augmented" / f"{number}.jpg")
    return page.path


def figures_of(dataset: Dataset, wrong: dict[int, str]) -> dict[str, Any]:
    """Numbers of images and instances, and of instances by class."""
    found = [dataset.annotation(i) for i in range(len(dataset)) if i not in wrong]
    labels = np.concatenate([each.labels for each in found]) if found else np.zeros(0, int)
    counts = np.bincount(labels.astype(int), minlength=len(dataset.classes))
    masks = sum(int(each.has_mask.sum()) for each in found)
    return {"images": len(dataset), "images without an instance": sum(
                not len(each.labels) for each in found), "instances": len(labels),
            "without a mask": len(labels) - masks,
            "crowds or difficult (not trained on)": sum(int(each.ignored.sum()) for each in found),
            "class": dict(zip(dataset.classes[1:], counts[1:].tolist()))}


def truth_of(dataset: Dataset, i: int) -> tuple[str, np.ndarray]:
    """(caption, picture) of an image with its masks, boxes and classes."""
    image, found = dataset.image(i), dataset.annotation(i)
    picture = draw_truth(image, found.boxes, found.mask_list, SIDE)
    factor = SIDE / max(image.shape[:2])
    names = [dataset.classes[label] for label in found.labels]
    if len(dataset.classes) > 2:
        draw_labels(picture, found.boxes * factor, names, instance_colors(len(names)).tolist())
    counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    return (f"{dataset.names[i]}: {counts or 'no instance'}; {image.shape[1]} x {image.shape[0]} "
            "pixels"), picture


def augmented(dataset: Dataset, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """(caption, picture) of some images as they are, and in other views."""
    with overridden(settings_of(name)):
        how = Augmentation.of(cfg)
    for caption, sample in shown(*prepare(dataset, use_flipped=False), how):
        yield caption, draw_truth(sample.image, sample.boxes, sample.masks)


def _preformatted(text: str) -> str:
    import html

    return f"<pre>{html.escape(text)}</pre>"
