"""Polygons of masks that are drawn as the same masks again (mnc.masks.run_lengths draws them)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label
from scipy.spatial.distance import cdist

from mnc.masks import run_lengths

TOLERANCES = (0.75, 0.5, 0.25)      # pixels by which corners are left out, if the mask is the same


def outlines(mask: np.ndarray, corner: Sequence[float] = (0, 0)) -> list[list[float]]:
    """Polygons x1 y1 x2 y2 ... of a mask (h, w) bool: drawn, they cover its pixels and no others.

    corner: x, y of the mask's first pixel. One polygon a piece (pixels that touch at a side or a
    corner); the way round a hole is joined to that around its piece by a line there and back.
    """
    pieces, number = label(mask, np.ones((3, 3), int))
    shift = np.asarray(corner[:2], float)
    return [(_outline(pieces == piece) + shift).ravel().tolist()
            for piece in range(1, number + 1)]


def merged(polygons: Sequence[Sequence[float]]) -> list[float]:
    """One polygon x1 y1 ... of several: each joined to those before by a line there and back."""
    whole, *others = (np.reshape(polygon, (-1, 2)) for polygon in polygons)
    for ring in others:
        whole = _bridged(whole, ring)
    return np.asarray(whole).ravel().tolist()


def _outline(piece: np.ndarray) -> np.ndarray:
    """(n, 2) x, y around a mask (h, w) of one piece, and around its holes."""
    from skimage.measure import approximate_polygon, find_contours

    closed = [ring[:, ::-1] - 0.5 for ring in find_contours(
        np.pad(piece, 1).astype(float), 0.5, fully_connected="high")]
    for tolerance in TOLERANCES:
        simple = [approximate_polygon(ring, tolerance) for ring in closed]
        if all(len(ring) > 3 for ring in simple):
            whole = _whole(simple)
            if np.array_equal(_drawn(whole, piece.shape), piece):
                return whole
    return _whole(closed)


def _whole(closed: Sequence[np.ndarray]) -> np.ndarray:
    """The longest way round, and the others joined to it; each ends where it begins."""
    outer, *holes = sorted((ring[:-1] for ring in closed), key=lambda ring: -np.ptp(ring, 0).prod())
    for hole in holes:
        outer = _bridged(outer, hole)
    return outer


def _bridged(outer: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rings (n, 2) and (m, 2) as one (n + m + 2, 2), joined where they are nearest."""
    i, j = np.unravel_index(cdist(outer, other).argmin(), (len(outer), len(other)))
    return np.concatenate((outer[:i + 1], other[j:], other[:j + 1], outer[i:]))


def _drawn(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    try:
        found = run_lengths.checked([ring.ravel().tolist()], size)
    except run_lengths.MaskError:
        found = None
    return np.zeros(size, bool) if found is None else run_lengths.decode(found.code)
