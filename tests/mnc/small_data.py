"""Small data in the formats that the big data sets come in."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

CATEGORIES = [{"id": 7, "name": "boat"}, {"id": 3, "name": "kite"}]


def voc_palette() -> np.ndarray:
    """(256, 3) R, G, B: bits 0, 3, 6 of the number go to R, 1, 4, 7 to G, the others to B."""
    palette = np.zeros((256, 3), np.uint8)
    for n in range(256):
        for bit in range(8):
            palette[n, bit % 3] |= (n >> bit & 1) << (7 - bit // 3)
    return palette


def write_palette_png(path: Path, index: np.ndarray, palette: np.ndarray) -> None:
    """A PNG of palette indices (H, W), as the VOC's segmentations are."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width = index.shape
    lines = b"".join(b"\0" + line.tobytes() for line in index.astype(np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"PLTE", palette.tobytes()) + chunk(b"IDAT", zlib.compress(lines))
                     + chunk(b"IEND", b""))


def turned(jpeg: bytes) -> bytes:
    """The same JPEG file of a camera that was held sideways."""
    orientation = struct.pack("<HHII", 0x0112, 3, 1, 6)                 # 90 degrees
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + orientation + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def write_voc(folder: Path, name: str, objects: list[tuple], size: tuple[int, int] = (7, 11),
              split: str = "train") -> None:
    """Image and XML of objects (class, xmin, ymin, xmax, ymax, difficult), counted from 1."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "JPEGImages" / f"{name}.jpg"), np.full((*size, 3), 90, np.uint8))
    rows = "".join(
        f"<object><name>{label}</name><pose>Left</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>\n"
        for label, x1, y1, x2, y2, difficult in objects)
    (folder / "Annotations" / f"{name}.xml").write_text(
        f"<annotation><folder>VOC2007</folder><filename>{name}.jpg</filename>\n"
        f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>\n"
        f"<segmented>0</segmented>\n{rows}</annotation>\n")
    with open(folder / "ImageSets" / "Main" / f"{split}.txt", "a") as file:
        file.write(f"{name}\n")


def write_coco(folder: Path, count: int = 4, size: tuple[int, int] = (60, 80),
               seed: int = 0) -> tuple[Path, Path]:
    """(annotation file, image folder): images of a bright box (polygon), a dark disc (RLE as
    runs), a striped crowd (RLE as a code) and a box without a segmentation."""
    from pycocotools import mask as coco_mask

    rng, images, annotations = np.random.default_rng(seed), [], []
    (folder / "images").mkdir(parents=True)
    height, width = size
    for i in range(count):
        picture = rng.integers(90, 130, (*size, 3)).astype(np.uint8)
        x, y = (int(v) for v in rng.integers(2, 10, 2))
        disc, crowd = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        cv2.circle(disc, (width - 20, y + 15), 10, 1, -1)
        crowd[height - 12:height - 2, 4::2] = 1
        picture[y:y + 24, x:x + 30] = 230
        picture[disc == 1] = 20
        picture[crowd == 1] = 60
        polygon = [x, y, x + 30, y, x + 30, y + 24, x, y + 24]
        code = coco_mask.encode(np.asfortranarray(crowd))
        shapes = ((3, [polygon], 0), (7, {"size": list(size), "counts": runs(disc)}, 0),
                  (3, {"size": list(size), "counts": code["counts"].decode()}, 1))
        images.append({"id": 100 - i, "file_name": f"picture {i}.png", "height": height,
                       "width": width})
        cv2.imwrite(str(folder / "images" / images[-1]["file_name"]), picture)
        for category, segmentation, is_crowd in shapes:
            annotations.append(annotation_of(segmentation, size) | {
                "id": len(annotations) + 1, "image_id": 100 - i, "category_id": category,
                "iscrowd": is_crowd})
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder / "annotations.json", folder / "images"


def annotation_of(segmentation: list | dict, size: tuple[int, int]) -> dict:
    """segmentation, bbox and area as COCO has them."""
    from pycocotools import mask as coco_mask

    code = coco_mask.frPyObjects(segmentation, *size) \
        if isinstance(segmentation, list) or isinstance(segmentation["counts"], list) \
        else segmentation
    code = coco_mask.merge(code) if isinstance(code, list) else code
    return {"segmentation": segmentation, "bbox": coco_mask.toBbox(code).tolist(),
            "area": float(coco_mask.area(code))}


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, the first of zeros."""
    flat = np.concatenate(([0], mask.ravel(order="F"), [0]))
    turns = np.flatnonzero(np.diff(flat)).tolist()
    ends = [0, *turns] + ([mask.size] if not turns or turns[-1] != mask.size else [])
    return np.diff(ends).tolist()


def write_mcg(path: Path, superpixels: np.ndarray, lists: list[list[int]]) -> None:
    """Regions as the MCG project publishes them: superpixels and the lists of their numbers."""
    import scipy.io

    labels, scores = np.empty((len(lists), 1), object), np.linspace(1, 0.1, len(lists))[:, None]
    for row, members in enumerate(lists):
        labels[row, 0] = np.array([members], np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"superpixels": superpixels.astype(np.uint16), "labels": labels,
                            "scores": scores})
