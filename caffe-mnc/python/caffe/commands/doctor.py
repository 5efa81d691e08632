"""doctor: what is installed, what computes where, and what to do where something is missing."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

import caffe
from caffe import ops
from caffe.commands.registration import entry
from caffe.engine.compat import other_caffe
from caffe.ops import nvrtc

NEEDED = ("torch", "numpy", "scipy", "protobuf", "h5py", "scikit-image", "pillow", "pycocotools",
          "pyyaml", "tqdm", "matplotlib")
# module, package, what it is for
OPTIONAL = (("lmdb", "lmdb", "LMDB databases"), ("plyvel", "plyvel", "LevelDB databases"),
            ("pydot", "pydot", "caffe draw_net"), ("onnx", "onnx", "caffe export --to onnx"),
            ("onnxscript", "onnxscript", "caffe export --to onnx"),
            ("onnxruntime", "onnxruntime", "checks of exported ONNX files"),
            ("tensorboard", "tensorboard", "train --tensorboard"),
            ("torchvision", "torchvision", "caffe import torchvision:NAME"),
            ("argcomplete", "argcomplete", "completion of caffe and mnc by the shell's Tab"))


class Finding(NamedTuple):
    """A line of the report: "ok", "--" (absent, and not needed) or "!!" (to be put right)."""

    state: str
    what: str
    advice: str = ""


@entry("doctor")
def main(argv: Sequence[str]) -> int:
    """what is installed, which kernels are built, which device is used, and what to do"""
    argparse.ArgumentParser(prog="doctor", description="Say what is installed, which kernels are "
                            "built and which device is used; 1 if something needs to be put "
                            "right.").parse_args(argv)
    return told(findings())


def told(found: Sequence[Finding]) -> int:
    """Print findings; the exit status: 1 if one has to be put right."""
    for each in found:
        print(f"{each.state}  {each.what}" + (f"\n      {each.advice}" if each.advice else ""))
    wrong = sum(each.state == "!!" for each in found)
    print(f"\n{wrong} to put right" if wrong else "\nall that is needed is here")
    return 1 if wrong else 0


def findings() -> list[Finding]:
    """What there is to say of this environment, the machine first."""
    return [*_machine(), *_packages(), *_kernels(), *_devices(), *optional(OPTIONAL)]


def _machine() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    yield Finding("ok", f"Python {platform.python_version()} ({sys.executable}) on {system}")
    yield Finding("ok", f"caffe {caffe.__version__} in {Path(caffe.__file__).parent}")
    for folder in other_caffe.others():
        yield Finding("!!", f"another caffe is on the Python path: {folder.resolve()}",
                      "take it off: PYTHONPATH, sys.path, or pip uninstall")


def _packages() -> Iterator[Finding]:
    there, missing = [], []
    for name in NEEDED:
        try:
            there.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Finding("ok", ", ".join(there))
    if missing:
        yield Finding("!!", f"not installed: {', '.join(missing)}",
                      f"pip install {' '.join(missing)}")
    try:
        import cv2
    except ImportError as error:
        yield Finding("!!", f"OpenCV cannot be imported: {error}",
                      "pip install opencv-python-headless (it needs no libGL)")
    else:
        yield Finding("ok", f"OpenCV {cv2.__version__}")


def _kernels() -> Iterator[Finding]:
    if ops.native is not None:
        yield Finding("ok", f"C++ kernels: {ops.native.LIBRARY}")
        return
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    what = "make build (in a checkout), or pip install again with --no-cache-dir"
    advice = what if compiler else f"install a C++ compiler (Debian: apt install g++), then {what}"
    yield Finding("!!", "C++ kernels: not built; everything runs, the region layers slowly", advice)


def _devices() -> Iterator[Finding]:
    yield Finding("ok", f"CPU: {torch.get_num_threads()} threads (OMP_NUM_THREADS sets them), "
                        f"{torch.backends.cpu.get_cpu_capability()}")
    if not torch.cuda.is_available():
        built = f"torch {torch.__version__} is built for CUDA {torch.version.cuda}" \
            if torch.version.cuda else f"torch {torch.__version__} is built for the CPU only"
        yield Finding("--", f"GPU: none that torch can use ({built})",
                      "with an NVIDIA GPU: its driver, and a torch built for CUDA (pytorch.org)")
        return
    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 2 ** 30
        yield Finding("ok", f"GPU {number}: {torch.cuda.get_device_name(number)}, {memory:.0f} GiB")
        reason = nvrtc.problem(number)
        if reason:
            yield Finding("!!", f"GPU {number}: the CUDA kernels cannot be compiled: {reason}")


def optional(known: Sequence[tuple[str, str, str]]) -> Iterator[Finding]:
    """A finding for each (module, package, what it is for)."""
    for module, package, purpose in known:
        try:
            importlib.import_module(module)
        except ImportError:
            yield Finding("--", f"{package}: not installed, for {purpose}",
                          f"pip install {package}")
        except Exception as error:      # such as one that was made for another torch
            yield Finding("!!", f"{package} cannot be imported: {error}",
                          f"pip install --force-reinstall {package}, or pip uninstall {package}")
        else:
            yield Finding("ok", f"{package} {version(package)}: {purpose}")
