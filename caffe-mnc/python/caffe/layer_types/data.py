"""Data layers over databases, lists of images and HDF5 files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from caffe.data.batches import Batches
from caffe.data.databases import Database, open_database
from caffe.data.images import MOST_VALUES, Record, parse_datum, read_image
from caffe.data.lists import FileList
from caffe.data.transform import Transformer
from caffe.engine.description import Drawing
from caffe.engine.errors import LayerError
from caffe.engine.formats import hdf5
from caffe.engine.layer import LAYERS, TRAIN, at_least, between, exactly
from caffe.layer_types.batches import BatchLayer, reshape_tops

SHUFFLED = 1024     # records of a database that are put in another order among themselves


class ImageBatches(Batches):
    """Batches (N, C, H, W) of transformed images and (N,) of labels."""

    def __init__(self, batch_size: int, seed: int, transformer: Transformer) -> None:
        super().__init__(batch_size, seed)
        self.transformer = transformer

    def load(self, item: Any) -> Record:
        """The image and label of an item."""
        raise NotImplementedError

    def label(self, item: Any) -> str:
        """How errors name an item."""
        raise NotImplementedError

    def output_shape(self, item: Any) -> tuple[int, ...]:
        """The shape of a batch that begins with `item`."""
        return (self.batch_size, *self.transformer.output_shape(self.load(item).image.shape))

    def assemble(self, items: list, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        images, labels = [], []
        for item in items:
            record = self.load(item)
            try:
                images.append(self.transformer(record.image, random))
            except ValueError as error:
                raise ValueError(f"{self.label(item)}: {error}") from error
            if images[-1].shape != images[0].shape:
                raise ValueError(f"{self.label(item)}: has the shape {images[-1].shape}, others of "
                                 f"its batch {images[0].shape}; resize them, crop them or set "
                                 f"batch_size: 1")
            labels.append(record.label)
        return np.stack(images), np.array(labels, np.float32)


class DatabaseBatches(ImageBatches):
    """Items: (number, record) of a database."""

    def __init__(self, *args: Any, path: str, database: Database, color: bool | None,
                 shuffle: bool = False) -> None:
        super().__init__(*args)
        self.path, self.database, self.color, self.shuffle = path, database, color, shuffle

    def items(self, epoch: int, first: int) -> Iterator[tuple[int, bytes]]:
        if self.shuffle:
            return self._shuffled(epoch, first)
        return zip(itertools.count(first), self.database.values(first))

    def _shuffled(self, epoch: int, first: int) -> Iterator[tuple[int, bytes]]:
        """In a new order in each pass, within windows of so many records as are held at once."""
        start = first // SHUFFLED * SHUFFLED
        records = zip(itertools.count(start), self.database.values(start))
        while window := list(itertools.islice(records, SHUFFLED)):
            random = np.random.default_rng((self.seed, 3, epoch, window[0][0]))
            order = random.permutation(len(window))
            yield from (window[i] for i in order[max(0, first - window[0][0]):])

    def load(self, item: tuple[int, bytes]) -> Record:
        return parse_datum(item[1], self.label(item), color=self.color)

    def label(self, item: tuple[int, bytes]) -> str:
        return f"{self.path}: record {item[0]}"

    def __str__(self) -> str:
        return self.path


@LAYERS.register("Data")
class Data(BatchLayer):
    """top: images (N, C, H, W), on request labels (N,), in the order of the database's keys

    source: an LMDB or LevelDB of Datum. All of a batch have one shape; rand_skip leaves out up to
    so many records at the beginning. shuffle (NVIDIA, Intel): each pass has another order, within
    windows of 1024 records.
    """

    num_top = between(1, 2)

    @classmethod
    def drawing(cls, param):
        return Drawing(flows=f"Batch {param.data_param.batch_size}")

    def open(self, top):
        options = self.param.data_param
        database = open_database(options.source, leveldb=options.backend == options.LEVELDB)
        transformer = Transformer(self.param.transform_param, train=self.phase == TRAIN)
        color = True if options.force_encoded_color else transformer.color
        size = self.positive(options.batch_size, "data_param.batch_size")
        self.batches = DatabaseBatches(size, self.seed, transformer, path=options.source,
                                       database=database, color=color, shuffle=options.shuffle)
        self.skip(self.batches.random_skip(options.rand_skip))
        first = next(self.batches.items(0, 0), None)
        if first is None:
            raise ValueError(f"{options.source}: the database holds no records")
        reshape_tops(self, top, self.batches.output_shape(first), (size,))


class ImageListBatches(ImageBatches):
    """Items: (path, label)"""

    def __init__(self, *args: Any, path: str, options: Any) -> None:
        super().__init__(*args)
        self.path, self.options = path, options
        listed = FileList(path, options.root_folder)
        count = max(1, options.task_class_num)
        self.lines = [(listed.path(name), labels[0] if count == 1 else labels)
                      for name, labels in listed.with_labels(count)]

    def items(self, epoch: int, first: int) -> Iterator[tuple[str, Any]]:
        count = len(self.lines)
        order = self.random_of_pass(epoch).permutation(count) if self.options.shuffle \
            else range(count)
        return (self.lines[i] for i in order[first:])

    def load(self, item: tuple[str, Any]) -> Record:
        options = self.options
        image = read_image(item[0], color=options.is_color,
                           size=(options.new_height, options.new_width))
        return Record(image, item[1])

    def label(self, item: tuple[str, Any]) -> str:
        return item[0]

    def __str__(self) -> str:
        return self.path


@LAYERS.register("ImageData")
class ImageData(BatchLayer):
    """top: images (N, C, H, W) from a list of files, labels (N,)

    source: lines "path label", the path behind root_folder; shuffled anew in each pass if
    `shuffle`. With new_height and new_width images are resized first. task_class_num k (caffe_ocr):
    k labels behind each path, (N, k).
    """

    num_top = exactly(2)

    def open(self, top):
        options = self.param.image_data_param
        if bool(options.new_height) != bool(options.new_width):
            raise LayerError(f"{self.title}: new_height and new_width must be given together")
        transformer = Transformer(self.param.transform_param, train=self.phase == TRAIN)
        size = self.positive(options.batch_size, "image_data_param.batch_size")
        self.batches = ImageListBatches(size, self.seed, transformer, path=options.source,
                                        options=options)
        skipped = self.batches.random_skip(options.rand_skip)
        if skipped >= len(self.batches.lines):
            raise ValueError(f"{options.source}: " + (
                f"holds {len(self.batches.lines)} images, too few to leave out {skipped} "
                "(rand_skip)" if self.batches.lines else "lists no images"))
        self.skip(skipped)
        first = next(self.batches.items(0, skipped))
        reshape_tops(self, top, self.batches.output_shape(first),
                     (size, *np.shape(first[1])))


class Hdf5Batches(Batches):
    """Items: one row of each data set."""

    def __init__(self, batch_size: int, seed: int, path: str, names: list[str],
                 shuffle: bool) -> None:
        super().__init__(batch_size, seed)
        self.path, self.names, self.shuffle = path, names, shuffle
        self.files = list(_files(FileList(path)))
        self._loaded: tuple[str, list[np.ndarray]] = ("", [])

    def items(self, epoch: int, first: int) -> Iterator[tuple[np.ndarray, ...]]:
        random = self.random_of_pass(epoch)
        order = random.permutation(len(self.files)) if self.shuffle else range(len(self.files))
        for index in order:
            arrays = self.load(self.files[index])
            count = len(arrays[0])
            rows = random.permutation(count) if self.shuffle else range(count)
            for row in rows[first:]:
                yield tuple(values[row] for values in arrays)
            first = max(0, first - count)

    def assemble(self, items: list, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        for name, rows in zip(self.names, zip(*items)):
            if len({row.shape for row in rows}) > 1:
                raise ValueError(f'{self.path}: rows of "{name}" must have one shape in all files, '
                                 f"got {' and '.join(str(s) for s in {r.shape for r in rows})}")
        return tuple(np.stack(rows) for rows in zip(*items))

    def load(self, name: str) -> list[np.ndarray]:
        """The data sets of a file, whole."""
        if self._loaded[0] != name:
            self._loaded = (name, read_hdf5(name, self.names))
        return self._loaded[1]

    def __str__(self) -> str:
        return self.path


def _files(listed: FileList) -> Iterator[str]:
    """The files of a list: a line each, or several between blanks as Caffe reads them."""
    for _, line in listed.lines:
        whole = listed.path(line.strip())
        yield from [whole] if os.path.exists(whole) else map(listed.path, line.split())


def read_hdf5(path: str, names: list[str]) -> list[np.ndarray]:
    """The data sets `names` of an HDF5 file as float32, with equally many rows."""
    try:
        with hdf5.reading(path) as file:
            arrays = [_read_dataset(file, path, name) for name in names]
    except FileNotFoundError:
        raise FileNotFoundError(f'no HDF5 file at "{path}"') from None
    if len({len(values) for values in arrays}) > 1:
        counts = ", ".join(f"{name}: {len(values)}" for name, values in zip(names, arrays))
        raise ValueError(f"{path}: data sets must have the same number of rows, got {counts}")
    return arrays


def _read_dataset(file: h5py.File, path: str, name: str) -> np.ndarray:
    dataset = hdf5.find(file, name)
    if not isinstance(dataset, h5py.Dataset):
        raise hdf5.Hdf5Error(f'{path}: has no data set "{name}" (the name of a top); it has '
                             f"{', '.join(map(str, file)) or 'none'}")
    if dataset.dtype.kind not in "fiu" or not dataset.ndim:
        raise hdf5.Hdf5Error(f'{path}: data set "{name}" must be an array of numbers, it has the '
                             f"type {dataset.dtype} and the shape {dataset.shape}")
    hdf5.check_numbers(dataset, f'{path}: data set "{name}"')
    if dataset.size > MOST_VALUES:
        raise hdf5.Hdf5Error(f'{path}: data set "{name}" has the shape {dataset.shape}, more than '
                             "a blob may")
    return hdf5.numbers(dataset).astype(np.float32, copy=False)


@LAYERS.register("HDF5Data")
class HDF5Data(BatchLayer):
    """Each top is the data set of its name, batch_size rows at a time: (N, ...)

    source: a file that lists HDF5 files; rows run on from one to the next. With `shuffle` files
    and the rows of each come in a new order in each pass. Nothing is transformed.
    """

    num_top = at_least(1)

    def open(self, top):
        options = self.param.hdf5_data_param
        if self.param.HasField("transform_param"):
            raise LayerError(f"{self.title}: does not transform data; remove transform_param")
        size = self.positive(options.batch_size, "hdf5_data_param.batch_size")
        self.batches = Hdf5Batches(size, self.seed, options.source, list(self.param.top),
                                   options.shuffle)
        if not self.batches.files:
            raise ValueError(f"{options.source}: lists no files")
        arrays = self.batches.load(self.batches.files[0])
        reshape_tops(self, top, *((size, *values.shape[1:]) for values in arrays))
