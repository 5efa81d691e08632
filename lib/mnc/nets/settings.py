"""The settings a net is trained and tested with: written beside its weights and found there.

Those of NAME.caffemodel.h5 (or NAME.caffemodel) are in NAME.yml: all of cfg but what belongs to the
machine. The nets in models/ have theirs in experiments/cfgs.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from caffe.extend import atomic_path, read_about
from mnc.config import cfg, changes_in_file

log = logging.getLogger("mnc")

OF_THE_MACHINE = {"ROOT_DIR", "DATA_DIR", "GPU_ID"}


def model_name(weights: str | os.PathLike) -> str:
    """NAME of NAME.caffemodel.h5 or NAME.caffemodel."""
    return Path(weights).name.removesuffix(".h5").removesuffix(".caffemodel")


def settings_path(weights: str | os.PathLike) -> Path:
    """Where the settings of a weight file are, if they were written."""
    return Path(weights).with_name(f"{model_name(weights)}.yml")


def save_settings(weights: str | Path, classes: Sequence[str] | None = None) -> None:
    """Write cfg beside this weight file; with the names of these classes, if given."""
    settings = {key: _plain(value) for key, value in cfg.items() if key not in OF_THE_MACHINE}
    if classes is not None:
        settings["CLASSES"] = list(classes)
    with atomic_path(settings_path(weights)) as temporary:
        Path(temporary).write_text(yaml.safe_dump(settings, sort_keys=False,
                                                  default_flow_style=None))


def known_classes(weights: str | os.PathLike) -> list[str]:
    """Names of the classes without the background's: of the weight file, else of cfg."""
    text = read_about(weights).get("classes")
    try:
        names = json.loads(text) if text else []
    except ValueError:
        names = []
    fine = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if names and fine else list(cfg.CLASSES)


def _plain(value: object) -> object:
    """Nothing but dictionaries, lists, numbers and text."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.ravel().tolist() if value.ndim else value.item()
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def find_settings(prototxts: Sequence[str | os.PathLike],
                  weights: Sequence[str | os.PathLike]) -> Path | None:
    """The file of settings of a model, the first of several that work together; said in the log.

    It lies beside the weights, or the prototxt is one of models/.
    """
    found = [_settings_of(*model) for model in zip(prototxts, weights)]
    if not found:
        return None
    if found[0] is None:
        log.warning("no settings beside %s (%s) and none of this net: the defaults hold, which are "
                    "VGG-16's; --cfg names others", weights[0], settings_path(weights[0]).name)
        return None
    log.info("settings: %s", found[0])
    for other in found[1:]:
        if other and changes_in_file(other) != changes_in_file(found[0]):
            log.warning("%s says otherwise; of several models the first one's settings hold", other)
    return found[0]


def _settings_of(prototxt: str | os.PathLike, weights: str | os.PathLike) -> Path | None:
    beside = settings_path(weights)
    return beside if beside.is_file() else settings_of_net(prototxt)


def settings_of_net(prototxt: str | os.PathLike) -> Path | None:
    """experiments/cfgs/NET/TASK.yml for models/NET/TASK/test.prototxt, where it exists."""
    folder = Path(prototxt).resolve().parent
    root, net = folder.parent.parent.parent, folder.parent.name
    path = root / "experiments" / "cfgs" / net / f"{folder.name}.yml"
    return path if path.exists() else None
