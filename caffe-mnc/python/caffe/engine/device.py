"""Where nets are built: the CPU or one GPU.

As in Caffe the setting belongs to the thread that makes it: a new thread starts on the CPU, device
0, whatever others have set. It counts when a net or solver is made; a net stays where it was made
and may then run from any thread, one thread at a time. Nets share nothing unless told to
(`share_with`), so each may have its own thread; fillers and Dropout of all draw from one generator.
"""

from __future__ import annotations

import threading

import torch

from caffe.engine.errors import CaffeError

_state = threading.local()


def set_mode_cpu() -> None:
    """Nets made from now on (in this thread) compute on the CPU."""
    _state.gpu = False


def set_mode_gpu() -> None:
    """Nets made from now on (in this thread) compute on the GPU chosen by `set_device`.

    Convolutions then keep float32's precision, as Caffe's do; torch's default for them is TF32 (10
    bits), which `torch.backends.cudnn.allow_tf32 = True` brings back.
    Raises CaffeError if PyTorch sees no CUDA device.
    """
    if not torch.cuda.is_available():
        raise CaffeError("set_mode_gpu: PyTorch finds no CUDA device here; call "
                         "caffe.set_mode_cpu() (tools: --cpu), or install a CUDA build of PyTorch")
    torch.backends.cudnn.allow_tf32 = False
    _state.gpu = True


def set_device(index: int) -> None:
    """Choose the GPU by its index; takes effect with `set_mode_gpu`.

    Raises CaffeError where there is no such GPU.
    """
    count = torch.cuda.device_count()
    if count and not 0 <= index < count:
        raise CaffeError(f"set_device({index}): there are {count} CUDA devices, 0 to {count - 1}")
    _state.index = index


def current_device() -> torch.device:
    """The device a net made now would use."""
    if getattr(_state, "gpu", False):
        return torch.device("cuda", getattr(_state, "index", 0))
    return torch.device("cpu")
