"""WindowData: windows of images, some of objects and some of background."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from caffe.data.batches import Batches, Place
from caffe.data.images import decode_image
from caffe.data.transform import read_mean
from caffe.data.windows import Window, WindowList, context_crop, cut, plain_crop, read_window_file
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, exactly
from caffe.layer_types.batches import BatchLayer, reshape_tops


class WindowBatches(Batches):
    """Each batch is drawn by itself: background first, then fg_fraction of foreground."""

    def __init__(self, batch_size: int, seed: int, listed: WindowList, param: Any) -> None:
        super().__init__(batch_size, seed)
        self.options, transform = param.window_data_param, param.transform_param
        self.channels, self.size = listed.channels, transform.crop_size
        self.mirror = transform.mirror
        source = self.options if self.options.HasField("scale") else transform
        self.scale = np.float32(source.scale)
        self.mean = self._mean_of(transform)
        self.foreground = [w for w in listed.windows if w.overlap >= self.options.fg_threshold]
        self.background = [replace(w, label=0, overlap=0.0) for w in listed.windows
                           if w.overlap < min(self.options.bg_threshold, self.options.fg_threshold)]
        self.num_foreground = int(np.float32(batch_size) * np.float32(self.options.fg_fraction))
        self.content = lru_cache(None)(_content) if self.options.cache_images else _content
        self._check()

    def __str__(self) -> str:
        return self.options.source

    def _check(self) -> None:
        if any(w.label < 1 for w in self.foreground):
            raise ValueError(f"{self.options.source}: windows with an overlap of "
                             f"{self.options.fg_threshold:g} (fg_threshold) or more need a label "
                             f"above 0")
        wanted = (("foreground", self.foreground, self.num_foreground),
                  ("background", self.background, self.batch_size - self.num_foreground))
        for kind, windows, count in wanted:
            if count and not windows:
                raise ValueError(f"{self.options.source}: holds no {kind} windows, but each batch "
                                 f"takes {count}")

    def _mean_of(self, transform: Any) -> np.ndarray | None:
        """(C, size, size): the middle of the mean image, or mean_value in every place"""
        if transform.HasField("mean_file") and transform.mean_value:
            raise ValueError("transform_param: mean_file and mean_value exclude each other")
        if transform.HasField("mean_file"):
            mean = read_mean(transform.mean_file)
            start = (mean.shape[2] - self.size) // 2
            part = mean[:, start:start + self.size, start:start + self.size]
            if start < 0 or part.shape != (self.channels, self.size, self.size):
                raise ValueError(f"{transform.mean_file}: a mean of shape {mean.shape} does not "
                                 f"cover {self.channels} channels of crop_size {self.size}")
            return part
        if len(transform.mean_value) not in (0, 1, self.channels):
            raise ValueError(f"{len(transform.mean_value)} mean_value for {self.channels} "
                             f"channels; give one, or one a channel")
        if not transform.mean_value:
            return None
        values = np.array(transform.mean_value, np.float32)[:, None, None]
        return np.broadcast_to(values, (self.channels, self.size, self.size))

    def run(self, place: Place) -> Iterator[tuple[tuple[np.ndarray, ...] | None, Place]]:
        rank, count = self.share
        number = place.batch
        while True:
            arrays = self.draw(self.random_of_batch(number + rank)) if self.is_due(number) else None
            number += count
            yield arrays, Place(number)

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        images = np.zeros((self.batch_size, self.channels, self.size, self.size), np.float32)
        labels = np.zeros(self.batch_size, np.float32)
        for i in range(self.batch_size):
            is_foreground = i >= self.batch_size - self.num_foreground
            windows = self.foreground if is_foreground else self.background
            window = windows[random.integers(len(windows))]
            flip = bool(self.mirror and random.integers(2))
            try:
                self.put(images[i], window, flip)
            except ValueError as error:
                raise ValueError(f"{window.image}: {error}") from error
            labels[i] = window.label
        return images, labels

    def put(self, target: np.ndarray, window: Window, flip: bool) -> None:
        """Write the pixels of a window into `target` (C, size, size)."""
        image = decode_image(self.content(window.image), window.image)
        if len(image) != self.channels:
            raise ValueError(f"the window file announces {self.channels} channels, images are "
                             f"read with {len(image)}")
        square, context = self.options.crop_mode == "square", self.options.context_pad
        crop = plain_crop(window.box, self.size) if not (square or context) else \
            context_crop(window.box, image.shape[1:], self.size, context, square=square)
        pixels, place = cut(image, crop, self.size, flip=flip)
        if self.mean is not None:
            pixels -= self.mean[place]
        target[place] = pixels * self.scale


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@LAYERS.register("WindowData")
class WindowData(BatchLayer):
    """top: windows (N, C, crop_size, crop_size), warped, and their labels (N,), 0 = background

    source: a window file. Overlap >= fg_threshold makes foreground, < bg_threshold background; of
    each batch fg_fraction is foreground. context_pad pixels of each side of the crop show what is
    around the window; free places are 0. crop_mode: warp or square.
    """

    num_top = exactly(2)

    def open(self, top):
        options, crop = self.param.window_data_param, self.param.transform_param.crop_size
        self.positive(crop, "transform_param.crop_size")
        if options.crop_mode not in ("warp", "square"):
            raise LayerError(f'{self.title}: crop_mode is warp or square, got '
                             f'"{options.crop_mode}"')
        if 2 * options.context_pad >= crop:
            raise LayerError(f"{self.title}: context_pad {options.context_pad} leaves nothing of "
                             f"crop_size {crop} for the window")
        size = self.positive(options.batch_size, "window_data_param.batch_size")
        if self.param.transform_param.HasField("mean_file"):
            read_mean(self.param.transform_param.mean_file)     # of the two, Caffe misses it first
        listed = read_window_file(options.source, options.root_folder)
        reshape_tops(self, top, (size, listed.channels, crop, crop), (size,))
        self.batches = WindowBatches(size, self.seed, listed, self.param)
