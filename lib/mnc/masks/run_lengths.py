"""COCO's run-length codes of masks: the one place where segmentations of files are checked.

A code is {"size": [H, W], "counts": text or bytes}: lengths of runs of 0, 1, 0, ..., down the
columns, each number but the first three less the one before the last, in groups of five bits from
character 48 on. pycocotools trusts what it is given, up to reading memory that is not its own; it
is given nothing that has not passed `checked`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Code = dict[str, Any]

MOST_PIXELS = 2**28             # of an image or mask: 16384 x 16384
FAR = 10_000                    # pixels; polygons that reach farther are cut there first
FARTHEST = 1e12                 # of a coordinate that can be one of an image at all
MOST_BOUNDARY = 4_000_000       # pixels along the edges of polygons, 100 bytes each while drawn
MOST_DIGITS = 7                 # groups of five bits in a number


class MaskError(ValueError):
    """A segmentation that cannot be used; the message is the kind of fault: "with ..."."""


@dataclass(frozen=True)
class Mask:
    """A segmentation that has been checked: its code, pixels, and tight box x y width height."""

    code: Code                  # counts as bytes
    area: int
    box: list[float]


NEITHER = "with a segmentation that is neither polygons nor RLE"
EMPTY = "with a mask without a pixel"
CUT = "with a run-length code that is cut or damaged"
UNFILLED = "with run lengths that do not fill the image"
UNEXPLAINED = "with polygons of four numbers and a bbox that does not explain them"


def check_size(size: Sequence[Any]) -> tuple[int, int]:
    """(H, W) as whole numbers; MaskError if they cannot be those of an image."""
    try:
        height, width = (int(n) for n in size)
    except (TypeError, ValueError, OverflowError):
        raise MaskError(NEITHER) from None
    if min(height, width) < 0 or height * width > MOST_PIXELS:
        raise MaskError("with an image of an impossible size")
    return height, width


def checked(segmentation: Any, size: tuple[int, int], bbox: Any = None) -> Mask | None:
    """The mask of polygons, of runs or of a code, for an image of size (H, W).

    None where nothing is drawn: no segmentation, or empty polygons. bbox: the annotation's box,
    which says what a polygon of four numbers means. Raises MaskError if it cannot be used.
    """
    size = check_size(size)
    if not segmentation:
        return None
    if 0 in size:
        raise MaskError(EMPTY)
    try:
        if isinstance(segmentation, list):
            polygons = _polygons(segmentation, size, bbox)
            code = _rasterized(polygons, size) if polygons else None
        elif isinstance(segmentation, dict):
            code = _checked_code(segmentation, size)
        else:
            raise MaskError(NEITHER)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, MaskError):
            raise
        raise MaskError(NEITHER) from None
    return None if code is None else _measured(code)


def _measured(code: Code) -> Mask:
    pixels = int(_pycocotools().area(code))
    if not pixels:
        raise MaskError(EMPTY)
    return Mask(code, pixels, _pycocotools().toBbox(code).tolist())


# --- codes and pixels ----------------------------------------------------------------------------

def packed(mask: np.ndarray) -> Code:
    """The code of a mask (H, W)."""
    check_size(mask.shape)
    return _pycocotools().encode(np.asfortranarray(mask, np.uint8))


def encode(mask: np.ndarray) -> Code:
    """The code of a mask (H, W) as JSON has it: {"size": [H, W], "counts": text}."""
    return as_json(packed(mask))


def as_json(code: Code) -> Code:
    """The code with its counts as text."""
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def runs(code: Code) -> np.ndarray:
    """(n,) int64 lengths of the runs of 0, 1, 0, ...; MaskError if they do not fill the image."""
    height, width = check_size(code["size"])
    counts = code["counts"]
    found = _whole(counts) if isinstance(counts, list) else _unpacked(counts)
    if len(found) and not 0 <= found.min() <= found.max() <= height * width:
        raise MaskError(UNFILLED)
    if found.sum() != height * width:
        raise MaskError(UNFILLED)
    return found


def decode(code: Code) -> np.ndarray:
    """(H, W) bool"""
    lengths = runs(code)
    inside = np.arange(len(lengths)) % 2 == 1
    height, width = check_size(code["size"])
    return np.repeat(inside, lengths).reshape(width, height).T


def cropped(code: Code) -> tuple[list[int], np.ndarray] | None:
    """(tight box x1 y1 x2 y2, mask cut to it); None if the mask has no pixel.

    Only the columns that it covers are decoded: images may be large, and masks many.
    """
    lengths, height = runs(code), check_size(code["size"])[0]
    ends = np.cumsum(lengths)
    first = np.flatnonzero(lengths[1::2])
    if not len(first):
        return None
    x1, x2 = int(ends[2 * first[0]]) // height, (int(ends[2 * first[-1] + 1]) - 1) // height
    spans = np.clip(ends, x1 * height, (x2 + 1) * height) - x1 * height
    inside = np.arange(len(lengths)) % 2 == 1
    mask = np.repeat(inside, np.diff(spans, prepend=0)).reshape(-1, height).T
    ys = np.flatnonzero(mask.any(axis=1))
    return [x1, int(ys[0]), x2, int(ys[-1])], mask[ys[0]:ys[-1] + 1]


def at(mask: np.ndarray, corner: Sequence[int], size: tuple[int, int]) -> Code:
    """The code, as runs, of a mask (h, w) whose first pixel is x, y of an image (H, W)."""
    columns, rows = np.nonzero(np.diff(np.asarray(mask, np.int8).T, prepend=0, append=0))
    turns = (columns + corner[0]) * size[0] + rows + corner[1]
    # a run to the foot of the image goes on at the head of the next column
    same = np.flatnonzero(turns[1:] == turns[:-1])
    turns = np.delete(turns, np.concatenate((same, same + 1)))
    rest = [size[0] * size[1]] if not len(turns) or turns[-1] < size[0] * size[1] else []
    counts = np.diff(np.concatenate(([0], turns, rest)).astype(int))
    return {"size": list(size), "counts": counts.tolist()}


def placed(mask: np.ndarray, corner: Sequence[int], size: tuple[int, int]) -> Code:
    """`encode` of an image (H, W) that has this mask (h, w) at x, y, and nothing else."""
    check_size(size)
    return as_json(_pycocotools().frPyObjects(at(mask, corner, size), *size))


def area(code: Code) -> int:
    """Pixels of the mask"""
    return int(runs(code)[1::2].sum())


def _checked_code(given: Code, size: tuple[int, int]) -> Code:
    if check_size(given["size"]) != size:
        raise MaskError("with a mask of another size than the image")
    counts = given["counts"]
    if isinstance(counts, str):
        counts = counts.strip().encode("ascii")
    code = {"size": list(size), "counts": counts}
    lengths = runs(code)
    if (lengths[1:] == 0).any():                   # legal, but pycocotools does not write them
        return packed(decode(code))
    if isinstance(counts, list):
        return _pycocotools().frPyObjects({**code, "counts": lengths.tolist()}, *size)
    return code


def _whole(counts: list[Any]) -> np.ndarray:
    values = np.array([float(n) for n in counts])
    if not np.isfinite(values).all() or (values % 1).any() or (np.abs(values) > 2**53).any():
        raise MaskError("with run lengths that are not whole numbers")
    return values.astype(np.int64)


def _unpacked(counts: Any) -> np.ndarray:
    """The run lengths in a packed code."""
    if isinstance(counts, str):
        counts = counts.encode("ascii")
    characters = np.frombuffer(bytes(memoryview(counts)), np.uint8).astype(np.int64) - 48
    if not len(characters):
        return characters
    ends = np.flatnonzero(characters & 32 == 0)
    if characters.min() < 0 or characters.max() > 63 or not len(ends) \
            or ends[-1] != len(characters) - 1:
        raise MaskError(CUT)
    starts = np.concatenate(([0], ends[:-1] + 1))
    digits = ends - starts + 1
    if digits.max() > MOST_DIGITS:
        raise MaskError(CUT)
    place = np.arange(len(characters)) - np.repeat(starts, digits)
    values = np.add.reduceat((characters & 31) << 5 * place, starts)
    values -= np.where(characters[ends] & 16, 1 << 5 * digits, 0)
    for first in (1, 2):                            # each is stored less the one before the last
        values[first::2] = np.cumsum(values[first::2])
    return values


# --- polygons ------------------------------------------------------------------------------------

def _polygons(given: list[Any], size: tuple[int, int], bbox: Any) -> list[list[float]]:
    """Polygons as flat lists x1 y1 x2 y2 ..., finite and near the image; [] if none is drawn."""
    if all(isinstance(v, (int, float)) for v in given):                     # one, not in a list
        given = [given]
    elif all(isinstance(p, list) and len(p) == 2 for p in given) and len(given) >= 3:
        given = [given]                                                     # pairs x, y
    if not any(given):
        return []
    arrays = [np.array(polygon, np.float64).ravel() for polygon in given]
    shapes = [points for points in arrays if len(points) >= 6]
    if not shapes and all(len(points) in (0, 4) for points in arrays):
        shapes = [_rectangle(points, bbox) for points in arrays if len(points)]
    if not shapes:
        raise MaskError("with polygons of fewer than three points")
    if not all((np.abs(points) <= FARTHEST).all() for points in shapes):
        raise MaskError("with coordinates that are no numbers of pixels")
    shapes = [_cut_far(points[:len(points) // 2 * 2].reshape(-1, 2), size) for points in shapes]
    shapes = [points for points in shapes if len(points) >= 3]
    if not shapes:
        raise MaskError(EMPTY)
    if sum(map(_length, shapes)) > MOST_BOUNDARY:
        raise MaskError(f"with polygons whose edges are longer than {MOST_BOUNDARY} pixels")
    return [points.ravel().tolist() for points in shapes]


def _length(points: np.ndarray) -> float:
    """Pixels along the edges of a polygon (n, 2)"""
    return np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum() + len(points)


def _rectangle(points: np.ndarray, bbox: Any) -> np.ndarray:
    """The corners of four numbers x y w h; or of x1 y1 x2 y2, if bbox has those."""
    x, y, w, h = points
    if bbox is not None:
        box = np.array(bbox, np.float64).ravel()
        if len(box) != 4 or not np.isfinite(box).all():
            raise MaskError(UNEXPLAINED)
        if np.allclose(box, (x, y, w - x, h - y), atol=1):
            w, h = w - x, h - y
        elif not np.allclose(box, points, atol=1):
            raise MaskError(UNEXPLAINED)
    return np.array([x, y, x + w, y, x + w, y + h, x, y + h])


def _cut_far(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A polygon (n, 2), cut (Sutherland and Hodgman) where it is farther off than FAR pixels."""
    far = max(FAR, *(4 * side for side in size))
    if np.abs(points).max() <= far:
        return points
    for axis in (0, 1):
        for sign in (1, -1):
            points = _half_plane(points, axis, sign, far)
            if not len(points):
                return points
    return points


def _half_plane(points: np.ndarray, axis: int, sign: int, bound: float) -> np.ndarray:
    """What of a polygon lies where sign * coordinate <= bound."""
    inside = sign * points[:, axis] <= bound
    kept = []
    for k, end in enumerate(points):
        start, was = points[k - 1], inside[k - 1]
        if inside[k] != was:
            share = (sign * bound - start[axis]) / (end[axis] - start[axis])
            crossing = start + share * (end - start)
            crossing[axis] = sign * bound
            kept.append(crossing)
        if inside[k]:
            kept.append(end)
    return np.array(kept).reshape(-1, 2)


def _rasterized(polygons: list[list[float]], size: tuple[int, int]) -> Code:
    tools = _pycocotools()
    return tools.merge(tools.frPyObjects(polygons, *size))


def _pycocotools() -> Any:
    from pycocotools import mask

    return mask
