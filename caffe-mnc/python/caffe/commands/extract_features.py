"""extract_features: what a net computes at some blobs, as databases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from caffe.commands import devices
from caffe.commands.database_writer import COMMIT_AFTER, create
from caffe.commands.flags import parse
from caffe.commands.registration import UsageError, entry
from caffe.engine import device, log
from caffe.engine.blob import Blob
from caffe.engine.layer import TEST
from caffe.engine.net.net import Net
from caffe.engine.registry import nearest
from caffe.engine.solving.progress import run_forward
from caffe.proto import caffe_pb2

USAGE = """usage: extract_features WEIGHTS PROTO BLOB1[,BLOB2...] DB1[,DB2...] BATCHES DBTYPE
                        [CPU|GPU] [DEVICE_ID=N]

Runs the net PROTO with WEIGHTS for that many batches and stores each item of BLOB1 in the new
database DB1, of BLOB2 in DB2 ... DBTYPE is lmdb or leveldb."""


@entry("extract_features")
def main(argv: Sequence[str]) -> int:
    """store what a net computes at some blobs"""
    _, words = parse(argv, (), USAGE)
    if not 6 <= len(words) <= 8:
        raise UsageError(f"takes 6 to 8 arguments, got {len(words)}\n\n{USAGE}")
    weights, proto, blobs, targets, batches, backend = words[:6]
    names, paths = blobs.split(","), targets.split(",")
    if len(names) != len(paths):
        raise UsageError(f"{len(names)} blobs ({blobs}) but {len(paths)} databases ({targets})")
    choose_device(*words[6:])
    net = Net(proto, TEST)
    net.copy_from(weights, required=True)
    for name in names:
        if name not in net.blobs:
            raise UsageError(f'{proto}: the net has no blob "{name}"'
                             + nearest(name, net.blobs, f"it has {', '.join(net.blobs)}"))
    extract(net, names, paths, _number(batches, "BATCHES"), backend)
    return 0


def choose_device(mode: str = "CPU", index: str = "0") -> None:
    if mode == "GPU":
        gpu = _number(index.removeprefix("DEVICE_ID="), "DEVICE_ID")
        devices.use_gpu(devices.listed(str(gpu))[0])
        log.info("Using GPU, device id %d", gpu)
    elif mode == "CPU":
        device.set_mode_cpu()
        log.info("Using CPU")
    else:
        raise UsageError(f"the seventh argument is CPU or GPU, got {mode!r}")


def _number(text: str, name: str) -> int:
    if not text.isdigit():
        raise UsageError(f"{name} is a number, got {text!r}")
    return int(text)


def extract(net: Net, names: list[str], paths: list[str], batches: int, backend: str) -> None:
    log.info("Extracting Features")
    with ExitStack() as stack:
        writers = [stack.enter_context(create(path, backend)) for path in paths]
        for _ in range(batches):
            run_forward(net)
            for name, writer in zip(names, writers):
                for datum in features(net.blobs[name]):
                    writer.put(f"{writer.count:010d}", datum)
                    if writer.count % COMMIT_AFTER == 0:
                        _report(writer.count, name)
    for name, writer in zip(names, writers):
        if writer.count % COMMIT_AFTER:
            _report(writer.count, name)
    log.info("Successfully extracted the features!")


def _report(count: int, name: str) -> None:
    log.info("Extracted features of %d query images for feature blob %s", count, name)


def features(blob: Blob) -> list[Any]:
    """A Datum for each item of the blob, with the shape the old four axes give it."""
    items = blob.tensor.float().cpu().numpy().reshape(blob.num, -1)          # (N, C*H*W)
    shape = {"channels": blob.channels, "height": blob.height, "width": blob.width}
    return [caffe_pb2.Datum(**shape, float_data=np.ascontiguousarray(item)) for item in items]
