"""From an image to instances or boxes: what cascades say of it, joined by mask voting or by NMS.

A net sees each image, or each tile of a large one, once for every scale, and turned over as well if
asked for; where a function takes `net`, it takes several, too. The results of all these views, and
of both passes of a five-stage net, go into one pool that voting or NMS then thins.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import caffe
from mnc.boxes.regression import bbox_transform_inv, bounded_growth, clip_boxes
from mnc.inference.networks import Nets, as_list, blob_of, joined, run_net, tell_of_shrunk
from mnc.inference.selection import best_of, suppress, unnested
from mnc.inference.settings import TestSettings
from mnc.inference.tiles import joined_tiles, tiles_of
from mnc.inference.views import views_of
from mnc.instances import ImageDetections, Raw
from mnc.masks.voting import vote_masks, vote_masks_cpu

Read = Callable[[caffe.Net, float, tuple[int, int]], Raw]


def segment_image(net: Nets, image: np.ndarray,
                  cfg: Mapping[str, Any] | TestSettings) -> ImageDetections:
    """Instances of one BGR image (H, W, 3) by class: (boxes (n, 5), masks (n, S, S)) of each.

    cfg: mnc.config.cfg, a copy of it, or TestSettings. By mask voting, or by NMS where
    TEST.USE_MASK_MERGE is off.
    """
    settings = TestSettings.of(cfg)
    raw = im_detect(net, image, settings)
    if settings.voting is None:
        return unnested(suppress(best_of(raw, settings.most), settings.nms, settings.inclusive),
                        settings)
    vote = partial(vote_masks, device=as_list(net)[0].device) if settings.continuous \
        else vote_masks_cpu
    return unnested(vote(raw, image.shape[:2], settings.voting), settings)


def detect_boxes(net: Nets, image: np.ndarray,
                 cfg: Mapping[str, Any] | TestSettings) -> ImageDetections:
    """Boxes as stage 3 regresses and scores them, best first, before NMS; masks (n, 0, 0).

    With TEST.DET_STAGE5 stage 5's are among them.
    """
    settings = TestSettings.of(cfg)

    def read(one: caffe.Net, scale: float, image_size: tuple[int, int]) -> Raw:
        suffixes = passes(one) if settings.stage5 else ("",)
        return joined([read_boxes(one, scale, image_size, suffix, settings)
                       for suffix in suffixes])

    return best_of(pooled(net, image, settings, read), settings.most)


def find_instances(net: Nets, image: np.ndarray, settings: TestSettings) -> ImageDetections:
    """Instances of an image of a set; without voting those from which the set's best are taken.

    image (H, W, 3) uint8 BGR.
    """
    if settings.voting is not None:
        return segment_image(net, image, settings)
    return best_of(im_detect(net, image, settings), settings.most)


def find_boxes(net: Nets, image: np.ndarray, settings: TestSettings) -> ImageDetections:
    """Boxes of an image of a set. image (H, W, 3) uint8 BGR."""
    return detect_boxes(net, image, settings)


# --- what the nets say ---------------------------------------------------------------------------

def im_detect(net: Nets, image: np.ndarray, settings: TestSettings) -> Raw:
    """Boxes, masks and class scores of the three-stage or five-stage net, of every pass.

    image (H, W, 3) uint8 BGR.
    """
    return pooled(net, image, settings, read_raw)


def pooled(net: Nets, image: np.ndarray, settings: TestSettings, read: Read) -> Raw:
    """`read` after each net has seen each view of the image, or of its tiles, all in one.

    image (H, W, 3) uint8 BGR.
    """
    size = (image.shape[0], image.shape[1])
    tiles = tiles_of(size, settings.tiling)
    if len(tiles) == 1:
        tell_of_shrunk(size, max(settings.scales), settings.max_size)
        return _seen(net, image, settings, read)
    found = [_seen(net, np.ascontiguousarray(tile.of(image)), settings, read) for tile in tiles]
    return joined(joined_tiles(tiles, found, size))


def _seen(net: Nets, image: np.ndarray, settings: TestSettings, read: Read) -> Raw:
    """Of an image (H, W, 3), or a tile: by each net, at each scale, in each view."""
    found = []
    for one, short_side, view in itertools.product(as_list(net), settings.scales,
                                                   views_of(settings)):
        seen = view.image(image)
        size = (seen.shape[0], seen.shape[1])
        raw = read(one, run_net(one, seen, settings, short_side), size)
        found.append(view.back(raw, size))
    return joined(found)


def read_raw(net: caffe.Net, scale: float, image_size: tuple[int, int]) -> Raw:
    """What the last forward left in the blobs; image_size is (height, width) before scaling."""
    boxes, masks, scores = (
        np.concatenate([blob_of(net, f"{name}{suffix}").data for suffix in passes(net)])
        for name in ("rois", "mask_proposal", "seg_cls_prob"))
    boxes, _ = clip_boxes(boxes[:, 1:5] / np.float32(scale), image_size)
    return Raw(boxes, masks[:, 0], scores)                      # (N, 1, S, S) -> (N, S, S)


def passes(net: caffe.Net) -> Sequence[str]:
    """Suffixes of the blobs of each pass: stages 2 and 3, and 4 and 5 where the net has them."""
    return ("", "_ext") if "rois_ext" in net.blobs else ("",)


def read_boxes(net: caffe.Net, scale: float, image_size: tuple[int, int], suffix: str,
               settings: TestSettings) -> Raw:
    """Boxes (R, 4K) as regressed and scored after a pass, or the RoIs (R, 4); no masks."""
    rois = blob_of(net, f"rois{suffix}").data[:, 1:5] / np.float32(scale)           # (R, 4)
    deltas = bounded_growth(blob_of(net, f"bbox_pred{suffix}").data, settings.most_growth)
    moved = bbox_transform_inv(rois, deltas) if settings.regressed else rois
    boxes, _ = clip_boxes(moved, image_size)
    scores = blob_of(net, f"cls_prob{suffix}").data.copy()
    return Raw(boxes, np.zeros((len(rois), 0, 0), np.float32), scores)
