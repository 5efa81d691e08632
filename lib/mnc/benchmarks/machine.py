"""What the figures depend on, and how much memory was taken."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

import torch

from caffe.extend import keep_freed_memory


def peak_memory() -> float:
    """GB this process has held at most: of the GPU if it computes there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def machine() -> dict[str, object]:
    """Processor, threads, versions and the settings of the allocator; JSON-ready."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines()
                    if line.startswith("model name")), cpu)
    return {"cpu": cpu, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "keeps freed memory": keep_freed_memory(),
            "allocator": {k: v for k, v in os.environ.items()
                          if k.startswith(("MALLOC_", "LD_PRELOAD"))}}
