"""experiments/ssd: an SSD from drawn images to detections, by the commands of docs/forks.md."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffe
from caffe import cli
from caffe.commands import create_annoset, get_image_size, parse_log

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shapes(monkeypatch):
    """The script as a module."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("shapes", ROOT / "experiments/ssd/shapes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def databases(folder: Path) -> None:
    for name in ("trainval", "test"):
        assert create_annoset.main([
            "--anno-type=detection", f"--label-map-file={folder}/labelmap_voc.prototxt",
            "--encode-type=jpg", "--redo", str(folder), f"{folder}/{name}.txt",
            f"{folder}/{name}_lmdb", f"{folder}/examples/shapes"]) == 0
    assert get_image_size.main([str(folder), f"{folder}/test.txt",
                                f"{folder}/test_name_size.txt"]) == 0


def test_drawn_boxes_lie_around_what_is_drawn(shapes):
    """Without the noise, what differs from the ground is inside of the boxes."""
    from draw_voc import draw_image

    for seed in range(5):
        image, objects = draw_image(np.random.default_rng(seed))
        assert objects
        for _, x1, y1, x2, y2 in objects:
            assert 0 <= x1 < x2 < image.shape[1] and 0 <= y1 < y2 < image.shape[0]
            middle = image[(y1 + y2) // 2, (x1 + x2) // 2].astype(int)
            assert np.abs(middle - image[y1:y2, x1:x2].mean((0, 1))).max() < 120


def test_from_images_to_average_precision(shapes, tmp_path, capfd):
    shapes.write(tmp_path, train=20, test=6, iterations=2)
    databases(tmp_path)
    assert cli.main(["train", f"--solver={tmp_path}/solver.prototxt"]) == 0
    log = capfd.readouterr().err
    (tmp_path / "log").write_text(log)
    assert "Test net output #0: detection_eval = " in log and "Iteration 2, loss" in log
    _, test = parse_log.parse_log(tmp_path / "log")
    assert 0 <= test[-1]["detection_eval"] < 1

    weights = f"{tmp_path}/shapes_ssd_iter_2.caffemodel"
    assert cli.main(["test", f"--model={tmp_path}/test.prototxt", f"--weights={weights}",
                     "--iterations=1", "--ap_version=11point"]) == 0
    assert "Test net output #0: detection_eval = " in capfd.readouterr().err

    net = caffe.Net(f"{tmp_path}/deploy.prototxt", caffe.TEST,
                    weights=weights)
    image = cv2.resize(cv2.imread(f"{tmp_path}/JPEGImages/test_0000.jpg"), (shapes.SIDE,) * 2)
    net.blobs["data"].data[0] = (image.transpose(2, 0, 1) - np.reshape(shapes.MEAN, (3, 1, 1))) / 64
    found = net.forward()["detection_out"]
    assert found.shape[:2] == (1, 1) and found.shape[3] == 7
