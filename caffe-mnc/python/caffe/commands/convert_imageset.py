"""convert_imageset: a list of images and labels as a database of Datum messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from caffe.commands.database_writer import COMMIT_AFTER, create
from caffe.commands.flags import Flag, help_text, parse
from caffe.commands.registration import UsageError, entry
from caffe.data.images import decode_image
from caffe.data.lists import FileList
from caffe.engine import log, random
from caffe.engine.errors import CaffeError
from caffe.proto import caffe_pb2

USAGE = """usage: convert_imageset FLAGS ROOT/ LIST DB

Stores the images of LIST, each line of which is FILE LABEL, as the new database DB.
ROOT/ is put in front of every FILE."""

FLAGS = (
    Flag("gray", bool, False, "read images as grey"),
    Flag("shuffle", bool, False, "store the images in a random order"),
    Flag("backend", str, "lmdb", "lmdb or leveldb"),
    Flag("resize_width", int, 0, "width to resize to"),
    Flag("resize_height", int, 0, "height to resize to"),
    Flag("check_size", bool, False, "fail unless all images have the same size"),
    Flag("encoded", bool, False, "store the images as compressed files"),
    Flag("encode_type", str, "", "compress as png, jpg ...; without it, as the files are"),
)


@entry("convert_imageset")
def main(argv: Sequence[str]) -> int:
    """store images and labels as an LMDB or LevelDB"""
    flags, words = parse(argv, FLAGS, USAGE)
    if len(words) != 3:
        raise UsageError(f"takes ROOT/ LIST DB, got {len(words)} names\n\n"
                         + help_text(FLAGS, USAGE))
    root, source, target = words
    if (flags.resize_width > 0) != (flags.resize_height > 0):
        log.warning("Images keep their size: give both --resize_width and --resize_height")
    if flags.encode_type and not flags.encoded:
        log.info("encode_type specified, assuming encoded=true.")
        flags.encoded = True
    listed = FileList(source, root if not root or root.endswith("/") else f"{root}/")
    try:
        lines = listed.labelled()
    except ValueError as error:
        raise UsageError(str(error)) from None
    if flags.shuffle:
        log.info("Shuffling data")
        order = torch.randperm(len(lines), generator=random.generator())
        lines = [lines[i] for i in order]
    log.info("A total of %d images.", len(lines))
    store(lines, listed, target, flags)
    return 0


def store(lines: list[tuple[str, int]], listed: FileList, target: str, flags: Any) -> None:
    """Write every image that can be read under the key NUMBER_FILE; at least one must be."""
    with create(target, flags.backend) as writer:
        size = None
        for number, (name, label) in enumerate(lines):
            try:
                datum = read_datum(listed.path(name), label, flags)
            except (OSError, ValueError) as error:
                log.error("Could not open or find file %s: %s", listed.root + name, error)
                continue
            shape = (datum.channels, datum.height, datum.width)
            if flags.check_size and size not in (None, shape):
                raise CaffeError(f"{listed.root + name}: the image is {shape}, those before {size} "
                                 "(channels, height, width); leave --check_size out or resize")
            size = shape
            writer.put(f"{number:08d}_{name}", datum)
            if writer.count % COMMIT_AFTER == 0:
                log.info("Processed %d files.", writer.count)
        if lines and not writer.count:
            raise CaffeError(f"none of the {len(lines)} images could be read; the first would be "
                             f"{listed.root + lines[0][0]}")
    if writer.count % COMMIT_AFTER:
        log.info("Processed %d files.", writer.count)


def read_datum(path: str, label: int, flags: Any) -> Any:
    """The image in a file as a Datum; OSError or ValueError if it cannot be read.

    A file that is to be stored in its own format and size goes in as it is, byte for byte: --gray
    does not change it, as in Caffe.
    """
    content = Path(path).read_bytes()
    size = (flags.resize_height, flags.resize_width)
    size = size if min(size) > 0 else (0, 0)
    image = decode_image(content, path, color=not flags.gray, size=size)        # (C, H, W)
    if not flags.encoded:
        channels, height, width = image.shape
        return caffe_pb2.Datum(channels=channels, height=height, width=width, label=label,
                               data=image.tobytes(), encoded=False)
    own = Path(path).suffix[1:].lower()
    wanted = flags.encode_type.lower() or own
    if not wanted:
        raise CaffeError(f"{path}: its name does not tell how to compress; give --encode_type")
    as_it_is = not any(size) and same_type(own, wanted)
    return caffe_pb2.Datum(data=content if as_it_is else compress(image, wanted), label=label,
                           encoded=True)


def same_type(a: str, b: str) -> bool:
    return a.replace("jpeg", "jpg") == b.replace("jpeg", "jpg")


def compress(image: np.ndarray, kind: str) -> bytes:
    """An image (C, H, W) as the bytes of a file of that kind."""
    try:
        done, content = cv2.imencode(f".{kind}", image.transpose(1, 2, 0))
    except cv2.error:
        done = False
    if not done:
        raise UsageError(f'--encode_type: OpenCV cannot compress as "{kind}"; png and jpg are '
                         "usual")
    return content.tobytes()
