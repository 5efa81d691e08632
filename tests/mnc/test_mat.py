"""Our reader of MATLAB files against scipy's, and what it refuses."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from mnc.data.dataset import DataError
from mnc.data.mat import read_mat

RNG = np.random.default_rng(0)
ARRAYS = {
    "double": RNG.uniform(size=(3, 5)), "single": RNG.uniform(size=(2, 7)).astype(np.float32),
    "cube": RNG.integers(0, 9, (3, 2, 5)).astype(np.int32), "bytes": np.arange(11, dtype=np.uint8),
    "long": np.array([[2**40, -3]]), "flags": np.array([[True, False, True]]),
    "none": np.zeros((0, 4)), "big_endian": np.arange(6, dtype=">i2"), "scalar": np.array(2.5)}


def cells(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


@pytest.fixture(params=[True, False], ids=["compressed", "plain"])
def path(request, tmp_path):
    nested = cells(np.arange(3.0), cells(np.arange(2), np.zeros((0, 0))), np.eye(2))
    struct_ = {"map": np.eye(3, dtype=np.uint8), "sparse": scipy.sparse.eye(3), "text": "a text"}
    scipy.io.savemat(tmp_path / "x.mat", {**ARRAYS, "nested": nested, "one": struct_,
                                          "a_very_long_name_of_31_letters_": np.eye(1)},
                     do_compression=request.param)
    return tmp_path / "x.mat"


def test_numbers_are_those_that_scipy_reads(path):
    wanted, found = scipy.io.loadmat(path), read_mat(path, ARRAYS)
    assert list(found) == list(ARRAYS)
    for name, values in found.items():
        assert values.dtype == wanted[name].dtype and values.shape == wanted[name].shape
        np.testing.assert_array_equal(values, wanted[name])


def test_cells_and_structures(path):
    found = read_mat(path, ["nested", "one", "nowhere"])
    assert set(found) == {"nested", "one"}
    first, second, third = found["nested"].ravel()
    assert first.tolist() == [[0, 1, 2]] and third.tolist() == np.eye(2).tolist()
    assert second.ravel()[0].tolist() == [[0, 1]] and not second.ravel()[1].size
    (one,) = found["one"]
    assert one["map"].tolist() == np.eye(3).tolist()
    assert one["sparse"] is None and one["text"] is None


@pytest.mark.parametrize("content, fault", [
    (b"", "no header"), (b"x" * 200, "no header"),
    (b" " * 124 + b"\0\2IM", "level 7.3"),
    (b" " * 124 + b"\0\1IM" + struct.pack("<II", 14, 2**31), "it ends where 2147483648 bytes"),
    (b" " * 124 + b"\0\1IM" + struct.pack("<II", 9, 0), "type 9 where a variable should be"),
    (b" " * 124 + b"\0\1IM" + struct.pack("<II", 15, 4) + b"junk", "incorrect header check"),
])
def test_damage_is_one_error(tmp_path, content, fault):
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(DataError, match=f"x.mat: not a readable MATLAB file .*{fault}"):
        read_mat(tmp_path / "x.mat", ["x"])


def matrix(kind, shape, content, name=b"x"):
    def element(type_, body):
        return struct.pack("<II", type_, len(body)) + body + b"\0" * (-len(body) % 8)

    head = (element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<2i", *shape))
            + element(1, name))
    return element(14, head + content)


@pytest.mark.parametrize("variable, fault", [
    (matrix(6, (2**31 - 1, 2**31 - 1), struct.pack("<II", 9, 8) + b"\0" * 8), "1 values for the"),
    (matrix(1, (10**9, 1), b""), "more than 1000000 cells"),
    (matrix(1, (9, 1), b""), "it ends where"),
    (matrix(6, (-1, 3), b""), "an array of the shape"),
    (matrix(2, (1, 1), struct.pack("<II", 5 | 4 << 16, 0) + struct.pack("<II", 1, 0)), "names of"),
])
def test_declared_sizes_are_checked_first(tmp_path, variable, fault):
    (tmp_path / "x.mat").write_bytes(b" " * 124 + b"\0\1IM" + variable)
    with pytest.raises(DataError, match=fault):
        read_mat(tmp_path / "x.mat", ["x"])


def test_bombs_and_depth(tmp_path, monkeypatch):
    monkeypatch.setattr("mnc.data.mat.MOST_BYTES", 10_000)
    bomb = zlib.compress(matrix(9, (1, 10**6), struct.pack("<II", 2, 10**6) + bytes(10**6)))
    (tmp_path / "x.mat").write_bytes(b" " * 124 + b"\0\1IM" + struct.pack("<II", 15, len(bomb))
                                     + bomb)
    with pytest.raises(DataError, match="more than 10000 bytes"):
        read_mat(tmp_path / "x.mat", ["x"])
    inner = matrix(1, (1, 1), b"")
    for _ in range(40):
        inner = matrix(1, (1, 1), inner)
    (tmp_path / "x.mat").write_bytes(b" " * 124 + b"\0\1IM" + inner)
    with pytest.raises(DataError, match="more than 16 arrays in each other"):
        read_mat(tmp_path / "x.mat", ["x"])


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_never_get_past(tmp_path, seed):
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"x": {"a": np.eye(3), "b": cells(np.eye(2), np.zeros((0, 0)))}})
    content = bytearray(stream.getvalue())
    for place in rng.integers(100, len(content), 3):
        content[place] ^= 1 << rng.integers(8)
    (tmp_path / "x.mat").write_bytes(content)
    try:
        read_mat(tmp_path / "x.mat", ["x"])
    except DataError as error:
        assert "x.mat" in str(error)
