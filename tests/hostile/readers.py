"""Reads inputs of one kind after another, in a process of its own, and prints what came of each.

    python readers.py FOLDER KIND...        a line of JSON for each file: file, error, seconds of the processor, MB

FOLDER holds the files of inputs.zip.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

MEMORY = 6_000_000_000
LIMIT = 500_000_000             # of nets
READERS, PATTERNS = {}, {}


def reader(*patterns):
    def note(function):
        READERS[function.__name__], PATTERNS[function.__name__] = function, patterns
        return function
    return note


def pictures(folder: Path) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for name in "ab":
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((20, 30, 3), np.uint8))
    return folder / "images"


@reader("fuzz/coco_*", "odd/*.json")
def coco(path, folder):
    from mnc.data.coco import COCO
    from mnc.evaluation.coco import coco_metric

    dataset = COCO(path, pictures(folder))
    for i in range(len(dataset)):
        dataset.annotation(i)
    nothing = [[(np.zeros((0, 5)), [])] * len(dataset)] * len(dataset.classes)
    coco_metric(dataset, nothing)


@reader("fuzz/cocores_*")
def coco_results(path, folder):
    from mnc.data.coco import COCO
    from mnc.evaluation.figures import figures_of
    from mnc.results import saved

    truth = {"images": [{"id": k, "file_name": f"{name}.png", "height": 20, "width": 30}
                        for k, name in enumerate("ab", 1)],
             "categories": [{"id": 1, "name": "x"}, {"id": 3, "name": "y"}],
             "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9],
                              "segmentation": [[1, 1, 10, 1, 10, 10, 1, 10]], "iscrowd": 0}]}
    (folder / "truth.json").write_text(json.dumps(truth))
    shutil.copyfile(path, folder / "results.json")
    dataset = COCO(folder / "truth.json", pictures(folder))
    found = saved.load(folder / "results.json", dataset)
    figures_of(found, dataset, 0.4, ("voc", "coco"))


@reader("fuzz/mcgmat_*", "odd/*.mat")
def regions(path, folder):
    from mnc.data.mcg import load_regions

    load_regions(path)


@reader("fuzz/mcgmat_*", "odd/*.mat")
def raw_regions(path, folder):
    from mnc.data.mcg import Settings, raw_regions

    raw_regions(path, Settings())


@reader("fuzz/sbdmat_*", "odd/*.mat")
def sbd(path, folder):
    from mnc.data.instance_maps import instances
    from mnc.data.sbd import read_instances

    instances(*read_instances(path))


@reader("fuzz/vocmap_*", "odd/*.png")
def maps(path, folder):
    from mnc.data.voc import _read_map

    _read_map(path)


@reader("fuzz/vocmap_*", "odd/*.png")
def images(path, folder):
    from mnc.data.images import read_image

    read_image(path)


@reader("fuzz/vocmap_*", "odd/*.png")
def load_image(path, folder):
    import caffe

    caffe.io.load_image(path)


@reader("fuzz/datum_*")
def datums(path, folder):
    from caffe.data.images import parse_datum

    parse_datum(path.read_bytes(), str(path))


@reader("fuzz/cfg_*", "odd/*.yml")
def configurations(path, folder):
    from mnc.config import cfg_from_file

    cfg_from_file(path)


@reader("fuzz/h5weights_*", "odd/*.h5", "odd/*.caffemodel")
def weights(path, folder):
    import caffe

    net = caffe.Net(str(path.parent.parent / "odd" / "w.prototxt"), caffe.TEST)
    net.copy_from(str(path))


@reader("fuzz/state_*", "odd/*.h5", "odd/*.caffemodel")
def states(path, folder):
    from caffe.engine.formats.snapshot import read_state

    read_state(path)


@reader("fuzz/hdf5data_*", "odd/*.h5")
def hdf5_data(path, folder):
    from caffe.layer_types.data import read_hdf5

    read_hdf5(str(path), ["data", "label"])


@reader("fuzz/netbuild_*", "odd/*.prototxt")
def nets(path, folder):
    import caffe

    caffe.set_memory_limit(LIMIT)
    caffe.Net(str(path), caffe.TEST)


@reader("fuzz/nettrain_*")
def nets_that_train(path, folder):
    import caffe

    caffe.set_memory_limit(LIMIT)
    caffe.Net(str(path), caffe.TRAIN)


def most_held() -> int:
    """KB that this process has held at most; ru_maxrss may be of the one that started it."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines()
                if each.startswith("VmHWM"))
    return int(line.split()[1])


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    cv2.setNumThreads(1)            # each thread's stack counts as memory
    inputs, kinds = Path(sys.argv[1]), sys.argv[2:]
    for kind in kinds:
        folder = Path(tempfile.mkdtemp())
        for path in sorted(each for pattern in PATTERNS[kind] for each in inputs.glob(pattern)):
            about = {"kind": kind, "file": path.name}
            print(json.dumps({**about, "began": True}), flush=True)
            began, error = time.process_time(), None
            try:
                READERS[kind](path, folder)
            except BaseException as found:
                kind_of_error = next((each for each in type(found).__mro__
                                      if each.__module__ == "caffe.engine.errors"), type(found))
                error = f"{kind_of_error.__module__}.{kind_of_error.__name__}: {found}"
            megabytes = most_held() // 1024
            print(json.dumps({**about, "error": error, "seconds": time.process_time() - began,
                              "megabytes": megabytes}), flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
