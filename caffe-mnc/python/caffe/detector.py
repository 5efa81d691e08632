"""`Detector`: scores for windows of images, as in R-CNN."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from caffe import io
from caffe.classifier import image_transformer
from caffe.engine.errors import CaffeError
from caffe.engine.layer import TEST
from caffe.engine.net.net import Net


class Detector(Net):
    """A net with one input, fed with windows of images through a Transformer.

    context_pad: pixels of surrounding context, in the net's input, on each side of a window.
    mean, input_scale, raw_scale, channel_swap: see `caffe.io.Transformer`.
    """

    def __init__(self, model_file: str, pretrained_file: str | None, mean: np.ndarray | None = None,
                 input_scale: float | None = None, raw_scale: float | None = None,
                 channel_swap: Sequence[int] | None = None, context_pad: int | None = None) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
        """Scores of windows (ymin, xmin, ymax, xmax) of image files.

        Gives one dictionary a window: "window", "prediction", "filename".
        """
        name = self.inputs[0]
        found: list[dict[str, Any]] = []
        data = []
        for filename, windows in images_windows:
            image = io.load_image(filename)
            for window in windows:
                data.append(self.transformer.preprocess(name, self.crop(image, window)))
                found.append({"window": window, "prediction": None, "filename": filename})
        if not found:
            return []
        arrays: dict[str, Any] = {name: np.array(data, np.float32)}
        scores = self.forward_all(**arrays)[self.outputs[0]]
        for detection, prediction in zip(found, scores):
            detection["prediction"] = prediction
        return found

    def detect_selective_search(self, image_fnames: Sequence[str]) -> list[dict[str, Any]]:
        """`detect_windows` on the proposals of the package selective_search_ijcv_with_python.

        Raises CaffeError where it cannot be imported.
        """
        try:
            import selective_search_ijcv_with_python as selective_search  # type: ignore
        except ImportError as error:
            raise CaffeError("detect_selective_search needs the MATLAB wrapper "
                             "selective_search_ijcv_with_python on the Python path; or make "
                             "windows with another program and call detect_windows") from error
        files = [os.path.abspath(name) for name in image_fnames]
        windows = selective_search.get_windows(files, cmd="selective_search_rcnn")
        return self.detect_windows(zip(files, windows))

    def crop(self, im: np.ndarray, window: Any) -> np.ndarray:
        """The window of an image (H, W, K); with context, resized to the net's input, the mean
        where the context leaves the image.

        Raises ValueError where context_pad leaves the window no room.
        """
        top, left, bottom, right = (int(n) for n in window)
        if not self.context_pad:
            return im[top:bottom, left:right]
        if not 0 < 2 * self.context_pad < min(self.crop_dims[:2]):
            raise ValueError(
                f"context_pad {self.context_pad}: the net's input of {self.crop_dims[0]} x "
                f"{self.crop_dims[1]} has no room for that on every side")
        rows = _Span(top, bottom, im.shape[0], self.crop_dims[0], self.context_pad)
        columns = _Span(left, right, im.shape[1], self.crop_dims[1], self.context_pad)
        inside = im[rows.first:rows.last, columns.first:columns.last]
        crop = np.ones(self.crop_dims, np.float32) * self.crop_mean
        crop[rows.place, columns.place] = io.resize_image(inside, (rows.size, columns.size))
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the context, and what stands for pixels outside: the mean, as an image has it."""
        name = self.inputs[0]
        options = self.transformer
        self.context_pad = context_pad
        back = np.argsort(options.transpose[name])
        self.crop_dims = np.array(self.blobs[name].shape[1:])[back]      # (H, W, K)
        self.crop_mean = np.zeros(self.crop_dims, np.float32)
        if not context_pad or name not in options.mean:
            return
        mean = options.mean[name]
        mean = (mean.reshape((1, *mean.shape)[-3:])).transpose(back)     # broadcasts to (H, W, K)
        if name in options.channel_swap:
            mean = mean[:, :, np.argsort(options.channel_swap[name])]
        self.crop_mean = np.broadcast_to(mean / options.raw_scale.get(name, 1), self.crop_dims)


class _Span:
    """One axis of a window with context: which pixels are read, and where they go in the crop."""

    def __init__(self, low: int, high: int, length: int, crop: int, pad: int) -> None:
        half, scale = (high - low + 1) / 2, crop / (crop - 2 * pad)
        first, last = (np.round(low + half + side * scale * half) for side in (-1, 1))
        zoom = crop / (last - first + 1)
        before = round(max(0.0, -first) * zoom)          # pixels of the crop outside the image
        self.first, self.last = (int(np.clip(edge, 0, length)) for edge in (first, last))
        if self.last <= self.first:
            raise ValueError(f"window {low} to {high} lies outside the image of {length} pixels")
        self.size = min(round((self.last - self.first + 1) * zoom), int(crop) - before)
        self.place = slice(before, before + self.size)
