"""DetectNetTransformation (NVIDIA, DIGITS): images changed, and what a grid is to say of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from caffe.data.transform import read_mean
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TRAIN, Layer, exactly
from caffe.engine.random import generator
from caffe.layer_types.batches import naming

LABEL_LENGTH = 16       # numbers an object
CLASS, TRUNCATED = 5, 8     # their places
PLANES = 8              # of the grid before the classes
OUTSIDE = -0.5          # of images, which run from 0 to 1 less their mean


@dataclass
class Scene:
    """An image (H, W, 3), 0 to 1 less its mean, and boxes (T, 4): x, y, width, height"""

    image: np.ndarray
    boxes: np.ndarray


@LAYERS.register("DetectNetTransformation")
class DetectNetTransformation(Layer):
    """top: images (N, 3, image_size_y, image_size_x); labels (N, 8 + classes, rows, columns)

    bottom: images (N, 3, H, W) of 0 to 255; objects (N, 1, rows, 16): first how many and 16, then
    x, y, width, height, ... class (6th), ... truncation (9th). A cell of `stride` pixels that the
    middle part of an object touches (scale_cvg of its sides, at least min_cvg_len with GRIDBOX_MIN,
    at most max_cvg_len with GRIDBOX_MAX) gets planes: 1; the object's corners from its own; 1 /
    width, 1 / height; area of a cell / that of the part (at least 1 without obj_norm); 1 in its
    class. In TRAIN hue, saturation, scale, rotation, mirroring and place are drawn first; in TEST
    the image is resized. Objects of classes that object_class does not map are left out.
    """

    num_bottom = num_top = exactly(2)
    no_gradient = (0, 1)

    def setup(self, bottom, top):
        self.truth = self.param.detectnet_groundtruth_param
        self.change = self.param.detectnet_augmentation_param
        self.classes = {m.src: m.dst for m in self.truth.object_class} or {1: 0}
        if not self.truth.stride:
            raise LayerError(f"{self.title}: detectnet_groundtruth_param.stride is 0")
        options = self.param.transform_param
        self.mean: Any = np.array(list(options.mean_value) or [0], np.float32)
        if len(self.mean) not in (1, 3):
            raise LayerError(f"{self.title}: mean_value takes one number or three")
        if options.mean_file:
            with naming(self):
                self.mean = read_mean(options.mean_file).transpose(1, 2, 0)

    def reshape(self, bottom, top):
        images, objects = bottom[0].shape, bottom[1].shape
        if len(images) != 4 or images[1] != 3 or objects[:1] != images[:1] \
                or math.prod(objects[1:]) % LABEL_LENGTH:
            raise LayerError(f"{self.title}: bottoms must be (N, 3, H, W) and (N, 1, T, "
                             f"{LABEL_LENGTH}), got {images} and {objects}")
        size = (self.truth.image_size_y, self.truth.image_size_x)
        top[0].reshape(images[0], 3, *size)
        top[1].reshape(images[0], PLANES + 1 + max(self.classes.values()),
                       *(n // self.truth.stride for n in size))

    def forward(self, bottom, top):
        random = np.random.default_rng(
            int(torch.randint(2**62, (), generator=generator("cpu"))))
        images, labels = [], []
        for image, rows in zip(bottom[0].tensor.cpu().numpy(), bottom[1].tensor.cpu().numpy()):
            rows = rows.reshape(-1, LABEL_LENGTH)
            rows = rows[1:1 + int(rows[0, 0])]
            scene = self._scene(image.transpose(1, 2, 0), rows[:, :4], random)
            images.append(255 * scene.image.transpose(2, 0, 1))
            labels.append(self._grid(scene.boxes, rows, top[1].shape[1:]))
        for blob, arrays in zip(top, (images, labels)):
            values = torch.from_numpy(np.array(arrays, np.float32).reshape(blob.shape))
            blob.tensor = values.to(self.device, self.dtype)

    def _scene(self, image: np.ndarray, boxes: np.ndarray, random: np.random.Generator) -> Scene:
        import cv2

        size = (self.truth.image_size_x, self.truth.image_size_y)
        image = np.ascontiguousarray(image, np.float32) / 255
        mean = self.mean if self.mean.ndim == 1 else cv2.resize(
            self.mean, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        if self.phase != TRAIN:
            return resized(Scene(image - mean / 255, boxes), size)
        change = self.change
        image = recolored(image, change, random)
        scene = Scene(image - mean / 255, boxes)
        scale = random.uniform(change.scale_min, change.scale_max)
        if random.random() <= change.scale_prob:
            scene = resized(scene, tuple(round(n * scale) for n in scene.image.shape[1::-1]))
        degree = random.uniform(-1, 1) * change.max_rotate_degree
        if random.random() <= change.rotation_prob and degree:
            scene = rotated(scene, degree)
        if random.random() <= change.flip_prob:
            width = scene.image.shape[1]
            left = width - 1 - scene.boxes[:, :1] - scene.boxes[:, 2:3]
            scene = Scene(scene.image[:, ::-1], np.hstack((left, scene.boxes[:, 1:])))
        return placed(scene, size, self._offset(scene, size, random))

    def _offset(self, scene: Scene, size: tuple[int, int],
                random: np.random.Generator) -> list[int]:
        """Column and row of the image that come to the top left"""
        free = [n - m for n, m in zip(scene.image.shape[1::-1], size)]
        shift = (self.change.shift_x, self.change.shift_y)
        if random.random() > self.change.crop_prob:
            return [n // 2 for n in free]
        return [round(random.random() * (n + s)) - s // 2 for n, s in zip(free, shift)]

    def _grid(self, boxes: np.ndarray, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        truth, grid = self.truth, np.zeros(shape, np.float32)
        for box, row in zip(boxes.astype(np.float64), rows):
            low, high = box[:2], box[:2] + box[2:]
            if truth.crop_bboxes:
                bounds = (truth.image_size_x, truth.image_size_y)
                low, high = np.clip(low, 0, bounds), np.clip(high, 0, bounds)
            if int(row[CLASS]) not in self.classes or (high - low).min() <= 0:
                continue
            self._mark(grid, low, high, PLANES + self.classes[int(row[CLASS])])
        return grid

    def _mark(self, grid: np.ndarray, low: np.ndarray, high: np.ndarray, plane: int) -> None:
        truth, side = self.truth, high - low
        part = side * truth.scale_cvg
        if truth.gridbox_type == truth.GRIDBOX_MIN:
            part = np.minimum(side, np.maximum(truth.min_cvg_len, part))
        else:
            part = np.minimum(truth.max_cvg_len, part)
        middle = (low + high) / 2
        first, last = (middle - part / 2) / truth.stride, (middle + part / 2) / truth.stride
        (x1, y1), (x2, y2) = (np.clip(c, 0, grid.shape[:0:-1]).astype(int)
                              for c in (np.floor(first), np.ceil(last)))
        rows, columns = np.mgrid[y1:y2, x1:x2] * float(truth.stride)
        norm = max(0.0 if truth.obj_norm else 1.0, truth.stride ** 2 / max(part.prod(), 1e-7))
        cells = grid[:, y1:y2, x1:x2]
        cells[PLANES:] = 0
        cells[0] = cells[plane] = 1
        cells[1:5] = [low[0] - columns, low[1] - rows, high[0] - columns, high[1] - rows]
        cells[5:PLANES] = np.array([1 / side[0], 1 / side[1], norm])[:, None, None]

    def backward(self, top, propagate_down, bottom):
        pass


def recolored(image: np.ndarray, change: Any, random: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) BGR, 0 to 1, with another hue, or less saturation."""
    import cv2

    hue = random.uniform(-1, 1) * min(180.0, change.hue_rotation)
    saturation = 1 - random.random() * change.desaturation_max
    turn = random.random() <= change.hue_rotation_prob
    fade = random.random() <= change.desaturation_prob
    if not (turn or fade):
        return image
    colors = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    if turn:
        colors[..., 0] = (colors[..., 0] + hue) % 360
    if fade:
        colors[..., 1] *= saturation
    return cv2.cvtColor(colors, cv2.COLOR_HSV2BGR)


def resized(scene: Scene, size: tuple[int, int]) -> Scene:
    """In another size (width, height)"""
    import cv2

    old = scene.image.shape[1::-1]
    if old == size:
        return scene
    image = cv2.resize(scene.image, size, interpolation=cv2.INTER_CUBIC)
    return Scene(image, scene.boxes * (np.array(size * 2) / np.array(old * 2)))


def rotated(scene: Scene, degree: float) -> Scene:
    """Turned about the middle, on a plane that holds all of it; boxes keep their size"""
    import cv2

    height, width = scene.image.shape[:2]
    cosine, sine = (abs(f(math.radians(degree))) for f in (math.cos, math.sin))
    size = (math.ceil(width * cosine + height * sine), math.ceil(width * sine + height * cosine))
    matrix: Any = cv2.getRotationMatrix2D((width / 2, height / 2), -degree, 1)
    matrix[:, 2] += (np.array(size, float) - (width, height)) / 2
    image = cv2.warpAffine(scene.image, matrix, size, borderValue=(OUTSIDE,) * 3)
    half = scene.boxes[:, 2:] / 2
    centre = (scene.boxes[:, :2] + half) @ matrix[:, :2].T + matrix[:, 2]
    return Scene(image, np.hstack((centre - half, scene.boxes[:, 2:])))


def placed(scene: Scene, size: tuple[int, int], offset: list[int]) -> Scene:
    """A plane (width, height) that begins at `offset` of the image; grey where there is none"""
    inner, outer = [max(0, n) for n in offset], [max(0, -n) for n in offset]
    part = scene.image[inner[1]:, inner[0]:][:max(0, size[1] - outer[1]),
                                             :max(0, size[0] - outer[0])]
    image = np.full((size[1], size[0], 3), OUTSIDE, np.float32)
    image[outer[1]:outer[1] + part.shape[0], outer[0]:outer[0] + part.shape[1]] = part
    return Scene(image, scene.boxes - [*offset, 0, 0])
