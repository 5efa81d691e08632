"""The name by which scripts import COCO's metric; it lives in mnc.evaluation.coco."""

from mnc.evaluation.coco import coco_metric, entries_metric

__all__ = ["coco_metric", "entries_metric"]
