"""What the data layers share: the order in which training images come."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

import caffe
from caffe.extend import LayerError
from mnc.config import cfg
from mnc.data.checking import most_bad
from mnc.data.dataset import DataError, listed
from mnc.data.roidb import Entry
from pylayer.settings import TrainSettings

log = logging.getLogger("mnc")
T = TypeVar("T")


class ImageOrder(caffe.Layer):
    """A data layer that draws one image a forward, in the order of a permutation.

    A permutation is drawn anew when one is used up but for its last entry (as in the public code).
    All draws are numpy's global ones. Subclasses say in `permutation` how.

    N workers that train together share one order: worker r takes every N-th image from the r-th
    on. The permutations that follow the first come from a seed that they share, too.
    """

    shared_place = True

    def begin(self, num_classes: int | None, top: list, names: list[str]) -> None:
        """To be called in setup: what every data layer checks and reads of cfg."""
        self._num_classes: Any = num_classes        # None where the layer takes any
        self._names = names
        self._train = TrainSettings.of(cfg)
        self._roidb: Any = None                     # list[Entry], once there is one
        self.bad_data = "stop"          # or "skip": images that cannot be read are passed over
        self.skipped: dict[str, str] = {}       # those, and why
        self._shown: list[str] = []
        state: Any = np.random.get_state()          # its first key, without a draw, is the seed
        self._seed, self._passes = int(state[1][0]), 0      # of the orders that workers share
        if self._train.images != 1:
            raise LayerError(f"{self.title}: TRAIN.IMS_PER_BATCH is {self._train.images}, but "
                             f"{type(self).__name__} gives one image at a time; raise the solver's "
                             "iter_size")
        if len(top) != len(names):
            raise LayerError(f"{self.title}: {type(self).__name__} with MNC_MODE {cfg.MNC_MODE} "
                             f"has {len(names)} tops ({', '.join(names)}), got {len(top)}")

    def take_roidb(self, roidb: list[Entry]) -> None:
        """Check the entries and draw a permutation of them."""
        if not roidb:
            raise DataError("the roidb is empty: no image with an instance to train on")
        largest = max(int(entry["gt_classes"].max()) for entry in roidb)
        if self._num_classes is not None and largest >= self._num_classes:
            raise LayerError(f"{self.title}: the data has class {largest}, but num_classes is "
                             f"{self._num_classes} (background included); make a net for the "
                             "classes of this data set")
        self._roidb = roidb
        self._shuffle()

    def permutation(self) -> np.ndarray:
        """All indices of the roidb in a new random order."""
        raise NotImplementedError

    def draw(self) -> tuple[int, int]:
        """(index of the next image, its short side)"""
        index, scales = self._next_index(), self._train.scales
        return index, scales[np.random.randint(0, high=len(scales), size=1)[0]]

    def draw_readable(self, read: Callable[[int, int], T]) -> T:
        """What `read(index, short side)` gives for the next image.

        Where images that cannot be read are passed over, for the next that can; each is named
        once. Raises DataError if they are more than 1 % of the images.
        """
        while True:
            index, short_side = self.draw()
            path = str(self._roidb[index]["image"])
            try:
                result = read(index, short_side)
            except DataError as error:
                if self.bad_data != "skip":
                    raise
                self._pass_over(path, str(error))
            else:
                self._shown = [path]
                return result

    def _pass_over(self, path: str, reason: str) -> None:
        if path in self.skipped:
            return
        self.skipped[path] = reason
        count = len({entry["image"] for entry in self._roidb or ()})
        log.warning("%s: passed over, with %d others so far", reason, len(self.skipped) - 1)
        if len(self.skipped) > most_bad(count):
            raise DataError(f"{len(self.skipped)} of {count} images cannot be read, more than are "
                            f"passed over:\n{listed(list(self.skipped.values()))}")

    def batch_items(self) -> list[str]:
        """The image that the tops hold."""
        return self._shown

    def reshape(self, bottom: list, top: list) -> None:
        """Tops take their shapes in forward, with the image."""

    def backward(self, top: list, propagate_down: list, bottom: list) -> None:
        """Data has no gradient."""

    def snapshot_state(self) -> bytes:
        """The place in the order of the images; a solver's snapshot keeps it."""
        return json.dumps({"order": self._perm.tolist(), "next": self._cur, "seed": self._seed,
                           "passes": self._passes}).encode()

    def restore_state(self, state: bytes) -> None:
        """Go on from `snapshot_state`, with the same data bases."""
        saved, have = json.loads(state), len(self._roidb or [])
        if len(saved["order"]) != have:
            raise DataError(f"the snapshot was taken with {len(saved['order'])} entries, the roidb "
                            f"has {have}: training can only be resumed on the same data")
        self._perm, self._cur = np.array(saved["order"], int), saved["next"]
        self._seed, self._passes = saved.get("seed", self._seed), saved.get("passes", 0)

    def _next_index(self) -> int:
        """Of the images that all workers draw now, the one of this worker."""
        drawn = [self._next_of_all() for _ in range(caffe.solver_count())]
        return drawn[caffe.solver_rank()]

    def _next_of_all(self) -> int:
        if self._cur + 1 >= len(self._perm):
            self._passes += 1
            self._shuffle()
        self._cur += 1
        return int(self._perm[self._cur - 1])

    def upcoming(self) -> int | None:
        """What `_next_index` will give; None where it has to draw a new order first."""
        place = self._cur + caffe.solver_rank()
        return None if place + 1 >= len(self._perm) else int(self._perm[place])

    def _shuffle(self) -> None:
        if caffe.solver_count() == 1 or not self._passes:
            self._perm, self._cur = self.permutation(), 0
            return
        own = np.random.get_state()
        np.random.seed((self._seed + self._passes) % 2**32)
        self._perm, self._cur = self.permutation(), 0
        np.random.set_state(own)


def shuffled_pairs(order: np.ndarray) -> np.ndarray:
    """Neighbours paired, the pairs in random order.

    Of an odd number the last has no partner and goes first: the end of a permutation is never used.
    """
    even = len(order) // 2 * 2
    alone, paired = order[even:], order[:even].reshape(-1, 2)
    pairs = paired[np.random.permutation(np.arange(len(paired)))]
    return np.hstack((alone, pairs.ravel())).astype(int)
