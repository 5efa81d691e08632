"""The whole job on generated scenes, for `mnc demo --scenes`."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import cv2
import numpy as np

import caffe
from caffe.extend import read_solver
from mnc import results
from mnc.commands.demo import MINI
from mnc.commands.report_page import figures_by_class, meanings
from mnc.config import cfg
from mnc.data import Dataset, Subset, get_dataset
from mnc.drawing.instances import draw_instances
from mnc.drawing.report import Page, counted
from mnc.inference import Instances, load_net, test_dataset
from mnc.inference.calibration import arithmetic
from mnc.instances import SetDetections
from mnc.results.names import output_paths
from mnc.training.loop import train

log = logging.getLogger("mnc")

FINE_TUNING_RATE = 0.1               # times base_lr, when training starts from trained weights


def scenes_demo(out: Path, iters: int, images: int, pictures: int = 12) -> dict[str, object]:
    """Draw scenes, train Mini on them from its bundled weights, test it, write a report.

    cfg must be that of Mini.
    """
    np.random.seed(cfg.RNG_SEED)
    caffe.set_random_seed(cfg.RNG_SEED)
    clock = Clock()
    data, validation = get_dataset("scenes_train"), get_dataset("scenes_val")
    clock.say(f"{len(data)} scenes to train on, {len(validation)} to test on, in "
              f"{Path(cfg.DATA_DIR, 'scenes')}")
    snapshot = fine_tune(data, out / "training", iters)
    clock.say(f"trained {iters} iterations: {snapshot}")
    held_out = Subset(validation, range(min(images, len(validation))))
    net = load_net(MINI.path("test.prototxt"), snapshot, **arithmetic(cfg))
    detections = test_dataset(net, held_out, cfg)
    metrics = results.measure(held_out, detections, "seg", cfg.BINARIZE_THRESH)
    results.save_metrics(out / "metrics.json", metrics, weights=str(snapshot), images=len(held_out))
    clock.say(f"tested on {len(held_out)} scenes")
    print(results.table(metrics))
    start = "the bundled weights" if MINI.weight_file.exists() else "random weights"
    page = Page(out / "index.html", "Multi-task Network Cascades on generated scenes")
    page.note(f"Mini, {iters} iterations from {start}, tested on {len(held_out)} scenes that it "
              "was not trained on. Scores of 0.5 and more are drawn.")
    page.add(figures_by_class(metrics) + meanings())
    draw_detections(held_out, detections, page, pictures)
    clock.say(f"pictures and report: {out / 'index.html'}")
    return metrics


def fine_tune(dataset: Dataset, output: Path, iters: int) -> Path:
    """Train Mini, at a small rate from its bundled weights if they are there; the snapshot."""
    solver = read_solver(str(MINI.path("solver.prototxt")))
    solver.train_net = str(MINI.path("train.prototxt"))
    weights = MINI.weight_file
    if weights.exists():
        solver.base_lr *= FINE_TUNING_RATE
    else:
        log.warning("%s is missing: training starts from random weights, expect little", weights)
    return train(solver, dataset, output, weights if weights.exists() else None, iters)[-1]


def draw_detections(dataset: Dataset, detections: SetDetections, page: Page, number: int,
                    score: float = 0.5) -> None:
    """NAME.png for the first images: as given on the left, with the instances on the right."""
    for i, path in list(enumerate(output_paths(page.path.parent, dataset, ".png")))[:number]:
        found = Instances.from_detections([per_image[i] for per_image in detections], score)
        image = dataset.image(i)
        picture = draw_instances(image, found, dataset.classes, cfg.BINARIZE_THRESH)
        beside = cv2.resize(image, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        page.picture(f"{dataset.names[i]}: {counted(found, dataset.classes)}",
                     np.hstack((beside, picture)), path)


class Clock:
    """Says what was done, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:4.0f} s] {text}", flush=True)
