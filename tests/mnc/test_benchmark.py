"""The benchmark: what is timed is what it says, on a net small enough for a test."""

from __future__ import annotations

import json

import pytest
import torch

import caffe
from caffe.ops.int8 import int8_computable
from mnc.benchmarks import kernels as kernel_benchmark
from mnc.benchmarks import peers, suite
from mnc.cli import main
from mnc.commands.benchmark import with_table
from mnc.config import ConfigError
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


def test_training_computes_in_the_precision_that_is_asked_for(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(caffe.Net, "set_precision", lambda net, precision: asked.append(precision))
    assert run(tmp_path, "--phase", "train", "--precision", "bf16")["precision"] == "bf16"
    assert asked == ["bfloat16"]
    assert main(["benchmark", "--cpu", "--phase", "train", "--precision", "int8"]) == 1
    assert "int8 is for tests" in capsys.readouterr().err


@pytest.mark.skipif(not int8_computable(), reason="no 8-bit products in this torch")
def test_a_pass_in_8_bits_is_calibrated_with_its_image(tmp_path, monkeypatch, capsys):
    found = run(tmp_path, "--precision", "int8")
    assert found["precision"] == "int8" and found["seconds"]["floor"] > 0
    assert "fc7_mask_ext" in {p["layer"] for p in found["floor"]}
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert set(run(tmp_path, "--peers", "--precision", "int8")["seconds"]) >= {"torch"}
    assert main(["benchmark", "--cpu", "--precision", "int8", "--calibrate", "scenes_val"]) == 1
    assert "leave --calibrate out" in capsys.readouterr().err


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
    seconds = {name: each["least"] for name, each in found["seconds"].items()}
    assert 0 < seconds["torch"] <= found["seconds"]["torch"]["median"]
    assert found["image to masks"] == pytest.approx(
        seconds["image to masks"]
        / (seconds["torch"] + seconds["products after the dense part"]))
    said = capsys.readouterr().out
    assert "this engine / best: 1.00" in said
    assert f"part): {found['image to masks']:.2f}" in said


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


def test_the_twins_of_the_suite_compute_what_their_nets_do():
    for text in (make() for make in suite.NETS.values()):
        net = suite.blank(text)
        data = torch.randn(net.blobs["data"].shape)
        net.blobs["data"].tensor = data
        net.run()
        with torch.no_grad():
            found = suite.Twin(net, text)(data)
        torch.testing.assert_close(found, net.nodes[-1].top[0].tensor, rtol=1e-3, atol=1e-4)


def test_the_suite_goes_into_a_page_and_is_held_against_what_was_stored(tmp_path, monkeypatch,
                                                                       capsys):
    monkeypatch.setattr(suite, "NETS", {"LeNet, batch 1": suite.NETS["LeNet, batch 1"]})
    monkeypatch.setattr(suite, "TRAININGS", {"LeNet, step": 1})
    out, page = tmp_path / "suite.json", tmp_path / "page.md"
    page.write_text("before\n<!-- suite -->\nold\n<!-- end of suite -->\nbehind\n")
    flags = ["benchmark", "--suite", "--repeat", "2", "--cpu", "--out", str(out)]
    assert main([*flags, "--into", str(page)]) == 0
    found = json.loads(out.read_text())
    assert [row["work"] for row in found["suite"]] == ["LeNet, batch 1", "LeNet, step"]
    text = page.read_text()
    assert text.startswith("before") and text.endswith("behind\n") and "old" not in text
    assert text.count("| LeNet, batch 1 |") == 1

    for row in found["suite"]:
        row["ratios"] = {kind: ratio / 100 for kind, ratio in row["ratios"].items()}
    out.write_text(json.dumps(found))
    assert main([*flags, "--against", str(out)]) == 1
    assert "slower: LeNet, step, net / torch" in capsys.readouterr().out


def figures(**net):
    """Of works that take torch 1 ms and this engine so many."""
    return {"machine": {"cpu": "here", "torch": "2", "threads": 1}, "repeat": 3, "suite": [
        {"work": work, "milliseconds": {"torch": 1.0, "net": ms}, "ratios": {"net": ms}}
        for work, ms in net.items()]}


def test_what_only_seemed_slower_is_measured_again_and_is_no_failure(tmp_path, monkeypatch, capsys):
    """And nothing else is measured again; what stays slower is one."""
    later = [figures(busy=1.4, slow=1.5), figures(busy=1.05, slow=1.6), *[figures(slow=1.4)] * 9]
    asked = []

    def measured(repeat, works=None):
        asked.append(works)
        return figures(busy=1.5, slow=1.5, same=1.0) if works is None else later.pop(0)

    monkeypatch.setattr(suite, "measure_suite", measured)
    stored = tmp_path / "suite.json"
    stored.write_text(json.dumps({**figures(busy=1.0, slow=1.0, same=1.0),
                                  "machine": {"cpu": "there", "torch": "2"}}))
    assert main(["benchmark", "--suite", "--cpu", "--against", str(stored)]) == 1
    assert asked == [None, {"busy", "slow"}, {"busy", "slow"}, {"slow"}, {"slow"}]
    said = capsys.readouterr().out
    assert "slower: slow, net / torch: 1.40, stored 1.00" in said and "slower: busy" not in said
    assert "not the same machine: cpu: here here, there stored" in said and "threads" not in said


def test_a_page_without_marks_is_refused():
    with pytest.raises(ConfigError, match="end of suite"):
        with_table("<!-- suite -->", "table")
