"""Projects of PSPNet, R-FCN and YOLO in small: their nets train here, and find what they learnt."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import caffe

SIDE = 32


def conv(name, bottom, outputs, kernel, more=""):
    return f"""layer {{ name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{name}'
      convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} {more}
                           weight_filler {{ type: 'msra' }} }} }}
    """


def relu(name):
    return f"layer {{ name: 'relu_{name}' type: 'ReLU' bottom: '{name}' top: '{name}' }}\n"


def inputs(**shapes):
    return "".join(
        f"layer {{ name: '{name}' type: 'Input' top: '{name}' input_param {{ shape {{ "
        f"{' '.join(f'dim: {n}' for n in shape)} }} }} }}\n" for name, shape in shapes.items())


def solver_of(folder, net, more):
    caffe.set_random_seed(1)
    (folder / "train.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(
        f"net: '{folder}/train.prototxt' lr_policy: 'fixed' display: 0 {more}")
    return caffe.get_solver(str(folder / "solver.prototxt"))


def scenes(count):
    """Images (count, 3, SIDE, SIDE) of a bright square on noise, and its corners (count, 4)."""
    random = np.random.default_rng(2)
    images = random.integers(0, 60, (count, 3, SIDE, SIDE)).astype(np.float32)
    size = random.integers(8, 15, count)
    left, top = (random.integers(0, SIDE - size) for _ in range(2))
    for image, x, y, n in zip(images, left, top, size):
        image[:, y:y + n, x:x + n] += 150
    return images, np.stack((left, top, left + size, top + size), 1)


# --- segmentation ------------------------------------------------------------------------------

def pyramid():
    """A PSPNet: BN, a pooled branch that Interp brings back to size, Interp to the image's size."""
    return conv("conv1", "data", 8, 3, "stride: 2 bias_term: false") + """
    layer { name: 'conv1/bn' type: 'BN' bottom: 'conv1' top: 'conv1/bn'
            bn_param { slope_filler { type: 'constant' value: 1 }
                       bias_filler { type: 'constant' value: 0 } frozen: false momentum: 0.9 } }
    """ + relu("conv1/bn") + conv("conv2", "conv1/bn", 8, 3, "hole: 2 pad: 2").replace(
        "pad: 1", "") + relu("conv2") + """
    layer { name: 'pool' type: 'Pooling' bottom: 'conv2' top: 'pool'
            pooling_param { pool: AVE kernel_size: 8 stride: 8 } }
    layer { name: 'pool_interp' type: 'Interp' bottom: 'pool' top: 'pool_interp'
            interp_param { height: 16 width: 16 } }
    layer { name: 'concat' type: 'Concat' bottom: 'conv2' bottom: 'pool_interp' top: 'concat' }
    """ + conv("conv6", "concat", 2, 1) + """
    layer { name: 'conv6_interp' type: 'Interp' bottom: 'conv6' top: 'conv6_interp'
            interp_param { height: 32 width: 32 } }
    """


def test_a_pspnet_learns_to_segment(tmp_path):
    images, corners = scenes(8)
    for i, (image, (left, top, right, bottom)) in enumerate(zip(images, corners)):
        labels = np.zeros((SIDE, SIDE), np.uint8)
        labels[top:bottom, left:right] = 1
        labels[0] = 255                                     # ignored
        cv2.imwrite(str(tmp_path / f"{i}.png"), image.transpose(1, 2, 0).astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"{i}_labels.png"), labels)
    (tmp_path / "list.txt").write_text("".join(f"/{i}.png /{i}_labels.png\n" for i in range(8)))
    net = f"""
    layer {{ name: 'data' type: 'ImageSegData' top: 'data' top: 'label'
      image_data_param {{ source: '{tmp_path}/list.txt' root_folder: '{tmp_path}' batch_size: 4
                          shuffle: true label_type: PIXEL }}
      transform_param {{ mirror: true crop_size: {SIDE} scale: 0.01 mean_value: 60
                         mean_value: 60 mean_value: 60 }} }}""" + pyramid() + """
    layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'conv6_interp' bottom: 'label' top: 'loss'
            loss_param { ignore_label: 255 } }
    layer { name: 'accuracy' type: 'SegAccuracy' bottom: 'conv6_interp' bottom: 'label'
            top: 'accuracy' seg_accuracy_param { ignore_label: 255 } }
    """
    solver = solver_of(tmp_path, net, "base_lr: 0.1 momentum: 0.9")
    solver.step(80)
    assert solver.net.blobs["loss"].data < 0.25
    assert solver.net.blobs["accuracy"].data.flat[0] > 0.9      # of pixels

    solver.net.save(str(tmp_path / "psp.caffemodel"))
    (tmp_path / "deploy.prototxt").write_text(inputs(data=(1, 3, SIDE, SIDE)) + pyramid())
    deployed = caffe.Net(str(tmp_path / "deploy.prototxt"), str(tmp_path / "psp.caffemodel"),
                         caffe.TEST)
    deployed.blobs["data"].data[0] = (images[0] - 60) / 100
    found = deployed.forward()["conv6_interp"][0].argmax(0)
    left, top, right, bottom = corners[0]
    wanted = np.zeros((SIDE, SIDE))
    wanted[top:bottom, left:right] = 1
    assert (found == wanted).mean() > 0.9


# --- R-FCN -------------------------------------------------------------------------------------

def votes(bottom, name, dim):
    """Maps of a position each, pooled by RoI and averaged: the end of every R-FCN."""
    return conv(f"rfcn_{name}", bottom, dim * 9, 1) + f"""
    layer {{ name: 'psroipooled_{name}' type: 'PSROIPooling' bottom: 'rfcn_{name}' bottom: 'rois'
             top: 'psroipooled_{name}'
             psroi_pooling_param {{ spatial_scale: 0.5 output_dim: {dim} group_size: 3 }} }}
    layer {{ name: 'ave_{name}' type: 'Pooling' bottom: 'psroipooled_{name}' top: '{name}'
             pooling_param {{ pool: AVE kernel_size: 3 stride: 3 }} }}
    """


# The end of py-R-FCN's train_ohem prototxts, with other sizes.
MINING = """
layer { name: "per_roi_loss_cls" type: "SoftmaxWithLossOHEM" bottom: "cls_score" bottom: "labels"
  top: "temp_loss_cls" top: "temp_prob_cls" top: "per_roi_loss_cls"
  loss_weight: 0 loss_weight: 0 loss_weight: 0 propagate_down: false propagate_down: false }
layer { name: "per_roi_loss_bbox" type: "SmoothL1LossOHEM" bottom: "bbox_pred"
  bottom: "bbox_targets" bottom: "bbox_inside_weights" top: "temp_loss_bbox"
  top: "per_roi_loss_bbox" loss_weight: 0 loss_weight: 0
  propagate_down: false propagate_down: false propagate_down: false }
layer { name: "per_roi_loss" type: "Eltwise" bottom: "per_roi_loss_cls" bottom: "per_roi_loss_bbox"
  top: "per_roi_loss" propagate_down: false propagate_down: false }
layer { name: "annotator_detector" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "per_roi_loss"
  bottom: "labels" bottom: "bbox_inside_weights" top: "labels_ohem" top: "bbox_loss_weights_ohem"
  box_annotator_ohem_param { roi_per_img: 8 ignore_label: -1 }
  propagate_down: false propagate_down: false propagate_down: false propagate_down: false }
layer { name: "silence" type: "Silence" bottom: "temp_loss_cls" bottom: "temp_prob_cls"
  bottom: "temp_loss_bbox" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "cls_score" bottom: "labels_ohem"
  top: "loss_cls" loss_weight: 1 loss_param { ignore_label: -1 }
  propagate_down: true propagate_down: false }
layer { name: "accuarcy" type: "Accuracy" bottom: "cls_score" bottom: "labels_ohem" top: "accuarcy"
  accuracy_param { ignore_label: -1 } propagate_down: false propagate_down: false }
layer { name: "loss_bbox" type: "SmoothL1LossOHEM" bottom: "bbox_pred" bottom: "bbox_targets"
  bottom: "bbox_loss_weights_ohem" top: "loss_bbox" loss_weight: 1
  loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 8 }
  propagate_down: true propagate_down: false propagate_down: false }
"""


def test_an_rfcn_learns_from_its_hardest_rois(tmp_path):
    images, corners = scenes(1)
    random = np.random.default_rng(3)
    rois = corners.repeat(32, 0) + random.integers(-8, 9, (32, 4))
    near = np.abs(rois - corners).max(1) < 5
    rois[near] = corners + random.integers(-1, 2, (near.sum(), 4))
    net = inputs(data=(1, 3, SIDE, SIDE), rois=(32, 5), labels=(32, 1, 1, 1),
                 bbox_targets=(32, 8, 1, 1), bbox_inside_weights=(32, 8, 1, 1)) \
        + conv("conv1", "data", 8, 5, "stride: 2") + relu("conv1") + conv("conv2", "conv1", 16, 5) \
        + relu("conv2") + votes("conv2", "cls_score", 2) + votes("conv2", "bbox_pred", 8) + MINING
    solver = solver_of(tmp_path, net, "base_lr: 0.02 momentum: 0.9")
    blobs = solver.net.blobs
    blobs["data"].data[...] = (images - 60) / 100
    blobs["rois"].data[:, 1:] = rois
    blobs["labels"].data[...] = near[:, None, None, None]
    blobs["bbox_targets"].data[:, 4:] = ((corners - rois) / 4)[..., None, None]
    blobs["bbox_inside_weights"].data[:, 4:] = near[:, None, None, None]
    solver.step(1)
    first = blobs["loss_cls"].data + blobs["loss_bbox"].data
    assert np.count_nonzero(blobs["labels_ohem"].data != -1) == 8
    solver.step(150)
    assert blobs["loss_cls"].data + blobs["loss_bbox"].data < first / 4
    assert (blobs["cls_score"].data[:, :, 0, 0].argmax(1) == near).mean() > 0.9


# --- YOLO --------------------------------------------------------------------------------------

BIASES = "biases: 1.0 biases: 1.0 biases: 1.8 biases: 1.8"      # in cells of 8 pixels


def darknet():
    return "".join(
        conv(f"conv{i}", f"pool{i - 1}" if i else "data", 16, 3) + relu(f"conv{i}") + f"""
        layer {{ name: 'pool{i}' type: 'Pooling' bottom: 'conv{i}' top: 'pool{i}'
                 pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}"""
        for i in range(3)) + conv("region", "pool2", 2 * 6, 3)


def test_a_yolo_learns_to_detect(tmp_path):
    images, corners = scenes(16)
    shares = corners / SIDE
    boxes = np.concatenate(((shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]), 1)
    net = inputs(data=(16, 3, SIDE, SIDE), label=(16, 5)) + darknet() + f"""
    layer {{ name: 'loss' type: 'RegionLoss' bottom: 'region' bottom: 'label' top: 'loss'
      region_loss_param {{ side: 4 num_class: 1 coords: 4 num: 2 softmax: 1 jitter: 0.2 rescore: 1
        object_scale: 5 noobject_scale: 1 class_scale: 1 coord_scale: 1 absolute: 1 thresh: 0.6
        {BIASES} }} }}"""
    solver = solver_of(tmp_path, net, "base_lr: 0.004 momentum: 0.9")
    solver.net.blobs["data"].data[...] = (images - 60) / 100
    solver.net.blobs["label"].data[:, 1:] = boxes
    solver.step(1)
    first = float(solver.net.blobs["loss"].data)
    solver.step(200)
    assert solver.net.blobs["loss"].data < first / 10

    solver.net.save(str(tmp_path / "yolo.caffemodel"))
    (tmp_path / "deploy.prototxt").write_text(
        inputs(data=(16, 3, SIDE, SIDE)) + darknet() + f"""
        layer {{ name: 'detection_out' type: 'YoloDetectionOutput' bottom: 'region'
          top: 'detection_out' yolo_detection_output_param {{ num_classes: 1 num_box: 2 side: 4
          coords: 4 confidence_threshold: 0.3 nms_threshold: 0.45 {BIASES} }} }}""")
    deployed = caffe.Net(str(tmp_path / "deploy.prototxt"), str(tmp_path / "yolo.caffemodel"),
                         caffe.TEST)
    deployed.blobs["data"].data[...] = solver.net.blobs["data"].data
    rows = deployed.forward()["detection_out"][0, 0]
    best = {int(row[0]): row for row in rows[::-1]}         # the first of an image
    assert sorted(best) == list(range(16))
    found = np.stack([best[i][3:] for i in range(16)])
    assert np.abs(found - shares).max(1).mean() == pytest.approx(0, abs=0.1)
