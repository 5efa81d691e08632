# %% [markdown]
# # Net surgery
# An InnerProduct is a convolution that covers its whole input. With its weights moved over, a classifier of small
# images runs on a large one and gives a map of scores.

# %%
from pathlib import Path

import digits
import numpy as np

import caffe

out = Path("output/examples/net_surgery")
out.mkdir(parents=True, exist_ok=True)
HEAD = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: %d dim: %d } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
"""
FULL = HEAD + """
layer { name: "score" type: "InnerProduct" bottom: "pool1" top: "score"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
"""
CONV = HEAD + """
layer { name: "score_conv" type: "Convolution" bottom: "pool1" top: "score_conv"
  convolution_param { num_output: 10 kernel_size: 12 } }
"""
caffe.set_random_seed(1)
(out / "full.prototxt").write_text(FULL % (28, 28))
(out / "conv.prototxt").write_text(CONV % (28, 68))
full = caffe.Net(str(out / "full.prototxt"), caffe.TEST)
full.save(str(out / "full.caffemodel"))

# %% [markdown]
# Weights of layers of the same name come over by themselves; those of the InnerProduct are reshaped by hand.

# %%
conv = caffe.Net(str(out / "conv.prototxt"), str(out / "full.caffemodel"), caffe.TEST)
for n in range(2):
    conv.params["score_conv"][n].data.flat = full.params["score"][n].data.flat

# %%
images, _ = digits.drawn(2)
wide = np.zeros((28, 68), np.float32)
wide[:, :28], wide[:, 40:] = images[0] / 256, images[1] / 256
conv.blobs["data"].data[0, 0] = wide
scores = conv.forward()["score_conv"]
print("scores of the wide image:", scores.shape)
for place, image in ((0, images[0]), (20, images[1])):          # pool1 steps by 2
    full.blobs["data"].data[0, 0] = image / 256
    np.testing.assert_allclose(scores[0, :, 0, place], full.forward()["score"][0], atol=1e-4)
print("the same as of the two images by themselves")
