"""EfficientNet-Lite0 as a backbone: its weights in, its features out, and what trains on it."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch

import caffe
from caffe.extend import read_caffemodel
from conftest import ROOT
from mnc.cli import main
from mnc.config import cfg, cfg_from_file
from mnc.nets.initial import pixel_means
from torch_releases import Lite0, vgg16


@pytest.fixture
def release(tmp_path):
    """(random Lite0, its initial weights as `mnc make_init` makes them)"""
    original = Lite0()
    torch.save(original.state, tmp_path / "lite0.pth")
    made = tmp_path / "init/Lite0.mask.caffemodel"
    assert main(["make_init", "Lite0", "--source", str(tmp_path / "lite0.pth"), "--out", str(made)]) == 0
    return original, made


def test_the_features_of_the_net_are_the_originals(release):
    original, made = release
    net = caffe.Net(str(ROOT / "models/Lite0/mnc_5stage/test.prototxt"), caffe.TEST, weights=str(made))
    cfg_from_file(ROOT / "experiments/cfgs/Lite0/mnc_5stage.yml")
    image = np.random.RandomState(1).randint(0, 256, (96, 128, 3)).astype(np.float32)
    net.blobs["data"].reshape(1, 3, 96, 128)
    net.blobs["data"].data[...] = (image - np.reshape(cfg.PIXEL_MEANS, 3)).transpose(2, 0, 1)
    net.forward(end="block10")
    rgb = torch.tensor(image[..., ::-1].copy()).permute(2, 0, 1)[None]
    wanted = original.blocks((rgb - 127) / 128)
    for number, name in ((0, "conv_stem"), (5, "block4"), (11, "block10")):
        np.testing.assert_allclose(net.blobs[name].data, wanted[number], rtol=1e-4, atol=1e-4)


def test_the_weights_say_which_pixels_they_take(release):
    assert pixel_means(release[1]) == [127, 127, 127]


def test_the_means_of_a_vgg_of_torch_are_laid_over_the_nets(tmp_path, caplog):
    from mnc.commands.train_options import take_pixel_means
    from mnc.nets.initial import make_init

    torch.save(vgg16().state_dict(), tmp_path / "vgg.pth")
    made = tmp_path / "VGG16.mask.caffemodel"
    make_init("VGG16", made, str(tmp_path / "vgg.pth"))
    names = [layer.name for layer in read_caffemodel(made).layer]
    assert {"fc6", "fc6_mask", "fc7_mask"} < set(names)
    own = np.ravel(cfg.PIXEL_MEANS).tolist()
    arguments = argparse.Namespace(weights=str(made), set_cfgs=["PIXEL_MEANS", "[1,2,3]"], cfg_file=None)
    take_pixel_means(arguments)
    assert np.ravel(cfg.PIXEL_MEANS).tolist() == own            # what --set names stays
    arguments.set_cfgs = []
    with caplog.at_level("INFO", "mnc"):
        take_pixel_means(arguments)
    assert np.ravel(cfg.PIXEL_MEANS).tolist() == [103.53, 116.28, 123.675]
    assert "PIXEL_MEANS [103.53, 116.28, 123.675], which" in caplog.text


def test_another_net_is_refused(tmp_path, capsys):
    torch.save(vgg16().state_dict(), tmp_path / "vgg.pth")
    command = ["make_init", "Lite0", "--source", str(tmp_path / "vgg.pth"), "--out", str(tmp_path / "x")]
    assert main(command) == 1
    assert "this is VGG16; Lite0 starts from EfficientNet-Lite0" in capsys.readouterr().err
    assert main(["make_init", "ZF"]) == 1
    assert "no release for ZF" in capsys.readouterr().err and not (tmp_path / "x").exists()
