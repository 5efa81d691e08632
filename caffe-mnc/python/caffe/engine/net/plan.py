"""The inference plan of a TEST net: the same layers, run for a few blobs and nothing else.

Against the ordinary forward pass, which keeps every blob for its user: layers that do not lead to
an output are left out, a blob is freed after its last reader, values go from layer to layer
without a blob between, and some neighbours become one step (the fusions at the end).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from caffe.engine import log
from caffe.engine.allocator import give_back_freed
from caffe.engine.blob import Blob
from caffe.engine.errors import CaffeError
from caffe.engine.layer import Layer, own_memory, product_dtype
from caffe.engine.net.build import Node, annotate
from caffe.engine.net.chains import Chain, Convert, chains_of
from caffe.engine.net.products import Product, Weights

if TYPE_CHECKING:
    from caffe.engine.net.net import Net

Compute = Callable[..., tuple[Tensor, ...]]
MOST_DIFFERENCE, LOW_DIFFERENCE = 1e-4, 0.05    # of a runtime from torch, by the largest value


@dataclass
class Step:
    """Layers first..last of the net as one function of the values of blobs."""

    first: int
    last: int
    layer: Layer                # whose name errors tell
    reads: list[int]            # ids of blobs
    writes: list[int]
    compute: Compute | None     # None: the layer itself runs, on its blobs
    dies: list[int] = field(default_factory=list)       # ids nobody reads later
    read_blobs: list[Blob] = field(default_factory=list)
    # what it works in place on, and the other ids of that memory
    overwrites: list[tuple[int, set[int]]] = field(default_factory=list)


class Plan:
    """What to run, in which order, to get the blobs `keep` (ids) of a net.

    precision: of convolutions and matrix products, if not the net's own. converts: runtimes that
    chains may be given to; measured: the fastest takes them, if it is faster than torch.
    """

    def __init__(self, nodes: list[Node], keep: Iterable[int],
                 precision: torch.dtype | None = None,
                 converts: dict[str, Convert] | None = None, measured: bool = False,
                 weights: type[Weights] | Callable[..., Weights] = Weights) -> None:
        self._nodes, self._converts, self._measured = nodes, converts or {}, measured
        self._allowed = LOW_DIFFERENCE if precision else MOST_DIFFERENCE
        self.blobs = {i: blob for node in nodes
                      for i, blob in zip([*node.bottom_ids, *node.top_ids],
                                         [*node.bottom, *node.top])}
        wanted = set(keep)
        needed = _needed(nodes, {self.blobs[i].memory for i in wanted})
        # what Python layers and inputs write lies in their blobs anyway
        self.kept = wanted | {i for n in needed if not nodes[n].layer.pure
                              for i in nodes[n].top_ids}
        steps = [self._step(n) for n in needed]
        for fusion in (_at_once, _fold_affine):
            steps = self._fused(steps, fusion)
        made = weights(nodes, precision)
        # the smallest first: while the largest is there twice, the others are not
        by_size = sorted(steps, key=lambda step: sum(b.count for b in step.layer.blobs))
        made.arrange(step.layer for step in by_size
                     if step.layer.is_product and step.compute == step.layer.run)
        for step in by_size:
            _prepare(step, made, precision)
        for fusion in (_activate, _overwrite):
            steps = self._fused(steps, fusion)
        self.steps = steps
        self._mark_deaths()
        for step in steps:
            step.read_blobs = [self.blobs[i] for i in step.reads]
            step.overwrites = [(i, self._others_on_memory(i))
                               for i in set(step.reads).intersection(step.writes)]
        self._chains = chains_of(steps, nodes, self.kept) if converts else []
        self._spans = list(self._in_spans())
        memory = {self.blobs[i].memory for i in self.kept}
        self._released = [(i, blob) for i, blob in self.blobs.items() if blob.memory not in memory]
        for i in self.kept:
            self.blobs[i].keep()        # an earlier plan may have released it

    # --- building ---------------------------------------------------------------------------

    def _step(self, n: int) -> Step:
        node = self._nodes[n]
        return Step(n, n, node.layer, node.bottom_ids, node.top_ids,
                    node.layer.run if node.layer.pure else None)

    def _fused(self, steps: list[Step],
               fusion: Callable[[Step, Step], Compute | None]) -> list[Step]:
        """Join neighbours wherever `fusion` has a function for the two."""
        done: list[Step] = []
        for step in steps:
            before = done[-1] if done else step
            joined = fusion(before, step) if self._feeds_only(before, step, steps) else None
            if before is step or joined is None:
                done.append(step)
            else:
                done[-1] = Step(before.first, step.last, before.layer, before.reads, step.writes,
                                joined)
        return done

    def _feeds_only(self, before: Step, step: Step, steps: list[Step]) -> bool:
        """Whether what `before` makes is read by `step` and seen by nobody else."""
        if len(before.writes) != 1 or step.reads != before.writes:
            return False
        between = before.writes[0]
        if step.writes == [between]:                    # in place
            return True
        return between not in self.kept and sum(between in s.reads for s in steps) == 1

    def _others_on_memory(self, i: int) -> set[int]:
        return {j for j, blob in self.blobs.items()
                if j != i and blob.memory == self.blobs[i].memory}

    def _mark_deaths(self) -> None:
        last = {i: step for step in self.steps for i in [*step.reads, *step.writes]}
        for i, step in last.items():
            if i not in self.kept:
                step.dies.append(i)

    # --- running ----------------------------------------------------------------------------

    def run(self, call: Callable[[str, int], None] | None) -> None:
        """Run the steps; `call` is told "before_forward" and "after_forward" of their layers."""
        values: dict[int, Tensor] = {}
        shapes: dict[int, torch.Size] = {}
        with torch.no_grad():
            for steps, chain in self._spans:
                self._run_span(steps, chain, values, shapes, call or _nobody)
            for i, value in values.items():
                blob = self.blobs[i]
                if blob.touched and blob.shows(value):      # it is there, perhaps in another shape
                    blob.reshape(*value.shape)
                else:
                    blob.tensor = value
        for i, blob in self._released:
            blob.release_as(shapes.get(i, blob.shape))

    def _in_spans(self) -> Iterator[tuple[list[Step], Chain | None]]:
        """The steps, those of a chain together."""
        by_first = {chain.steps[0].first: chain for chain in self._chains}
        at = 0
        while at < len(self.steps):
            chain = by_first.get(self.steps[at].first)
            count = len(chain.steps) if chain else 1
            yield self.steps[at:at + count], chain
            at += count

    def _run_span(self, steps: list[Step], chain: Chain | None, values: dict[int, Tensor],
                  shapes: dict[int, torch.Size], call: Callable[[str, int], None]) -> None:
        given = [values[i] for i in chain.reads] if chain else []
        made = chain.made_of(given) if chain else None
        if chain and made:
            call("before_forward", steps[0].first)
            values.update(zip(chain.writes, made))
            for i in {i for step in steps for i in step.dies}.intersection(values):
                del values[i]
            call("after_forward", steps[-1].last)
            return
        for step in steps:
            call("before_forward", step.first)
            try:
                self._run_step(step, values)
            except BaseException as error:
                annotate(step.layer, error)
                raise
            for i in step.writes:
                shapes[i] = values[i].shape
            for i in step.dies:
                del values[i]
            call("after_forward", step.last)
        if chain and not chain.tried:
            reads = chain.reads

            def again() -> None:
                self._run_span(steps, None, dict(zip(reads, given)), {}, _nobody)
            chain.decide(self._converts, given, [values[i] for i in chain.writes],
                         again if self._measured else None, self._allowed)

    def _run_step(self, step: Step, values: dict[int, Tensor]) -> None:
        if step.compute is None:
            self._run_on_blobs(step, values)
        else:
            tops = step.compute(*[values[i] for i in step.reads])
            read = [] if step.layer.aliases_bottom else \
                [blob for blob in step.read_blobs if blob.touched]
            for i, y in zip(step.writes, tops):
                values[i] = own_memory(y, read) if read else y
        for i, others in step.overwrites:
            for j in others.intersection(values):
                values[j] = values[i].reshape(values[j].shape)

    def _run_on_blobs(self, step: Step, values: dict[int, Tensor]) -> None:
        layer, node = step.layer, self._nodes[step.first]
        for i, blob in zip(step.reads, node.bottom):
            blob.tensor = values[i]
        if not layer.shapes_by_running:
            layer.reshape(node.bottom, node.top)
        layer.forward(node.bottom, node.top)
        for i, blob in zip(step.writes, node.top):
            values[i] = blob.tensor


class Optimized:
    """What net.optimize() asked of a net; the plan is made when the net next runs.

    precision: None or "bfloat16"; raises CaffeError for another. converts: runtimes for chains.
    """

    def __init__(self, precision: str | None, backend: str = "torch") -> None:
        self._precision = product_dtype(precision)
        self._backend = backend
        self._converts: dict[str, Convert] = {}
        if backend != "torch":
            from caffe.backends import converts_of

            self._converts = converts_of(backend, self._precision)
        self._plan: Plan | None = None

    def forget(self) -> None:
        """Make another plan at the next run: weights have changed."""
        self._plan = None

    def run(self, net: Net, first: int, last: int,
            call: Callable[[str, int], None] | None) -> None:
        """Run layers first..last of `net`, which must be all; `call`: see `Plan.run`."""
        if (first, last) != (0, len(net.nodes) - 1):
            raise CaffeError("a net that was optimised runs as a whole: forward() without start "
                             "and end")
        first = self._plan is None
        if self._plan is None:
            ids = {i for node in net.nodes
                   for i, name, weight in zip(node.top_ids, node.top_names, node.loss_weights)
                   if weight or name in net.outputs}
            self._plan = self._planned(net, ids)
        self._plan.run(call)
        if first:
            give_back_freed()

    def _planned(self, net: Net, ids: set[int]) -> Plan:
        """The plan for the blobs `ids` of the net."""
        apt = net.device.type == "cpu" and net.dtype == torch.float32
        if self._converts and not apt:
            log.warning('backend "%s" is for nets in float32 on the CPU: torch computes '
                           "this one", self._backend)
        return Plan(net.nodes, ids, self._precision, self._converts if apt else None,
                    self._backend == "auto")


def _nobody(event: str, layer: int) -> None:
    pass


def _needed(nodes: list[Node], wanted: set[int]) -> list[int]:
    """Positions of the layers that lead to a memory of `wanted`, or to no blob at all (files)."""
    wanted, found = set(wanted), []
    for n in reversed(range(len(nodes))):
        node = nodes[n]
        writes_file = not node.top_ids and not node.layer.discards
        tops = {blob.memory for blob in node.top}
        if writes_file or node.layer.is_input or wanted & tops:
            wanted = wanted - tops | {blob.memory for blob in node.bottom}
            found.append(n)
    return found[::-1]


# --- fusions: two neighbours -> one function, or None --------------------------------------------

def _at_once(before: Step, step: Step) -> Compute | None:
    """What the layer itself knows to do together with the one behind it."""
    return before.layer.fuse_with(step.layer) if before.compute == before.layer.run else None


def _fold_affine(before: Step, step: Step) -> Compute | None:
    """A factor and a shift of each channel become part of the parameters before them."""
    affine = step.layer.as_affine()
    if affine is None:
        return None         # before parameters are read: an earlier plan may have packed them
    params = before.compute.params if isinstance(before.compute, Product) else \
        [blob.tensor for blob in before.layer.blobs] if before.compute == before.layer.run else None
    if params is None:
        return None
    folded = before.layer.fold_affine(params, *affine)
    return None if folded is None else Product(before.layer, folded)


def _overwrite(before: Step, step: Step) -> Compute | None:
    """A layer such as ReLU works in the memory of what it follows."""
    compute, rewrite = before.compute, step.layer.overwriting()
    if compute is None or rewrite is None or not before.layer.owns_output:
        return None
    return lambda *bottoms: tuple([rewrite(y) for y in compute(*bottoms)])


def _activate(before: Step, step: Step) -> Compute | None:
    """A packed product does a ReLU as it writes."""
    return before.compute.followed_by(step.layer) if isinstance(before.compute, Product) else None


def _prepare(step: Step, weights: Weights, precision: torch.dtype | None) -> None:
    """Let a product compute with packed weights, in `precision` if there is one; layers that lose
    by that go on in the net's.
    """
    compute, layer = step.compute, step.layer
    if compute is None:
        return
    if layer.is_product and isinstance(compute, Product):
        step.compute = weights.product(layer, compute.params)
    elif layer.is_product and compute == layer.run:
        step.compute = weights.product(layer)
    elif precision and not layer.takes_low_precision and not (
            layer.keeps_low_precision and compute == layer.run):
        step.compute = lambda *bottoms: compute(*(x.to(layer.dtype) for x in bottoms))
