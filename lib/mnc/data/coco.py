"""COCO instances: a JSON of images, categories and annotations (polygons, RLE, crowd) and a folder.

What is clear is kept, also where it is not as COCO writes it: numbers and flags as text, a polygon
that is not in a list, pairs of coordinates, rectangles, boxes alone. What is not is left out, and
why is said. File names stay inside the folder.

Boxes are tight around the masks, in whole inclusive pixels; where an annotation has no mask they
are the file's, x y w h -> x, y, x + w - 1, y + h - 1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mnc.data.coco_index import Index, given_box, parse, read_index, rows_of
from mnc.data.dataset import Annotation, DataError, listed
from mnc.data.images import read_image
from mnc.masks.run_lengths import as_json

log = logging.getLogger("mnc")


class Indexed:
    """A data set of an index: images and annotations by their numbers."""

    def __init__(self, name: str, index: Index, paths: Sequence[str],
                 notes: Sequence[str] = ()) -> None:
        self.name, self.index, self.paths = name, index, paths
        dropped = index.dropped.tolist()
        if dropped:
            log.warning("%s: %d annotations cannot be used and are left out:\n%s", name,
                        int(index.num_dropped), listed([*dropped, *notes]))
        elif notes:
            log.warning("%s:\n%s", name, listed(notes))
        self.classes = ("__background__", *index.categories.tolist())
        self.category_ids = [int(number) for number in index.category_ids.tolist()]
        self.image_ids = [int(number) for number in index.image_ids.tolist()]
        self.files = index.files.tolist()
        self.names = [os.path.splitext(file)[0] for file in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def image_path(self, i: int) -> str:
        return self.paths[i]

    def image(self, i: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR"""
        return read_image(self.image_path(i), tuple(self.index.sizes[i].tolist()))

    def annotation(self, i: int) -> Annotation:
        index = self.index
        size = tuple(index.sizes[i].tolist())
        rows = range(index.starts[i], index.starts[i + 1])
        places = slice(rows.start, rows.stop)
        cut = [index.mask(row, size) for row in rows]
        boxes = [index.boxes[row] if found is None else found[0]
                 for row, found in zip(rows, cut)]
        return Annotation(np.array(boxes, np.float32).reshape(-1, 4), index.labels[places],
                          [None if found is None else found[1] for found in cut], size,
                          crowd=index.crowd[places], areas=index.areas[places])


class COCO(Indexed):
    """The images of an annotation file, in the order of their ids.

    image_ids, category_ids: the file's own numbers, of images and of classes 1..K-1.
    """

    def __init__(self, annotations: str | os.PathLike, images: str | os.PathLike,
                 name: str | None = None, *, cache: str | os.PathLike | None = None) -> None:
        self.file, self.folder = Path(annotations), Path(images)
        if not self.file.is_file():
            raise DataError(f"{self.file}: no such annotation file")
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder of images")
        index = read_index(self.file, None if cache is None else Path(cache))
        super().__init__(name or f"coco:{annotations}:{images}", index,
                         [str(self.folder / file) for file in index.files.tolist()])

    def entries(self) -> Iterator[dict]:
        """The annotations that can be used, as COCO's metric takes them: checked, masks as RLE.

        Boxes are the file's where it has them.
        """
        content = parse(self.file)
        kept = rows_of(content, lambda kind, each: None)
        for number, (row, given) in enumerate(kept, 1):
            x1, y1, x2, y2 = row.box
            entry = {"id": number, "image_id": self.image_ids[row.image],
                     "category_id": self.category_ids[row.label - 1],
                     "bbox": given_box(given) or [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
                     "area": row.area, "iscrowd": int(row.crowd)}
            if row.mask:
                entry["segmentation"] = as_json(row.mask.code)
            yield entry
