"""The drawn scenes: what the standard set promises, and its folder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mnc.data import get_dataset, problems, scenes
from mnc.data.sbd import SBD
from mnc.evaluation.average_precision import evaluate


@pytest.fixture(scope="module")
def standard():
    """The standard validation set, in memory."""
    return [scenes.scene(0, "val", i) for i in range(scenes.SPLITS["val"])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return scenes.draw(tmp_path_factory.mktemp("data") / "scenes", train=1, val=100, progress=False)


def test_the_standard_set_keeps_its_promises(standard):
    found = scenes.statistics(standard)
    assert found.per_image == (2, 8)
    assert found.hidden >= 0.4 and found.touching >= 0.3
    assert found.sides.min() >= 20 and found.sides.max() <= 160
    longer = found.sides.max(axis=1)
    assert np.mean((longer >= 40) & (longer <= 120)) > 0.8
    assert min(found.classes.values()) > 0.1 * found.instances


def test_every_instance_can_be_seen(standard):
    for drawn in standard:
        assert drawn.hidden.min() >= 0 and drawn.hidden.max() <= 1 - scenes.MIN_VISIBLE + 1e-9
        visible = np.bincount(drawn.owner.ravel(), minlength=len(drawn.labels) + 1)
        assert visible.min() >= scenes.MIN_AREA


def test_neither_outline_nor_texture_gives_the_class_away():
    for place in (0, 1):
        for feature in {pair[place] for pairs in scenes.KINDS.values() for pair in pairs}:
            owners = [name for name, pairs in scenes.KINDS.items()
                      if feature in {pair[place] for pair in pairs}]
            assert len(owners) >= 2, f"{feature} occurs in {owners} only"
    pairs = [pair for pairs in scenes.KINDS.values() for pair in pairs]
    assert len(pairs) == len(set(pairs))


def solid_boxes(dataset):
    """Detections that are the true boxes, filled solid."""
    found = [dataset.annotation(i) for i in range(len(dataset))]
    rows = [[one.boxes[one.labels == c] for one in found] for c in range(len(dataset.classes))]
    return [[(np.pad(boxes, ((0, 0), (0, 1)), constant_values=1), np.ones((len(boxes), 1, 21, 21)))
             for boxes in of_class] for of_class in rows]


def test_solid_boxes_score_low(folder):
    dataset = SBD(folder, "val")
    result = evaluate(dataset, solid_boxes(dataset))
    assert result["mAP^r@0.7"] <= 0.2
    assert result["mAP^r@0.5"] <= 0.5


def test_the_reader_reads_what_was_drawn(folder, standard):
    dataset = SBD(folder, "val")
    assert dataset.classes == scenes.CLASSES and len(dataset) == 100
    assert problems(dataset) == {}
    found, drawn = dataset.annotation(7), standard[7]
    assert found.size == drawn.owner.shape == dataset.image(7).shape[:2]
    assert found.labels.tolist() == drawn.labels.tolist()
    for k, (box, mask) in enumerate(zip(found.boxes.astype(int), found.masks), start=1):
        x1, y1, x2, y2 = box
        assert (mask == (drawn.owner[y1:y2 + 1, x1:x2 + 1] == k)).all()
        assert mask.sum() == (drawn.owner == k).sum()
    # The jpeg is close to what was drawn.
    assert np.abs(dataset.image(7).astype(int) - drawn.image).mean() < 5


def test_an_image_depends_on_its_place_alone():
    first = scenes.scene(5, "train", 3)
    scenes.scene(5, "train", 2)
    again = scenes.scene(5, "train", 3)
    assert (first.image == again.image).all() and (first.owner == again.owner).all()
    for place in ((6, "train", 3), (5, "val", 3), (5, "train", 4)):
        other = scenes.scene(*place)
        assert first.image.shape != other.image.shape or (first.image != other.image).any()


def test_a_finished_folder_is_kept_and_a_stale_one_drawn_again(tmp_path):
    out = tmp_path / "scenes"
    scenes.draw(out, train=1, val=1, progress=False)
    stamp = (out / "img" / "val_0000.jpg").stat().st_mtime_ns
    scenes.draw(out, train=1, val=1, progress=False)
    assert (out / "img" / "val_0000.jpg").stat().st_mtime_ns == stamp
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "version": -1}))
    (out / "left.over").touch()
    scenes.draw(out, train=1, val=1, progress=False)
    assert not (out / "left.over").exists()
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "scene", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scenes.draw(tmp_path / "scenes", train=1, val=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="was not drawn by"):
        scenes.draw(tmp_path, train=1, val=1, progress=False)
    assert (tmp_path / "thesis.txt").exists()


def test_the_command_draws_and_get_dataset_finds_it(tmp_path, capsys, monkeypatch):
    assert scenes.main([str(tmp_path / "scenes"), "--train", "2", "--val", "1", "--seed", "4"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "scenes")
    monkeypatch.setattr(scenes, "draw", lambda folder: folder)
    assert len(get_dataset("scenes_train", tmp_path)) == 2
