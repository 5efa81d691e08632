"""What layers compute with where a net does its products in less than its own precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from caffe.engine.blob import Blob

if TYPE_CHECKING:
    from caffe.engine.net.build import Node

Tensors = list[torch.Tensor]


class Rounding:
    """Rounds the factors of products to a precision. As a context it is one forward pass, in which
    a weight that several layers share is rounded once.

    shared: the `memory` of such weights' blobs.
    """

    def __init__(self, dtype: torch.dtype, shared: Iterable[int] = ()) -> None:
        self.dtype = dtype
        self._shared = frozenset(shared)
        self._kept: dict[int, torch.Tensor] = {}

    def __enter__(self) -> None:
        self._kept.clear()

    def __exit__(self, *error: object) -> None:
        self._kept.clear()      # who has recorded the pass keeps them by himself

    def factors(self, bottom: Sequence[Blob], params: Sequence[Blob]) -> tuple[Tensors, Tensors]:
        """The values of the blobs, rounded; of their shapes, not to be changed."""
        return [b.tensor_as_made.to(self.dtype) for b in bottom], list(map(self._rounded, params))

    def made(self, bottom: Sequence[Blob]) -> bool:
        """Whether all these blobs hold what was made in the precision."""
        return all(b.tensor_as_made.dtype == self.dtype for b in bottom)

    def _rounded(self, blob: Blob) -> torch.Tensor:
        value = self._kept.get(blob.memory)
        if value is None or value.shape != blob.shape:
            value = blob.tensor.to(self.dtype)
            if blob.memory in self._shared:
                self._kept[blob.memory] = value
        return value


def round_products(nodes: Sequence[Node], dtype: torch.dtype | None) -> Rounding | None:
    """Let products round their factors, and layers that only move values work on what came of it as
    it is, so that nothing is converted between the two; None: neither.

    A blob that several layers read goes to each through a Split, which adds gradients: what is
    behind one and is no product keeps the net's precision.
    """
    uses = Counter(b.memory for node in nodes if node.layer.is_product for b in node.layer.blobs)
    rounding = Rounding(dtype, {m for m, n in uses.items() if n > 1}) if dtype else None
    made: set[int] = set()          # blobs that come of products, through such layers alone
    for node in nodes:
        layer = node.layer
        takes = layer.dtype != dtype and (
            layer.is_product or (layer.moves_values and made.issuperset(node.bottom_ids)))
        layer.rounding = rounding if takes else None
        made = made.union(node.top_ids) if takes else made.difference(node.top_ids)
    return rounding
