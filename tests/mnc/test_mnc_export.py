"""`mnc export`: Mini's whole cascade as ONNX; `mnc demo` from that file alone."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import caffe
from caffe.commands.export import main as export_command
from mnc import cli
from mnc.commands import demo
from mnc.config import cfg, cfg_from_file
from mnc.data.images import read_image
from mnc.inference import load_net, segment_image
from mnc.inference.agreement import Agreement
from mnc.inference.onnx_model import OnnxModel
from mnc.inference.settings import TestSettings
from mnc.instances import InferenceError, Instances

ROOT = Path(__file__).resolve().parents[2]
MISSING = [name for name in ("onnx", "onnxscript", "onnxruntime")
           if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
FILES = [str(demo.MINI.path("test.prototxt")), str(demo.MINI.weight_file)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The file, and what the command said of it."""
    import contextlib
    import copy
    import io

    before, said = copy.deepcopy(dict(cfg)), io.StringIO()
    path = tmp_path_factory.mktemp("export") / "mini.onnx"
    with contextlib.redirect_stdout(said):
        assert cli.main(["export", "--net", "Mini", "-o", str(path), "--cpu"]) == 0
    for key, value in before.items():
        cfg[key] = value
    return path, said.getvalue()


@needs_onnx
def test_it_finds_what_the_net_finds(exported):
    """On the demo images, in their sizes: labels and number, boxes, masks."""
    path, said = exported
    cfg_from_file(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
    net, model = load_net(*FILES), OnnxModel(path)
    shown = 0
    for image in map(read_image, sorted((ROOT / "data/demo").glob("*.jpg"))):
        wanted = Instances.from_detections(segment_image(net, image, cfg), 0.3)
        found = model.instances(image, 0.3)
        assert found.labels.tolist() == wanted.labels.tolist()
        np.testing.assert_allclose(found.boxes[:, :4], wanted.boxes[:, :4], atol=0.1)
        a, b = found.masks >= cfg.BINARIZE_THRESH, wanted.masks >= cfg.BINARIZE_THRESH
        assert ((a & b).sum((1, 2)) / (a | b).sum((1, 2))).min() >= 0.99
        shown += len(found)
    assert shown > 10 and f"{shown} instances in 4 images" in said


@needs_onnx
def test_it_says_what_is_not_in_it(exported):
    path, said = exported
    assert "Not in it: preparing the image" in said
    facts = OnnxModel(path).facts
    assert facts.classes[1:] == ("agate", "beryl", "coral", "garnet", "opal")
    assert (facts.short_side, facts.longest_side) == (200, 334)


@needs_onnx
def test_any_size_and_an_image_with_nothing_in_it(exported):
    model = OnnxModel(exported[0])
    for height, width in ((40, 300), (217, 123), (64, 64)):
        found = model.instances(np.full((height, width, 3), 128, np.uint8), 0.9)
        assert found.masks.shape[1:] == (21, 21)


@needs_onnx
def test_the_page_of_the_demo_is_made_from_the_file_alone(exported, tmp_path, monkeypatch, capsys):
    image = str(ROOT / "data/demo/scene_5.jpg")
    assert cli.main(["demo", image, "--net", "Mini", "--out", str(tmp_path / "net"), "--cpu"]) == 0
    monkeypatch.setattr("caffe.Net.__init__", lambda *_: pytest.fail("a net was made"))
    model = ["--model", str(exported[0])]
    assert cli.main(["demo", image, *model, "--out", str(tmp_path / "file"), "--cpu"]) == 0
    for name in ("scene_5.jpg", "index.html"):
        assert (tmp_path / "net" / name).read_bytes() == (tmp_path / "file" / name).read_bytes()


@needs_onnx
def test_other_files_are_no_models(tmp_path, capsys):
    for name, why in (("none.onnx", "no such file"), ("bad.onnx", "onnxruntime refuses")):
        (tmp_path / "bad.onnx").write_bytes(b"no protobuf")
        arguments = ["demo", "--model", str(tmp_path / name), "--out", str(tmp_path / "out")]
        assert cli.main([*arguments, "--cpu"]) == 1
        assert why in capsys.readouterr().err


def test_a_net_has_to_be_named(tmp_path, capsys):
    assert cli.main(["export", "-o", str(tmp_path / "x.onnx"), "--cpu"]) == 1
    assert "FOLDER" in capsys.readouterr().err


# --- other nets, settings and targets ------------------------------------------------------------

FOUND = {"seg": ["boxes", "masks", "labels", "scores"], "det": ["boxes", "labels", "scores"]}


def drawn_weights(folder: Path) -> list[str]:
    """--def and --weights of a tiny net whose boxes move, and scores differ."""
    net, random = caffe.Net(str(folder / "test.prototxt"), caffe.TEST), np.random.default_rng(4)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = random.normal(size=blob.shape) * 0.1
    net.save(str(folder / "drawn.caffemodel"))
    return ["--def", str(folder / "test.prototxt"), "--weights", str(folder / "drawn.caffemodel")]


@pytest.mark.parametrize("task, target, settings", [
    ("det", "torchscript", []), ("det", "code", []), ("seg", "torchscript", []),
    ("seg", "pt2", ["TEST.USE_MASK_MERGE", "False"])])      # ONNX: the tests above and below
def test_each_task_in_each_form(tiny_net, mini_cfg, tmp_path, capsys, task, target, settings):
    net = drawn_weights(tiny_net("faster_rcnn_end2end" if task == "det" else "mnc_5stage"))
    path = tmp_path / "net.py"
    assert cli.main(["export", *net, "--to", target, "-o", str(path), "--cpu", "--check",
                     str(ROOT / "data/demo/scene_5.jpg"), "--set", "TEST.RPN_POST_NMS_TOP_N", "20", "TEST.SCALES", "(96,)",
                     "TEST.NMS_NESTED", "0.9", *settings]) == 0
    said = capsys.readouterr().out
    assert path.is_file() and f"-> {', '.join(FOUND[task])}; " in said
    assert re.search(r"\n[1-9]\d* (instances|boxes)( of a score of \S+ and more)? in 1 images, as", said)
    assert ("mask voting is in it" in said) == (task == "seg" and not settings)
    assert "Not in it: dropping nested" in said


@needs_onnx
def test_boxes_alone_are_drawn(tiny_net, mini_cfg, tmp_path, capsys):
    path, image = tmp_path / "net.onnx", str(ROOT / "data/demo/scene_5.jpg")
    net = drawn_weights(tiny_net("faster_rcnn_end2end"))
    small = ["--set", "TEST.RPN_POST_NMS_TOP_N", "20", "TEST.SCALES", "(96,)"]
    assert cli.main(["export", *net, "-o", str(path), "--cpu", "--check", image, *small]) == 0
    model = OnnxModel(path)
    assert model.instances(read_image(image)).masks.shape[1:] == (0, 0)
    assert cli.main(["demo", image, "--model", str(path), "--out", str(tmp_path / "out"),
                     "--score", "0.1", "--cpu"]) == 0
    plain = cv2.resize(read_image(image), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    drawn = read_image(tmp_path / "out/scene_5.jpg")
    assert drawn.shape == plain.shape and 0.01 < (abs(drawn.astype(int) - plain) > 60).any(2).mean() < 0.5


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_nets_of_given_regions_are_refused_with_what_goes(tiny_net, tmp_path, capsys):
    net = drawn_weights(tiny_net("cfm"))
    assert cli.main(["export", *net, "-o", str(tmp_path / "net.onnx"), "--cpu"]) == 1
    said = capsys.readouterr().err
    assert "regions that another program proposes" in said
    command = said.partition("caffe export ")[2].split()
    command[command.index("onnx")] = "torchscript"
    assert export_command(command) == 0
    found = torch.jit.load(tmp_path / "net.onnx")(
        torch.rand(2, 3, 70, 90), torch.tensor([[1.0, 3, 5, 60, 50]]), torch.rand(1, 1, 10, 10))
    assert len(found) > 1 and all(len(value) == 1 for value in found)


def test_disagreement_is_an_error():
    settings = TestSettings.of(cfg)
    wanted = Instances(np.array([[1, 2, 30, 40, 0.9]]), np.ones((1, 21, 21), np.float32),
                       np.array([2]))
    agreement = Agreement.__new__(Agreement)
    agreement.compared, agreement.shift, agreement.overlap = 0, 0.0, 1.0
    agreement.binarize, agreement.least = settings.mask.threshold, 0.3
    agreement._compare(1, wanted, wanted)
    assert agreement.compared == 1 and agreement.shift == 0
    moved = replace(wanted, boxes=wanted.boxes + np.array([0.2, 0, 0, 0, 0]))
    half = replace(wanted, masks=wanted.masks * (np.arange(21) < 11))
    for other, why in ((moved, "0.2 pixels"), (half, "mask IoU 0.524"),
                       (replace(wanted, labels=np.array([3])), "finds 1 instances")):
        with pytest.raises(InferenceError, match=why):
            agreement._compare(1, other, wanted)
