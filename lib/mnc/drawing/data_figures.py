"""Histograms of a data set, for mnc.commands.data_show."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mnc.drawing.names import any_letters, as_they_are

MOST_BARS = 25              # classes


class Found(Protocol):
    """What mnc.training.fitting.Findings has of G instances in N images."""

    @property
    def sizes(self) -> np.ndarray:
        """(N, 2) height, width."""

    @property
    def boxes(self) -> np.ndarray:
        """(G, 2) height, width."""

    @property
    def labels(self) -> np.ndarray:
        """(G,) 1..K-1."""

    @property
    def classes(self) -> tuple[str, ...]:
        """K names."""

    @property
    def counts(self) -> np.ndarray:
        """(N,) instances of each image."""

    @property
    def sides(self) -> np.ndarray:
        """(G,) square roots of the areas of boxes."""


def draw_findings(found: Found) -> np.ndarray:
    """A picture (H, W, 3) BGR: sizes, shapes, numbers of instances; classes; sizes of images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 6.4), layout="constrained", dpi=100)
    canvas = FigureCanvasAgg(figure)
    sizes, shapes, numbers, classes, images, places = figure.subplots(2, 3).ravel()
    _histogram(sizes, found.sides, "instances by side, √(width · height), in pixels")
    _histogram(shapes, found.boxes[:, 0] / found.boxes[:, 1], "instances by height / width")
    _histogram(places, found.sides / found.sizes.min(axis=1)[image_of(found)],
               "instances by side / short side of the image")
    most = int(found.counts.max())
    numbers.hist(found.counts, bins=np.linspace(0.5, most + 0.5, min(most, 40) + 1), color=COLOR)
    numbers.set_title("images by number of instances")
    _bars(classes, found)
    images.scatter(found.sizes[:, 1], found.sizes[:, 0], s=12, alpha=.4, color=COLOR)
    height, width = found.sizes.max(axis=0) * 1.05
    images.set(title="images: width, height in pixels", xlim=(0, width), ylim=(0, height))
    with any_letters():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 2::-1].copy()


COLOR = "#3273a8"


def image_of(found: Found) -> np.ndarray:
    """(G,) the image of each instance: they come image by image."""
    return np.repeat(np.arange(len(found.counts)), found.counts)


def _histogram(panel, values: np.ndarray, title: str) -> None:
    """On a logarithmic axis, with the median."""
    low, high = float(values.min()), float(values.max())
    panel.hist(values, bins=np.geomspace(low * .98, high * 1.02, 40), color=COLOR)
    middle = float(np.median(values))
    panel.axvline(middle, color="black", linewidth=1)
    panel.set(xscale="log", title=f"{title}\nmedian {middle:.3g}, {low:.3g} to {high:.3g}")
    ticks = [step * 10.0 ** k for k in range(-4, 6) for step in (1, 2, 5)]
    panel.set_xticks([tick for tick in ticks if low * .9 <= tick <= high * 1.1])
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter("")


def _bars(panel, found: Found) -> None:
    counts = np.bincount(found.labels.astype(int), minlength=len(found.classes))[1:]
    order = np.argsort(-counts, kind="stable")[:MOST_BARS]
    panel.barh(np.arange(len(order)), counts[order], color=COLOR)
    panel.set_ylim(-0.6, max(len(order), 6) - 0.4)
    panel.set_yticks(np.arange(len(order)))
    panel.set_yticklabels([found.classes[k + 1][:30] for k in order], **as_they_are())
    panel.invert_yaxis()
    more = f", the {MOST_BARS} largest of {len(counts)}" if len(counts) > MOST_BARS else ""
    panel.set_title(f"instances by class{more}")
