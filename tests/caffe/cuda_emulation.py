"""The CUDA kernels on the CPU: builds the .cu files with cuda_emulation.hpp and launches them."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from functools import cached_property
from pathlib import Path

import pytest
import torch
from torch import Tensor

from caffe.ops import nvrtc

HERE = Path(__file__).parent
THREADS = 32        # of a block: few, so that small cases need several blocks and several rounds
OUTCOMES = {1: "it takes another number of arguments", 2: "some threads miss a barrier"}


class Emulator:
    """Stands in for nvrtc.launch. Every kernel is run twice, threads and blocks forwards and then
    backwards, and must write the same both times."""

    def __init__(self, folder: Path, flags: tuple[str, ...] = ()) -> None:
        if shutil.which("g++") is None:
            pytest.skip("the emulation of CUDA kernels needs g++")
        self._folder, self._flags = folder, flags

    def launch(self, source: str, kernel: str, precision: torch.dtype, grid: tuple[int, ...],
               block: tuple[int, ...], *arguments: Tensor | int | float) -> None:
        library = self._single if precision == torch.float32 else self._double
        run = getattr(library, f"run_{kernel}")
        tensors = [a for a in arguments if isinstance(a, Tensor)]
        assert all(t.is_contiguous() or t.is_contiguous(memory_format=torch.channels_last)
                   for t in tensors)
        before = [t.clone() for t in tensors]
        written = []
        for backwards in (False, True):
            for tensor, value in zip(tensors, before):
                tensor.copy_(value)
            if 0 not in grid:
                outcome = run(_sizes(grid), _sizes(block), _bits(arguments), len(arguments),
                              backwards)
                assert outcome == 0, f"{kernel}: {OUTCOMES[outcome]}"
            written.append([t.clone() for t in tensors])
        for forwards, backwards in zip(*written):
            assert torch.equal(_bytes(forwards), _bytes(backwards)), (
                f"{kernel}: the result depends on the order of its threads")

    @cached_property
    def _single(self) -> ctypes.CDLL:
        return self._built("float")

    @cached_property
    def _double(self) -> ctypes.CDLL:
        return self._built("double")

    def _built(self, real: str) -> ctypes.CDLL:
        kernels = self._folder / f"{real}.cpp"
        kernels.write_text(all_sources(emulated=True))
        library = kernels.with_suffix(".so")
        command = ["g++", "-std=c++17", "-O1", "-g1", "-shared", "-fPIC", "-ffp-contract=off",
                   "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", *self._flags,
                   f"-DREAL={real}", f"-DTHREADS={THREADS}", f"-I{nvrtc.SOURCES}", f"-I{HERE}",
                   "-include", "cuda_emulation.hpp", str(kernels),
                   str(HERE / "cuda_emulation.cpp"), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(library))


def sources() -> list[str]:
    """The names of the .cu files, without the ending."""
    return sorted(path.stem for path in nvrtc.SOURCES.glob("*.cu"))


def kernels(source: str) -> list[str]:
    """The names of the kernels in a .cu file."""
    return re.findall(r"__global__ void (\w+)\(", (nvrtc.SOURCES / f"{source}.cu").read_text())


def all_sources(emulated: bool = False) -> str:
    """One file with all kernels: it compiles much faster than they do one by one."""
    lines = []
    for source in sources():
        lines.append(f'#include "{source}.cu"')
        if emulated:
            lines += [f"namespace region {{ EMULATED({kernel}) }}" for kernel in kernels(source)]
    return "\n".join(lines) + "\n"


def _sizes(sizes: tuple[int, ...]) -> ctypes.Array:
    return (ctypes.c_uint * 3)(*sizes, *[1] * (3 - len(sizes)))


def _bits(arguments: tuple[Tensor | int | float, ...]) -> ctypes.Array:
    """Arguments as a GPU gets them: 8 bytes each."""
    bits = []
    for a in arguments:
        assert type(a) in (Tensor, int, float), f"a kernel cannot take {type(a).__name__}"
        if isinstance(a, float):
            bits.append(ctypes.c_int64.from_buffer(ctypes.c_double(a)).value)
        else:
            bits.append(a.data_ptr() if isinstance(a, Tensor) else a)
    return (ctypes.c_int64 * len(bits))(*bits)


def _bytes(tensor: Tensor) -> Tensor:
    """Bit for bit, also where it is NaN."""
    return tensor.flatten().view(torch.uint8)
