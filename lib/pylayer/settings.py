"""`cfg` as the plain values that the functions of `mnc` take. Called by `setup` of the layers, nowhere else."""

from __future__ import annotations

import numpy as np

from caffe.engine.layer import Phase
from mnc.boxes.anchors import generate_anchors
from mnc.boxes.proposals import ProposalLimits
from mnc.boxes.regression import Normalization
from mnc.config import cfg
from mnc.masks.targets import MaskForm
from mnc.sampling.anchor_targets import AnchorSampling
from mnc.sampling.proposal_targets import OverlapBin, RoiSampling, TargetForm


def anchors() -> np.ndarray:
    """(A, 4) of one cell."""
    return generate_anchors(ratios=cfg.ANCHOR_RATIOS, scales=cfg.ANCHOR_SCALES)


def proposal_limits(phase: Phase) -> ProposalLimits:
    """Of the phase; min_size in pixels of the original image."""
    section = cfg[str(phase)]
    return ProposalLimits(section.RPN_PRE_NMS_TOP_N, section.RPN_POST_NMS_TOP_N, section.RPN_NMS_THRESH,
                          section.RPN_MIN_SIZE, inclusive_nms=not cfg.USE_GPU_NMS)


def anchor_sampling() -> AnchorSampling:
    train = cfg.TRAIN
    return AnchorSampling(train.RPN_POSITIVE_OVERLAP, train.RPN_NEGATIVE_OVERLAP, train.RPN_CLOBBER_POSITIVES,
                          train.RPN_BATCHSIZE, train.RPN_FG_FRACTION, tuple(train.RPN_BBOX_INSIDE_WEIGHTS),
                          train.RPN_POSITIVE_WEIGHT)


def roi_sampling() -> RoiSampling:
    train = cfg.TRAIN
    foreground = zip(train.FG_FRACTION, train.FG_THRESH_LO, train.FG_THRESH_HI)
    background = zip(train.BG_FRACTION, train.BG_THRESH_LO, train.BG_THRESH_HI)
    return RoiSampling(train.BATCH_SIZE, [OverlapBin(*b) for b in foreground], [OverlapBin(*b) for b in background])


def normalization() -> Normalization | None:
    """Of the box targets in training; None where they are left as they are."""
    train = cfg.TRAIN
    if not (train.BBOX_NORMALIZE_TARGETS and train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED):
        return None
    return Normalization(np.array(train.BBOX_NORMALIZE_MEANS), np.array(train.BBOX_NORMALIZE_STDS))


def mask_form() -> MaskForm:
    return MaskForm(cfg.MASK_SIZE, cfg.BINARIZE_THRESH)


def target_form(num_classes: int) -> TargetForm:
    return TargetForm(num_classes, normalization(), tuple(cfg.TRAIN.BBOX_INSIDE_WEIGHTS), mask_form())
