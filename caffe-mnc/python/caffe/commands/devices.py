"""The --gpu flag: which GPUs it names, and what a net then computes on."""

from __future__ import annotations

import torch

from caffe.commands.registration import UsageError
from caffe.engine import device, log
from caffe.engine.parallel import team


def listed(text: str) -> list[int]:
    """The GPUs in the text of --gpu: '' is none, 'all' every one, else numbers and commas.

    UsageError if there is no such GPU.
    """
    if not text:
        return []
    if not torch.cuda.is_available():
        raise UsageError(f"--gpu {text}: PyTorch finds no CUDA device here; leave --gpu out to "
                         "compute on the CPU (train: say --cpu instead), or install a CUDA build "
                         "of PyTorch")
    count = torch.cuda.device_count()
    if text == "all":
        return list(range(count))
    try:
        gpus = [int(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"--gpu takes numbers and commas, or all; got {text!r}") from None
    missing = [gpu for gpu in gpus if not 0 <= gpu < count]
    if missing:
        raise UsageError(f"--gpu {text}: there is no GPU {missing[0]}; the last is {count - 1}")
    return gpus


def use_one(text: str) -> None:
    """Compute on the first GPU of --gpu, or on the CPU."""
    gpus = listed(text)
    for gpu in reversed(gpus[1:]):
        log.info("Not using GPU #%d for single-GPU function", gpu)
    if not gpus:
        log.info("Use CPU.")
        device.set_mode_cpu()
        return
    log.info("Use GPU with device ID %d", gpus[0])
    log.info("GPU device name: %s", torch.cuda.get_device_name(gpus[0]))
    use_gpu(gpus[0])


def of_worker(gpus: list[int]) -> int:
    """The GPU of this worker of a machine: of these the one with its number, or so many behind a
    single one. UsageError if there is none.
    """
    number = team.local_rank()
    gpu = gpus[number] if number < len(gpus) else gpus[0] + number
    if (len(gpus) > 1 and number >= len(gpus)) or gpu >= torch.cuda.device_count():
        raise UsageError(f"worker {number} of this machine has no GPU of its own: there are "
                         f"{torch.cuda.device_count()}, and {', '.join(map(str, gpus))} named")
    return gpu


def use_gpu(index: int) -> None:
    device.set_device(index)
    device.set_mode_gpu()
