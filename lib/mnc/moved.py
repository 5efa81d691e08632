"""Modules of mnc under the names they had before they were grouped: scripts that import them run.

`import mnc` lets them be found; what one holds is looked up when it is asked for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# old module -> where its names are now; the first that has one counts
MOVED: dict[str, tuple[str, ...]] = {
    "mnc.benchmark": ("mnc.benchmarks.nets", "mnc.benchmarks.subjects", "mnc.benchmarks.floor",
                      "mnc.benchmarks.parts", "mnc.benchmarks.machine"),
    "mnc.cfm": ("mnc.inference.cfm", "mnc.instances"),
    "mnc.coco_results": ("mnc.results.coco", "mnc.masks.rendering", "mnc.masks.run_lengths"),
    "mnc.compare": ("mnc.commands.compare",),
    "mnc.curve_plots": ("mnc.drawing.curves",),
    "mnc.demo": ("mnc.commands.demo", "mnc.commands.demo_scenes", "mnc.commands.demo_images",
                 "mnc.data.classes", "mnc.data.folders"),
    "mnc.kernel_benchmark": ("mnc.benchmarks.kernels",),
    "mnc.loss_curve": ("mnc.drawing.losses",),
    "mnc.mask_init": ("mnc.nets.mask_init",),
    "mnc.net_settings": ("mnc.nets.settings",),
    "mnc.on_device": ("mnc.boxes.on_device",),
    "mnc.origin": ("mnc.results.origin", "mnc.data.hashes"),
    "mnc.published": ("mnc.evaluation.published",),
    "mnc.raw": ("mnc.instances", "mnc.inference.networks"),
    "mnc.result_files": ("mnc.results.voc",),
    "mnc.saved_results": ("mnc.results.saved", "mnc.results.detections", "mnc.evaluation.figures",
                          "mnc.tasks"),
    "mnc.shared_testing": ("mnc.inference.shared",),
    "mnc.testing": ("mnc.commands.test", "mnc.commands.evaluate", "mnc.commands.report",
                    "mnc.results.names"),
    "mnc.timing": ("mnc.benchmarks.timing",),
    "mnc.unread_keys": ("mnc.nets.unread_keys",),
    "mnc.visualisation": ("mnc.drawing.instances", "mnc.drawing.report"),
    "mnc.workers": ("caffe.extend",),
}


class MovedFinder(MetaPathFinder, Loader):
    """Makes a module for each name of MOVED."""

    def find_spec(self, fullname: str, path: Sequence[str] | None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, origin="mnc.moved") if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        def lookup(name: str) -> Any:
            if not name.startswith("__"):
                for place in MOVED[module.__name__]:
                    found = importlib.import_module(place)
                    if hasattr(found, name):
                        return getattr(found, name)
            raise AttributeError(f"{module.__name__} has moved to "
                                 f"{', '.join(MOVED[module.__name__])}; none has {name!r}")

        vars(module)["__getattr__"] = lookup


def install() -> None:
    """Let the old names be found, after everything that is really there."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(MovedFinder())
