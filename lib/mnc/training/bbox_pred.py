"""bbox_pred learns normalised targets and is kept, in weight files, as a test needs it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

import caffe
from mnc.config import cfg

log = logging.getLogger("mnc")


@contextmanager
def bbox_pred_for_testing(net: caffe.Net) -> Iterator[Sequence[str]]:
    """bbox_pred as a test needs it, row by row w' = w * std, b' = b * std + mean; then as before.

    Training predicts (delta - mean) / std. Yields the names of the layers changed meanwhile.
    """
    if not predicts_normalized(net):
        yield ()
        return
    weight, bias = (blob.tensor for blob in net.params["bbox_pred"])               # (4K, D), (4K,)
    means, stds = normalization(bias)
    before = weight.clone(), bias.clone()
    weight.mul_(stds[:, None])
    bias.mul_(stds).add_(means)
    try:
        yield ("bbox_pred",)
    finally:
        weight.copy_(before[0])
        bias.copy_(before[1])


def load_for_training(net: caffe.Net, weights: str | Path) -> None:
    """Copy weights by layer name; bbox_pred, which files hold for testing, is normalised again.

    Layers of other sizes (those of other classes or anchors) stay, and one warning names them.
    """
    layer = net.params.get("bbox_pred", [])
    before, sums = [blob.tensor.clone() for blob in layer], _sums(net)
    net.copy_from(str(weights), required=True, partly=True)
    _warn_of_missing_mask_path(weights, sums, _sums(net))
    if not predicts_normalized(net) or all(map(torch.equal, before, (b.tensor for b in layer))):
        return
    weight, bias = (blob.tensor for blob in layer)
    means, stds = normalization(bias)
    weight.div_(stds[:, None])
    bias.sub_(means).div_(stds)


def _sums(net: caffe.Net) -> dict[str, float]:
    """By layer, of those on the masked path and of their like on the box path."""
    pairs = [(name.removesuffix("_mask"), name) for name in net.params if name.endswith("_mask")]
    return {name: float(net.params[name][0].tensor.sum(dtype=torch.float64))
            for pair in pairs if pair[0] in net.params for name in pair}


def _warn_of_missing_mask_path(weights: str | Path, before: dict[str, float],
                               after: dict[str, float]) -> None:
    """Where a file has filled the layers of the box path and not their like, fc7_mask of fc7."""
    changed = {name for name in before if before[name] != after[name]}
    missing = [name for name in before if name.endswith("_mask") and name not in changed
               and name.removesuffix("_mask") in changed]
    if missing:
        log.warning("%s has nothing for %s, which start from random values; "
                    "tools/make_mask_init.py makes a file that has", weights, ", ".join(missing))


def predicts_normalized(net: caffe.Net) -> bool:
    """Whether bbox_pred is trained on normalised targets."""
    train = cfg.TRAIN
    return (train.BBOX_REG and train.BBOX_NORMALIZE_TARGETS
            and train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED and "bbox_pred" in net.params)


def normalization(bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(means, stds), one of each for every output of bbox_pred: (4K,)"""
    means, stds = (bias.new_tensor(values).repeat(len(bias) // 4)
                   for values in (cfg.TRAIN.BBOX_NORMALIZE_MEANS, cfg.TRAIN.BBOX_NORMALIZE_STDS))
    return means, stds
