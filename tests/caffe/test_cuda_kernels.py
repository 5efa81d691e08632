"""The CUDA kernels: compiled for each generation of GPUs, and held against the torch references.

Without a GPU their sources run on the CPU (cuda_emulation.hpp); with one they run there as well.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from caffe import ops
from caffe.ops import cuda, nvrtc
from caffe.ops.mask_pooling import mask_pooling_backward_mask, mask_pooling_forward
from caffe.ops.mask_resize import mask_resize_backward, mask_resize_forward
from caffe.ops.mask_voting import mask_voting_forward
from caffe.ops.nms import nms_forward
from caffe.ops.overlaps import box_overlaps_forward, mask_overlaps_forward, pixels
from caffe.ops.roi_pooling import roi_pooling_backward, roi_pooling_forward
from caffe.ops.roi_warping import (
    roi_warping_backward_features,
    roi_warping_backward_rois,
    roi_warping_forward,
    roi_warping_pooled_forward,
)
from cuda_emulation import THREADS, Emulator, all_sources, kernels, sources

REFERENCE, EXACT = 0, 1
SINGLE, DOUBLE = torch.float32, torch.float64
BOTH = pytest.mark.parametrize("dtype", (SINGLE, DOUBLE), ids=str)
MODES = pytest.mark.parametrize("mode", (REFERENCE, EXACT), ids=("reference", "exact"))
SANITIZE = "CUDA_EMULATION_SANITIZED"       # set in the run that test_sanitized starts
SANITIZER = ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover")
GENERATIONS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory) -> Emulator:
    flags = SANITIZER if os.environ.get(SANITIZE) else ()
    return Emulator(tmp_path_factory.mktemp("cuda_emulation"), flags)


@pytest.fixture(params=("emulated", "gpu"))
def run(request, monkeypatch):
    """run(op, *arguments on the CPU): what the CUDA kernel gives, on the CPU."""
    if request.param == "gpu":
        if not torch.cuda.is_available():
            pytest.skip("no GPU")
        assert nvrtc.problem(0) is None
        return _on_the_gpu
    monkeypatch.setattr(nvrtc, "launch", request.getfixturevalue("emulator").launch)
    monkeypatch.setattr(nvrtc, "THREADS", THREADS)
    return _emulated


def _emulated(op, *arguments):
    torch.use_deterministic_algorithms(True)        # what a kernel does not write stays NaN
    try:
        return cuda.KERNELS[op](*arguments)
    finally:
        torch.use_deterministic_algorithms(False)


def _on_the_gpu(op, *arguments):
    out = op(*(a.cuda() if isinstance(a, torch.Tensor) else a for a in arguments))
    return tuple(x.cpu() for x in out) if isinstance(out, tuple) else out.cpu()


def reference(op, *arguments):
    """What the torch reference gives, whatever kernels there are for the CPU."""
    with ops.references():
        return op(*arguments)


def check(run, op, *arguments) -> None:
    got, wanted = run(op, *arguments), reference(op, *arguments)
    torch.testing.assert_close(got, wanted, equal_nan=True, check_stride=not _is_empty(wanted))


def _is_empty(result) -> bool:
    return any(x.numel() == 0 for x in (result if isinstance(result, tuple) else (result,)))


# --- RoIs --------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
WILD = [    # corners on a map of 5 x 7, in units of the map
    (NAN, 1, 4, 3), (1, NAN, 4, 3), (1, 1, NAN, 3), (1, 1, 4, NAN),
    (-INF, 0, INF, 4), (INF, INF, INF, INF), (0, -INF, 6, -INF), (1, 1, INF, 3),
    (-1e30, -1e30, 1e30, 1e30), (1e30, 0, 1e30, 4), (1, 1, 4, 1e30), (-1e9, 0, 6, 4),
    (5, 3, 2, 1), (2, 3, 2, 3), (1.5, 0.5, 2.5, 3.5), (-0.5, -0.5, 6.5, 4.5),
    (-9, -9, -4, -4), (20, 20, 30, 30), (-3, -2, 9, 8), (6, 4, 6, 4), (-1, 2, 0, 9),
]


def regular(count, images, height, width):
    """RoIs inside and across the border, the last one inverted."""
    rois = torch.rand(count, 5, dtype=DOUBLE) * torch.tensor([1, width, height, width, height])
    rois[:, 1:3] -= 1
    rois[:-1, 3:] += rois[:-1, 1:3]
    rois[:, 0] = torch.randint(images, (count,))
    return rois


def wild():
    corners = torch.tensor(WILD, dtype=DOUBLE)
    return torch.cat((torch.arange(len(WILD))[:, None] % 2, corners), 1)


SCALE = 0.5
ROIS = pytest.mark.parametrize("case", (
    pytest.param((11, 5, 2, 3), id="regular"),
    pytest.param((THREADS + 3, THREADS + 5, 3, 2), id="many"),      # RoIs and channels
    pytest.param((1, 1, 1, 1), id="one"),
    pytest.param((0, 3, 2, 2), id="none"),
    pytest.param((None, 3, 3, 4), id="wild"),
))


def region_inputs(case, dtype):
    """features (2, C, 5, 7), rois (R, 5), gradient (R, C, P, Q) channels-last, (P, Q)"""
    count, channels, *pooled = case
    rois = wild() if count is None else regular(count, 2, 5, 7)
    rois[:, 1:] /= SCALE
    features = torch.randn(2, channels, 5, 7, dtype=dtype)
    grad = torch.randn(len(rois), *pooled, channels, dtype=dtype).permute(0, 3, 1, 2)
    return features, rois.to(dtype), grad, pooled


@BOTH
@MODES
@ROIS
def test_roi_warping(run, case, mode, dtype):
    features, rois, grad, pooled = region_inputs(case, dtype)
    check(run, roi_warping_forward, features, rois, *pooled, SCALE, mode)
    check(run, roi_warping_pooled_forward, features, rois, *pooled, SCALE, mode)
    check(run, roi_warping_backward_features, grad, features, rois, SCALE, mode)
    check(run, roi_warping_backward_rois, grad, features, rois, SCALE, mode)


@BOTH
@ROIS
def test_roi_pooling(run, case, dtype):
    features, rois, grad, pooled = region_inputs(case, dtype)
    features = features.mul(2).round()          # so that maxima are met more than once
    check(run, roi_pooling_forward, features, rois, *pooled, SCALE)
    _, where = reference(roi_pooling_forward, features, rois, *pooled, SCALE)
    check(run, roi_pooling_backward, grad, where, features, rois, SCALE)


@MODES
def test_a_roi_of_no_image_pools_nan_and_gives_no_gradient(run, mode):
    features = torch.randn(2, 3, 5, 7)
    rois = torch.tensor([[n, 1, 1, 4, 3] for n in (-1e30, -1, 2, NAN, 1e30)])
    assert run(roi_warping_forward, features, rois, 2, 2, 1.0, mode).isnan().all()
    assert run(roi_warping_pooled_forward, features, rois, 2, 2, 1.0, mode).isnan().all()
    top, where = run(roi_pooling_forward, features, rois, 2, 2, 1.0)
    assert top.isnan().all() and (where == -1).all()
    grad = torch.ones(5, 3, 2, 2)
    for gradient in (run(roi_warping_backward_features, grad, features, rois, 1.0, mode),
                     run(roi_warping_backward_rois, grad, features, rois, 1.0, mode),
                     run(roi_pooling_backward, grad, where, features, rois, 1.0)):
        assert not gradient.any()


@pytest.mark.parametrize("pixel", ((0, 0), (0, 2), (2, 0), (2, 2)))
def test_pooling_of_what_is_not_a_number(run, pixel):
    """Each of the four samples of the first bin in turn is NaN."""
    features = torch.randn(1, 1, 5, 7)
    features[0, 0, pixel[0], pixel[1]] = NAN
    rois = torch.tensor([[0, 0, 0, 6.0, 4]])
    check(run, roi_warping_pooled_forward, features, rois, 2, 2, 1.0, REFERENCE)
    check(run, roi_pooling_forward, features, rois, 2, 2, 1.0)


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16), ids=str)
def test_half_precision_is_computed_in_single(run, dtype):
    features, rois = torch.randn(1, 3, 5, 7).to(dtype), torch.tensor([[0, 0, 1, 5, 4]]).to(dtype)
    top = run(roi_warping_forward, features, rois, 2, 3, 1.0, EXACT)
    single = reference(roi_warping_forward, features.float(), rois.float(), 2, 3, 1.0, EXACT)
    assert top.dtype == dtype
    assert torch.equal(top, single.to(dtype))


# --- masks -------------------------------------------------------------------------------------

@BOTH
@MODES
@pytest.mark.parametrize("size", ((3, 4), (5, 7), (11, 13), (1, 1), (2, 20)), ids=str)
def test_mask_resize(run, size, mode, dtype):
    x = torch.randn(2, 3, 5, 7, dtype=dtype)
    check(run, mask_resize_forward, x, *size, mode)
    check(run, mask_resize_backward, torch.randn(2, 3, *size, dtype=dtype), 5, 7, mode)


@pytest.mark.parametrize("sizes", ((21, 14), (14, 21), (1, 5), (600, 1)), ids=str)
def test_mask_resize_of_an_axis(run, sizes):
    size, outputs = sizes
    for mode in (REFERENCE, EXACT):
        check(run, mask_resize_forward, torch.randn(1, 1, size, 1), outputs, 1, mode)
        check(run, mask_resize_backward, torch.randn(1, 1, outputs, 1), size, 1, mode)


@BOTH
@pytest.mark.parametrize("shape", ((2, 5, 3, 4), (3, THREADS + 7, 5, 7), (1, 1, 9, 9),
                                   (0, 3, 2, 2)), ids=str)
def test_mask_pooling(run, shape, dtype):
    mask = torch.rand(shape[0], 1, *shape[2:], dtype=dtype)
    for layout in (torch.channels_last, torch.contiguous_format):
        features, grad = (torch.randn(shape, dtype=dtype).contiguous(memory_format=layout)
                          for _ in range(2))
        check(run, mask_pooling_forward, features, mask)
        check(run, mask_pooling_backward_mask, grad, features)


def instances(count, side, height, width, dtype):
    """Boxes that reach out of the image, and soft masks."""
    corner = torch.rand(count, 2, dtype=dtype) * torch.tensor([width, height]) * 1.2 - 3
    boxes = torch.cat((corner, corner + torch.rand(count, 2, dtype=dtype) * 12), 1)
    return boxes, torch.rand(count, side, side, dtype=dtype)


@BOTH
@pytest.mark.parametrize("side, threshold", ((3, 0.4), (7, 0.1), (1, 0.4), (5, -0.1), (5, 9.0)))
def test_mask_voting(run, side, threshold, dtype):
    height, width = 17, 23
    boxes, masks = instances(40, side, height, width, dtype)
    boxes[3], boxes[4, 0], boxes[5, 2:] = 40, NAN, boxes[5, :2] - 4
    boxes[6] = torch.tensor([-1e30, 2, 1e30, 9])
    boxes[7] = torch.tensor([2, -INF, 9, INF])
    ends = torch.tensor([3, 3, 6, 12, 33, 34, 37])
    inds, weights = torch.randint(40, (37,)), torch.rand(37, dtype=dtype)
    inds[3:6], inds[33] = torch.tensor([3, 4, 5]), 6
    if dtype == SINGLE:         # inf has no place on a mask: the votes are NaN
        inds[36] = 7
    check(run, mask_voting_forward, boxes, masks, inds, ends, weights, height, width, threshold)


def test_mask_voting_for_nothing(run):
    boxes, masks = instances(2, 3, 9, 9, SINGLE)
    none = torch.zeros(0, dtype=torch.int64)
    check(run, mask_voting_forward, boxes, masks, none, none, torch.zeros(0), 9, 9, 0.4)


# --- boxes -------------------------------------------------------------------------------------

def crowd(count, dtype):
    """Boxes in clusters, best first."""
    centres = torch.randint(0, 60, (count, 2)) + torch.rand(count, 2)
    size = torch.rand(count, 2) * 30
    return torch.cat((centres - size / 2, centres + size / 2), 1).to(dtype)


@BOTH
@pytest.mark.parametrize("count", (0, 1, 63, 64, 65, 200))
def test_nms(run, count, dtype):
    boxes = crowd(count, dtype)
    for inclusive in (False, True):
        for limit in (0, 1, 7, 1000):
            check(run, nms_forward, boxes, 0.3, inclusive, limit)


@pytest.mark.parametrize("thresh", (-1.0, 0.0, 0.5, 1.0))
def test_nms_at_thresholds(run, thresh):
    boxes = torch.tensor([[0, 0, 9, 9.0], [0, 0, 9, 4], [0, 0, 9, 9], [50, 50, 59, 59],
                          [NAN, 0, 9, 9], [9, 9, 0, 0], [0, 0, INF, 9], [0, 0, 9, 4]])
    for inclusive in (False, True):
        check(run, nms_forward, boxes, thresh, inclusive, 0)


def test_nms_slab_by_slab(run, monkeypatch):
    monkeypatch.setattr(cuda, "SLAB", 1)        # as small as can be: a word of boxes
    boxes = crowd(300, SINGLE)
    for limit in (0, 30, 90):
        check(run, nms_forward, boxes, 0.2, False, limit)


@BOTH
def test_box_overlaps(run, dtype):
    boxes, query = crowd(13, dtype), crowd(37, dtype)
    boxes[0, 2], boxes[1] = NAN, torch.tensor([9, 9, 0, 0])
    check(run, box_overlaps_forward, boxes, query)
    check(run, box_overlaps_forward, boxes[:0], query)


def test_mask_overlaps(run):
    boxes = torch.tensor([[0, 0, 6, 4], [-3, 2, 2, 9], [5, 5, 4, 9], [3, 3, 3, 3],
                          [20, 20, 29, 29]])
    query = torch.tensor([[2, 1, 9, 3], [3, 3, 3, 3], [0, 0, 6, 4], [7, 7, 9, 5]])
    masks, query_masks = ((torch.rand(int(pixels(b).sum())) < 0.6).to(torch.uint8) * 3
                          for b in (boxes, query))
    check(run, mask_overlaps_forward, boxes, masks, query, query_masks)
    check(run, mask_overlaps_forward, boxes, masks, query[:0], query_masks[:0])


# --- what is not arithmetic --------------------------------------------------------------------

def test_every_operator_has_a_kernel():
    assert set(cuda.KERNELS) == set(ops.OPS)


def test_results_are_the_same_with_any_grid(emulator, monkeypatch):
    """A grid of another size takes other rounds, and sums in the same order."""
    features, rois, grad, _ = region_inputs((11, THREADS + 5, 2, 3), SINGLE)
    monkeypatch.setattr(nvrtc, "launch", emulator.launch)
    monkeypatch.setattr(nvrtc, "THREADS", THREADS)
    arguments = {roi_warping_backward_features: (grad, features, rois, SCALE, REFERENCE),
                 roi_warping_backward_rois: (grad, features, rois, SCALE, REFERENCE),
                 mask_resize_backward: (grad, 4, 5, EXACT)}
    large = [cuda.KERNELS[op](*a) for op, a in arguments.items()]
    monkeypatch.setattr(cuda, "MOST_BLOCKS", (3, 1))
    small = [cuda.KERNELS[op](*a) for op, a in arguments.items()]
    assert all(torch.equal(a, b) for a, b in zip(large, small))


def _needs_nvrtc():
    if not importlib.util.find_spec("cuda") or not importlib.util.find_spec("cuda.core"):
        pytest.skip("cuda-core is not installed")
    from cuda.bindings import nvrtc as binding

    try:
        binding.nvrtcVersion()
    except RuntimeError as error:
        pytest.skip(f"no NVRTC: {error}")


@pytest.mark.parametrize("arch", GENERATIONS)
def test_compiles_for(arch, tmp_path, monkeypatch):
    _needs_nvrtc()
    monkeypatch.setenv("CAFFE_CUDA_CACHE", str(tmp_path))
    precisions = nvrtc.PRECISIONS if arch in (GENERATIONS[0], GENERATIONS[-1]) else (SINGLE,)
    for precision in precisions:
        for source in sources():
            code = nvrtc.compiled(source, precision, arch)
            assert code.startswith(b"\x7fELF")
            assert all(b".text." + kernel.encode() in code for kernel in kernels(source))


def test_reads_and_writes_within_its_arrays():
    """The emulated tests once more, under the sanitizers of addresses and undefined behaviour."""
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True)
    if not Path(library.stdout.strip()).is_absolute():
        pytest.skip("g++ has no address sanitizer here")
    environment = {**os.environ, SANITIZE: "1", "LD_PRELOAD": library.stdout.strip(),
                   "ASAN_OPTIONS": "detect_leaks=0"}        # Python's own
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-s", __file__, "-k",
                           "emulated and not float64"],
                          env=environment, capture_output=True, text=True,
                          cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr


def test_compiles_with_nvcc(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on the PATH")
    everything = tmp_path / "everything.cu"
    everything.write_text(all_sources())
    for real in nvrtc.PRECISIONS.values():
        done = subprocess.run(
            [nvcc, "-std=c++17", "-cubin", "-arch=sm_90", "-Werror", "all-warnings",
             f"-DREAL={real}", f"-DTHREADS={nvrtc.THREADS}", f"-I{nvrtc.SOURCES}", str(everything),
             "-o", str(tmp_path / "everything.cubin")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_cache(tmp_path, monkeypatch, caplog):
    _needs_nvrtc()
    monkeypatch.setenv("CAFFE_CUDA_CACHE", str(tmp_path / "cache"))
    code = nvrtc.compiled("mask_pooling", SINGLE, "sm_80")
    file, = (tmp_path / "cache").iterdir()
    file.write_bytes(b"from the cache")
    assert nvrtc.compiled("mask_pooling", SINGLE, "sm_80") == b"from the cache"

    changed = shutil.copytree(nvrtc.SOURCES, tmp_path / "ops")
    (changed / "gpu.hpp").write_text((changed / "gpu.hpp").read_text() + "// changed\n")
    monkeypatch.setattr(nvrtc, "SOURCES", changed)
    assert nvrtc.compiled("mask_pooling", SINGLE, "sm_80") == code
    assert len(list((tmp_path / "cache").iterdir())) == 2

    (tmp_path / "file").touch()
    monkeypatch.setenv("CAFFE_CUDA_CACHE", str(tmp_path / "file"))
    assert nvrtc.compiled("mask_pooling", SINGLE, "sm_80") == code
    assert "was not written" in caplog.text


def test_cache_folder(monkeypatch):
    monkeypatch.delenv("CAFFE_CUDA_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert nvrtc.cache_folder() == Path("/somewhere/caffe/cuda")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert nvrtc.cache_folder() == Path.home() / ".cache/caffe/cuda"


@pytest.mark.parametrize("driver_version, capability, words", (
    (13000, (9, 0), None),
    (13020, (7, 5), None),
    (12080, (9, 0), r"driver is for CUDA 12, NVRTC for CUDA 13; pip install 'cuda-core\[cu12\]'"),
    (13000, (7, 0), "does not know compute capability 7.0"),
))
def test_problems_are_named(monkeypatch, driver_version, capability, words):
    _needs_nvrtc()
    monkeypatch.setattr("cuda.bindings.nvrtc.nvrtcVersion", lambda: (0, 13, 0))
    monkeypatch.setattr("cuda.bindings.driver.cuDriverGetVersion", lambda: (0, driver_version))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    reason = nvrtc.problem.__wrapped__(0)
    assert reason is None if words is None else re.search(words, reason)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    assert "pip install 'cuda-core[cu" in nvrtc.problem.__wrapped__(0)


def test_launch_asks_cuda_core_as_it_is_meant_to(monkeypatch):
    """All of a launch but the GPU: the guard, the stream, the grid and the arguments."""
    _needs_nvrtc()
    from cuda import core

    guarded, launched = [], []
    stream = SimpleNamespace(cuda_stream=1234)
    monkeypatch.setattr(torch.cuda, "device", lambda d: guarded.append(d) or nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda d: stream)
    monkeypatch.setattr(nvrtc, "_kernel", lambda *which: which)
    monkeypatch.setattr(core, "Device", lambda d: SimpleNamespace(set_current=lambda: None))
    monkeypatch.setattr(core, "launch", lambda *what: launched.append(what))
    x = torch.zeros(3)
    nvrtc.launch("source", "kernel", SINGLE, (0,), (32,), x)
    nvrtc.launch("source", "kernel", SINGLE, (5, 2), (32,), x, 7, 0.5)
    (on, config, kernel, *arguments), = launched
    assert guarded == [x.device] and on.__cuda_stream__() == (0, 1234)
    assert config.grid == (5, 2, 1) and config.block == (32, 1, 1)
    assert kernel == ("source", "kernel", SINGLE, x.device.index)
    assert arguments == [x.data_ptr(), 7, 0.5]


def test_without_a_compiler_the_references_serve(monkeypatch, caplog):
    nvrtc._say_once.cache_clear()
    monkeypatch.setattr(nvrtc, "problem", lambda device: "no cuda-core")
    features, mask = torch.randn(1, 2, 3, 4), torch.rand(1, 1, 3, 4)
    for _ in range(2):
        top = mask_pooling_forward._backend_fns["cuda"](features, mask)
        assert torch.equal(top, features * mask)
    assert caplog.text.count("CUDA kernels cannot be compiled (no cuda-core)") == 1
