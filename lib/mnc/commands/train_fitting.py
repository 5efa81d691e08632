"""`mnc train`: what is in the data; features, settings and length of a training from it (--fit)."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnc.commands.layout_flags import layout_of
from mnc.config import cfg_from_dict

if TYPE_CHECKING:
    from mnc.data import Dataset
    from mnc.training.fitting import Findings

log = logging.getLogger("mnc")

FEW = 100       # images, up to which pretrained layers that learn slowly learn nothing
TINY = 12       # pixels of the median instance in the scaled image, below which a warning is due
GIVEN_REGIONS = ("cfm",)    # tasks whose nets propose nothing: no anchors, no limits to fit


def is_own(imdb: str) -> bool:
    """Whether it names data of the user's own, not a set that the settings were made for."""
    from mnc.data import imdb as names

    return any(map(names.is_own, names.parts_of(imdb)))


def fit_settings(args: argparse.Namespace, dataset: Dataset) -> bool:
    """Say what is in the data set; choose features and settings from it, or warn of a misfit.

    Returns whether they were chosen. Nothing is looked at where the data set is one that the
    settings were made for, and for a net that is given its regions.
    """
    from mnc.data.spelling import warn_of_spelling
    from mnc.training import fitting

    own, generated = is_own(args.imdb), bool(args.net) and not args.solver
    fits = args.fit or (args.fit is None and own and generated and not args.cfg_file)
    looked_at = (own or args.fit) and not (generated and args.task in GIVEN_REGIONS)
    found = fitting.Findings.of(dataset) if looked_at else None
    if generated:
        if found and fits:
            _choose_features(args, found)
        growth = _take_layout(args)
        found = found and replace(found, growth=growth)
    if found is None:
        return False
    now = fitting.own_settings()
    views = [key for key in now if args.augment is not None and ".AUGMENT." in key]
    changes = fitting.fitted(found, now, [*args.set_cfgs[::2], *views])
    for line in fitting.described(found, now):
        log.info("%s", line)
    warn_of_spelling({name: int((found.labels == label).sum())
                      for label, name in enumerate(found.classes) if label})
    if fits:
        _take(changes, now, "fit")
        log.info("fit: best anchor's IoU now %s", fitting.anchors_said(found, now | changes))
        warn_of_tiny(found, now, changes)
        return True
    lost = fitting.misfits(found, now)
    if lost:
        log.warning("these settings do not fit the data: %s; --fit chooses others, which are\n"
                    "    %s", "; ".join(lost), fitting.as_flags(changes))
    return False


def warn_of_tiny(found: Findings, own: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Where the scale that the rule allows still leaves the net too little to see."""
    import numpy as np

    from mnc.training.fitting import MOST_OF_IMAGE, SIDE

    side = float(np.median(np.sqrt(found.scaled({**own, **changes}).prod(axis=1))))
    if side >= TINY:
        return
    drawn = float(np.median(found.sides))
    tile = int(np.median(own["TRAIN.SCALES"]) * drawn / min(SIDE, MOST_OF_IMAGE * drawn))
    log.warning("the median instance has %.0f pixels where the net sees it, and much will be "
                "missed. Cut large images into tiles: mnc data convert IMDB OUT --to coco --tiles "
                "%d, train on these, and test with --set TEST.TILES %d", side, tile, tile)


def choose_frozen(args: argparse.Namespace, solver: Path, images: int) -> None:
    """--freeze, where the command line says nothing of it.

    Of few images, what learns slower than the rest of the net keeps the weights that it is given.
    """
    from caffe.extend import read_net
    from mnc.nets.fit import train_net_path
    from mnc.training.freezing import slow_layers

    if args.freeze is not None or not args.weights or images > FEW:
        return
    args.freeze = slow_layers(read_net(str(train_net_path(solver))))
    if args.freeze:
        log.info("fit: --freeze %s … %s, %d layers of the initial weights, because there are "
                 "%d images; --freeze , freezes none", args.freeze[0], args.freeze[-1],
                 len(args.freeze), images)


def _choose_features(args: argparse.Namespace, found: Findings) -> None:
    """--features, where the command line says nothing of it."""
    from mnc.nets import NETS, TASKS
    from mnc.training.fitting import own_settings
    from mnc.training.fitting_features import wants_pyramid

    if args.features is None and args.stride is None and TASKS[args.task].pyramid and \
            wants_pyramid(found, own_settings(), NETS[args.net]):
        args.features = "pyramid"
        log.info("fit: --features pyramid, because many instances are small")


def _take_layout(args: argparse.Namespace) -> tuple[float, ...]:
    """Lay what a pyramid asks for over cfg; returns the growth of anchors from map to map."""
    from mnc.nets import NETS
    from mnc.nets.generate import sizes_of
    from mnc.training.fitting import own_settings
    from mnc.training.fitting_features import pyramid_settings

    layout = layout_of(args)
    growth = layout.growth(NETS[args.net])
    if layout.features == "pyramid" and not args.cfg_file:
        now = own_settings()
        side = sizes_of(args.net, args.task, layout).mask_size
        _take(pyramid_settings(now, growth, side, args.set_cfgs[::2]), now, "pyramid")
    return growth


def _take(changes: Mapping[str, Any], before: Mapping[str, Any], why: str) -> None:
    """Lay changes over cfg and say each."""
    from mnc.config import value_of
    from mnc.training.fitting import plain

    was = {key: before[key] if key in before else value_of(key) for key in changes}
    cfg_from_dict(changes, f"--{why}")
    for key, value in changes.items():
        log.info("%s: %s %s (was %s)", why, key, plain(value), plain(was[key]))
