"""Rows of detections: image, label, score, corners."""

from __future__ import annotations

import torch
from torch import Tensor


def never_none(rows: Tensor, images: int) -> Tensor:
    """Rows (K, 7), or if there are none one of each image with -1 behind its number."""
    nothing = torch.full((images, 7), -1.0, dtype=rows.dtype, device=rows.device)
    nothing[:, 0] = torch.arange(images)
    both = torch.cat((rows, nothing))
    place, count = torch.arange(both.shape[0], device=rows.device), rows.shape[0]
    there = torch.ones_like(place) * count
    return both[(place < there) | (there == 0)]
