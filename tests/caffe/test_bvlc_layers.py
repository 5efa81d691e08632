"""The layers for BVLC Caffe: copied as their README says, built against stand-ins, run.

Their .cu files run here too, one thread after the other, with a launch written as a call.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from caffe import ops

ROOT = Path(__file__).resolve().parents[2]
BVLC = ROOT / "caffe-mnc" / "bvlc"
STAND_IN = Path(__file__).parent / "bvlc_stand_in"
TYPES = ("ROIWarping", "ROIPooling", "MaskResize", "MaskPooling")
FILES = ("roi_warping", "roi_pooling", "mask_resize", "mask_pooling")
CPU, GPU = 0, 1
SCALE = float(np.float32(0.9))
REFERENCE, EXACT = 0, 1

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler (g++) here")


# --- copying and building ----------------------------------------------------------------------

@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A folder like Caffe's with the layers in it, brought there by the README's own commands."""
    folder = tmp_path_factory.mktemp("caffe")
    for part in ("include/caffe/layers", "src/caffe/layers", "src/caffe/proto"):
        (folder / part).mkdir(parents=True)
    (folder / "src/caffe/proto/caffe.proto").write_text(
        'syntax = "proto2";\n\nmessage LayerParameter {\n  optional string name = 1;\n}\n')
    commands = re.findall(r"```sh\n(.*?)```", (BVLC / "README.md").read_text(), re.S)
    for block in commands:
        subprocess.run(["bash", "-ec", block], cwd=ROOT, check=True,
                       env={**os.environ, "CAFFE": str(folder)})
    return folder


def compile_with(compiler: str, *arguments: object) -> None:
    done = subprocess.run([compiler, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def includes(tree: Path) -> list[str]:
    return [f"-I{tree / 'include'}", f"-I{STAND_IN}"]


STRICT = ("-std=c++11", "-Wall", "-Wextra", "-Werror")


def one_file(folder: Path, sources: list[Path]) -> Path:
    """The sources as one: it compiles in a third of the time."""
    path = folder / f"all{sources[0].suffix}"
    path.write_text("".join(f'#include "{source}"\n' for source in sources))
    return path


def launches_as_calls(text: str) -> str:
    """kernel<<<blocks, threads>>>(...) -> emulation::launch(blocks, threads, kernel, ...)"""
    return re.sub(r"(\w+<Dtype>)<<<(.+?), (\w+)>>>\(", r"emulation::launch(\2, \3, \1, ", text)


@pytest.fixture(scope="module")
def library(tree, tmp_path_factory) -> ctypes.CDLL:
    folder, layers = tmp_path_factory.mktemp("build"), tree / "src/caffe/layers"
    sources = [layers / f"{name}_layer.cpp" for name in FILES] + [STAND_IN / "driver.cpp"]
    for name in FILES:
        path = folder / f"{name}_gpu.cpp"
        path.write_text(launches_as_calls((layers / f"{name}_layer.cu").read_text()))
        sources.append(path)
    # no contraction: a product and a sum round twice, as they do in the references
    compile_with("g++", *STRICT, "-O1", "-ffp-contract=off", "-fPIC", "-shared", *includes(tree),
                 one_file(folder, sources), "-o", folder / "layers.so")
    loaded = ctypes.CDLL(str(folder / "layers.so"))
    loaded.run_layer.restype = ctypes.c_char_p
    return loaded


def test_the_readmes_commands_copy_everything_as_files(tree):
    copied = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    for name in FILES:
        assert {f"include/caffe/layers/{name}_layer.hpp", f"src/caffe/layers/{name}_layer.cpp",
                f"src/caffe/layers/{name}_layer.cu"} <= copied
    for path in (tree / "include/caffe/region").iterdir():
        assert not path.is_symlink()
        own = ROOT / "caffe-mnc/src/ops" / path.name
        assert path.name == "planes.hpp" or path.read_bytes() == own.read_bytes()


def test_the_readmes_commands_extend_caffe_proto(tree):
    fields, messages = re.fullmatch(
        r'.*?message LayerParameter \{\n(.*?)  optional string name = 1;\n\}\n(.*)',
        (tree / "src/caffe/proto/caffe.proto").read_text(), re.S).groups()
    ours = (ROOT / "caffe-mnc/python/caffe/proto/caffe.proto").read_text()
    assert len(fields.splitlines()) == 3
    assert all(f"\n{line}\n" in ours for line in fields.splitlines())
    assert messages.count("message ") == 3
    for name, added in re.findall(r"^message (\w+) {(.*?)^}", messages, re.S | re.M):
        here = re.search(rf"^message {name} {{(.*?)^}}", ours, re.S | re.M)[1]
        assert {*fields_of(added)} <= {*fields_of(here)}       # forks have more fields


def fields_of(message: str) -> list[str]:
    return re.findall(r"(?:optional|repeated) [^;]+;", message)


@pytest.mark.parametrize("name", FILES)
def test_each_source_compiles_by_itself_in_a_caffe_without_gpu(tree, name):
    compile_with("g++", *STRICT, "-DCPU_ONLY", "-fsyntax-only", *includes(tree),
                 tree / f"src/caffe/layers/{name}_layer.cpp")


@pytest.mark.parametrize("name", FILES)
def test_each_device_keeps_to_its_own_memory(name):
    """In emulation a kernel could write to the host's memory unnoticed."""
    sources = BVLC / "src/caffe/layers"
    assert not re.search(r"cpu_(data|diff)", (sources / f"{name}_layer.cu").read_text())
    assert not re.search(r"gpu_(data|diff)", (sources / f"{name}_layer.cpp").read_text())


@pytest.mark.skipif(not shutil.which("nvcc"), reason="no nvcc here")
def test_nvcc_compiles_the_kernels(tree, tmp_path):
    sources = [tree / f"src/caffe/layers/{name}_layer.cu" for name in FILES]
    compile_with("nvcc", "-std=c++17", "-arch=sm_75", "-Werror", "all-warnings", *includes(tree),
                 "-c", one_file(tmp_path, sources), "-o", tmp_path / "all.o")


# --- running -----------------------------------------------------------------------------------

class Array(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("diff", ctypes.c_void_p), ("axes", ctypes.c_int),
                ("shape", ctypes.c_int * 4)]

    @classmethod
    def of(cls, data: np.ndarray, diff: np.ndarray) -> Array:
        return cls(data.ctypes.data, diff.ctypes.data, data.ndim,
                   (ctypes.c_int * 4)(*data.shape))


@dataclass
class Case:
    type: str
    bottoms: list[np.ndarray]       # all of one precision
    size: tuple[int, int] = (0, 0)
    mode: int = REFERENCE
    scale: float = SCALE
    propagate_down: tuple[bool, ...] = (True, True)
    in_place: bool = False          # the last bottom is the top, too

    def top_shape(self) -> tuple[int, ...]:
        first, last = self.bottoms[0].shape, self.bottoms[-1].shape
        if self.type == "MaskPooling":
            return first
        return (*(last[:1] if self.type.startswith("ROI") else first[:1]), first[1], *self.size)

    def grad(self) -> np.ndarray:
        """The gradient of the top."""
        return np.random.RandomState(7).randn(*self.top_shape()).astype(self.bottoms[0].dtype)

    def run(self, library, device: int) -> list[np.ndarray]:
        """The top and the gradient of each bottom, as the layer computes them."""
        dtype = self.bottoms[0].dtype
        top, grad = np.full(self.top_shape(), 77, dtype), self.grad()
        diffs = [np.full(bottom.shape, 77, dtype) for bottom in self.bottoms]
        bottoms = (Array * len(diffs))(*map(Array.of, self.bottoms, diffs))
        wanted = (ctypes.c_int * len(diffs))(*self.propagate_down[:len(diffs)])
        error = library.run_layer(
            self.type.encode(), *self.size, ctypes.c_float(self.scale), self.mode,
            int(dtype == np.float64), device, int(self.in_place), len(diffs), bottoms, wanted,
            ctypes.byref(Array.of(top, grad)))
        if error:
            raise RuntimeError(error.decode())
        return [top, *diffs]

    def expected(self) -> list[np.ndarray]:
        """The same, from caffe.ops."""
        inputs = [torch.from_numpy(bottom).requires_grad_() for bottom in self.bottoms]
        calls = {
            "ROIWarping": lambda x, rois: ops.roi_warping(x, rois.reshape(-1, 5), *self.size,
                                                          self.scale, self.mode),
            "ROIPooling": lambda x, rois: ops.roi_pooling(x, rois, *self.size, self.scale),
            "MaskResize": lambda x: ops.mask_resize(x, *self.size, self.mode),
            "MaskPooling": ops.mask_pooling,
        }
        top = calls[self.type](*inputs)
        diffs = torch.autograd.grad(top, inputs, torch.from_numpy(self.grad()),
                                    materialize_grads=True)
        return [tensor.detach().numpy() for tensor in (top, *diffs)]


def rois(count: int, images: int, height: int, width: int) -> np.ndarray:
    """Regular, overhanging, inverted and pointlike RoIs, in image pixels."""
    random = np.random.RandomState(5)
    boxes = np.zeros((count, 5))
    boxes[:, 0] = random.randint(images, size=count)
    boxes[:, 1:] = random.uniform(-0.3, 1.3, (count, 4)) * (width, height, width, height) / SCALE
    regular = boxes[: count * 3 // 4]
    regular[:, 1:] = np.hstack((np.minimum(regular[:, 1:3], regular[:, 3:]),
                                np.maximum(regular[:, 1:3], regular[:, 3:])))
    boxes[-1, 3:] = boxes[-1, 1:3]
    boxes[-2, 1:] = (0.3, 0.3, -0.3, -0.3)      # rounds to 0, 0, -0, -0
    return boxes


def cases(dtype) -> dict[str, Case]:
    random = np.random.RandomState(3)
    features, boxes = random.randn(3, 2, 7, 11), rois(40, 3, 7, 11)
    masks, soft_mask = random.randn(3, 2, 5, 7), random.rand(3, 1, 7, 11)
    whole = np.round(boxes)                             # corners and samples on whole pixels
    found = {}
    for mode, word in ((REFERENCE, "reference"), (EXACT, "exact")):
        found |= {
            f"warping-{word}": Case("ROIWarping", [features, boxes], (3, 5), mode),
            f"warping-many-bins-{word}": Case("ROIWarping", [features, boxes], (14, 13), mode),
            f"warping-whole-{word}": Case("ROIWarping", [features, whole], (4, 2), mode, 1.0),
            f"warping-legacy-rois-{word}": Case("ROIWarping", [features, boxes[:, :, None, None]],
                                                (2, 3), mode),
            f"resize-smaller-{word}": Case("MaskResize", [masks], (3, 2), mode),
            f"resize-larger-{word}": Case("MaskResize", [masks], (11, 16), mode),
            f"resize-one-{word}": Case("MaskResize", [masks[:, :, :1, :1]], (3, 1), mode),
        }
    found |= {
        "pooling": Case("ROIPooling", [features, boxes], (2, 3)),
        "pooling-ties": Case("ROIPooling", [np.round(features), boxes], (3, 2)),
        "pooling-many-bins": Case("ROIPooling", [features, boxes], (14, 13)),
        "mask-pooling": Case("MaskPooling", [features, soft_mask]),
    }
    for case in found.values():
        case.bottoms = [np.ascontiguousarray(bottom, dtype) for bottom in case.bottoms]
    return found


PRECISIONS = {np.float32: 2e-5, np.float64: 1e-12}


@pytest.mark.parametrize("device", (CPU, GPU), ids=("cpu", "gpu"))
@pytest.mark.parametrize("dtype", PRECISIONS, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", cases(np.float32))
def test_layer_equals_the_operator(library, name, dtype, device):
    case, tolerance = cases(dtype)[name], PRECISIONS[dtype]
    for got, expected in zip(case.run(library, device), case.expected(), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", cases(np.float32))
def test_gpu_equals_cpu_to_the_bit(library, name):
    case = cases(np.float32)[name]
    for cpu, gpu in zip(case.run(library, CPU), case.run(library, GPU)):
        np.testing.assert_array_equal(cpu, gpu)


@pytest.mark.parametrize("device", (CPU, GPU), ids=("cpu", "gpu"))
@pytest.mark.parametrize("value", (float("nan"), float("inf"), -1e30, 1e30))
@pytest.mark.parametrize("type, mode", (("ROIWarping", REFERENCE), ("ROIWarping", EXACT),
                                        ("ROIPooling", REFERENCE)))
def test_wild_rois_pool_nothing(library, type, mode, value, device):
    features = np.random.RandomState(3).randn(1, 2, 5, 7)
    case = Case(type, [features, np.array([[0, value, 1, value, 4]])], (2, 3), mode)
    top, d_features, d_rois = case.run(library, device)
    assert not top.any() and not d_features.any()
    assert np.isfinite(d_rois[:, [0]]).all()


@pytest.mark.parametrize("device", (CPU, GPU), ids=("cpu", "gpu"))
@pytest.mark.parametrize("type", TYPES)
def test_nothing_to_do(library, type, device):
    features, none = np.ones((2, 3, 5, 7)), np.zeros((0, 5))
    empty, mask = np.zeros((0, 3, 4, 4)), np.zeros((0, 1, 4, 4))
    bottoms = {"MaskResize": [empty], "MaskPooling": [empty, mask]}.get(type, [features, none])
    top, *diffs = Case(type, bottoms, (2, 2)).run(library, device)
    assert top.size == 0
    assert [diff.shape for diff in diffs] == [bottom.shape for bottom in bottoms]
    assert not any(diff.any() for diff in diffs)


@pytest.mark.parametrize("device", (CPU, GPU), ids=("cpu", "gpu"))
@pytest.mark.parametrize("name", ("warping-exact", "pooling", "mask-pooling", "resize-one-exact"))
def test_only_wanted_gradients_are_written(library, name, device):
    case = cases(np.float64)[name]
    complete = case.run(library, device)
    for wanted in ((False, True), (True, False), (False, False)):
        case.propagate_down = wanted
        for diff, whole, write in zip(case.run(library, device)[1:], complete[1:], wanted):
            np.testing.assert_array_equal(diff, whole if write else np.full_like(diff, 77))


F, R = np.ones((2, 3, 5, 7)), np.zeros((2, 5))


@pytest.mark.parametrize("device", (CPU, GPU), ids=("cpu", "gpu"))
@pytest.mark.parametrize("case, words", [
    (Case("ROIWarping", [F, R], (0, 2)), "layer it: pooled_h must be at least 1"),
    (Case("ROIPooling", [F, R], (2, 0)), "layer it: pooled_w must be at least 1"),
    (Case("ROIWarping", [F, R[:, :4]], (2, 2)), r"rois\) must be \(R, 5\), got 2 4"),
    (Case("ROIPooling", [F[0], R], (2, 2)), r"features\) must be \(N, C, H, W\), got 3 5 7"),
    (Case("ROIPooling", [F[:, :, :0], R], (2, 2)), r"features\) must be .*got 2 3 0 7"),
    (Case("ROIWarping", [F, R + 2], (2, 2)), "RoI 0 names image 2, but the batch holds 2 image"),
    (Case("ROIPooling", [F, R - 1], (2, 2)), "RoI 0 names image -1"),
    (Case("ROIPooling", [F, R + np.nan], (2, 2)), "RoI 0 names image nan"),
    (Case("MaskResize", [F], (0, 2)), "layer it: output_height must be at least 1"),
    (Case("MaskResize", [F], (2, 0)), "layer it: output_width must be at least 1"),
    (Case("MaskResize", [F[0]], (2, 2)), r"layer it: the bottom must be \(N, C, h, w\), got 3 5 7"),
    (Case("MaskResize", [F], (5, 7), in_place=True), "layer it: MaskResize cannot work in place"),
    (Case("MaskPooling", [F, F]), r"mask\) must be \(N, 1, H, W\) for features 2 3 5 7 .*got 2 3"),
    (Case("MaskPooling", [F[0], F[0]]), r"features\) must be \(N, C, H, W\), got 3 5 7"),
    (Case("MaskPooling", [F[:, :0], F[:, :1]]), r"features\) must be .*got 2 0 5 7"),
    (Case("MaskPooling", [F[:, :1], F[:, :1]], in_place=True), "cannot work in place"),
], ids=lambda value: value if isinstance(value, str) else value.type)
def test_wrong_input_is_named(library, case, words, device):
    case.top_shape = lambda: (1, 1, 1, 1)
    with pytest.raises(RuntimeError, match=words):
        case.run(library, device)
