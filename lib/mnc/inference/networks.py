"""Test nets: loading, optimising, running one on an image, joining what several say."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import caffe
from mnc.config import BACKENDS, TEST_PRECISIONS
from mnc.data.images import prepare_image, scale_for
from mnc.inference.settings import TestSettings
from mnc.instances import InferenceError, Raw
from mnc.masks.rendering import resize

if TYPE_CHECKING:
    from mnc.inference.calibration import Calibration

log = logging.getLogger("mnc")

SHRUNK = 0.5                # of the short side that a net wants: with less, small things are lost
READ = ("rois", "mask_proposal", "mask_prob", "seg_cls_prob", "cls_prob", "bbox_pred")
Nets = caffe.Net | Sequence[caffe.Net]


def load_net(prototxt: str | os.PathLike, weights: str | os.PathLike,
             precision: str = "fp32", backend: str = "torch",
             calibration: Calibration | None = None) -> caffe.Net:
    """The test net with its weights, named after the weight file, optimised.

    Raises FileNotFoundError if there is no such weight file, InferenceError for a net that takes
    no images, or a precision or backend that is not one of TEST_PRECISIONS and BACKENDS.
    """
    weights = Path(weights)
    if not weights.exists():
        raise FileNotFoundError(f"{weights}: no such weight file")
    net = caffe.Net(str(prototxt), caffe.TEST)
    if "data" not in net.inputs:
        raise InferenceError(f'{prototxt}: the net has no input "data" for images, as one of '
                             "training has none; name its test.prototxt")
    net.copy_from(str(weights), required=True)
    net.name = weights.name.removesuffix(".h5").removesuffix(".caffemodel")
    optimize(net, precision, backend, calibration)
    return net


def optimize(net: caffe.Net, precision: str = "fp32", backend: str = "torch",
             calibration: Calibration | None = None) -> None:
    """Let a test net compute no more than the blobs that are read here, in one of TEST_PRECISIONS,
    its dense part by one of BACKENDS. For int8 it runs the images of `calibration` first.

    Raises InferenceError for others, ImportError for a backend that is not installed.
    """
    if precision not in TEST_PRECISIONS:
        raise InferenceError(f"precision {precision!r} (TEST.PRECISION, --precision): it is one of "
                             f"{', '.join(TEST_PRECISIONS)}")
    if backend not in BACKENDS:
        raise InferenceError(f"backend {backend!r} (TEST.BACKEND, --backend): it is one of "
                             f"{', '.join(BACKENDS)}")
    names = (f"{name}{suffix}" for name in READ for suffix in ("", "_ext"))
    net.optimize([name for name in names if name in net.blobs],
                 precision={"bf16": "bfloat16", "int8": "int8"}.get(precision), backend=backend,
                 calibrate=calibration.inputs(net, net_inputs) if calibration else None)


def run_net(net: caffe.Net, image: np.ndarray, settings: TestSettings,
            short_side: int | None = None) -> float:
    """Forward of one BGR image (H, W, 3) at a scale (the first of settings.scales); the factor."""
    inputs, scale = net_inputs(image, settings, short_side)
    for name, value in inputs.items():
        blob_of(net, name).reshape(*value.shape)
    net.forward(**inputs)
    return scale


@lru_cache(maxsize=256)
def tell_of_shrunk(size: tuple[int, int], short_side: int, longest: int) -> None:
    """Warn, once for a (height, width), where the limit of the long side shrinks the short one.

    short_side, longest: TEST.SCALES' largest and TEST.MAX_SIZE.
    """
    scale = scale_for(*size, short_side, longest)
    height, width = size
    if min(size) * scale < SHRUNK * short_side:
        log.warning("an image of %d x %d pixels is seen as %d x %d, since TEST.MAX_SIZE is %d, and "
                    "what is small in it is lost; --set TEST.TILES %d sees it in parts of that "
                    "side", width, height, round(width * scale), round(height * scale), longest,
                    min(size))


def net_inputs(image: np.ndarray, settings: TestSettings,
               short_side: int | None = None) -> tuple[dict[str, Any], float]:
    """(the arrays of a net's input blobs for a BGR image (H, W, 3), the factor of its scale)"""
    scaled, scale = prepare_image(image, settings.pixel_means, short_side or settings.scales[0],
                                  settings.max_size)
    data = np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)        # (1, 3, h, w)
    return {"data": data, "im_info": np.array([[*data.shape[2:], scale]], np.float32)}, scale


def blob_of(net: caffe.Net, name: str):
    """The blob; InferenceError where this net has none of that name."""
    if name not in net.blobs:
        raise InferenceError(f'net "{net.name}" has no blob "{name}", so it is not one for this '
                             "task: cascades do seg and det, Faster R-CNN det, CFM nets cfm")
    return net.blobs[name]


def as_list(net: Nets) -> list[caffe.Net]:
    """One net or several as a list."""
    return [net] if isinstance(net, caffe.Net) else list(net)


def joined(parts: Sequence[Raw]) -> Raw:
    """One after the other; masks of another side than the first's are resized to it.

    Raises InferenceError where the numbers of classes differ.
    """
    classes = sorted({part.scores.shape[1] for part in parts})
    if len(classes) > 1:
        raise InferenceError(f"nets for {' and '.join(map(str, classes))} classes (background "
                             "included) cannot be used together")
    masks = [_of_side(part.masks, parts[0].masks.shape[-1]) for part in parts]
    return Raw(np.concatenate([part.boxes for part in parts]), np.concatenate(masks),
               np.concatenate([part.scores for part in parts]))


def _of_side(masks: np.ndarray, side: int) -> np.ndarray:
    if masks.shape[-1] == side:
        return masks
    resized = [resize(mask, side, side) for mask in masks]
    return np.array(resized, np.float32).reshape(-1, side, side)
