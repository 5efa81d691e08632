"""Gradients that are too long, made shorter."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from caffe.engine import log
from caffe.engine.blob import Blob


def clip_gradients(params: Sequence[Blob], limit: float) -> None:
    """Scale all gradients so that their common L2 norm is at most `limit`; none if that is < 0."""
    if limit < 0 or not params:
        return
    gradients = [blob.diff_tensor for blob in params]
    norm = float(torch.stack([torch.linalg.vector_norm(g) for g in gradients]).norm())
    if norm > limit:
        log.info("Gradient clipping: scaling down gradients (L2 norm %g > %g) by scale factor "
                 "%g", norm, limit, limit / norm)
        for gradient in gradients:
            gradient.mul_(limit / norm)
