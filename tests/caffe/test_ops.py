"""The operators: examples by hand, gradients, schemas, empty input, the original's numbers."""

from __future__ import annotations

import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.library import opcheck

from caffe import ops
from caffe.ops.mask_pooling import mask_pooling_backward_mask, mask_pooling_forward
from caffe.ops.mask_resize import mask_resize_backward, mask_resize_forward
from caffe.ops.mask_voting import mask_voting_forward
from caffe.ops.nms import nms_forward
from caffe.ops.overlaps import box_overlaps_forward, mask_overlaps_forward
from caffe.ops.roi_pooling import roi_pooling_backward, roi_pooling_forward
from caffe.ops.roi_warping import (
    roi_warping_backward_features,
    roi_warping_backward_rois,
    roi_warping_forward,
    roi_warping_pooled_forward,
)

GOLDEN = Path(__file__).parents[1] / "golden"
REFERENCE, EXACT = 0, 1
BOTH = pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)


def ramp(height, width, dtype=torch.float64):
    """A plane with 10 y + x at (y, x), (1, 1, height, width)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (10 * y + x).to(dtype)[None, None]


def random_rois(count, images, height, width, dtype=torch.float64):
    """Regular, inverted and overhanging RoIs on a map of this size, away from whole pixels."""
    rois = torch.rand(count, 5, dtype=dtype) * torch.tensor([1, width, height, width, height]) * 1.3
    rois[:, 0] = torch.randint(images, (count,))
    rois[: count - 1, 3:] += rois[: count - 1, 1:3]      # the last one may be inverted
    return rois


# --- roi_warping -------------------------------------------------------------------------------

@BOTH
def test_roi_warping_by_hand(dtype):
    rois = torch.tensor([[0, 2.0, 4.0, 10.0, 8.0]], dtype=dtype)        # on the map: 1, 2, 5, 4
    top = ops.roi_warping(ramp(6, 7, dtype), rois, 2, 4, 0.5)
    assert top.dtype == dtype
    assert top.tolist() == [[[[21, 22, 23, 24], [31, 32, 33, 34]]]]


def test_roi_warping_interpolates_between_four_pixels():
    rois = torch.tensor([[0, 1.0, 1.0, 2.0, 2.0]], dtype=torch.float64)
    assert ops.roi_warping(ramp(4, 4), rois, 2, 2)[0, 0].tolist() == [[11, 11.5], [16, 16.5]]


def test_roi_warping_rounds_corners_half_away_from_zero():
    map_ = ramp(9, 9)
    for corner, seen in ((2.5, 3), (3.5, 4), (2.49, 2)):
        rois = torch.tensor([[0, corner, 0, 8, 8]], dtype=torch.float64)
        assert ops.roi_warping(map_, rois, 1, 1).item() == seen


def test_roi_warping_is_zero_outside_the_map():
    rois = torch.tensor([[0, -3.0, 0, 0, 2]])
    top = ops.roi_warping(ramp(4, 4, torch.float32) + 1, rois, 1, 3)
    assert top.flatten().tolist() == [0, 0, 0]


def exact_oracle(features, rois, pooled, scale):
    """Equations 6 to 9 of the paper, loop by loop."""
    _, channels, height, width = features.shape
    top = np.zeros((len(rois), channels, *pooled))
    for r, (n, x1, y1, x2, y2) in enumerate(rois):
        w, h = max((x2 - x1) * scale, 0), max((y2 - y1) * scale, 0)
        for p, q in np.ndindex(*pooled):
            y, x = y1 * scale + h * p / pooled[0], x1 * scale + w * q / pooled[1]
            for i, j in np.ndindex(height, width):
                weight = max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
                top[r, :, p, q] += weight * features[int(n), :, i, j]
    return top


def test_roi_warping_exact_equals_the_equations():
    features, rois = torch.randn(2, 3, 5, 7, dtype=torch.float64), random_rois(6, 2, 9, 13)
    top = ops.roi_warping(features, rois, 3, 2, 0.5, EXACT)
    np.testing.assert_allclose(top, exact_oracle(features.numpy(), rois.numpy(), (3, 2), 0.5),
                               atol=1e-12)


def test_roi_warping_exact_gradient():
    features = torch.randn(2, 2, 5, 7, dtype=torch.float64, requires_grad=True)
    rois = random_rois(5, 2, 5, 7).requires_grad_()
    assert gradcheck(lambda f, r: ops.roi_warping(f, r, 3, 2, 0.9, EXACT), (features, rois))


def test_roi_warping_exact_gradient_at_kinks_comes_from_the_right():
    rois = torch.tensor([[0, 1.0, 1.0, 3.0, 3.0]], dtype=torch.float64, requires_grad=True)
    ops.roi_warping(ramp(4, 4), rois, 1, 1, 1.0, EXACT).sum().backward()
    assert rois.grad.tolist() == [[0, 1, 10, 0, 0]]


def test_roi_warping_of_an_inverted_roi_moves_with_its_first_corner():
    rois = torch.tensor([[0, 2.2, 2.2, 1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    ops.roi_warping(ramp(5, 5), rois, 2, 2, 1.0, EXACT).sum().backward()
    torch.testing.assert_close(rois.grad, torch.tensor([[0, 4.0, 40.0, 0, 0]]).double())


def test_roi_warping_reference_gradient_of_features_is_the_adjoint_inside():
    """Where no bin is left out (here: as many bins as pixels) the two gradients agree."""
    features = torch.randn(1, 2, 9, 9, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1, 2, 6, 7.0]], dtype=torch.float64)
    tops = [ops.roi_warping(features, rois, 5, 5, 1.0, mode) for mode in (REFERENCE, EXACT)]
    gradients = [torch.autograd.grad(top.square().sum(), features)[0] for top in tops]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("value", (float("nan"), float("inf"), -1e30, 1e30))
@pytest.mark.parametrize("mode", (REFERENCE, EXACT))
def test_roi_warping_survives_wild_coordinates(mode, value):
    features = torch.randn(1, 2, 5, 7, requires_grad=True)
    rois = torch.tensor([[0, value, 1, value, 4]])
    top = ops.roi_warping(features, rois, 2, 2, 1.0, mode)
    top.sum().backward()
    assert not top.any() and not features.grad.any()


def test_roi_warping_in_chunks_equals_one_by_one(monkeypatch):
    features, rois = torch.randn(2, 3, 5, 7, requires_grad=True), random_rois(9, 2, 5, 7).float()
    whole = ops.roi_warping(features, rois, 3, 2)
    whole_grad, = torch.autograd.grad(whole.square().sum(), features)
    monkeypatch.setattr("caffe.ops.rois.ROW_ELEMENTS", 40)
    parts = ops.roi_warping(features, rois, 3, 2)
    assert torch.equal(whole, parts)
    torch.testing.assert_close(torch.autograd.grad(parts.square().sum(), features)[0], whole_grad)


# --- roi_pooling -------------------------------------------------------------------------------

@BOTH
def test_roi_pooling_by_hand(dtype):
    rois = torch.tensor([[0, 2.0, 4.0, 10.0, 6.0]], dtype=dtype)        # pixels x 1..5, y 2..3
    features = ramp(6, 7, dtype).requires_grad_()
    top = ops.roi_pooling(features, rois, 2, 2, 0.5)
    assert top.tolist() == [[[[23, 25], [33, 35]]]]
    top.sum().backward()
    assert features.grad.nonzero()[:, 2:].tolist() == [[2, 3], [2, 5], [3, 3], [3, 5]]


def test_roi_pooling_of_nothing_is_zero():
    rois = torch.tensor([[0, 20.0, 20.0, 30.0, 30.0]])
    features = (ramp(6, 7, torch.float32) - 100).requires_grad_()
    top = ops.roi_pooling(features, rois, 2, 2)
    top.sum().backward()
    assert not top.any() and not features.grad.any()


def test_roi_pooling_gradient():
    features = torch.randn(2, 3, 7, 11, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[1, 0, 0, 6, 6], [0, 2, 1, 10, 5]], dtype=torch.float64)
    assert gradcheck(lambda f: ops.roi_pooling(f, rois, 2, 3), features)


# --- mask_resize, mask_pooling -----------------------------------------------------------------

def test_mask_resize_by_hand():
    assert ops.mask_resize(ramp(4, 4), 2, 2)[0, 0].tolist() == [[0, 2], [20, 22]]
    assert ops.mask_resize(ramp(2, 2), 3, 3)[0, 0, 0].tolist() == pytest.approx([0, 2 / 3, 1])


@pytest.mark.parametrize("size", ((3, 2), (5, 7), (11, 13), (1, 1)))
def test_mask_resize_exact_gradient(size):
    x = torch.randn(2, 2, 5, 7, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: ops.mask_resize(x, *size, EXACT), x)


def test_mask_resize_reference_gradient_is_the_adjoint_when_shrinking():
    x = torch.randn(2, 1, 21, 21, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: ops.mask_resize(x, 14, 14), x)


def test_mask_pooling_by_hand_and_gradient():
    mask = torch.tensor([[[[0.0, 0.5], [1.0, 2.0]]]], dtype=torch.float64, requires_grad=True)
    features = ramp(2, 2).repeat(1, 3, 1, 1).requires_grad_()
    assert ops.mask_pooling(features, mask)[0, 1].tolist() == [[0, 0.5], [10, 22]]
    assert gradcheck(ops.mask_pooling, (features, mask))


# --- nms ---------------------------------------------------------------------------------------

def test_nms_by_hand():
    dets = torch.tensor([[0, 0, 9, 9, 0.5], [0, 0, 9, 8, 0.9], [20, 20, 29, 29, 0.7]])
    assert ops.nms(dets, 0.5).tolist() == [1, 2]            # IoU of the first two: 0.9
    assert ops.nms(dets, 0.95).tolist() == [1, 2, 0]
    assert ops.nms(dets, 0.95, limit=2).tolist() == [1, 2]


def test_nms_at_the_threshold_and_with_equal_scores():
    dets = torch.tensor([[0, 0, 9, 9, 0.5], [0, 0, 9, 4, 0.5]])         # IoU exactly 0.5
    assert ops.nms(dets, 0.5).tolist() == [0, 1]
    assert ops.nms(dets, 0.5, inclusive=True).tolist() == [0]


def _golden_nms():
    with zipfile.ZipFile(GOLDEN / "mnc.zip") as archive:
        for name in sorted(n for n in archive.namelist() if n.startswith("nms_")):
            arrays = dict(np.load(io.BytesIO(archive.read(name))))
            dets = arrays.pop("dets")
            for key, keep in arrays.items():
                rule, thresh = key.split("_")
                thresh = 0.5 if thresh == "05" else float(thresh)
                yield pytest.param(dets, rule == "cpu", thresh, keep, id=f"{name}-{key}")


@pytest.mark.parametrize("dets, inclusive, thresh, keep", list(_golden_nms()))
def test_nms_keeps_what_the_original_keeps(dets, inclusive, thresh, keep):
    assert ops.nms(torch.from_numpy(dets), thresh, inclusive).tolist() == keep.tolist()


# --- mask_voting -------------------------------------------------------------------------------

def test_mask_voting_by_hand():
    """Two members of equal weight, one with an empty mask: half a mask is left, above 0.4."""
    boxes = torch.tensor([[2.0, 3.0, 5.0, 6.0], [2.0, 3.0, 5.0, 6.0]])
    masks = torch.stack((torch.ones(4, 4), torch.zeros(4, 4)))
    out_masks, out_boxes = ops.mask_voting(boxes, masks, torch.tensor([0, 1]), torch.tensor([2]),
                                           torch.tensor([0.5, 0.5]), 10, 12)
    assert out_boxes.tolist() == [[2, 3, 5, 6]] and out_boxes.dtype == torch.int32
    assert out_masks.tolist() == [[[0.5] * 4] * 4]


@pytest.mark.parametrize("case", ("mask_voting_kernel", "mask_voting_kernel_empty"))
def test_mask_voting_equals_the_original(case):
    with np.load(GOLDEN / "mask_voting_kernel.npz") as arrays:
        f = {k.split("/")[1]: arrays[k] for k in arrays.files if k.startswith(f"{case}/")}
    inputs = ("boxes", "masks", "candidate_inds", "candidate_ends", "candidate_weights")
    masks, boxes = ops.mask_voting(*(torch.from_numpy(f[k]) for k in inputs),
                                   int(f["im_height"]), int(f["im_width"]))
    assert boxes.tolist() == f["out_box"].tolist()
    np.testing.assert_allclose(masks, f["out_mask"][:, 0], atol=1e-5)   # sums in another order


# --- overlaps ----------------------------------------------------------------------------------

@BOTH
def test_box_overlaps_by_hand(dtype):
    boxes = torch.tensor([[0, 0, 9, 9, 0.9], [5, 0, 14, 9, 0.8], [9, 9, 9, 9, 0.7]], dtype=dtype)
    found = ops.box_overlaps(boxes, boxes[:1])
    assert found.dtype == dtype and found[:, 0].tolist() == pytest.approx([1, 50 / 150, 1 / 100])


def test_box_overlaps_of_boxes_that_do_not_meet_or_are_none():
    boxes = torch.tensor([[0, 0, 9, 9], [10, 0, 19, 9], [0, float("nan"), 9, 9], [9, 0, 2, 9],
                          [5, 5, 4, 4], [0, 0, float("inf"), 9]])
    found = ops.box_overlaps(boxes, boxes)
    assert found.nonzero().tolist() == [[0, 0], [1, 1]]


def test_mask_overlaps_by_hand():
    """Two rows each at x 0..3 and 2..5; the second mask lacks its first column."""
    left, right = np.ones((2, 4), bool), torch.ones(2, 4, dtype=torch.uint8)
    right[:, 0] = 0
    boxes = np.array([[0, 0, 3, 1], [2, 0, 5, 1], [3, 0, 2, 1]])
    masks = [left, right, np.ones((9, 9), bool)]                # the last box is inverted
    assert ops.mask_overlaps(boxes, masks, boxes, masks).tolist() == [
        [1, 2 / 12, 0], [2 / 12, 1, 0], [0, 0, 0]]


def test_mask_overlaps_of_views_and_of_nothing():
    boxes, mask = torch.tensor([[0.0, 0, 3, 1]]), np.arange(8).reshape(2, 4) % 2 == 1
    flipped = ops.mask_overlaps(boxes, [mask[:, ::-1]], boxes, [torch.from_numpy(mask)])
    assert flipped.tolist() == [[0]]
    assert ops.mask_overlaps(boxes, [mask & False], boxes, [mask & False]).tolist() == [[0]]
    assert ops.mask_overlaps(np.zeros((0, 4)), [], boxes, [mask]).shape == (0, 1)


# --- all ---------------------------------------------------------------------------------------

def _schema_cases():
    dtypes, modes = (torch.float32, torch.float64), (REFERENCE, EXACT)
    for dtype, mode in itertools.product(dtypes, modes):
        f, r = torch.randn(2, 3, 5, 7, dtype=dtype), random_rois(4, 2, 5, 7, dtype)
        g = torch.randn(4, 3, 2, 3, dtype=dtype)
        wanted = (f.clone().requires_grad_(), r.clone().requires_grad_())
        yield roi_warping_forward, (*wanted, 2, 3, 0.9, mode)
        yield roi_warping_pooled_forward, (f, r, 2, 3, 0.9, mode)
        yield roi_warping_backward_features, (g, f, r, 0.9, mode)
        yield roi_warping_backward_rois, (g, f, r, 0.9, mode)
        yield mask_resize_forward, (wanted[0], 3, 4, mode)
        yield mask_resize_backward, (g, 5, 7, mode)
    for dtype in dtypes:
        f, r = torch.randn(2, 3, 5, 7, dtype=dtype), random_rois(4, 2, 5, 7, dtype)
        top, where = roi_pooling_forward(f, r, 2, 3, 0.9)
        yield roi_pooling_forward, (f.requires_grad_(), r, 2, 3, 0.9)
        yield roi_pooling_backward, (top, where, f.detach(), r, 0.9)
        mask = torch.rand(2, 1, 5, 7, dtype=dtype, requires_grad=True)
        for layout in (torch.contiguous_format, torch.channels_last):
            laid = f.detach().contiguous(memory_format=layout)
            yield mask_pooling_backward_mask, (f.detach(), laid)
            yield mask_pooling_forward, (laid.clone().requires_grad_(), mask)
        boxes = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 8], [4, 4, 19, 19]], dtype=dtype)
        yield nms_forward, (boxes, 0.5, False, 0)
        yield box_overlaps_forward, (boxes, boxes[:2])
    yield mask_voting_forward, (torch.tensor([[1.0, 1, 4, 4]]), torch.ones(1, 3, 3),
                                torch.tensor([0]), torch.tensor([1]), torch.ones(1), 6, 7, 0.4)
    whole, bytes_ = torch.tensor([[1, 1, 3, 2]]), torch.ones(6, dtype=torch.uint8)
    yield mask_overlaps_forward, (whole, bytes_, whole, bytes_)


def _op_name(value):
    return getattr(value, "_qualname", None) or "arguments"


@pytest.mark.parametrize("op, arguments", list(_schema_cases()), ids=_op_name)
def test_schema(op, arguments):
    opcheck(op, arguments)
    with ops.references():
        opcheck(op, arguments)


@pytest.mark.parametrize("mode", (REFERENCE, EXACT))
def test_no_rois(mode):
    features = torch.randn(1, 3, 5, 7, requires_grad=True)
    rois = torch.zeros(0, 5, requires_grad=True)
    top = ops.roi_warping(features, rois, 2, 3, 1.0, mode)
    top.sum().backward()
    assert top.shape == (0, 3, 2, 3) and not features.grad.any() and rois.grad.shape == (0, 5)


def test_nothing_at_all():
    features = torch.randn(1, 3, 5, 7, requires_grad=True)
    pooled = ops.roi_pooling(features, torch.zeros(0, 5), 2, 3)
    pooled.sum().backward()
    assert pooled.shape == (0, 3, 2, 3) and not features.grad.any()
    empty = torch.zeros(0, 3, 4, 4, requires_grad=True)
    for top in (ops.mask_resize(empty, 2, 2), ops.mask_pooling(empty, torch.zeros(0, 1, 4, 4))):
        top.sum().backward()
        assert top.shape[0] == 0
    assert ops.nms(torch.zeros(0, 5), 0.5).tolist() == []
    no_candidates = torch.zeros(0, dtype=torch.int64)
    masks, boxes = ops.mask_voting(torch.zeros(0, 4), torch.zeros(0, 3, 3), no_candidates,
                                   no_candidates, torch.zeros(0), 5, 6)
    assert masks.shape == (0, 3, 3) and boxes.shape == (0, 4)
    assert ops.box_overlaps(torch.zeros(0, 4), torch.zeros(3, 5)).shape == (0, 3)


F, R = torch.randn(1, 3, 5, 7), torch.zeros(2, 5)
BOX, MASK = torch.zeros(1, 4), torch.ones(1, 1, dtype=torch.uint8)


def vote(inds=(0,), ends=(1,), boxes=BOX, height=6, side=3):
    return ops.mask_voting(boxes, torch.ones(1, side, side), torch.tensor(inds),
                           torch.tensor(ends), torch.ones(1), height, 7)



@pytest.mark.parametrize("call, error, words", [
    (lambda: ops.roi_warping(F, R[:, :4], 2, 2), ValueError, r"rois \(R, 5\), got .*\(2, 4\)"),
    (lambda: ops.roi_warping(F, R.double(), 2, 2), TypeError, "one floating dtype"),
    (lambda: ops.roi_warping(F, R, 0, 2), ValueError, "at least 1"),
    (lambda: ops.roi_warping(F, R, 2, 2, 1.0, 2), ValueError, "mode must be"),
    (lambda: ops.roi_warping_pooled(F, R, 2, 2, 1.0, 2), ValueError, "pooled: mode must be"),
    (lambda: ops.roi_warping(F[:, :, :0], R, 2, 2), ValueError, r"a pixel, got \(1, 3, 0, 7\)"),
    (lambda: ops.roi_warping(F, R + 1, 2, 2), IndexError, "image 1.* 1 image"),
    (lambda: ops.roi_pooling(F, R - 1, 2, 2), IndexError, "image -1"),
    (lambda: ops.roi_pooling(F, R * float("nan"), 2, 2), IndexError, "image nan"),
    (lambda: ops.mask_resize(F[0], 2, 2), ValueError, "mask_resize"),
    (lambda: ops.mask_resize(F, 0, 2), ValueError, "at least 1 x 1"),
    (lambda: ops.mask_pooling(F, F), ValueError, r"mask \(N, 1, H, W\)"),
    (lambda: ops.mask_pooling(F, F[:, :1].double()), TypeError, "one floating dtype"),
    (lambda: ops.nms(torch.zeros(3, 4), 0.5), ValueError, r"\(N, 5\)"),
    (lambda: ops.mask_resize(F[..., :0], 2, 2), ValueError, r"at least 1 x 1 .*\(1, 3, 5, 0\)"),
    (lambda: ops.mask_voting(torch.zeros(3, 5), torch.zeros(3, 2, 2), R, R, R, 4, 4), ValueError,
     r"boxes must be \(N, 4\)"),
    (lambda: vote(side=0), ValueError, r"\(N, S, S\), got .*\(1, 0, 0\)"),
    (lambda: vote(boxes=BOX.double()), TypeError, "one floating dtype, got torch.float64"),
    (lambda: vote(height=0), ValueError, "at least 1 x 1, got 0 x 7"),
    (lambda: vote(inds=(0, 0)), ValueError, "one weight a candidate"),
    (lambda: vote(inds=(1,)), IndexError, "from 1 to 1, but there are 1 boxes"),
    (lambda: vote(inds=(-1,)), IndexError, "from -1 to -1"),
    (lambda: vote(ends=(1, 0)), ValueError, r"ends must rise .* got \[1, 0\]"),
    (lambda: vote(ends=(2,)), ValueError, "number of candidates, 1"),
    (lambda: ops.box_overlaps(BOX[:, :3], BOX), ValueError, r"boxes must be .* got \(1, 3\)"),
    (lambda: ops.box_overlaps(BOX, BOX.double()), TypeError, "one floating dtype"),
    (lambda: ops.mask_overlaps(BOX, [MASK] * 2, BOX, [MASK]), ValueError, r"\(2, 4\).* 2 masks"),
    (lambda: ops.mask_overlaps(BOX + 0.5, [MASK], BOX, [MASK]), ValueError, "whole-pixel boxes"),
    (lambda: ops.mask_overlaps(BOX, [MASK], BOX, [MASK.float()]), ValueError, "mask 0 must be"),
    (lambda: ops.mask_overlaps(BOX, [MASK], BOX, [MASK[0]]), ValueError, r"\(1, 1\) as its box"),
])
def test_wrong_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
