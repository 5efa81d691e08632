"""Images that cannot be read: found before training, or passed over while it runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffe
from mnc.data import DataError, get_dataset
from mnc.data.checking import fault_of, most_bad, readable
from mnc.data.depth import warn_of_depth
from mnc.data.roidb import prepare
from mnc.training.loop import Care, train


@pytest.fixture
def photos(tmp_path) -> Path:
    """A COCO data set of five JPEGs, each with an instance."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.RandomState(2)
    for i in range(5):
        cv2.imwrite(str(folder / f"{i}.jpg"), noise.randint(0, 255, (60, 80, 3), np.uint8))
    box = {"bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
           "category_id": 1, "iscrowd": 0, "area": 400}
    (tmp_path / "five.json").write_text(json.dumps({
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 60, "width": 80}
                   for i in range(5)],
        "annotations": [{**box, "id": i + 1, "image_id": i} for i in range(5)],
        "categories": [{"id": k, "name": f"class{k}"} for k in range(1, 6)]}))
    return folder


def data_of(photos):
    return get_dataset(f"coco:{photos.parent}/five.json:{photos}")


def cut(path):
    path.write_bytes(path.read_bytes()[:-900])


def test_all_that_is_wrong_is_said_before_training(photos):
    data = prepare(data_of(photos))
    cut(photos / "1.jpg")
    (photos / "2.jpg").write_text("<html>not found</html>")
    cv2.imwrite(str(photos / "3.jpg"), np.zeros((70, 80, 3), np.uint8))
    with pytest.raises(DataError) as error:
        readable(*data)
    said = str(error.value)
    assert said.startswith("3 of 5 images cannot be used; --bad-data skip leaves them out:")
    for fault in ("1.jpg: ", "2.jpg: ", "3.jpg: the image has 80 x 70 "
                  "pixels, its annotation is for 80 x 60"):
        assert fault in said
    with pytest.raises(DataError, match="3 of 5 images cannot be used"):
        readable(*data, skip=True)          # more than are left out


def test_one_bad_image_is_left_out_with_its_mirror(photos, caplog):
    roidb, maskdb = prepare(data_of(photos))
    cut(photos / "1.jpg")
    kept, masks = readable(roidb, maskdb, skip=True)
    assert len(kept) == len(masks) == 8 and len(roidb) == 10
    assert not any(entry["image"].endswith("/1.jpg") for entry in kept)
    assert [m["flipped"] for m in masks] == [e["flipped"] for e in kept]
    assert "1 of 5 images cannot be used and are left out" in caplog.text
    assert readable(kept, masks) == (kept, masks)


def test_a_cut_jpeg_is_told_where_the_decoder_fills_it_with_grey(photos, monkeypatch):
    """As some versions of OpenCV do."""
    cut(photos / "1.jpg")
    monkeypatch.setattr("mnc.data.checking.read_image",
                        lambda path, size: np.zeros((60, 80, 3), np.uint8))
    entry = {"image": str(photos / "1.jpg"), "height": 60, "width": 80}
    assert fault_of(entry).startswith(f"{photos}/1.jpg: the JPEG is damaged or cut: ")
    assert fault_of({**entry, "image": str(photos / "0.jpg")}) is None


@pytest.mark.parametrize("most, said", [(4095, True), (65535, False)])
def test_images_of_16_bits_that_are_nearly_black(tmp_path, caplog, most, said):
    """12 bits in 16: of these the upper eight are 0 to 15; a hot pixel is no picture."""
    ramp = np.linspace(0, most, 60 * 80).reshape(60, 80).astype(np.uint16)
    ramp[3, 3] = 65535
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"größe {k}.tif"), ramp)
    paths = [tmp_path / f"größe {k}.tif" for k in range(3)]
    warn_of_depth(paths)
    assert ("nearly black: their pixels are 0 to 15 of 255" in caplog.text) is said
    assert ("größe 0.tif and others" in caplog.text) is said


def test_dark_images_of_8_bits_and_none(photos, caplog):
    """A night is dark, and nothing of it is lost."""
    cv2.imwrite(str(photos / "0.jpg"), np.full((60, 80, 3), 3, np.uint8))
    warn_of_depth([photos / "0.jpg", photos / "none.jpg"])
    warn_of_depth([])
    assert not caplog.text


def test_how_many_may_be_left_out():
    assert [most_bad(n) for n in (1, 100, 199, 200, 5000)] == [1, 1, 1, 2, 50]


def test_a_small_set_is_checked_by_default_and_not_if_asked(photos, tiny_model, mini_cfg, tmp_path):
    cut(photos / "1.jpg")
    solver = str(tiny_model / "solver.prototxt")
    with pytest.raises(DataError, match="1 of 5 images cannot be used"):
        train(solver, data_of(photos), tmp_path / "a", max_iters=1)
    assert len(train(solver, data_of(photos), tmp_path / "b", max_iters=1,
                     care=Care(check_data=False))) == 1
    assert len(train(solver, data_of(photos), tmp_path / "c", max_iters=1,
                     care=Care(bad_data="skip"))) == 1


def layer_of(photos, tiny_model, bad_data):
    net = caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)
    layer = net.layers[0]
    roidb, maskdb = prepare(data_of(photos))
    layer.set_roidb(roidb)
    layer.set_maskdb(maskdb)
    layer.bad_data = bad_data
    return net, layer


def test_a_bad_image_is_passed_over_and_named_once(photos, tiny_model, mini_cfg, caplog):
    net, layer = layer_of(photos, tiny_model, "skip")
    (photos / "1.jpg").write_bytes(b"")
    shown = set()
    for _ in range(25):
        net.forward(end="input-data")
        shown |= {Path(name).name for name in layer.batch_items()}
    assert shown == {"0.jpg", "2.jpg", "3.jpg", "4.jpg"}
    assert caplog.text.count("passed over, with 0 others so far") == 1


@pytest.mark.parametrize("bad_data, bad", [("stop", ["1.jpg"]), ("skip", ["1.jpg", "2.jpg"])])
def test_too_much_that_is_bad_ends_it(bad_data, bad, photos, tiny_model, mini_cfg):
    net, _ = layer_of(photos, tiny_model, bad_data)
    for name in bad:
        (photos / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"1.jpg|2 of 5 images cannot be read"):
        for _ in range(25):
            net.forward(end="input-data")


def test_training_goes_on_behind_a_bad_image(photos, tiny_model, mini_cfg, tmp_path, monkeypatch):
    shutil.copy(photos / "0.jpg", tmp_path / "whole.jpg")
    data = data_of(photos)
    monkeypatch.setattr("mnc.training.loop.readable",
                        lambda *db, **kw: (cut_to_nothing(photos / "0.jpg"), db)[1])
    written = train(str(tiny_model / "solver.prototxt"), data, tmp_path / "out", max_iters=11,
                    care=Care(bad_data="skip"))
    assert written[-1].name.endswith("iter_11.caffemodel.h5")


def cut_to_nothing(path):
    path.write_bytes(b"")
