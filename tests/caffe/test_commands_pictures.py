"""draw_net, classify, detect: from files to files."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

import caffe
from caffe.commands import classify, detect, draw_net

NET = """
name: "colours"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "ip" type: "InnerProduct" bottom: "mean" top: "ip" inner_product_param { num_output: 3 } }
"""
MODEL = ["--model_def=net.prototxt", "--pretrained_model=w.caffemodel", "--mean_file="]


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    """A net whose outputs are the mean blue, green and red; images of one colour (BGR)."""
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.params["ip"][0].data[...] = np.eye(3)
    net.save("w.caffemodel")
    Path("images").mkdir()
    for name, colour in (("a", (10, 20, 30)), ("b", (40, 50, 60)), ("c", (70, 80, 90))):
        cv2.imwrite(f"images/{name}.png", np.full((12, 10, 3), colour, np.uint8))


@pytest.mark.parametrize("flags", [[], ["--center_only"]])
def test_classify_a_folder(flags, capsys):
    assert classify.main(["images", "out.npy", "--ext=png", "--images_dim=6,6", *MODEL, *flags]) == 0
    np.testing.assert_allclose(np.load("out.npy"), [[10, 20, 30], [40, 50, 60], [70, 80, 90]],
                               rtol=1e-5)
    assert "Classifying 3 inputs." in capsys.readouterr().out


def test_classify_one_image_with_other_preprocessing():
    np.save("mean.npy", np.full((3, 4, 4), 5, np.float32))
    argv = ["images/a.png", "out.npy", *MODEL, "--mean_file=mean.npy", "--channel_swap=0,1,2",
            "--input_scale=2", "--images_dim=4,4"]
    assert classify.main(argv) == 0
    np.testing.assert_allclose(np.load("out.npy"), [[50, 30, 10]], rtol=1e-5)     # (RGB - 5) * 2


def test_classify_an_array():
    np.save("in.npy", np.full((1, 4, 4, 3), [0.2, 0.4, 0.6]))
    assert classify.main(["in.npy", "out.npy", *MODEL, "--raw_scale=10", "--images_dim=4,4"]) == 0
    np.testing.assert_allclose(np.load("out.npy"), [[6, 4, 2]], rtol=1e-5)


def test_classify_with_a_net_of_grey_pictures():
    Path("grey.prototxt").write_text(NET.replace("dim: 3 dim: 4", "dim: 1 dim: 4"))
    net = caffe.Net("grey.prototxt", caffe.TEST)
    net.params["ip"][0].data[...] = 1
    net.save("grey.caffemodel")
    cv2.imwrite("grey.png", np.full((12, 10), 90, np.uint8))
    argv = ["grey.png", "out.npy", "--model_def=grey.prototxt", "--pretrained_model=grey.caffemodel"]
    assert classify.main([*argv, "--mean_file=", "--images_dim=6,6"]) == 0
    np.testing.assert_allclose(np.load("out.npy"), [[90, 90, 90]], rtol=1e-5)


WINDOWS = "filename,ymin,xmin,ymax,xmax\nimages/a.png,0,0,8,8\nimages/c.png,2,1,9,7\n" \
          "images/a.png,1,1,5,5\n"


def test_detect_to_csv():
    Path("in.csv").write_text(WINDOWS)
    assert detect.main(["in.csv", "out.csv", "--crop_mode=list", "--context_pad=0", *MODEL]) == 0
    with open("out.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["filename", "ymin", "xmin", "ymax", "xmax", "class0", "class1", "class2"]
    assert [row[0] for row in rows] == ["images/a.png", "images/a.png", "images/c.png"]
    assert [float(x) for x in rows[2][1:]] == pytest.approx([2, 1, 9, 7, 70, 80, 90], rel=1e-5)


def test_detect_to_hdf5():
    Path("in.csv").write_text(WINDOWS)
    assert detect.main(["in.csv", "out.h5", "--crop_mode=list", "--context_pad=0", *MODEL]) == 0
    with h5py.File("out.h5") as file:
        assert file["filename"].asstr()[2] == "images/c.png"
        assert file["window"].shape == (3, 4)
        np.testing.assert_allclose(file["prediction"][0], [10, 20, 30], rtol=1e-5)


def test_context_around_windows_is_of_the_mean_colour():
    np.save("mean.npy", np.array([10, 20, 30], np.float32).reshape(3, 1, 1))
    Path("in.csv").write_text(WINDOWS)
    assert detect.main(["in.csv", "out.csv", "--crop_mode=list", "--context_pad=1", *MODEL,
                        "--mean_file=mean.npy"]) == 0
    with open("out.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert [float(row[f"class{k}"]) for k in range(3)] == pytest.approx([0, 0, 0], abs=1e-4)


@pytest.mark.parametrize("tool, argv, message", [
    (classify, ["images", "out.npy", *MODEL], "no file ends in .jpg"),
    (classify, ["nowhere.png", "out.npy", *MODEL], "nowhere.png"),
    (classify, ["images", "out.npy", *MODEL, "--mean_file=nowhere.npy"], "nowhere.npy: no such file"),
    (classify, ["images", "out.npy", *MODEL, "--images_dim=4x4"], "--images_dim takes numbers"),
    (classify, ["images", "out.npy", "--mean_file="], "bvlc_reference_caffenet/deploy.prototxt"),
    (classify, ["images/a.png", "out.npy", *MODEL, "--images_dim=12"], "--images_dim takes height,width"),
    (classify, ["images/a.png", "out.npy", *MODEL, "--images_dim=0,9"], "--images_dim takes height,width"),
    (classify, ["images/a.png", "out.npy", *MODEL, "--images_dim=2,3"],
     "crops of 4 x 4 do not fit into images of 2 x 3"),
    (classify, ["images/a.png", "out.npy", *MODEL, "--channel_swap=0,1"], "input data has 3 channels"),
    (classify, ["images/a.png", "out.npy", *MODEL, "--channel_swap=0,1,7"], "the image for input data has 3"),
    (classify, ["grey.npy", "out.npy", *MODEL], "the image for input data has 1 channel"),
    (classify, ["row.npy", "out.npy", *MODEL], "an array (N, height, width, channels)"),
    (classify, ["images/a.png", "out.npy", *MODEL, "--mean_file=row.npy"], "mean of 20 channels"),
    (detect, ["windows.csv", "out.csv", "--crop_mode=list", *MODEL], "context_pad 16"),
    (detect, ["windows.csv", "out.csv", "--crop_mode=list", "--context_pad=-1", *MODEL], "context_pad -1"),
    (detect, ["in.txt", "out.csv", "--crop_mode=list", *MODEL], "takes a .csv"),
    (detect, ["in.csv", "out.csv", "--crop_mode=list", *MODEL], "has no column xmax"),
    (detect, ["in.txt", "out.csv", *MODEL], "selective_search_ijcv_with_python"),
])
def test_errors(tool, argv, message, capsys):
    Path("in.txt").write_text("images/a.png\n")
    Path("in.csv").write_text("filename,ymin,xmin,ymax\n")
    Path("windows.csv").write_text(WINDOWS)
    np.save("grey.npy", np.zeros((2, 12, 10, 1)))
    np.save("row.npy", np.zeros(20))
    assert tool.main(argv) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert message in last and last.startswith(f"{tool.__name__.rpartition('.')[2]}: error: ")
    assert not Path("out.csv").exists() and not Path("out.npy").exists()


@pytest.mark.parametrize("flags, want", [
    ([], ("LR", None, False)),
    (["--rankdir", "TB", "--phase=TEST", "--display_lrm"], ("TB", caffe.TEST, True)),
    (["--phase", "TRAIN"], ("LR", caffe.TRAIN, False))])
def test_draw_net_hands_its_arguments_on(flags, want, monkeypatch):
    import caffe.draw

    seen = []
    monkeypatch.setattr(caffe.draw, "draw_net_to_file", lambda *args: seen.append(args))
    assert draw_net.main(["net.prototxt", "net.png", *flags]) == 0
    (net, path, *rest), = seen
    assert net.name == "colours" and path == "net.png" and tuple(rest) == want


def test_draw_net_of_a_wrong_file(capsys):
    Path("net.prototxt").write_text("lyer { }")
    assert draw_net.main(["net.prototxt", "net.png"]) == 1
    assert 'did you mean "layer"' in capsys.readouterr().err
