"""What the process keeps: memory that is freed in every pass, and compiled kernels.

By default glibc gives big blocks back to the system, which then clears each page anew: some 15 % of
a VGG-16 forward pass. To keep them holds the memory of the largest pass until the process ends and
acts on all of the process, so commands ask for it (`caffe`, `mnc`), an import does not.
"""

from __future__ import annotations

import ctypes
import os
import sys

KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4       # of malloc.h
ENOUGH = 2**31 - 1                          # bytes


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed; True if it does.

    Does nothing where another allocator serves, where the environment has MALLOC_ settings of its
    own, or with CAFFE_KEEP_MEMORY=0.
    """
    if (os.environ.get("CAFFE_KEEP_MEMORY") == "0" or not sys.platform.startswith("linux")
            or any(name.startswith("MALLOC_") for name in os.environ)):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)
                                        and mallopt(M_TRIM_THRESHOLD, ENOUGH))


def give_back_freed() -> bool:
    """Give the system what is free now; what is freed from now on is kept or not, as before.

    True if something went back. After work that is done once: what it leaves are holes between
    what stays, into which the arrays of later passes may not fit.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") \
        else None
    return trim is not None and bool(trim(0))


def keep_few_kernels(count: int = 128) -> None:
    """Let oneDNN keep so many compiled kernels, not 1024, unless the environment says otherwise.

    It compiles one for each shape that a convolution meets. A net and its gradients have some
    hundred; images of many sizes fill the rest with kernels that are not met again, half a MB each.
    Of effect before the first convolution of a process: oneDNN reads the environment then.
    """
    os.environ.setdefault(KERNELS, str(count))
