"""A small data set in VOC's layout: discs, squares and triangles on uneven grounds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("disc", "square", "triangle")
CORNERS = {"square": ((0, 0), (1, 0), (1, 1), (0, 1)), "triangle": ((0.5, 0), (1, 1), (0, 1))}
ANNOTATION = """<annotation><filename>{name}.jpg</filename>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size>
{objects}</annotation>
"""
OBJECT = """<object><name>{0}</name><difficult>0</difficult><bndbox><xmin>{1}</xmin><ymin>{2}</ymin>
<xmax>{3}</xmax><ymax>{4}</ymax></bndbox></object>
"""

Object = tuple[str, int, int, int, int]     # class, xmin, ymin, xmax, ymax


def draw_set(folder: Path, *, train: int, test: int, seed: int = 7) -> None:
    """JPEGImages/, Annotations/, labelmap_voc.prototxt, and the lists trainval.txt and test.txt"""
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for subset, count in (("trainval", train), ("test", test)):
        lines = [_write(folder, f"{subset}_{i:04d}", *draw_image(random)) for i in range(count)]
        (folder / f"{subset}.txt").write_text("".join(lines))
    names = ("none_of_the_above", *CLASSES)
    (folder / "labelmap_voc.prototxt").write_text("".join(
        f'item {{ name: "{name}" label: {i} display_name: "{name if i else "background"}" }}\n'
        for i, name in enumerate(names)))


def draw_image(random: np.random.Generator) -> tuple[np.ndarray, list[Object]]:
    """(H, W, 3) uint8 and one to three objects that hardly overlap"""
    height, width = (int(n) for n in random.integers(90, 140, 2))
    small = random.integers(40, 216, (4, 4, 3)) * 0.5 + random.integers(20, 108, 3)
    image = cv2.resize(small.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    objects: list[Object] = []
    for _ in range(random.integers(1, 4)):
        side = int(min(height, width) * random.uniform(0.2, 0.6))
        wide, high = side, int(side * random.uniform(0.8, 1.25))
        if high >= height:
            continue
        x, y = int(random.integers(width - wide)), int(random.integers(height - high))
        box = (x, y, x + wide, y + high)
        if all(_apart(box, other[1:]) for other in objects):
            kind = CLASSES[random.integers(len(CLASSES))]
            _draw(image, kind, box, random)
            objects.append((kind, *box))
    noise = random.normal(0, 6, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8), objects


def _apart(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return min(a[2], b[2]) < max(a[0], b[0]) or min(a[3], b[3]) < max(a[1], b[1])


def _draw(image: np.ndarray, kind: str, box: tuple[int, ...],
          random: np.random.Generator) -> None:
    x1, y1, x2, y2 = box
    ground = image[y1:y2, x1:x2].mean((0, 1))
    color = np.where(ground > 127, ground - random.integers(70, 110), ground + 80).tolist()
    if kind == "disc":
        cv2.ellipse(image, ((x1 + x2) // 2, (y1 + y2) // 2), ((x2 - x1) // 2, (y2 - y1) // 2), 0,
                    0, 360, color, -1, cv2.LINE_AA)
        return
    points = [[round(x1 + u * (x2 - x1)), round(y1 + v * (y2 - y1))] for u, v in CORNERS[kind]]
    cv2.fillPoly(image, [np.array(points, np.int32)], color, cv2.LINE_AA)


def _write(folder: Path, name: str, image: np.ndarray, objects: list[Object]) -> str:
    cv2.imwrite(str(folder / f"JPEGImages/{name}.jpg"), image)
    (folder / f"Annotations/{name}.xml").write_text(ANNOTATION.format(
        name=name, height=image.shape[0], width=image.shape[1],
        objects="".join(OBJECT.format(*each) for each in objects)))
    return f"JPEGImages/{name}.jpg Annotations/{name}.xml\n"
