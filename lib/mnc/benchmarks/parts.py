"""Where the time of a cascade goes: the seconds of its layers, by stage."""

from __future__ import annotations

import time
from collections.abc import Callable

import caffe
from mnc.benchmarks.timing import seconds, wait

PARTS = ("conv", "stage 1", "stage 2", "stage 3", "stage 4", "stage 5", "others")


class Stopwatch:
    """Adds up the seconds of the layers of a net, by part of the cascade."""

    def __init__(self, net: caffe.Net) -> None:
        self.net, self.took = net, dict.fromkeys(PARTS, 0.0)
        names, backbone_ends = list(net.layer_dict), _first(net, "rpn_conv_3x3")
        self.part = [_part(name, i < backbone_ends) for i, name in enumerate(names)]
        for direction in ("forward", "backward"):
            getattr(net, f"before_{direction}")(self._start)
            getattr(net, f"after_{direction}")(self._stop)

    def _start(self, layer: int) -> None:
        wait()
        self.started = time.perf_counter()

    def _stop(self, layer: int) -> None:
        wait()
        self.took[self.part[layer]] += time.perf_counter() - self.started

    def run(self, work: Callable[[], object]) -> dict[str, float]:
        """Seconds of each part in one run of `work`; what lies between the layers is "others"."""
        self.took = dict.fromkeys(PARTS, 0.0)
        whole = seconds(work)
        self.took["others"] += whole - sum(self.took.values())
        return self.took


def _first(net: caffe.Net, layer: str) -> int:
    names = list(net.layer_dict)
    return names.index(layer) if layer in names else len(names)


def _part(layer: str, backbone: bool) -> str:
    """The part of the cascade that a layer belongs to, as in the paper's Table 3."""
    if backbone:
        return "conv" if layer.startswith(("conv", "relu", "pool", "res", "bn", "scale")) \
            else "others"
    second_pass = "_ext" in layer
    if layer.startswith(("rpn", "proposal")):
        return "stage 1"
    if layer.startswith(("roi_interpolate", "fc6_maskest", "relu6_maskest", "mask_pred",
                         "mask_output", "mask_proposal")) and "box" not in layer \
            and not layer.startswith("roi_interpolate_conv5_mask"):
        return "stage 4" if second_pass else "stage 2"
    return "stage 5" if second_pass else "stage 3"
