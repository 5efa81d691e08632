#!/usr/bin/env python3
"""Trainings that are ended by kill -9 at random moments: python tests/long/kill.py [--kills 50]

Each source of data trains twice: undisturbed, and killed over and over, going on from the newest
snapshot. The weights at the end must be equal, bit for bit. Exit status 1 if some are not.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for place in (ROOT / "tests", ROOT / "lib", ROOT / "caffe-mnc/python"):
    sys.path.insert(0, str(place))
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("CAFFE_KEEP_MEMORY", "0")

import cv2  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

import caffe  # noqa: E402
from caffe.cli import main as caffe_main  # noqa: E402
from conftest import tiny_sizes  # noqa: E402
from kill_workers import TORCHRUN, TRAIN, killed  # noqa: E402
from mnc.cli import main as mnc_main  # noqa: E402
from mnc.data import scenes  # noqa: E402
from mnc.nets.generate import TASKS, net_texts  # noqa: E402
from mnc.nets.solvers import solver as solver_text  # noqa: E402

ITERATIONS = 60
CASCADE_ITERATIONS = 16
WORKERS_ITERATIONS = 2000        # of two workers
IMAGES = 7                      # not a multiple of the batches
LAYERS = {
    "lmdb": 'type: "Data" data_param { source: "lmdb" batch_size: 4 backend: LMDB } '
            "transform_param { crop_size: 6 mirror: true }",
    "leveldb": 'type: "Data" data_param { source: "leveldb" batch_size: 4 rand_skip: 3 }',
    "hdf5": 'type: "HDF5Data" hdf5_data_param { source: "h5.txt" batch_size: 4 shuffle: true }',
    "images": 'type: "ImageData" image_data_param { source: "list.txt" batch_size: 4 shuffle: true } '
              "transform_param { mirror: true crop_size: 6 }",
    "windows": 'type: "WindowData" window_data_param { source: "windows.txt" batch_size: 4 '
               "fg_threshold: 0.5 bg_threshold: 0.5 context_pad: 1 } transform_param { crop_size: 6 mirror: true }",
    "dummy": 'type: "DummyData" dummy_data_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } shape { dim: 4 } '
             'data_filler { type: "gaussian" } data_filler { type: "constant" } }',
    "memory": 'type: "MemoryData" memory_data_param { batch_size: 2 channels: 3 height: 6 width: 6 }',
}
NET = """layer {{ name: "d" top: "x" top: "y" {} }}
layer {{ name: "drop" type: "Dropout" bottom: "x" top: "drop" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "drop" top: "ip"
  inner_product_param {{ num_output: 3 weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }}
"""
SOLVER = f"""net: "net.prototxt" base_lr: 0.0001 lr_policy: "fixed" momentum: 0.9 random_seed: 5
max_iter: {ITERATIONS} snapshot: 3 snapshot_prefix: "s" snapshot_format: BINARYPROTO """


def write_sources(folder: Path) -> None:
    """Every kind of data, of the same few images."""
    random_numbers = np.random.default_rng(2)
    images = random_numbers.integers(0, 255, (IMAGES, 3, 9, 8), dtype=np.uint8)
    labels = np.arange(IMAGES) % 3
    records = [caffe.io.array_to_datum(image, int(label)).SerializeToString()
               for image, label in zip(images, labels)]
    write_databases(folder, records)
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"], file["y"] = images[:, :, :6, :6].astype(np.float32), labels.astype(np.float32)
    (folder / "h5.txt").write_text(f"{folder}/a.h5\n")
    for k, image in enumerate(images):
        cv2.imwrite(str(folder / f"{k}.png"), image.transpose(1, 2, 0))
    (folder / "list.txt").write_text("".join(f"{folder}/{k}.png {labels[k]}\n" for k in range(IMAGES)))
    (folder / "windows.txt").write_text("".join(
        f"# {k}\n{folder}/{k}.png\n3\n9\n8\n2\n{1 + k % 2} 0.9 0 0 6 6\n0 0.1 2 2 7 7\n"
        for k in range(IMAGES)))


def write_databases(folder: Path, records: Sequence[bytes]) -> None:
    import lmdb
    import plyvel

    with lmdb.open(str(folder / "lmdb"), map_size=1 << 20) as env, env.begin(write=True) as txn:
        for k, record in enumerate(records):
            txn.put(b"%08d" % k, record)
    level = plyvel.DB(str(folder / "leveldb"), create_if_missing=True)
    for k, record in enumerate(records):
        level.put(b"%08d" % k, record)
    level.close()


# --- what a child does -------------------------------------------------------------------------------

def train(folder: Path, data: Path, layer: str) -> None:
    """`caffe train --snapshot auto`, with its files in `folder`."""
    text = NET.format(LAYERS[layer])
    for name in ("lmdb", "leveldb", "h5.txt", "list.txt", "windows.txt"):
        text = text.replace(f'source: "{name}"', f'source: "{data / name}"')
    (folder / "net.prototxt").write_text(text)
    (folder / "solver.prototxt").write_text(SOLVER)
    os.chdir(folder)
    if layer == "memory":
        train_from_memory()
    else:
        sys.exit(caffe_main(["train", "--solver=solver.prototxt", "--cpu", "--snapshot=auto"]))


def train_from_memory() -> None:
    solver = caffe.get_solver("solver.prototxt")
    numbers = np.random.default_rng(4)
    solver.net.set_input_arrays(numbers.random((6, 3, 6, 6), dtype=np.float32),
                                np.arange(6, dtype=np.float32) % 3)
    solver.resume("auto")
    solver.solve()


def train_cascade(folder: Path, data: Path) -> None:
    """`mnc train --resume auto` of the tiny five-stage net."""
    os.chdir(ROOT)
    sys.exit(mnc_main(["train", "--cpu", "--solver", str(data / "cascade/solver.prototxt"),
                       "--imdb", f"sbd:{data / 'scenes'}:train", "--iters", str(CASCADE_ITERATIONS),
                       "--out", str(folder), "--resume", "auto",
                       "--cfg", "experiments/cfgs/Mini/mnc_5stage.yml"]))


def write_cascade(data: Path) -> None:
    scenes.draw(data / "scenes", seed=5, train=6, val=3)
    (data / "cascade").mkdir()
    texts = net_texts("Mini", "mnc_5stage", replace(tiny_sizes(), **TASKS["mnc_5stage"].changes))
    solver = solver_text("Mini", "mnc_5stage", data / "cascade")
    solver = re.sub(r"\bsnapshot: \d+", "snapshot: 2", solver)
    for name, text in {**texts, "solver": solver}.items():
        (data / "cascade" / f"{name}.prototxt").write_text(text)


# --- killing ---------------------------------------------------------------------------------------

def start(job: Callable[[], None], log: Path) -> int:
    """The job in a child, which says what it says to `log`; all that it needs is imported here."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(out, descriptor)
        job()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os._exit(status)


def finish(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def weights(folder: Path) -> bytes:
    """Of the last snapshot."""
    found = max(folder.rglob("*_iter_*.caffemodel*"), key=lambda path: int(
        path.name.partition("_iter_")[2].partition(".")[0]))
    net = caffe.extend.read_caffemodel(str(found)) if found.suffix != ".h5" else None
    if net is not None:
        return b"".join(np.array(blob.data, np.float32).tobytes()
                        for layer in net.layer for blob in layer.blobs)
    values: list[bytes] = []
    with h5py.File(found) as file:
        file.visititems(lambda name, item: values.append(item[...].tobytes())
                        if isinstance(item, h5py.Dataset) else None)
    return b"".join(values)


def survives(name: str, job: Callable[[Path], None], folder: Path, kills: int,
             rng: random.Random) -> bool:
    """Whether the training that was killed `kills` times ends with the weights of the other.

    One that was over before it could be killed is compared, and another begins.
    """
    quiet, killed, log = folder / f"{name}-quiet", folder / f"{name}-killed", folder / f"{name}.log"
    quiet.mkdir()
    killed.mkdir()
    began = time.monotonic()
    if finish(start(lambda: job(quiet), log)) != 0:
        raise RuntimeError(f"{name}: the undisturbed training failed: {log.read_text()[-2000:]}")
    duration = time.monotonic() - began
    done, same, within, fresh = 0, True, duration, True
    while done < kills and same:
        process = start(lambda: job(killed), log)
        time.sleep(rng.uniform(0, within))
        os.kill(process, signal.SIGKILL)
        status = finish(process)
        if status == -signal.SIGKILL:
            done, fresh = done + 1, False
            continue
        same = status == 0 and weights(quiet) == weights(killed)
        within, fresh = within / 2 if fresh else duration, True     # / 2: the machine is faster than before
        shutil.rmtree(killed)
        killed.mkdir()
    status = finish(start(lambda: job(killed), log)) if same else status
    if status:
        print(log.read_text()[-2000:])
    same = same and status == 0 and weights(quiet) == weights(killed)
    print(f"{name:9} {done:3} kills, {duration:.1f} s undisturbed: "
          + ("bit-equal" if same else f"DIFFERENT (status {status})"), flush=True)
    return same


def workers_survive(data: Path, kills: int, rng: random.Random) -> bool:
    """The same of two workers under torchrun, of which one is killed and both begin again."""
    text = NET.format(LAYERS["lmdb"]).replace('"lmdb"', f'"{data / "lmdb"}"')
    folders = data / "workers-quiet", data / "workers-killed"
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    for folder in folders:
        folder.mkdir()
        (folder / "net.prototxt").write_text(text)
        (folder / "solver.prototxt").write_text(SOLVER.replace(
            f"max_iter: {ITERATIONS} snapshot: 3", f"max_iter: {WORKERS_ITERATIONS} snapshot: 25"))
    quiet, _ = killed([*TORCHRUN, *TRAIN], folders[0], 0, rng)
    status, done = killed([*TORCHRUN, "--max-restarts", str(kills), *TRAIN], folders[1], kills, rng)
    same = quiet == status == 0 and weights(folders[0]) == weights(folders[1])
    if not same:
        print((folders[1] / "kill.log").read_text()[-2000:])
    print(f"{'workers':9} {done:3} kills: "
          + ("bit-equal" if same else f"DIFFERENT (status {quiet}, {status})"), flush=True)
    return same


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("sources", nargs="*", help=f"of {', '.join(LAYERS)}, cascade, workers (default: all)")
    p.add_argument("--kills", type=int, default=50, help="in all (default %(default)s)")
    p.add_argument("--seed", type=int, default=1, help="(default %(default)s)")
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    names = args.sources or [*LAYERS, "cascade", "workers"]
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="kill") as folder:
        data = Path(folder)
        write_sources(data)
        if "cascade" in names:
            write_cascade(data)
        jobs = {name: (lambda place: train_cascade(place, data)) if name == "cascade" else
                (lambda place, name=name: train(place, data, name)) for name in names}
        shares = [args.kills // len(names) + (k < args.kills % len(names)) for k in range(len(names))]
        good = [workers_survive(data, kills, rng) if name == "workers" else
                survives(name, job, data, kills, rng)
                for (name, job), kills in zip(jobs.items(), shares)]
    print(f"{sum(good)} of {len(good)} sources of data end with the weights of an undisturbed run")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
