"""classify: the class probabilities of pictures."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import caffe
from caffe.commands import pictures
from caffe.commands.registration import UsageError, entry
from caffe.engine.formats.atomic_file import write_file


@entry("classify")
def main(argv: Sequence[str]) -> int:
    """predict the classes of pictures"""
    args = parser().parse_args(argv)
    pictures.choose_device(args.gpu)
    classifier = caffe.Classifier(
        args.model_def, None, image_dims=size(args.images_dim),
        mean=pictures.read_mean(args.mean_file), **pictures.preprocessing(args))
    classifier.copy_from(args.pretrained_model, required=True)
    channels = classifier.blobs[classifier.inputs[0]].shape[1]
    inputs = load(Path(args.input_file).expanduser(), args.ext, color=channels != 1)
    print(f"Classifying {len(inputs)} inputs.")
    start = time.perf_counter()
    predictions = classifier.predict(inputs, not args.center_only)
    print(f"Done in {time.perf_counter() - start:.2f} s.")
    print(f"Saving results into {args.output_file}")
    content = io.BytesIO()
    np.save(content, predictions)
    write_file(_with_ending(args.output_file), content.getbuffer())
    return 0


def size(text: str) -> list[int]:
    """'256,256' -> [256, 256]"""
    dims = pictures.numbers(text, "images_dim")
    if len(dims) != 2 or min(dims) < 1:
        raise UsageError(f"--images_dim takes height,width, got {text!r}")
    return dims


def _with_ending(path: str) -> str:
    """As numpy.save names its files."""
    return path if path.endswith(".npy") else f"{path}.npy"


def load(path: Path, ending: str, color: bool) -> Any:
    """The pictures of a folder, an .npy file or an image file, as (H, W, 3 or 1) in 0 .. 1."""
    print(f"Loading {'folder' if path.is_dir() else 'file'}: {path}")
    if path.is_dir():
        files = sorted(path.glob(f"*.{ending}"))
        if not files:
            raise UsageError(f"{path}: no file ends in .{ending}; --ext names another ending")
        return [caffe.io.load_image(str(file), color) for file in files]
    if path.suffix != ".npy":
        return [caffe.io.load_image(str(path), color)]
    images = pictures.read_array(str(path))
    if images.ndim != 4:
        raise UsageError(f"{path}: pictures are an array (N, height, width, channels), this one "
                         f"has the shape {images.shape}")
    return images


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="classify", description="Write the class probabilities of "
                                "pictures as an array.")
    p.add_argument("input_file", help="image, folder of images, or .npy")
    p.add_argument("output_file", help=".npy to write")
    pictures.add_options(p, "models/bvlc_reference_caffenet", "bvlc_reference_caffenet.caffemodel")
    p.add_argument("--center_only", action="store_true",
                   help="look at the centre alone, not at ten crops")
    p.add_argument("--images_dim", default="256,256",
                   help="height,width the pictures are resized to (default %(default)s)")
    p.add_argument("--ext", default="jpg",
                   help="ending of the images in a folder (default %(default)s)")
    return p
