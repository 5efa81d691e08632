"""Keys of the public code that nothing reads here: a warning where they say what the net is not."""

from __future__ import annotations

import logging
from pathlib import Path

from caffe.proto import caffe_pb2
from mnc.config import DEFAULTS, value_of

log = logging.getLogger("mnc")

GIVEN_REGIONS = "the prototxt says where regions come from, and in this one it is an RPN"
UNREAD = {
    "EPS": "it was added to counts that box statistics are divided by; here a class without boxes "
           "has mean 0 and deviation 1",
    "TRAIN.PROPOSAL_METHOD": "training reads the true instances ('gt'); regions are those of the "
                             "net's RPN, for CFM those of tools/prepare_mcg_maskdb.py",
    "CFM_MODE": GIVEN_REGIONS,
    "TRAIN.HAS_RPN": GIVEN_REGIONS,
    "TEST.HAS_RPN": GIVEN_REGIONS,
}


def warn_of_unread_keys(net: caffe_pb2.NetParameter, path: str | Path) -> None:
    """A line for each of UNREAD that is not at its default and not what this net is anyway."""
    has_rpn = any(layer.name == "rpn_cls_score" for layer in net.layer)
    for key, why in UNREAD.items():
        true_anyway = why is GIVEN_REGIONS and not has_rpn
        if value_of(key) != value_of(key, DEFAULTS) and not true_anyway:
            log.warning("%s is %r, which has no effect on %s: %s", key, value_of(key), path, why)
