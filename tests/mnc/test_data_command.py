"""mnc data: show, check, split, convert, anchors."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from mnc.cli import main
from mnc.config import cfg
from mnc.data import get_dataset, tiling
from mnc.data.dataset import Annotation
from mnc.masks.rendering import pasted
from small_data import write_coco


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """coco:mine/annotations.json:mine/images of 6 images, in the working directory."""
    write_coco(tmp_path / "mine", count=6)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(cfg, "DATA_DIR", str(tmp_path))
    return "coco:mine/annotations.json:mine/images"


def test_show(mine, tmp_path, capsys):
    assert main(["data", "show", mine, "--out", "page", "--images", "2", "--augment", "light"]) == 0
    assert capsys.readouterr().out.strip() == "page/index.html"
    text = (tmp_path / "page/index.html").read_text()
    for part in ("<td>images</td><td>6</td>", "<td>instances</td><td>18</td>", "<td>6</td>",
                 "class boat", "class kite", "picture 0: 2 kite, 1 boat; 80 x 60 pixels", "--augment light"):
        assert part in text, part
    named = re.findall(r'src="([^"]+)"', text)
    assert len(named) == 1 + 2 + 30 and all((tmp_path / "page" / name).is_file() for name in named)


def test_show_says_what_is_wrong(mine, tmp_path, caplog):
    (tmp_path / "mine/images/picture 2.png").write_bytes(b"no image")
    content = json.loads((tmp_path / "mine/annotations.json").read_text())
    content["annotations"].append({"id": 99, "image_id": 99, "category_id": 1, "segmentation": []})
    (tmp_path / "mine/annotations.json").write_text(json.dumps(content))
    assert main(["data", "show", mine, "--out", "page"]) == 0
    text = (tmp_path / "page/index.html").read_text()
    assert "1 of a category that is not in the file (id 99)" in text
    assert "1 images cannot be used" in text and "picture 2.png" in text


def test_check(mine, tmp_path, capsys):
    assert main(["data", "check", mine]) == 0
    assert "6 images, 18 instances, 2 classes\nnothing is wrong" in capsys.readouterr().out
    (tmp_path / "mine/images/picture 2.png").unlink()
    assert main(["data", "check", mine]) == 1
    assert "1 images cannot be used:\n  mine/images/picture 2.png" in capsys.readouterr().out


def test_check_show_and_train_name_classes_that_may_be_one(mine, tmp_path, caplog, monkeypatch):
    from mnc.commands import train_fitting

    content = json.loads((tmp_path / "mine/annotations.json").read_text())
    content["categories"].append({"id": 99, "name": "Kite "})
    content["annotations"][0]["category_id"] = 99
    (tmp_path / "mine/annotations.json").write_text(json.dumps(content))
    assert main(["data", "check", mine]) == 1
    assert main(["data", "show", mine, "--out", "page"]) == 0
    assert "may be one" in (tmp_path / "page/index.html").read_text()
    monkeypatch.setattr(train_fitting, "_take_layout", lambda args: ())
    monkeypatch.setattr(train_fitting, "_choose_features", lambda args, found: None)
    main(["train", "--cpu", "--net", "Mini", "--imdb", mine, "--iters", "0", "--out", "out"])
    assert caplog.text.count("may be one, spelled in two ways (instances)") == 3


def test_split_of_a_coco_file_keeps_what_stands_there(mine, tmp_path, capsys):
    assert main(["data", "split", mine, "--val", "0.34", "--out", "parts"]) == 0
    out = capsys.readouterr().out
    assert "train: 4 images, boat 4, kite 8\n    coco:parts/train.json:mine/images" in out.replace(
        "kite 8, boat 4", "boat 4, kite 8")
    parts = [get_dataset(f"coco:parts/{name}.json:mine/images") for name in ("train", "val")]
    assert sorted(i for part in parts for i in part.image_ids) == list(range(95, 101))
    given = json.loads((tmp_path / "mine/annotations.json").read_text())["annotations"]
    kept = [each for name in ("train", "val")
            for each in json.loads((tmp_path / f"parts/{name}.json").read_text())["annotations"]]
    assert sorted(kept, key=lambda each: each["id"]) == given
    assert main(["data", "split", mine, "--out", "parts"]) == 1
    assert "there already; --overwrite" in capsys.readouterr().err
    assert main(["data", "split", mine, "--out", "parts", "--overwrite", "--seed", "4"]) == 0


def test_convert_and_split_of_another_format(mine, capsys):
    assert main(["data", "convert", mine, "--to", "labelme", "again"]) == 0
    assert "6 images: labelme:again" in capsys.readouterr().out
    assert main(["data", "split", "labelme:again", "--val", "0.2", "--test", "0.2", "--out", "parts"]) == 0
    names = re.findall(r"coco:\S+", capsys.readouterr().out)
    assert [name.split(":")[1:] for name in names] == [
        [f"parts/{part}.json", "again"] for part in ("train", "val", "test")]
    parts = [get_dataset(name) for name in names]
    assert sum(map(len, parts)) == 6 and {part.classes for part in parts} == {
        ("__background__", "boat", "kite")}
    whole = get_dataset("labelme:again")
    masks = {name: [mask.tobytes() for mask in whole.annotation(i).masks]
             for i, name in enumerate(whole.names)}
    for part in parts:
        for i, name in enumerate(part.names):
            assert [mask.tobytes() for mask in part.annotation(i).masks] == masks[name]
    assert main(["data", "convert", mine, "--to", "voc", "again"]) == 1
    assert "again: there already" in capsys.readouterr().err


def test_convert_to_tiles(mine, tmp_path, capsys):
    """Each pixel of each mask is in some tile, where the tile shows it."""
    whole = get_dataset(mine)
    assert main(["data", "convert", mine, "tiles", "--to", "coco", "--tiles", "40"]) == 0
    tiles = get_dataset("coco:tiles/annotations.json:tiles/images")
    assert tiles.classes == whole.classes and len(tiles) == 6 * 6 and "36 images" in capsys.readouterr().out
    seen = {}
    for i, name in enumerate(tiles.names):
        image, x, y = name.rsplit("_", 2)
        x, y, number = int(x), int(y), whole.names.index(image)
        found = tiles.annotation(i)
        assert tiles.image(i).shape == (40, 40, 3) and found.size == (40, 40)
        np.testing.assert_array_equal(tiles.image(i), whole.image(number)[y:y + 40, x:x + 40])
        canvas = seen.setdefault(number, np.zeros((60, 80), int))
        for label, box, mask in zip(found.labels, found.boxes, found.masks):
            canvas[y:y + 40, x:x + 40][pasted(box, mask, (40, 40))] = label
    for number, canvas in seen.items():
        truth, wanted = whole.annotation(number), np.zeros((60, 80), int)
        for label, box, mask in zip(truth.labels, truth.boxes, truth.masks):
            wanted[pasted(box, mask, (60, 80))] = label
        np.testing.assert_array_equal(canvas > 0, wanted > 0)


def test_what_a_tile_shows_of_an_instance():
    """Half of it is trained on, a tenth is a region of many; a box alone likewise."""
    drawn = np.ones((4, 10), bool)
    found = Annotation(np.array([[5, 2, 14, 5], [1, 2, 10, 5.0]], np.float32), np.array([1, 1]), [drawn, None],
                       (20, 20))
    cut = [list(tiling._shapes(found, ("", "kite"), window)) for window in ((0, 0, 10, 20), (14, 0, 20, 20))]
    assert [[shape.crowd for shape in each] for each in cut] == [[False, False], [True]]
    assert cut[0][0].segmentation.sum() == 20 and cut[0][1].box == (1, 2, 9, 4)
    assert cut[1][0].box == (0, 2, 1, 4)


def test_groups(mine, capsys):
    assert main(["data", "split", mine, "--groups", r"(\d)$", "--val", "0.5", "--out", "a"]) == 0
    assert main(["data", "split", mine, "--groups", r"\d", "--out", "b"]) == 1
    assert "a regular expression with a group" in capsys.readouterr().err
    assert main(["data", "split", mine, "--groups", "^(picture)", "--out", "c"]) == 1
    assert "1 images or groups cannot be split into 2" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--val", "0"], ["--val", "0.6", "--test", "0.4"]])
def test_shares_that_leave_nothing(mine, flags, capsys):
    assert main(["data", "split", mine, *flags]) == 1
    assert "something must be left" in capsys.readouterr().err


def test_a_share_that_is_none(mine, capsys):
    with pytest.raises(SystemExit):
        main(["data", "split", mine, "--val", "20"])
    assert "a share from 0 to 1, not '20'" in capsys.readouterr().err


def test_anchors(mine, capsys):
    assert main(["data", "anchors", mine]) == 0
    out = capsys.readouterr().out
    assert "data: 6 of 6 images with instances" in out and "--fit changes" in out
    assert cfg.ANCHOR_SCALES == [2, 4, 8]


def test_classes_that_are_given(mine, tmp_path, capsys):
    main(["data", "convert", mine, "--to", "labelme", "again"])
    (tmp_path / "names.txt").write_text("sail\nkite\n")
    assert main(["data", "check", "labelme:again", "--classes", "names.txt"]) == 1
    text = capsys.readouterr()
    assert "6 images, 6 instances, 2 classes" in text.out


def test_training_takes_classes_from_the_data_and_validation_from_training(mine, tmp_path, monkeypatch):
    """Those in the net's own settings are of another training."""
    from mnc.commands import train

    main(["data", "convert", mine, "--to", "labelme", "again"])
    seen = {}

    def prepared(solver, dataset, output, weights, care):
        seen["train"] = dataset.classes
        seen["val"] = care.validation.dataset.classes if care.validation else None
        raise KeyboardInterrupt
    monkeypatch.setattr("mnc.training.loop.prepared", prepared)
    assert train.run is not None
    main(["train", "--cpu", "--net", "Mini", "--imdb", "labelme:again", "--val", "labelme:again",
          "--iters", "2", "--out", "out"])
    assert seen == {"train": ("__background__", "boat", "kite"),
                    "val": ("__background__", "boat", "kite")}


def test_a_page_without_a_class_of_many(mine):
    """Names with signs of mathematics, and letters that the font lacks, are drawn as they are."""
    from mnc.drawing.data_figures import draw_findings
    from mnc.training.fitting import Findings

    found = Findings(np.array([[60, 80]]), np.array([[5., 6.], [7., 9.]]), np.zeros(2, int),
                     np.array([1, 2]), ("__background__", "$x_1^$", "猫_a & b"), 1)
    assert draw_findings(found).shape[2] == 3
