"""Archives of arrays: headers must agree with the bytes that are there."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

import caffe
from caffe.engine.formats.arrays import read_array, read_arrays

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6).reshape(2, 3)),
          "c": np.array(["x", "äß"]), "d": np.zeros((0, 5), np.float32), "e": np.array(3),
          "f": np.array([True, False])}


def archive(**members: bytes) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return out


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)
    found = read_arrays(tmp_path / "x.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.writeable


def test_one_array_comes_back(tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS["b"])
    np.testing.assert_array_equal(read_array(tmp_path / "x.npy"), ARRAYS["b"])


WRONG = {
    "claims 16 GB": npy(ARRAYS["a"]).replace(b"(2, 3)", b"(2, 999999999)"),
    "claims less": npy(ARRAYS["a"]).replace(b"(2, 3)", b"(2, 2)"),
    "negative": npy(ARRAYS["a"]).replace(b"(2, 3)", b"(-2, -3)"),
    "no end": npy(ARRAYS["a"]).replace(b"'fortran_order'", b"[[[[[[[[[[[[[[["),
    "objects": npy(ARRAYS["a"]).replace(b"'<f8'", b"'|O' "),
    "no type": npy(ARRAYS["a"]).replace(b"'<f8'", b"'x7' "),
    "no characters": npy(ARRAYS["c"])[:-8] + b"\xff" * 8,
    "cut": npy(ARRAYS["a"])[:-3], "empty": b"", "text": b"hello",
}


@pytest.mark.parametrize("content", WRONG.values(), ids=list(WRONG))
def test_damaged_arrays_are_one_error(content, tmp_path):
    with pytest.raises(ValueError, match="not an archive of arrays, or damaged"):
        read_arrays(archive(a=content))
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match="not an array, or damaged"):
        read_array(tmp_path / "x.npy")


def test_damaged_archives_are_one_error(tmp_path):
    whole = archive(a=npy(ARRAYS["a"])).getvalue()
    encrypted = bytearray(whole)
    encrypted[6] |= 1
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    for content in (b"", b"PK", whole[:-30], whole[40:], bytes(encrypted)):
        with pytest.raises(ValueError, match="not an archive of arrays"):
            read_arrays(io.BytesIO(content))
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "nowhere.npz")


def test_a_size_that_no_compression_gives_is_refused():
    whole = bytearray(archive(a=npy(np.zeros(1000))).getvalue())
    place = whole.index(b"PK\x01\x02") + 24
    whole[place:place + 4] = (1 << 31).to_bytes(4, "little")
    with pytest.raises(ValueError, match="bytes cannot be 2147483648"):
        read_arrays(io.BytesIO(bytes(whole)))


def test_an_array_beyond_the_limit_of_memory_is_refused():
    caffe.set_memory_limit(1000)
    try:
        with pytest.raises(ValueError, match="a.npy: 1128 bytes are more than the limit of memory"):
            read_arrays(archive(a=npy(np.zeros(125))))
    finally:
        caffe.set_memory_limit(None)
