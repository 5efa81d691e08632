"""The Python layers of a test net as torch modules: what net.to_torch() and files of nets hold.

Each takes the bottoms of its layer and gives the tuple of its tops. Tests hold them against the
layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnc.boxes import on_device
from mnc.boxes.proposals import ProposalLimits


class ProposalForm(nn.Module):
    """Scores (1, 2A, H, W), deltas (1, 4A, H, W), im_info (1, 3) -> RoIs (R, 5), anchors (1, R)

    of_levels: (L, A, 4), the anchors at the first cell of each map, whose cells lie `steps` pixels
    apart; with several the maps are the last bottoms, as ProposalLayer has them.
    """

    of_levels: Tensor

    def __init__(self, of_levels: np.ndarray, steps: Sequence[int], limits: ProposalLimits,
                 most_growth: float) -> None:
        super().__init__()
        self.register_buffer("of_levels", torch.as_tensor(of_levels, dtype=torch.float32),
                             persistent=False)
        self.steps, self.limits, self.most_growth = steps, limits, most_growth

    def forward(self, scores: Tensor, deltas: Tensor, im_info: Tensor,
                *maps: Tensor) -> tuple[Tensor, Tensor]:
        """The tops, of these shapes."""
        height, width, scale = im_info.reshape(-1).unbind(0)
        least: Any = self.limits.min_size * scale
        limits = replace(self.limits, min_size=least)
        rows = scores.permute(0, 2, 3, 1)[..., self.of_levels.shape[1]:].reshape(-1)
        moved = on_device.bounded_growth(deltas.permute(0, 2, 3, 1).reshape(-1, 4),
                                         self.most_growth)
        anchors = torch.cat([self._of_cells(like, level, step) for like, level, step in zip(
            maps or (scores,), self.of_levels.to(scores.dtype), self.steps)])
        rois, index = on_device.propose(rows, moved, anchors, (height, width), limits)
        return rois, index[None].to(scores.dtype)

    @staticmethod
    def _of_cells(like: Tensor, anchors: Tensor, step: int) -> Tensor:
        """(H W A, 4): the anchors at every cell of the map `like`, by (y, x, anchor)"""
        y, x = (torch.arange(count, dtype=like.dtype, device=like.device) * step
                for count in like.shape[2:])
        corner = torch.stack(torch.broadcast_tensors(x, y[:, None]), 2)          # (H, W, 2)
        return (torch.cat((corner, corner), 2)[:, :, None] + anchors).reshape(-1, 4)


class BridgeForm(nn.Module):
    """rois (R, 5), bbox_pred (R, 4K), seg_cls_prob (R, K), im_info (1, 3) -> rois_ext (R, 5)"""

    def __init__(self, most_growth: float, foreground_only: bool) -> None:
        super().__init__()
        self.most_growth, self.foreground_only = most_growth, foreground_only

    def forward(self, rois: Tensor, deltas: Tensor, scores: Tensor,
                im_info: Tensor) -> tuple[Tensor]:
        """The top, of this shape."""
        height, width, _ = im_info.reshape(-1).unbind(0)
        bounded = on_device.bounded_growth(deltas, self.most_growth)
        return (on_device.move_rois(rois, bounded, scores, (height, width),
                                    self.foreground_only),)


class MaskForm(nn.Module):
    """mask_output (R, S * S) -> mask_proposal (R, 1, S, S)"""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, masks: Tensor, *_: Tensor) -> tuple[Tensor]:
        """The top, of this shape."""
        return (masks.reshape(-1, 1, self.size, self.size),)
