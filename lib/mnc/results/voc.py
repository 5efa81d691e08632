"""Results in formats of VOC: text files of boxes, index pictures of instances and classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnc.data.dataset import DataError
from mnc.drawing.instances import color_map
from mnc.evaluation.average_precision import Found, render
from mnc.results.coco import image_size, pasted


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


def read_voc_det(folder: str | Path, dataset) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """detections[class][image], without masks, of the files *_CLASS.txt in a folder."""
    places = {str(name): i for i, name in enumerate(dataset.names)}
    found: list[list[list]] = [[[] for _ in places] for _ in dataset.classes]
    for c, label in list(enumerate(dataset.classes))[1:]:
        paths = sorted(Path(folder).glob(f"*_{label}.txt"))
        if len(paths) != 1:
            raise DataError(f"{folder}: {len(paths)} files *_{label}.txt; VOC's detection files "
                            "are one a class")
        for number, line in enumerate(paths[0].read_text().splitlines(), 1):
            try:
                name, score, *corners = line.split()
                x1, y1, x2, y2 = (float(v) - 1 for v in corners)
                found[c][places[name]].append((x1, y1, x2, y2, float(score)))
            except (ValueError, KeyError) as error:
                raise DataError(f"{paths[0]}:{number}: not NAME SCORE X1 Y1 X2 Y2 of an image of "
                                f"{dataset.name}: {line!r}") from error
    return [[(np.array(rows, float).reshape(-1, 5), np.zeros((len(rows), 1, 0, 0)))
             for rows in row] for row in found]


def write_instance_pictures(folder: str | Path, dataset, detections: Sequence[Found],
                            binarize: float, score: float = 0.5) -> None:
    """FOLDER/inst/NAME.png, cls/NAME.png (palette PNGs as VOC's) and NAME.txt; a NAME may hold /.

    inst: number of the instance, 0 where there is none, the better score on top; cls: its class.
    Line n of the text: CLASS SCORE X1 Y1 X2 Y2 of instance n. At most 255 instances an image.
    """
    folder = Path(folder)
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
        for part in ("inst", "cls", ""):
            (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
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
