"""Hashes: the same content, the same hash; anything else, another."""

from mnc.data.hashes import file_hash, value_hash


def test_of_files_and_values(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert file_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len({file_hash(path), file_hash(path, 1), file_hash(path, 2), file_hash(path, 1, 2)}) == 4
    assert value_hash([1, "a"]) == value_hash([1, "a"]) != value_hash([1, "b"])
