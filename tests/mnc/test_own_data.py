"""docs/own_data.md, command by command: on small drawn images, and on photographs that people took."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from mnc.cli import main
from mnc.data import get_dataset, imdb
from small_data import write_coco

pytest.importorskip("pycocotools")

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "own_data.md").read_text()
SHORT = [("--iters 6000", "--iters 12 --eval-every 6"), ("TEST.TILES 400", "TEST.TILES 60")]
FEW = "--set TRAIN.RPN_POST_NMS_TOP_N 20 TEST.RPN_POST_NMS_TOP_N 10 TRAIN.SCALES [60] " \
      "TEST.SCALES [60]"
ACTIONS = ["data show", "data split", "train", "test", "analyse", "demo", "data check", "data anchors",
           "data convert", "evaluate", "demo"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def drawn(folder, real_material):
    """Five drawn images, 1.jpg among them, and labelme's files of them but 1.jpg."""
    name = "coco:{}:{}".format(*write_coco(folder / "given", count=4))
    assert main(["data", "convert", name, "--to", "labelme", str(folder / "mine/images")]) == 0
    cv2.imwrite(str(folder / "mine/images/1.jpg"), np.full((60, 80, 3), 90, np.uint8))
    return ["boat", "kite"]


def photographs(folder, real_material):
    """Six photographs, smaller, with polygons that people drew in VIA, as labelme has them."""
    given = real_material / "data/kudzu/train"
    regions = list(json.loads((given / "via_region_data.json").read_text()).values())[:6]
    (folder / "given").mkdir()
    for each in regions:
        image = cv2.imread(str(given / each["filename"]))
        cv2.imwrite(str(folder / "given" / each["filename"]), cv2.resize(image, None, fx=.3, fy=.3))
        for region in each["regions"]:
            shape = region["shape_attributes"]
            for key in ("all_points_x", "all_points_y"):
                shape[key] = [value * .3 for value in shape[key]]
    (folder / "given/via.json").write_text(json.dumps(dict(enumerate(regions))))
    name = f"via:{folder}/given/via.json:{folder}/given"
    assert main(["data", "convert", name, "--to", "labelme", str(folder / "mine/images")]) == 0
    return ["kudzu"]


@pytest.fixture(params=[drawn, photographs])
def folder(request, tmp_path, monkeypatch):
    material = request.getfixturevalue("real_material") if request.param is photographs else None
    monkeypatch.classes = request.param(tmp_path, material)
    monkeypatch.setattr(imdb, "REGISTERED", {})
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "mine/raw").mkdir()
    cv2.imwrite(str(tmp_path / "mine/raw/1.tif"), np.arange(4800, dtype=np.uint16).reshape(60, 80))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands():
    """Each line of the page's blocks once, in their order."""
    return list(dict.fromkeys(line for block in blocks("sh") for line in block.splitlines()))


def test_the_page_goes_through_all_that_there_is():
    words = [line.split() for line in commands()]
    assert all(line[0] == "mnc" for line in words)
    assert [" ".join(line[1:3] if line[1] == "data" else line[1:2]) for line in words] == ACTIONS


def test_the_commands_of_the_guide(folder, capsys, monkeypatch):
    for code in blocks("python"):
        exec(code, {})
    assert capsys.readouterr().out == "{}\n"
    assert cv2.imread(str(folder / "mine/raw/1.png")).max() == 255
    for line in commands():
        for long, short in SHORT:
            line = line.replace(long, short)
        words = shlex.split(line + f" {FEW}" if line.startswith("mnc train") else line)[1:]
        device = [] if words[0] in ("data", "analyse", "evaluate") else ["--cpu"]
        assert main([*words[:1], *device, *words[1:]]) == 0, line
    classes, parts = monkeypatch.classes, [get_dataset(f"coco:mine/{name}.json:mine/images")
                                           for name in ("train", "val")]
    assert all(list(part.classes[1:]) == classes for part in parts)
    figures = json.loads((folder / "output/mine/test/metrics_seg.json").read_text())
    assert {"mAP^r@0.5", "COCO mAP^r@[.5:.95]"} <= set(figures)
    again = json.loads((folder / "output/mine/again/metrics_seg.json").read_text())
    assert again["COCO mAP^r@[.5:.95]"] == figures["COCO mAP^r@[.5:.95]"]
    results = json.loads((folder / "output/mine/test/coco_seg.json").read_text())
    assert {entry["category_id"] for entry in results} <= set(parts[1].category_ids)
    assert {entry["image_id"] for entry in results} <= set(parts[1].image_ids)
    assert len(get_dataset("yolo:output/mine/yolo")) == sum(map(len, parts))
    for named in re.findall(r"`(output/mine/[\w/]+\.\w+)`", TEXT):
        assert (folder / named).is_file(), named
