"""How long a net takes, beside the least its convolutions and matrix products could take.

Net and floor take turns in one run, so that their ratio survives a machine whose speed drifts.
Only the command mnc.commands.benchmark asks; the measuring is this room's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import caffe
from mnc.benchmarks.floor import bare, products
from mnc.benchmarks.machine import machine, peak_memory
from mnc.benchmarks.parts import PARTS, Stopwatch
from mnc.benchmarks.subjects import Plan, testing, training
from mnc.benchmarks.timing import seconds, take_turns
from mnc.config import cfg

Figures = dict[str, Any]        # JSON-ready


def measure(plan: Plan, image: np.ndarray, *, train: bool, repeat: int) -> Figures:
    """Everything the report says of a net on an image (H, W, 3); `repeat` runs of each work."""
    with tempfile.TemporaryDirectory() as folder:
        before = peak_memory()
        subject = (training if train else testing)(plan, image, Path(folder))
        take_turns(subject.works, 1)
        peak = peak_memory()
        floor = list(products(subject.net, train))
        works = {**subject.works, "floor": bare([call for _, call in floor])}
        if subject.reference:
            works["reference"] = subject.reference
        times = take_turns(works, repeat)
        with torch.inference_mode():
            alone = [seconds(call) for _, call in floor]
        watch = Stopwatch(subject.net)      # last: on a GPU it makes every layer wait
        parts = [watch.run(subject.works["net"]) for _ in range(3)]
    ratios = [net / least for net, least in zip(times["net"], times["floor"])]
    return {"net": plan.net, "task": plan.task, "phase": "train" if train else "test",
            "size": list(image.shape[:2]), "precision": cfg.TEST.PRECISION, "machine": machine(),
            "repeat": repeat, "seconds": {name: median(t) for name, t in times.items()},
            "ratio to floor": median(ratios),
            "parts": {part: median(took[part] for took in parts) for part in PARTS},
            "memory GB": {"peak": peak, "before the net": before, **sizes_of(subject.net)},
            "floor": [asdict(replace(product, seconds=took))
                      for (product, _), took in zip(floor, alone)]}


def sizes_of(net: caffe.Net) -> dict[str, float]:
    """GB of the weights and of the three largest blobs of the last pass."""
    item = torch.finfo(net.dtype).bits / 8e9
    largest = sorted({id(blob): blob.count for blob in net.blobs.values()}.values())[-3:]
    return {"weights": item * sum(blob.count for blob in net.learnable_params),
            "three largest blobs": item * sum(largest)}


def report(found: Figures) -> str:
    """The measurements as text."""
    lines = [f"{'layer':28}{'product':10}{'input':24}{'weight':22}{'GFLOP':>8}{'ms':>9}"]
    for p in found["floor"]:
        lines.append(f"{p['layer']:28}{p['what']:10}{_by(p['input']):24}{_by(p['weight']):22}"
                     f"{p['gflop']:8.2f}{1000 * p['seconds']:9.2f}")
    lines += ["", f"{found['net']} {found['task']}, {found['phase']}, {_by(found['size'])}, "
              f"{found['precision']}; {found['machine']}", ""]
    lines += [f"{name:24}{1000 * t:10.1f} ms" for name, t in found["seconds"].items()]
    lines += [f"{'net / floor':24}{found['ratio to floor']:10.2f}", "", "parts of the net:"]
    lines += [f"  {name:22}{1000 * t:10.1f} ms" for name, t in found["parts"].items()]
    lines += ["", "memory, GB:"]
    lines += [f"  {name:22}{gb:10.2f}" for name, gb in found["memory GB"].items()]
    return "\n".join(lines)


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
