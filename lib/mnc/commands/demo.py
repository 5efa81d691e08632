"""Two demonstrations: instances drawn into any images, and the whole job on generated scenes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

import caffe
from caffe.extend import read_solver
from mnc.config import cfg
from mnc.data import DataError, Subset, get_dataset
from mnc.data.images import read_image
from mnc.drawing.instances import draw_instances, write_image, write_report
from mnc.inference.cascade import Instances, load_net, segment_image, test_dataset
from mnc.results import detections as results
from mnc.training.loop import train

log = logging.getLogger("mnc")

FINE_TUNING_RATE = 0.1               # times base_lr, when training starts from trained weights


@dataclass(frozen=True)
class Model:
    """Where a net and its settings lie; paths relative to the checkout."""

    net: str
    weights: str

    def path(self, name: str) -> Path:
        return Path(cfg.ROOT_DIR) / "models" / self.net / "mnc_5stage" / name

    @property
    def weight_file(self) -> Path:
        return Path(cfg.ROOT_DIR) / self.weights


MINI = Model("Mini", "models/Mini/mnc_5stage/mini_mnc_5stage.caffemodel.h5")
VGG16 = Model("VGG16", "data/mnc_model/mnc_model.caffemodel.h5")


def default_model() -> Model:
    """VGG16 where the user has its published weights, else the small net of the project."""
    return VGG16 if VGG16.weight_file.exists() else MINI


# --- any images ----------------------------------------------------------------------------------

def draw_files(net, paths: Sequence[Path], out: Path, classes: Sequence[str],
               score: float = 0.5) -> list[str]:
    """Write OUT/NAME.png for each image and OUT/index.html; returns what was left out, and why."""
    pictures, wrong = [], []
    for path, name in tqdm(list(zip(paths, unique_names(paths))), unit="image", disable=None):
        try:
            image = read_image(path)
        except DataError as error:
            wrong.append(str(error))
            continue
        found = Instances.from_detections(segment_image(net, image, cfg), score)
        picture = draw_instances(image, found, classes, cfg.BINARIZE_THRESH)
        write_image(out / f"{name}.png", picture)
        pictures.append((f"{path.name}: {count(found, classes)}", picture))
        log.info("%s: %s", path, count(found, classes))
    write_report(out / "index.html", "Instances", pictures,
                 notes=[f"Scores of {score:g} and more.", *wrong])
    return wrong


def unique_names(paths: Sequence[Path]) -> Iterator[str]:
    """The stems, numbered where one occurs again."""
    seen: dict[str, int] = {}
    for path in paths:
        seen[path.stem] = seen.get(path.stem, 0) + 1
        yield path.stem if seen[path.stem] == 1 else f"{path.stem}_{seen[path.stem]}"


def count(found: Instances, classes: Sequence[str]) -> str:
    """'2 coral, 1 opal'"""
    numbers = np.bincount(found.labels.astype(int), minlength=len(classes))
    return ", ".join(f"{n} {classes[c]}" for c, n in enumerate(numbers) if n) or "nothing found"


# --- the whole job -------------------------------------------------------------------------------

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
    net = load_net(MINI.path("test.prototxt"), snapshot, cfg.TEST.PRECISION)
    detections = test_dataset(net, held_out, cfg)
    metrics = results.measure(held_out, detections, "seg", cfg.BINARIZE_THRESH)
    results.save_metrics(out / "metrics.json", metrics, weights=str(snapshot), images=len(held_out))
    clock.say(f"tested on {len(held_out)} scenes")
    print(results.table(metrics))
    drawn = draw_detections(held_out, detections, out, pictures)
    start = "the bundled weights" if MINI.weight_file.exists() else "random weights"
    notes = [f"Mini, {iters} iterations from {start}, tested on {len(held_out)} scenes that it was "
             "not trained on. Scores of 0.5 and more are drawn."]
    write_report(out / "index.html", "Multi-task Network Cascades on generated scenes", drawn,
                 metrics=metrics, notes=notes)
    clock.say(f"pictures and report: {out / 'index.html'}")
    return metrics


def fine_tune(dataset, output: Path, iters: int) -> Path:
    """Train Mini, at a small rate from its bundled weights if they are there; the snapshot."""
    solver = read_solver(str(MINI.path("solver.prototxt")))
    solver.train_net = str(MINI.path("train.prototxt"))
    weights = MINI.weight_file
    if weights.exists():
        solver.base_lr *= FINE_TUNING_RATE
    else:
        log.warning("%s is missing: training starts from random weights, expect little", weights)
    return train(solver, dataset, output, weights if weights.exists() else None, iters)[-1]


def draw_detections(dataset, detections: results.SetDetections, out: Path, number: int,
                    score: float = 0.5) -> list[tuple[str, np.ndarray]]:
    """OUT/NAME.png for the first images: as given on the left, with the instances on the right."""
    drawn = []
    for i, name in list(enumerate(dataset.names))[:number]:
        found = Instances.from_detections([per_image[i] for per_image in detections], score)
        image = dataset.image(i)
        picture = draw_instances(image, found, dataset.classes, cfg.BINARIZE_THRESH)
        beside = cv2.resize(image, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        drawn.append((f"{name}: {count(found, dataset.classes)}", np.hstack((beside, picture))))
        write_image(out / f"{name}.png", drawn[-1][1])
    return drawn


class Clock:
    """Says what was done, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:4.0f} s] {text}", flush=True)
