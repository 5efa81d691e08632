"""AnnotatedData: images and the boxes of what they show."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from caffe.data.batches import Batches
from caffe.data.databases import Database, open_database
from caffe.data.images import Record
from caffe.data.noise import check_distortion, distort
from caffe.data.objects import Objects, parse_annotated
from caffe.data.sampling import check_sampler, draw_window, expand, pixels_of
from caffe.data.transform import Transformer, as_bytes
from caffe.engine import log
from caffe.engine.layer import LAYERS, TRAIN, between
from caffe.layer_types.batches import BatchLayer, reshape_tops

MOST_OBJECTS = 300      # of an image in labels of YOLO
NO_OBJECT = np.full((1, 8), -1, np.float32)


class AnnotatedBatches(Batches):
    """Items: (number, record) of a database; arrays: images (N, C, H, W), rows of objects (G, 8)

    Without annotation types labels (N,) instead of objects.
    """

    def __init__(self, batch_size: int, seed: int, layer: Any, database: Database, *,
                 train: bool) -> None:
        super().__init__(batch_size, seed)
        self.options, self.path = layer.transform_param, layer.data_param.source
        self.yolo = layer.annotated_data_param.yolo_data_type == 1
        self.easy = not layer.annotated_data_param.train_diffcult
        self.samplers = layer.annotated_data_param.batch_sampler
        self.database = database
        self.transformer = Transformer(self.options, train=train)
        self.color = True if layer.data_param.force_encoded_color else self.transformer.color
        given = self.options.HasField
        self.emit = self.options.emit_constraint if given("emit_constraint") else None
        self.distorts, self.expands = given("distort_param"), given("expand_param")
        check_distortion(self.options.distort_param)
        for each in self.samplers:
            check_sampler(each.sampler)
        if self.expands and self.options.expand_param.max_expand_ratio < 1:
            raise ValueError("expand_param: max_expand_ratio must be at least 1")

    def items(self, epoch: int, first: int) -> Iterator[tuple[int, bytes]]:
        return zip(itertools.count(first), self.database.values(first))

    def load(self, item: tuple[int, bytes]) -> tuple[Record, Objects | None]:
        """The image of a record, and its objects if it has an annotation type."""
        return parse_annotated(item[1], self.label(item), color=self.color)

    def label(self, item: tuple[int, bytes]) -> str:
        return f"{self.path}: record {item[0]}"

    def __str__(self) -> str:
        return self.path

    def assemble(self, items: list, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        images, found, labels = [], [], []
        self.transformer = self.transformer.drawn(random)
        for number, item in enumerate(items):
            record, objects = self.load(item)
            try:
                image, seen = self.change(record.image, objects or _nothing(), random)
            except ValueError as error:
                raise ValueError(f"{self.label(item)}: {error}") from error
            images.append(image)
            labels.append((objects is not None, record.label))
            found.append(seen.rows(number) if not self.yolo
                         else (seen.easy() if self.easy else seen).centred(MOST_OBJECTS))
            self._check_alike(item, image.shape == images[0].shape, labels)
        if not labels[0][0]:
            return np.stack(images), np.array([label for _, label in labels], np.float32)
        if self.yolo:
            return np.stack(images), np.stack(found)
        rows = np.concatenate(found)
        return np.stack(images), (rows if len(rows) else NO_OBJECT)[None, None]

    def _check_alike(self, item: Any, same_shape: bool, labels: list) -> None:
        if not same_shape:
            raise ValueError(f"{self.label(item)}: has another size than the first of its batch; "
                             f"give a resize_param, or set batch_size: 1")
        if labels[-1][0] != labels[0][0]:
            raise ValueError(f"{self.label(item)}: some records have an annotation type and some "
                             f"have none")

    def change(self, image: np.ndarray, objects: Objects,
               random: np.random.Generator) -> tuple[np.ndarray, Objects]:
        """The image (C, H, W) as it goes into the batch, and the objects that are left in it."""
        pixels = image.transpose(1, 2, 0)
        if self.distorts:
            pixels = distort(as_bytes(pixels, "distort_param"), self.options.distort_param, random)
        if self.expands:
            pixels, canvas = expand(pixels, self.options.expand_param,
                                    self._fill(pixels.shape[2]), random)
            if canvas is not None:
                objects = objects.seen_through(canvas, self.emit)
        window = draw_window(self.samplers, objects.boxes, random)
        if window is not None:
            pixels = pixels_of(window, pixels)
            objects = objects.seen_through(window, self.emit)
        done = self.transformer.apply(pixels.transpose(2, 0, 1), random)
        return done.image, self._placed(objects, pixels.shape[:2], done)

    def _fill(self, channels: int) -> np.ndarray:
        """The colour around an expanded image: the mean, which becomes 0 in the batch."""
        mean = self.transformer.mean
        return self.transformer.mean_value if len(self.transformer.mean_value) \
            else np.zeros(channels) if mean is None else mean.mean((1, 2))

    def _placed(self, objects: Objects, size: tuple[int, int], done: Any) -> Objects:
        resizer = self.transformer.resizer
        if resizer:
            objects = Objects(resizer.move(objects.boxes, size), objects.about)
        objects = objects.seen_through(done.window, self.emit)
        objects = objects.mirrored() if done.flipped else objects
        if resizer:
            boxes = resizer.on_canvas(objects.boxes, size, done.window)
            objects = Objects(boxes, objects.about)
        return objects


def _nothing() -> Objects:
    return Objects(np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32))


@LAYERS.register("AnnotatedData")
class AnnotatedData(BatchLayer):
    """top: images (N, C, H, W); on request (1, 1, G, 8): image, label, instance, box, difficult

    source: an LMDB or LevelDB of AnnotatedDatum (convert_annoset). Each image in turn: distort,
    expand, a window by batch_sampler, resize, noise, crop, mirror, mean, scale; boxes follow, and
    those that emit_constraint does not let through go. No object in a batch: one row of -1.
    Records without annotation type: labels (N,) instead. MobileNet-YOLO's: yolo_data_type 1:
    (N, 1, 300, 5): label from 0, centre, width, height; of several resize_param one a batch.
    """

    num_top = between(1, 2)

    def open(self, top):
        options = self.param.data_param
        database = open_database(options.source, leveldb=options.backend == options.LEVELDB)
        size = self.positive(options.batch_size, "data_param.batch_size")
        if self.param.annotated_data_param.HasField("yolo_data_jitter"):
            log.warning(f"{self.title}: yolo_data_jitter has no effect; batch_sampler crops")
        self.batches = AnnotatedBatches(size, self.seed, self.param, database,
                                        train=self.phase == TRAIN)
        if size > 1 and any(each.varies for each in self.batches.transformer.resizers):
            raise ValueError("resize_mode: FIT_SMALL_SIZE gives images of different sizes; set "
                             "batch_size: 1")
        self.skip(self.batches.random_skip(options.rand_skip))
        first = next(self.batches.items(0, 0), None)
        if first is None:
            raise ValueError(f"{options.source}: the database holds no records")
        record, objects = self.batches.load(first)
        shape = self.batches.transformer.output_shape(record.image.shape)
        labels = (size,) if objects is None else (size, 1, MOST_OBJECTS, 5) \
            if self.batches.yolo else (1, 1, max(1, len(objects)), 8)
        reshape_tops(self, top, (size, *shape), labels)
