"""The cases of layers of detection that forks have, in the form of cases.py; SSD's are there."""

from __future__ import annotations

import numpy as np

from cases import Bottom, Case, case, fractions, rois, x

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
    for i in {int(y), min(int(y) + 1, plane.shape[0] - 1)}:
        for j in {int(x), min(int(x) + 1, plane.shape[1] - 1)}:
            total += plane[i, j] * max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
    return total


def aligned(scale, groups, samples):
    """Samples behind the clipped start of a bin; those at or behind its clipped end are 0."""
    def oracle(x, rois):
        y = np.zeros((len(rois), x.shape[1] // groups ** 2, groups, groups))
        edge = np.array(x.shape[:1:-1]) - 1
        for r, d, i, j in np.ndindex(*y.shape):
            start, bins = rois[r, 1:3] * scale, np.array([j, i])
            each = np.maximum((rois[r, 3:] + 1) * scale - start, 0.1) / groups
            first, last = (np.clip(start + b * each, 0, edge) for b in (bins, bins + 1))
            for k in np.ndindex(samples, samples):
                at = first + (np.array(k) + 1) * each / (samples + 1)
                if (at < last).all():
                    plane = x[int(rois[r, 0]), (d * groups + i) * groups + j]
                    y[r, d, i, j] += linear(plane, at[1], at[0]) / samples ** 2
        return y
    return oracle


def moved_bins(scale, groups, pooled, samples, std):
    """The mean of the samples less than half a pixel outside; moves of bins in sides of the RoI"""
    def oracle(x, rois, moves=None):
        y = np.zeros((len(rois), x.shape[1] // groups ** 2, pooled, pooled))
        edge = np.array(x.shape[:1:-1]) - 1
        for r, d, i, j in np.ndindex(*y.shape):
            start = np.floor(rois[r, 1:3] + 0.5) * scale - 0.5
            size = np.maximum((np.floor(rois[r, 3:] + 0.5) + 1) * scale - 0.5 - start, 0.1)
            move = np.zeros(2)
            if moves is not None:
                k = 2 * (d * (moves.shape[1] // 2) // y.shape[1])
                part = [n * moves.shape[2] // pooled for n in (i, j)]
                move = moves[r, k:k + 2, part[0], part[1]] * std
            plane = x[int(rois[r, 0]), (d * groups + i * groups // pooled) * groups
                      + j * groups // pooled]
            at = [start + size * (np.array([j, i]) / pooled + move
                                  + np.array(k) / (pooled * samples))
                  for k in np.ndindex(samples, samples)]
            found = [linear(plane, *p[::-1]) for p in at
                     if (p >= -0.5).all() and (p <= edge + 0.5).all()]
            y[r, d, i, j] = np.mean(found) if found else 0
        return y
    return oracle


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


def objects(classes: int, count: int) -> Bottom:
    """Rows class, x, y, width, height of YOLO's labels, then one of zeros"""
    def draw(shape, random):
        rows = random.uniform(0.1, 0.8, (shape[0], count + 1, 5))
        rows[..., 0] = random.integers(0, classes, rows.shape[:2])
        rows[:, -1] = 0
        return rows.reshape(shape)
    return Bottom((2, 5 * (count + 1)), draw, False)


def proposals(scores, shifts, info):
    """Of two anchors, about 16 x 16 at (0, 0), twice as large: 32 x 32 and, ratio 2, 22 x 44."""
    anchors = [[-8, -8, 23, 23], [-3, -14, 18, 29]]
    found = []
    for h, w, a in np.ndindex(3, 5, 2):
        box = np.array(anchors[a]) + 8 * np.array([w, h, w, h])
        size = box[2:] - box[:2] + 1
        dx, dh = shifts[0, 4 * a:4 * a + 4, h, w].reshape(2, 2)
        centre, half = box[:2] + size / 2 + dx * size, np.exp(dh) * size / 2
        box = np.clip([*(centre - half), *(centre + half)], 0, [39, 23, 39, 23])
        large = (box[2:] - box[:2] + 1 >= 4).all()
        found.append([*box, scores[0, 2 + a, h, w] * large])
    kept = []
    for row in sorted(found, key=lambda row: -row[4]):
        if all(pixel_iou(row, other) <= 0.7 for other in kept) and len(kept) < 5:
            kept.append(row)
    rows = np.array(kept)
    return np.column_stack((np.zeros(len(rows)), rows[:, :4])), rows[:, 4]


def pixel_iou(a, b):
    sides = [max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1) for i in (0, 1)]
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


PSROI = "psroi_pooling_param { spatial_scale: 0.5 output_dim: 2 group_size: 3 }"
ALIGN = "pooled_h: 2 pooled_w: 3 spatial_scale: 0.5"
SIZES = Bottom((2, 3, 24, 32), lambda shape, random: np.zeros(shape), False)

CASES: dict[str, list[Case]] = {
    "PSROIPooling": [case(PSROI, x(2, 18, 7, 11), rois(3, 2, 14, 22), resizable=False,
                          oracle=position_sensitive(0.5, 3))],
    "PSROIAlign": [
        case("psroi_align_param { spatial_scale: 0.5 output_dim: 2 group_size: 3 }",
             x(2, 18, 7, 11), rois(3, 2, 14, 22), resizable=False, oracle=aligned(0.5, 3, 2)),
        case("psroi_align_param { spatial_scale: 0.5 output_dim: 1 group_size: 2 sample_num: 3 }",
             x(2, 4, 7, 11), rois(3, 2, 14, 22), resizable=False, oracle=aligned(0.5, 2, 3))],
    "DeformablePSROIPooling": [
        case("deformable_psroi_pooling_param { spatial_scale: 0.5 output_dim: 2 group_size: 3 "
             "pooled_size: 3 sample_per_part: 2 no_trans: true }", x(2, 18, 7, 11),
             rois(3, 2, 14, 22), resizable=False, oracle=moved_bins(0.5, 3, 3, 2, 0)),
        case("deformable_psroi_pooling_param { spatial_scale: 0.5 output_dim: 4 group_size: 2 "
             "pooled_size: 4 part_size: 2 sample_per_part: 3 trans_std: 0.25 }", x(2, 16, 7, 11),
             rois(3, 2, 14, 22), x(3, 4, 2, 2), resizable=False,
             oracle=moved_bins(0.5, 2, 4, 3, 0.25))],
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
    # Their gradients are rules; test_yolo.py says them again.
    "RegionLoss": [case("region_loss_param { num: 2 num_class: 3 biases: 1 biases: 2 biases: 3 "
                        "biases: 1 }", x(2, 16, 4, 4), objects(3, 4), gradient=False)],
    "Yolov3": [case("yolov3_param { num: 1 num_class: 3 biases: 9 biases: 4 biases: 30 biases: 40 "
                    "mask: 1 anchors_scale: 16 }", x(2, 8, 4, 4), objects(3, 4), gradient=False)],
    "YoloDetectionOutput": [
        case("yolo_detection_output_param { num_box: 2 num_classes: 3 biases: 1 biases: 2 "
             "biases: 3 biases: 1 }", x(2, 16, 4, 4), gradient=False, resizable=False,
             sized_by_data=True)],
    "Yolov3DetectionOutput": [
        case("yolov3_detection_output_param { num_box: 1 num_classes: 3 biases: 9 biases: 4 "
             "mask: 0 mask: 0 anchors_scale: 16 anchors_scale: 8 }", x(2, 8, 2, 2), x(2, 8, 4, 4),
             gradient=False, resizable=False, sized_by_data=True),
        case("yolov3_detection_output_param { num_box: 1 num_classes: 3 biases: 9 biases: 4 "
             "mask: 0 anchors_scale: 16 mask_group_num: 1 gaussian_box: true }", x(2, 12, 2, 2),
             gradient=False, resizable=False, sized_by_data=True)],
    "EvalDetection": [
        case("eval_detection_param { side: 4 num_class: 3 num_object: 2 biases: 1 biases: 2 "
             "biases: 3 biases: 1 }", x(2, 16, 4, 4), objects(3, 4), gradient=False)],
    **{name: [case("proposal_param { ratio: 1 ratio: 2 scale: 2 min_size: 4 feat_stride: 8 "
                   "post_nms_topn: 5 }", fractions(1, 4, 3, 5), x(1, 8, 3, 5),
                   Bottom((1, 3), lambda shape, random: np.array([[24, 40, 1]]), False), tops=2,
                   gradient=False, resizable=False, sized_by_data=True, oracle=proposals)]
       for name in ("Proposal", "ProposalLayer")},
    "PriorBoxClustered": [
        case("prior_box_param { width: 9 height: 4 width: 3 height: 8 variance: 0.5 }",
             x(1, 2, 2, 2), SIZES, gradient=False, resizable=False)],
}
