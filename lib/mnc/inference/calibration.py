"""The images that a net sees before it computes in 8 bits: how far its values reach is found there.

TEST.CALIBRATE (--calibrate) names a data set, or images as the demo takes them: a file, a folder, a
pattern. They need no annotations. Up to MOST_IMAGES, evenly from all there are.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import caffe
from mnc.config import ConfigError
from mnc.data.dataset import DataError
from mnc.data.folders import image_files
from mnc.data.images import read_image
from mnc.inference.settings import TestSettings
from mnc.inference.tiles import tiles_of
from mnc.instances import InferenceError

MOST_IMAGES = 8
Inputs = Callable[[np.ndarray, TestSettings], tuple[dict[str, Any], float]]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images, and how a test shows them to a net."""

    images: Iterable[np.ndarray]        # (H, W, 3) uint8 BGR; gone through once for each net
    settings: TestSettings

    @classmethod
    def of(cls, cfg: Any) -> Calibration | None:
        """What cfg.TEST names; None for a precision that needs none.

        Raises ConfigError where it names nothing, DataError for what is not there.
        """
        if cfg.TEST.PRECISION != "int8":
            return None
        if not cfg.TEST.CALIBRATE:
            raise ConfigError("precision int8 needs images such as the net will see: --calibrate "
                              "(TEST.CALIBRATE) takes a data set or a folder; annotations are not "
                              "looked at")
        return cls(Drawn(cfg.TEST.CALIBRATE), TestSettings.of(cfg))

    def inputs(self, net: caffe.Net, prepare: Inputs) -> Iterator[Mapping[str, Any]]:
        """The arrays that the net is given for each image, of a large one for a tile in the middle.

        Raises InferenceError for a net that is given regions, too.
        """
        if "rois" in net.inputs:
            raise InferenceError("precision int8 is for nets that are given images alone")
        for image in self.images:
            tiles = tiles_of(image.shape[:2], self.settings.tiling)
            seen = np.ascontiguousarray(tiles[len(tiles) // 2].of(image))
            yield prepare(seen, self.settings)[0]


def arithmetic(cfg: Any) -> dict[str, Any]:
    """What a configuration says of the last arguments of networks.load_net and optimize.

    Raises ConfigError, DataError for precision int8 without images to calibrate with.
    """
    return {"precision": cfg.TEST.PRECISION, "backend": cfg.TEST.BACKEND,
            "calibration": Calibration.of(cfg)}


class Drawn:
    """Up to MOST_IMAGES of a data set, or of files, read as they are asked for.

    Raises DataError where there is neither.
    """

    def __init__(self, name: str) -> None:
        paths, self._read = _source(name)
        chosen = np.linspace(0, len(paths) - 1, min(len(paths), MOST_IMAGES)).round().astype(int)
        self._chosen = {i: paths[i] for i in chosen.tolist()}

    @property
    def paths(self) -> list[Path]:
        """The files of the images."""
        return list(self._chosen.values())

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self._read, self._chosen)


def _source(name: str) -> tuple[list[Path], Callable[[int], np.ndarray]]:
    """(the files, what reads image number i)"""
    if Path(name).exists() or glob.glob(name, recursive=True):
        files = image_files([name])
        return files, lambda i: read_image(files[i])
    from mnc.data import get_dataset

    try:
        dataset = get_dataset(name)
    except DataError as error:
        raise DataError(f"--calibrate {name}: no such file or folder, nor a data set: {error}"
                        ) from error
    return [Path(dataset.image_path(i)) for i in range(len(dataset))], dataset.image
