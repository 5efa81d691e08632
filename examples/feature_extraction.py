# %% [markdown]
# # Features
# What a net computes at some blob, for other programs: here the nearest neighbour in the features of a trained net.

# %%
from pathlib import Path

import digits
import matplotlib.pyplot as plt
import numpy as np

import caffe

lenet = Path("output/examples/lenet")
if not (lenet / "lenet_iter_200.caffemodel").exists():
    import train_lenet  # noqa: F401 - it trains the net

DEPLOY = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 100 dim: 1 dim: 28 dim: 28 } } }
"""
body = (lenet / "lenet.prototxt").read_text().split('layer { name: "conv1"')[1].split('layer { name: "accuracy"')[0]
(lenet / "deploy.prototxt").write_text(DEPLOY + 'layer { name: "conv1"' + body)
net = caffe.Net(str(lenet / "deploy.prototxt"), str(lenet / "lenet_iter_200.caffemodel"), caffe.TEST)


# %%
def features(images: np.ndarray) -> np.ndarray:
    """(N, 64): the values behind relu1, of length 1."""
    net.blobs["data"].reshape(len(images), 1, 28, 28)
    net.blobs["data"].data[:, 0] = images / 256
    net.forward(end="relu1")
    values = net.blobs["ip1"].data.copy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


# %%
known, labels = digits.drawn(200, seed=7)
asked, truth = digits.drawn(100, seed=8)
nearest = (features(asked) @ features(known).T).argmax(axis=1)
right = float((labels[nearest] == truth).mean())
print(f"the nearest of 200 images has the same digit in {100 * right:.0f} % of cases")
np.savez("output/examples/lenet/features.npz", known=features(known), labels=labels)
assert right > 0.8

# %% [markdown]
# Images that were asked for, each above the one whose features are nearest.

# %%
figure, axes = plt.subplots(2, 12, figsize=(9, 1.8), layout="constrained")
for axis, picture in zip(axes.flat, [*asked[:12], *known[nearest[:12]]]):
    axis.imshow(picture, cmap="gray")
    axis.axis("off")
figure.savefig(lenet / "neighbours.png")
