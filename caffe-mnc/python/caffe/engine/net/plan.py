"""The inference plan of a TEST net: the same layers, run for a few blobs and nothing else.

Against the ordinary forward pass, which keeps every blob for its user: layers that do not lead to
an output are left out, a blob is freed after its last reader, values go from layer to layer
without a blob between, and some neighbours become one step (the fusions at the end).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe import ops
from caffe.engine.layer import Layer, TorchLayer, own_memory
from caffe.engine.net.build import Node, noted
from caffe.proto.caffe_pb2 import PoolingParameter

Compute = Callable[..., tuple[Tensor, ...]]

ALIASING = ("Split", "Reshape", "Flatten")      # tops that are the bottom's memory
PRODUCTS = ("Convolution", "Deconvolution", "InnerProduct")
TAKES_ANY = ("ReLU", "Dropout", "Concat", *ALIASING)        # exact in low precision, too
OWN_MEMORY = ("Convolution", "Deconvolution", "InnerProduct", "BatchNorm", "Scale", "Eltwise")


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


class Plan:
    """What to run, in which order, to get the blobs `keep` (ids) of a net.

    precision: of convolutions and matrix products, if not the net's own.
    """

    def __init__(self, nodes: list[Node], keep: Iterable[int],
                 precision: torch.dtype | None = None) -> None:
        self._nodes = nodes
        self.blobs = {i: blob for node in nodes
                      for i, blob in zip([*node.bottom_ids, *node.top_ids],
                                         [*node.bottom, *node.top])}
        wanted = set(keep)
        needed = _needed(nodes, {self.blobs[i].memory for i in wanted})
        # what Python layers and inputs write lies in their blobs anyway
        self.kept = wanted | {i for n in needed if not _computes(nodes[n].layer)
                              and nodes[n].layer.type not in ALIASING for i in nodes[n].top_ids}
        steps = self._fused([self._step(n) for n in needed], _fold_normalisation)
        if precision is not None:
            for step in steps:
                _lower(step, precision)
        self.steps = self._fused(self._fused(steps, _relu_in_place), _warp_and_pool)
        self._mark_deaths()
        self._sharing = {i: self._others_on_memory(i) for step in self.steps
                         for i in set(step.reads).intersection(step.writes)}
        memory = {self.blobs[i].memory for i in self.kept}
        self.released = [i for i in self.blobs if self.blobs[i].memory not in memory]
        for i in self.kept:
            self.blobs[i].keep()        # an earlier plan may have released it

    # --- building ---------------------------------------------------------------------------

    def _step(self, n: int) -> Step:
        node = self._nodes[n]
        return Step(n, n, node.layer, node.bottom_ids, node.top_ids, _function(node))

    def _fused(self, steps: list[Step],
               fusion: Callable[[Step, Step], Compute | None]) -> list[Step]:
        """Join neighbours wherever `fusion` has a function for the two."""
        done: list[Step] = []
        for step in steps:
            before = done[-1] if done else None
            joined = fusion(before, step) if before and self._feeds_only(before, step, steps) \
                else None
            if joined is None:
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

    def run(self, call: Callable[[str, int], None]) -> None:
        """Run the steps; `call` is told "before_forward" and "after_forward" of their layers."""
        values: dict[int, Tensor] = {}
        shapes: dict[int, torch.Size] = {}
        with torch.no_grad():
            for step in self.steps:
                call("before_forward", step.first)
                with noted(step.layer):
                    self._run_step(step, values)
                shapes.update((i, values[i].shape) for i in step.writes)
                for i in step.dies:
                    del values[i]
                call("after_forward", step.last)
            for i, value in values.items():
                if self.blobs[i].shows(value):      # it is there, perhaps in another shape
                    self.blobs[i].reshape(*value.shape)
                else:
                    self.blobs[i].tensor = value
        for i in self.released:
            self.blobs[i].reshape(*shapes.get(i, self.blobs[i].shape))
            self.blobs[i].release()

    def _run_step(self, step: Step, values: dict[int, Tensor]) -> None:
        if step.compute is None:
            self._run_on_blobs(step, values)
        else:
            tops = step.compute(*(values[i] for i in step.reads))
            if step.layer.type not in ALIASING:
                tops = [own_memory(y, [self.blobs[i] for i in step.reads]) for y in tops]
            values.update(zip(step.writes, tops))
        for i in set(step.reads).intersection(step.writes):     # in place
            for j in self._sharing[i].intersection(values):
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


def _needed(nodes: list[Node], wanted: set[int]) -> list[int]:
    """Positions of the layers that lead to a memory of `wanted`, or to no blob at all (files)."""
    wanted, found = set(wanted), []
    for n in reversed(range(len(nodes))):
        node = nodes[n]
        writes_file = not node.top_ids and node.layer.type != "Silence"
        tops = {blob.memory for blob in node.top}
        if writes_file or node.layer.type == "Input" or wanted & tops:
            wanted = wanted - tops | {blob.memory for blob in node.bottom}
            found.append(n)
    return found[::-1]


def _computes(layer: Layer) -> bool:
    """Whether `compute` is all that the layer's forward pass does."""
    return isinstance(layer, TorchLayer) and layer.pure


def _function(node: Node) -> Compute | None:
    layer = node.layer
    if layer.type == "Split":
        return lambda x: (x,) * len(node.top_ids)
    if layer.type in ALIASING:
        return lambda x: (x.reshape(layer.new_shape(tuple(x.shape))),)
    return layer.run if _computes(layer) else None


# --- fusions: two neighbours -> one function, or None --------------------------------------------

def _relu_in_place(before: Step, step: Step) -> Compute | None:
    layer, compute = step.layer, before.compute
    if layer.type != "ReLU" or before.layer.type not in OWN_MEMORY or compute is None:
        return None

    def rectified(*bottoms: Tensor) -> tuple[Tensor, ...]:
        y, = compute(*bottoms)
        return (F.leaky_relu_(y, layer.slope) if layer.slope else F.relu_(y),)
    return rectified


def _warp_and_pool(before: Step, step: Step) -> Compute | None:
    """The warped map, four times as large as what is taken from it, is never written."""
    warp, pool = before.layer, step.layer
    if warp.type != "ROIWarping" or pool.type != "Pooling" or pool.with_places:
        return None
    window = pool.window
    plain = (pool.method == PoolingParameter.MAX and window is not None
             and window.kernel == window.stride == (2, 2) and window.pad == (0, 0))
    if not plain or any(n % 2 for n in warp.size):
        return None
    half = tuple(n // 2 for n in warp.size)
    return lambda features, rois: (ops.roi_warping_pooled(
        features.to(rois.dtype), rois.reshape(-1, 5), *half, warp.spatial_scale, warp.mode),)


def _fold_normalisation(before: Step, step: Step) -> Compute | None:
    """factor * (W x + b) + shift is a convolution with another W and b."""
    convolution = before.layer
    if convolution.type != "Convolution" or convolution.axis != 1:
        return None
    params = before.compute.params if isinstance(before.compute, _Folded) else \
        [blob.tensor for blob in convolution.blobs] if before.compute == convolution.run else None
    affine = step.layer.as_affine() if isinstance(step.layer, TorchLayer) else None
    if params is None or affine is None:
        return None
    factor, shift = affine
    weight, bias = params[0], params[1] if len(params) > 1 else torch.zeros_like(factor)
    columns = factor.reshape(-1, *[1] * (weight.dim() - 1))
    return _Folded(convolution, [weight * columns, bias * factor + shift])


@dataclass(frozen=True, eq=False)
class _Folded:
    """A layer with other parameters than its own."""

    layer: TorchLayer
    params: list[Tensor]

    def __call__(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return self.layer.run(*(x.to(self.params[0].dtype) for x in bottoms), params=self.params)


def _takes_maxima(layer: Layer) -> bool:
    """Pooling that is exact in low precision: no sums, and no places beyond 256."""
    return (layer.type == "Pooling" and layer.method == PoolingParameter.MAX
            and not layer.with_places)


def _lower(step: Step, precision: torch.dtype) -> None:
    """Compute a product in `precision`; layers that are not exact there go on in the net's."""
    compute, layer = step.compute, step.layer
    if layer.type in PRODUCTS and compute is not None:
        params = compute.params if isinstance(compute, _Folded) else [b.tensor for b in layer.blobs]
        step.compute = _Folded(layer, [p.to(precision) for p in params])
    elif compute is not None and layer.type not in TAKES_ANY and not _takes_maxima(layer):
        step.compute = lambda *bottoms: compute(*(x.to(layer.dtype) for x in bottoms))
