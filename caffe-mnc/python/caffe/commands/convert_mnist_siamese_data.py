"""convert_mnist_siamese_data: pairs of MNIST's images, for a net that compares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from caffe.commands.convert_mnist_data import datum_of, read_pair
from caffe.commands.database_writer import create
from caffe.commands.flags import Flag, help_text, parse
from caffe.commands.registration import UsageError, entry
from caffe.engine import random

USAGE = """usage: convert_mnist_siamese_data FLAGS IMAGES LABELS DB

Stores as many random pairs as there are images as the new database DB: two channels, label 1 where
both show the same digit, else 0."""

FLAGS = (Flag("backend", str, "leveldb", "lmdb or leveldb"),)


@entry("convert_mnist_siamese_data")
def main(argv: Sequence[str]) -> int:
    """store pairs of MNIST's images as a LevelDB or LMDB"""
    flags, words = parse(argv, FLAGS, USAGE)
    if len(words) != 3:
        raise UsageError(f"takes IMAGES LABELS DB, got {len(words)} names\n\n"
                         + help_text(FLAGS, USAGE))
    images, labels = read_pair(words[0], words[1])
    pairs = torch.randint(max(len(images), 1), (len(images), 2), generator=random.generator())
    with create(words[2], flags.backend) as writer:
        for number, (one, other) in enumerate(pairs.tolist()):
            pair = np.stack((images[one], images[other]))
            writer.put(f"{number:08d}", datum_of(pair, int(labels[one] == labels[other])))
    return 0
