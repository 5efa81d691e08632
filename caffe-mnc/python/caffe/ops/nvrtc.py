"""CUDA C++ compiled when it is first needed, by NVRTC through NVIDIA's `cuda-core`, and launched.

What was compiled is kept on disk, in the folder CAFFE_CUDA_CACHE or else `caffe/cuda` in the user's
cache folder (XDG_CACHE_HOME, ~/.cache); its name tells sources, architecture and compiler, so
nothing old is ever run and the folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from caffe.ops.sources import sources

SOURCES = sources()
THREADS = 256       # the most threads of a block; a power of two
PRECISIONS = {torch.float32: "float", torch.float64: "double"}

_logger = logging.getLogger("caffe")


@cache
def problem(device: int) -> str | None:
    """Why no kernel can be compiled for GPU `device`; None if kernels can be."""
    try:
        from cuda.bindings import driver, nvrtc
        from cuda.core import Program  # noqa: F401

        version = nvrtc.nvrtcVersion()[1]
        driver_version = driver.cuDriverGetVersion()[1] // 1000
        known = nvrtc.nvrtcGetSupportedArchs()[1]
    except (ImportError, RuntimeError) as error:        # RuntimeError: a library was not found
        return f"{error}; {_advice(torch.version.cuda)}"
    if driver_version < version:
        return (f"the GPU's driver is for CUDA {driver_version}, NVRTC for CUDA {version}; "
                f"{_advice(str(driver_version))}")
    major, minor = torch.cuda.get_device_capability(device)
    if 10 * major + minor not in known:
        return f"NVRTC for CUDA {version} does not know compute capability {major}.{minor}"
    return None


def _advice(cuda_version: str | None) -> str:
    major = (cuda_version or "13").split(".")[0]
    return f"pip install 'cuda-core[cu{major}]' brings what is needed"


def usable(device: torch.device) -> bool:
    """Whether kernels can be compiled for this GPU; if not, the log says once why."""
    reason = problem(device.index)
    if reason is not None:
        _say_once(reason)
    return reason is None


@cache
def _say_once(reason: str) -> None:
    _logger.warning("CUDA kernels cannot be compiled (%s); torch references serve", reason)


def launch(source: str, kernel: str, precision: torch.dtype, grid: tuple[int, ...],
           block: tuple[int, ...], *arguments: Tensor | int | float) -> None:
    """Run a kernel of `source`.cu on torch's current stream of the GPU its first argument is on.

    precision: float32 or float64, what REAL is. Tensors are passed as addresses, ints and floats in
    8 bytes. An empty grid runs nothing.
    """
    if 0 in grid:
        return
    from cuda import core

    device = torch.as_tensor(arguments[0]).device
    with torch.cuda.device(device):
        core.Device(device.index).set_current()     # for the threads that torch starts by itself
        core.launch(_Stream(device), core.LaunchConfig(grid=grid, block=block),
                    _kernel(source, kernel, precision, device.index),
                    *(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments))


class _Stream:
    """Torch's current stream, in cuda-core's protocol."""

    def __init__(self, device: torch.device) -> None:
        self._handle = torch.cuda.current_stream(device).cuda_stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle      # version of the protocol, address


@cache
def _kernel(source: str, kernel: str, precision: torch.dtype, device: int):
    from cuda.core import ObjectCode

    major, minor = torch.cuda.get_device_capability(device)
    return ObjectCode.from_cubin(compiled(source, precision, f"sm_{major}{minor}")
                                 ).get_kernel(kernel)


def compiled(source: str, precision: torch.dtype, arch: str) -> bytes:
    """`source`.cu as machine code for `arch` ("sm_90"), from the cache if it is there."""
    real = PRECISIONS[precision]
    path = cache_folder() / f"{source}-{real}-{arch}-{_fingerprint()[:16]}.cubin"
    try:
        return path.read_bytes()
    except OSError:
        code = _compile(source, real, arch)
    try:
        _write(path, code)
    except OSError as error:
        _logger.warning("%s was not written (%s); it will be compiled again", path, error)
    return code


def cache_folder() -> Path:
    chosen = os.environ.get("CAFFE_CUDA_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe" / "cuda"


# Without fused multiply-adds products round as they do in the references.
_OPTIONS = dict(std="c++17", fma=False)


def _compile(source: str, real: str, arch: str) -> bytes:
    from cuda.core import Program, ProgramOptions

    path = SOURCES / f"{source}.cu"
    options = ProgramOptions(name=path.name, arch=arch, include_path=str(SOURCES),
                             define_macro=[("REAL", real), ("THREADS", str(THREADS))], **_OPTIONS)
    return bytes(Program(path.read_text(), "c++", options).compile("cubin").code)


def _fingerprint() -> str:
    """Of what decides, besides the file's name, on its content: sources, options, compiler."""
    from cuda.bindings import nvrtc

    digest = hashlib.sha256(repr((nvrtc.nvrtcVersion(), THREADS, _OPTIONS)).encode())
    for path in sorted(p for p in SOURCES.iterdir() if p.suffix in (".cu", ".hpp")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, code: bytes) -> None:
    """All or nothing, whoever else writes the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder, path.name)
        unfinished.write_bytes(code)
        unfinished.replace(path)
