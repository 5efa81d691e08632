"""The SBD layout (Semantic Boundaries Dataset): read it, and write samples of one's own in it.

    img/NAME.jpg   inst/NAME.mat   cls/NAME.mat
    SPLIT.txt (a NAME a line)      [classes.txt (a class a line)]

inst/NAME.mat holds GTinst: Segmentation (H, W) uint8 (0 = background, n = n-th instance),
Boundaries (a cell of one sparse (H, W) map an instance), Categories (n, 1) labels from 1.
cls/NAME.mat holds GTcls: Segmentation by class, Boundaries by class, CategoriesPresent. Only inst
is read; boxes are tight around the masks.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import scipy.io
import scipy.sparse

from mnc.data.classes import own_classes
from mnc.data.dataset import Annotation, DataError
from mnc.data.images import read_as_annotated
from mnc.data.instance_maps import instances
from mnc.data.lists import image_file, read_list
from mnc.data.mat import is_numbers, read_mat


class SBD:
    """One split of a folder in the SBD layout; classes as in classes.txt, else VOC's twenty."""

    def __init__(self, folder: str | os.PathLike, split: str, name: str | None = None) -> None:
        self.folder, self.split = Path(folder), split
        self.name = name or f"sbd:{folder}:{split}"
        self.names = read_list(
            self.folder / f"{split}.txt",
            lambda name: any(os.path.isfile(self.folder / place)
                             for place in (f"inst/{name}.mat", f"img/{name}.jpg")))
        self.classes = own_classes(self.folder)

    def __len__(self) -> int:
        return len(self.names)

    def image_path(self, i: int) -> str:
        return image_file(self.folder / "img", self.names[i])

    def image(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR"""
        return read_as_annotated(self, i)

    def annotation(self, i: int) -> Annotation:
        """Raises DataError where it names an unknown class."""
        path = self.folder / "inst" / f"{self.names[i]}.mat"
        owner, labels = read_instances(path)
        out = [label for label in labels if not 1 <= label < len(self.classes)]
        if out:
            raise DataError(f"{path}: Categories holds label {out[0]}, but the classes are "
                            f"1..{len(self.classes) - 1} ({', '.join(self.classes[1:4])}, ...)")
        return instances(owner, labels)


def read_instances(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Segmentation (H, W) uint8 and Categories (n,) int of one inst/*.mat.

    Raises DataError where the file does not hold them.
    """
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such annotation file")
    content = read_mat(path, ["GTinst"])
    if "GTinst" not in content:
        raise DataError(f"{path}: lacks the variable GTinst; is it a file of inst/?")
    found = content["GTinst"]
    fields = found[0] if isinstance(found, list) and found else {}
    for key in ("Segmentation", "Categories"):
        if key not in fields:
            raise DataError(f"{path}: GTinst lacks the key {key}; it has "
                            f"{', '.join(fields) or 'none'}")
        if not is_numbers(fields[key]):
            raise DataError(f"{path}: {key} must be whole numbers")
    owner, labels = fields["Segmentation"], fields["Categories"].astype(int).ravel()
    if owner.ndim != 2 or not owner.size:
        raise DataError(f"{path}: Segmentation must be a map (H, W), got shape {owner.shape}")
    if owner.min() < 0 or owner.max() > len(labels):
        raise DataError(f"{path}: Segmentation counts to {owner.max()}, but Categories has "
                        f"{len(labels)} entries; they count from 0, the background")
    return owner, labels


def write_sample(folder: str | os.PathLike, name: str, image: np.ndarray, owner: np.ndarray,
                 labels: np.ndarray, num_classes: int) -> None:
    """Write image (H, W, 3) uint8 BGR, owner (H, W) (0 or the n-th instance) and labels (n,).

    Raises OSError where that fails.
    """
    folder = Path(folder)
    for part in ("img", "inst", "cls"):
        (folder / part).mkdir(exist_ok=True)
    picture = str(folder / "img" / f"{name}.jpg")
    if not cv2.imwrite(picture, image, [cv2.IMWRITE_JPEG_QUALITY, 95]):
        raise OSError(f"{picture}: the image could not be written")
    by_class = np.concatenate(([0], labels)).astype(np.uint8)[owner]
    by_instance = {"Segmentation": owner.astype(np.uint8),
                   "Boundaries": _boundaries(owner, len(labels)),
                   "Categories": np.array(labels, np.uint8).reshape(-1, 1)}
    by_label = {"Boundaries": _boundaries(by_class, num_classes - 1), "Segmentation": by_class,
                "CategoriesPresent": np.unique(labels).astype(np.uint8).reshape(-1, 1)}
    for part, content in (("inst", {"GTinst": by_instance}), ("cls", {"GTcls": by_label})):
        scipy.io.savemat(folder / part / f"{name}.mat", content, do_compression=True)


def _boundaries(segmentation: np.ndarray, number: int) -> np.ndarray:
    """Cell (number, 1) of sparse maps: pixels of a segment with a 4-neighbour outside it."""
    cell = np.empty((number, 1), object)
    for k in range(number):
        inside = (segmentation == k + 1).astype(np.uint8)
        inner = cv2.erode(inside, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), borderValue=0)
        cell[k, 0] = scipy.sparse.csc_matrix(inside - inner)
    return cell
