"""One map or a feature pyramid for a data set, and the settings that go with a pyramid.

Rules beside those of mnc.training.fitting, apart from mnc.commands.train_fitting, their reader,
which loads no torch for its flags.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from mnc.config import cfg, value_of
from mnc.nets.backbones import Sizes
from mnc.training.fitting import KEYS, Findings, fitted

CELLS = 3           # a side of fewer, on the net's own map, is small
SHARE = 0.1         # of the instances, from which small ones want a finer map
# The warping of a pyramid is the exact one; so are the gradients, and boxes move as in training.
EXACT = {"COMPAT.PROPOSAL_GRADIENT": "exact", "COMPAT.BRIDGE_GRADIENT": "exact",
         "COMPAT.BRIDGE_DELTAS": "exact", "COMPAT.MASK_GRADIENT": "exact",
         "COMPAT.BEST_ANCHORS": "exact", "COMPAT.BRIDGE_TEST_CLASS": "foreground",
         "COMPAT.MASK_VOTING": "exact"}
BINARIZE = 0.45     # of masks that lie where they should; 0.4 makes them larger


def wants_pyramid(found: Findings, own: Mapping[str, Any], sizes: Sizes) -> bool:
    """Whether many instances are small on the net's one map, at the scale that fits them.

    Not for a net whose heads have ImageNet weights, which do not fit a pyramid.
    """
    if sizes.fillers.hidden is None:
        return False
    settings = {**own, **{key: value for key, value in fitted(found, own).items()
                          if key.startswith("TRAIN.")}}
    sides = np.sqrt(found.scaled(settings).prod(axis=1))
    return float(np.quantile(sides, SHARE)) < CELLS * sizes.feat_stride


def pyramid_settings(own: Mapping[str, Any], growth: Collection[float], mask_size: int,
                     fixed: Collection[str] = ()) -> dict[str, Any]:
    """What a pyramid asks for, of cfg's keys; those of `fixed` stay as they are.

    Of the scales of anchors those stay that no coarser map has anyway: `growth` times the first.
    mask_size: what its net predicts.
    """
    scales: list[float] = []
    for scale in sorted(own["ANCHOR_SCALES"]):
        if not any(np.isclose(scale, before * factor) for before in scales for factor in growth):
            scales.append(scale)
    changes = {**EXACT, "ANCHOR_SCALES": scales, "MASK_SIZE": mask_size,
               "BINARIZE_THRESH": BINARIZE}
    before = {key: own[key] if key in KEYS else value_of(key, cfg) for key in changes}
    return {key: value for key, value in changes.items()
            if key not in fixed and value != before[key]}
