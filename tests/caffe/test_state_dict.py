"""Weights of torch as they are read: safetensors and torch.save, whole or refused in words."""

from __future__ import annotations

import json
import struct
from collections import OrderedDict

import pytest
import torch

from caffe.engine.errors import WeightsError
from caffe.engine.formats.state_dict import read_state_dict


def safetensors(header: object, values: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


GOOD = {"__metadata__": {"format": "pt"},
        "b": {"dtype": "I64", "shape": [2], "data_offsets": [5, 21]},
        "a": {"dtype": "F16", "shape": [1, 2], "data_offsets": [0, 4]},
        "flag": {"dtype": "BOOL", "shape": [], "data_offsets": [4, 5]},
        "none": {"dtype": "F32", "shape": [0, 3], "data_offsets": [21, 21]}}
VALUES = struct.pack("<2e", 1.5, -2) + b"\1" + struct.pack("<2q", 7, -8)


def test_safetensors(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(safetensors(GOOD, VALUES))
    state = read_state_dict(tmp_path / "w.safetensors")
    assert set(state) == {"a", "b", "flag", "none"}
    assert state["a"].dtype == torch.float16 and state["a"].tolist() == [[1.5, -2]]
    assert state["b"].tolist() == [7, -8] and state["flag"].item() is True
    assert state["none"].shape == (0, 3)


@pytest.mark.parametrize("change, what", [
    ({"shape": [1, 3]}, "a: torch.float16 of shape"), ({"dtype": "X9"}, "a: no dtype"),
    ({"data_offsets": [0, 900]}, "is not bytes 0 to 900 of 21"), ({"data_offsets": [4, 0]}, "is not bytes"),
    ({"shape": [-1, -2]}, "is not bytes"), ({"shape": "22"}, "is not bytes"), ({"shape": [True, 2]}, "is not bytes"),
    ({"shape": None}, "a: no dtype"),
])
def test_damaged_safetensors_are_refused(tmp_path, change, what):
    (tmp_path / "w").write_bytes(safetensors({**GOOD, "a": {**GOOD["a"], **change}}, VALUES))
    with pytest.raises(WeightsError, match=what):
        read_state_dict(tmp_path / "w")


@pytest.mark.parametrize("content", [
    b"", b"short", b"\xff" * 40, struct.pack("<Q", 12) + b"not json at!" + b"1234", safetensors([1], b""),
    safetensors({"a": 5}, b"")])
def test_files_of_another_kind(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(WeightsError, match="w: "):
        read_state_dict(tmp_path / "w")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("nest", [lambda s: s, lambda s: {"model": s, "epoch": 4}, lambda s: OrderedDict(state_dict={"net": s}),
                                  lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_files_of_torch_save(tmp_path, nest, old):
    state = {"a.weight": torch.arange(3.0), "b": torch.ones(2, 1)}
    torch.save(nest(state), tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    found = read_state_dict(tmp_path / "w.pth")
    assert set(found) == set(state) and found["a.weight"].tolist() == [0, 1, 2]


class Runs:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the file was run')",))


def test_nothing_in_a_file_is_run(tmp_path):
    torch.save({"a": torch.ones(1), "b": Runs()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="w.pth: it holds Python objects .* save the state_dict"):
        read_state_dict(tmp_path / "w.pth")


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="Python objects"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("held, what", [([torch.ones(1)], "holds a list"), ({"epoch": 3}, "no tensors")])
def test_files_without_a_state_dict(tmp_path, held, what):
    torch.save(held, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=what):
        read_state_dict(tmp_path / "w.pth")


def test_a_torch_file_that_is_cut_off(tmp_path):
    torch.save({"a": torch.ones(1000)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[:len(content) // 2])
    with pytest.raises(WeightsError, match="w.pth: torch cannot read it"):
        read_state_dict(tmp_path / "w.pth")
