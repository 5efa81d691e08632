"""caffe device_query: what the GPUs are."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from caffe.commands import devices
from caffe.engine import log

# The line of the log, and the property of PyTorch's that has it; those PyTorch does not know (and
# this one's version does not have) are left out.
PROPERTIES = {
    "Major revision number:         %s": "major",
    "Minor revision number:         %s": "minor",
    "Name:                          %s": "name",
    "Total global memory:           %s": "total_memory",
    "Total shared memory per block: %s": "shared_memory_per_block",
    "Total registers per multiprocessor: %s": "regs_per_multiprocessor",
    "Warp size:                     %s": "warp_size",
    "Maximum threads per multiprocessor: %s": "max_threads_per_multi_processor",
    "Clock rate:                    %s": "clock_rate",
    "Number of multiprocessors:     %s": "multi_processor_count",
}


def run(flags: SimpleNamespace) -> int:
    """show GPU diagnostic information"""
    log.info("Querying GPUs %s", flags.gpu or "(none; name them with --gpu 0,1 or --gpu all)")
    for gpu in devices.listed(flags.gpu):
        log.info("Device id:                     %d", gpu)
        properties = torch.cuda.get_device_properties(gpu)
        for line, name in PROPERTIES.items():
            if hasattr(properties, name):
                log.info(line, getattr(properties, name))
    return 0
