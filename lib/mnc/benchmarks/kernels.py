"""The region operators at VGG-16 sizes: native kernel, torch reference, and a copy beside them.

The copy is of as many bytes as the operator reads or as it writes, whichever is more. Only
mnc.commands.benchmark asks; the measuring is this room's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from caffe import ops
from caffe.ops.mask_pooling import mask_pooling_backward_mask
from caffe.ops.mask_resize import mask_resize_backward
from caffe.ops.roi_pooling import roi_pooling_backward, roi_pooling_forward
from caffe.ops.roi_warping import roi_warping_backward_features, roi_warping_backward_rois
from mnc.benchmarks.timing import take_turns

MAP = (1, 512, 38, 63)          # conv5_3 of a 600 x 1000 image
SCALE = 1 / 16
RUNS = 5


@dataclass(frozen=True)
class Timing:
    """Medians in milliseconds, of one operator."""

    operator: str
    sizes: str
    kernel: float
    copy: float
    reference: float

    @property
    def ratio(self) -> float:
        return self.kernel / self.copy


Case = tuple[str, str, int, Callable[[], object]]


def cases(device: torch.device) -> Iterator[Case]:
    """(operator, sizes, bytes read or written, a call) at the sizes of testing and training."""
    for group in (_warping, _pooling, _masks, _boxes):
        yield from group(device)


def _warping(device: torch.device) -> Iterator[Case]:
    features, many, few = _random(device, *MAP), _rois(300, device), _rois(64, device)
    warped, pooled = (_random(device, 300, MAP[1], side, side) for side in (28, 14))
    yield ("roi_warping", "300 RoIs, 28 x 28", _bytes(warped),
           lambda: ops.roi_warping(features, many, 28, 28, SCALE))
    yield ("roi_warping_pooled", "300 RoIs, 14 x 14", _bytes(pooled),
           lambda: ops.roi_warping_pooled(features, many, 14, 14, SCALE))
    grad = _random(device, 64, MAP[1], 28, 28)
    yield ("roi_warping, d features", "64 RoIs, 28 x 28", _bytes(grad),
           lambda: roi_warping_backward_features(grad, features, few, SCALE, 0))
    yield ("roi_warping, d RoIs", "64 RoIs, 28 x 28", _bytes(grad),
           lambda: roi_warping_backward_rois(grad, features, few, SCALE, 0))


def _pooling(device: torch.device) -> Iterator[Case]:
    features, many = _random(device, *MAP), _rois(300, device)
    small = _random(device, 300, MAP[1], 7, 7)
    where = roi_pooling_forward(features, many, 7, 7, SCALE)[1]
    yield ("roi_pooling", "300 RoIs, 7 x 7", _bytes(small, where),
           lambda: ops.roi_pooling(features, many, 7, 7, SCALE))
    yield ("roi_pooling, d features", "300 RoIs, 7 x 7", _bytes(small, where),
           lambda: roi_pooling_backward(small, where, features, many, SCALE))


def _masks(device: torch.device) -> Iterator[Case]:
    pooled, mask = _random(device, 300, MAP[1], 14, 14), _random(device, 300, 1, 14, 14)
    yield ("mask_pooling", "300 RoIs, 14 x 14", _bytes(pooled, mask),
           lambda: ops.mask_pooling(pooled, mask))
    yield ("mask_pooling, d mask", "300 RoIs, 14 x 14", _bytes(pooled, pooled),
           lambda: mask_pooling_backward_mask(pooled, pooled))
    masks = _random(device, 300, 1, 21, 21)
    yield ("mask_resize", "300 masks, 21 to 14", _bytes(masks),
           lambda: ops.mask_resize(masks, 14, 14))
    yield ("mask_resize, d masks", "300 masks, 21 to 14", _bytes(masks),
           lambda: mask_resize_backward(mask, 21, 21, 0))
    inds = torch.arange(600, device=device).repeat(4)
    ends = torch.arange(24, 2401, 24, device=device)
    weights = torch.full((2400,), 1 / 24., device=device)
    boxes, voters = _rois(600, device)[:, 1:].contiguous(), torch.rand(600, 21, 21, device=device)
    yield ("mask_voting", "600 masks, 100 results, 1000 x 600", _bytes(voters),
           lambda: ops.mask_voting(boxes, voters, inds, ends, weights, 600, 1000, 0.4))


def _boxes(device: torch.device) -> Iterator[Case]:
    dets = torch.cat((_rois(6000, device)[:, 1:], _random(device, 6000, 1)), 1)
    yield ("nms", "6000 boxes, 300 stay", _bytes(dets),
           lambda: ops.nms(dets, 0.7, False, 300))
    large = torch.cat((_rois(12000, device)[:, 1:], _random(device, 12000, 1)), 1)
    yield ("nms", "12000 boxes, 2000 stay", _bytes(large),
           lambda: ops.nms(large, 0.7, False, 2000))
    query = _rois(20, device)[:, 1:].contiguous()
    yield ("box_overlaps", "12000 boxes, 20 queries", 4 * 12000 * 20,
           lambda: ops.box_overlaps(large[:, :4], query))


def _random(device: torch.device, *shape: int) -> Tensor:
    x = torch.rand(shape, device=device)
    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x


def _bytes(*arrays: Tensor) -> int:
    return sum(x.numel() * x.element_size() for x in arrays)


def _rois(count: int, device: torch.device) -> Tensor:
    """(count, 5) on a 1000 x 600 image, 30 to 300 pixels wide and tall, neighbours overlapping."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([700.0, 300.0])
    size = 30 + 270 * torch.rand(count, 2, generator=generator)
    return torch.cat((torch.zeros(count, 1), corner, corner + size), 1).to(device)


def measure_kernels(device: torch.device) -> list[Timing]:
    """Kernel, copy and reference take turns, operator by operator."""
    found = []
    for operator, sizes, moved, call in cases(device):
        source, target = torch.ones(2, moved // 4, device=device)

        def reference(call=call):
            with ops.references():
                call()
        with torch.no_grad():
            times = take_turns({"kernel": call, "copy": partial(target.copy_, source),
                                "reference": reference}, RUNS)
        found.append(Timing(operator, sizes, **{k: 1000 * median(t) for k, t in times.items()}))
    return found


def kernel_report(timings: list[Timing]) -> str:
    """The timings as a Markdown table."""
    lines = ["| operator | sizes | kernel, ms | copy, ms | kernel / copy | reference, ms |",
             "| --- | --- | --- | --- | --- | --- |"]
    return "\n".join(lines + [f"| {t.operator} | {t.sizes} | {t.kernel:.2f} | {t.copy:.2f} | "
                              f"{t.ratio:.2f} | {t.reference:.1f} |" for t in timings])


def as_json(timings: list[Timing]) -> list[dict]:
    return [asdict(t) for t in timings]
