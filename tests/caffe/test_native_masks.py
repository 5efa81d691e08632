"""The C++ kernels for masks and boxes against the torch references, which are the specification."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from caffe import ops
from caffe.ops.mask_resize import mask_resize_backward, mask_resize_forward
from caffe.ops.mask_voting import mask_voting_forward
from caffe.ops.nms import nms_forward
from caffe.ops.overlaps import box_overlaps_forward

pytestmark = pytest.mark.skipif(ops.native is None, reason="the C++ kernels are not built here")

NAN, INF = float("nan"), float("inf")
WILD = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 3e38, -3e38, 1e-30])
BOTH = pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)


def both(op, *arguments):
    """(what the kernel gives, what the reference gives)"""
    given = op(*arguments)
    with ops.references():
        return given, op(*arguments)


def assert_same(op, *arguments, tolerance=0):
    torch.testing.assert_close(*both(op, *arguments), rtol=tolerance, atol=tolerance,
                               equal_nan=True)


def boxes_in(count, width, height, dtype=torch.float32):
    """Boxes of all sizes, some on half pixels, some over the border."""
    corners = (torch.rand(count, 2, 2, dtype=dtype) * 1.3 - 0.15) * torch.tensor([width, height])
    corners[::3] = (corners[::3] * 2).round() / 2
    return torch.cat((corners.amin(1), corners.amax(1)), 1).to(dtype)


def make_wild(values, share=0.2):
    """`values` with some replaced by what is no number, or a huge one."""
    chosen = WILD[torch.randint(len(WILD), values.shape)].to(values.dtype)
    return torch.where(torch.rand(values.shape) < share, chosen, values)


def any_boxes(most):
    """Boxes with whole and arbitrary corners, the right way round or not, or of no sense at all."""
    corner = st.one_of(st.integers(-3, 20).map(float), st.floats(width=32),
                       st.floats(-5, 25, width=32))
    rows = st.tuples(st.integers(0, most), st.just(4))
    return arrays(np.float32, rows, elements=corner).map(torch.from_numpy)


# --- mask_resize -------------------------------------------------------------------------------

SIZES = tuple(itertools.product(((1, 1), (2, 3), (14, 21), (33, 5)), ((1, 1), (5, 2), (21, 30))))


@BOTH
@pytest.mark.parametrize("size, outputs", SIZES)
def test_mask_resize(size, outputs, dtype):
    x = torch.randn(3, 2, *size, dtype=dtype)
    assert_same(mask_resize_forward, x, *outputs, 0)
    assert_same(mask_resize_forward, make_wild(x), *outputs, 0)
    assert_same(mask_resize_forward, x.transpose(2, 3), *outputs, 0)


@BOTH
@pytest.mark.parametrize("mode", (0, 1))
@pytest.mark.parametrize("size, outputs", SIZES)
def test_mask_resize_backward(size, outputs, mode, dtype):
    grad = torch.randn(3, 2, *outputs, dtype=dtype)
    assert_same(mask_resize_backward, grad, *size, mode, tolerance=1e-5)
    assert_same(mask_resize_backward, grad.to(memory_format=torch.channels_last), *size, mode,
                tolerance=1e-5)


def test_mask_resize_backward_keeps_what_is_no_number_where_it_was_sampled():
    grad = torch.zeros(1, 1, 4, 4)
    grad[0, 0, 1, 2] = NAN
    d_x = mask_resize_backward(grad, 8, 8, 0)
    assert d_x.isnan().nonzero()[:, 2:].tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


# --- nms ---------------------------------------------------------------------------------------

@BOTH
@pytest.mark.parametrize("count", (0, 1, 63, 64, 65, 255, 256, 257, 900))
@pytest.mark.parametrize("thresh, inclusive", ((0.3, False), (0.5, True), (0.0, True), (-1, False)))
def test_nms(count, thresh, inclusive, dtype):
    for boxes in (boxes_in(count, 90, 60, dtype), boxes_in(count, 500, 300, dtype).round()):
        for limit in (0, 1, 64, 70):
            assert_same(nms_forward, boxes, thresh, inclusive, limit)
        assert_same(nms_forward, make_wild(boxes, 0.05), thresh, inclusive, 0)


@settings(max_examples=60, deadline=None)
@given(any_boxes(12), st.sampled_from((0.0, 0.25, 0.5, 1.0, NAN)), st.booleans())
def test_nms_of_any_boxes(boxes, thresh, inclusive):
    assert_same(nms_forward, boxes, thresh, inclusive, 0)


def test_nms_at_the_very_threshold():
    """Rounding decides: of thirds in float32 the quotient counts, not the product."""
    boxes = torch.tensor([[0, 0, 2, 0], [0, 0, 0, 0.0]])                # IoU 1 / 3
    third = float(torch.tensor(1.0) / 3)
    for thresh in (third, np.nextafter(np.float32(third), np.float32(0)), 1 / 3):
        assert_same(nms_forward, boxes, float(thresh), False, 0)
    assert len(nms_forward(boxes, third, False, 0)) == 2
    assert len(nms_forward(boxes, third, True, 0)) == 1


# --- mask_voting -------------------------------------------------------------------------------

def vote(boxes, ends, height, width, side=7, threshold=0.4, dtype=torch.float32):
    """Arguments for the operator: all boxes vote, some of them often."""
    members = torch.randint(len(boxes), (max(ends, default=0),)) if len(boxes) else torch.zeros(0)
    return (boxes.to(dtype), torch.rand(len(boxes), side, side, dtype=dtype), members.long(),
            torch.tensor(ends, dtype=torch.int64), torch.rand(len(members), dtype=dtype), height,
            width, threshold)


@BOTH
@pytest.mark.parametrize("side", (1, 2, 7, 21))
@pytest.mark.parametrize("threshold", (0.0, 0.4, 1.5))
def test_mask_voting(side, threshold, dtype):
    assert_same(mask_voting_forward, *vote(boxes_in(30, 61, 43, dtype), [4, 4, 9, 10, 29, 60], 43,
                                           61, side, threshold, dtype))


def test_mask_voting_on_every_image_and_of_no_one():
    for height, width in ((1, 1), (1, 9), (9, 1), (2, 2)):
        assert_same(mask_voting_forward, *vote(boxes_in(5, width, height), [3, 8], height, width))
    assert_same(mask_voting_forward, *vote(torch.zeros(0, 4), [0, 0], 5, 6))
    assert_same(mask_voting_forward, *vote(boxes_in(5, 9, 9), [], 5, 6))


def test_mask_voting_below_a_threshold_of_nothing():
    """Pixels without a vote are above it too."""
    arguments = vote(torch.tensor([[2.0, 2, 4, 4]]), [1, 1], 7, 9, threshold=-0.5)
    assert_same(mask_voting_forward, *arguments)
    assert mask_voting_forward(*arguments)[1].tolist() == [[0, 0, 8, 6]] * 2


@settings(max_examples=60, deadline=None)
@given(any_boxes(5))
def test_mask_voting_of_any_boxes(boxes):
    ends = [3, 3, 8] if len(boxes) else [0]
    boxes_, masks, *rest = vote(boxes, ends, 11, 13)
    assert_same(mask_voting_forward, boxes_, masks, *rest)
    assert_same(mask_voting_forward, boxes_, make_wild(masks), *rest)


# --- overlaps ----------------------------------------------------------------------------------

@BOTH
def test_box_overlaps(dtype):
    for n, k in ((0, 3), (3, 0), (1, 1), (70, 33)):
        boxes, query = boxes_in(n, 50, 40, dtype), boxes_in(k, 50, 40, dtype).round()
        assert_same(box_overlaps_forward, boxes, query)
        assert_same(box_overlaps_forward, make_wild(boxes), query)
        assert_same(box_overlaps_forward, boxes, make_wild(query))


@settings(max_examples=60, deadline=None)
@given(any_boxes(6), any_boxes(6))
def test_box_overlaps_of_any_boxes(boxes, query):
    assert_same(box_overlaps_forward, boxes, query)


def masked(count, width, height):
    """Whole-pixel boxes, some of them inverted, and masks, some of them empty or full."""
    boxes = boxes_in(count, width, height).round().long()
    boxes[4::5] = boxes[4::5].flip(1)
    masks = [torch.rand(max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)) > k % 4 / 3 - 0.01
             for k, (x1, y1, x2, y2) in enumerate(boxes.tolist())]
    return boxes, masks


def test_mask_overlaps():
    for n, k in ((0, 3), (3, 0), (1, 1), (40, 30)):
        arguments = (*masked(n, 60, 40), *masked(k, 60, 40))
        given = ops.mask_overlaps(*arguments)
        with ops.references():
            assert torch.equal(given, ops.mask_overlaps(*arguments))
        assert given.shape == (n, k) and given.dtype == torch.float64
    assert (given > 0).sum() > 200


# --- all ---------------------------------------------------------------------------------------

def _calls():
    torch.manual_seed(3)
    boxes = boxes_in(700, 300, 200)
    yield lambda: mask_resize_forward(torch.ones(5, 1, 21, 21), 14, 14, 0)
    yield lambda: mask_resize_backward(torch.ones(5, 1, 14, 14), 21, 21, 0)
    yield lambda: nms_forward(boxes, 0.5, False, 0)
    arguments = vote(boxes_in(60, 61, 43), [9, 30, 31, 70, 100], 43, 61)
    yield lambda: torch.cat([x.flatten() for x in mask_voting_forward(*arguments)])
    yield lambda: box_overlaps_forward(boxes, boxes)
    masks = masked(9, 30, 20)
    yield lambda: ops.mask_overlaps(*masks, *masks)


def test_the_number_of_threads_makes_no_difference():
    def results(threads):
        torch.set_num_threads(threads)
        try:
            return [call() for call in _calls()]
        finally:
            torch.set_num_threads(1)
    for alone, *others in zip(*map(results, (1, 2, 5))):
        assert all(torch.equal(alone, other) for other in others)


def test_half_precision_is_computed_in_single():
    boxes = boxes_in(40, 30, 20).half()
    assert torch.equal(box_overlaps_forward(boxes, boxes),
                       box_overlaps_forward(boxes.float(), boxes.float()).half())
    assert torch.equal(nms_forward(boxes, 0.5, False, 0), nms_forward(boxes.float(), 0.5, False, 0))
    x = torch.rand(2, 3, 5, 7).half()
    assert torch.equal(mask_resize_forward(x, 3, 4, 0),
                       mask_resize_forward(x.float(), 3, 4, 0).half())
    arguments = vote(boxes, [9, 30], 20, 30)
    masks, where = mask_voting_forward(*(a.half() if torch.is_tensor(a) and a.is_floating_point()
                                         else a for a in arguments))
    assert masks.dtype == torch.float16 and where.dtype == torch.int32
