"""detect: the class scores of windows of pictures."""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import caffe
from caffe.commands import pictures
from caffe.commands.registration import UsageError, entry
from caffe.engine.formats import hdf5
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.formats.text import read_text

CORNERS = ("ymin", "xmin", "ymax", "xmax")


@entry("detect")
def main(argv: Sequence[str]) -> int:
    """score windows of pictures"""
    args = parser().parse_args(argv)
    pictures.choose_device(args.gpu)
    detector = caffe.Detector(args.model_def, None,
                              mean=mean_value(args.mean_file), context_pad=args.context_pad,
                              **pictures.preprocessing(args))
    detector.copy_from(args.pretrained_model, required=True)
    start = time.perf_counter()
    print("Loading input...")
    detections = detect(detector, args.input_file, args.crop_mode)
    print(f"Processed {len(detections)} windows in {time.perf_counter() - start:.3f} s.")
    if not detections:
        raise UsageError(f"{args.input_file}: names no windows")
    write = write_csv if args.output_file.lower().endswith("csv") else write_hdf5
    write(args.output_file, detections)
    print(f"Saved to {args.output_file}")
    return 0


def mean_value(path: str) -> np.ndarray | None:
    """The mean of each channel (C,): a mean image would be stretched over windows of any size."""
    mean = pictures.read_mean(path)
    return mean if mean is None or mean.ndim == 1 else mean.mean(axis=(1, 2))


def detect(detector: Any, path: str, crop_mode: str) -> list[dict[str, Any]]:
    """Score the windows of a list, or those that selective search proposes."""
    if crop_mode == "list":
        return detector.detect_windows(windows(path))
    if not path.lower().endswith("txt"):
        return detector.detect_selective_search(list(dict(windows(path))))
    lines = map(str.strip, read_text(path).split("\n"))
    return detector.detect_selective_search(list(filter(None, lines)))


def windows(path: str) -> list[tuple[str, np.ndarray]]:
    """(image, windows (n, 4) as ymin, xmin, ymax, xmax) of a table with these columns."""
    if not path.lower().endswith("csv"):
        raise UsageError(f"{path}: --crop_mode list takes a .csv with the columns filename, "
                         f"{', '.join(CORNERS)}")
    found: dict[str, list[list[float]]] = {}
    with io.StringIO(read_text(path), newline="") as file:
        table = csv.DictReader(file, skipinitialspace=True)
        missing = {"filename", *CORNERS}.difference(table.fieldnames or ())
        if missing:
            raise UsageError(f"{path}: has no column {', '.join(sorted(missing))}")
        for row in table:
            try:
                corners = [float(row[name]) for name in CORNERS]
            except (TypeError, ValueError):
                raise UsageError(f"{path}:{table.line_num}: not four numbers") from None
            found.setdefault(row["filename"], []).append(corners)
    return [(name, np.array(rows)) for name, rows in found.items()]


def write_csv(path: str, detections: list[dict[str, Any]]) -> None:
    """A row a window: filename, its corners, a column for each class."""
    classes = [f"class{k}" for k in range(len(np.ravel(detections[0]["prediction"])))]
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["filename", *CORNERS, *classes])
        for found in detections:
            table.writerow([found["filename"], *np.ravel(found["window"]),
                            *np.ravel(found["prediction"])])


def write_hdf5(path: str, detections: list[dict[str, Any]]) -> None:
    """Arrays filename (n,), window (n, 4), prediction (n, K)."""
    with hdf5.writing(path) as file:
        file["filename"] = [found["filename"] for found in detections]
        for name in ("window", "prediction"):
            file[name] = np.stack([np.ravel(found[name]) for found in detections])


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="detect", description="Write the class scores of windows of "
                                "pictures.")
    p.add_argument("input_file", help=".txt of image names, or .csv of windows with the columns "
                   f"filename, {', '.join(CORNERS)}")
    p.add_argument("output_file", help=".csv or .h5 to write")
    pictures.add_options(p, "models/bvlc_reference_rcnn_ilsvrc13",
                         "bvlc_reference_rcnn_ilsvrc13.caffemodel")
    p.add_argument("--crop_mode", default="selective_search", choices=("list", "selective_search"),
                   help="where the windows come from (default %(default)s)")
    p.add_argument("--context_pad", type=int, default=16,
                   help="pixels of context around a window, in the net's input "
                        "(default %(default)s)")
    return p
