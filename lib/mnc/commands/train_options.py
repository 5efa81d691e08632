"""Flags of `mnc train` that say what is learned from, by which layers, with what arithmetic; what
initial weights say of their pixels.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from mnc.augmentations import AUGMENTATIONS, settings_of
from mnc.config import cfg, cfg_from_dict

log = logging.getLogger("mnc")


def add_arguments(p: argparse.ArgumentParser) -> None:
    """The flags of this module."""
    p.add_argument("--augment", choices=AUGMENTATIONS,
                   help="see each image otherwise each time: settings of TRAIN.AUGMENT, but for "
                        "what --set names (default: as they are, which is none)")
    p.add_argument("--freeze", type=_names, metavar="LAYER,…",
                   help="layers that keep their weights: conv1 stands for all whose names begin "
                        "with it and go on with no digit (default: none; with --fit and few "
                        "images those that would learn slower than the others)")
    p.add_argument("--clip", type=float, metavar="NORM",
                   help="scale gradients down to this norm of all together")
    p.add_argument("--ema", type=float, metavar="DECAY",
                   help="keep a moving average of the weights with this decay, such as 0.999; "
                        "validation, tests and snapshots are of it (default: TRAIN.EMA, 0: none)")


def take_settings(args: argparse.Namespace) -> None:
    """TRAIN.AUGMENT becomes that of --augment, but for what --set names; TRAIN.EMA that of --ema.

    Raises ConfigError where --augment or --ema cannot be.
    """
    if args.ema is not None:
        cfg_from_dict({"TRAIN.EMA": args.ema}, "--ema")
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


def frozen(args: argparse.Namespace, solver: Any, output: Path) -> Any:
    """The SolverParameter on a net whose layers of --freeze learn nothing.

    Raises TrainingError where they would keep random values, or where there are none.
    """
    from mnc.nets.fit import TrainingError  # loads torch
    from mnc.training.freezing import with_frozen_layers

    if not (args.weights or args.resume):
        raise TrainingError("--freeze: without --weights these layers would keep random values")
    return with_frozen_layers(solver, args.freeze, output)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
