"""`import mnc.legacy`, and scripts of the public MNC code find the modules they import.

    import mnc.legacy
    from mnc_config import cfg
    from transform.anchors import generate_anchors

MODULES says which names there are and where they live now. A module of such a name that lies on
sys.path itself goes first. pylayer and caffe keep their names and need nothing of this.

Only what the user's own code imports is answered: installed libraries that look whether there is an
optional package `datasets`, or `utils`, do not find ours.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType

OLD_FORM = "mnc.legacy.forms"       # where the old arguments or results were others than ours

# Old module -> old name -> "module" it comes from under the same name, or "module:name".
MODULES: dict[str, dict[str, str]] = {
    "mnc_config": {**dict.fromkeys(("cfg", "cfg_from_file", "cfg_from_list"), "mnc.config"),
                   "get_output_dir": OLD_FORM},
    "transform.anchors": {"generate_anchors": "mnc.boxes.anchors"},
    "transform.bbox_transform": {
        **dict.fromkeys(("bbox_transform", "bbox_transform_inv", "clip_boxes",
                         "filter_small_boxes", "scale_boxes"), "mnc.boxes.regression"),
        "bbox_overlaps": "mnc.boxes.overlaps",
        "bbox_compute_targets": OLD_FORM, "get_bbox_regression_label": OLD_FORM},
    "transform.mask_transform": {
        "mask_overlap": "mnc.masks.overlaps", "intersect_mask": "mnc.masks.targets",
        "gpu_mask_voting": OLD_FORM, "cpu_mask_voting": OLD_FORM},
    "nms.nms_wrapper": dict.fromkeys(
        ("nms", "apply_nms", "apply_nms_mask", "apply_nms_mask_single"), OLD_FORM),
    "nms.cpu_nms": {"cpu_nms": OLD_FORM},
    "nms.gpu_nms": {"gpu_nms": OLD_FORM},
    "nms.py_cpu_nms": {"py_cpu_nms": OLD_FORM},
    "nms.mv": {"mv": OLD_FORM},
    "utils.bbox": {"bbox_overlaps": "mnc.boxes.overlaps"},
    "utils.cython_bbox": {"bbox_overlaps": "mnc.boxes.overlaps"},
    "utils.blob": {"im_list_to_blob": "mnc.data.images:image_blob",
                   "prep_im_for_blob": "mnc.data.images:prepare_image",
                   "prep_im_for_blob_cfm": OLD_FORM},
    "utils.timer": {"Timer": OLD_FORM},
    "utils.unmap": {"unmap": "mnc.sampling.anchor_targets", "_unmap":
                    "mnc.sampling.anchor_targets:unmap"},
    "utils.vis_seg": {"_convert_pred_to_image": OLD_FORM, "_get_voc_color_map": OLD_FORM},
    "utils.voc_eval": {"voc_ap": OLD_FORM},
    "db.imdb": {"imdb": "mnc.data.dataset:Dataset", "get_imdb": OLD_FORM, "list_imdbs": OLD_FORM},
    "db.roidb": {"attach_roidb": OLD_FORM, "get_roidb": OLD_FORM},
    "db.maskdb": {"attach_maskdb": OLD_FORM, "get_maskdb": OLD_FORM},
    "datasets.factory": {"get_imdb": OLD_FORM, "list_imdbs": OLD_FORM},
    "datasets.imdb": {"imdb": "mnc.data.dataset:Dataset"},
    "datasets.pascal_voc_det": {"PascalVOCDet": OLD_FORM},
    "datasets.pascal_voc_seg": {"PascalVOCSeg": OLD_FORM},
    "caffeWrapper.SolverWrapper": {"SolverWrapper": OLD_FORM},
    "caffeWrapper.TesterWrapper": {"TesterWrapper": OLD_FORM},
}
INSTALLED = {"site-packages", "dist-packages"}      # folders of libraries
LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = {name.partition(".")[0] for name in MODULES if "." in name}


class LegacyFinder(MetaPathFinder, Loader):
    """Makes a module for each name of MODULES; what it holds is looked up when it is asked for."""

    def find_spec(self, fullname: str, path: Sequence[str] | None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if (fullname not in MODULES and fullname not in PACKAGES) or not asked_by_the_user():
            return None
        return ModuleSpec(fullname, self, origin="mnc.legacy", is_package=fullname in PACKAGES)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ in PACKAGES:
            return
        names = MODULES[module.__name__]
        vars(module)["__all__"] = list(names)

        def lookup(name: str) -> object:
            if name not in names:
                raise AttributeError(f"{module.__name__} (of mnc.legacy) has no {name!r}; it has "
                                     f"{', '.join(names)}")
            place, _, now = names[name].partition(":")
            return getattr(importlib.import_module(place), now or name)

        vars(module)["__getattr__"] = lookup


def asked_by_the_user() -> bool:
    """Whether the import going on is one of code that is not installed.

    Python's own library is passed over: it imports what others tell it to.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame:
        place = Path(frame.f_globals.get("__file__") or frame.f_code.co_filename)
        if frame.f_globals is not globals():
            if INSTALLED.intersection(place.parts):
                return False
            if not (place.name.startswith("<frozen ") or LIBRARY in place.parents):
                return True
        frame = frame.f_back
    return True


def install() -> None:
    """Let the old names be found, after everything that is really there."""
    if not any(isinstance(finder, LegacyFinder) for finder in sys.meta_path):
        sys.meta_path.append(LegacyFinder())


install()
