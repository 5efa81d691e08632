"""The cases of layers of detection that forks have, in the form of cases.py; SSD's are there."""

from __future__ import annotations

import numpy as np

from cases import Bottom, Case, case, rois, x

ELSEWHERE: dict[str, str] = {}


def position_sensitive(scale, groups):
    def oracle(x, rois):
        outputs = x.shape[1] // groups ** 2
        y = np.zeros((len(rois), outputs, groups, groups))
        for r, d, i, j in np.ndindex(*y.shape):
            image = int(rois[r, 0])
            start = np.floor(rois[r, 1:3] + 0.5) * scale
            extent = np.maximum((np.floor(rois[r, 3:] + 0.5) + 1) * scale - start, 0.1)
            first = np.floor(start + np.array([j, i]) * extent / groups)
            last = np.ceil(start + np.array([j + 1, i + 1]) * extent / groups)
            (x1, y1), (x2, y2) = (np.clip(c, 0, x.shape[:1:-1]).astype(int) for c in (first, last))
            part = x[image, (d * groups + i) * groups + j, y1:y2, x1:x2]
            y[r, d, i, j] = part.mean() if part.size else 0
        return y
    return oracle


def linear(plane, y, x):
    """Between the four pixels around, each held inside the map"""
    y, x = np.clip(y, 0, plane.shape[0] - 1), np.clip(x, 0, plane.shape[1] - 1)
    total = 0
    for i in (int(y), min(int(y) + 1, plane.shape[0] - 1)):
        for j in (int(x), min(int(x) + 1, plane.shape[1] - 1)):
            total += plane[i, j] * max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
    return total


def grid_corners(scale, bins):
    def oracle(x, rois):
        y = np.zeros((len(rois), x.shape[1], bins[0] + 1, bins[1] + 1))
        for r, c, i, j in np.ndindex(*y.shape):
            x1, y1, x2, y2 = rois[r, 1:] * scale - 0.5
            row, column = y1 + i * (y2 - y1) / bins[0], x1 + j * (x2 - x1) / bins[1]
            y[r, c, i, j] = linear(x[int(rois[r, 0]), c], row, column)
        return y
    return oracle


def l2_per_location(a, b):
    return np.sqrt(((a - b) ** 2).sum(1) + 0.25).sum() / len(a)


PSROI = "psroi_pooling_param { spatial_scale: 0.5 output_dim: 2 group_size: 3 }"
ALIGN = "pooled_h: 2 pooled_w: 3 spatial_scale: 0.5"
SIZES = Bottom((2, 3, 24, 32), lambda shape, random: np.zeros(shape), False)

CASES: dict[str, list[Case]] = {
    "PSROIPooling": [case(PSROI, x(2, 18, 7, 11), rois(3, 2, 14, 22), resizable=False,
                          oracle=position_sensitive(0.5, 3))],
    "ROIAlign": [
        case(f"roi_pooling_param {{ {ALIGN} }}", x(2, 3, 7, 11), rois(3, 2, 14, 22),
             resizable=False, oracle=grid_corners(0.5, (2, 3))),
        *(case(f"roi_pooling_param {{ {ALIGN} {text} }}", x(2, 3, 7, 11), rois(3, 2, 14, 22),
               resizable=False) for text in ("bi_type: 0", "bi_type: 1 pad_ratio: 0.1",
                                             "is_multi_interpolate: false"))],
    "L1Loss": [
        case("", x(5, 3, 2), x(5, 3, 2), oracle=lambda a, b: np.abs(a - b).sum() / len(a)),
        case("", x(5, 3), oracle=lambda a: np.abs(a).sum() / len(a)),
        case("l1_loss_param { l2_per_location: true epsilon: 0.25 }", x(5, 3, 2), x(5, 3, 2),
             oracle=l2_per_location)],
    "PriorBoxClustered": [
        case("prior_box_param { width: 9 height: 4 width: 3 height: 8 variance: 0.5 }",
             x(1, 2, 2, 2), SIZES, gradient=False, resizable=False)],
}
