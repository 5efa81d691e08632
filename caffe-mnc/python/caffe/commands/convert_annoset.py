"""convert_annoset: images and what they show as a database of AnnotatedDatum messages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from caffe.commands.convert_imageset import compress, same_type
from caffe.commands.database_writer import COMMIT_AFTER, create
from caffe.commands.flags import Flag, help_text, parse
from caffe.commands.registration import UsageError, entry
from caffe.data.annotation_files import LABEL_TYPES, annotate
from caffe.data.images import decode_image
from caffe.data.label_map import parse_label_map
from caffe.engine import log, random
from caffe.engine.errors import CaffeError
from caffe.engine.formats.text import read_text
from caffe.proto import caffe_pb2

USAGE = """usage: convert_annoset FLAGS ROOT/ LIST DB

Stores the images of LIST with their annotations as the new database DB, for AnnotatedData layers.
Each line of LIST is IMAGE ANNOTATION, or IMAGE LABEL with --anno_type classification.
ROOT/ is put in front of every IMAGE and ANNOTATION."""

FLAGS = (
    Flag("anno_type", str, "classification", "classification, or detection: lines name files of "
                                             "boxes"),
    Flag("label_type", str, "xml", "what annotations are: xml (VOC's), json or txt"),
    Flag("label_map_file", str, "", "the label map: which number each name has"),
    Flag("check_label", bool, False, "fail if the label map gives a name twice"),
    Flag("gray", bool, False, "read images as grey"),
    Flag("shuffle", bool, False, "store the images in a random order"),
    Flag("backend", str, "lmdb", "lmdb or leveldb"),
    Flag("min_dim", int, 0, "enlarge images so that the short side has so many pixels at least"),
    Flag("max_dim", int, 0, "shrink images so that the long side has so many pixels at most"),
    Flag("resize_width", int, 0, "width to resize to, without min_dim and max_dim"),
    Flag("resize_height", int, 0, "height to resize to"),
    Flag("check_size", bool, False, "fail unless all images have the same size"),
    Flag("encoded", bool, False, "store the images as compressed files"),
    Flag("encode_type", str, "", "compress as png, jpg ...; without it, as the files are"),
)


@entry("convert_annoset")
def main(argv: Sequence[str]) -> int:
    """store images and boxes as an LMDB or LevelDB"""
    flags, words = parse(argv, FLAGS, USAGE)
    if len(words) != 3:
        raise UsageError(f"takes ROOT/ LIST DB, got {len(words)} names\n\n"
                         + help_text(FLAGS, USAGE))
    root, list_file, database = words
    convert(root, list_file, database, flags)
    return 0


def convert(root: str, source: str, target: str, flags: Any) -> None:
    """Write the database `target` of the lines of `source`, as the flags say."""
    if flags.anno_type not in ("classification", "detection"):
        raise UsageError(f'--anno_type takes classification or detection, got "{flags.anno_type}"')
    flags.encoded = flags.encoded or bool(flags.encode_type)
    labels = {}
    if flags.anno_type == "detection":
        try:
            LABEL_TYPES.get(flags.label_type)
            labels = _labels(flags)
        except ValueError as error:
            raise UsageError(str(error)) from error
    lines = read_list(source)
    if flags.shuffle:
        log.info("Shuffling data")
        lines = [lines[i] for i in torch.randperm(len(lines), generator=random.generator())]
    log.info("A total of %d images.", len(lines))
    store(lines, os.path.join(root, ""), target, labels, flags)


def _labels(flags: Any) -> dict[str, int]:
    if not flags.label_map_file:
        raise UsageError("--anno_type detection needs --label_map_file")
    items = parse_label_map(flags.label_map_file).item
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and flags.check_label:
        raise CaffeError(f'{flags.label_map_file}: the name "{twice[0]}" is given twice')
    return {item.name: item.label for item in items}


def read_list(path: str) -> list[tuple[str, str]]:
    """The two words of each line."""
    pairs = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        words = line.split()
        if len(words) not in (0, 2):
            raise UsageError(f"{path}:{number}: takes IMAGE ANNOTATION (or IMAGE LABEL), without "
                             f"spaces in names, got {line!r}")
        pairs += [(words[0], words[1])] if words else []
    return pairs


def store(lines: list[tuple[str, str]], root: str, target: str, labels: dict[str, int],
          flags: Any) -> None:
    """Write every image that can be read under the key NUMBER_IMAGE; at least one must be."""
    with create(target, flags.backend) as writer:
        size = None
        for number, (name, annotation) in enumerate(lines):
            try:
                datum, file_size = read_datum(root + name, flags)
            except (OSError, ValueError) as error:
                log.warning("Failed to read %s: %s", root + name, error)
                continue
            shape = (datum.channels, datum.height, datum.width)
            if flags.check_size and size not in (None, shape):
                raise CaffeError(f"{root + name}: the image is {shape}, those before {size} "
                                 "(channels, height, width); leave --check_size out or resize")
            size = shape
            writer.put(f"{number:08d}_{name}",
                       _annotated(datum, root, annotation, labels, file_size, flags))
            if writer.count % COMMIT_AFTER == 0:
                log.info("Processed %d files.", writer.count)
        if lines and not writer.count:
            raise CaffeError(f"none of the {len(lines)} images could be read; the first would be "
                             f"{root + lines[0][0]}")
    log.info("Processed %d files.", writer.count)


def _annotated(datum: Any, root: str, annotation: str, labels: dict[str, int],
               size: tuple[int, int], flags: Any) -> Any:
    result = caffe_pb2.AnnotatedDatum(datum=datum)
    if flags.anno_type == "classification":
        try:
            result.datum.label = int(annotation)
        except ValueError:
            raise UsageError(f"{annotation!r} is no label; --anno_type detection reads "
                             f"annotations") from None
        return result
    result.datum.label = -1
    try:
        annotate(result, root + annotation, flags.label_type, labels, size)
    except FileNotFoundError:
        log.warning("%s: no such annotation; its image is stored without objects",
                    root + annotation)
    except ValueError as error:
        raise CaffeError(str(error)) from error
    return result


def read_datum(path: str, flags: Any) -> tuple[Any, tuple[int, int]]:
    """The image as a Datum, and (height, width) of the file; OSError or ValueError

    A file that is to be stored in its own format, size and colours goes in byte for byte.
    """
    content = Path(path).read_bytes()
    image = decode_image(content, path, color=not flags.gray)       # (C, H, W)
    kept = resized(image, flags)
    channels, height, width = kept.shape
    datum = caffe_pb2.Datum(channels=channels, height=height, width=width, encoded=flags.encoded)
    if not flags.encoded:
        datum.data = kept.tobytes()
        return datum, image.shape[1:]
    own = Path(path).suffix[1:].lower()
    wanted = (flags.encode_type or own).lower().lstrip(".")
    as_it_is = kept is image and same_type(own, wanted) and (
        not flags.gray or decode_image(content, path, color=None).shape[0] == 1)
    datum.data = content if as_it_is else compress(kept, wanted)
    return datum, image.shape[1:]


def resized(image: np.ndarray, flags: Any) -> np.ndarray:
    """The image (C, H, W) in the size that the flags ask for; itself if that is the one it has."""
    sides = image.shape[1:]
    size = (flags.resize_height, flags.resize_width)
    if flags.min_dim or flags.max_dim:
        scale = max(1.0, flags.min_dim / min(sides))
        if flags.max_dim and int(scale * max(sides)) > flags.max_dim:
            scale = flags.max_dim / max(sides)
        size = tuple(round(n * scale) for n in sides)
    if min(size) < 1 or size == sides:
        return image
    pixels = cv2.resize(np.ascontiguousarray(image.transpose(1, 2, 0)), size[::-1])
    return np.ascontiguousarray(pixels.reshape(*size, -1).transpose(2, 0, 1))
