"""What a test depends on, read once from a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mnc.inference.tiles import Tiling
from mnc.masks.targets import MaskForm
from mnc.masks.voting import Voting


@dataclass(frozen=True)
class RegionPasses:
    """How CFM shows given regions to the net."""

    input_mask: MaskForm        # of the regions' masks that go into the net
    most: tuple[int, ...]       # regions of a pass, for each group of scales; the last for the rest
    scales: int                 # neighbouring scales that share a pass
    top: int                    # best regions of an image that are looked at; 0: all


@dataclass(frozen=True, eq=False)
class TestSettings:
    """The keys of cfg that change what a test finds."""

    __test__: ClassVar[bool] = False        # no test of pytest's

    pixel_means: np.ndarray     # B, G, R; broadcasts over (H, W, 3)
    scales: tuple[int, ...]     # short sides; the results of several are joined
    max_size: int               # of the long side
    tiling: Tiling              # of images that are larger than a tile
    mirrored: bool              # look at the mirrored image, too
    upside_down: bool           # likewise (cascades and boxes)
    transposed: bool            # with rows for columns, likewise
    regressed: bool             # task det: boxes as the net moves them, else the RoIs
    most_growth: float          # task det: of a box by its shifts, as a logarithm
    stage5: bool                # task det: stage 5's boxes among stage 3's
    mask: MaskForm              # of the results
    nms: float                  # IoU of NMS where there is no voting
    voting: Voting | None       # None: NMS in its place
    continuous: bool            # form of voting: vote_masks, else vote_masks_cpu
    inclusive: bool             # NMS drops at its threshold itself, too
    regions: RegionPasses
    most: int                   # results of an image, over all classes
    most_of_class: int          # detections of a class, times the images, where nothing is voted
    nested: float               # share of a mask inside a better one's that drops it; 1: none

    @classmethod
    def of(cls, cfg: Any) -> TestSettings:
        """What mnc.config.cfg, or a copy of it, says now; settings are themselves."""
        if isinstance(cfg, cls):
            return cfg
        test, inclusive = cfg.TEST, not cfg.USE_GPU_NMS
        voting = Voting(test.MASK_MERGE_NMS_THRESH, test.MASK_MERGE_IOU_THRESH,
                        cfg.BINARIZE_THRESH, inclusive, test.MAX_PER_IMAGE,
                        cfg.COMPAT.MASK_VOTING == "exact")
        return cls(
            pixel_means=np.array(cfg.PIXEL_MEANS), scales=tuple(test.SCALES),
            max_size=test.MAX_SIZE, tiling=Tiling(test.TILES, test.TILE_OVERLAP),
            mirrored=test.USE_FLIPPED, upside_down=test.USE_UPSIDE_DOWN,
            transposed=test.USE_TRANSPOSED, regressed=test.BBOX_REG,
            most_growth=cfg.COMPAT.BBOX_GROWTH, stage5=test.DET_STAGE5,
            mask=MaskForm(cfg.MASK_SIZE, cfg.BINARIZE_THRESH),
            nms=test.NMS, voting=voting if test.USE_MASK_MERGE else None,
            continuous=test.USE_GPU_MASK_MERGE, inclusive=inclusive,
            regions=RegionPasses(MaskForm(test.CFM_INPUT_MASK_SIZE, cfg.BINARIZE_THRESH),
                                 tuple(test.MAX_ROIS_GPU), test.GROUP_SCALE,
                                 test.USE_TOP_K_MCG),
            most=test.MAX_PER_IMAGE, most_of_class=test.MAX_PER_CLASS, nested=test.NMS_NESTED)
