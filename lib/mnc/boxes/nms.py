"""Non-maximum suppression of scored boxes."""

from __future__ import annotations

import numpy as np
import torch

from caffe import ops


def nms(dets: np.ndarray, thresh: float, inclusive: bool = False, limit: int = 0) -> np.ndarray:
    """Rows of `dets` (N, 5) = (box, score) to keep, best score first, equal scores in row order.

    A row goes when its IoU with a kept better one is > thresh, or >= thresh if `inclusive`
    (cfg.USE_GPU_NMS False). With a `limit` only the first so many that stay are looked for.
    """
    rows = torch.from_numpy(np.require(dets, np.float32, ("C", "W")))
    return ops.nms(rows, thresh, inclusive, limit).numpy()
