"""A net with all that a test does around it as one torch module, from the prepared image to what is
found: for mnc.commands.export."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import caffe
from caffe import ops
from mnc.boxes import on_device
from mnc.inference.cascade import passes
from mnc.inference.networks import blob_of
from mnc.inference.settings import TestSettings
from mnc.inference.tiles import Tiling
from mnc.instances import InferenceError
from mnc.masks.tensor_voting import VotingForm

FOUND = {"seg": ("boxes", "masks", "labels", "scores"), "det": ("boxes", "labels", "scores")}
READ = {"seg": ("rois", "mask_proposal", "seg_cls_prob"), "det": ("rois", "bbox_pred", "cls_prob")}


class WholeNet(nn.Module):
    """data (1, 3, H, W), im_info (1, 3), image_size (2,) int64 -> boxes (n, 4), masks (n, S, S) of
    task seg, labels (n,) int64, scores (n,), best first

    data and im_info as mnc.inference.networks.run_net prepares them; image_size: height and width
    of the image as it was, in whose pixels the boxes are. A mask is a map over its box.
    """

    inputs = ("data", "im_info", "image_size")

    def __init__(self, net: caffe.Net, settings: TestSettings, task: str) -> None:
        """task: seg or det. Raises InferenceError for a net of another, and voting of a form that
        no file can hold.
        """
        super().__init__()
        if task == "seg" and settings.voting is not None and not settings.continuous:
            raise InferenceError("files hold mask voting over continuous masks: set "
                                 "TEST.USE_GPU_MASK_MERGE to True, or TEST.USE_MASK_MERGE to False "
                                 "for suppression in its place")
        self.task, self.settings, self.outputs = task, settings, FOUND[task]
        both = task == "seg" or settings.stage5
        self.suffixes = tuple(passes(net)) if both else ("",)
        names = [f"{name}{suffix}" for suffix in self.suffixes for name in READ[task]]
        for name in names:
            blob_of(net, name)
        self.net = net.to_torch(names).eval()
        self.vote = VotingForm(settings.voting) if settings.voting is not None else None

    @property
    def bound(self) -> list[str]:
        """Of layers that no file can hold: which, and why."""
        return self.net.bound

    def forward(self, **named: Tensor) -> dict[str, Tensor]:
        """The outputs by name, of the shapes above."""
        found = self.net(data=named["data"], im_info=named["im_info"])
        rois, regressed, scores = (torch.cat([found[f"{name}{suffix}"] for suffix in self.suffixes])
                                   for name in READ[self.task])
        size = named["image_size"].to(rois.dtype).unbind(0)
        boxes = rois[:, 1:5] / named["im_info"].reshape(-1)[2]
        if self.task == "det":
            boxes = moved(boxes, regressed, self.settings)
            chosen = suppressed(clipped(boxes, size), scores, self.settings)
            return {"boxes": chosen[0], "labels": chosen[2], "scores": chosen[3]}
        boxes, masks = clipped(boxes, size), regressed[:, 0]
        if self.vote is not None:
            return dict(zip(self.outputs, self.vote(boxes, masks, scores, named["image_size"])))
        best, rows, labels, values = suppressed(boxes, scores, self.settings)
        return {"boxes": best, "masks": masks[rows], "labels": labels, "scores": values}


def moved(boxes: Tensor, deltas: Tensor, settings: TestSettings) -> Tensor:
    """Boxes (N, 4) by the deltas (N, 4K) of each class: (N, 4K); as they are without TEST.BBOX_REG
    """
    if not settings.regressed:
        return boxes
    deltas = on_device.bounded_growth(deltas, settings.most_growth)
    classes = deltas.shape[1] // 4
    of_each = boxes[:, None].expand(-1, classes, 4).reshape(-1, 4)
    return on_device.decode(of_each, deltas.reshape(-1, 4)).reshape(-1, 4 * classes)


def clipped(boxes: Tensor, size: Sequence[Tensor]) -> Tensor:
    """Boxes (N, 4 or 4K) inside an image of this height and width."""
    return on_device.clip(boxes.reshape(-1, 4), (size[0], size[1])).reshape(boxes.shape)


def suppressed(boxes: Tensor, scores: Tensor,
               settings: TestSettings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes (M, 4), their rows (M,), classes (M,) and scores (M,), best score first: what
    suppression class by class leaves of the settings.most best of each.

    boxes: (N, 4), or (N, 4K) one a class; scores (N, K). The same as mnc.inference.selection's
    best_of and suppress.
    """
    of_class = scores.T[1:]                                                     # (K - 1, N)
    classes = of_class.shape[0]
    most = torch.sym_min(scores.shape[0], settings.most)
    order = of_class.sort(dim=1, descending=True, stable=True).indices[:, :most]
    planes = boxes.reshape(boxes.shape[0], -1, 4).permute(1, 0, 2)              # (1 or K, N, 4)
    planes = planes[1:] if boxes.shape[1] > 4 else planes.expand(classes, -1, -1)
    best = planes.gather(1, order[:, :, None].expand(-1, -1, 4))
    values = of_class.gather(1, order)
    kept = ops.nms_of_lists(ops.half_open(best), values, settings.nms, settings.inclusive, 0)
    kept = kept[values[kept[:, 0], kept[:, 1]].sort(descending=True, stable=True).indices]
    lists, places = kept[:, 0], kept[:, 1]
    return best[lists, places], order[lists, places], lists + 1, values[lists, places]


def task_of(net: caffe.Net) -> str:
    """seg for a cascade, det for a Faster R-CNN, cfm for a net that is given its regions."""
    if "masks" in net.inputs:
        return "cfm"
    return "seg" if "mask_proposal" in net.blobs else "det"


def settings_in_file(settings: TestSettings) -> TestSettings:
    """What a file does of them: one view of the whole image."""
    return replace(settings, scales=settings.scales[:1], mirrored=False, upside_down=False,
                   transposed=False, nested=1.0, tiling=Tiling(0, settings.tiling.overlap))


def described(settings: TestSettings, classes: Sequence[str]) -> Mapping[str, str]:
    """What a program that runs the file has to know, as text: {"mnc": JSON}."""
    facts: dict[str, Any] = {
        "classes": list(classes), "pixel_means": settings.pixel_means.ravel().tolist(),
        "short_side": settings.scales[0], "longest_side": settings.max_size,
        "binarize": settings.mask.threshold}
    return {"mnc": json.dumps(facts)}


LEFT_OUT: tuple[tuple[Callable[[TestSettings], object], str], ...] = (
    (lambda s: s.scales[1:], "the other TEST.SCALES"),
    (lambda s: s.mirrored, "the mirrored image (TEST.USE_FLIPPED)"),
    (lambda s: s.upside_down, "the image upside down (TEST.USE_UPSIDE_DOWN)"),
    (lambda s: s.transposed, "the image with rows for columns (TEST.USE_TRANSPOSED)"),
    (lambda s: s.tiling.side, "large images in parts (TEST.TILES)"),
    (lambda s: s.nested < 1, "dropping nested instances (TEST.NMS_NESTED)"))


def left_out(settings: TestSettings) -> list[str]:
    """What a test with these settings does, and the file does not."""
    said = [f"preparing the image: less PIXEL_MEANS, its short side scaled to {settings.scales[0]} "
            f"pixels (the long one to {settings.max_size} at most); `mnc demo --model FILE.onnx` "
            f"does it"]
    return said + [what for there, what in LEFT_OUT if there(settings)]
