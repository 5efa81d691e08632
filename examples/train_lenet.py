# %% [markdown]
# # Training a net
# LeNet on drawn digits: files in MNIST's form, a database, a solver. It takes seconds on a CPU.

# %%
import shutil
from pathlib import Path

import digits
import matplotlib.pyplot as plt

import caffe
from caffe.commands import convert_mnist_data

caffe.set_random_seed(1)
out = Path("output/examples/lenet")
shutil.rmtree(out, ignore_errors=True)
for name, number in (("train", 2000), ("test", 500)):
    images, labels = digits.write(out / name, number, seed=number)
    convert_mnist_data.main([str(images), str(labels), str(out / f"{name}_lmdb")])

# %% [markdown]
# The net, as Caffe's own example has it, and its solver.

# %%
NET = """
name: "LeNet"
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TRAIN } transform_param { scale: 0.00390625 }
  data_param { source: "%(out)s/train_lmdb" batch_size: 64 backend: LMDB } }
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST } transform_param { scale: 0.00390625 }
  data_param { source: "%(out)s/test_lmdb" batch_size: 100 backend: LMDB } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 12 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 24 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip1" type: "InnerProduct" bottom: "pool2" top: "ip1"
  inner_product_param { num_output: 64 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "%(out)s/lenet.prototxt"
test_iter: 5 test_interval: 100
base_lr: 0.02 lr_policy: "inv" gamma: 0.0001 power: 0.75 momentum: 0.9 weight_decay: 0.0005
display: 50 max_iter: 200 snapshot_prefix: "%(out)s/lenet" solver_mode: CPU
"""
(out / "lenet.prototxt").write_text(NET % {"out": out})
(out / "solver.prototxt").write_text(SOLVER % {"out": out})

# %%
solver = caffe.get_solver(str(out / "solver.prototxt"))
solver.solve()

# %% [markdown]
# What it reaches on digits that it has not seen.

# %%
test = solver.test_nets[0]
accuracy = sum(float(test.forward()["accuracy"]) for _ in range(5)) / 5
print(f"accuracy {accuracy:.3f}")
assert accuracy > 0.9

# %% [markdown]
# What it looks for (the filters of conv1), and what it makes of digits: the answer above each, red where it is wrong.

# %%
figure, axes = plt.subplots(4, 12, figsize=(9, 3.6), layout="constrained")
pictures = [*solver.net.params["conv1"][0].data[:, 0], *test.blobs["data"].data[:36, 0]]
for axis, picture in zip(axes.flat, pictures):
    axis.imshow(picture, cmap="gray")
    axis.axis("off")
answers, truth = test.blobs["ip2"].data.argmax(axis=1), test.blobs["label"].data
for axis, answer, label in zip(axes.flat[12:], answers, truth):
    axis.set_title(answer, color="black" if answer == label else "red")
figure.savefig(out / "digits.png")
