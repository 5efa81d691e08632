"""Calibration of nets whose products are to compute in 8 bits: what each product is given.

A few inputs run through the net as it is, in float32; of what a product is given its extent is
kept, and small pieces. What is done with that: int8.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.engine.layer import Layer
from caffe.engine.net.build import Node
from caffe.engine.net.int8 import InInt8
from caffe.engine.net.plan import Optimized, Plan
from caffe.engine.net.products import Product, Weights
from caffe.ops.int8 import fast_int8, int8_computable

if TYPE_CHECKING:
    from caffe.engine.net.net import Net

Inputs = Iterable[Mapping[str, Any]]     # arrays by the names of input blobs
MOST_PIECES = 64                        # kept of what a product is given, one an input


def check_calibration(precision: str | None, backend: str, calibrate: Inputs | None) -> None:
    """Raises CaffeError for "int8" without inputs or with a backend, and for inputs without it."""
    if precision != "int8" and calibrate is not None:
        raise CaffeError(f'calibrate is for precision "int8", got precision {precision!r}')
    if precision == "int8" and calibrate is None:
        raise CaffeError('precision "int8" takes calibrate=..., inputs such as the net will see: '
                         '[{"data": array}, ...], some 8 to 32')
    if precision == "int8" and backend != "torch":
        raise CaffeError(f'precision "int8" is torch\'s: leave out backend {backend!r}')


@dataclass(eq=False)
class Seen:
    """What one product has been given, over all inputs."""

    low: float = 0.0
    high: float = 0.0
    pieces: list[Tensor] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=partial(np.random.default_rng, 0))

    def take(self, layer: Layer, x: Tensor) -> None:
        """Note x, a value of bottom 0 of the layer, of any shape that it takes."""
        if not x.numel():
            return
        low, high = torch.aminmax(x)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        if len(self.pieces) < MOST_PIECES:
            self.pieces.append(layer.piece(x, self.random).clone())

    def whole(self) -> Tensor:
        """The pieces as one bottom: those of the first one's shape."""
        shape = self.pieces[0].shape[1:]
        return torch.cat([piece for piece in self.pieces if piece.shape[1:] == shape])


@dataclass(frozen=True, eq=False)
class Observed(Product):
    """A product that notes what it is given."""

    seen: Seen = field(default_factory=Seen)

    def __call__(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        if len(bottoms) == 1:       # of several it stays as it is
            self.seen.take(self.layer, bottoms[0])
        return super().__call__(*bottoms)


class Observing(Weights):
    """Weights as ever, of products that note what they are given."""

    def __init__(self, seen: Mapping[Layer, Seen], nodes: list[Node],
                 precision: torch.dtype | None) -> None:
        super().__init__(nodes, precision)
        self._seen = seen

    def product(self, layer: Layer, params: list[Tensor] | None = None) -> Product:
        made = super().product(layer, params)
        return Observed(layer, made.params, seen=self._seen[layer])


class Watched(Optimized):
    """A net as it is in float32, while it is calibrated.

    Raises CaffeError for a net that is not in float32 on the CPU, or where this torch has no
    products of 8-bit numbers.
    """

    def __init__(self, net: Net) -> None:
        super().__init__(None)
        self._net, self._seen = net, defaultdict[Layer, Seen](Seen)
        if net.device.type != "cpu" or net.dtype != torch.float32:
            raise CaffeError('precision "int8" is for nets in float32 on the CPU')
        if not int8_computable():
            raise CaffeError('precision "int8": this torch has no products of 8-bit numbers for '
                             'this processor, or only ones that cut large sums (without VNNI '
                             'instructions): take float32')
        if not fast_int8():
            log.warning('precision "int8": this processor has no VNNI instructions, so that it '
                        "may be slower than float32")

    def after(self, inputs: Inputs) -> InInt8:
        """What to optimise the net with after it has run each of these; see `Net.optimize`.

        Raises CaffeError where there is none.
        """
        for given in inputs:
            for name in set(given).intersection(self._net.inputs):
                self._net.blobs[name].reshape(*np.shape(given[name]))
            self._net.forward(**given)
        if self._plan is None:
            raise CaffeError('precision "int8": calibrate gave no input')
        return InInt8(self._seen, None)

    def _planned(self, net: Net, ids: set[int]) -> Plan:
        return Plan(net.nodes, ids, weights=partial(Observing, self._seen))
