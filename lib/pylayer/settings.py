"""`cfg` as plain values, read once in a layer's `setup`.

    train = TrainSettings.of(cfg)        # what training layers sample, and their targets
    net = NetSettings.of(cfg, phase)     # what layers of both phases take
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe.extend import Mode, Phase
from mnc.boxes.anchors import generate_anchors
from mnc.boxes.proposals import ProposalLimits
from mnc.boxes.regression import Normalization
from mnc.config import ConfigError
from mnc.data.augmentation import Augmentation
from mnc.masks.targets import MaskForm
from mnc.sampling.anchor_targets import AnchorSampling
from mnc.sampling.cfm_targets import RegionSampling
from mnc.sampling.proposal_targets import OverlapBin, RoiSampling, TargetForm


def is_exact(cfg: Mapping[str, Any], key: str) -> bool:
    """Whether cfg.COMPAT[key] asks for the paper's arithmetic, not the public code's."""
    return Mode.named(cfg["COMPAT"][key]) is Mode.EXACT


@dataclass(frozen=True, eq=False)
class NetSettings:
    """What nets take in training and in testing alike."""

    anchors: np.ndarray             # (A, 4) of one cell
    proposals: ProposalLimits       # of the phase; min_size in pixels of the original image
    mask: MaskForm
    foreground_only: bool           # testing, too, moves boxes by the shifts of no background
    exact_proposals: bool           # gradient of decoding and clipping, not the public code's
    exact_bridge: bool              # likewise, of the stage bridge
    exact_masks: bool               # gradient to the masks of all RoIs
    true_deltas: bool               # training moves boxes by shifts in true size
    most_growth: float              # of a box by its shifts, as a logarithm

    @classmethod
    def of(cls, cfg: Any, phase: Phase) -> NetSettings:
        """What mnc.config.cfg says now, for a phase."""
        section = cfg[str(phase)]
        limits = ProposalLimits(
            pre_nms=section.RPN_PRE_NMS_TOP_N, post_nms=section.RPN_POST_NMS_TOP_N,
            nms_thresh=section.RPN_NMS_THRESH, min_size=section.RPN_MIN_SIZE,
            inclusive_nms=not cfg.USE_GPU_NMS)
        return cls(
            generate_anchors(ratios=cfg.ANCHOR_RATIOS, scales=cfg.ANCHOR_SCALES), limits,
            MaskForm(cfg.MASK_SIZE, cfg.BINARIZE_THRESH),
            foreground_only=cfg.COMPAT.BRIDGE_TEST_CLASS == "foreground",
            exact_proposals=is_exact(cfg, "PROPOSAL_GRADIENT"),
            exact_bridge=is_exact(cfg, "BRIDGE_GRADIENT"),
            exact_masks=is_exact(cfg, "MASK_GRADIENT"),
            true_deltas=is_exact(cfg, "BRIDGE_DELTAS"), most_growth=cfg.COMPAT.BBOX_GROWTH)


@dataclass(frozen=True, eq=False)
class TrainSettings:
    """What is drawn to train on, and the form of its targets."""

    pixel_means: np.ndarray         # B, G, R; broadcasts over (H, W, 3)
    scales: tuple[int, ...]         # short sides, of which each image gets one
    max_size: int                   # of the long side
    grouped: bool                   # images in pairs of one shape, wide or tall
    images: int                     # of a batch
    augmentation: Augmentation
    anchors: AnchorSampling
    mixes: bool                     # the RoIs of later stages train the RPN, too
    rois: RoiSampling
    regions: RegionSampling
    normalizes: bool                # box targets are normalised
    normalization: Normalization | None     # by these, the same for all classes
    inside_weights: tuple[float, ...]       # of a box's four targets
    box_overlap: float              # from which a box has targets
    mask_overlap: float             # from which a mask has its instance's label
    mask: MaskForm
    input_mask: MaskForm            # of given regions, as they go into the net

    @classmethod
    def of(cls, cfg: Any) -> TrainSettings:
        """What mnc.config.cfg says now.

        Raises ConfigError where lists of overlap bins differ in length, or for an augmentation
        that cannot be.
        """
        train = cfg.TRAIN
        known = train.BBOX_NORMALIZE_TARGETS and train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED
        return cls(
            pixel_means=cfg.PIXEL_MEANS, scales=tuple(train.SCALES), max_size=train.MAX_SIZE,
            grouped=train.ASPECT_GROUPING, images=train.IMS_PER_BATCH,
            augmentation=Augmentation.of(cfg),
            anchors=_anchor_sampling(cfg), mixes=train.MIX_INDEX,
            rois=RoiSampling(train.BATCH_SIZE,
                             _bins(train, "FG_FRACTION", "FG_THRESH_LO", "FG_THRESH_HI"),
                             _bins(train, "BG_FRACTION", "BG_THRESH_LO", "BG_THRESH_HI")),
            regions=RegionSampling(
                train.BATCH_SIZE,
                _bins(train, "FRACTION_SAMPLE", "THRESH_LO_SAMPLE", "THRESH_HI_SAMPLE"),
                train.FG_DET_THRESH, train.FG_SEG_THRESH),
            normalizes=train.BBOX_NORMALIZE_TARGETS,
            normalization=Normalization(np.array(train.BBOX_NORMALIZE_MEANS),
                                        np.array(train.BBOX_NORMALIZE_STDS)) if known else None,
            inside_weights=tuple(train.BBOX_INSIDE_WEIGHTS), box_overlap=train.BBOX_THRESH,
            mask_overlap=train.FG_SEG_THRESH, mask=MaskForm(cfg.MASK_SIZE, cfg.BINARIZE_THRESH),
            input_mask=MaskForm(train.CFM_INPUT_MASK_SIZE, cfg.BINARIZE_THRESH))

    def target_form(self, num_classes: int) -> TargetForm:
        """Of heads for so many classes, the background among them."""
        return TargetForm(num_classes, self.normalization, self.inside_weights, self.mask)


def _anchor_sampling(cfg: Any) -> AnchorSampling:
    train = cfg.TRAIN
    return AnchorSampling(
        positive_overlap=train.RPN_POSITIVE_OVERLAP, negative_overlap=train.RPN_NEGATIVE_OVERLAP,
        clobber_positives=train.RPN_CLOBBER_POSITIVES, batch_size=train.RPN_BATCHSIZE,
        fg_fraction=train.RPN_FG_FRACTION, inside_weights=tuple(train.RPN_BBOX_INSIDE_WEIGHTS),
        positive_weight=train.RPN_POSITIVE_WEIGHT,
        best_overlaps=is_exact(cfg, "BEST_ANCHORS"))


def _bins(train: Mapping[str, Any], *keys: str) -> Sequence[OverlapBin]:
    columns = [train[key] for key in keys]
    if len(set(map(len, columns))) > 1:
        raise ConfigError(f"{', '.join(f'TRAIN.{key}' for key in keys)} must be equally long, got "
                          f"{', '.join(map(str, columns))}")
    return [OverlapBin(*row) for row in zip(*columns)]
