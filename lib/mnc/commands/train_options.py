"""Flags of `mnc train` that change what is learned from: other views, layers held, gradients;
what initial weights say of their pixels.
"""

from __future__ import annotations

import argparse
import logging

from mnc.augmentations import AUGMENTATIONS, settings_of
from mnc.config import cfg, cfg_from_dict

log = logging.getLogger("mnc")


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--augment", choices=AUGMENTATIONS,
                   help="see each image otherwise each time: settings of TRAIN.AUGMENT, but for "
                        "what --set names (default: as they are, which is none)")


def take_augmentation(args: argparse.Namespace) -> None:
    """TRAIN.AUGMENT becomes that of --augment; what --set names stays."""
    if args.augment is None:
        return
    changes = {key: value for key, value in settings_of(args.augment).items()
               if key not in args.set_cfgs[::2]}
    cfg_from_dict(changes, f"--augment {args.augment}")
    said = ", ".join(f"{key} {value}" for key, value in AUGMENTATIONS[args.augment].items())
    log.info("augment: %s: %s", args.augment, said or "nothing")


def take_pixel_means(args: argparse.Namespace) -> None:
    """PIXEL_MEANS become those that the initial weights were made for, unless they are named."""
    import numpy as np

    from mnc.nets.initial import pixel_means

    means = pixel_means(args.weights) if args.weights else None
    own = np.asarray(cfg.PIXEL_MEANS, float).ravel().tolist()
    if means is None or means == own or "PIXEL_MEANS" in args.set_cfgs[::2]:
        return
    if args.cfg_file:
        log.warning("%s: its pixels have %s subtracted, PIXEL_MEANS is %s", args.weights, means,
                    own)
        return
    cfg_from_dict({"PIXEL_MEANS": means}, args.weights)
    log.info("PIXEL_MEANS %s, which %s was made with (was %s)", means, args.weights, own)
