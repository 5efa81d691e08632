"""The reader of LMDB files: what the lmdb package wrote, and files that are damaged."""

from __future__ import annotations

import random

import lmdb
import pytest

from caffe.data.lmdb_file import LmdbFile


def write(path, records):
    with lmdb.open(str(path), map_size=2**28) as environment:
        with environment.begin(write=True) as transaction:
            for key, value in records.items():
                transaction.put(key, value)
    return path


@pytest.fixture(scope="module")
def records():
    draw = random.Random(3)
    return {f"{i:08d}".encode(): draw.randbytes(draw.choice((0, 3, 50, 900, 5000, 20000)))
            for i in range(600)}


@pytest.fixture(scope="module")
def database(records, tmp_path_factory):
    return write(tmp_path_factory.mktemp("lmdb"), records)


def test_reads_the_records_in_the_order_of_their_keys(database, records):
    opened = LmdbFile(database)
    assert len(opened) == 600
    assert list(opened.values()) == [records[key] for key in sorted(records)]


@pytest.mark.parametrize("first", (0, 1, 37, 599, 600, 10**9))
def test_begins_at_any_record(database, records, first):
    wanted = [records[key] for key in sorted(records)][first:]
    assert list(LmdbFile(database).values(first)) == wanted


def test_sees_the_last_commit(tmp_path):
    write(tmp_path, {b"a": b"1", b"b": b"2"})
    with lmdb.open(str(tmp_path)) as environment, environment.begin(write=True) as transaction:
        transaction.delete(b"a")
        transaction.put(b"c", b"3")
    assert list(LmdbFile(tmp_path / "data.mdb").values()) == [b"2", b"3"]


def test_empty_database(tmp_path):
    assert list(LmdbFile(write(tmp_path, {})).values()) == []


@pytest.mark.parametrize("content", (b"", b"nothing of the kind" * 1000))
def test_another_file_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.mdb: not an LMDB"):
        LmdbFile(tmp_path)


def test_truncated_files_are_errors(database, tmp_path):
    whole = (database / "data.mdb").read_bytes()
    for size in range(4096, len(whole) - 200000, 211111):
        (tmp_path / "data.mdb").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="damaged or truncated LMDB"):
            list(LmdbFile(tmp_path).values())


def test_no_damage_does_more_than_raise_valueerror(tmp_path, records):
    """Bytes changed at random, in the pages that hold the structure."""
    few = dict(list(records.items())[:60])
    whole = (write(tmp_path / "few", few) / "data.mdb").read_bytes()
    draw = random.Random(5)
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 5, 100))):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        (tmp_path / "data.mdb").write_bytes(damaged)
        try:
            found = list(LmdbFile(tmp_path).values())
        except ValueError as error:
            assert "data.mdb: " in str(error)
        else:
            assert sum(map(len, found)) <= len(whole) * 60
