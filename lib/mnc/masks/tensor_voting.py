"""Mask voting in tensors alone: what files of whole cascades hold (mnc.inference.whole).

The arithmetic of mnc.masks.voting.vote_masks and caffe.ops.mask_voting, all results at a time; the
tests hold it against those. A mask on its box is a bilinear map of each axis, but where the lower
pixel of either axis is the mask's last, there that pixel counts: three products of matrices. Where
voting is exact one product does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from caffe import ops
from mnc.masks.voting import Voting


class VotingForm(nn.Module):
    """boxes (N, 4), masks (N, S, S), scores (N, K), image size (2,) int64 (height, width) ->
    boxes (M, 4), masks (M, S, S), labels (M,) int64, scores (M,), best score first
    """

    def __init__(self, voting: Voting) -> None:
        super().__init__()
        self.voting = voting

    def forward(self, boxes: Tensor, masks: Tensor, scores: Tensor,
                size: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The results, of these shapes."""
        rows, labels, found = self._chosen(boxes, scores)
        votes = ops.iou(boxes[rows], boxes) >= self.voting.merge                     # (M, N)
        weights = torch.where(votes, scores[:, labels].T, 0)
        totals = weights.sum(1, keepdim=True)
        weights = torch.where(totals > 0, weights / torch.where(totals > 0, totals, 1), 0)
        height, width = _whole(size[0]), _whole(size[1])
        draw, resampled = (_spread, _resized) if self.voting.exact else (_drawn, _resampled)
        drawn = draw(boxes, masks, height, width)
        image = (weights @ drawn.reshape(-1, height * width)).reshape(-1, height, width)
        tight = _tight_boxes(image > self.voting.binarize)
        return tight.to(boxes.dtype), resampled(image, tight, masks.shape[-1]), labels, found

    def _chosen(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (M,), classes (M,), scores (M,) of the results: class by class those that
        suppression leaves, of all those the best."""
        classes, voting = scores.shape[1] - 1, self.voting
        lists = ops.half_open(boxes)[None].expand(classes, -1, -1)
        kept = ops.nms_of_lists(lists, scores.T[1:], voting.nms, voting.inclusive, voting.most)
        rows, labels = kept[:, 1], kept[:, 0] + 1
        found = scores[rows, labels]
        better = (found[None] > found[:, None]).sum(1)
        best = (better < voting.most).nonzero()[:, 0]
        best = best[found[best].sort(descending=True, stable=True).indices]
        return rows[best], labels[best], found[best]


def _whole(value: Tensor) -> int:
    """A size that a tensor has; at least 1."""
    number = value.item()       # no int() here: torch.export follows it as a symbol
    torch._check(number >= 1)
    return number       # type: ignore[return-value]


def _drawn(boxes: Tensor, masks: Tensor, height: int, width: int) -> Tensor:
    """(N, height, width): each mask on its box in the image, 0 around it"""
    side = masks.shape[-1]
    rows = _axis(boxes[:, 1], boxes[:, 3], height, side)
    columns = _axis(boxes[:, 0], boxes[:, 2], width, side)
    (bilinear_y, inner_y, end_y), (bilinear_x, inner_x, end_x) = rows, columns
    across = torch.cat((masks @ bilinear_x.mT, masks @ (inner_x + end_x).mT, masks @ end_x.mT), 1)
    return torch.cat((bilinear_y, end_y, inner_y), 2) @ across      # (N, H, 3 S) (N, 3 S, W)


def _axis(first: Tensor, last: Tensor, size: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (N, size, side) of a mask's pixels: bilinear where two are read; the lower one alone,
    there and where it is the last
    """
    pixel = torch.arange(size, dtype=first.dtype, device=first.device)
    first, last = first[:, None], last[:, None]
    covered = (pixel >= first) & (pixel <= last)
    place = (pixel - first) * side / (last - first + 1)
    low = place.floor()
    fraction = (place - low)[..., None]
    end = low >= side - 1
    lower = low.clamp(0, side - 1)[..., None]
    mask_pixel = torch.arange(side, dtype=first.dtype, device=first.device)
    here, following = (mask_pixel == lower).to(first.dtype), (mask_pixel == lower + 1)
    inner, at_end = ((covered & ~end)[..., None], (covered & end)[..., None])
    bilinear = here * (1 - fraction) + following.to(first.dtype) * fraction
    return (torch.where(inner, bilinear, 0), torch.where(inner, here, 0),
            torch.where(at_end, here, 0))


def _tight_boxes(above: Tensor) -> Tensor:
    """(M, 4) int64 around the true pixels of (M, H, W); the image's middle if there are none"""
    height, width = above.shape[1:]
    corners = []
    for axis, size in ((1, width), (2, height)):        # x, then y
        there = above.any(axis)
        place = torch.arange(size, device=above.device)
        corners.append((torch.where(there, place, size).amin(1),
                        torch.where(there, place, -1).amax(1), size // 2))
    none = corners[0][1] < 0
    (x1, x2, x), (y1, y2, y) = corners
    return torch.stack([torch.where(none, middle, each) for each, middle in (
        (x1, x), (y1, y), (x2, x), (y2, y))], 1)


def _resampled(image: Tensor, boxes: Tensor, side: int) -> Tensor:
    """(M, S, S): what lies in each box of each (H, W)"""
    height, width = image.shape[1:]
    x1, y1, x2, y2 = boxes.to(image.dtype)[:, :, None].unbind(1)
    step = torch.arange(side, dtype=image.dtype, device=image.device)
    y, x = y1 + step * (y2 - y1 + 1) / side, x1 + step * (x2 - x1 + 1) / side       # (M, S)
    top, left = y.floor(), x.floor()
    at_end = (top >= height - 1)[:, :, None] | (left >= width - 1)[:, None, :]
    dy, dx = (y - top)[:, :, None], (x - left)[:, None, :]
    i, j = (torch.minimum(v.long(), torch.full_like(boxes[:, :1], size - 1))
            for v, size in ((top, height), (left, width)))
    below, right = (torch.minimum(v + 1, torch.full_like(boxes[:, :1], size - 1))
                    for v, size in ((i, height), (j, width)))
    flat = image.flatten(1)

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        places = rows[:, :, None] * width + columns[:, None, :]
        return flat.gather(1, places.flatten(1)).reshape(-1, side, side)

    here = at(i, j)
    blend = ((1 - dy) * (1 - dx) * here + (1 - dy) * dx * at(i, right)
             + dy * (1 - dx) * at(below, j) + dy * dx * at(below, right))
    return torch.where(at_end, here, blend)


# --- exact ---------------------------------------------------------------------------------------

def _spread(boxes: Tensor, masks: Tensor, height: int, width: int) -> Tensor:
    """(N, height, width): mnc.masks.rendering.spread of each, 0 around it"""
    rows = _across(boxes[:, 1], boxes[:, 3], height, masks.shape[-2])
    columns = _across(boxes[:, 0], boxes[:, 2], width, masks.shape[-1])
    return rows @ masks @ columns.mT


def _across(first: Tensor, last: Tensor, size: int, side: int) -> Tensor:
    """(N, size, side) weights of a mask's cells for the pixels of an axis"""
    start = (first - 0.5).ceil().clamp(0, size - 1)[:, None]
    stop = torch.maximum((last + 0.5).ceil().clamp(max=size)[:, None], start + 1)
    pixel = torch.arange(size, dtype=first.dtype, device=first.device)
    length = (last - first + 1).clamp(min=1e-6)[:, None]
    weights = _hats((pixel + 0.5 - first[:, None]) * side / length - 0.5, side)
    return torch.where(((pixel >= start) & (pixel < stop))[..., None], weights, 0)


def _resized(image: Tensor, boxes: Tensor, side: int) -> Tensor:
    """(M, S, S): what lies in each box of each (H, W), centres of cells and pixels alike"""
    step = (torch.arange(side, dtype=image.dtype, device=image.device) + 0.5) / side
    x1, y1, x2, y2 = boxes.to(image.dtype)[:, :, None].unbind(1)
    rows, columns = ((first + ((last - first + 1) * step - 0.5).clamp(min=0).minimum(last - first))
                     for first, last in ((y1, y2), (x1, x2)))
    return _hats(rows, image.shape[1]) @ image @ _hats(columns, image.shape[2]).mT


def _hats(place: Tensor, size: int) -> Tensor:
    """(N, P, size): weights of `size` cells at places (N, P) between them, or at the nearest one"""
    cells = torch.arange(size, dtype=place.dtype, device=place.device)
    return (1 - (place.clamp(0, size - 1)[..., None] - cells).abs()).clamp(min=0)
