"""The nets that start from torch's weights compute what those computed, up to the features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffe
from caffe.extend import read_caffemodel
from conftest import ROOT
from mnc.cli import main
from mnc.config import cfg, cfg_from_file
from torch_releases import ResNet


@pytest.mark.parametrize("task", ["mnc_5stage", "faster_rcnn_end2end"])
def test_a_resnet_with_torchs_strides(tmp_path, task):
    original = ResNet((3, 4, 6, 3), width=64)
    torch.save(original.state_dict(), tmp_path / "resnet50-0a1b2c3d.pth")
    made = tmp_path / "ResNet50.mask.caffemodel"
    assert main(["make_init", "ResNet50v1.5", "--source", str(tmp_path / "resnet50-0a1b2c3d.pth"), "--out", str(made)]) == 0
    names = {layer.name for layer in read_caffemodel(made).layer}
    assert {"res5a_branch2b_mask", "bn5c_branch2c_mask", "scale5a_branch1_mask"} < names
    cfg_from_file(ROOT / f"experiments/cfgs/ResNet50v1.5/{task}.yml")
    net = caffe.Net(str(ROOT / f"models/ResNet50v1.5/{task}/test.prototxt"), caffe.TEST, weights=str(made))
    image = np.random.RandomState(1).randint(0, 256, (70, 101, 3)).astype(np.float32)
    net.blobs["data"].reshape(1, 3, 70, 101)
    net.blobs["data"].data[...] = (image - np.reshape(cfg.PIXEL_MEANS, 3)).transpose(2, 0, 1)
    net.forward(end="res4f_relu")
    rgb = torch.tensor(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
    mean, deviation = (torch.tensor(values)[:, None, None]
                       for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        x = (rgb - mean) / deviation
        x = torch.nn.functional.max_pool2d(original.bn1(original.conv1(x)).relu(), 3, 2, 1)
        wanted = original.layer3(original.layer2(original.layer1(x)))
    np.testing.assert_allclose(net.blobs["res4f"].data, wanted, rtol=1e-4, atol=1e-4)
