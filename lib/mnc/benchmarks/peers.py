"""The dense part of a net, up to its proposals, in each runtime that is installed.

Beside them, for the whole: this engine from image to masks, and the bare products that come after
the dense part. All take turns in one run. Only mnc.commands.benchmark asks; the measuring is this
room's.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import caffe
from caffe.extend import read_net
from mnc.benchmarks.floor import Call, bare, products
from mnc.benchmarks.machine import machine
from mnc.benchmarks.subjects import CLASSES, Plan, fill_blank, testing
from mnc.benchmarks.timing import take_turns
from mnc.config import BACKENDS
from mnc.nets import generate

OURS = "torch"          # the engine itself
ENDS = "proposal"       # the layer that makes boxes: the first that is not dense
WHOLE, REST = "image to masks", "products after the dense part"


def measure_peers(net: str, task: str, image: np.ndarray, folder: Path, *, precision: str,
                  repeat: int) -> dict[str, Any]:
    """Seconds of each runtime (least, median) on an image (H, W, 3); JSON-ready."""
    prototxt = next(p for p in generate(net, task, folder, classes=CLASSES)
                    if p.name == "test.prototxt")
    data = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)     # (1, 3, H, W)
    nets = {name: _dense_part(prototxt, data.shape) for name in _installed(precision)}
    for name, one in nets.items():
        one.share_with(nets[OURS])
        _optimize(one, name, precision, data)
        one.blobs["data"].data[...] = data
    runs = {name: one.run for name, one in nets.items()}
    whole, rest = _whole(Plan(net, task), image, folder, {n.layer.name for n in nets[OURS].nodes})
    times = take_turns({**runs, WHOLE: whole, REST: rest}, repeat)
    found = {name: {"least": min(took), "median": median(took)} for name, took in times.items()}
    best = min(found[name]["least"] for name in runs)
    return {"net": net, "task": task, "size": list(image.shape[:2]), "precision": precision,
            "repeat": repeat, "seconds": found, "machine": machine(),
            "engine to best": found[OURS]["least"] / best,
            "image to masks": found[WHOLE]["least"] / (best + found[REST]["least"])}


def _optimize(net: caffe.Net, backend: str, precision: str, data: np.ndarray) -> None:
    """Others have bfloat16 beside the engine's int8."""
    if precision == "int8" and backend == OURS:
        others = {name: net.blobs[name].data for name in net.inputs}
        net.optimize(precision="int8", calibrate=[{**others, "data": data}])
    else:
        net.optimize(precision=None if precision == "fp32" else "bfloat16", backend=backend)


def _whole(plan: Plan, image: np.ndarray, folder: Path, dense: set[str]) -> tuple[Call, Call]:
    """(this engine from image to masks; the products of the layers after the `dense` ones)"""
    subject = testing(plan, image, folder)
    work = subject.works["image to masks"]
    work()                              # products know their shapes after a pass
    return work, bare([call for product, call in products(subject.net, False)
                       if product.layer not in dense])


def _installed(precision: str) -> list[str]:
    """The engine first; what is not for bfloat16 on the CPU is left out there and for int8."""
    others = [name for name in BACKENDS if name not in (OURS, "auto") and find_spec(name)
              and not (precision in ("bf16", "int8") and name == "onnxruntime")]
    return [OURS, *others]


def _dense_part(prototxt: Path, shape: tuple[int, ...]) -> caffe.Net:
    param = read_net(str(prototxt))
    names = [layer.name for layer in param.layer]
    del param.layer[names.index(ENDS):]
    net = caffe.Net.from_proto(param, caffe.TEST)
    net.blobs["data"].reshape(*shape)
    fill_blank(net)
    return net


def peer_report(found: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    by = "x".join(map(str, found["size"]))
    lines = [f"{found['net']}, dense part, {by}, {found['precision']}; {found['machine']}", "",
             "| runtime | least, ms | median, ms |", "| --- | --- | --- |"]
    names = {OURS: "this engine"}
    if found["precision"] == "int8":
        names |= {name: f"{name} (bf16)" for name in BACKENDS if name != OURS}
    lines += [f"| {names.get(name, name)} | {1000 * t['least']:.1f} | "
              f"{1000 * t['median']:.1f} |" for name, t in found["seconds"].items()]
    return "\n".join([*lines, "", f"this engine / best: {found['engine to best']:.2f}",
                      f"{WHOLE} / (best + {REST}): {found[WHOLE]:.2f}"])
