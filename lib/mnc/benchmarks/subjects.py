"""What is timed: a test net or a training iteration on one image, and the same done plainly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import caffe
from caffe import ops
from caffe.layer_types import convolution
from mnc.config import cfg
from mnc.data.dataset import Dataset
from mnc.data.imdb import get_dataset
from mnc.data.roidb import prepare
from mnc.inference.calibration import Calibration
from mnc.inference.cascade import segment_image
from mnc.inference.networks import optimize, run_net
from mnc.inference.settings import TestSettings
from mnc.nets import generate
from mnc.training.loop import SolverWrapper

CLASSES = 21


@dataclass(frozen=True)
class Plan:
    """What to time. weights: None draws them; reference: the straightforward port, too."""

    net: str
    task: str
    weights: str | None = None
    reference: bool = False


@dataclass
class Subject:
    """A net, what one run of it is, and the same on the straightforward port."""

    net: caffe.Net
    works: dict[str, Callable[[], object]]
    reference: Callable[[], object] | None
    solver: Any = None          # of a net in training


def testing(plan: Plan, image: np.ndarray, folder: Path) -> Subject:
    """A test net on an image (H, W, 3), its prototxt written into `folder`."""
    side = min(image.shape[:2])
    prototxt = next(p for p in generate(plan.net, plan.task, folder, classes=CLASSES)
                    if p.name == "test.prototxt")
    net, *others = [caffe.Net(str(prototxt), caffe.TEST) for _ in range(1 + plan.reference)]
    if plan.weights:
        net.copy_from(plan.weights, required=True)
    fill_blank(net)
    cfg.TEST.SCALES = (side,)
    settings = TestSettings.of(cfg)
    optimize(net, cfg.TEST.PRECISION, cfg.TEST.BACKEND,
             Calibration([image], settings) if cfg.TEST.PRECISION == "int8" else None)
    works = {"net": lambda: run_net(net, image, settings),
             "image to masks": lambda: segment_image(net, image, settings)}
    for plain in others:
        plain.share_with(net)
    return Subject(net, works, straightforward(lambda: run_net(others[0], image, settings))
                   if plan.reference else None)


def training(plan: Plan, image: np.ndarray, folder: Path) -> Subject:
    """A solver's iteration on an image (H, W, 3); all files go into `folder`."""
    cfg.TRAIN.SCALES = (min(image.shape[:2]),)
    cfg.TRAIN.USE_FLIPPED = False
    cfg.TRAIN.PRECISION = cfg.TEST.PRECISION        # where the command's --precision lies
    dataset = one_image_data(folder, image)
    solver_file = generate(plan.net, plan.task, folder / "net", classes=CLASSES)[-1]
    roidb, maskdb = prepare(dataset, False)
    wrapper = SolverWrapper(solver_file, roidb, maskdb, folder, plan.weights)
    solver = wrapper.solver
    fill_blank(solver.net)
    solver.param.iter_size = 1          # an iteration is one image here
    return Subject(solver.net, {"net": lambda: solver.step(1)},
                   straightforward(lambda: solver.step(1)) if plan.reference else None, solver)


def straightforward(work: Callable[[], object]) -> Callable[[], None]:
    """The work with layers one by one, planes in Caffe's order, region layers by references."""
    def plainly() -> None:
        with _caffes_order(), ops.references():
            work()
    return plainly


@contextmanager
def _caffes_order() -> Iterator[None]:
    convolution.CHANNELS_LAST = False
    try:
        yield
    finally:
        convolution.CHANNELS_LAST = True


# --- weights and images --------------------------------------------------------------------------

def fill_blank(net: caffe.Net) -> None:
    """Draw the parameters that are all zero, so that activations keep their size (He et al.), which
    is about 1 after the first layer and smaller in predictions: then RoIs are spread over the
    image, as in a trained net.
    """
    generator = torch.Generator().manual_seed(0)
    for name, blobs in net.params.items():
        weight = blobs[0].tensor
        if weight.dim() > 1 and not weight.norm(float("inf")):
            first = weight.shape[1] == 3
            size = 0.01 if first else 0.1 if "pred" in name or "score" in name else 1.0
            deviation = size * (2 / weight[0].numel()) ** 0.5
            weight.normal_(0, deviation, generator=generator)


def noise_image(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: smooth random blobs, which survive JPEG and resizing."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def one_image_data(folder: Path, image: np.ndarray) -> Dataset:
    """A data set of this image with eight rectangles to learn. image (H, W, 3) uint8 BGR."""
    height, width = image.shape[:2]
    cv2.imwrite(str(folder / "image.png"), image)
    boxes = [(x * width // 4 + 10, y * height // 2 + 10, width // 5, height // 3)
             for x in range(4) for y in range(2)]
    found = [{"id": i + 1, "image_id": 1, "category_id": i + 1, "iscrowd": 0, "area": w * h,
              "bbox": [x, y, w, h],
              "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
             for i, (x, y, w, h) in enumerate(boxes)]
    content = {"images": [{"id": 1, "file_name": "image.png", "height": height, "width": width}],
               "annotations": found,
               "categories": [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES)]}
    (folder / "image.json").write_text(json.dumps(content))
    return get_dataset(f"coco:{folder / 'image.json'}:{folder}")
