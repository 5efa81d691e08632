"""convert_cifar_data: the binary files of CIFAR-10 as databases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caffe.commands.convert_mnist_data import datum_of
from caffe.commands.database_writer import create
from caffe.commands.registration import UsageError, entry
from caffe.engine import log
from caffe.engine.errors import CaffeError

SHAPE = (3, 32, 32)
BYTES = 1 + 3 * 32 * 32             # the label, then red, green, blue
SETS = {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]}


@entry("convert_cifar_data")
def main(argv: Sequence[str]) -> int:
    """store CIFAR-10's binary files as databases: INPUT_FOLDER OUTPUT_FOLDER lmdb|leveldb"""
    if len(argv) != 3:
        raise UsageError("usage: convert_cifar_data INPUT_FOLDER OUTPUT_FOLDER lmdb|leveldb\n\n"
                         "Stores CIFAR-10's data_batch_1.bin to _5.bin and test_batch.bin as "
                         "OUTPUT_FOLDER/cifar10_train_DB and cifar10_test_DB.")
    source, target, backend = argv
    read = {name: [read_batch(Path(source, file)) for file in files]
            for name, files in SETS.items()}
    for name, batches in read.items():
        log.info("Writing %s data", name)
        with create(Path(target, f"cifar10_{name}_{backend}"), backend) as writer:
            for number, record in enumerate(np.concatenate(batches)):
                writer.put(f"{number:05d}", datum_of(record[1:].reshape(SHAPE), int(record[0])))
    return 0


def read_batch(path: Path) -> np.ndarray:
    """(N, 3073) uint8: a label and an image a row.

    Raises CaffeError for a file of another size, OSError where there is none.
    """
    content = np.fromfile(path, np.uint8)
    if not len(content) or len(content) % BYTES:
        raise CaffeError(f"{path}: {len(content)} bytes, where images of CIFAR-10 take {BYTES} "
                         "each: it is no binary batch, or cut")
    return content.reshape(-1, BYTES)
