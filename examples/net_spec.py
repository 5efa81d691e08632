# %% [markdown]
# # A net written in Python
# `caffe.NetSpec` writes prototxts: every layer is a call, every blob an attribute.

# %%
from pathlib import Path

import numpy as np

import caffe
from caffe import layers as L
from caffe import params as P


def small_net(classes: int) -> str:
    net = caffe.NetSpec()
    net.data = L.Input(input_param={"shape": {"dim": [1, 3, 32, 32]}})
    net.conv1 = L.Convolution(net.data, kernel_size=3, num_output=8, pad=1, weight_filler={"type": "msra"})
    net.relu1 = L.ReLU(net.conv1, in_place=True)
    net.pool1 = L.Pooling(net.relu1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    net.score = L.InnerProduct(net.pool1, num_output=classes, weight_filler={"type": "xavier"})
    net.prob = L.Softmax(net.score)
    return str(net.to_proto())


# %%
out = Path("output/examples/net_spec")
out.mkdir(parents=True, exist_ok=True)
(out / "small.prototxt").write_text(small_net(5))
net = caffe.Net(str(out / "small.prototxt"), caffe.TEST)
net.blobs["data"].data[...] = np.random.default_rng(0).random((1, 3, 32, 32))
prob = net.forward()["prob"]
print(net)
print(prob)
assert prob.shape == (1, 5) and abs(prob.sum() - 1) < 1e-5
