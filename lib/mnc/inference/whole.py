"""A cascade as one torch module, from the prepared image to instances: for mnc.commands.export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import caffe
from mnc.boxes.on_device import clip
from mnc.inference.cascade import passes
from mnc.inference.networks import blob_of
from mnc.inference.settings import TestSettings
from mnc.instances import InferenceError
from mnc.masks.tensor_voting import VotingForm

READ = ("rois", "mask_proposal", "seg_cls_prob")


class WholeCascade(nn.Module):
    """data (1, 3, H, W), im_info (1, 3), image_size (2,) int64 -> boxes (n, 4), masks (n, S, S),
    labels (n,) int64, scores (n,), best first

    data and im_info as mnc.inference.networks.run_net prepares them; image_size: height and width
    of the image as it was, in whose pixels the boxes are. A mask is a map over its box.
    """

    inputs = ("data", "im_info", "image_size")
    outputs = ("boxes", "masks", "labels", "scores")

    def __init__(self, net: caffe.Net, settings: TestSettings) -> None:
        """Raises InferenceError for a net without masks, and for voting of another form."""
        super().__init__()
        if settings.voting is None or not settings.continuous:
            raise InferenceError("files hold mask voting over continuous masks: set "
                                 "TEST.USE_MASK_MERGE and TEST.USE_GPU_MASK_MERGE to True")
        self.suffixes = tuple(passes(net))
        names = [f"{name}{suffix}" for suffix in self.suffixes for name in READ]
        for name in names:
            blob_of(net, name)
        self.net = net.to_torch(names).eval()
        self.voting = VotingForm(settings.voting)

    @property
    def bound(self) -> list[str]:
        """Of layers that no file can hold: which, and why."""
        return self.net.bound

    def forward(self, **named: Tensor) -> dict[str, Tensor]:
        """The outputs by name, of the shapes above."""
        found = self.net(data=named["data"], im_info=named["im_info"])
        rois, masks, scores = (torch.cat([found[f"{name}{suffix}"] for suffix in self.suffixes])
                               for name in READ)
        height, width = named["image_size"].to(rois.dtype).unbind(0)
        boxes = clip(rois[:, 1:5] / named["im_info"].reshape(-1)[2], (height, width))
        voted = self.voting(boxes, masks[:, 0], scores, named["image_size"])
        return dict(zip(self.outputs, voted))


def described(settings: TestSettings, classes: Sequence[str]) -> Mapping[str, str]:
    """What a program that runs the file has to know, as text: {"mnc": JSON}."""
    facts: dict[str, Any] = {
        "classes": list(classes), "pixel_means": settings.pixel_means.ravel().tolist(),
        "short_side": settings.scales[0], "longest_side": settings.max_size,
        "binarize": settings.mask.threshold}
    return {"mnc": json.dumps(facts)}


def left_out(settings: TestSettings) -> list[str]:
    """What a test with these settings does, and the file does not."""
    said = [f"preparing the image: less PIXEL_MEANS, its short side scaled to {settings.scales[0]} "
            f"pixels (the long one to {settings.max_size} at most); `mnc demo --model FILE.onnx` "
            f"does it"]
    if len(settings.scales) > 1:
        said.append(f"the other TEST.SCALES, {', '.join(map(str, settings.scales[1:]))}")
    if settings.mirrored:
        said.append("the mirrored image (TEST.USE_FLIPPED)")
    if settings.nested < 1:
        said.append("dropping nested instances (TEST.NMS_NESTED)")
    return said
