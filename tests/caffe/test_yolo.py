"""YOLO's losses against loops over cells, what its layers find, and how that is judged."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

CLASSES, SIDE = 3, 4
BIASES = [1.5, 1.0, 0.5, 2.5]
# Class, x, y, width, height; the last two share a cell and an anchor, 0 ends the list.
OBJECTS = np.array([[2, 0.3, 0.6, 0.4, 0.3], [1, 0.8, 0.1, 0.1, 0.6], [0, 0.85, 0.2, 0.15, 0.5]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def iou(a, b):
    side = [min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2)
            - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)]
    both = max(0, side[0]) * max(0, side[1])
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def net(kind, param, options, count, tops=1, loss=True):
    names = "".join(f"top: 't{i}' " for i in range(tops))
    return Net.from_proto(read_net(
        f"force_backward: true input: 'x' input_shape {{ dim: 2 dim: {2 * (5 + CLASSES)} "
        f"dim: {SIDE} dim: {SIDE} }} input: 'label' input_shape {{ dim: 2 dim: {5 * count} }} "
        f"layer {{ name: 'l' type: '{kind}' bottom: 'x' bottom: 'label' {names} "
        f"{'loss_weight: 0.5' if loss else ''} {param} {{ {options} }} }}"), caffe.TRAIN,
        dtype="float64")


def fill(n, objects=OBJECTS):
    n.blobs["x"].data[...] = np.random.default_rng(3).normal(0, 1.2, n.blobs["x"].shape)
    n.blobs["label"].data[...] = 0
    n.blobs["label"].data.reshape(2, -1)[0, :objects.size] = objects.ravel()
    n.blobs["label"].data.reshape(2, -1)[1, :5] = objects[0]


def predicted(v, n, j, i, biases, unit):
    """The box that activated numbers v of anchor n at row j, column i stand for"""
    return [(i + v[0]) / SIDE, (j + v[1]) / SIDE, np.exp(v[2]) * biases[2 * n] / SIDE / unit,
            np.exp(v[3]) * biases[2 * n + 1] / SIDE / unit]


def region_deltas(x, objects, warm, rescore):
    d = np.zeros_like(x)
    for n, j, i in np.ndindex(2, SIDE, SIDE):
        v, out = x[n, :, j, i], d[n, :, j, i]
        p, box = sigmoid(v[4]), predicted([*sigmoid(v[:2]), *v[2:4]], n, j, i, BIASES, 1)
        if max(iou(box, o[1:]) for o in objects) <= 0.4:
            out[4] = 0.7 * p * p * (1 - p)
        if warm:
            s = sigmoid(v[:2])
            out[:2], out[2:4] = 0.01 * (s - 0.5) * s * (1 - s), 0.01 * v[2:4]
    for o in objects:
        i, j = int(o[1] * SIDE), int(o[2] * SIDE)
        n = int(np.argmax([iou([0, 0, BIASES[2 * k] / SIDE, BIASES[2 * k + 1] / SIDE],
                               [0, 0, *o[3:]]) for k in range(2)]))
        v, out = x[n, :, j, i], d[n, :, j, i]
        s, p = sigmoid(v[:2]), sigmoid(v[4])
        box = predicted([*s, *v[2:4]], n, j, i, BIASES, 1)
        out[:2] = 2 * (s - (o[1:3] * SIDE - [i, j])) * s * (1 - s)
        out[2:4] = 2 * (v[2:4] - np.log(o[3:] * SIDE / BIASES[2 * n:2 * n + 2]))
        out[4] = 3 * (p - (iou(box, o[1:]) if rescore else 1)) * p * (1 - p)
        soft = np.exp(v[5:]) / np.exp(v[5:]).sum()
        out[5:] = 1.5 * (soft - np.eye(CLASSES)[int(o[0])])
    return d


def yolo3_deltas(x, objects):
    active, d, unit = sigmoid(x), np.zeros_like(x), 8
    active[:, 2:4] = x[:, 2:4]
    pixels, mask = [12, 8, 64, 64, 4, 20], [0, 2]
    for n, j, i in np.ndindex(2, SIDE, SIDE):
        box = predicted(active[n, :, j, i], mask[n], j, i, pixels, unit)
        if max(iou(box, o[1:]) for o in objects) <= 0.4:
            d[n, 4, j, i] = active[n, 4, j, i]
    for o in objects:
        i, j = int(o[1] * SIDE), int(o[2] * SIDE)
        best = int(np.argmax([iou([0, 0, *np.array(pixels[2 * k:2 * k + 2]) / SIDE / unit],
                                  [0, 0, *o[3:]]) for k in range(3)]))
        if best not in mask:
            continue
        v, out = active[mask.index(best), :, j, i], d[mask.index(best), :, j, i]
        weight = 2 * (2 - o[3] * o[4])
        out[:2] = weight * (v[:2] - (o[1:3] * SIDE - [i, j]))
        out[2:4] = weight * (v[2:4] - np.log(o[3:] * SIDE * unit / pixels[2 * best:2 * best + 2]))
        out[4] = v[4] - 1
        if out[5]:
            out[5 + int(o[0])] = v[5 + int(o[0])] - 1
        else:
            out[5:] = 1.5 * (v[5:] - np.eye(CLASSES)[int(o[0])])
    return d


def compare(n, deltas, divisor):
    fill(n)
    x = n.blobs["x"].data.reshape(2, 2, 5 + CLASSES, SIDE, SIDE)
    wanted = np.stack([deltas(x[0], OBJECTS), deltas(x[1], OBJECTS[:1])])
    n.forward()
    np.testing.assert_allclose(n.blobs["t0"].data, (wanted ** 2).sum() / divisor, rtol=1e-6)
    n.backward()
    np.testing.assert_allclose(n.blobs["x"].diff.reshape(wanted.shape), 0.5 * wanted / 2,
                               rtol=1e-5, atol=1e-8)


REGION = (f"num: 2 num_class: {CLASSES} thresh: 0.4 noobject_scale: 0.7 coord_scale: 2 "
          "object_scale: 3 class_scale: 1.5 " + " ".join(f"biases: {b}" for b in BIASES))


@pytest.mark.parametrize("count, rescore", [(30, False), (40, True)])
def test_region_loss_is_the_rule(count, rescore):
    """Lists of 30 objects are those of caffe-yolov2, longer ones those of MobileNet-YOLO."""
    n = net("RegionLoss", "region_loss_param", REGION, count)
    for warm in (True, False):
        n.layers[-1].seen = 0 if warm else 12800
        compare(n, lambda x, o, w=warm: region_deltas(x, o, w, rescore), 2 if rescore else 1)


def test_yolov3_is_the_rule():
    options = (f"num: 2 num_class: {CLASSES} thresh: 0.4 coord_scale: 2 class_scale: 1.5 "
               "anchors_scale: 8 mask: 0 mask: 2 "
               + " ".join(f"biases: {b}" for b in (12, 8, 64, 64, 4, 20)))
    compare(net("Yolov3", "yolov3_param", options, 300), yolo3_deltas, 2)


def test_yolov3_with_giou_pulls_boxes_to_their_object():
    options = (f"num: 1 num_class: {2 * (5 + CLASSES) - 5} anchors_scale: 8 mask: 0 biases: 12 "
               "biases: 8 iou_loss: GIOU iou_normalizer: 1 coord_scale: 1")
    n = net("Yolov3", "yolov3_param", options, 300)
    objects = np.array([[1, 0.6, 0.6, 0.5, 0.3]])
    fill(n, objects)

    def share():
        v = n.blobs["x"].data[0, :4, 2, 2]
        return iou(predicted([*sigmoid(v[:2]), *v[2:4]], 0, 2, 2, [12, 8], 8), objects[0, 1:])

    before = share()
    for _ in range(60):
        n.forward()
        n.backward()
        n.blobs["x"].data[...] -= n.blobs["x"].diff
    assert share() > max(0.9, before)


def test_anchors_must_fit():
    n = net("RegionLoss", "region_loss_param", REGION, 2)
    n.blobs["x"].reshape(2, 15, 4, 4)
    with pytest.raises(LayerError, match="must be .N, 16, H, W. for 2 anchors and 3 classes"):
        n.forward()
    with pytest.raises(LayerError, match=r"mask must name num = 2 of the 1 anchors"):
        net("Yolov3", "yolov3_param", "num: 2 biases: 1 biases: 2 mask: 0", 3)


def certain(*cells):
    """Predictions (2, A F, H, W) that are sure of a class at (image, anchor, row, column, class)"""
    x = np.full((2, 2, 5 + CLASSES, SIDE, SIDE), -8.0)
    x[:, :, :4] = 0
    for image, anchor, row, column, label in cells:
        x[image, anchor, 4, row, column] = x[image, anchor, 5 + label, row, column] = 8
    return x.reshape(2, -1, SIDE, SIDE)


@pytest.mark.parametrize("kind, param, options", [
    ("YoloDetectionOutput", "yolo_detection_output_param", "num_box: 2 confidence_threshold: 0.5 "
     + " ".join(f"biases: {b}" for b in BIASES)),
    ("Yolov3DetectionOutput", "yolov3_detection_output_param", "num_box: 2 mask: 0 mask: 2 "
     "confidence_threshold: 0.5 anchors_scale: 8 mask_group_num: 1 "
     + " ".join(f"biases: {8 * b}" for b in (*BIASES[:2], 9, 9, *BIASES[2:])))])
def test_detections_are_boxes_of_their_cells(kind, param, options):
    n = Net.from_proto(read_net(
        f"input: 'x' input_shape {{ dim: 2 dim: 16 dim: 4 dim: 4 }} layer {{ name: 'l' "
        f"type: '{kind}' bottom: 'x' top: 'y' {param} {{ num_classes: 3 {options} }} }}"),
        caffe.TEST)
    n.blobs["x"].data[...] = certain((1, 0, 2, 1, 2), (1, 1, 0, 3, 0), (1, 0, 2, 1, 2))
    rows = n.forward()["y"][0, 0]
    assert rows[:, :2].tolist() in ([[1, 3], [1, 1]], [[1, 1], [1, 3]])
    by_label = {int(row[1]): row[3:] for row in rows}
    np.testing.assert_allclose(by_label[3], [(1.5 - 0.75) / 4, (2.5 - 0.5) / 4, (1.5 + 0.75) / 4,
                                             (2.5 + 0.5) / 4], rtol=1e-5)
    np.testing.assert_allclose(by_label[1], [(3.5 - 0.25) / 4, (0.5 - 1.25) / 4, (3.5 + 0.25) / 4,
                                             (0.5 + 1.25) / 4], rtol=1e-5)
    n.blobs["x"].data[...] = certain()
    np.testing.assert_array_equal(n.forward()["y"][0, 0, :, 0], [0, 1])
    assert (n.blobs["y"].data[0, 0, :, 1:] == -1).all()


def test_evaluation_of_the_second_version():
    n = net("EvalDetection", "eval_detection_param", f"side: {SIDE} num_class: {CLASSES} "
            "num_object: 2 nms: 0.5 " + " ".join(f"biases: {b}" for b in BIASES), 30, loss=False)
    n.blobs["x"].data[...] = certain((0, 0, 2, 1, 2), (0, 1, 0, 3, 0), (1, 0, 0, 0, 1))
    n.blobs["label"].data[...] = 0
    n.blobs["label"].data.reshape(2, -1)[0, :10] = [2, 0.375, 0.625, 0.3, 0.3, 0, 0.1, 0.1, 1, 1]
    n.forward()
    first, second = n.blobs["t0"].data
    assert first[:3].tolist() == [1, 0, 1] and not second[:3].any()
    rows = first[3:].reshape(-1, 4)
    assert rows[rows[:, 1] > 0.5].round(2).tolist() == [[0, 1, 0, 1], [2, 1, 1, 0]]


def test_evaluation_of_the_first_version():
    """Cells hold the classes, then objectness, then boxes; difficult objects count nothing."""
    n = Net.from_proto(read_net(
        "input: 'x' input_shape { dim: 1 dim: 28 } input: 'label' input_shape { dim: 1 dim: 28 } "
        "layer { name: 'l' type: 'EvalDetection' bottom: 'x' bottom: 'label' top: 'y' "
        "eval_detection_param { side: 2 num_class: 2 num_object: 1 nms: 0.5 sqrt: true } }"),
        caffe.TEST)
    x = np.zeros((7, 4))
    x[0], x[1] = [1, 0, 0.9, 0], [0, 1, 0, 0.8]         # classes of the four cells
    x[2] = [0.9, 0.7, 0.5, 0.3]                         # objectness
    x[3:5], x[5:] = 0.5, 0.5                            # boxes: middles, sides of 0.25
    label = np.zeros(28)
    label[0:4], label[4:8], label[8:12] = [0, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]
    label[12:20] = [0.25, 0.25, 0.25, 0.25, 0.75, 0.25, 0.25, 0.25]
    n.blobs["x"].data[...], n.blobs["label"].data[...] = x.reshape(1, -1), label
    row = n.forward()["y"][0]
    assert row[:2].tolist() == [1, 0]
    wanted = [[0, 0.9, 1, 0], [0, 0.45, 0, 1], [1, 0.7, 0, 0], [1, 0.24, 0, 1]]
    np.testing.assert_allclose(row[2:].reshape(-1, 4), wanted, rtol=1e-5)
