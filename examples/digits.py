"""Drawn digits in MNIST's files: the data of the other examples, which need no network."""

from __future__ import annotations

import struct
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 28
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf")


def draw(text: str, random: np.random.Generator) -> np.ndarray:
    """(28, 28) uint8: a sign, white on black, of some font, size, place and angle, with noise."""
    folder = Path(matplotlib.get_data_path(), "fonts/ttf")
    font = ImageFont.truetype(folder / random.choice(FONTS), int(random.integers(17, 24)))
    page = Image.new("L", (SIDE, SIDE))
    place = SIDE / 2 + random.uniform(-2, 2, 2)
    ImageDraw.Draw(page).text(tuple(place), text, 255, font, anchor="mm")
    turned = np.asarray(page.rotate(random.uniform(-15, 15), Image.Resampling.BILINEAR), float)
    return np.clip(turned + random.normal(0, 12, turned.shape), 0, 255).astype(np.uint8)


def drawn(number: int, signs: str = "0123456789", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(images (number, 28, 28), labels (number,)) uint8, the signs in a random order."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(signs), number).astype(np.uint8)
    return np.stack([draw(signs[label], random) for label in labels]), labels


def write(folder: Path, number: int, seed: int) -> tuple[Path, Path]:
    """images-idx3-ubyte and labels-idx1-ubyte in the folder, in MNIST's form."""
    images, labels = drawn(number, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "images-idx3-ubyte", folder / "labels-idx1-ubyte"
    files[0].write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
    files[1].write_bytes(struct.pack(">2I", 2049, number) + labels.tobytes())
    return files
