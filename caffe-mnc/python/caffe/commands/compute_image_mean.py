"""compute_image_mean: the mean image of a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from caffe.commands.flags import Flag, help_text, parse
from caffe.commands.registration import UsageError, entry
from caffe.data.databases import open_database
from caffe.data.images import parse_datum
from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.engine.formats.atomic_file import atomic_path
from caffe.proto import caffe_pb2

USAGE = """usage: compute_image_mean FLAGS DB [OUT.binaryproto]

Logs the mean of each channel of the images in DB; writes the mean image if OUT is given."""

REPORT_AFTER = 10000
FLAGS = (Flag("backend", str, "lmdb", "lmdb or leveldb"),)


@entry("compute_image_mean")
def main(argv: Sequence[str]) -> int:
    """compute the mean image of a database"""
    flags, words = parse(argv, FLAGS, USAGE)
    if len(words) not in (1, 2):
        raise UsageError(f"takes DB [OUT], got {len(words)} names\n\n{help_text(FLAGS, USAGE)}")
    mean = mean_image(words[0], flags.backend)
    if len(words) == 2:
        log.info("Write to %s", words[1])
        channels, height, width = mean.shape
        blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width,
                                   data=mean.astype(np.float32).ravel())
        with atomic_path(words[1]) as temporary:
            temporary.write_bytes(blob.SerializeToString())
    log.info("Number of channels: %d", len(mean))
    for channel, value in enumerate(mean.mean(axis=(1, 2))):
        log.info("mean_value channel [%d]: %g", channel, value)
    return 0


def mean_image(path: str, backend: str) -> np.ndarray:
    """The mean (C, H, W) of all images, which must have one size."""
    log.info("Starting iteration")
    total, count = np.zeros(()), 0
    for image in images(path, backend):
        if count and image.shape != total.shape:
            raise CaffeError(f"{path}: record {count} is {image.shape}, those before {total.shape} "
                             "(channels, height, width); convert_imageset can resize them")
        total = total + image
        count += 1
        if count % REPORT_AFTER == 0:
            log.info("Processed %d files.", count)
    if not count:
        raise CaffeError(f"{path}: the database is empty")
    if count % REPORT_AFTER:
        log.info("Processed %d files.", count)
    return total / count


def images(path: str, backend: str) -> Iterator[np.ndarray]:
    """Each image (C, H, W); CaffeError where the database is damaged."""
    if backend not in ("lmdb", "leveldb"):
        raise UsageError(f"--backend takes lmdb or leveldb, got {backend!r}")
    try:
        database = open_database(path, leveldb=backend == "leveldb")
        for number, content in enumerate(database.values()):
            yield parse_datum(content, f"{path}: record {number}").image
    except ValueError as error:
        raise CaffeError(str(error)) from error
