"""Inputs to trace a net on and to check its file on, and how far outputs are apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from caffe.engine.errors import CaffeError, LayerError
from caffe.engine.net.net import Net
from caffe.engine.net.torch_module import TorchNet
from caffe.exporting.targets import Form, Tensors

Arrays = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def samples(net: Net, module: TorchNet, form: Form, values: Arrays | None) -> list[Tensors]:
    """Inputs: first those to trace on, then those to check on; with `form.dynamic` of two sizes.

    Random: RoIs and image sizes such as the layers that read them ask for, else any numbers.
    values: arrays in the shapes of the inputs in their place; then of one size.
    Raises CaffeError for axes that there are not, and values that do not fit.
    """
    shapes = {name: net.blobs[name].shape for name in module.inputs}
    for name, axes in form.dynamic.items():
        if name not in shapes:
            raise CaffeError(f'dynamic: there is no input "{name}"; inputs are '
                             f"{', '.join(shapes) or 'none'}")
        if not all(0 <= axis < len(shapes[name]) for axis in axes):
            raise CaffeError(f'dynamic: input "{name}" has the axes 0 to {len(shapes[name]) - 1}, '
                             f"got {', '.join(map(str, axes))}")
    if values is not None:
        given = {name: _given(values, name, shape, net) for name, shape in shapes.items()}
        return [given, given]
    traced = _resized(shapes, form, lambda size: max(size, 2))
    sizes = [traced, shapes, _resized(shapes, form, lambda size: size + max(1, size // 4))]
    return [_random(net, each, seed) for seed, each in enumerate(sizes, 1)]


def _resized(shapes: Shapes, form: Form, change) -> Shapes:
    return {name: tuple(change(size) if axis in form.dynamic.get(name, ()) else size
                        for axis, size in enumerate(shape)) for name, shape in shapes.items()}


def _random(net: Net, shapes: Shapes, seed: int) -> Tensors:
    random = np.random.default_rng(seed)
    likely = _likely(net, shapes, random)
    return {name: torch.as_tensor(likely.get(name, random.normal(size=shape)), dtype=net.dtype,
                                  device=net.device) for name, shape in shapes.items()}


def _likely(net: Net, shapes: Shapes, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Of inputs for which not any numbers will do: what the layers that read them ask for."""
    try:
        for name, shape in shapes.items():
            net.blobs[name].reshape(*shape)
        net.reshape()
    except LayerError:      # outputs_of says so
        return {}
    found: dict[str, np.ndarray] = {}
    inputs = {net.blobs[name].memory: name for name in shapes}
    for node in net.nodes:
        sizes = [blob.shape for blob in node.bottom]
        for i, blob in enumerate(node.bottom):
            value = node.layer.likely(i, sizes, random) if blob.memory in inputs else None
            if value is not None:
                name = inputs[blob.memory]
                found.setdefault(name, value.reshape(shapes[name]))
    return found


def _given(values: Arrays, name: str, shape: tuple[int, ...], net: Net) -> torch.Tensor:
    array = values.get(name)
    if array is None or np.shape(array) != shape:
        raise CaffeError(f'values must hold an array of shape {shape} for input "{name}", got '
                         f"{'none' if array is None else np.shape(array)}")
    return torch.as_tensor(np.array(array), dtype=net.dtype, device=net.device)


def outputs_of(net: Net, module: TorchNet, given: Tensors, form: Form) -> dict[str, np.ndarray]:
    """What the net itself gives, in the sizes of the inputs, of any shapes that it takes.

    Where other layers than those of the module do not take them, the module, which runs the same
    layers. Raises CaffeError where they do not.
    """
    names = module.outputs
    try:
        for name, value in given.items():
            net.blobs[name].reshape(*value.shape)
            net.blobs[name].data[...] = value.cpu().numpy()
        net.reshape()
        found = net.forward(names)
        return {name: found[name].copy() for name in names}
    except LayerError:
        if not form.dynamic:
            raise
    try:
        with torch.no_grad():
            return {name: value.cpu().numpy() for name, value in module(**given).items()}
    except LayerError as error:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in given.items())
        raise CaffeError(f"dynamic: the net itself does not take {shapes}: {error}") from error


def difference(found: torch.Tensor, expected: np.ndarray) -> float:
    """The largest, in units of the largest finite value expected where that exceeds 1; infinite
    where shapes differ, or one alone is infinite or no number. Arrays of any shape.
    """
    got = found.detach().cpu().numpy()
    finite = np.isfinite(expected)
    if got.shape != expected.shape or not np.array_equal(got[~finite], expected[~finite],
                                                         equal_nan=True):
        return np.inf
    apart = np.abs(got[finite].astype(np.float64) - expected[finite]).max(initial=0)
    apart = np.inf if np.isnan(apart) else apart
    return float(apart / np.abs(expected[finite]).max(initial=1))
