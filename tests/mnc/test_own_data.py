"""docs/own_data.md, command by command, on small data of its own."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from mnc.cli import main
from small_data import write_coco

pytest.importorskip("pycocotools")

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "own_data.md").read_text()
SHORT = [("--iters 6000", "--iters 50"), ("iter_6000", "iter_50")]
FEW = "--set TRAIN.RPN_POST_NMS_TOP_N 20 TEST.RPN_POST_NMS_TOP_N 10 TRAIN.SCALES [60] " \
      "TEST.SCALES [60]"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    annotations, _ = write_coco(tmp_path / "mine", count=3)
    for name in ("train", "val"):
        (tmp_path / "mine" / f"{name}.json").write_text(annotations.read_text())
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_commands_of_the_guide(folder, capsys, monkeypatch):
    for code in blocks("python"):
        exec(code, {})
    assert capsys.readouterr().out == "{}\n"
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert [line.split()[1] for line in commands] == ["train", "test", "evaluate", "analyse",
                                                    "demo"]
    for line in commands:
        for long, short in SHORT:
            line = line.replace(long, short)
        words = shlex.split(line + f" {FEW}" if line.startswith("mnc train") else line)
        assert words[0] == "mnc" and main([*words[1:2], "--cpu", *words[2:]]) == 0, line
    figures = json.loads((folder / "output/mine/test/metrics_seg.json").read_text())
    assert {"mAP^r@0.5", "COCO mAP^r@[.5:.95]"} <= set(figures)
    again = json.loads((folder / "output/mine/again/metrics_seg.json").read_text())
    assert again["COCO mAP^r@[.5:.95]"] == figures["COCO mAP^r@[.5:.95]"]
    results = json.loads((folder / "output/mine/test/coco_seg.json").read_text())
    assert {entry["category_id"] for entry in results} <= {3, 7}
    assert {entry["image_id"] for entry in results} <= {98, 99, 100}
    assert (folder / "output/mine/pictures/index.html").is_file()
    for named in re.findall(r"`(output/mine/[\w/]+\.\w+)`", TEXT):
        assert (folder / named).is_file(), named
