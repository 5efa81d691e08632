"""`cfg` as the plain values that the functions of `mnc` take, for the layers' `setup`."""

from __future__ import annotations

import numpy as np

from caffe.extend import Phase
from mnc.boxes.anchors import generate_anchors
from mnc.boxes.proposals import ProposalLimits
from mnc.boxes.regression import Normalization
from mnc.config import ConfigError, cfg
from mnc.masks.targets import MaskForm
from mnc.sampling.anchor_targets import AnchorSampling
from mnc.sampling.cfm_targets import RegionSampling
from mnc.sampling.proposal_targets import OverlapBin, RoiSampling, TargetForm


def anchors() -> np.ndarray:
    """(A, 4) of one cell."""
    return generate_anchors(ratios=cfg.ANCHOR_RATIOS, scales=cfg.ANCHOR_SCALES)


def proposal_limits(phase: Phase) -> ProposalLimits:
    """Of the phase; min_size in pixels of the original image."""
    section = cfg[str(phase)]
    return ProposalLimits(
        pre_nms=section.RPN_PRE_NMS_TOP_N, post_nms=section.RPN_POST_NMS_TOP_N,
        nms_thresh=section.RPN_NMS_THRESH, min_size=section.RPN_MIN_SIZE,
        inclusive_nms=not cfg.USE_GPU_NMS)


def anchor_sampling() -> AnchorSampling:
    train = cfg.TRAIN
    return AnchorSampling(
        positive_overlap=train.RPN_POSITIVE_OVERLAP, negative_overlap=train.RPN_NEGATIVE_OVERLAP,
        clobber_positives=train.RPN_CLOBBER_POSITIVES, batch_size=train.RPN_BATCHSIZE,
        fg_fraction=train.RPN_FG_FRACTION, inside_weights=tuple(train.RPN_BBOX_INSIDE_WEIGHTS),
        positive_weight=train.RPN_POSITIVE_WEIGHT)


def roi_sampling() -> RoiSampling:
    train = cfg.TRAIN
    return RoiSampling(train.BATCH_SIZE,
                       _bins("FG_FRACTION", "FG_THRESH_LO", "FG_THRESH_HI"),
                       _bins("BG_FRACTION", "BG_THRESH_LO", "BG_THRESH_HI"))


def region_sampling() -> RegionSampling:
    train = cfg.TRAIN
    bins = _bins("FRACTION_SAMPLE", "THRESH_LO_SAMPLE", "THRESH_HI_SAMPLE")
    return RegionSampling(train.BATCH_SIZE, bins, train.FG_DET_THRESH, train.FG_SEG_THRESH)


def _bins(*keys: str) -> list[OverlapBin]:
    columns = [cfg.TRAIN[key] for key in keys]
    if len(set(map(len, columns))) > 1:
        raise ConfigError(f"{', '.join(f'TRAIN.{key}' for key in keys)} must be equally long, got "
                          f"{', '.join(map(str, columns))}")
    return [OverlapBin(*row) for row in zip(*columns)]


def normalization() -> Normalization | None:
    """Of the box targets in training; None where they are left as they are."""
    train = cfg.TRAIN
    if not (train.BBOX_NORMALIZE_TARGETS and train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED):
        return None
    return Normalization(np.array(train.BBOX_NORMALIZE_MEANS), np.array(train.BBOX_NORMALIZE_STDS))


def mask_form() -> MaskForm:
    return MaskForm(cfg.MASK_SIZE, cfg.BINARIZE_THRESH)


def target_form(num_classes: int) -> TargetForm:
    weights = tuple(cfg.TRAIN.BBOX_INSIDE_WEIGHTS)
    return TargetForm(num_classes, normalization(), weights, mask_form())
