"""The names of data sets that come along, for those who may not wait for mnc.data and torch."""

from __future__ import annotations

NAMES = (
    "voc_2012_seg_train", "voc_2012_seg_val", "scenes_train", "scenes_val",
    *(f"voc_{year}_{split}"
      for year in ("2007", "2012") for split in ("train", "val", "trainval", "test")),
    *(f"voc_{year}_segobj_{split}"
      for year in ("2007", "2012") for split in ("train", "val", "trainval")),
    "coco_2014_train", "coco_2014_val", "coco_2015_test", "coco_2015_test-dev", "coco_2017_train",
    "coco_2017_val", "coco_2017_test-dev")
