"""MNCDataLayer: one training image a forward, drawn from the data bases handed to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from caffe.extend import Job, LayerError, exactly
from mnc.config import cfg
from mnc.data.dataset import DataError
from mnc.data.minibatch import minibatch
from mnc.data.roidb import Entry
from pylayer.adapter import read_options
from pylayer.image_order import ImageOrder, shuffled_pairs


class MNCDataLayer(ImageOrder):
    """tops: data (1, 3, H, W), im_info (1, 3), gt_boxes (G, 5); in MNC mode also gt_masks (G, h, w)
    and mask_info (G, 2), which is 0, 0 for an instance without a mask

    param_str: num_classes. set_roidb draws an order of the images, set_maskdb another. While the
    solver works on an image, a thread reads and scales the next one. Where images are augmented,
    the draws of the n-th follow from n and from a seed that comes with the order; both are kept in
    snapshots.
    """

    num_bottom = exactly(0)

    def setup(self, bottom: list, top: list) -> None:
        self._with_masks = cfg.MNC_MODE
        self._maskdb: Any = None            # Sequence[Entry], once there is one
        self._ahead: Any = None             # (index, short side, number; the Job that reads it)
        self._augment_seed = self._number = 0       # of the augmentation: number counts images
        names = ["data", "im_info", "gt_boxes"] + ["gt_masks", "mask_info"] * self._with_masks
        self.begin(read_options(self, num_classes=None).num_classes, top, names)
        shapes = [(1, 3, max(self._train.scales), self._train.max_size), (1, 3), (1, 5),
                  (1, 21, 21), (1, 2)]
        for blob, shape in zip(top, shapes):
            blob.reshape(*shape)

    def set_roidb(self, roidb: list[Entry]) -> None:
        """Take the entries to draw from (mnc.data.roidb.prepare)."""
        self._maskdb = self._ahead = None
        self.take_roidb(roidb)

    def set_maskdb(self, maskdb: Sequence[Entry]) -> None:
        """Take the masks that go with the roidb, in the same order."""
        if self._roidb is None or len(maskdb) != len(self._roidb):
            raise DataError(f"the maskdb has {len(maskdb)} entries, the roidb "
                            f"{len(self._roidb or [])}: call set_roidb first, with entries of the "
                            "same images")
        self._maskdb, self._ahead = maskdb, None
        self._shuffle()
        if self._train.augmentation.active:
            self._augment_seed, self._number = int(np.random.randint(2**31)), 0

    def forward(self, bottom: list, top: list) -> None:
        if self._roidb is None or (self._with_masks and self._maskdb is None):
            calls = "set_roidb and set_maskdb" if self._with_masks else "set_roidb"
            raise LayerError(f"{self.title}: MNCDataLayer has no data yet; call {calls} of this "
                             "layer (net.layers[0])")
        blobs = self.draw_readable(self._take)
        self._read_ahead()
        for name, blob in zip(self._names, top):
            blob.reshape(*blobs[name].shape)
            blob.data[...] = blobs[name]

    def _take(self, index: int, short_side: int) -> dict[str, np.ndarray]:
        """What was read ahead, if it is this; where a fork has lost the thread, read now."""
        drawn = index, short_side, self._number
        ahead, self._ahead = self._ahead, None
        job = ahead[1] if ahead and ahead[0] == drawn else None
        if job is None or job.lost():
            job = self._begin(*drawn)
        self._number += 1
        return job.result()

    def _begin(self, index: int, short_side: int, number: int) -> Job:
        path = self._roidb[index]["image"]
        return Job(lambda: self._read(index, short_side, number), lambda: f"{self.title}: {path}")

    def _read(self, index: int, short_side: int, number: int) -> dict[str, np.ndarray]:
        masks = self._maskdb[index] if self._with_masks else None
        augmentation, generator = self._train.augmentation, np.random.default_rng(
            [self._augment_seed, number])
        change = partial(augmentation.changed, generator=generator)
        return minibatch(self._roidb[index], masks, self._train.pixel_means, target_size=short_side,
                         max_size=self._train.max_size,
                         change=change if augmentation.active else None)

    def _read_ahead(self) -> None:
        """Begin with the image that comes next, where that can be told without drawing."""
        index = self.upcoming()
        if index is None or len(self._train.scales) > 1:
            self._ahead = None
        else:
            drawn = index, self._train.scales[0], self._number
            self._ahead = drawn, self._begin(*drawn)

    def snapshot_state(self) -> bytes:
        """The place in the order of the images, and in the draws of the augmentation."""
        place = json.loads(super().snapshot_state())
        return json.dumps({**place, "augmentation": [self._augment_seed, self._number]}).encode()

    def restore_state(self, state: bytes) -> None:
        """Go on from `snapshot_state`, with the same data bases."""
        super().restore_state(state)
        self._ahead = None
        kept = json.loads(state).get("augmentation")        # not in states of earlier versions
        if kept:
            self._augment_seed, self._number = kept

    def permutation(self) -> np.ndarray:
        if not self._train.grouped:
            return np.random.permutation(np.arange(len(self._roidb)))
        wide = np.array([entry["width"] >= entry["height"] for entry in self._roidb])
        return paired_permutation(np.flatnonzero(wide), np.flatnonzero(~wide))


def paired_permutation(wide: np.ndarray, tall: np.ndarray) -> np.ndarray:
    """All indices in random order by pairs: wide and tall ones shuffled, paired, pairs shuffled."""
    return shuffled_pairs(np.hstack((np.random.permutation(wide), np.random.permutation(tall))))
