"""Inference: the tiny reference net's test pass, suppression without voting, whole data sets."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import caffe
from golden_mnc import GOLDEN, relative_error
from mnc.boxes.regression import clip_boxes
from mnc.config import cfg, overridden
from mnc.data import DataError, get_dataset
from mnc.inference import Instances, TestSettings, detect_boxes, load_net, segment_image
from mnc.inference import test_dataset as run_test  # a name pytest does not collect
from mnc.inference.cascade import im_detect, read_raw
from mnc.inference.networks import joined
from mnc.inference.selection import ScoreFloor, best_of, unnested
from mnc.inference.views import ImageView, views_of
from mnc.instances import Detections, InferenceError, Raw

E2E = GOLDEN / "mnc_e2e"


@pytest.fixture
def net(tiny_model, tmp_path, mini_cfg):
    caffe.set_random_seed(3)
    caffe.Net(str(tiny_model / "train.prototxt"),
              caffe.TRAIN).save_hdf5(str(tmp_path / "tiny_iter_0.caffemodel.h5"))
    return load_net(tiny_model / "test.prototxt", tmp_path / "tiny_iter_0.caffemodel.h5")


@pytest.fixture
def data(tiny_scenes):
    return get_dataset(f"sbd:{tiny_scenes}:val")


def test_both_passes_of_the_reference_net():
    """Boxes, masks and scores that enter the voting, as the public code gathers them."""
    test, train, wanted = (dict(np.load(E2E / f"{name}.npz"))
                           for name in ("test", "train", "test_voting"))
    with overridden(json.loads((E2E / "index.json").read_text())["config"]):
        net = caffe.Net(str(E2E / "test.prototxt"), str(E2E / "weights.caffemodel"), caffe.TEST)
    data, im_info = train["blob:data"], test["blob:im_info"]       # the same image in both
    net.blobs["data"].reshape(*data.shape)
    net.forward(data=data, im_info=im_info)
    raw = read_raw(net, im_info[0, 2], (int(wanted["im_height"]), int(wanted["im_width"])))
    for name in ("boxes", "masks", "scores"):
        expected = wanted[name][:, 0] if name == "masks" else wanted[name]
        assert relative_error(getattr(raw, name), expected) < 1e-5, name


def test_the_net_is_named_after_its_weights(net):
    assert net.name == "tiny_iter_0"


def test_missing_weights(tiny_model, tmp_path):
    with pytest.raises(FileNotFoundError, match="none.h5: no such weight file"):
        load_net(tiny_model / "test.prototxt", tmp_path / "none.h5")
    (tmp_path / "empty.h5").touch()
    with pytest.raises(InferenceError, match="train.prototxt: .*name its test.prototxt"):
        load_net(tiny_model / "train.prototxt", tmp_path / "empty.h5")


def test_boxes_lie_in_the_image_whatever_its_size(net, data, mini_cfg):
    for image in (data.image(0), np.zeros((61, 47, 3), np.uint8)):
        raw = im_detect(net, image, TestSettings.of(mini_cfg))
        assert raw.masks.shape[1:] == (21, 21) and raw.scores.shape == (len(raw.boxes), 6)
        assert (raw.boxes >= 0).all() and (raw.boxes <= np.array(image.shape[1::-1] * 2) - 1).all()
        np.testing.assert_allclose(raw.scores.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"USE_GPU_MASK_MERGE": False}, {"USE_MASK_MERGE": False}])
def test_detections_of_an_image(net, data, mini_cfg, changes):
    mini_cfg.TEST.update(changes)
    found = segment_image(net, data.image(0), mini_cfg)
    assert len(found) == 6 and len(found[0][0]) == 0
    assert sum(len(boxes) for boxes, _ in found) > 0
    for boxes, masks in found:
        assert boxes.shape == (len(masks), 5) and masks.shape[1:] == (21, 21)
        assert (np.diff(boxes[:, 4]) <= 0).all()


@pytest.mark.parametrize("task, side", [("seg", 21), ("vis_seg", 21), ("det", 0)])
def test_detections_of_a_data_set(net, data, mini_cfg, task, side):
    found = run_test(net, data, mini_cfg, task)
    assert [len(per_image) for per_image in found] == [len(data)] * 6
    assert {masks.shape[1:] for per_image in found for _, masks in per_image} == {(side, side)}


@pytest.mark.parametrize("task, merge", [("seg", True), ("seg", False), ("det", True)])
def test_an_image_that_cannot_be_read_costs_only_itself(net, data, mini_cfg, monkeypatch, caplog,
                                                        task, merge):
    mini_cfg.TEST.USE_MASK_MERGE = merge

    def image(i):
        if i == 1:
            raise DataError("b.jpg: not a decodable image")
        return np.full((60, 80, 3), 90, np.uint8)

    monkeypatch.setattr(data, "image", image, raising=False)
    found = run_test(net, data, mini_cfg, task)
    assert all(len(per_image[1][0]) == 0 for per_image in found)
    assert sum(len(per_image[0][0]) for per_image in found) > 0
    assert "b.jpg: not a decodable image" in caplog.text
    assert all(np.concatenate([m for _, m in per_image]).ndim == 3 for per_image in found)


def test_without_merging_a_class_keeps_its_best_of_the_whole_set(net, data, mini_cfg):
    mini_cfg.TEST.USE_MASK_MERGE = False
    found = run_test(net, data, replace(TestSettings.of(mini_cfg), most_of_class=2))
    for per_image in found[1:]:
        assert 0 < sum(len(boxes) for boxes, _ in per_image) <= 2 * len(data)


def test_score_floor_by_hand():
    floor = ScoreFloor(3)
    floor.update(np.array([0.5, 0.1, 0.9]))
    assert floor.value == -np.inf                       # three of three
    floor.update(np.array([0.3, 0.7]))
    assert floor.value == 0.3                           # 0.9, 0.7 and 0.5 stay
    floor.update(np.array([0.2]))
    assert floor.value == 0.3                           # it never sinks


def without_second_pass(prototxt, out):
    """The test net up to stage 3."""
    from google.protobuf import text_format

    from caffe.engine.formats.prototxt import read_net

    net = read_net(str(prototxt))
    first = [layer for layer in net.layer if layer.name != "stage_bridge"
             and not layer.name.endswith("_ext")]
    del net.layer[:]
    net.layer.extend(first)
    out.write_text(text_format.MessageToString(net))
    return out


def test_three_stages_are_the_first_pass_of_five(net, data, mini_cfg, tiny_model, tmp_path):
    prototxt = without_second_pass(tiny_model / "test.prototxt", tmp_path / "three.prototxt")
    three = load_net(prototxt, tmp_path / "tiny_iter_0.caffemodel.h5")
    one, both = (im_detect(n, data.image(0), TestSettings.of(mini_cfg)) for n in (three, net))
    half = len(one.boxes)
    assert len(both.boxes) == 2 * half
    for name in ("boxes", "masks", "scores"):
        np.testing.assert_allclose(getattr(one, name), getattr(both, name)[:half], atol=1e-5)


def test_five_stages_with_the_weights_of_three(net, data, mini_cfg, tiny_model, tmp_path):
    prototxt = without_second_pass(tiny_model / "test.prototxt", tmp_path / "three.prototxt")
    three = load_net(prototxt, tmp_path / "tiny_iter_0.caffemodel.h5")
    three.save_hdf5(str(tmp_path / "three.caffemodel.h5"))
    five = load_net(tiny_model / "test.prototxt", tmp_path / "three.caffemodel.h5")
    settings = TestSettings.of(mini_cfg)
    for name in ("boxes", "masks", "scores"):
        np.testing.assert_array_equal(getattr(im_detect(five, data.image(0), settings), name),
                                      getattr(im_detect(net, data.image(0), settings), name))


def test_scales_mirroring_and_models_join_one_pool(net, data, mini_cfg):
    image = data.image(0)
    settings = TestSettings.of(mini_cfg)
    once = im_detect(net, image, settings)
    settings = replace(settings, scales=(200, 160), mirrored=True)
    every = im_detect([net, net], image, settings)
    assert len(every.boxes) > 4 * len(once.boxes)
    np.testing.assert_allclose(every.boxes[:len(once.boxes)], once.boxes, atol=1e-4)
    mirrored = im_detect(net, image[:, ::-1], settings)
    assert (every.boxes >= 0).all() and (every.boxes[:, 2] < image.shape[1]).all()
    assert len(mirrored.boxes) == len(every.boxes) // 2
    assert sum(len(boxes) for boxes, _ in segment_image([net, net], image, settings)) > 0


def test_mirroring_by_hand():
    one = Raw(np.array([[2.0, 3, 5, 7, 0, 0, 9, 9]]), np.array([[[1.0, 0], [2, 3]]]),
              np.array([[0.4, 0.6]]))
    turned = one.mirrored(10)
    assert turned.boxes.tolist() == [[4, 3, 7, 7, 0, 0, 9, 9]]
    assert turned.masks.tolist() == [[[0, 1], [3, 2]]]


def found_in(picture):
    """The box of what is not 0 in a picture (H, W, 3), and that part of it as the mask."""
    y, x = np.nonzero(picture[..., 0])
    x1, y1, x2, y2 = box = np.array([x.min(), y.min(), x.max(), y.max()])
    return Raw(np.hstack((box, box))[None], picture[None, y1:y2 + 1, x1:x2 + 1, 0], np.ones((1, 2)))


@pytest.mark.parametrize("view", [ImageView(*(bool(n & bit) for bit in (1, 2, 4)))
                                  for n in range(8)], ids=str)
def test_what_is_found_in_a_view_lies_where_it_is_in_the_image(view):
    image = np.zeros((5, 7, 3), np.uint8)
    image[1:3, 2:5] = np.arange(1, 7).reshape(2, 3, 1)
    seen = view.image(image)
    back, wanted = view.back(found_in(seen), seen.shape[:2]), found_in(image)
    assert np.array_equal(back.boxes, wanted.boxes) and np.array_equal(back.masks, wanted.masks)


def test_the_views_that_settings_ask_for(net, data, mini_cfg):
    settings = TestSettings.of(mini_cfg)
    assert [*views_of(settings)] == [ImageView()]
    settings = replace(settings, mirrored=True, upside_down=True, transposed=True)
    views = [*views_of(settings)]
    assert views[:2] == [ImageView(), ImageView(mirrored=True)] and len(set(views)) == 8
    image = data.image(0)
    turned = replace(settings, mirrored=False, upside_down=False)
    once, twice = (im_detect(net, image, each) for each in (TestSettings.of(mini_cfg), turned))
    assert len(twice.boxes) > len(once.boxes)
    assert (twice.boxes[:, 2] < image.shape[1]).all() and (twice.boxes[:, 3] < image.shape[0]).all()


def test_masks_of_another_size_are_resized_and_classes_must_agree():
    def raw(side, classes):
        return Raw(np.zeros((2, 4)), np.ones((2, side, side), np.float32),
                   np.zeros((2, classes)))
    assert joined([raw(21, 3), raw(28, 3)]).masks.shape == (4, 21, 21)
    with pytest.raises(InferenceError, match="3 and 6 classes"):
        joined([raw(21, 3), raw(21, 6)])


def test_boxes_of_stage_5_on_request(net, data, mini_cfg):
    few = detect_boxes(net, data.image(0), mini_cfg)
    mini_cfg.TEST.DET_STAGE5 = True
    more = detect_boxes(net, data.image(0), mini_cfg)
    assert len(more[1][0]) == 2 * len(few[1][0]) and not len(more[0][0])
    assert set(few[1][0][:, 4]) <= set(more[1][0][:, 4])


def test_the_best_leave_the_background_out():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    found = best_of(Raw(np.zeros((3, 4), np.float32), np.arange(3.0).reshape(3, 1, 1), scores), 2)
    assert len(found[0][0]) == 0
    np.testing.assert_allclose(found[1][0][:, 4], [0.8, 0.4])
    assert found[1][1].ravel().tolist() == [1, 2]


def test_instances_are_sorted_and_cut():
    none = np.zeros((0, 5)), np.zeros((0, 2, 2))
    one = np.array([[0, 0, 1, 1, 0.3], [0, 0, 2, 2, 0.7]]), np.ones((2, 2, 2))
    two = np.array([[0, 0, 3, 3, 0.9]]), np.zeros((1, 2, 2))
    found = Instances.from_detections([none, one, two], score=0.5)
    assert len(found) == 2 and found.labels.tolist() == [2, 1]
    assert found.boxes[:, 4].tolist() == [0.9, 0.7] and found.masks.shape == (2, 2, 2)
    assert len(Instances.from_detections([none, none])) == 0


def test_boxes_are_the_rois_where_regression_is_off(net, data, mini_cfg):
    mini_cfg.TEST.BBOX_REG = False
    found = detect_boxes(net, data.image(0), mini_cfg)
    scale = net.blobs["im_info"].data[0, 2]
    rois, _ = clip_boxes(net.blobs["rois"].data[:, 1:] / scale, data.image(0).shape[:2])
    for boxes, _ in found[1:]:
        np.testing.assert_allclose(boxes[np.lexsort(boxes[:, :4].T), :4],
                                   rois[np.lexsort(rois.T)], atol=1e-4)


def test_results_inside_better_ones_are_dropped_by_their_masks():
    """A ring and what lies in it: the ring's box holds it all, its mask none of the hole."""
    ring, disc = np.ones((10, 10), np.float32), np.ones((10, 10), np.float32)
    ring[3:7, 3:7] = 0
    boxes = np.array([[0, 0, 9, 9, .9], [3, 3, 6, 6, .8], [0, 0, 4, 1, .7], [8, 0, 17, 9, .95]])
    found = Detections(boxes, np.stack((ring, disc, disc, disc)))
    settings = replace(TestSettings.of(cfg), nested=0.8)

    def rows_left(given, settings):
        return unnested([given], settings)[0].boxes[:, 4].tolist()
    assert rows_left(found, settings) == [.9, .8, .95]          # in their order
    assert rows_left(found, TestSettings.of(cfg)) == [.9, .8, .7, .95]
    alone = Detections(boxes, np.zeros((4, 0, 0)))
    assert rows_left(alone, settings) == [.9, .95]              # of boxes there is no hole
    assert rows_left(found.rows(np.array([2])), settings) == [.7]


def test_the_number_of_results_is_a_setting(net, data, mini_cfg):
    counts = {}
    for most in (3, 100):
        mini_cfg.TEST.MAX_PER_IMAGE = most
        found = run_test(net, data, mini_cfg)
        counts[most] = [sum(len(per_image[i][0]) for per_image in found) for i in range(len(data))]
    assert all(0 < count <= 3 for count in counts[3]) and max(counts[100]) > 3
    mini_cfg.TEST.USE_MASK_MERGE, mini_cfg.TEST.MAX_PER_CLASS = False, 1
    found = run_test(net, data, mini_cfg)
    assert all(sum(len(boxes) for boxes, _ in per_image) <= len(data) for per_image in found)
