# %% [markdown]
# # A layer of one's own in Python
# Two ways: a Python layer, as Caffe has it, and a layer type on torch, whose gradient comes by itself.

# %%
import sys
from pathlib import Path

import numpy as np

import caffe
from caffe.extend import TorchLayer, exactly
from caffe.testing import check_layer

out = Path("output/examples/python_layer")
out.mkdir(parents=True, exist_ok=True)
sys.path.insert(0, str(out))
(out / "my_layers.py").write_text('''
import caffe


class Distance(caffe.Layer):
    """Half of the mean squared distance of two blobs."""

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("Distance takes two blobs")

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.difference = bottom[0].data - bottom[1].data
        top[0].data[0] = (self.difference ** 2).sum() / bottom[0].num / 2

    def backward(self, top, propagate_down, bottom):
        for n, sign in enumerate((1, -1)):
            if propagate_down[n]:
                bottom[n].diff[...] = sign * self.difference / bottom[n].num * top[0].diff[0]
''')

# %%
NET = """
force_backward: true
layer { name: "data" type: "Input" top: "a" top: "b" input_param { shape { dim: 4 dim: 3 } } }
layer { name: "distance" type: "Python" bottom: "a" bottom: "b" top: "loss" loss_weight: 1
  python_param { module: "my_layers" layer: "Distance" } }
"""
(out / "net.prototxt").write_text(NET)
net = caffe.Net(str(out / "net.prototxt"), caffe.TRAIN)
random = np.random.default_rng(0)
for name in ("a", "b"):
    net.blobs[name].data[...] = random.normal(size=(4, 3))
loss = float(net.forward()["loss"][0])
net.backward()
want = ((net.blobs["a"].data - net.blobs["b"].data) ** 2).sum() / 8
print(loss, float(want))
assert abs(loss - want) < 1e-5
np.testing.assert_allclose(net.blobs["a"].diff, (net.blobs["a"].data - net.blobs["b"].data) / 4, rtol=1e-5)


# %% [markdown]
# The same kind of thing as a layer type: `compute` says what it does, shapes and gradient follow.

# %%
@caffe.register_layer("Smoothed")
class Smoothed(TorchLayer):
    """x / sqrt(1 + x^2). bottom and top of one shape."""

    num_bottom = exactly(1)
    num_top = exactly(1)

    def compute(self, x):
        return x / (1 + x * x).sqrt()


check_layer('type: "Smoothed"', (2, 3))     # gradients, shapes, files: an AssertionError if one is wrong
print("Smoothed keeps the contract")
