"""convert_mnist_data: MNIST's files of images and labels as a database."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caffe.commands.database_writer import create
from caffe.commands.flags import Flag, help_text, parse
from caffe.commands.registration import UsageError, entry
from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.proto import caffe_pb2

USAGE = """usage: convert_mnist_data FLAGS IMAGES LABELS DB

Stores MNIST's images (t10k-images-idx3-ubyte, or with .gz) with their labels as the new database
DB."""

FLAGS = (Flag("backend", str, "lmdb", "lmdb or leveldb"),)

IMAGES, LABELS = 2051, 2049         # the magic numbers: unsigned bytes with three axes, with one


@entry("convert_mnist_data")
def main(argv: Sequence[str]) -> int:
    """store MNIST's files as an LMDB or LevelDB"""
    flags, words = parse(argv, FLAGS, USAGE)
    if len(words) != 3:
        raise UsageError(f"takes IMAGES LABELS DB, got {len(words)} names\n\n"
                         + help_text(FLAGS, USAGE))
    images, labels = read_pair(words[0], words[1])
    log.info("A total of %d items.", len(images))
    with create(words[2], flags.backend) as writer:
        for number, (image, label) in enumerate(zip(images, labels)):
            writer.put(f"{number:08d}", datum_of(image[None], int(label)))
    log.info("Processed %d files.", len(images))
    return 0


def datum_of(image: np.ndarray, label: int) -> caffe_pb2.Datum:
    """An image (C, H, W) uint8 as it is stored."""
    channels, height, width = image.shape
    return caffe_pb2.Datum(channels=channels, height=height, width=width, label=label,
                           data=image.tobytes())


def read_pair(images: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """(images (N, H, W), labels (N,)) uint8.

    Raises CaffeError where they do not belong together.
    """
    found, known = read_idx(images, IMAGES), read_idx(labels, LABELS)
    if len(found) != len(known):
        raise CaffeError(f"{images} has {len(found)} images, {labels} has {len(known)} labels")
    return found, known


def read_idx(path: str, magic: int) -> np.ndarray:
    """The array of an IDX file, also compressed; raises CaffeError for any other file.

    Four bytes of a magic number, whose last is the number of axes, the axes of four bytes each,
    most significant first, then the values.
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise CaffeError(f"{path}: a damaged .gz file: {error}") from error
    axes = magic % 256
    head = np.frombuffer(content[:4 + 4 * axes], ">u4") if len(content) >= 4 + 4 * axes else [0]
    if head[0] != magic:
        raise CaffeError(f"{path}: not a file of MNIST's "
                         f"{'images' if magic == IMAGES else 'labels'} (its first number is not "
                         f"{magic})")
    shape = tuple(map(int, head[1:]))
    values = content[4 + 4 * axes:]
    if len(values) != int(np.prod(shape, dtype=object)):
        raise CaffeError(f"{path}: {len(values)} bytes of values where {shape} are announced: the "
                         "file is cut or damaged")
    return np.frombuffer(values, np.uint8).reshape(shape)
