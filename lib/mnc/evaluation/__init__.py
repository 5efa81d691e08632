"""How good detections are: PASCAL's and SBD's figures, COCO's metric, the papers' figures."""

from mnc.evaluation.average_precision import evaluate

__all__ = ["evaluate"]
