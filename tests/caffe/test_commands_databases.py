"""convert_imageset, compute_image_mean, extract_features: images to databases and back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import caffe
from caffe.commands import compute_image_mean, convert_imageset, extract_features
from caffe.commands.database_writer import create
from caffe.data.blob_file import read_blob
from caffe.proto import caffe_pb2

lmdb = pytest.importorskip("lmdb")


@pytest.fixture
def images(tmp_path, monkeypatch) -> list[np.ndarray]:
    """Three images (5, 7, 3) of noise in images/, with images.txt; the working directory."""
    monkeypatch.chdir(tmp_path)
    made = [np.random.randint(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(3)]
    Path("images").mkdir()
    for number, image in enumerate(made):
        cv2.imwrite(f"images/a {number}.png", image)
    Path("images.txt").write_text("a 0.png 4\na 1.png 0\n\na 2.png 11\n")
    return made


def records(path: str) -> list[tuple[str, caffe_pb2.Datum]]:
    with lmdb.open(path, readonly=True, lock=False) as environment, environment.begin() as t:
        return [(key.decode(), caffe_pb2.Datum.FromString(value)) for key, value in t.cursor()]


def convert(*flags: str) -> int:
    return convert_imageset.main([*flags, "images/", "images.txt", "db"])


def test_raw_records(images, capsys):
    assert convert() == 0
    found = records("db")
    assert [key for key, _ in found] == ["00000000_a 0.png", "00000001_a 1.png", "00000002_a 2.png"]
    assert [datum.label for _, datum in found] == [4, 0, 11]
    for (_, datum), image in zip(found, images):
        assert (datum.channels, datum.height, datum.width, datum.encoded) == (3, 5, 7, False)
        assert datum.data == image.transpose(2, 0, 1).tobytes()         # BGR, C x H x W
    lines = capsys.readouterr().err
    assert "A total of 3 images." in lines and "Processed 3 files." in lines


def test_gray_and_resized(images):
    assert convert("--gray", "--resize_width=4", "--resize_height", "3", "--check_size") == 0
    datum = records("db")[1][1]
    assert (datum.channels, datum.height, datum.width) == (1, 3, 4)
    gray = cv2.imread("images/a 1.png", cv2.IMREAD_GRAYSCALE)
    assert datum.data == cv2.resize(gray, (4, 3)).tobytes()


def test_shuffled_records_are_the_same_in_another_order(images):
    caffe.set_random_seed(2)
    assert convert("--shuffle") == 0
    found = records("db")
    assert [key[:9] for key, _ in found] == ["00000000_", "00000001_", "00000002_"]
    assert sorted(key[9:] for key, _ in found) == ["a 0.png", "a 1.png", "a 2.png"]
    assert sorted(datum.label for _, datum in found) == [0, 4, 11]


def test_encoded_files_go_in_byte_for_byte(images):
    assert convert("--encoded") == 0
    datum = records("db")[2][1]
    assert datum.encoded and datum.data == Path("images/a 2.png").read_bytes()
    assert not datum.HasField("height") and datum.label == 11


@pytest.mark.parametrize("flags", [["--encode_type=jpg"], ["--encoded", "--resize_height=5",
                                                           "--resize_width=7"]])
def test_other_encodings_are_made(flags, images):
    assert convert(*flags) == 0
    datum = records("db")[0][1]
    assert datum.data[:4] == (b"\xff\xd8\xff\xe0" if "jpg" in flags[0] else b"\x89PNG")
    decoded = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape == (5, 7, 3)


def test_images_that_cannot_be_read_are_left_out(images, capsys):
    Path("images/a 1.png").write_bytes(b"no image")
    assert convert() == 0
    assert [key for key, _ in records("db")] == ["00000000_a 0.png", "00000002_a 2.png"]
    assert "Could not open or find file images/a 1.png" in capsys.readouterr().err


@pytest.mark.parametrize("spoil, flags, message", [
    (lambda: Path("db").mkdir(), [], "db exists already"),
    (lambda: Path("images.txt").write_text("a 0.png\n"), [], "images.txt, line 1: expected \"image label\""),
    (lambda: Path("images.txt").write_text("x 1\n"), [], "none of the 1 images"),
    (lambda: cv2.imwrite("images/a 1.png", np.zeros((5, 6, 3))), ["--check_size"],
     "the image is (3, 5, 6), those before (3, 5, 7)"),
    (lambda: None, ["--backend=rocksdb"], 'unknown database backend "rocksdb"'),
    (lambda: None, ["--encode_type=pgn"], 'cannot compress as "pgn"'),
    (lambda: None, ["--gary"], 'unknown flag --gary; did you mean "gray"'),
    (lambda: None, ["one-too-many"], "takes ROOT/ LIST DB, got 4"),
])
def test_errors_leave_no_database(spoil, flags, message, images, capsys):
    spoil()
    before = sorted(Path().iterdir())
    assert convert(*flags) == 1
    assert message in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


def test_a_database_grows(tmp_path, monkeypatch):
    """The first map of an LMDB is too small for this."""
    monkeypatch.setattr("caffe.commands.database_writer.FIRST_MAP_SIZE", 1 << 16)
    with create(tmp_path / "db", "lmdb") as writer:
        for i in range(1500):
            writer.put(f"{i:08d}", caffe_pb2.Datum(data=bytes(200), label=i))
    assert [datum.label for _, datum in records(str(tmp_path / "db"))] == list(range(1500))


def test_leveldb(images):
    plyvel = pytest.importorskip("plyvel")
    assert convert("--backend=leveldb") == 0
    with plyvel.DB("db", create_if_missing=False) as database:
        labels = [caffe_pb2.Datum.FromString(value).label for _, value in database]
    assert labels == [4, 0, 11]
    assert compute_image_mean.main(["--backend=leveldb", "db"]) == 0


def test_a_missing_package_is_named(images, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "plyvel", None)
    assert convert("--backend=leveldb") == 1
    assert "pip install plyvel" in capsys.readouterr().err
    assert not Path("db").exists()


# --- the mean ------------------------------------------------------------------------------------

@pytest.mark.parametrize("flags", [[], ["--encoded"]])
def test_mean(flags, images, capsys):
    assert convert(*flags) == 0
    assert compute_image_mean.main(["db", "mean.binaryproto"]) == 0
    want = np.mean(images, axis=0).transpose(2, 0, 1)
    np.testing.assert_allclose(read_blob("mean.binaryproto"), want[None], rtol=1e-6)
    lines = [line.split("] ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines[-4:] == ["Number of channels: 3", *(
        f"mean_value channel [{c}]: {want[c].mean():g}" for c in range(3))]


def test_mean_of_features(tmp_path):
    with create(tmp_path / "db", "lmdb") as writer:
        for i, values in enumerate(([1, 2], [3, 6])):
            writer.put(str(i), caffe_pb2.Datum(channels=2, height=1, width=1, float_data=values))
    assert compute_image_mean.mean_image(tmp_path / "db", "lmdb").ravel().tolist() == [2, 4]


@pytest.mark.parametrize("sizes, message", [([], "is empty"), ([(5, 7), (5, 6)], "(1, 5, 6)")])
def test_what_has_no_mean(sizes, message, tmp_path, capsys):
    with create(tmp_path / "db", "lmdb") as writer:
        for i, (height, width) in enumerate(sizes):
            writer.put(str(i), caffe_pb2.Datum(channels=1, height=height, width=width,
                                               data=bytes(height * width)))
    assert compute_image_mean.main([str(tmp_path / "db")]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("argv, message", [
    (["nowhere"], "nowhere"), ([], "takes DB [OUT]"), (["--backend=x", "d"], "lmdb or leveldb")])
def test_wrong_arguments_of_the_mean(argv, message, capsys):
    assert compute_image_mean.main(argv) == 1
    assert message in capsys.readouterr().err


# --- features ------------------------------------------------------------------------------------

FEATURES = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 1 dim: 5 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 4 bias_filler { type: "constant" value: 2 } } }
"""


@pytest.fixture
def net(tmp_path, monkeypatch) -> caffe.Net:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(FEATURES)
    made = caffe.Net("net.prototxt", caffe.TEST)
    made.save("w.caffemodel")
    return made


def test_features(net, capsys):
    argv = ["w.caffemodel", "net.prototxt", "ip,data", "one,two", "3", "lmdb", "CPU", "DEVICE_ID=0"]
    assert extract_features.main(argv) == 0
    one, two = records("one"), records("two")
    assert [key for key, _ in one] == [f"{i:010d}" for i in range(6)]
    datum = one[5][1]
    assert (datum.channels, datum.height, datum.width) == (4, 1, 1)
    assert list(datum.float_data) == [2, 2, 2, 2]
    assert (two[0][1].channels, two[0][1].height, two[0][1].width) == (3, 1, 5)
    assert "Successfully extracted the features!" in capsys.readouterr().err


@pytest.mark.parametrize("words, message", [
    ("w.caffemodel net.prototxt ip one 3", "takes 6 to 8 arguments, got 5"),
    ("w.caffemodel net.prototxt ip,data one 3 lmdb", "2 blobs (ip,data) but 1 databases"),
    ("w.caffemodel net.prototxt ipp one 3 lmdb", 'no blob "ipp"; did you mean "ip"?'),
    ("w.caffemodel net.prototxt ip one x lmdb", "BATCHES is a number"),
    ("w.caffemodel net.prototxt ip one 3 lmdb TPU", "CPU or GPU, got 'TPU'"),
    ("w.caffemodel net.prototxt ip one 3 hdf5", 'unknown database backend "hdf5"'),
])
def test_wrong_arguments_of_features(words, message, net, capsys):
    assert extract_features.main(words.split()) == 1
    assert message in capsys.readouterr().err
    assert not Path("one").exists()
