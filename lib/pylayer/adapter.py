"""What the adapters share: reading `param_str`, and moving arrays between blobs and numpy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from caffe.extend import TEST, Blob, Layer, LayerError, nearest, parse_yaml

REQUIRED = object()


def read_options(layer: Layer, **defaults: Any) -> SimpleNamespace:
    """The layer's `param_str`, YAML with or without braces, over `defaults` (REQUIRED: none)."""
    given = _parse(layer)
    for key in given:
        if key not in defaults:
            hint = nearest(str(key), defaults, f"it takes {', '.join(defaults) or 'none'}")
            raise LayerError(f'{layer.title}: unknown option "{key}" in param_str{hint}')
    missing = [key for key, value in defaults.items() if value is REQUIRED and key not in given]
    if missing:
        raise LayerError(f"{layer.title}: param_str must give {', '.join(missing)}, "
                         f"such as \"{{'{missing[0]}': 16}}\"; got {layer.param_str!r}")
    return SimpleNamespace(**{**defaults, **given})


def read(blob: Blob) -> np.ndarray:
    """The values of a blob; not to be written to."""
    return blob.tensor.detach().cpu().numpy()


def stays_on_device(layer: Layer, bottom: list[Blob]) -> bool:
    """Whether the layer is to work on tensors where they are: in test nets on a GPU."""
    return layer.phase == TEST and bottom[0].device.type != "cpu"


def as_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """On the host, wherever it was."""
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values


def read_diff(blob: Blob) -> np.ndarray:
    """The gradient of a blob; not to be written to."""
    return blob.diff_tensor.detach().cpu().numpy()


def write(blob: Blob, array: np.ndarray) -> None:
    """Give a blob the shape and values of `array`, which the blob may keep."""
    blob.tensor = _tensor(blob, array)


def write_diff(blob: Blob, array: np.ndarray) -> None:
    """Give a blob's gradient the values of `array`."""
    blob.diff_tensor = _tensor(blob, array)


def no_gradient(bottom: list[Blob], propagate_down: list[bool]) -> None:
    """Zero gradients for the bottoms that are asked for one."""
    for blob, wanted in zip(bottom, propagate_down):
        if wanted:
            write_diff(blob, np.zeros(blob.shape))


def image_info(layer: Layer, blob: Blob) -> tuple[tuple[Any, Any], float]:
    """((height, width), scale) of the one image, from a blob of (height, width, scale)."""
    if blob.count != 3:
        raise LayerError(f"{layer.title} takes one image: im_info must be (1, 3), got {blob.shape}")
    height, width, scale = blob.data.ravel()        # on the host, where it comes from
    return (height, width), scale


def _parse(layer: Layer) -> dict:
    text = layer.param_str or "{}"
    for candidate in (text, f"{{{text}}}"):
        try:
            options = parse_yaml(candidate)
        except ValueError:
            continue
        if isinstance(options, dict):
            return options
    raise LayerError(f"{layer.title}: param_str must be YAML such as \"{{'feat_stride': 16}}\"; "
                     f"got {text!r}")


def _tensor(blob: Blob, array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device=blob.device, dtype=blob.dtype)
