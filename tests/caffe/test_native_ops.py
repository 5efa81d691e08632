"""The C++ kernels for RoIs and mask pooling against the torch references, their specification."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from caffe import ops
from caffe.ops.mask_pooling import (
    mask_pooling_backward_mask,
    mask_pooling_forward,
    mask_pooling_pooled_forward,
)
from caffe.ops.roi_pooling import roi_pooling_backward, roi_pooling_forward
from caffe.ops.roi_warping import (
    roi_warping_backward_features,
    roi_warping_backward_rois,
    roi_warping_forward,
    roi_warping_pooled_forward,
)

NAN, INF = float("nan"), float("inf")
WILD = (NAN, INF, -INF, 1e30, -1e30, 3e38, -3e38, 1e-40, -0.5, 0.5, 2.5, -0.0)
BOTH = pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
MODES = pytest.mark.parametrize("mode", (0, 1), ids=("REFERENCE", "EXACT"))
# images, channels, height and width of the map; pooled height and width
SIZES = pytest.mark.parametrize("shape, pooled", (
    ((2, 3, 5, 7), (2, 3)), ((1, 1, 11, 13), (7, 5)), ((3, 37, 6, 4), (5, 9)),
    ((1, 64, 1, 9), (3, 4)), ((2, 131, 9, 1), (4, 1)), ((1, 5, 1, 1), (2, 2)),
    ((2, 17, 23, 19), (1, 1))))


def both(op, *arguments):
    """(what the kernel gives, what the reference gives)"""
    given = op(*arguments)
    with ops.references():
        return given, op(*arguments)


def assert_same_bits(op, *arguments):
    def bits(x):
        sizes = {2: torch.int16, 4: torch.int32, 8: torch.int64}
        return x.contiguous().view(sizes[x.element_size()])
    for found, expected in zip(*map(torch.utils._pytree.tree_leaves, both(op, *arguments))):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert torch.equal(bits(found), bits(expected)), (found - expected).abs().max()


def assert_near(op, *arguments, tolerance=1e-5):
    """Within `tolerance` of the largest number there is."""
    given, expected = both(op, *arguments)
    assert given.dtype == expected.dtype and given.shape == expected.shape
    size = expected.abs().max().item() if expected.numel() else 1
    torch.testing.assert_close(given, expected, rtol=0, atol=tolerance * size)


def random_rois(count, shape, dtype):
    """In image pixels of which a map pixel is two wide: over the borders, inverted, of no size."""
    images, _, height, width = shape
    corners = (torch.rand(count, 2, 2) * 1.4 - 0.2) * torch.tensor([2 * width, 2 * height])
    rois = torch.cat((corners.amin(1), corners.amax(1)), 1)
    rois[::5] = rois[::5].flip(1)
    rois[1::5] = rois[1::5].round()
    rois[2::5, 2:] = rois[2::5, :2]
    return torch.cat((torch.randint(images, (count, 1)), rois), 1).to(dtype)


def wild_rois(count, shape, dtype):
    rois = random_rois(count, shape, dtype)
    chosen = torch.tensor(WILD, dtype=dtype)[torch.randint(len(WILD), (count, 4))]
    rois[:, 1:] = torch.where(torch.rand(count, 4) < 0.4, chosen, rois[:, 1:])
    return rois


def channels_last(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


# --- roi_warping -------------------------------------------------------------------------------

@BOTH
@MODES
@SIZES
@pytest.mark.parametrize("rois_of", (random_rois, wild_rois))
def test_roi_warping(shape, pooled, mode, dtype, rois_of):
    features, rois = torch.randn(shape, dtype=dtype), rois_of(31, shape, dtype)
    assert_same_bits(roi_warping_forward, features, rois, *pooled, 0.5, mode)
    assert_same_bits(roi_warping_pooled_forward, features, rois, *pooled, 0.5, mode)


@BOTH
@MODES
@SIZES
@pytest.mark.parametrize("rois_of", (random_rois, wild_rois))
def test_roi_warping_gradients(shape, pooled, mode, dtype, rois_of):
    features, rois = torch.randn(shape, dtype=dtype), rois_of(31, shape, dtype)
    grad = torch.randn(31, shape[1], *pooled, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for op in (roi_warping_backward_features, roi_warping_backward_rois):
        assert_near(op, grad, features, rois, 0.5, mode, tolerance=tolerance)
        assert op(grad, features, rois, 0.5, mode).isfinite().all()


@settings(max_examples=150, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(0, 4), st.just(4)),
              elements=st.one_of(st.integers(-3, 24).map(float), st.floats(width=32),
                                 st.floats(-5, 30, width=32), st.sampled_from(WILD[:7]))),
       st.sampled_from((0, 1)))
def test_any_rois(corners, mode):
    rois = torch.from_numpy(np.insert(corners, 0, 0, axis=1))
    features, grad = torch.randn(1, 3, 5, 7), torch.randn(len(rois), 3, 4, 3)
    assert_same_bits(roi_warping_forward, features, rois, 4, 3, 0.5, mode)
    assert_same_bits(roi_pooling_forward, features, rois, 4, 3, 0.5)
    assert_near(roi_warping_backward_features, grad, features, rois, 0.5, mode)
    assert_near(roi_warping_backward_rois, grad, features, rois, 0.5, mode)
    where = roi_pooling_forward(features, rois, 4, 3, 0.5)[1]
    assert_near(roi_pooling_backward, grad, where, features, rois, 0.5)


@MODES
def test_what_is_no_number_stays_where_it_was(mode):
    features = torch.randn(1, 3, 9, 8)
    features[0, 0, 3, 4], features[0, 1, 5, 5], features[0, 2, 2, 2] = NAN, INF, -INF
    rois = torch.tensor([[0, 0.0, 0, 7, 8], [0, 2, 3, 5, 6], [0, 3.5, 1.5, 4.5, 6]])
    for op in (roi_warping_forward, roi_warping_pooled_forward):
        given, expected = both(op, features, rois, 4, 6, 1.0, mode)
        torch.testing.assert_close(given, expected, rtol=0, atol=0, equal_nan=True)
        assert given.isnan().any() and given.isfinite().any()


def test_roi_warping_pooled_by_hand():
    features = torch.arange(36.0).view(1, 1, 6, 6)
    rois = torch.tensor([[0, 0.0, 0, 4, 4]])                # samples at pixels 0 to 3
    assert ops.roi_warping_pooled(features, rois, 2, 2).tolist() == [[[[7, 9], [19, 21]]]]


def test_roi_warping_pooled_has_no_gradient():
    features = torch.randn(1, 1, 4, 4, requires_grad=True)
    top = ops.roi_warping_pooled(features, torch.zeros(1, 5), 2, 2)
    with pytest.raises(RuntimeError, match="roi_warping_pooled"):
        top.sum().backward()


# --- roi_pooling -------------------------------------------------------------------------------

@BOTH
@SIZES
@pytest.mark.parametrize("rois_of", (random_rois, wild_rois))
def test_roi_pooling(shape, pooled, dtype, rois_of):
    features, rois = torch.randn(shape, dtype=dtype), rois_of(31, shape, dtype)
    assert_same_bits(roi_pooling_forward, features, rois, *pooled, 0.5)
    where = roi_pooling_forward(features, rois, *pooled, 0.5)[1]
    grad = torch.randn(where.shape, dtype=dtype)
    assert_near(roi_pooling_backward, grad, where, features, rois, 0.5)


def test_roi_pooling_of_equal_and_of_no_numbers():
    features = torch.randint(3, (2, 19, 11, 9)).float()
    rois = random_rois(12, features.shape, torch.float32)
    assert_same_bits(roi_pooling_forward, features, rois, 3, 4, 0.5)
    features[torch.rand(features.shape) < 0.3] = NAN
    features[torch.rand(features.shape) < 0.3] = -INF
    assert_same_bits(roi_pooling_forward, features, rois, 3, 4, 0.5)


def test_roi_pooling_reads_no_place_that_is_not_in_the_bin():
    features, rois = torch.randn(1, 3, 5, 7), torch.tensor([[0, 0.0, 0, 6, 4]])
    where = torch.tensor([2**31 - 1, -2**31, 35]).int().view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert not roi_pooling_backward(torch.ones(1, 3, 2, 2), where, features, rois, 1.0).any()


# --- mask_pooling ------------------------------------------------------------------------------

@BOTH
@pytest.mark.parametrize("shape", ((2, 3, 5, 7), (3, 1, 4, 4), (2, 50, 1, 1), (1, 129, 3, 2)))
@pytest.mark.parametrize("layout", (torch.channels_last, torch.contiguous_format))
def test_mask_pooling(shape, layout, dtype):
    features = torch.randn(shape, dtype=dtype).contiguous(memory_format=layout)
    mask = torch.rand(shape[0], 1, *shape[2:], dtype=dtype)
    assert_same_bits(mask_pooling_forward, features, mask)
    assert mask_pooling_forward(features, mask).is_contiguous(memory_format=layout)
    for grad in (torch.randn(shape, dtype=dtype), channels_last(*shape, dtype=dtype)):
        assert_near(mask_pooling_backward_mask, grad, features)


@BOTH
def test_mask_pooling_pooled(dtype):
    for shape in ((2, 3, 4, 6), (3, 50, 2, 2), (1, 129, 14, 14), (0, 3, 4, 4)):
        features, mask = torch.randn(shape, dtype=dtype), torch.rand(shape[0], 1, *shape[2:],
                                                                     dtype=dtype)
        assert_same_bits(mask_pooling_pooled_forward, features, mask)
    features[...] = NAN
    assert_same_bits(mask_pooling_pooled_forward, features, mask)
    with pytest.raises(ValueError, match="must be even"):
        ops.mask_pooling_pooled(torch.zeros(1, 2, 3, 4), torch.zeros(1, 1, 3, 4))


def test_mask_pooling_pooled_by_hand():
    features = torch.arange(1.0, 9).view(1, 1, 2, 4)        # 1 2 3 4 / 5 6 7 8
    mask = torch.tensor([1, 0.5, 0, 0.5, 0, 0, 0.5, -1]).view(1, 1, 2, 4)
    assert ops.mask_pooling_pooled(features, mask).tolist() == [[[[1, 3.5]]]]


# --- bfloat16: maps are read and written as they are, RoIs and masks stay float32 --------------

def in_bfloat16(shape):
    """Maps of these shapes: of numbers, of ties, of what is at the ends of the range."""
    wild = torch.tensor(WILD)[torch.randint(len(WILD), shape)]
    return (torch.randn(shape).bfloat16(), torch.randint(3, shape).bfloat16(), wild.bfloat16())


@SIZES
def test_maps_in_bfloat16(shape, pooled):
    torch.manual_seed(3)
    rois = random_rois(31, shape, torch.float32)
    for features in in_bfloat16(shape)[:2]:
        for mode in (0, 1):
            for op in (roi_warping_forward, roi_warping_pooled_forward):
                assert_same_bits(op, features, rois, *pooled, 0.5, mode)
                exact = op(features.float(), rois, *pooled, 0.5, mode)
                assert torch.equal(op(features, rois, *pooled, 0.5, mode), exact.bfloat16())
    for features in in_bfloat16(shape):
        assert_same_bits(roi_pooling_forward, features, rois, *pooled, 0.5)


def test_masks_beside_maps_in_bfloat16():
    torch.manual_seed(3)
    for shape in ((2, 3, 4, 6), (1, 129, 14, 14)):
        features, mask = in_bfloat16(shape)[0], torch.rand(shape[0], 1, *shape[2:])
        for op in (mask_pooling_forward, mask_pooling_pooled_forward):
            for laid in (features, features.contiguous(memory_format=torch.channels_last)):
                assert_same_bits(op, laid, mask)
                assert torch.equal(op(laid, mask), op(laid.float(), mask).bfloat16())


def test_bfloat16_is_rounded_to_the_nearest_and_to_even_in_a_tie():
    exact = torch.tensor([1 + 2**-9, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, INF,
                          -INF, NAN, -0.0, 1e-40])
    features = torch.ones(1, len(exact), 1, 1).bfloat16()
    found = torch.stack([mask_pooling_forward(
        features.contiguous(memory_format=torch.channels_last), value.view(1, 1, 1, 1))
        for value in exact])[:, 0, 0, 0, 0]
    assert torch.equal(found.view(torch.int16)[:7], exact.bfloat16().view(torch.int16)[:7])
    assert found[7].isnan() and torch.equal(found[8:], exact.bfloat16()[8:])


def test_gradients_beside_maps_in_bfloat16():
    features = torch.randn(1, 8, 5, 7).bfloat16().requires_grad_()
    rois = random_rois(5, features.shape, torch.float32).requires_grad_()
    exact, at = features.detach().float().requires_grad_(), rois.detach().clone().requires_grad_()
    for f, r in ((features, rois), (exact, at)):
        ops.roi_warping(f, r, 4, 4, 0.5).float().sum().backward()
    assert features.grad.dtype == torch.bfloat16 and rois.grad.dtype == torch.float32
    torch.testing.assert_close(features.grad.float(), exact.grad, rtol=0.01, atol=0.01)
    torch.testing.assert_close(rois.grad, at.grad, rtol=0.01, atol=0.05)


# --- all ---------------------------------------------------------------------------------------

def calls(shape=(2, 35, 6, 9), dtype=torch.float32, contiguous=lambda x: x):
    """Every operator of this file with arguments; `contiguous` makes what they lie like."""
    torch.manual_seed(5)
    features, rois = torch.randn(shape, dtype=dtype), random_rois(11, shape, dtype)
    grad = torch.randn(11, shape[1], 4, 3, dtype=dtype)
    mask = torch.rand(shape[0], 1, *shape[2:], dtype=dtype)
    where = roi_pooling_forward(features, rois, 4, 3, 0.5)[1]
    features, rois, grad, mask, where = map(contiguous, (features, rois, grad, mask, where))
    for mode in (0, 1):
        yield roi_warping_forward, (features, rois, 4, 3, 0.5, mode)
        yield roi_warping_pooled_forward, (features, rois, 4, 3, 0.5, mode)
        yield roi_warping_backward_features, (grad, features, rois, 0.5, mode)
        yield roi_warping_backward_rois, (grad, features, rois, 0.5, mode)
    yield roi_pooling_forward, (features, rois, 4, 3, 0.5)
    yield roi_pooling_backward, (grad, where, features, rois, 0.5)
    yield mask_pooling_forward, (features, mask)
    yield mask_pooling_pooled_forward, (features[..., :6, :8], mask[..., :6, :8])
    yield mask_pooling_backward_mask, (features, features)


def run(*arguments, **options):
    results = [op(*inputs) for op, inputs in calls(*arguments, **options)]
    return torch.utils._pytree.tree_leaves(results)


@pytest.mark.parametrize("channels", (1, 16, 17, 70))
def test_the_number_of_threads_makes_no_difference(channels):
    def results(threads):
        torch.set_num_threads(threads)
        try:
            return run((2, channels, 6, 9))
        finally:
            torch.set_num_threads(1)
    for alone, *others in zip(*map(results, (1, 2, 3, 8)), strict=True):
        assert all(torch.equal(alone, other) for other in others)


def spread(x):
    """The same numbers with gaps between them."""
    wide = x.new_zeros([2 * n for n in x.shape])
    wide[tuple(slice(None, None, 2) for _ in x.shape)] = x
    return wide[tuple(slice(None, None, 2) for _ in x.shape)]


def turned(x):
    """The same numbers, the first axis fastest."""
    return x.permute(*reversed(range(x.dim()))).contiguous().permute(*reversed(range(x.dim())))


@pytest.mark.parametrize("contiguous", (spread, turned))
def test_inputs_may_lie_anyhow(contiguous):
    for plain, other in zip(run(), run(contiguous=contiguous), strict=True):
        torch.testing.assert_close(plain, other, rtol=0, atol=1e-5)


def test_a_gradient_may_be_one_number_for_all():
    found = []
    for gradient in (torch.ones(()).expand(11, 35, 4, 3), torch.ones(11, 35, 4, 3)):
        features = torch.ones(2, 35, 6, 9, requires_grad=True)
        rois = random_rois(11, features.shape, torch.float32)[:1].expand(11, 5)
        ops.roi_warping(features, rois, 4, 3, 0.5).backward(gradient)
        found.append(features.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16), ids=str)
def test_low_precision_is_computed_in_single(dtype):
    for op, inputs in calls(dtype=dtype):
        single = [x.float() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs]
        for found, expected in zip(*map(torch.utils._pytree.tree_leaves,
                                        (op(*inputs), op(*single)))):
            floating = found.is_floating_point()
            assert found.dtype == (dtype if floating else torch.int32)
            torch.testing.assert_close(found, expected.to(found.dtype))


@MODES
def test_no_rois(mode):
    for shape in ((1, 3, 5, 7), (0, 3, 5, 7)):
        features, rois, grad = torch.randn(shape), torch.zeros(0, 5), torch.zeros(0, 3, 2, 3)
        assert_same_bits(roi_warping_forward, features, rois, 2, 3, 1.0, mode)
        assert_same_bits(roi_warping_pooled_forward, features, rois, 2, 3, 1.0, mode)
        assert_same_bits(roi_warping_backward_features, grad, features, rois, 1.0, mode)
        assert_same_bits(roi_warping_backward_rois, grad, features, rois, 1.0, mode)
        assert_same_bits(roi_pooling_forward, features, rois, 2, 3, 1.0)
        assert_same_bits(roi_pooling_backward, grad, grad.int(), features, rois, 1.0)


def test_kernels_read_only_images_there_are():
    """The door turns other numbers away; for who passes it by, the kernels take the nearest."""
    features = torch.randn(2, 3, 5, 7)
    rois = torch.tensor([[0, 1.0, 1, 4, 4], [1, 1, 1, 4, 4]])
    lost = rois.clone()
    lost[:, 0] = torch.tensor([-1e30, 1e30])
    for op in (roi_warping_forward, roi_pooling_forward):
        arguments = (2, 2, 1.0, 0)[:4 if op is roi_warping_forward else 3]
        found, expected = (torch.utils._pytree.tree_leaves(op(features, r, *arguments))
                           for r in (lost, rois))
        assert all(map(torch.equal, found, expected))


# --- which code serves -------------------------------------------------------------------------

def test_every_operator_is_listed_and_has_a_kernel():
    kind, found = type(roi_warping_forward), set()
    for module in pkgutil.iter_modules(ops.__path__):
        if module.name not in ("cuda", "nvrtc"):
            members = vars(importlib.import_module(f"caffe.ops.{module.name}")).values()
            found |= {op for op in members if isinstance(op, kind)}
    assert found - {ops.nms_of_lists} == set(ops.OPS)       # that one is made of another
    assert ops.native is not None, "the C++ kernels are not built: make build"
    for op in ops.OPS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(op._qualname, "CPU"), op


def test_references_serve_on_demand(monkeypatch):
    features, rois = torch.ones(1, 1, 3, 3), torch.zeros(1, 5)
    monkeypatch.setattr(ops.native, "_native", SimpleNamespace())       # a kernel would fail
    with ops.references():
        assert ops.roi_warping(features, rois, 1, 1).item() == 1
    with pytest.raises(AttributeError):
        ops.roi_warping(features, rois, 1, 1)


WITHOUT_KERNELS = """
import sys
sys.modules["caffe.ops._native"] = None
import torch
from caffe import ops
assert ops.native is None
with ops.references():
    print(ops.roi_warping(torch.ones(1, 1, 3, 3), torch.zeros(1, 5), 1, 1).item())
"""


def test_without_kernels_the_references_serve_and_the_log_says_why():
    done = subprocess.run([sys.executable, "-c", WITHOUT_KERNELS], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, timeout=300)
    assert done.stdout == "1.0\n", done.stderr
    line, = done.stderr.splitlines()
    assert line.startswith("W") and "caffe.ops._native" in line and "build_ext" in line


def test_sources_are_found():
    names = {path.name for path in ops.sources().iterdir()}
    assert {"kernels.hpp", "roi_warping.hpp", "bilinear.hpp", "common.hpp"} <= names
