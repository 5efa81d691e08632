#!/usr/bin/env python3
"""Draw a small VOC set, and write for it what SSD's ssd_pascal.py writes: nets and a solver

    python experiments/ssd/shapes.py FOLDER [--train 400] [--test 100] [--iterations 800]

docs/forks.md says what to do with it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "caffe-mnc/python"), str(Path(__file__).parent)]

from draw_voc import CLASSES, draw_set  # noqa: E402

from caffe.model_libs import (  # noqa: E402
    ConvBNLayer,
    CreateAnnotatedDataLayer,
    CreateMultiBoxHead,
    L,
    P,
    caffe,
    caffe_pb2,
)

NUM_CLASSES = len(CLASSES) + 1
SIDE, TEST_BATCH = 96, 10
BODY = ((16, 2), (32, 2), (48, 1), (64, 2), (64, 1), (96, 2), (96, 2))
SOURCES = {"conv5": (16, 32), "conv6": (32, 56), "conv7": (56, 84)}     # min and max size
RESIZE = {"prob": 1, "resize_mode": P.Resize.WARP, "height": SIDE, "width": SIDE}
MEAN = [104, 117, 123]


def train_transform() -> dict[str, Any]:
    """As ssd_pascal.py's, with less expansion."""
    interpolation = [P.Resize.LINEAR, P.Resize.AREA, P.Resize.NEAREST, P.Resize.CUBIC,
                     P.Resize.LANCZOS4]
    return {"mirror": True, "mean_value": MEAN, "scale": 1 / 64,
            "resize_param": {**RESIZE, "interp_mode": interpolation},
            "distort_param": {
                "brightness_prob": 0.5, "brightness_delta": 32, "contrast_prob": 0.5,
                "contrast_lower": 0.5, "contrast_upper": 1.5, "hue_prob": 0.5, "hue_delta": 18,
                "saturation_prob": 0.5, "saturation_lower": 0.5, "saturation_upper": 1.5},
            "expand_param": {"prob": 0.3, "max_expand_ratio": 1.5},
            "emit_constraint": {"emit_type": caffe_pb2.EmitConstraint.CENTER}}


def batch_sampler() -> list[dict[str, Any]]:
    """The whole image, or a part of it that overlaps an object by 0.1, 0.3 or 0.5"""
    sampler = {"min_scale": 0.7, "max_scale": 1.0, "min_aspect_ratio": 0.5, "max_aspect_ratio": 2.0}
    return [{"max_trials": 1, "max_sample": 1},
            *({"sampler": sampler, "max_trials": 50, "max_sample": 1,
               "sample_constraint": {"min_jaccard_overlap": overlap}}
              for overlap in (0.1, 0.3, 0.5))]


def body(net: caffe.NetSpec) -> list[Any]:
    """Seven convolutions and the heads on three maps; returns their codes, scores and priors"""
    last = "data"
    for number, (width, stride) in enumerate(BODY, 1):
        ConvBNLayer(net, last, f"conv{number}", use_bn=True, use_relu=True, num_output=width,
                    kernel_size=3, pad=1, stride=stride, moving_average_fraction=0.9)
        last = f"conv{number}"
    return CreateMultiBoxHead(
        net, data_layer="data", num_classes=NUM_CLASSES, from_layers=list(SOURCES),
        min_sizes=[least for least, _ in SOURCES.values()],
        max_sizes=[most for _, most in SOURCES.values()], aspect_ratios=[[2]] * len(SOURCES),
        use_batchnorm=False, kernel_size=3, pad=1, clip=False,
        prior_variance=[0.1, 0.1, 0.2, 0.2])


def train_net(folder: Path) -> caffe.NetSpec:
    """To the loss"""
    net = caffe.NetSpec()
    net.data, net.label = CreateAnnotatedDataLayer(
        f"{folder}/trainval_lmdb", batch_size=16, label_map_file=f"{folder}/labelmap_voc.prototxt",
        transform_param=train_transform(), batch_sampler=batch_sampler())
    net.mbox_loss = L.MultiBoxLoss(
        *body(net), net.label, include={"phase": caffe_pb2.Phase.Value("TRAIN")},
        propagate_down=[True, True, False, False],
        loss_param={"normalization": P.Loss.VALID},
        multibox_loss_param={
            "loc_loss_type": P.MultiBoxLoss.SMOOTH_L1, "conf_loss_type": P.MultiBoxLoss.SOFTMAX,
            "num_classes": NUM_CLASSES, "overlap_threshold": 0.5, "neg_pos_ratio": 3,
            "neg_overlap": 0.5, "code_type": P.PriorBox.CENTER_SIZE,
            "mining_type": P.MultiBoxLoss.MAX_NEGATIVE})
    return net


def test_net(folder: Path) -> caffe.NetSpec:
    """To the comparison of what is found with what is there"""
    net = caffe.NetSpec()
    net.data, net.label = CreateAnnotatedDataLayer(
        f"{folder}/test_lmdb", batch_size=TEST_BATCH, train=False,
        label_map_file=f"{folder}/labelmap_voc.prototxt",
        transform_param={"mean_value": MEAN, "scale": 1 / 64, "resize_param": RESIZE})
    found = detections(net)
    net.detection_eval = L.DetectionEvaluate(
        found, net.label, include={"phase": caffe_pb2.Phase.Value("TEST")},
        detection_evaluate_param={"num_classes": NUM_CLASSES, "overlap_threshold": 0.5,
                                  "evaluate_difficult_gt": False,
                                  "name_size_file": f"{folder}/test_name_size.txt"})
    return net


def deploy_net() -> caffe.NetSpec:
    """From an image to detections"""
    net = caffe.NetSpec()
    net.data = L.Input(shape={"dim": [1, 3, SIDE, SIDE]})
    detections(net)
    return net


def detections(net: caffe.NetSpec) -> Any:
    """The top of a DetectionOutput"""
    codes, scores, priors = body(net)
    net.mbox_conf_reshape = L.Reshape(scores, shape={"dim": [0, -1, NUM_CLASSES]})
    net.mbox_conf_softmax = L.Softmax(net.mbox_conf_reshape, axis=2)
    net.mbox_conf_flatten = L.Flatten(net.mbox_conf_softmax, axis=1)
    net.detection_out = L.DetectionOutput(
        codes, net.mbox_conf_flatten, priors, include={"phase": caffe_pb2.Phase.Value("TEST")},
        detection_output_param={
            "num_classes": NUM_CLASSES, "nms_param": {"nms_threshold": 0.45, "top_k": 400},
            "keep_top_k": 200, "confidence_threshold": 0.01, "code_type": P.PriorBox.CENTER_SIZE})
    return net.detection_out


def solver(folder: Path, test: int, iterations: int) -> Any:
    """Adam with two steps, for the net begins from nothing; mAP every eighth"""
    return caffe_pb2.SolverParameter(
        train_net=f"{folder}/train.prototxt", test_net=[f"{folder}/test.prototxt"],
        test_iter=[-(-test // TEST_BATCH)], test_interval=max(1, iterations // 8),
        test_initialization=False, eval_type="detection", ap_version="11point",
        show_per_class_result=True, base_lr=0.003, momentum=0.9, weight_decay=0.0001,
        lr_policy="multistep", gamma=0.1, stepvalue=[iterations * 3 // 5, iterations * 17 // 20],
        iter_size=1, average_loss=10, display=max(1, iterations // 40), max_iter=iterations,
        snapshot=iterations, snapshot_prefix=f"{folder}/shapes_ssd", type="Adam", random_seed=1,
        solver_mode=caffe_pb2.SolverParameter.CPU, snapshot_after_train=True)


def write(folder: Path, *, train: int, test: int, iterations: int) -> None:
    """Draw the set and write nets and solver into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_set(folder, train=train, test=test)
    texts = {"train": train_net(folder).to_proto(), "test": test_net(folder).to_proto(),
             "deploy": deploy_net().to_proto(), "solver": solver(folder, test, iterations)}
    for name, text in texts.items():
        (folder / f"{name}.prototxt").write_text(str(text))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where everything goes")
    parser.add_argument("--train", type=int, default=400, help="images to train on")
    parser.add_argument("--test", type=int, default=100, help="images to test on")
    parser.add_argument("--iterations", type=int, default=800)
    args = parser.parse_args()
    write(args.folder, train=args.train, test=args.test, iterations=args.iterations)


if __name__ == "__main__":
    main()
