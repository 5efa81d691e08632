"""`Classifier`: a net that takes images of any size and gives class scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffe import io
from caffe.engine.errors import CaffeError
from caffe.engine.layer import TEST
from caffe.engine.net.net import Net


class Classifier(Net):
    """A net with one input, fed through a Transformer.

    image_dims: (H, W) to which images are resized before crops of the net's input size are taken;
    by default that size. mean, input_scale, raw_scale, channel_swap: see `caffe.io.Transformer`.
    """

    def __init__(self, model_file: str, pretrained_file: str | None,
                 image_dims: Sequence[int] | None = None, mean: np.ndarray | None = None,
                 input_scale: float | None = None, raw_scale: float | None = None,
                 channel_swap: Sequence[int] | None = None) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        shape = self.blobs[self.inputs[0]].shape
        self.crop_dims = np.array(shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else np.array(image_dims)

    def predict(self, inputs: Sequence[np.ndarray], oversample: bool = True) -> np.ndarray:
        """Scores (N, K) of N images (H, W, channels), RGB in [0, 1].

        oversample: average over ten crops (corners, centre, mirrored); else the centre alone.
        """
        images = np.array([io.resize_image(image, self.image_dims) for image in inputs])
        crops = io.oversample(images, self.crop_dims) if oversample else self._centre(images)
        name = self.inputs[0]
        data = np.array([self.transformer.preprocess(name, crop) for crop in crops], np.float32)
        arrays: dict[str, Any] = {name: data}
        scores = self.forward_all(**arrays)[self.outputs[0]]
        return scores.reshape(len(scores) // 10, 10, -1).mean(1) if oversample else scores

    def _centre(self, images: np.ndarray) -> np.ndarray:
        """(N, *image_dims, K) -> (N, *crop_dims, K)"""
        top, left = (np.array(self.image_dims) / 2 - self.crop_dims / 2).astype(int)
        height, width = self.crop_dims
        return images[:, top:top + height, left:left + width]


def image_transformer(net: Net, mean: np.ndarray | None, input_scale: float | None,
                      raw_scale: float | None,
                      channel_swap: Sequence[int] | None) -> io.Transformer:
    """What feeds images (H, W, K) to the first input of `net`; CaffeError if it has none."""
    if not net.inputs:
        raise CaffeError(f'net "{net.name}" has no input for images; take the deploy.prototxt, '
                         "which begins with an Input layer or `input:`, not the one of training")
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer
