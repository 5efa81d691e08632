"""What the RoI operators share: checks, corners in map units, maps as rows of channels.

A RoI is (n, x1, y1, x2, y2): the index of its image in the batch, then corners in image pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from caffe.ops.layout import floats_for

ROW_ELEMENTS = 1 << 18      # elements gathered at a time: what the caches hold


def check_inputs(op: str, features: Tensor, rois: Tensor, pooled: tuple[int, int]) -> None:
    """features (N, C, H, W) and rois (R, 5) of one floating dtype and device, or an error; rois may
    be float32 beside features of less.

    Raises ValueError, or TypeError where the dtypes differ.
    """
    if features.dim() != 4 or rois.dim() != 2 or rois.shape[1] != 5:
        raise ValueError(f"{op}: features must be (N, C, H, W) and rois (R, 5), "
                         f"got {tuple(features.shape)} and {tuple(rois.shape)}")
    if min(features.shape[1:]) < 1:
        raise ValueError(f"{op}: features must have a channel and a pixel, "
                         f"got {tuple(features.shape)}")
    if not features.is_floating_point() or rois.dtype not in (features.dtype,
                                                              floats_for(features)):
        raise TypeError(f"{op}: features and rois must have one floating dtype, "
                        f"got {features.dtype} and {rois.dtype}")
    if features.device != rois.device:
        raise ValueError(f"{op}: features are on {features.device}, rois on {rois.device}")
    if min(pooled) <= 0:
        raise ValueError(f"{op}: pooled_h and pooled_w must be at least 1, got {pooled}")


def check_images(op: str, rois: Tensor, images: int) -> None:
    """Every RoI must name one of the `images` of the batch; the fraction of a number is cut.

    rois (R, 5). Raises IndexError.
    """
    if torch.compiler.is_compiling() or rois.shape[0] == 0 or rois.device.type != "cpu":
        return
    low, high = (float(n) for n in rois[:, 0].detach().aminmax())
    if not (low > -1 and high < images):        # NaN is neither
        raise IndexError(f"{op}: rois name image {high if low > -1 else low:g}, "
                         f"but the batch holds {images} image(s), numbered from 0")


def rounded_corners(rois: Tensor, spatial_scale: float) -> tuple[Tensor, ...]:
    """(x1, y1, x2, y2), each (R,): scaled, then rounded half away from zero as C's round does."""
    scaled = rois[:, 1:] * spatial_scale
    whole = scaled.trunc()
    return (whole + scaled.sign() * ((scaled - whole).abs() >= 0.5)).unbind(1)


def feature_rows(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N*H*W, C), one contiguous row of channels a pixel."""
    return features.permute(0, 2, 3, 1).contiguous().view(-1, features.shape[1])


def roi_chunks(count: int, elements_each: int) -> Iterator[slice]:
    """Slices of `count` RoIs that keep the rows gathered for one slice in the caches."""
    step = max(1, ROW_ELEMENTS // max(1, elements_each))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
