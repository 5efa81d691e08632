"""Instances drawn into any images, for `mnc demo`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import caffe
from mnc.config import ConfigError, cfg
from mnc.data import DataError
from mnc.data.folders import ENDINGS
from mnc.data.images import read_image
from mnc.data.video import READ
from mnc.drawing.instances import draw_instances
from mnc.drawing.report import Page, counted
from mnc.inference import segment_image
from mnc.instances import Instances
from mnc.results.names import output_names

log = logging.getLogger("mnc")


def checked_out(out: Path, images: Sequence[Path]) -> Path:
    """`out`; raises ConfigError if it cannot be a folder for pictures.

    That is where it is a file, or named like one, and where one of the images lies there: a picture
    could be written over it.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: a file; pictures are written into a folder")
    if out.suffix.lower() in {*ENDINGS, *READ} and not out.is_dir():
        raise ConfigError(f"--out {out}: name a folder for the pictures; an ending {out.suffix} "
                          "says one file")
    for image in images:
        if out.resolve() in (image.resolve().parent, image.parent.resolve()):
            raise ConfigError(f"--out {out}: {image} lies there, and pictures would be written "
                              f"among such images or over them; name another folder, such as "
                              f"{out / 'instances'}")
    return out


@dataclass(frozen=True)
class Finder:
    """What finds the instances in images (H, W, 3) BGR: a net, or a file that was made of one."""

    find: Callable[[np.ndarray, float], Instances]      # image, least score
    classes: Sequence[str]
    binarize: float

    @classmethod
    def of(cls, net: caffe.Net, classes: Sequence[str]) -> Finder:
        """A net with the settings that cfg has now."""
        return cls(lambda image, score: Instances.from_detections(
            segment_image(net, image, cfg), score), classes, cfg.BINARIZE_THRESH)


def draw_files(finder: Finder, paths: Sequence[Path], out: Path, score: float = 0.5) -> list[str]:
    """Write OUT/NAME.jpg for each image, and OUT/index.html, which grows meanwhile.

    Returns what was left out, and why.
    """
    page, wrong = Page(out / "index.html", "Instances"), []
    page.note(f"Scores of {score:g} and more.")
    names = output_names(path.stem for path in paths)
    for path, name in tqdm(list(zip(paths, names)), unit="image", disable=None):
        try:
            image = read_image(path)
        except DataError as error:
            wrong.append(str(error))
            page.note(str(error))
            continue
        found = finder.find(image, score)
        caption = f"{path.name}: {counted(found, finder.classes)}"
        page.picture(caption, draw_instances(image, found, finder.classes, finder.binarize),
                     out / f"{name}.jpg")
        log.info("%s", caption)
    return wrong
