"""Drawn scenes: a small instance segmentation task with exact masks, written in the SBD layout.

    python -m mnc.data.scenes OUT [--seed 0] [--train 400] [--val 100]

Five classes, each two pairs of (outline, texture). Every outline and every texture occurs in two
classes or more and colours are random, so that none of them alone gives the class away. Instances
overlap, lie beside others of their class, and keep at least MIN_VISIBLE of themselves in sight;
boxes and masks are those of the visible part. Image i of a split depends on (seed, split, i) alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mnc.data import sbd
from mnc.data.classes import SCENE_CLASSES as CLASSES
from mnc.data.dataset import with_progress
from mnc.data.scene_outlines import OUTLINES, posed
from mnc.data.scene_textures import TEXTURES, background, hsv

VERSION = 1                 # of the drawing; a folder of another version is drawn again
KINDS = {                   # class -> its pairs of outline and texture
    "agate": (("cross", "stripes"), ("triangle", "stripes")),
    "beryl": (("star", "spots"), ("triangle", "spots")),
    "coral": (("crescent", "stripes"), ("ell", "spots")),
    "garnet": (("cross", "marble"), ("star", "marble")),
    "opal": (("crescent", "marble"), ("ell", "marble")),
}
SPLITS = {"train": 400, "val": 100}
MIN_SIDE, MAX_SIDE = 20, 160        # of the tight box of the visible part, pixels
MIN_AREA = 150                      # visible pixels
MIN_VISIBLE = 0.45                  # visible / whole
TILT = 40                           # degrees
CONTRAST = 95                       # least distance in BGR from the ground and from instances met


@dataclass(frozen=True)
class Scene:
    """image (H, W, 3) uint8 BGR; owner (H, W) uint8, 0 = background, n = n-th instance;
    labels (n,) in 1..5; hidden (n,) share of each instance's pixels that others cover."""

    image: np.ndarray
    owner: np.ndarray
    labels: np.ndarray
    hidden: np.ndarray


class Layout:
    """Which instance owns each pixel; a newcomer lies on top, if all can still be seen enough."""

    def __init__(self, height: int, width: int) -> None:
        self.owner = np.zeros((height, width), np.uint8)
        self.labels: list[int] = []
        self.areas: list[int] = []

    def place(self, stencil: np.ndarray, x: int, y: int, label: int) -> bool:
        """Put the stencil (h, w) with its corner at (x, y); False where that hides too much."""
        owner = self.owner.copy()
        window = owner[y:y + stencil.shape[0], x:x + stencil.shape[1]]
        if window.shape != stencil.shape or x < 0 or y < 0:
            return False
        met = [k for k in np.unique(window[stencil]) if k]
        areas = [*self.areas, int(stencil.sum())]
        window[stencil] = len(areas)
        if not all(self._in_sight(owner, k, areas[k - 1]) for k in (*met, len(areas))):
            return False
        self.owner, self.areas = owner, areas
        self.labels.append(label)
        return True

    @staticmethod
    def _in_sight(owner: np.ndarray, k: int, area: int) -> bool:
        visible = owner == k
        count = np.count_nonzero(visible)
        if count < max(MIN_AREA, MIN_VISIBLE * area):
            return False
        sides = [np.ptp(np.flatnonzero(visible.any(axis=axis))) + 1 for axis in (0, 1)]
        return bool(min(sides) >= MIN_SIDE and max(sides) <= MAX_SIDE)

    def centre(self, k: int) -> np.ndarray:
        """Middle (x, y) of the visible part of instance k."""
        rows, columns = np.nonzero(self.owner == k)
        return np.array([columns.mean(), rows.mean()])

    def hidden(self) -> np.ndarray:
        """(N,) the share of each instance that others cover"""
        visible = np.bincount(self.owner.ravel(), minlength=len(self.areas) + 1)[1:]
        return 1 - visible / np.array(self.areas)


def draw_scene(rng: np.random.Generator) -> Scene:
    """One scene of about 200 x 260 pixels with 2 to 8 instances."""
    height, width = int(rng.integers(192, 209)), int(rng.integers(250, 271))
    image = background(rng, height, width)
    layout = Layout(height, width)
    colours: list[np.ndarray] = []
    wanted = int(rng.integers(2, 9))
    for attempt in range(400):
        if len(colours) == wanted or (attempt > 60 and len(colours) >= 2):
            break
        newcomer(rng, image, layout, colours, wanted)
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.7))
    noisy = blurred + rng.normal(0, rng.uniform(1, 4), image.shape)
    return Scene(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), layout.owner,
                 np.array(layout.labels), layout.hidden())


def newcomer(rng: np.random.Generator, image: np.ndarray, layout: Layout,
             colours: list[np.ndarray], wanted: int) -> None:
    """Try to add one instance: beside one of its class, upon any other, or anywhere.

    image (H, W, 3) float32 BGR.
    """
    host, label = 0, int(rng.integers(1, len(CLASSES)))
    if colours and rng.uniform() < 0.88:
        host = int(rng.integers(1, len(colours) + 1))
        if rng.uniform() < 0.5:
            label = layout.labels[host - 1]
    kinds = KINDS[CLASSES[label]]
    outline, texture = kinds[rng.integers(len(kinds))]
    side = np.clip(rng.gamma(9, 8.5) * (5.5 / (wanted + 1)) ** 0.3, 34, 150)
    polygon = posed(OUTLINES[outline](rng), rng, side, TILT)
    alpha = coverage(polygon)
    stencil = alpha >= 0.5
    for _ in range(12):
        x, y = position(rng, layout, host, stencil.shape)
        before = layout.owner
        if layout.place(stencil, x, y, label):
            window = np.s_[y:y + alpha.shape[0], x:x + alpha.shape[1]]
            colours.append(contrasting(rng, image[window], before[window], colours))
            paint(rng, image, window, alpha, colours[-1], TEXTURES[texture])
            return


def position(rng: np.random.Generator, layout: Layout, host: int,
             shape: tuple[int, int]) -> tuple[int, int]:
    """Corner (x, y) for a stencil of this shape: anywhere (host 0) or partly upon the host."""
    height, width = layout.owner.shape
    if not host:
        x = rng.integers(max(1, width - shape[1]))
        return int(x), int(rng.integers(max(1, height - shape[0])))
    angle = rng.uniform(0, 2 * np.pi)
    sizes = np.sqrt(layout.areas[host - 1]) + np.sqrt(shape[0] * shape[1])
    reach = sizes * rng.uniform(0.40, 0.60)
    centre = layout.centre(host) + reach * np.array([np.cos(angle), np.sin(angle)])
    corner = np.rint(centre - np.array(shape[::-1]) / 2).astype(int)
    return int(corner[0]), int(corner[1])


def coverage(polygon: np.ndarray) -> np.ndarray:
    """Share of each pixel inside the polygon, (h, w) in [0, 1], from 4 x 4 samples a pixel."""
    width, height = np.ceil(polygon.max(axis=0)).astype(int)
    fine = np.zeros((4 * height, 4 * width), np.float32)
    cv2.fillPoly(fine, [np.rint(4 * polygon - 0.5).astype(np.int32)], 1.0)
    return cv2.resize(fine, (int(width), int(height)), interpolation=cv2.INTER_AREA)


def contrasting(rng: np.random.Generator, ground: np.ndarray, owner: np.ndarray,
                colours: list[np.ndarray]) -> np.ndarray:
    """A colour away from the ground (h, w, 3) and from the colours of the instances met there."""
    near = [ground.reshape(-1, 3).mean(axis=0)] + [colours[k - 1] for k in np.unique(owner) if k]
    draws = [hsv(rng.uniform(), rng.uniform(0.35, 0.95), rng.uniform(0.35, 1.0)) for _ in range(30)]
    margins = [min(np.linalg.norm(colour - other) for other in near) for colour in draws]
    best = draws[int(np.argmax(margins))]
    return next((c for c, m in zip(draws, margins) if m >= CONTRAST), best)


def paint(rng: np.random.Generator, image: np.ndarray, window: tuple[slice, slice],
          alpha: np.ndarray, colour: np.ndarray,
          texture: Callable[[np.random.Generator, int, int], np.ndarray]) -> None:
    """Paint one instance into image[window].

    Below it a soft shadow; the texture mixes the colour and a second one, darker or lighter, and
    the rim is still darker or lighter than that.

    image (H, W, 3) float32 BGR, alpha (h, w) of the window.
    """
    height, width = alpha.shape
    if colour.mean() > 110:
        second = colour * rng.uniform(0.35, 0.5)
        edge = second * 0.6
    else:
        second = 255 - (255 - colour) * rng.uniform(0.4, 0.55)
        edge = 255 - (255 - second) * 0.6
    mix = texture(rng, height, width)[..., None] * 0.9
    body = colour * (1 - mix) + second * mix
    inside = np.pad(alpha >= 0.5, 1).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    rim = np.clip(1.4 - depth / 2.2, 0, 1)[..., None] * 0.75
    body = body * (1 - rim) + edge * rim
    shadow = np.zeros(image.shape[:2], np.float32)
    shadow[window] = alpha
    image *= 1 - 0.35 * cv2.GaussianBlur(shadow, (0, 0), 2.5)[..., None]
    image[window] = image[window] * (1 - alpha[..., None]) + body * alpha[..., None]


def scene(seed: int, split: str, index: int) -> Scene:
    """The scene of this place in the set; the same whichever others are drawn."""
    return draw_scene(np.random.default_rng((seed, list(SPLITS).index(split), index)))


def draw(folder: str | os.PathLike, *, seed: int = 0, train: int = SPLITS["train"],
         val: int = SPLITS["val"], progress: bool = True) -> Path:
    """Draw the set into `folder` (SBD layout) unless it is there already; returns the folder.

    Drawn beside it first and renamed at the end: a folder with a manifest is complete.
    """
    folder = Path(folder)
    wanted = {"version": VERSION, "seed": seed, "train": train, "val": val}
    if folder.exists() and not _replaceable(folder, wanted):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        _write(work, wanted, progress)
        work.chmod(0o755)
        if folder.exists():
            if not _replaceable(folder, wanted):        # another process was faster
                return folder
            shutil.rmtree(folder)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _replaceable(folder: Path, wanted: dict) -> bool:
    """False when the folder holds what is wanted, True when it is another drawing of ours."""
    if not any(folder.iterdir()):
        return True
    try:
        have = json.loads((folder / "manifest.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        raise FileExistsError(f"{folder}: not empty and without a readable manifest.json, so it "
                              "was not drawn by mnc.data.scenes; name another folder or remove "
                              "this one") from None
    return any(have.get(key) != value for key, value in wanted.items())


def _write(folder: Path, wanted: dict, progress: bool) -> None:
    hidden = {}
    jobs = [(split, i) for split in SPLITS for i in range(wanted[split])]
    names = {split: [f"{split}_{i:04d}" for i in range(wanted[split])] for split in SPLITS}
    for split, i in with_progress(jobs, "drawing scenes", progress):
        drawn, name = scene(wanted["seed"], split, i), names[split][i]
        sbd.write_sample(folder, name, drawn.image, drawn.owner, drawn.labels, len(CLASSES))
        hidden[name] = [round(float(h), 4) for h in drawn.hidden]
    for split in SPLITS:
        (folder / f"{split}.txt").write_text("".join(name + "\n" for name in names[split]))
    (folder / "classes.txt").write_text("".join(name + "\n" for name in CLASSES[1:]))
    (folder / "manifest.json").write_text(json.dumps({**wanted, "hidden": hidden}) + "\n")


@dataclass(frozen=True)
class Statistics:
    """What a drawn split holds; shares are of all its instances."""

    images: int
    instances: int
    per_image: tuple[int, int]          # least and most
    sides: np.ndarray                   # (instances, 2) width and height of the visible box
    hidden: float                       # share of which another covers more than 2 %
    touching: float                     # share that touches another of its class
    filling: np.ndarray                 # (instances,) visible pixels / pixels of the tight box
    classes: dict[str, int]


def statistics(scenes: Iterable[Scene]) -> Statistics:
    """Measure scenes, e.g. statistics(scene(0, "val", i) for i in range(100))."""
    counts, sides, filling, touching = [], [], [], []
    hidden: list[bool] = []
    labels: list[int] = []
    for drawn in scenes:
        counts.append(len(drawn.labels))
        labels.extend(drawn.labels)
        hidden.extend(drawn.hidden > 0.02)
        for k, label in enumerate(drawn.labels, start=1):
            visible = drawn.owner == k
            rows, columns = np.nonzero(visible)
            sides.append((np.ptp(columns) + 1, np.ptp(rows) + 1))
            filling.append(len(rows) / np.prod(sides[-1]))
            around = cv2.dilate(visible.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            met = [m for m in np.unique(drawn.owner[around]) if m not in (0, k)]
            touching.append(any(drawn.labels[m - 1] == label for m in met))
    totals = {CLASSES[c]: int(np.sum(np.array(labels) == c)) for c in range(1, len(CLASSES))}
    return Statistics(len(counts), len(labels), (min(counts), max(counts)), np.array(sides),
                      float(np.mean(hidden)), float(np.mean(touching)), np.array(filling), totals)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mnc.data.scenes",
                                     description="Draw the set of scenes in the SBD layout.")
    parser.add_argument("out", help="folder to write: img, inst, cls, and the lists")
    parser.add_argument("--seed", type=int, default=0)
    for split, number in SPLITS.items():
        parser.add_argument(f"--{split}", type=int, default=number, metavar="N",
                            help=f"images (default {number})")
    args = parser.parse_args(argv)
    print(draw(args.out, seed=args.seed, train=args.train, val=args.val))
    return 0


if __name__ == "__main__":
    sys.exit(main())
