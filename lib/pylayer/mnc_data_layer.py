"""MNCDataLayer: one training image a forward, drawn from the data bases handed to it."""

from __future__ import annotations

import json

import caffe
import numpy as np
import yaml
from caffe.engine.errors import LayerError
from caffe.engine.layer import exactly

from mnc.config import cfg
from mnc.data.dataset import DataError
from mnc.data.minibatch import minibatch
from mnc.data.roidb import Entry


class MNCDataLayer(caffe.Layer):
    """tops: data (1, 3, H, W), im_info (1, 3), gt_boxes (G, 5); in MNC mode also gt_masks (G, h, w)
    and mask_info (G, 2)

    param_str: num_classes. Images come in the order of a permutation drawn by set_roidb, again by
    set_maskdb, and whenever one is used up but for its last entry (as in the public code). All
    draws are numpy's global ones.
    """

    num_bottom = exactly(0)

    def setup(self, bottom, top) -> None:
        options = yaml.safe_load(self.param_str or "{}") or {}
        self._num_classes = options.get("num_classes")
        self._with_masks = cfg.MNC_MODE
        self._pixel_means = cfg.PIXEL_MEANS
        self._scales, self._max_size = cfg.TRAIN.SCALES, cfg.TRAIN.MAX_SIZE
        self._group = cfg.TRAIN.ASPECT_GROUPING
        self._roidb: list[Entry] | None = None
        self._maskdb: list[Entry] | None = None
        self._names = ["data", "im_info", "gt_boxes"] + ["gt_masks", "mask_info"] * self._with_masks
        if cfg.TRAIN.IMS_PER_BATCH != 1:
            raise LayerError(f"{self.title}: TRAIN.IMS_PER_BATCH is {cfg.TRAIN.IMS_PER_BATCH}, but "
                             "MNCDataLayer gives one image at a time; raise the solver's iter_size")
        if len(top) != len(self._names):
            raise LayerError(f"{self.title}: MNCDataLayer with MNC_MODE {self._with_masks} has "
                             f"{len(self._names)} tops ({', '.join(self._names)}), got {len(top)}")
        shapes = [(1, 3, max(self._scales), self._max_size), (1, 3), (1, 5), (1, 21, 21), (1, 2)]
        for blob, shape in zip(top, shapes):
            blob.reshape(*shape)

    def set_roidb(self, roidb: list[Entry]) -> None:
        """Take the entries to draw from (mnc.data.roidb.prepare)."""
        if not roidb:
            raise DataError("the roidb is empty: no image with an instance to train on")
        largest = max(int(entry["gt_classes"].max()) for entry in roidb)
        if self._num_classes is not None and largest >= self._num_classes:
            raise LayerError(f"{self.title}: the data has class {largest}, but num_classes is "
                             f"{self._num_classes} (background included); make a net for the "
                             "classes of this data set")
        self._roidb, self._maskdb = roidb, None
        self._shuffle()

    def set_maskdb(self, maskdb: list[Entry]) -> None:
        """Take the masks that go with the roidb, in the same order."""
        if self._roidb is None or len(maskdb) != len(self._roidb):
            raise DataError(f"the maskdb has {len(maskdb)} entries, the roidb "
                            f"{len(self._roidb or [])}: call set_roidb first, with entries of the "
                            "same images")
        self._maskdb = maskdb
        self._shuffle()

    def reshape(self, bottom, top) -> None:
        """Tops take their shapes in forward, with the image."""

    def forward(self, bottom, top) -> None:
        if self._roidb is None or (self._with_masks and self._maskdb is None):
            calls = "set_roidb and set_maskdb" if self._with_masks else "set_roidb"
            raise LayerError(f"{self.title}: MNCDataLayer has no data yet; call {calls} of this "
                             "layer (net.layers[0])")
        index = self._next_index()
        scale = self._scales[np.random.randint(0, high=len(self._scales), size=1)[0]]
        masks = self._maskdb[index] if self._with_masks else None
        blobs = minibatch(self._roidb[index], masks, self._pixel_means, target_size=scale,
                          max_size=self._max_size)
        for name, blob in zip(self._names, top):
            blob.reshape(*blobs[name].shape)
            blob.data[...] = blobs[name]

    def backward(self, top, propagate_down, bottom) -> None:
        """Data has no gradient."""

    def snapshot_state(self) -> bytes:
        """The place in the order of the images; a solver's snapshot keeps it."""
        return json.dumps({"order": self._perm.tolist(), "next": self._cur}).encode()

    def restore_state(self, state: bytes) -> None:
        """Go on from `snapshot_state`, with the same data bases."""
        saved = json.loads(state)
        if len(saved["order"]) != len(self._roidb or []):
            raise DataError(f"the snapshot was taken with {len(saved['order'])} entries, the roidb has "
                            f"{len(self._roidb or [])}: training can only be resumed on the same data")
        self._perm, self._cur = np.array(saved["order"], int), saved["next"]

    def _next_index(self) -> int:
        if self._cur + 1 >= len(self._roidb):
            self._shuffle()
        self._cur += 1
        return int(self._perm[self._cur - 1])

    def _shuffle(self) -> None:
        if self._group:
            wide = np.array([entry["width"] >= entry["height"] for entry in self._roidb])
            self._perm = paired_permutation(np.flatnonzero(wide), np.flatnonzero(~wide))
        else:
            self._perm = np.random.permutation(np.arange(len(self._roidb)))
        self._cur = 0


def paired_permutation(wide: np.ndarray, tall: np.ndarray) -> np.ndarray:
    """All indices in random order by pairs: wide and tall ones shuffled, paired, pairs shuffled.

    Of an odd number the last has no partner and goes first: the end of a permutation is never used.
    """
    order = np.hstack((np.random.permutation(wide), np.random.permutation(tall)))
    even = len(order) // 2 * 2
    alone, paired = order[even:], order[:even].reshape(-1, 2)
    pairs = paired[np.random.permutation(np.arange(len(paired)))]
    return np.hstack((alone, pairs.ravel())).astype(int)
