"""MNIST's and CIFAR-10's files as databases, and the folders that old scripts start commands from."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe.commands import (
    convert_cifar_data,
    convert_mnist_data,
    convert_mnist_siamese_data,
    link_tools,
)
from caffe.proto import caffe_pb2

lmdb = pytest.importorskip("lmdb")


def records(path) -> list[tuple[str, caffe_pb2.Datum]]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as t:
        return [(key.decode(), caffe_pb2.Datum.FromString(value)) for key, value in t.cursor()]


def pixels(datum) -> np.ndarray:
    return np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Eight images (5, 4) in images, their labels in labels; the working directory."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(3).integers(0, 256, (8, 5, 4), np.uint8)
    labels = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.uint8)
    Path("images").write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
    Path("labels").write_bytes(struct.pack(">2I", 2049, 8) + labels.tobytes())
    return images, labels


def test_mnist(mnist):
    images, labels = mnist
    assert convert_mnist_data.main(["images", "labels", "db", "--backend=lmdb"]) == 0
    found = records("db")
    assert [key for key, _ in found] == [f"{n:08d}" for n in range(8)]
    np.testing.assert_array_equal(np.concatenate([pixels(datum) for _, datum in found]), images)
    assert [datum.label for _, datum in found] == labels.tolist()


def test_compressed_files_are_read(mnist):
    for name in ("images", "labels"):
        Path(f"{name}.gz").write_bytes(gzip.compress(Path(name).read_bytes()))
    assert convert_mnist_data.main(["images.gz", "labels.gz", "db"]) == 0
    assert len(records("db")) == 8


@pytest.mark.parametrize("change, said", [
    (lambda: Path("images").write_bytes(b"\x1f\x8bnothing"), "images: a damaged .gz"),
    (lambda: Path("images").write_bytes(b"PNG"), "images: not a file of MNIST's images"),
    (lambda: Path("labels").write_bytes(Path("images").read_bytes()), "labels: not a file of MNIST's labels"),
    (lambda: Path("images").write_bytes(Path("images").read_bytes()[:-1]), "159 bytes of values"),
    (lambda: Path("labels").write_bytes(struct.pack(">2I", 2049, 2) + b"ab"), "8 images, labels has 2 labels"),
    (lambda: Path("images").unlink(), "images")])
def test_what_is_wrong_with_files_is_said(mnist, capsys, change, said):
    change()
    assert convert_mnist_data.main(["images", "labels", "db"]) == 1
    assert said in capsys.readouterr().err and not Path("db").exists()


def test_pairs(mnist):
    images, labels = mnist
    caffe.set_random_seed(1)
    assert convert_mnist_siamese_data.main(["images", "labels", "db", "--backend", "lmdb"]) == 0
    found = records("db")
    assert len(found) == 8 and len({datum.data for _, datum in found}) > 4
    for _, datum in found:
        one, other = (next(n for n in range(8) if (images[n] == half).all()) for half in pixels(datum))
        assert datum.label == (labels[one] == labels[other])


def test_cifar(tmp_path, capsys):
    random = np.random.default_rng(3)
    batches = {name: random.integers(0, 10, (2, 3073)).astype(np.uint8)
               for name in [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]}
    for name, batch in batches.items():
        (tmp_path / name).write_bytes(batch.tobytes())
    assert convert_cifar_data.main([str(tmp_path), str(tmp_path), "lmdb"]) == 0
    train = records(tmp_path / "cifar10_train_lmdb")
    assert len(train) == 10 and train[3][0] == "00003" and len(records(tmp_path / "cifar10_test_lmdb")) == 2
    want = batches["data_batch_2.bin"][1]
    assert train[3][1].label == want[0] and train[3][1].data == want[1:].tobytes()
    (tmp_path / "data_batch_5.bin").write_bytes(b"cut")
    assert convert_cifar_data.main([str(tmp_path), str(tmp_path / "new"), "lmdb"]) == 1
    assert "data_batch_5.bin: 3 bytes" in capsys.readouterr().err


def test_an_old_script_finds_its_commands(mnist, tmp_path):
    """In the form of examples/mnist/create_mnist.sh."""
    Path("build/tools").mkdir(parents=True)
    Path("build/tools/caffe").write_text("mine")
    assert link_tools.main(["."]) == 0
    assert Path("build/tools/caffe").read_text() == "mine"
    assert Path("build/tools/convert_imageset.bin").exists()
    Path("create.sh").write_text("set -e\nBUILD=build/examples/mnist\nBACKEND=lmdb\n"
                                 "$BUILD/convert_mnist_data.bin images labels mnist_${BACKEND} --backend=${BACKEND}\n")
    done = subprocess.run(["sh", "create.sh"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert len(records("mnist_lmdb")) == 8
    assert link_tools.main(["nowhere"]) == 1
