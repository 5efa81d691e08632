#!/usr/bin/env python3
"""Forward passes of images of many sizes: does memory stay? python tests/long/soak.py [--forwards 15000]

Prints the process's memory as it goes; the exit status is 1 if after a fifth of the passes, when the
kernels that oneDNN keeps are all there, it has grown by more than 5 %.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for place in (ROOT / "lib", ROOT / "caffe-mnc/python"):
    sys.path.insert(0, str(place))
os.environ.setdefault("GLOG_minloglevel", "2")

import torch  # noqa: E402

import caffe  # noqa: E402

NET = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1"
  convolution_param { num_output: 32 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "p1" type: "Pooling" bottom: "c1" top: "p1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "n1" type: "LRN" bottom: "p1" top: "n1" }
layer { name: "c2" type: "Convolution" bottom: "n1" top: "c2"
  convolution_param { num_output: 64 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "b2" type: "BatchNorm" bottom: "c2" top: "b2" }
layer { name: "d2" type: "Deconvolution" bottom: "b2" top: "d2"
  convolution_param { num_output: 8 kernel_size: 4 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "g" type: "Pooling" bottom: "d2" top: "g" pooling_param { pool: AVE global_pooling: true } }
layer { name: "ip" type: "InnerProduct" bottom: "g" top: "ip" inner_product_param { num_output: 5 } }
layer { name: "s" type: "Softmax" bottom: "ip" top: "s" }
"""


def memory() -> int:
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def soak(forwards: int) -> float:
    """How much memory grew after the first fifth, as a share."""
    net, rng = caffe.Net(NET, caffe.TEST), random.Random(3)
    settled = memory()
    for k in range(forwards):
        net.blobs["data"].reshape(1, 3, rng.randrange(16, 80), rng.randrange(16, 80))
        net.blobs["data"].data[...] = rng.random()
        net.forward()
        if k == forwards // 5:
            settled = memory()
        if k % max(1, forwards // 10) == 0:
            print(f"{k:7} passes: {memory() / 1e6:6.0f} MB", flush=True)
    return memory() / settled - 1


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--forwards", type=int, default=15000, help="(default %(default)s)")
    args = p.parse_args()
    torch.set_num_threads(1)
    grown = soak(args.forwards)
    print(f"{args.forwards} passes: {100 * grown:+.1f} % after the first fifth")
    return 1 if grown > 0.05 else 0


if __name__ == "__main__":
    sys.exit(main())
