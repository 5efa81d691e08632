"""Optimised nets whose products compute in 8 bits, after calibration (calibration.py).

The levels of a product end where its own results on the pieces it has seen come out best: at the
extent of all it has seen, or short of it, which costs the few largest values and resolves the
others better. A product stays as it was where its results would be off by MOST_ERROR, and where no
product comes behind it before a layer that is not of torch's operators: it predicts.

What 8-bit products alone read, straight or through layers that select values, is handed on in
uint8.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from caffe.engine import log
from caffe.engine.errors import CaffeError
from caffe.engine.layer import Layer
from caffe.engine.net.build import Node
from caffe.engine.net.plan import Optimized, Plan, Step
from caffe.engine.net.products import Product, Weights, kind_of
from caffe.ops.int8 import Int8, Levels, Rounded

if TYPE_CHECKING:
    from caffe.engine.net.net import Net

CUTS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)     # of the extent, where levels may end
MOST_ERROR = 0.1                        # of the results of a product, by their root mean square


class Seen(Protocol):
    """What one product has been given."""

    low: float
    high: float
    pieces: list[Tensor]

    def whole(self) -> Tensor:
        """The pieces as one bottom, of a shape that the layer takes."""


class InInt8(Optimized):
    """The net with products in 8 bits."""

    def __init__(self, seen: Mapping[Layer, Seen], precision: str | None) -> None:
        super().__init__(precision)
        self._seen, self._stale = seen, False

    def forget(self) -> None:
        self._stale = True

    def _planned(self, net: Net, ids: set[int]) -> Plan:
        chosen = Choosing(self._seen, net.nodes, self._precision)
        plan = Plan(net.nodes, ids, self._precision, weights=lambda *_: chosen)
        chosen.tell()
        hand_on(plan)
        self._seen = {}
        return plan

    def run(self, net: Net, first: int, last: int,
            call: Callable[[str, int], None] | None) -> None:
        """As of any; raises CaffeError after a change of weights."""
        if self._stale:
            raise CaffeError("the net's weights have changed since it was calibrated: call "
                             'net.optimize(precision="int8", calibrate=...) again')
        super().run(net, first, last, call)


class Entry:
    """Makes uint8 of what is not, once for several steps that read the same map."""

    def __init__(self, levels: Levels) -> None:
        self.levels, self.readers = levels, 1
        self._last: tuple[Tensor, Tensor] | None = None     # a map and its bytes
        self._left = 0                                      # of the readers

    def __call__(self, x: Tensor) -> Tensor:
        """x, of any shape, in uint8."""
        if x.dtype == torch.uint8:
            return x
        if self._last is None or self._last[0] is not x:
            self._last, self._left = (x, self.levels.round(x)), self.readers
        found = self._last[1]
        self._left -= 1
        if self._left < 1:
            self._last = None
        return found


@dataclass(frozen=True, eq=False)
class InLevels(Product):
    """A product in 8 bits: params are its weight, packed, and its bias, `scales` (N,) the weight's.
    made: levels of the top, which without them is in `dtype`.
    """

    scales: Tensor = field(default_factory=lambda: torch.ones(0))
    given: Levels = field(default_factory=Levels)
    made: Levels | None = None
    dtype: torch.dtype = torch.float32
    entry: Entry | None = None

    def __call__(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        int8 = Int8(self.given, self.made, self.dtype, self.scales)
        x = (self.entry or Entry(self.given))(bottoms[0])
        return self.layer.run(x, params=self.params, int8=int8, **self.fused)


@dataclass(frozen=True, eq=False)
class Selecting:
    """A layer that selects values, on values in uint8."""

    layer: Layer
    entry: Entry

    def __call__(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return self.layer.run(self.entry(bottoms[0]))


class Choosing(Weights):
    """Gives products 8-bit weights where that serves, with levels after what they have seen."""

    def __init__(self, seen: Mapping[Layer, Seen], nodes: list[Node],
                 precision: torch.dtype | None) -> None:
        super().__init__(nodes, precision)
        self._seen, self._hidden = seen, hidden_products(nodes)
        self._rounded: dict[tuple, Rounded | None] = {}
        self._errors: dict[str, float] = {}     # of the products in 8 bits, by name
        self._others: list[str] = []

    def arrange(self, layers: Iterable[Layer]) -> None:
        """Not ahead: it is seen product by product which are in 8 bits."""

    def product(self, layer: Layer, params: list[Tensor] | None = None) -> Product:
        made = self._in_levels(layer, params)
        if made is None:
            self._others.append(layer.name)
            return super().product(layer, params)
        shared = self._rounded.get(kind_of(layer)) if params is None else None
        if shared:
            self.give_up(layer, 0, shared.plain)
        return made

    def tell(self) -> None:
        """Say in the log how many products compute in 8 bits, and what that costs."""
        worst = max(self._errors, key=self._errors.__getitem__, default="")
        about = f"; their results are {100 * min(self._errors.values()):.1f} to " \
                f"{100 * self._errors[worst]:.1f} % off ({worst})" if worst else ""
        log.info("in 8 bits: %d of %d products%s", len(self._errors),
                 len(self._errors) + len(self._others), about)

    def _in_levels(self, layer: Layer, params: list[Tensor] | None) -> InLevels | None:
        seen = self._seen.get(layer)
        if layer not in self._hidden or seen is None or not seen.pieces \
                or not np.isfinite([seen.low, seen.high]).all():
            return None
        plain = params or [blob.tensor for blob in layer.blobs]
        rounded = self._round(layer, plain, params is None)
        if rounded is None:
            return None
        x = seen.whole()
        product = InLevels(layer, [rounded.weight, *plain[1:]], scales=rounded.scales)
        tried = [replace(product, given=Levels.of(cut * seen.low, cut * seen.high))
                 for cut in CUTS]
        exact = layer.run(x, params=plain)[0]
        errors = [_apart(each(x)[0], exact) for each in tried]
        best = int(np.argmin(errors))
        if not errors[best] <= MOST_ERROR:
            log.info("%s: not in 8 bits, its results would be %.0f %% off", layer.title,
                     100 * errors[best])
            return None
        self._errors[layer.name] = errors[best]
        return replace(tried[best], dtype=self.precision or layer.dtype)

    def _round(self, layer: Layer, plain: list[Tensor], own: bool) -> Rounded | None:
        """The weight in 8 bits, once for all layers that share it."""
        if not own:
            return layer.round_weight(plain[0])
        kind = kind_of(layer)
        if kind not in self._rounded:
            self._rounded[kind] = layer.round_weight(plain[0])
        return self._rounded[kind]


def _apart(found: Tensor, exact: Tensor) -> float:
    """The root mean square of the difference beside that of the exact values; any shape."""
    size = float(exact.square().mean())
    return (float((found - exact).square().mean()) / size) ** 0.5 if size else 0.0


def hidden_products(nodes: list[Node]) -> set[Layer]:
    """Products with another behind them, all layers between being torch's operators alone."""
    hidden: set[Layer] = set()
    leading: set[int] = set()           # ids of blobs from which a product is reached
    for node in reversed(nodes):
        reached = bool(leading.intersection(node.top_ids))
        leading -= set(node.top_ids)
        if node.layer.is_product:
            hidden |= {node.layer} if reached else set()
            leading.update(node.bottom_ids)
        elif reached and node.layer.dense:
            leading.update(node.bottom_ids)
    return hidden


# --- maps in uint8 -------------------------------------------------------------------------------

class Flow:
    """Which steps of a plan read what others write."""

    def __init__(self, plan: Plan) -> None:
        self._blobs, self.readers = plan.blobs, defaultdict(list)
        self._shut = {plan.blobs[i].memory for i in plan.kept}     # others read that, or write it
        for step in plan.steps:
            self._shut |= {plan.blobs[i].memory for i in set(step.reads) & set(step.writes)}
            for i in step.reads:
                self.readers[i].append(step)
        self._selecting = [step for step in plan.steps if step.layer.selects
                           and step.compute == step.layer.run and len(step.reads) == 1]

    def selects(self, step: Step) -> bool:
        """Whether what the step writes are values of what it reads."""
        return any(step is each for each in self._selecting)

    def ends(self, i: int) -> list[Step]:
        """The products in 8 bits that blob number i comes to, straight or by selecting steps."""
        if self._blobs[i].memory in self._shut:
            return []
        return [end for step in self.readers[i] for end in (
            [step] if isinstance(step.compute, InLevels) else
            [end for each in step.writes for end in self.ends(each)] if self.selects(step) else [])]

    def entries(self, i: int) -> int:
        """How many steps make uint8 of blob number i, or of the same memory by another name."""
        return sum(1 if self.takes_bytes(step) else sum(map(self.entries, step.writes))
                   for step in self.readers[i]
                   if self.takes_bytes(step) or step.layer.aliases_bottom)

    def takes_bytes(self, step: Step) -> bool:
        """Whether the step may read uint8."""
        seen = [i for i in step.writes if self.readers[i] or self._blobs[i].memory in self._shut]
        return isinstance(step.compute, InLevels) or (
            self.selects(step) and bool(seen) and all(map(self.in_bytes, seen)))

    def in_bytes(self, i: int) -> bool:
        """Whether blob number i may be uint8: all that read it take that, and some do."""
        return self._blobs[i].memory not in self._shut and bool(self.readers[i]) \
            and all(map(self.takes_bytes, self.readers[i]))


def hand_on(plan: Plan) -> None:
    """Let steps write uint8 where only steps read it that take it, in levels common to these."""
    flow = Flow(plan)
    for i in list(flow.readers):            # a map comes before what is selected from it
        ends = [end for end in flow.ends(i) if isinstance(end.compute, InLevels)
                and not end.compute.entry]
        common = Entry(Levels.around([_levels(end) for end in ends]))
        common.readers = flow.entries(i)
        for end in ends:
            end.compute = replace(end.compute, given=common.levels,     # type: ignore[type-var]
                                  entry=common)
    for step in plan.steps:
        written = [i for i in step.writes if flow.in_bytes(i)]
        if flow.selects(step) and flow.takes_bytes(step) and written:
            first = flow.ends(written[0])[0].compute
            assert isinstance(first, InLevels) and first.entry
            step.compute = Selecting(step.layer, first.entry)
        elif isinstance(step.compute, InLevels) and written == step.writes:
            step.compute = replace(step.compute, made=_levels(flow.ends(written[0])[0]))


def _levels(step: Step) -> Levels:
    assert isinstance(step.compute, InLevels)
    return step.compute.given
