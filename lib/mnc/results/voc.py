"""Results in formats of VOC: text files of boxes, index pictures of instances and classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from caffe.extend import atomic_path, read_encoded
from mnc.data.dataset import DataError, Dataset
from mnc.drawing.instances import color_map
from mnc.instances import Detections, SetDetections
from mnc.masks.rendering import pasted, render
from mnc.results.coco import image_size
from mnc.results.names import flat_name, flat_names, line_names, output_paths

MOST = 255                  # instances of a picture: as many as a byte counts


def write_voc_det(folder: str | Path, dataset: Dataset, detections: SetDetections,
                  prefix: str = "comp4_det") -> list[Path]:
    """FOLDER/PREFIX_SPLIT_CLASS.txt, a line a detection: NAME SCORE X1 Y1 X2 Y2, pixels from 1.

    SPLIT is the last word of the data set's name. Characters that a file's name cannot have are
    _ in SPLIT and CLASS.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    split = flat_name(dataset.name.replace(":", "_").rpartition("_")[2])
    paths = [folder / f"{prefix}_{split}_{label}.txt" for label in flat_names(dataset.classes[1:])]
    names = line_names(dataset.names)
    for path, per_image in zip(paths, detections[1:]):
        lines = [f"{name} {box[4]:.6f} " + " ".join(f"{v + 1:.1f}" for v in box[:4])
                 for name, (boxes, _) in zip(names, per_image) for box in boxes]
        _write_lines(path, lines)
    return paths


def read_voc_det(folder: str | Path, dataset: Dataset) -> SetDetections:
    """detections[class][image], masks (n, 0, 0), of the files BEGINNING_CLASS.txt in a folder.

    Names of images may hold blanks. Raises DataError where the folder has not exactly one such file
    for each class, and for a line that is not of these images.
    """
    places = {name: i for i, name in enumerate(line_names(dataset.names))}
    found: list[list[list]] = [[[] for _ in dataset.names] for _ in dataset.classes]
    for c, path in enumerate(class_files(Path(folder), dataset.classes[1:]), 1):
        text, encoding = read_encoded(path)
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                *name, score, x1, y1, x2, y2 = line.rsplit(None, 5)
                corners = [float(v) - 1 for v in (x1, y1, x2, y2)]
                place = _place(name[0].strip(), places, encoding)
                found[c][place].append((*corners, float(score)))
            except (ValueError, KeyError, IndexError) as error:
                raise DataError(f"{path}:{number}: not NAME SCORE X1 Y1 X2 Y2 of an image of "
                                f"{dataset.name}: {line!r}") from error
    return [[Detections(np.array(rows, float).reshape(-1, 5), np.zeros((len(rows), 0, 0)))
             for rows in per_image] for per_image in found]


def _place(name: str, places: Mapping[str, int], encoding: str) -> int:
    """The index of an image, by its name or by the bytes of it; KeyError if there is none."""
    if name in places or encoding.startswith("utf"):
        return places[name]
    return places[os.fsdecode(name.encode(encoding))]


def class_files(folder: Path, classes: Sequence[str]) -> list[Path]:
    """BEGINNING_CLASS.txt of each class, with the one beginning that all of them have.

    So that with classes cat and wild_cat comp4_det_val_wild_cat.txt is not taken for a cat's.
    Raises DataError where there is not one such file for each class.
    """
    endings = [f"_{label}.txt" for label in flat_names(classes)]
    there = {path.name for path in folder.iterdir()}
    begins = [{name.removesuffix(ending) for name in there if name.endswith(ending)}
              for ending in endings]
    shared = set.intersection(*begins) if begins else set()
    if len(shared) == 1:
        return [folder / f"{next(iter(shared))}{ending}" for ending in endings]
    if all(len(each) == 1 for each in begins):
        return [folder / f"{next(iter(each))}{ending}" for each, ending in zip(begins, endings)]
    if shared:
        raise DataError(f"{folder}: files of {len(shared)} results lie here "
                        f"({', '.join(sorted(shared)[:3])} ...); a folder holds those of one")
    few = min(range(len(endings)), key=lambda k: len(begins[k]))
    raise DataError(f"{folder}: {len(begins[few])} files *{endings[few]}; VOC's detection files "
                    "are one a class")


def write_instance_pictures(folder: str | Path, dataset: Dataset, detections: SetDetections,
                            binarize: float, score: float = 0.5) -> None:
    """FOLDER/inst/NAME.png, FOLDER/cls/NAME.png and FOLDER/NAME.txt of every image.

    inst: number of the instance, 0 where there is none, the better score on top; cls: its class.
    Line n of the text: CLASS SCORE X1 Y1 X2 Y2 of instance n. At most 255 instances an image.
    """
    places = zip(output_paths(Path(folder, "inst"), dataset, ".png"),
                 output_paths(Path(folder, "cls"), dataset, ".png"),
                 output_paths(folder, dataset, ".txt"))
    for i, paths in enumerate(places):
        rows = [(c, box, *drawn) for c, per_image in enumerate(detections) if len(per_image[i][0])
                for box, drawn in zip(per_image[i][0], zip(*render(*per_image[i], binarize)))
                if box[4] >= score]
        rows = sorted(rows, key=lambda row: -row[1][4])[:MOST]
        size = image_size(dataset, i)
        inst, cls = np.zeros((2, *size), np.uint8)
        for number, (c, _, whole, mask) in reversed(list(enumerate(rows, 1))):
            covered = pasted(whole, mask, size)
            inst[covered], cls[covered] = number, c
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        write_indexed(paths[0], inst)
        write_indexed(paths[1], cls)
        _write_lines(paths[2], [f"{dataset.classes[c]} {box[4]:.6f} "
                                + " ".join(f"{v:.1f}" for v in box[:4]) for c, box, _, _ in rows])


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8",
                             errors="surrogateescape")       # names may be no UTF-8


def write_indexed(path: Path, indices: np.ndarray) -> None:
    """A PNG whose pixels are `indices` (H, W) uint8 into VOC's palette."""
    from PIL import Image

    picture = Image.fromarray(indices)
    picture.putpalette(color_map().ravel().tolist())
    picture.save(path)
