"""Images with a label for each pixel: DenseImageData, ImageLabelmapData, ImageSegData."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe.data.batches import Batches
from caffe.data.images import read_image
from caffe.data.lists import FileList
from caffe.data.transform import Transformer
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TRAIN, between, exactly
from caffe.layer_types.batches import BatchLayer, reshape_tops


@dataclass(frozen=True)
class Pair:
    """An image (C, H, W) float32 and its labels (1, H', W') float32."""

    image: np.ndarray
    labels: np.ndarray


class PairBatches(Batches):
    """Items: the words of a line of the list, (image, labels): files behind the root folder."""

    def __init__(self, batch_size: int, seed: int, options: Any, transformer: Transformer) -> None:
        super().__init__(batch_size, seed)
        self.options, self.transformer = options, transformer
        self.listed = FileList(options.source, options.root_folder)
        self.lines = [line.split() for _, line in self.listed.lines]
        if not self.lines:
            raise ValueError(f"{options.source}: lists no images")

    def items(self, epoch: int, first: int) -> Iterator[list[str]]:
        count = len(self.lines)
        order = self.random_of_pass(epoch).permutation(count) if self.options.shuffle \
            else range(count)
        return (self.lines[i] for i in order[first:])

    def load(self, item: list[str]) -> Pair:
        raise NotImplementedError

    def cut(self, pair: Pair, random: np.random.Generator) -> Pair:
        """The pair mirrored and cropped, the same way for both."""
        raise NotImplementedError

    def assemble(self, items: list, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        loaded = [self.load(item) for item in items]
        pairs = [self.cut(pair, random) for pair in loaded]
        for item, pair in zip(items, pairs):
            if (pair.image.shape, pair.labels.shape) != (pairs[0].image.shape,
                                                         pairs[0].labels.shape):
                raise ValueError(f"{item[0]}: has the shape "
                                 f"{pair.image.shape}, others of its batch "
                                 f"{pairs[0].image.shape}; set batch_size: 1, or resize or crop")
        sizes = np.minimum([p.image.shape[1:] for p in loaded], pairs[0].image.shape[1:])
        return (np.stack([p.image for p in pairs]), np.stack([p.labels for p in pairs]),
                sizes.astype(np.float32).reshape(-1, 1, 1, 2))

    def read(self, item: list[str], *, same_size: bool) -> tuple[np.ndarray, np.ndarray]:
        """The image, without its mean, and the grey values of its labels, both as they are."""
        if len(item) < 2:
            raise ValueError(f'{self.options.source}: expected "image labels", got "{item[0]}"')
        paths = [self.listed.path(name) for name in item[:2]]
        image = read_image(paths[0], color=self.options.is_color)
        labels = read_image(paths[1], color=False)
        if same_size and image.shape[1:] != labels.shape[1:]:
            raise ValueError(f"{paths[1]}: labels of {labels.shape[1:]} for an image of "
                             f"{image.shape[1:]}")
        return image, labels

    def __str__(self) -> str:
        return self.options.source


def mirrored(pair: Pair) -> Pair:
    return Pair(pair.image[:, :, ::-1], pair.labels[:, :, ::-1])


def window(pair: Pair, top: int, left: int, height: int, width: int) -> Pair:
    where = np.s_[:, top:top + height, left:left + width]
    return Pair(pair.image[where], pair.labels[where])


def resized(planes: np.ndarray, height: int, width: int, *, nearest: bool = False) -> np.ndarray:
    """Planes (C, H, W) in another size, if height and width are not 0."""
    import cv2

    if not height or not width or planes.shape[1:] == (height, width):
        return planes
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    image = cv2.resize(planes.transpose(1, 2, 0), (width, height), interpolation=how)
    return image.reshape(height, width, -1).transpose(2, 0, 1)


class PairLayer(BatchLayer):
    """Tops: images (N, C, H, W) and labels (N, 1, H', W') from a list of two files a line."""

    num_top = exactly(2)
    batches_of = PairBatches

    def options(self) -> Any:
        return self.param.image_data_param

    def transformation(self) -> Any:
        return self.param.transform_param

    def open(self, top):
        options, size = self.options(), self.options().batch_size
        transformer = Transformer(self.transformation(), train=self.phase == TRAIN)
        self.batches = self.batches_of(self.positive(size, "batch_size"), self.seed, options,
                                       transformer)
        self.skip(self.batches.random_skip(options.rand_skip))
        first = next(self.batches.items(0, 0))
        found = self.batches.assemble([first], np.random.default_rng(0))[:len(top)]
        reshape_tops(self, top, *((size, *values.shape[1:]) for values in found))


class LabelmapBatches(PairBatches):
    """Labels are grey / 255, rounded to whole numbers: 1 for an edge, 0 elsewhere."""

    def load(self, item: list[str]) -> Pair:
        options = self.options
        image, labels = (resized(x, options.new_height, options.new_width)
                         for x in self.read(item, same_size=True))
        return Pair(image, np.rint(labels / np.float32(255)))

    def cut(self, pair: Pair, random: np.random.Generator) -> Pair:
        self.transformer.check(pair.image.shape)
        flipped, place = self.transformer.place(pair.image.shape, random)
        pair = Pair(self.transformer.values(pair.image, place), pair.labels[place])
        return mirrored(pair) if flipped else pair


@LAYERS.register("ImageLabelmapData")
class ImageLabelmapData(PairLayer):
    """top: images (N, C, H, W), edge maps (N, 1, H, W) of 0 and 1, cut and mirrored alike (HED)

    image_data_param.source: lines "image edges"; edges are grey images, 1 from 128 on. With
    new_height and new_width both are resized.
    """

    batches_of = LabelmapBatches


class DenseBatches(PairBatches):
    """Labels are grey values; resizing takes the nearest."""

    def load(self, item: list[str]) -> Pair:
        options = self.options
        image, labels = self.read(item, same_size=not options.new_height)
        factor = max(1, options.label_divide_factor)
        labels = resized(labels, options.new_height // factor, options.new_width // factor,
                         nearest=True)
        image = resized(image, options.new_height, options.new_width)
        return Pair(self.transformer.values(image), labels.astype(np.float32))

    def cut(self, pair: Pair, random: np.random.Generator) -> Pair:
        options = self.options
        if options.mirror and random.integers(2):
            pair = mirrored(pair)
        height, width = options.crop_height, options.crop_width
        if not height or not width:
            return pair
        if height > pair.image.shape[1] or width > pair.image.shape[2]:
            raise ValueError(f"crop_height {height} and crop_width {width} are larger than an "
                             f"image of {pair.image.shape[1:]}")
        top, left = (int(random.integers(n - size + 1)) for n, size in zip(
            pair.image.shape[1:], (height, width)))
        return window(pair, top, left, height, width)


@LAYERS.register("DenseImageData")
class DenseImageData(PairLayer):
    """top: images (N, C, H, W), labels (N, 1, H, W), grey values (SegNet, ENet)

    dense_image_data_param.source: lines "image labels". Images are resized linearly, labels take
    the nearest, in 1 / label_divide_factor of the size; then mirrored and cropped at random.
    """

    batches_of = DenseBatches

    def options(self) -> Any:
        return self.param.dense_image_data_param

    def open(self, top):
        options = self.options()
        if bool(options.new_height) != bool(options.new_width):
            raise LayerError(f"{self.title}: new_height and new_width must be given together")
        super().open(top)

    def transformation(self) -> Any:
        """The mean file may stand in either message."""
        given, own = self.param.transform_param, self.options().mean_file
        if not own or given.mean_file:
            return given
        merged = type(given)(mean_file=own)
        merged.MergeFrom(given)
        return merged


class SegBatches(PairBatches):
    """Labels are grey values, one for the whole image, or none; both are padded to the crop."""

    def load(self, item: list[str]) -> Pair:
        options = self.options
        if options.label_type == options.PIXEL:
            image, labels = self.read(item, same_size=True)
        else:
            image = read_image(self.listed.path(item[0]), color=options.is_color)
            value = int(item[1]) if options.label_type == options.IMAGE and len(item) > 1 \
                else options.ignore_label
            labels = np.full((1, *image.shape[1:]), value, np.float32)
        image = resized(image, options.new_height, options.new_width)
        labels = resized(labels, options.new_height, options.new_width, nearest=True)
        return Pair(self.transformer.values(image), labels.astype(np.float32))

    def cut(self, pair: Pair, random: np.random.Generator) -> Pair:
        transformer = self.transformer
        if transformer.mirror and random.integers(2):
            pair = mirrored(pair)
        if not transformer.crop[0]:
            return pair
        missing = [max(0, size - n) for n, size in zip(pair.image.shape[1:], transformer.crop)]
        space = [(0, 0), *((0, n) for n in missing)]
        pair = Pair(np.pad(pair.image, space),      # 0 is the mean here
                    np.pad(pair.labels, space, constant_values=self.options.ignore_label))
        free = [n - size for n, size in zip(pair.image.shape[1:], transformer.crop)]
        top, left = (int(random.integers(n + 1)) if transformer.train else n // 2 for n in free)
        return window(pair, top, left, *transformer.crop)


@LAYERS.register("ImageSegData")
class ImageSegData(PairLayer):
    """top: images (N, C, H, W), labels (N, 1, H, W), [sizes (N, 1, 1, 2)] (DeepLab, PSPNet)

    image_data_param.source: lines "image labels" (label_type PIXEL), "image label" (IMAGE: the same
    all over) or "image" (NONE: ignore_label all over). Where crop_size is larger than an image, the
    rest is its mean and ignore_label. Sizes are height and width of what is image.
    """

    num_top = between(2, 3)
    batches_of = SegBatches
