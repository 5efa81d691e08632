"""CFMDataLayer: an image and a sample of its regions, for convolutional feature masking."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from caffe.extend import Job, LayerError, exactly
from mnc.config import cfg
from mnc.data.cache import kept
from mnc.data.dataset import DataError
from mnc.data.hashes import value_hash
from mnc.data.images import image_blob
from mnc.data.mcg import check_labels, load_mat, load_regions, region_columns
from mnc.data.minibatch import scaled_image
from mnc.data.names import named_files
from mnc.data.roidb import Entry
from mnc.sampling.cfm_targets import (
    BoxStatistics,
    RegionTargets,
    box_deltas,
    box_statistics,
    region_targets,
)
from pylayer.adapter import read_options, write
from pylayer.image_order import ImageOrder, shuffled_pairs

log = logging.getLogger("mnc")

TOPS = ["data", "rois", "masks", "box_labels", "mask_labels", "bbox_targets", "mask_targets",
        "bbox_inside_weights", "bbox_outside_weights", "mask_weight"]


class CFMDataLayer(ImageOrder):
    """tops: data (1, 3, H, W); rois (R, 5), masks (R, 1, s, s); box_labels, mask_labels (R, 1);
    bbox_targets (R, 4K), mask_targets (R, 1, S, S); bbox_inside_weights, bbox_outside_weights
    (R, 4K), mask_weight (R, 1, S, S). Foreground first.

    param_str: num_classes; regions, the folder of the files that tools/prepare_mcg_maskdb.py
    makes (default: MCG in cfg.DATA_DIR). Box targets are normalised by class with the statistics
    of all regions, unless cfg.TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED gives one for all.
    """

    num_bottom = exactly(0)

    def setup(self, bottom: list, top: list) -> None:
        options = read_options(self, num_classes=None, regions=None)
        if options.num_classes is None:
            raise LayerError(f"{self.title}: param_str must give num_classes")
        self.begin(options.num_classes, top, TOPS)
        if self._train.augmentation.active:
            log.warning("%s: TRAIN.AUGMENT has no effect: regions are given for images as they are",
                        self.title)
        self._folder = Path(options.regions or Path(cfg.DATA_DIR) / "MCG")
        self._cache = Path(cfg.DATA_DIR) / "cache"
        k, size = 4 * options.num_classes, self._train.mask.size
        side = self._train.input_mask.size
        shapes = [(1, 3, max(self._train.scales), self._train.max_size), (1, 5),
                  (1, 1, side, side), (1, 1), (1, 1), (1, k), (1, 1, size, size), (1, k), (1, k),
                  (1, 1, size, size)]
        for blob, shape in zip(top, shapes):
            blob.reshape(*shape)

    def set_roidb(self, roidb: list[Entry]) -> None:
        """Take the images to draw from (mnc.data.roidb.prepare); each needs its file of regions."""
        missing = [path for path in map(self._file, roidb) if not path.is_file()]
        if missing:
            raise DataError(f"{len(missing)} of {len(roidb)} images have no regions, the first is "
                            f"{missing[0]}; tools/prepare_mcg_maskdb.py makes them")
        self.take_roidb(roidb)
        self.statistics = self._statistics()

    def set_maskdb(self, maskdb: list[Entry]) -> None:
        """Nothing: masks come with the regions."""

    def forward(self, bottom: list, top: list) -> None:
        if self._roidb is None:
            raise LayerError(f"{self.title}: CFMDataLayer has no data yet; call set_roidb of this "
                             "layer (net.layers[0])")
        image, targets = self.draw_readable(self._take)
        write(top[0], image_blob([image]))
        for name, blob in zip(TOPS[1:], top[1:]):
            write(blob, getattr(targets, name))

    def _take(self, index: int, short_side: int) -> tuple[np.ndarray, RegionTargets]:
        entry, train = self._roidb[index], self._train
        job = Job(lambda: scaled_image(entry, train.pixel_means, short_side, train.max_size),
                  lambda: f"{self.title}: {entry['image']}")
        image, scale = job.result()
        return image, self._sample(entry, scale)

    def permutation(self) -> np.ndarray:
        """All images count as wide when they are grouped (the public code takes the width for the
        height, too); the mirrored ones, the second half, keep the order of the first."""
        count = len(self._roidb)
        if not self._train.grouped:
            return np.random.permutation(np.arange(count))
        plain = count // 2 if self._roidb[-1]["flipped"] else count
        order = np.random.permutation(np.arange(plain))
        return shuffled_pairs(np.hstack((order, order + plain)) if plain < count else order)

    def _sample(self, entry: Entry, scale: float) -> RegionTargets:
        path = self._file(entry)
        regions, mirrored = load_regions(path)
        check_labels(path, regions.labels, self._num_classes)
        if regions.masks.shape[1] != self._train.mask.size:
            raise DataError(f"{path}: masks have side {regions.masks.shape[1]}, cfg.MASK_SIZE is "
                            f"{self._train.mask.size}")
        if mirrored != entry["flipped"]:
            regions = regions.mirrored(entry["width"])
        return region_targets(regions, scale, self._train.regions, self.statistics,
                              self._train.inside_weights, self._train.input_mask)

    def _file(self, entry: Entry) -> Path:
        return named_files(self._folder, [entry["name"]], ".mat")[0]

    def _statistics(self) -> BoxStatistics:
        shape = (self._num_classes, 1)
        if not self._train.normalizes:
            return BoxStatistics(np.tile(np.zeros(4), shape), np.tile(np.ones(4), shape))
        for_all = self._train.normalization
        if for_all is not None:
            return BoxStatistics(np.tile(for_all.means, shape), np.tile(for_all.stds, shape))
        plain = [entry for entry in self._roidb if not entry["flipped"]]
        mirrored = len(plain) < len(self._roidb)
        files = [self._file(entry) for entry in plain]
        stamps = [(str(file.resolve()), file.stat().st_mtime_ns, file.stat().st_size)
                  for file in files]
        key = value_hash([stamps, self._num_classes, self._train.box_overlap, mirrored])[:16]
        return BoxStatistics(**kept(self._cache / f"cfm_boxes_{key}.npz", lambda: vars(
            self._measure(files, mirrored))))

    def _measure(self, files: list[Path], mirrored: bool) -> BoxStatistics:
        log.info("measuring the boxes of %d images in %s", len(files), self._folder)
        keys = ("boxes", "det_overlap", "output_label", "gt_assignment")
        found = []
        for file in files:
            content = load_mat(file, keys)
            columns = region_columns(file, content)
            check_labels(file, columns["output_label"], self._num_classes)
            found.append(box_deltas(content["boxes"].astype(float), columns["det_overlap"],
                                    columns["output_label"],
                                    columns["gt_assignment"].astype(int), self._train.box_overlap))
        classes, deltas = (np.concatenate(column) for column in zip(*found))
        return box_statistics(classes, deltas, self._num_classes, mirrored)
