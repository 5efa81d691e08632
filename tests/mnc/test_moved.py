"""Modules under the names they had before they were grouped."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from mnc.moved import MOVED

# names that scripts took from them
TAKEN = {
    "mnc.visualisation": ["draw_instances", "write_image", "write_report", "paint", "color_map"],
    "mnc.raw": ["Raw", "InferenceError", "joined", "mirrored_boxes", "blob_of"],
    "mnc.coco_results": ["read_entries", "result_entries", "to_detections", "truth", "write_results"],
    "mnc.saved_results": ["Saved", "load", "check_data", "figures_of"],
    "mnc.testing": ["models_of", "wait_for", "dataset_of", "folder_name"],
    "mnc.demo": ["MINI", "class_names", "images_in", "image_files", "draw_files"],
    "mnc.cfm": ["ProposalFolder", "cfm_detect", "nearest_scale"],
    "mnc.origin": ["origin", "differences", "file_hash"],
    "mnc.net_settings": ["find_settings", "save_settings", "settings_path"],
}


@pytest.mark.parametrize("old", MOVED)
def test_old_modules_give_what_is_there_now(old):
    module = importlib.import_module(old)
    for name in TAKEN.get(old, ()):
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"{old} has moved to (mnc|caffe)"):
        module.no_such_name
    for place in MOVED[old]:
        importlib.import_module(place)


def test_import_mnc_stays_light():
    run = "import mnc, sys; assert not {'torch', 'cv2', 'caffe'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", run], check=True)
