"""The configuration: `cfg` with the keys of the public MNC code, and the ways to change it.

ConfigError (a ValueError) is raised for an unknown key, a value of the wrong type or an unreadable
file.
"""

from __future__ import annotations

import ast
import copy
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from easydict import EasyDict

from mnc.augmentations import AUGMENT


class ConfigError(ValueError):
    """A configuration file, key or value that cannot be used."""


def _root_dir() -> str:
    """The checkout this file lies in; the working directory if it is installed elsewhere."""
    root = Path(__file__).resolve().parents[2]
    return str(root) if (root / "lib" / "mnc").is_dir() else os.getcwd()


_ROOT = _root_dir()

cfg = EasyDict(
    MNC_MODE=True,
    CFM_MODE=False,
    EXP_DIR="default",            # results go to output/EXP_DIR/...
    GPU_ID=0,
    USE_GPU_NMS=True,             # True: suppress IoU > threshold; False: IoU >= threshold
    RNG_SEED=3,
    EPS=1e-14,                    # no effect: mnc.nets.unread_keys says of this and others why
    PIXEL_MEANS=np.array([[[102.9801, 115.9465, 122.7717]]]),   # B, G, R
    BINARIZE_THRESH=0.4,          # a mask covers the pixels where it reaches this
    MASK_SIZE=21,                 # S
    CLASSES=[],                   # names without the background's; training keeps its data's
    ROOT_DIR=_ROOT,
    DATA_DIR=os.path.join(_ROOT, "data"),
    ANCHOR_SCALES=[8, 16, 32],    # times a 16 pixel square, whatever the stride of the features
    ANCHOR_RATIOS=[0.5, 1, 2],    # height / width
)

cfg.TRAIN = EasyDict(
    IMS_PER_BATCH=1,
    BATCH_SIZE=64,                # RoIs of an image
    ASPECT_GROUPING=True,
    USE_FLIPPED=True,
    SCALES=(600,),                # short side
    MAX_SIZE=1000,                # long side
    SNAPSHOT_ITERS=5000,
    SNAPSHOT_INFIX="",
    PRECISION="fp32",             # of convolutions and products: fp32, tf32 or bf16
    EMA=0.0,                      # decay of the average of the weights that is tested; 0: none
    PROPOSAL_METHOD="gt",
    HAS_RPN=True,
    MIX_INDEX=True,               # the proposals that the later stages sample also train the RPN
    # RoI sampling: bins of overlap with the ground truth, and the share of the batch each may take
    FG_FRACTION=[0.3],
    FG_THRESH_HI=[1.0],
    FG_THRESH_LO=[0.5],
    BG_FRACTION=[0.85, 0.15],
    BG_THRESH_HI=[0.5, 0.1],
    BG_THRESH_LO=[0.1, 0.0],
    # box regression
    BBOX_REG=True,
    BBOX_THRESH=0.5,
    BBOX_NORMALIZE_TARGETS=True,
    BBOX_NORMALIZE_TARGETS_PRECOMPUTED=False,
    BBOX_NORMALIZE_MEANS=(0.0, 0.0, 0.0, 0.0),
    BBOX_NORMALIZE_STDS=(0.1, 0.1, 0.2, 0.2),
    BBOX_INSIDE_WEIGHTS=(1.0, 1.0, 1.0, 1.0),
    # anchors
    RPN_POSITIVE_OVERLAP=0.7,
    RPN_NEGATIVE_OVERLAP=0.3,
    RPN_CLOBBER_POSITIVES=False,
    RPN_FG_FRACTION=0.5,
    RPN_BATCHSIZE=256,
    RPN_BBOX_INSIDE_WEIGHTS=(1.0, 1.0, 1.0, 1.0),
    RPN_POSITIVE_WEIGHT=-1.0,     # negative: every sampled anchor weighs the same
    # proposals
    RPN_NMS_THRESH=0.7,
    RPN_PRE_NMS_TOP_N=12000,
    RPN_POST_NMS_TOP_N=2000,
    RPN_MIN_SIZE=16,              # in pixels of the original image
    # convolutional feature masking
    CFM_INPUT_MASK_SIZE=14,
    FG_DET_THRESH=0.5,
    FG_SEG_THRESH=0.5,
    FRACTION_SAMPLE=[0.3, 0.5, 0.2],
    THRESH_LO_SAMPLE=[0.5, 0.1, 0.0],
    THRESH_HI_SAMPLE=[1.0, 0.5, 0.1],
)

cfg.TRAIN.AUGMENT = EasyDict(AUGMENT)      # images seen otherwise each time they come

cfg.TEST = EasyDict(
    SCALES=(600,),                # short sides; of several the results are joined
    MAX_SIZE=1000,
    TILES=0,                      # side in pixels of tiles that larger images are cut in; 0: none
    TILE_OVERLAP=0.25,            # of neighbouring tiles, at least: a share of the side
    NMS=0.3,
    HAS_RPN=True,
    BBOX_REG=True,
    RPN_NMS_THRESH=0.7,
    RPN_PRE_NMS_TOP_N=6000,
    RPN_POST_NMS_TOP_N=300,
    RPN_MIN_SIZE=16,
    MASK_MERGE_IOU_THRESH=0.5,
    MASK_MERGE_NMS_THRESH=0.3,
    USE_MASK_MERGE=True,
    USE_GPU_MASK_MERGE=True,      # which form of mask voting, not which device
    USE_FLIPPED=False,            # look at the mirrored image, too
    PRECISION="fp32", BACKEND="torch",      # of convolutions and products: PRECISIONS, BACKENDS
    CALIBRATE="",                 # PRECISION int8: a data set or images such as the net will see
    USE_UPSIDE_DOWN=False,        # and upside down (not task cfm)
    USE_TRANSPOSED=False,         # and with rows for columns (not task cfm); all three: 8 views
    DET_STAGE5=False,             # task det: add the boxes that stage 5 regresses to stage 3's
    CFM_INPUT_MASK_SIZE=14,
    MAX_ROIS_GPU=[2000],
    GROUP_SCALE=1,
    USE_TOP_K_MCG=0,              # 0: all
    MAX_PER_IMAGE=100,            # results of an image, over all classes
    MAX_PER_CLASS=40,             # of a class, times the images, where none votes (cfm, det, ...)
    NMS_NESTED=1.0,               # below 1: drop a result of whose mask this share or more lies in
                                  # that of a better one of its class
)

# Where the public code departs from the paper: 'reference' follows the code, 'exact' the paper.
# What else differs stands in the prototxts (`mode: EXACT` and more); models/README.md says where.
cfg.COMPAT = EasyDict(
    PROPOSAL_GRADIENT="reference",  # of the RPN's box shifts; exact: of decoding and clipping
    BRIDGE_GRADIENT="reference",    # of the boxes and shifts of stage 3; exact: likewise
    BRIDGE_DELTAS="reference",      # training moves boxes by shifts as predicted, in units of their
                                    # deviation; exact: in true size, as testing does
    MASK_GRADIENT="reference",      # to masks from stage 3, of foreground only; exact: of all RoIs
    BEST_ANCHORS="reference",       # of a truth that meets no anchor inside the image: every anchor
                                    # without overlap is positive; exact: none is
    BRIDGE_TEST_CLASS="all",        # class whose shifts move a box in testing; "foreground": never
                                    # the background's, as in training
    MASK_VOTING="reference",        # voted masks lie up to half a cell off; exact: where training
                                    # has them (with TEST.USE_GPU_MASK_MERGE True alone)
    BBOX_GROWTH=75.0,               # most growth of a box by its shifts, as a logarithm; 75: below
                                    # what overflows the public code's; 4.135, log(1000 / 16), is
                                    # Detectron's
)

DEFAULTS = copy.deepcopy(cfg)

PRECISIONS = ("fp32", "tf32", "bf16")   # of products; tf32 is the GPU's way to do float32 ones
TEST_PRECISIONS = (*PRECISIONS, "int8")     # on the CPU, after TEST.CALIBRATE
BACKENDS = ("torch", "openvino", "onnxruntime", "auto")     # auto: the fastest, by measurement

_CHOICES: dict[str, tuple[str, ...]] = {
    f"COMPAT.{key}": ("reference", "exact") for key in cfg.COMPAT if key != "BBOX_GROWTH"}
_CHOICES |= {"COMPAT.BRIDGE_TEST_CLASS": ("all", "foreground"), "TRAIN.PRECISION": PRECISIONS}
_MOST_GROWTH = cfg.COMPAT.BBOX_GROWTH
_NEVER_EMPTY = {"TRAIN.SCALES", "TEST.SCALES", "TEST.MAX_ROIS_GPU", "ANCHOR_SCALES",
                "ANCHOR_RATIOS"}


def cfg_from_file(filename: str | os.PathLike) -> None:
    """Lay a YAML file over `cfg`. Nothing is changed if any of its keys is wrong."""
    cfg_from_dict(changes_in_file(filename), str(filename))


def cfg_from_dict(changes: Mapping[str, Any], source: str) -> None:
    """Lay values by dotted keys over `cfg`; `source` is named in errors."""
    for key, value in _checked(changes, source).items():
        _assign(key, value)


def changes_in_file(filename: str | os.PathLike) -> dict[str, Any]:
    """What a YAML file says, by dotted keys; the keys are not checked here.

    Raises ConfigError where it cannot be read or is no such file.
    """
    from caffe.extend import parse_yaml, read_text  # with torch: not to print a list of keys

    try:
        changes = parse_yaml(read_text(filename))
    except OSError as e:
        raise ConfigError(f"cannot read the configuration file {filename}: {e.strerror}") from e
    except ValueError as e:
        raise ConfigError(f"{filename}: not valid YAML: {e}") from e
    if changes is None:
        return {}
    if not isinstance(changes, Mapping):
        raise ConfigError(f"{filename}: expected `KEY: value` lines, got {type(changes).__name__}")
    return dict(_flatten(changes))


def cfg_from_list(pairs: Sequence[Any]) -> None:
    """Apply KEY VALUE KEY VALUE ...: dotted keys; a value that is no Python literal is text.

    Raises ConfigError where that is not so.
    """
    words = list(map(str, pairs))
    flag = next((word for word in words if word.startswith("--")), None)
    if flag:
        raise ConfigError(f"--set takes all that follows it, {flag} too: put --set and its KEY "
                          "VALUE pairs last")
    if len(pairs) % 2:
        keys = dict(_flatten(cfg))
        alone = next((word for word, after in pairwise(words)
                      if word in keys and after in keys), words[-1])
        raise ConfigError(f"--set takes KEY VALUE pairs, got {len(pairs)} words: {' '.join(words)}"
                          f"; {alone} has no value")
    known = [_find(key, "--set") for key in pairs[::2]]
    cfg_from_dict({key: value if isinstance(old, str) else _literal(value)
                   for key, value, old in zip(pairs[::2], pairs[1::2], known)}, "--set")


@contextmanager
def overridden(changes: Mapping[str, Any]) -> Iterator[EasyDict]:
    """`with overridden({"TRAIN.BATCH_SIZE": 8}):` changes `cfg` for the block only."""
    checked = _checked(changes, "overridden")
    before = {key: value_of(key) for key in checked}
    try:
        for key, value in checked.items():
            _assign(key, value)
        yield cfg
    finally:
        for key, value in before.items():
            _assign(key, value)


def get_output_dir(imdb_name: str, net_name: str | None = None) -> str:
    """ROOT_DIR/output/EXP_DIR/IMDB_NAME[/NET_NAME]; the folder is not made here."""
    parts = [cfg.ROOT_DIR, "output", cfg.EXP_DIR, imdb_name] + ([net_name] if net_name else [])
    return os.path.abspath(os.path.join(*parts))


def _checked(changes: Mapping[str, Any], source: str) -> dict[str, Any]:
    """`changes` with every value in the type of its key; raises before anything is changed."""
    return {key: _convert(value, _find(key, source), key, source) for key, value in changes.items()}


def _flatten(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _literal(value: Any) -> Any:
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value


def value_of(key: str, tree: Mapping[str, Any] = cfg) -> Any:
    """The value of a dotted key in `cfg`, or in another tree of its keys."""
    for part in key.split("."):
        tree = tree[part]
    return tree


def _assign(key: str, value: Any) -> None:
    section, _, last = key.rpartition(".")
    (value_of(section) if section else cfg)[last] = value


def _find(key: str, source: str) -> Any:
    """The present value of `key`; ConfigError with the nearest known keys if there is none."""
    known = dict(_flatten(cfg))
    if key in known:
        return known[key]
    if any(name.startswith(f"{key}.") for name in known):
        raise ConfigError(f'{source}: "{key}" is a section; set one of its keys, such as '
                          f'{next(name for name in known if name.startswith(key))}')
    last = str(key).split(".")[-1]
    same = [name for name in known if name.split(".")[-1] == last]
    near = list(dict.fromkeys([*difflib.get_close_matches(str(key), known, 1, 0.9), *same]))
    near = near or difflib.get_close_matches(str(key), known, n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f'{source}: unknown key "{key}"{hint}')


def _convert(value: Any, old: Any, key: str, source: str) -> Any:
    """`value` in the type of `old`: an int serves as a float, a list as a tuple and the reverse."""
    if key in _CHOICES and value not in _CHOICES[key]:
        raise ConfigError(f'{source}: {key} must be one of {", ".join(_CHOICES[key])}; '
                          f"got {value!r}")
    if key == "CLASSES":
        return _convert_names(value, source)
    if isinstance(old, np.ndarray):
        return _convert_array(value, old, key, source)
    if key in _NEVER_EMPTY and isinstance(value, (list, tuple)) and not value:
        raise ConfigError(f"{source}: {key} must hold a number or more, got {value!r}")
    if isinstance(old, (list, tuple)) and isinstance(value, (list, tuple, np.ndarray)):
        return type(old)(_convert_items(list(value), old, key, source))
    if isinstance(old, float) and _is_number(value):
        if key == "COMPAT.BBOX_GROWTH" and not 0 < value <= _MOST_GROWTH:
            raise ConfigError(f"{source}: {key} must be above 0 and at most {_MOST_GROWTH}; "
                              f"got {value!r}")
        return float(value)
    if type(value) is type(old):
        return value
    raise ConfigError(f"{source}: {key} must be {_type_name(old)} such as {old!r}; "
                      f"got {type(value).__name__} {value!r}")


def _convert_items(values: Sequence, old: Sequence, key: str, source: str) -> list:
    for item in values:
        if not _is_number(item):
            raise ConfigError(f"{source}: {key} must be a list of numbers such as {old!r}; "
                              f"got {values!r}")
    as_float = any(isinstance(item, float) for item in old)
    return [float(item) if as_float else item for item in values]


def _convert_names(value: Any, source: str) -> list[str]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{source}: CLASSES must be a list of names, got {value!r}")
    return [str(name) for name in value]


def _convert_array(value: Any, old: np.ndarray, key: str, source: str) -> np.ndarray:
    try:
        return np.asarray(value, dtype=old.dtype).reshape(old.shape)
    except (TypeError, ValueError) as e:
        raise ConfigError(f"{source}: {key} must be {old.size} numbers; got {value!r}") from e


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _type_name(value: Any) -> str:
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    return names.get(type(value), "a list")
