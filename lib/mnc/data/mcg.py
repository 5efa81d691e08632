"""MCG regions: what was published of them, and the file for each image that CFM works on.

Raw, NAME.mat: superpixels (H, W), labels: a cell of N lists of superpixels, best region first.
Prepared, NAME.mat: boxes (N, 4), masks (N, S, S); to train on, also det_overlap, seg_overlap,
output_label, gt_assignment (N, 1), mask_targets (N, S, S), gt_classes (G, 1) and Flip, where the
first G of the N are the instances themselves.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.io
from tqdm import tqdm

from caffe.extend import atomic_path
from mnc.boxes.overlaps import bbox_overlaps
from mnc.data.dataset import Annotation, DataError, Dataset, check_annotation, listed
from mnc.data.mat import Value, is_numbers, read_mat
from mnc.data.names import named_files
from mnc.instances import TrainingRegions
from mnc.masks.overlaps import mask_overlaps
from mnc.masks.rendering import resize
from mnc.masks.targets import MaskForm, intersect_mask

log = logging.getLogger("mnc")

SETTINGS = "settings.json"
COLUMNS = ("det_overlap", "seg_overlap", "output_label", "gt_assignment")
TRAINING_KEYS = ("boxes", "masks", "mask_targets", *COLUMNS, "gt_classes", "Flip")


@dataclass(frozen=True)
class Settings:
    """What prepared files depend on besides the image."""

    mask_size: int = 21
    top_k: int = -1             # regions of an image; -1: all
    threshold: float = 0.4


# --- one image -----------------------------------------------------------------------------------

def raw_regions(path: str | os.PathLike, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """(boxes (N, 4) float32, masks (N, S, S) bool) of a published file; without empty regions.

    Raises DataError where the file does not hold them.
    """
    content = _variables(path, ("superpixels", "labels"))
    if not is_numbers(content["superpixels"]) or content["superpixels"].ndim != 2:
        raise DataError(f"{path}: superpixels must be a map (H, W) of numbers")
    owner = content["superpixels"].astype(int)
    if owner.size and not 0 <= owner.min() <= owner.max() <= owner.size:
        raise DataError(f"{path}: superpixels must be numbers of 0 to {owner.size}, got "
                        f"{owner.min()} to {owner.max()}")
    most = settings.top_k if settings.top_k >= 0 else None
    lists = [members for members in _lists(path, content["labels"]) if members.size][:most]
    spans = _spans(owner)                                                   # (s + 1, 4)
    boxes, masks = [], []
    for members in lists:
        if members.max() >= len(spans) or members.min() < 0:
            raise DataError(f"{path}: labels name superpixel {members.max()}, superpixels count to "
                            f"{len(spans) - 1}")
        inside = np.zeros(len(spans), np.float32)
        inside[members] = 1
        x1, y1 = spans[members, :2].min(axis=0)
        x2, y2 = spans[members, 2:].max(axis=0)
        if x2 < x1:
            continue
        mask = inside[owner[y1:y2 + 1, x1:x2 + 1]]
        side = (settings.mask_size, settings.mask_size)
        boxes.append((x1, y1, x2, y2))
        masks.append(cv2.resize(mask, side, interpolation=cv2.INTER_NEAREST) > 0)
    return (np.array(boxes, np.float32).reshape(-1, 4),
            np.array(masks, bool).reshape(-1, settings.mask_size, settings.mask_size))


def _lists(path: str | os.PathLike, value: Value) -> Iterator[np.ndarray]:
    """The superpixels of each region: cells, of cells or of numbers."""
    for cell in np.ravel(value):
        parts = np.ravel(cell) if _is_cells(cell) else [cell]
        if not all(map(is_numbers, parts)):
            raise DataError(f"{path}: labels must be lists of superpixels")
        yield np.concatenate([np.zeros(0), *map(np.ravel, parts)]).astype(int)


def _is_cells(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def _spans(owner: np.ndarray) -> np.ndarray:
    """(s + 1, 4) x1 y1 x2 y2 of the pixels of each number; x2 < x1 if it has none."""
    height, width = owner.shape
    spans = np.tile([width, height, -1, -1], (owner.max() + 1, 1))
    ys, xs = np.indices(owner.shape)
    for column, values, extreme in ((0, xs, np.minimum), (1, ys, np.minimum),
                                    (2, xs, np.maximum), (3, ys, np.maximum)):
        extreme.at(spans[:, column], owner.ravel(), values.ravel())
    return spans


def with_truth(boxes: np.ndarray, masks: np.ndarray, truth: Annotation,
               settings: Settings) -> dict[str, np.ndarray]:
    """The arrays of a training file: instances first, then regions, each against the instances.

    boxes (N, 4), masks (N, S, S) bool.
    """
    form, count = MaskForm(settings.mask_size, settings.threshold), len(truth.labels)
    gt = truth.boxes.astype(int)
    whole: Any = truth.masks                # every instance has one (checked before)
    own = [resize(mask, form.size, form.size) >= form.threshold for mask in whole]
    boxes = np.concatenate((gt, boxes.astype(int)))
    masks = np.concatenate((np.array(own, bool).reshape(-1, *masks.shape[1:]), masks))
    overlaps = bbox_overlaps(boxes, gt)
    best = overlaps.max(axis=1)
    assignment = np.where(best > 0, overlaps.argmax(axis=1), -1)
    targets = np.zeros(masks.shape, bool)
    for row in np.flatnonzero(assignment >= 0):
        k = assignment[row]
        targets[row] = intersect_mask(boxes[row], gt[k], whole[k], form)
    seg = [1.0] * count + [_best_cover(box, mask, gt, whole, form)
                           for box, mask in zip(boxes[count:], masks[count:])]
    labels = np.where(assignment >= 0, truth.labels[assignment], 0)
    columns = {"det_overlap": best, "seg_overlap": np.array(seg), "output_label": labels,
               "gt_assignment": assignment, "gt_classes": truth.labels}
    return {"boxes": boxes, "masks": masks, "mask_targets": targets, "Flip": np.array([[False]]),
            **{name: np.asarray(column).reshape(-1, 1) for name, column in columns.items()}}


def _best_cover(box: np.ndarray, mask: np.ndarray, gt_boxes: np.ndarray,
                gt_masks: list[np.ndarray], form: MaskForm) -> float:
    """The largest overlap of a region's mask, resized to its box, with an instance."""
    full = resize(mask, box[3] - box[1] + 1, box[2] - box[0] + 1) >= form.threshold
    return float(mask_overlaps(box[None], [full], gt_boxes, gt_masks).max())


# --- all images ----------------------------------------------------------------------------------

def prepare(dataset: Dataset, raw: str | os.PathLike, out: str | os.PathLike, settings: Settings,
            *, train: bool, jobs: int = 1) -> list[str]:
    """Write OUT/NAME.mat for each image of the data set that has none yet; what went wrong.

    Raises DataError if `out` is the folder of the raw files, or holds files of other settings, and
    where two images would share a file.
    """
    out = Path(out)
    if out.resolve() == Path(raw).resolve():
        raise DataError(f"{out}: the published files lie there, under the names of those to be "
                        "written; name another folder for the output")
    _same_settings(out, settings)
    places = list(zip(named_files(raw, dataset.names, ".mat"),
                      named_files(out, dataset.names, ".mat")))
    _check_names(dataset, [path for _, path in places])
    todo = [i for i, (_, path) in enumerate(places) if not path.is_file()]
    if len(todo) < len(dataset):
        log.info("%s: %d of %d images are done already", out, len(dataset) - len(todo),
                 len(dataset))
    work = partial(_prepare_one, dataset, places, settings, train)
    wrong = []
    with tqdm(total=len(todo), desc=f"preparing {dataset.name}", unit="image",
              disable=None) as bar:
        for fault in _each(work, todo, jobs):
            wrong += [fault] if fault else []
            bar.update()
    if wrong:
        log.warning("%s: %d of %d images could not be prepared:\n%s", dataset.name, len(wrong),
                    len(dataset), listed(wrong))
    return wrong


def _check_names(dataset: Dataset, places: list[Path]) -> None:
    owner: dict[Path, str] = {}
    for i, place in enumerate(places):
        image = dataset.image_path(i)
        if owner.setdefault(place, image) != image:
            raise DataError(f"{dataset.name}: {owner[place]} and {image} would share the file "
                            f"{place}: give the images names of their own")


def _each(work, todo: list[int], jobs: int):
    if jobs == 1:
        yield from map(work, todo)
        return
    # spawn: a fork of a process with threads (torch, OpenCV) may hang
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, todo, chunksize=4)


def _prepare_one(dataset: Dataset, places: list[tuple[Path, Path]], settings: Settings,
                 train: bool, i: int) -> str | None:
    """What is wrong with image i, if its file could not be made; places: (raw, prepared)."""
    raw, path = places[i]
    try:
        boxes, masks = raw_regions(raw, settings)
        content = {"boxes": boxes, "masks": masks}
        if train:
            content = with_truth(boxes, masks, _truth(dataset, i), settings)
    except DataError as error:
        return str(error)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, content, appendmat=False, do_compression=True)
    return None


def _truth(dataset: Dataset, i: int) -> Annotation:
    found = dataset.annotation(i)
    where = f"{dataset.name}, {dataset.names[i]}"
    check_annotation(where, found, len(dataset.classes), found.size or dataset.image(i).shape[:2])
    found = found.rows(~found.ignored)
    if not len(found.labels):
        raise DataError(f"{where}: no instance to train on")
    if not found.has_mask.all():
        raise DataError(f"{where}: CFM needs a mask of every instance")
    return found


def _same_settings(out: Path, settings: Settings) -> None:
    """Note the settings in the folder; DataError if its files were made with others."""
    path, now = out / SETTINGS, asdict(settings)
    if path.is_file():
        before = json.loads(path.read_text())
        if before != now:
            raise DataError(f"{out}: its files were made with {before}, not {now}; give another "
                            "folder or remove this one")
        return
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(now) + "\n")


# --- reading prepared files ----------------------------------------------------------------------

def load_regions(path: str | os.PathLike) -> tuple[TrainingRegions, bool]:
    """(regions to train on, whether they are of the mirrored image)

    Raises DataError where the columns do not fit each other.
    """
    content = load_mat(path, TRAINING_KEYS)
    columns = region_columns(path, content)
    count = len(content["boxes"])
    wrong = [key for key in ("masks", "mask_targets")
             if content[key].ndim != 3 or len(content[key]) != count]
    if wrong:
        raise DataError(f"{path}: {', '.join(wrong)} must be as many as the {count} boxes")
    if not content["Flip"].size:
        raise DataError(f"{path}: needs Flip one value, got {content['Flip'].shape}")
    return TrainingRegions(
        content["boxes"].astype(float), content["masks"].astype(bool),
        content["mask_targets"].astype(bool), columns["det_overlap"], columns["seg_overlap"],
        columns["output_label"].astype(int),
        columns["gt_assignment"].astype(int)), bool(content["Flip"].ravel()[0])


def region_columns(path: str | os.PathLike,
                   content: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the columns that are in the content, (N,) each for its N boxes; else DataError."""
    boxes = content["boxes"]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{path}: boxes must be (N, 4), got {boxes.shape}")
    columns = {key: content[key].ravel() for key in COLUMNS if key in content}
    wrong = [key for key, column in columns.items() if len(column) != len(boxes)]
    if wrong:
        raise DataError(f"{path}: {', '.join(wrong)} must be as many as the {len(boxes)} boxes")
    rows = columns["gt_assignment"]
    if len(rows) and not -1 <= rows.min() <= rows.max() < len(boxes):
        raise DataError(f"{path}: gt_assignment must name rows of the {len(boxes)} boxes or be -1")
    return columns


def check_labels(path: str | os.PathLike, labels: np.ndarray, num_classes: int) -> None:
    """DataError where output_label names a class that a net of so many has not. labels (N, ...)."""
    out = labels[(labels < 0) | (labels >= num_classes)]
    if len(out):
        raise DataError(f"{path}: output_label holds {out[0]:g}, but the net's classes are "
                        f"0..{num_classes - 1}; the file was made for other classes")


def load_mat(path: str | os.PathLike, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """These variables of a MATLAB file, arrays of finite numbers.

    Of the shapes in the file. Raises DataError where one is missing or not finite.
    """
    content = _variables(path, keys)
    if wrong := [key for key, value in content.items() if not is_numbers(value)]:
        raise DataError(f"{path}: {', '.join(wrong)} must be finite numbers")
    return content


def _variables(path: str | os.PathLike, keys: tuple[str, ...]) -> dict[str, Value]:
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such file of regions")
    content = read_mat(path, keys)
    missing = [key for key in keys if key not in content]
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)}; tools/prepare_mcg_maskdb.py makes "
                        "the files that CFM is trained on (--db train) and tested on (--db val)")
    return {key: content[key] for key in keys}
