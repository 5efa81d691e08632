"""What classify and detect have in common: the options that say how a picture becomes an input."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import caffe
from caffe.commands.registration import UsageError
from caffe.engine.formats import arrays
from caffe.engine.formats.prototxt import read_net

MEAN_FILE = str(Path(caffe.__file__).parent / "imagenet/ilsvrc_2012_mean.npy")


def add_options(p: argparse.ArgumentParser, folder: str, weights: str) -> None:
    """Options on the model in `folder` and on preprocessing, with Caffe's defaults."""
    p.add_argument("--model_def", default=f"{folder}/deploy.prototxt",
                   help="file of the net (default %(default)s)")
    p.add_argument("--pretrained_model", default=f"{folder}/{weights}",
                   help="weights (default %(default)s)")
    p.add_argument("--gpu", action="store_true", help="compute on the GPU")
    p.add_argument("--mean_file", default=MEAN_FILE,
                   help="mean image, .npy of (channels, height, width); '' for none "
                        "(default: ImageNet's)")
    p.add_argument("--input_scale", type=float, help="factor after the mean was subtracted")
    p.add_argument("--raw_scale", type=float, default=255.0,
                   help="factor before the mean is subtracted (default %(default)s)")
    p.add_argument("--channel_swap",
                   help="order of the channels (default: 2,1,0, BGR from RGB, where the net takes "
                        "three, else as they are)")


def numbers(text: str, name: str) -> list[int]:
    """'2,1,0' -> [2, 1, 0]"""
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"--{name} takes numbers and commas, got {text!r}") from None


def read_mean(path: str) -> np.ndarray | None:
    """The mean image of --mean_file."""
    if not path:
        return None
    if not Path(path).is_file():
        raise UsageError(f"--mean_file {path}: no such file; give another, or '' for no mean")
    return read_array(path, "--mean_file ")


def read_array(path: str, what: str = "") -> np.ndarray:
    """The numbers of an .npy file."""
    try:
        return arrays.read_array(path)
    except ValueError as error:
        raise UsageError(f"{what}{path}: not an .npy file of numbers: {error}") from None


def preprocessing(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of caffe.Classifier and caffe.Detector, but for the mean."""
    text = args.channel_swap
    if text is None and input_channels(args.model_def) == 3:
        text = "2,1,0"
    swap = numbers(text, "channel_swap") if text else None
    return {"input_scale": args.input_scale, "raw_scale": args.raw_scale, "channel_swap": swap}


def input_channels(model: str) -> int:
    """Channels of the first input of a net file; 3 where the file does not say."""
    shapes = [shape.dim for layer in read_net(model).layer for shape in layer.input_param.shape]
    return shapes[0][1] if shapes and len(shapes[0]) > 1 else 3


def choose_device(gpu: bool) -> None:
    print("GPU mode" if gpu else "CPU mode")
    if gpu:
        caffe.set_mode_gpu()
    else:
        caffe.set_mode_cpu()
