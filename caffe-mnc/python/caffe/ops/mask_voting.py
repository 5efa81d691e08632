"""Mask voting: the masks of overlapping boxes, averaged on the image, give one box and mask.

For each result: its members' masks are drawn on the image, weighted and summed; the tight box of
the values above the threshold is the new box, the sum inside it resampled to S x S the new mask.

Sampling (drawing and resampling alike) is corner aligned at 0, bilinear, except that a point whose
lower pixel is the last of EITHER axis takes that pixel's value without interpolation.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mask_voting(boxes: Tensor, masks: Tensor, candidate_inds: Tensor, candidate_ends: Tensor,
                candidate_weights: Tensor, height: int, width: int,
                threshold: float = 0.4) -> tuple[Tensor, Tensor]:
    """Members candidate_inds[candidate_ends[k-1]:candidate_ends[k]] vote for result k.

    boxes (N, 4) inclusive float pixels; masks (N, S, S) or (N, 1, S, S); candidate_weights as long
    as candidate_inds -> masks (K, S, S), boxes (K, 4) int32 (corner W // 2, H // 2 if nothing
    exceeds the threshold).

    Raises ValueError for other shapes, TypeError where the dtypes differ.
    """
    masks = masks.reshape(masks.shape[0], *masks.shape[-2:])
    if boxes.shape != (masks.shape[0], 4) or not masks.shape[1] == masks.shape[2] >= 1:
        raise ValueError(f"mask_voting: boxes must be (N, 4) and masks (N, S, S), "
                         f"got {tuple(boxes.shape)} and {tuple(masks.shape)}")
    if not boxes.is_floating_point() or not boxes.dtype == masks.dtype == candidate_weights.dtype:
        raise TypeError(f"mask_voting: boxes, masks and candidate_weights must have one floating "
                        f"dtype, got {boxes.dtype}, {masks.dtype} and {candidate_weights.dtype}")
    if height < 1 or width < 1:
        raise ValueError(f"mask_voting: the image must be at least 1 x 1, got {height} x {width}")
    _check_candidates(candidate_inds, candidate_ends, candidate_weights, boxes.shape[0])
    return mask_voting_forward(boxes.contiguous(), masks.contiguous(), candidate_inds.long(),
                               candidate_ends.long(), candidate_weights, height, width, threshold)


def _check_candidates(inds: Tensor, ends: Tensor, weights: Tensor, boxes: int) -> None:
    """The kernels rely on it that each candidate is one of the boxes and that the ends rise."""
    if inds.dim() != 1 or ends.dim() != 1 or inds.shape != weights.shape:
        raise ValueError(f"mask_voting: candidates, their ends and one weight a candidate are "
                         f"needed, one axis each, got {tuple(inds.shape)}, {tuple(ends.shape)} "
                         f"and {tuple(weights.shape)}")
    if torch.compiler.is_compiling():
        return
    if len(inds) and (int(inds.min()) < 0 or int(inds.max()) >= boxes):
        raise IndexError(f"mask_voting: candidate_inds go from {int(inds.min())} to "
                         f"{int(inds.max())}, but there are {boxes} boxes, numbered from 0")
    steps = ends.diff(prepend=ends.new_zeros(1))
    if bool((steps < 0).any()) or (len(ends) and int(ends[-1]) > len(inds)):
        raise ValueError(f"mask_voting: candidate_ends must rise from 0 to the number of "
                         f"candidates, {len(inds)}, got {ends.tolist()}")


@torch.library.custom_op("caffe::mask_voting", mutates_args=())
def mask_voting_forward(boxes: Tensor, masks: Tensor, candidate_inds: Tensor,
                        candidate_ends: Tensor, candidate_weights: Tensor, height: int, width: int,
                        threshold: float) -> tuple[Tensor, Tensor]:
    results, side = candidate_ends.shape[0], masks.shape[-1]
    out_masks = masks.new_zeros(results, side, side)
    out_boxes = torch.empty(results, 4, dtype=torch.int32, device=boxes.device)
    drawn = [_draw(box, mask, height, width) for box, mask in zip(boxes, masks)]
    start = 0
    for k, end in enumerate(candidate_ends.tolist()):
        votes = masks.new_zeros(height, width)
        for member, weight in zip(candidate_inds[start:end].tolist(), candidate_weights[start:end]):
            window, values = drawn[member]
            votes[window] += weight * values
        out_boxes[k] = _tight_box(votes > threshold)
        out_masks[k] = _resample(votes, out_boxes[k], side)
        start = end
    return out_masks, out_boxes


@mask_voting_forward.register_fake
def _(boxes, masks, candidate_inds, candidate_ends, candidate_weights, height, width, threshold):
    results, side = candidate_ends.shape[0], masks.shape[-1]
    return (masks.new_empty((results, side, side)),
            boxes.new_empty((results, 4), dtype=torch.int32))


def _draw(box: Tensor, mask: Tensor, height: int, width: int) -> tuple[tuple[slice, ...], Tensor]:
    """The window of the pixels with x1 <= x <= x2, y1 <= y <= y2, and the mask's values there."""
    side = mask.shape[0]
    x1, y1, x2, y2 = box
    columns, rows = _covered(x1, x2, width), _covered(y1, y2, height)
    y = (rows - y1) * side / (y2 - y1 + 1)
    x = (columns - x1) * side / (x2 - x1 + 1)
    return (_span(rows), _span(columns)), _sample(mask, y, x)


def _span(pixels: Tensor) -> slice:
    first = int(pixels[0]) if pixels.numel() else 0
    return slice(first, first + pixels.numel())


def _covered(first: Tensor, last: Tensor, size: int) -> Tensor:
    """The whole numbers of [0, size) between two floats, ends included."""
    pixels = torch.arange(size, dtype=first.dtype, device=first.device)
    return pixels[(pixels >= first) & (pixels <= last)]


def _sample(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """image (h, w) at the grid of rows y (P,) and columns x (Q,) -> (P, Q)"""
    height, width = image.shape
    top, left = y.floor(), x.floor()
    at_end = (top >= height - 1)[:, None] | (left >= width - 1)
    dy, dx = (y - top)[:, None], x - left
    i, j = _index(top, height - 1), _index(left, width - 1)
    below, right = (i + 1).clamp(max=height - 1)[:, None], (j + 1).clamp(max=width - 1)
    i = i[:, None]
    blend = ((1 - dy) * (1 - dx) * image[i, j] + (1 - dy) * dx * image[i, right]
             + dy * (1 - dx) * image[below, j] + dy * dx * image[below, right])
    return torch.where(at_end, image[i, j], blend)


def _index(whole: Tensor, last: int) -> Tensor:
    """Floats as indices from 0 to `last`; NaN gives 0."""
    return torch.where(whole > 0, whole, 0).clamp(max=last).long()


def _tight_box(above: Tensor) -> Tensor:
    """(x1, y1, x2, y2) of the true pixels; the middle of the image twice if there are none."""
    height, width = above.shape
    rows, columns = above.any(1).nonzero(), above.any(0).nonzero()
    if not len(rows):
        return torch.tensor([width // 2, height // 2] * 2, device=above.device)
    return torch.cat((columns[0], rows[0], columns[-1], rows[-1]))


def _resample(votes: Tensor, box: Tensor, side: int) -> Tensor:
    """votes inside the inclusive int box -> (side, side)"""
    x1, y1, x2, y2 = box.to(votes.dtype)
    steps = torch.arange(side, dtype=votes.dtype, device=votes.device)
    return _sample(votes, y1 + steps * (y2 - y1 + 1) / side, x1 + steps * (x2 - x1 + 1) / side)
