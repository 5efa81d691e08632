"""Files of results (docs/file_formats.md), and what made them.

    from mnc.results import load_detections, measure, save_detections
"""

from importlib import import_module
from typing import Any

# name -> the module that has it; loaded when asked for, as mnc.evaluation reads this package
_PLACES = {**dict.fromkeys(("load_detections", "save_detections"), "mnc.results.detections"),
           **dict.fromkeys(("measure", "save_metrics", "table"), "mnc.evaluation.figures")}

__all__ = ["load_detections", "measure", "save_detections", "save_metrics", "table"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'mnc.results' has no attribute {name!r}")
