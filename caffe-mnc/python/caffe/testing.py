"""What every layer owes, tried on one: for authors of layers (docs/new_layers.md).

    caffe.testing.check_layer('''type: "PwAttend" pw_attend_param { heads: 2 }''', (2, 6, 3, 5))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffe.engine.formats.extensions import as_written
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import TRAIN
from caffe.engine.net.net import Net
from caffe.engine.random import set_random_seed
from caffe.proto import caffe_pb2

STEP = 1e-6


def check_layer(layer: str, *bottoms: tuple[int, ...], tops: int = 1, gradient: bool = True,
                resizable: bool = True, seed: int = 1, tolerance: float = 1e-5) -> None:
    """Hold one layer to the contract, in float64; AssertionError says what it breaks.

    layer: the fields of a `layer` but for name, bottom and top. bottoms: their shapes; the values
    are normal random numbers. Checked: the same input gives the same output; text and weights come
    back from files; the first axis may grow and shrink (`resizable`); the gradients of bottoms and
    parameters are the central differences within `tolerance` of the largest (`gradient`).
    """
    bench = _Bench(layer, bottoms, tops, seed)
    first = bench.forward()
    _same(bench.forward(), first, "a second forward() gives other values")
    _check_files(bench, first)
    if resizable:
        bench.resize(2)
        bench.forward()
        bench.resize(1)
        _same(bench.forward(), first, "a larger first axis and back gives other values")
    if gradient:
        _check_gradient(bench, tolerance)


class _Bench:
    """A net of one layer on input blobs that need a gradient."""

    def __init__(self, layer: str, bottoms: Sequence[tuple[int, ...]], tops: int,
                 seed: int) -> None:
        inputs = "".join(f'layer {{ name: "b{i}" type: "Input" top: "b{i}" input_param {{ shape {{ '
                         + " ".join(f"dim: {n}" for n in shape) + " } } }\n"
                         for i, shape in enumerate(bottoms))
        ends = "".join(f'bottom: "b{i}" ' for i in range(len(bottoms)))
        ends += "".join(f'top: "t{i}" ' for i in range(tops))
        self.text = f'force_backward: true\n{inputs}layer {{ name: "layer" {ends}{layer} }}\n'
        self.bottoms, self.seed, self.tops = list(bottoms), seed, [f"t{i}" for i in range(tops)]
        set_random_seed(seed)
        self.net = Net.from_proto(read_net(self.text), TRAIN, dtype="float64")
        self.resize(1)

    def resize(self, times: int) -> None:
        """Bottoms with `times` the first axis, filled anew."""
        random = np.random.default_rng(self.seed)
        for i, (n, *rest) in enumerate(self.bottoms):
            blob = self.net.blobs[f"b{i}"]
            blob.reshape(n * times, *rest)
            blob.data[...] = random.normal(size=blob.shape)

    def forward(self) -> list[np.ndarray]:
        set_random_seed(self.seed)
        self.net.forward()
        return [self.net.blobs[top].data.copy() for top in self.tops]

    def variables(self) -> list[tuple[str, Any]]:
        """What has a gradient: (what it is, blob)."""
        return [*((f"bottom {i}", self.net.blobs[f"b{i}"]) for i in range(len(self.bottoms))),
                *((f"parameter {i}", blob) for i, blob in enumerate(self.net.params.get("layer", [])
                                                                    ))]


def _same(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray], what: str) -> None:
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert a.shape == b.shape, f"top {i}: {what}: shape {a.shape}, was {b.shape}"
        assert np.array_equal(a, b, equal_nan=True), f"top {i}: {what}"


def _check_files(bench: _Bench, values: Sequence[np.ndarray]) -> None:
    """The net as text and as a caffemodel is the same net."""
    again = read_net(as_written(str(read_net(bench.text))))
    assert again == read_net(bench.text), "the layer's options do not come back from text"
    message = caffe_pb2.NetParameter.FromString(bench.net.to_proto().SerializeToString())
    saved = next(each for each in message.layer if each.name == "layer")
    own = bench.net.params.get("layer", [])
    assert len(saved.blobs) == len(own), "parameters do not come back from a caffemodel"
    plain = type(saved)()
    plain.CopyFrom(saved)
    del plain.blobs[:]
    (wanted,) = (each for each in again.layer if each.name == "layer")
    assert plain.type == wanted.type and {f.name for f, _ in wanted.ListFields()} <= {
        f.name for f, _ in plain.ListFields()}, "the layer's options do not come back from a file"


def _check_gradient(bench: _Bench, tolerance: float) -> None:
    random = np.random.default_rng(bench.seed + 1)
    values = bench.forward()
    weights = [random.normal(size=value.shape) for value in values]
    bench.net.clear_param_diffs()
    diffs: dict[str, Any] = dict(zip(bench.tops, weights))
    bench.net.backward(**diffs)
    found = [(what, blob, blob.diff_tensor.clone()) for what, blob in bench.variables()]
    for what, blob, gradient in found:
        expected = _differences(bench, blob, weights)
        largest = max(float(np.abs(expected).max(initial=0)), 1.0)
        off = float(np.abs(gradient.numpy() - expected).max(initial=0)) / largest
        assert off <= tolerance, (f"gradient of {what}: {off:.3g} off the central differences "
                                  f"(allowed {tolerance:g})")


def _differences(bench: _Bench, blob: Any, weights: Sequence[np.ndarray]) -> np.ndarray:
    """d sum(weights * tops) / d blob, by (f(x + h) - f(x - h)) / 2h."""
    value, result = blob.tensor.clone(), np.zeros(blob.shape)
    for at in np.ndindex(*blob.shape):
        sides = []
        for step in (STEP, -STEP):
            moved = value.clone()
            moved[at] += step
            blob.tensor = moved
            sides.append(sum(float((w * t).sum())
                             for w, t in zip(weights, bench.forward(), strict=True)))
        result[at] = (sides[0] - sides[1]) / (2 * STEP)
    blob.tensor = value
    return result


