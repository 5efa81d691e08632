"""What `debug_info: true` logs, as Caffe does: the mean absolute value of every blob."""

from __future__ import annotations

from typing import Any

import torch

from caffe.engine import log
from caffe.engine.net.build import Node

FORWARD = "    [Forward] Layer %s, %s blob %s data: %g"
BACKWARD = "    [Backward] Layer %s, %s blob %s diff: %g"
NORMS = "    [Backward] All net params (data, diff): L1 norm = (%g, %g); L2 norm = (%g, %g)"


def log_forward(node: Node) -> None:
    """Tops and parameters of a layer after its forward pass."""
    layer = node.layer
    for name, blob in zip(node.top_names, node.top):
        log.info(FORWARD, layer.name, "top", name, _mean(blob.tensor))
    for i, blob in enumerate(layer.blobs):
        log.info(FORWARD, layer.name, "param", _param_name(layer, i), _mean(blob.tensor))


def log_backward(node: Node) -> None:
    """Gradients of bottoms and parameters of a layer, where it computes them."""
    layer = node.layer
    for name, blob, need in zip(node.bottom_names, node.bottom, layer.bottom_needs_gradient):
        if need:
            log.info(BACKWARD, layer.name, "bottom", name, _mean(blob.diff_tensor))
    for i, need in enumerate(layer.blob_needs_gradient):
        if need:
            log.info(BACKWARD, layer.name, "param", i, _mean(layer.blobs[i].diff_tensor))


def log_norms(net: Any) -> None:
    """Norms of all parameters and all their gradients together; Caffe logs this as an error."""
    pairs = [(blob.tensor, blob.diff_tensor) for blob in net.learnable_params]
    sums = [sum(float(measure(pair[k])) for pair in pairs)
            for measure in (_l1, _squares) for k in (0, 1)]
    log.error(NORMS, sums[0], sums[1], sums[2]**0.5, sums[3]**0.5)


def _param_name(layer: Any, index: int) -> str:
    """The name of a shared parameter, else its number."""
    specs = layer.param.param
    return specs[index].name or str(index) if index < len(specs) else str(index)


def _mean(values: torch.Tensor) -> float:
    return float(_l1(values)) / values.numel() if values.numel() else 0.0


def _l1(values: torch.Tensor) -> torch.Tensor:
    return values.abs().sum()


def _squares(values: torch.Tensor) -> torch.Tensor:
    return values.square().sum()
