"""Data layers against the real Caffe: tests/golden/data.zip, its sources and its batches."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

ARCHIVE = Path(__file__).parents[1] / "golden" / "data.zip"


def _cases() -> list:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return [pytest.param(case, id=case["name"])
                for case in json.loads(archive.read("index.json"))["cases"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("golden_data")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(where)
    return where


@pytest.mark.parametrize("case", _cases())
def test_batches_are_those_of_caffe(case, folder, monkeypatch):
    monkeypatch.chdir(folder)
    wanted = np.load(io.BytesIO((folder / f"{case['name']}.npz").read_bytes()))
    net = Net.from_proto(read_net((folder / f"{case['name']}.prototxt").read_text()),
                         getattr(caffe, case["phase"]))
    for forward in range(case["forwards"]):
        net.forward()
        for name, blob in net.blobs.items():
            if f"{name}:{forward}" in wanted:
                np.testing.assert_array_equal(blob.data, wanted[f"{name}:{forward}"])
