"""Results in formats of VOC: text files of boxes, index pictures of instances and classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnc.coco_results import image_size, pasted
from mnc.evaluation import Found, render
from mnc.visualisation import color_map


def write_voc_det(folder: str | Path, dataset, detections: Sequence[Found],
                  prefix: str = "comp4_det") -> list[Path]:
    """FOLDER/PREFIX_SPLIT_CLASS.txt, a line a detection: NAME SCORE X1 Y1 X2 Y2, pixels from 1.

    SPLIT is the last word of the data set's name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    split = dataset.name.replace(":", "_").rpartition("_")[2]
    written = []
    for c, label in list(enumerate(dataset.classes))[1:]:
        lines = [f"{name} {box[4]:.6f} " + " ".join(f"{v + 1:.1f}" for v in box[:4])
                 for name, (boxes, _) in zip(dataset.names, detections[c]) for box in boxes]
        path = folder / f"{prefix}_{split}_{label}.txt"
        path.write_text("".join(f"{line}\n" for line in lines))
        written.append(path)
    return written


def write_instance_pictures(folder: str | Path, dataset, detections: Sequence[Found],
                            binarize: float, score: float = 0.5) -> None:
    """FOLDER/inst/NAME.png, cls/NAME.png (palette PNGs as VOC's) and NAME.txt.

    inst: number of the instance, 0 where there is none, the better score on top; cls: its class.
    Line n of the text: CLASS SCORE X1 Y1 X2 Y2 of instance n. At most 255 instances an image.
    """
    folder = Path(folder)
    for part in ("inst", "cls"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(dataset.names):
        rows = [(c, box, *drawn) for c, per_image in enumerate(detections) if len(per_image[i][0])
                for box, drawn in zip(per_image[i][0], zip(*render(*per_image[i], binarize)))
                if box[4] >= score]
        rows = sorted(rows, key=lambda row: -row[1][4])[:255]
        size = image_size(dataset, i)
        inst, cls = np.zeros((2, *size), np.uint8)
        for number, (c, _, whole, mask) in reversed(list(enumerate(rows, 1))):
            covered = pasted(whole, mask, size)
            inst[covered], cls[covered] = number, c
        write_indexed(folder / "inst" / f"{name}.png", inst)
        write_indexed(folder / "cls" / f"{name}.png", cls)
        lines = [f"{dataset.classes[c]} {box[4]:.6f} " + " ".join(f"{v:.1f}" for v in box[:4])
                 for c, box, _, _ in rows]
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def write_indexed(path: Path, indices: np.ndarray) -> None:
    """A PNG whose pixels are `indices` (H, W) uint8 into VOC's palette."""
    from PIL import Image

    picture = Image.fromarray(indices)
    picture.putpalette(color_map().ravel().tolist())
    picture.save(path)
