"""Large arrays have pages of their own; nets take no more memory than they must."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from caffe.engine import pages
from caffe.engine.blob import Blob

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of Linux")
MEASURING = """
import sys
import caffe
from caffe.engine.allocator import give_back_freed, keep_freed_memory
from caffe.engine.blob import Blob

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
"""


def run(script):
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith("MALLOC_") and k != "CAFFE_KEEP_MEMORY"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run([sys.executable, "-c", MEASURING + script], env=environment,
                          capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5), (1 << 10, 1 << 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_they_are_zeros_to_write_to(shape, dtype):
    x = pages.zeros(shape, dtype)
    assert x.shape == shape and x.dtype == dtype and not x.any()
    x += 1
    assert (x == 1).all() and x.is_contiguous()


def test_conversion_copies_only_what_has_another_precision():
    x = torch.randn(700, 800)
    assert pages.converted(x, torch.float32) is x
    assert torch.equal(pages.converted(x.T, torch.bfloat16), x.T.bfloat16())


def test_a_child_has_its_own():
    """As other memory of a process that forks: what the child writes stays there."""
    blob = Blob((1 << 10, 1 << 9))
    value = blob.tensor
    child = os.fork() if hasattr(os, "fork") else pytest.skip("no fork here")
    if not child:
        value.fill_(3)
        os._exit(0)
    os.waitpid(child, 0)
    assert not np.any(blob.data)


@linux
def test_the_system_has_them_again_while_other_memory_is_kept():
    found = run("""
keep_freed_memory()
before = resident()
blob = Blob((8_000_000,))
blob.tensor.fill_(1)                    # 31 MB
taken = resident() - before
blob.release()
print(taken > 25, resident() - before < 10)
""")
    assert found == ["True", "True"]


@linux
def test_what_is_free_goes_back_when_asked():
    found = run("""
import numpy as np
keep_freed_memory()
before = resident()
block, end = np.ones(8_000_000), np.ones(100_000)       # 61 MB, and something behind it
del block
kept = resident() - before
give_back_freed()
print(kept > 50, resident() - before < 20)
""")
    assert found == ["True", "True"]


def test_a_net_is_built_without_torchs_compiler():
    """It and its algebra take 80 MB and a second."""
    found = run("""
from caffe.proto import caffe_pb2
from google.protobuf import text_format
net = '''
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "u" type: "Deconvolution" bottom: "c" top: "u"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "j" type: "Concat" bottom: "x" bottom: "u" top: "j" }
layer { name: "f" type: "InnerProduct" bottom: "j" top: "f" inner_product_param { num_output: 2 } }
'''
from caffe.engine.net.net import Net
net = Net.from_proto(text_format.Parse(net, caffe_pb2.NetParameter()), caffe.TEST)
print(*net.blobs["j"].shape, "sympy" in sys.modules, "torch._dynamo" in sys.modules)
""")
    assert found == ["1", "7", "9", "9", "False", "False"]
