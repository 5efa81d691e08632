"""What made a results file: nets, weights, settings and data set, by content and not by name.

Two runs with the same origin give the same results; a file of another origin is never taken for
them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnc.data.hashes import file_hash, value_hash
from mnc.data.names import named_files

# Settings that change what a test finds.
SETTINGS = ("TEST", "COMPAT.BRIDGE_TEST_CLASS", "COMPAT.BBOX_GROWTH", "BINARIZE_THRESH",
            "MASK_SIZE", "PIXEL_MEANS", "ANCHOR_SCALES", "ANCHOR_RATIOS", "USE_GPU_NMS")


def origin(prototxts: Sequence[str | Path], weights: Sequence[str | Path], cfg, dataset,
           task: str, proposals: str | Path | None = None) -> dict[str, object]:
    """JSON-ready: one dictionary a net, the settings, the data set, the task."""
    models = [{"prototxt": str(p), "prototxt_sha256": file_hash(p),
               "weights": str(w), "weights_sha256": file_hash(w)}
              for p, w in zip(prototxts, weights, strict=True)]
    changed = [_state(Path(dataset.image_path(i)))[1] for i in range(len(dataset))]
    found = {"task": task, "models": models, "settings": settings(cfg), **data_origin(dataset),
             "images_changed_sha256": value_hash(changed)}
    if proposals:
        files = named_files(proposals, dataset.names, ".mat")
        found |= {"proposals": str(proposals),
                  "proposals_sha256": value_hash(list(map(_state, files)))}
    return found


def files_hash(paths: Iterable[str | Path]) -> str:
    """Of the sizes of files and the times of their last change."""
    return value_hash([_state(Path(path)) for path in paths])


def settings(cfg) -> dict[str, object]:
    """The values of SETTINGS as JSON gives them back."""
    picked = {}
    for key in SETTINGS:
        value = cfg
        for part in key.split("."):
            value = value[part]
        picked[key] = copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
    return json.loads(json.dumps(picked, default=lambda array: np.asarray(array).tolist()))


def data_origin(dataset) -> dict[str, object]:
    """Name and number of images for people; for comparison a hash of classes, names and sizes."""
    sizes = [_state(Path(dataset.image_path(i)))[0] for i in range(len(dataset))]
    content = [list(dataset.classes), list(map(str, dataset.names)), sizes]
    return {"imdb": dataset.name, "images": len(dataset), "images_sha256": value_hash(content)}


def _state(path: Path) -> tuple[int, int]:
    """(bytes, time of last change in ns) of a file, zeros where there is none."""
    if not path.is_file():
        return 0, 0
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """What differs, a line each; paths and the data set's name may."""
    first, second = (dict(_leaves(_compared(each))) for each in (one, other))
    return [f"{key}: {first.get(key, 'not recorded')} there, {second.get(key, 'none')} here"
            for key in sorted({*first, *second}) if first.get(key) != second.get(key)]


def _compared(about: Mapping[str, Any]) -> dict[str, object]:
    models = [{key: model[key] for key in ("prototxt_sha256", "weights_sha256")}
              for model in about.get("models", ())]
    keys = ("task", "settings", "images_sha256", "images_changed_sha256", "proposals_sha256",
            "calibration_sha256")
    rest = {key: about.get(key) for key in keys}
    return {**rest, "models": models}


def _leaves(tree: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}".lstrip("."))
    elif isinstance(tree, list) and any(isinstance(each, Mapping) for each in tree):
        for number, value in enumerate(tree, 1):
            yield from _leaves(value, f"{prefix}[{number}]")
    else:
        yield prefix, tree
