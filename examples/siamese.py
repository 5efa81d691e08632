# %% [markdown]
# # A siamese net
# Two branches with the same weights put images into a plane, where those of one digit lie together.

# %%
import shutil
from pathlib import Path

import digits
import matplotlib.pyplot as plt
import numpy as np

import caffe
from caffe.commands import convert_mnist_siamese_data

caffe.set_random_seed(1)
out = Path("output/examples/siamese")
shutil.rmtree(out, ignore_errors=True)
images, labels = digits.write(out, 4000, seed=1)
convert_mnist_siamese_data.main([str(images), str(labels), str(out / "pairs_lmdb"), "--backend", "lmdb"])


# %% [markdown]
# `param { name: … }` makes two layers share their weights.

# %%
def branch(end: str) -> str:
    return f"""
layer {{ name: "conv1{end}" type: "Convolution" bottom: "data{end}" top: "conv1{end}" param {{ name: "conv1_w" }} param {{ name: "conv1_b" }}
  convolution_param {{ num_output: 12 kernel_size: 5 stride: 2 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu1{end}" type: "ReLU" bottom: "conv1{end}" top: "conv1{end}" }}
layer {{ name: "ip1{end}" type: "InnerProduct" bottom: "conv1{end}" top: "ip1{end}" param {{ name: "ip1_w" }} param {{ name: "ip1_b" }}
  inner_product_param {{ num_output: 64 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu2{end}" type: "ReLU" bottom: "ip1{end}" top: "ip1{end}" }}
layer {{ name: "feat{end}" type: "InnerProduct" bottom: "ip1{end}" top: "feat{end}" param {{ name: "feat_w" }} param {{ name: "feat_b" }}
  inner_product_param {{ num_output: 2 weight_filler {{ type: "xavier" }} }} }}
"""


DATA = f"""
layer {{ name: "pairs" type: "Data" top: "pairs" top: "sim" transform_param {{ scale: 0.00390625 }}
  data_param {{ source: "{out}/pairs_lmdb" batch_size: 64 backend: LMDB }} }}
layer {{ name: "slice" type: "Slice" bottom: "pairs" top: "data" top: "data_p" slice_param {{ axis: 1 slice_point: 1 }} }}
"""
LOSS = """
layer { name: "loss" type: "ContrastiveLoss" bottom: "feat" bottom: "feat_p" bottom: "sim" top: "loss"
  contrastive_loss_param { margin: 1 } }
"""
(out / "net.prototxt").write_text(DATA + branch("") + branch("_p") + LOSS)
(out / "solver.prototxt").write_text(f"""net: "{out}/net.prototxt" type: "Adam" base_lr: 0.002 lr_policy: "fixed"
momentum: 0.9 momentum2: 0.999 max_iter: 300 display: 100 snapshot: 0 snapshot_prefix: "{out}/siamese" solver_mode: CPU""")
solver = caffe.get_solver(str(out / "solver.prototxt"))
solver.solve()

# %%
(out / "deploy.prototxt").write_text("""layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 300 dim: 1 dim: 28 dim: 28 } } }""" + branch(""))
net = caffe.Net(str(out / "deploy.prototxt"), caffe.TEST)
net.share_with(solver.net)
shown, known = digits.drawn(300, seed=5)
net.blobs["data"].data[:, 0] = shown / 256
places = net.forward()["feat"]
apart = np.linalg.norm(places[:, None] - places[None], axis=2)
same = known[:, None] == known[None]
print(f"mean distance: {apart[same].mean():.2f} of one digit, {apart[~same].mean():.2f} of two")
assert apart[~same].mean() > 1.4 * apart[same].mean()

# %% [markdown]
# The plane, with digits it has not seen.

# %%
figure, axis = plt.subplots(figsize=(5, 5), layout="constrained")
for digit in range(10):
    x, y = places[known == digit].T
    axis.scatter(x, y, s=12, label=digit)
axis.legend(title="digit")
figure.savefig(out / "plane.png")
