"""The benchmark: what is timed is what it says, on a net small enough for a test."""

from __future__ import annotations

import json

import pytest
import torch

from mnc.benchmarks import kernels as kernel_benchmark
from mnc.benchmarks import peers
from mnc.cli import main
from workers import run_workers


def run(tmp_path, *flags):
    out = tmp_path / "figures.json"
    assert main(["benchmark", "--net", "Mini", "--size", "96x128", "--repeat", "1", "--out",
                 str(out), "--cpu", *flags]) == 0
    return json.loads(out.read_text())


def test_a_test_pass_beside_its_floor(tmp_path, capsys):
    found = run(tmp_path, "--reference")
    assert set(found["seconds"]) == {"net", "image to masks", "floor", "reference"}
    assert found["ratio to floor"] == pytest.approx(
        found["seconds"]["net"] / found["seconds"]["floor"])
    assert {p["what"] for p in found["floor"]} == {"forward"}
    names = [p["layer"] for p in found["floor"]]
    assert names[0] == "conv1_1" and {"fc6", "fc6_mask_ext", "rpn_conv_3x3"} <= set(names)
    assert sum(found["parts"].values()) > 0 and found["parts"]["stage 4"] > 0
    assert found["memory GB"]["peak"] > found["memory GB"]["weights"] > 0
    assert "net / floor" in capsys.readouterr().out


def test_a_training_iteration_has_gradients_in_its_floor(tmp_path):
    found = run(tmp_path, "--phase", "train")
    what = {(p["layer"], p["what"]) for p in found["floor"]}
    assert {("fc6", "d input"), ("fc6", "d weight"), ("conv2_1", "d weight")} <= what
    assert ("conv1_1", "d input") not in what                   # nothing lies below it
    rows = next(p["input"][0] for p in found["floor"] if p["layer"] == "fc6")
    assert rows > 8                                             # more RoIs than the ground truth's


def test_work_counts_multiplications_and_additions(tmp_path):
    product = next(p for p in run(tmp_path)["floor"] if p["layer"] == "fc7")
    rows, inputs = product["input"]
    assert product["gflop"] == pytest.approx(2e-9 * rows * inputs * product["weight"][0])


def test_kernels_stand_beside_a_copy_and_their_reference(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(kernel_benchmark, "cases", lambda device: [
        ("op", "small", 4000, lambda: calls.append(torch.is_grad_enabled()))])
    out = tmp_path / "kernels.json"
    assert main(["benchmark", "--kernels", "--cpu", "--out", str(out)]) == 0
    timing, = json.loads(out.read_text())["kernels"]
    assert set(timing) == {"operator", "sizes", "kernel", "copy", "reference"}
    assert len(calls) == 2 * (kernel_benchmark.RUNS + 1) and not any(calls)
    assert "| op | small |" in capsys.readouterr().out


def test_every_kernel_case_can_be_called(monkeypatch):
    monkeypatch.setattr(kernel_benchmark, "MAP", (1, 4, 38, 63))
    for _, _, moved, call in kernel_benchmark.cases(torch.device("cpu")):
        call()
        assert moved > 0


def test_the_dense_part_stands_beside_its_peers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    out = tmp_path / "peers.json"
    assert main(["benchmark", "--peers", "--net", "Mini", "--size", "64x80", "--repeat", "2",
                 "--cpu", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["engine to best"] == 1 and found["size"] == [64, 80]
    assert 0 < found["seconds"]["torch"]["least"] <= found["seconds"]["torch"]["median"]
    assert "this engine / best: 1.00" in capsys.readouterr().out


def measured_together(out) -> tuple[int, str]:
    status = main(["benchmark", "--phase", "train", "--net", "Mini", "--size", "64x96", "--cpu",
                       "--repeat", "1", "--compress", "bf16", "--batch", "4", "--out", str(out)])
    return status, out.read_text() if out.exists() else ""


def test_two_workers_beside_one(tmp_path):
    (status, text), other = run_workers(2, measured_together, tmp_path / "figures.json")
    found = json.loads(text)
    assert status == other[0] == 0 and found["workers"] == 2
    assert found["images a second"]["one worker"] == pytest.approx(
        4 / found["seconds"]["one worker"])
    assert found["efficiency"] == pytest.approx(
        found["seconds"]["one worker"] / found["seconds"]["all"] / 2)
    assert 0 < found["share of waiting"] < 1 and found["images a second"]["apart"] > 0
