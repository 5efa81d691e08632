"""What is found in data sets of small, large and many objects, and the settings chosen from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml

from conftest import ROOT
from mnc import cli
from mnc.commands.train_fitting import warn_of_tiny
from mnc.config import cfg, cfg_from_dict, cfg_from_file
from mnc.data.dataset import Annotation, DataError
from mnc.nets import NETS
from mnc.training.fitting import Findings, as_flags, described, fitted, misfits, own_settings
from mnc.training.fitting_features import pyramid_settings, wants_pyramid
from small_data import write_coco


class Squares:
    """Images of `size` (H, W) with `count` boxes each, sides drawn evenly from `sides` (logs)."""

    name, classes = "squares", ("__background__", "square")

    def __init__(self, sides, count, size=(256, 256), images=20, aspect=1.0):
        rng = np.random.default_rng(3)
        self.names, self.annotations = [f"{i}" for i in range(images)], []
        for _ in range(images):
            side = np.exp(rng.uniform(*np.log(sides), count))
            width, height = np.round(side / aspect ** .5), np.round(side * aspect ** .5)
            boxes = np.stack((width * 0, height * 0, width - 1, height - 1), axis=1)
            self.annotations.append(Annotation(boxes, np.ones(count, int), None, size))

    def __len__(self):
        return len(self.names)

    def annotation(self, i):
        return self.annotations[i]


@pytest.fixture
def own():
    cfg_from_file(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
    return own_settings()


def test_findings_by_hand(own):
    data = Squares((10, 10), 1, size=(100, 200), images=2)
    data.annotations[1] = Annotation(np.array([[0, 0, 19, 39], [5, 5, 24, 14], [0, 0, 9, 9]]),
                                     np.array([1, 1, 1]), None, (50, 50),
                                     crowd=np.array([False, False, True]))
    found = Findings.of(data)
    assert found.boxes.tolist() == [[10, 10], [40, 20], [10, 20]]          # height, width
    assert found.counts.tolist() == [1, 2] and found.short_sides.tolist() == [100, 50]
    settings = {**own, "TRAIN.SCALES": (100,), "TRAIN.MAX_SIZE": 200, "ANCHOR_SCALES": [2.5],
                "ANCHOR_RATIOS": [1]}
    assert found.scaled(settings).tolist() == [[10, 10], [80, 40], [20, 40]]
    assert found.best_overlaps(settings) == pytest.approx([1 / 16, 1 / 2, 1 / 2])
    assert "3 instances: square 3" in described(found, settings)[0]


def test_small_and_many_objects(own):
    """Like nuclei: objects of 6 to 50 pixels, 80 an image."""
    found = Findings.of(Squares((6, 50), 80))
    chosen = {**own, **fitted(found, own)}
    assert chosen["TRAIN.SCALES"] == (416,)         # 28 of 17.3 x 256, to 16s
    assert chosen["TEST.SCALES"] == (512,)          # 1.25 times that, but at most 2 x 256
    assert chosen["TRAIN.MAX_SIZE"] == round(334 * 416 / 200)
    scales = chosen["ANCHOR_SCALES"]
    assert len(scales) == 4 and scales[0] < 0.8 and scales[-1] > 4
    assert chosen["TEST.RPN_MIN_SIZE"] == 4 and 0.5 <= chosen["TRAIN.RPN_POSITIVE_OVERLAP"] < 0.7
    assert chosen["TEST.RPN_POST_NMS_TOP_N"] == chosen["TRAIN.RPN_POST_NMS_TOP_N"] == 600
    assert chosen["TEST.RPN_PRE_NMS_TOP_N"] == 3000 and chosen["TRAIN.BATCH_SIZE"] == 128
    assert chosen["TEST.MAX_PER_IMAGE"] == 150 and chosen["TEST.MAX_PER_CLASS"] == 60
    assert np.median(found.best_overlaps(chosen)) > 0.7 > .3 > np.median(found.best_overlaps(own))
    assert len(misfits(found, own)) == 3 and not misfits(found, chosen)
    assert all(key.startswith("TEST.") or key in own for key in chosen)
    cfg_from_dict(fitted(found, own), "test")           # of the types that cfg wants


def test_large_objects(own):
    found = Findings.of(Squares((120, 240), 3))
    changes = fitted(found, own)
    assert not {"TRAIN.SCALES", "TEST.MAX_PER_IMAGE", "TEST.RPN_POST_NMS_TOP_N", "TRAIN.BATCH_SIZE",
                "TEST.RPN_MIN_SIZE"} & set(changes)
    assert min(changes.get("ANCHOR_SCALES", own["ANCHOR_SCALES"])) > 1
    assert not misfits(found, {**own, **changes})


def test_the_scale_grows_within_limits(own):
    tiny = Findings.of(Squares((2, 3), 4, size=(1000, 1000)))
    assert fitted(tiny, own)["TRAIN.SCALES"] == (496,)                     # 2.5 x 200, to 16s
    little_image = Findings.of(Squares((2, 3), 4, size=(120, 120)))
    assert fitted(little_image, own)["TRAIN.SCALES"] == (240,)             # twice the image's


def test_long_objects_change_the_ratios_and_one_size_one_scale(own):
    changes = fitted(Findings.of(Squares((113, 113), 3, aspect=4)), own)
    assert changes["ANCHOR_RATIOS"] == [4, 4, 4] and len(changes["ANCHOR_SCALES"]) == 1


def test_what_is_set_stays_and_the_rest_follows(own):
    found = Findings.of(Squares((6, 50), 80))
    now = {**own, "TRAIN.SCALES": (256,)}
    changes = fitted(found, now, fixed=["TRAIN.SCALES"])
    assert "TRAIN.SCALES" not in changes and "TRAIN.MAX_SIZE" not in changes
    assert max(changes["ANCHOR_SCALES"]) < max(fitted(found, own)["ANCHOR_SCALES"]) * 0.7
    words = as_flags({"TRAIN.SCALES": (448,), "ANCHOR_SCALES": [.75, 1.5]})
    assert words == "--set TRAIN.SCALES [448] ANCHOR_SCALES [0.75,1.5]"


def test_settings_that_fit_stay(own):
    """Objects as in the drawn scenes, which Mini's own settings are for."""
    changes = fitted(Findings.of(Squares((32, 128), 5, size=(200, 260))), own)
    assert set(changes) <= {"TRAIN.RPN_POSITIVE_OVERLAP"}


# --- a feature pyramid ---------------------------------------------------------------------------

THREE = (1.0, 2.0, 4.0)     # strides 4, 8, 16


def test_small_objects_of_large_images_want_tiles(own, caplog):
    """50 pixels of 4000 x 3000 are 8 at the largest scale of the rule, 28 in tiles of 357."""
    for size, tiles in (((3000, 4000), "--tiles 357"), ((300, 400), None)):
        found = Findings.of(Squares((50, 50), 25, size=size, images=2))
        caplog.clear()
        warn_of_tiny(found, own, fitted(found, own))
        assert ("has 8 pixels where the net sees it" in caplog.text) is bool(tiles)
        assert tiles is None or tiles in caplog.text


def test_small_objects_want_a_pyramid(own):
    """Of Mini's map a cell is 8 pixels: a tenth of the sides below 24, at the scale that fits."""
    few, many, large = (Findings.of(Squares(sides, 80)) for sides in ((40, 90), (6, 50), (90, 160)))
    wanted = [wants_pyramid(found, own, NETS["Mini"]) for found in (few, many, large)]
    assert wanted == [False, True, False]
    assert not wants_pyramid(many, own, NETS["VGG16"]), "its fc6 and fc7 are ImageNet's"


def test_what_a_pyramid_asks_for(own):
    changes = pyramid_settings(own, THREE, 20)
    assert changes["ANCHOR_SCALES"] == [2], "4 and 8 are those of its next maps"
    assert changes["COMPAT.PROPOSAL_GRADIENT"] == "exact" and "COMPAT.BRIDGE_DELTAS" not in changes
    assert changes["MASK_SIZE"] == 20 and changes["COMPAT.MASK_VOTING"] == "exact"
    assert set(pyramid_settings(own, THREE, 20, fixed=["ANCHOR_SCALES"])) == {*changes} - {
        "ANCHOR_SCALES"}
    assert pyramid_settings({**own, "ANCHOR_SCALES": [1, 1.5, 2, 16]}, THREE, 20)["ANCHOR_SCALES"] == [
        1, 1.5, 16]


def test_settings_of_a_pyramid(own):
    """24 pixels for the median object; two scales of squares a map, which its next ones double."""
    found = replace(Findings.of(Squares((6, 50), 80)), growth=THREE)
    chosen = {**own, **fitted(found, own)}
    assert chosen["TRAIN.SCALES"] == (368,) and chosen["ANCHOR_RATIOS"] == [1]
    low, high = chosen["ANCHOR_SCALES"]
    assert high == pytest.approx(low * 2 ** .5, rel=.03)
    assert low * 16 == pytest.approx(np.quantile(found.sides, .05) * 368 / 256, rel=.03)
    assert np.median(found.best_overlaps(chosen)) > 0.75
    long = replace(Findings.of(Squares((6, 50), 80, aspect=3)), growth=THREE)
    assert fitted(long, own)["ANCHOR_RATIOS"] == pytest.approx([3] * 3, rel=.2)
    wide = replace(Findings.of(Squares((4, 200), 80)), growth=THREE)
    assert len(fitted(wide, own)["ANCHOR_SCALES"]) > 2, "four times the first do not reach"


def test_windows_where_an_image_has_many_objects(own):
    for count, crop in ((11, None), (12, .5)):
        changes = fitted(Findings.of(Squares((6, 50), count)), own)
        assert changes.get("TRAIN.AUGMENT.CROP") == crop


def test_windows_where_most_instances_are_in_few_images(own):
    """Fifteen images of one and five of sixty: the median image has one, most instances 59 others."""
    few, many = Squares((6, 50), 1, images=15), Squares((6, 50), 60, images=5)
    few.annotations += many.annotations
    few.names += [f"many {name}" for name in many.names]
    found = Findings.of(few)
    assert np.median(found.counts) == 1 and found.crowded
    changes = fitted(found, own)
    assert changes["TRAIN.AUGMENT.CROP"] == .5 and changes["TRAIN.FG_FRACTION"] == [.5]
    assert changes["TEST.SCALES"][0] > changes["TRAIN.SCALES"][0]
    assert "TRAIN.BATCH_SIZE" not in changes        # goes by the median image


def test_nothing_to_look_at():
    data = Squares((6, 50), 1, images=1)
    data.annotations[0] = data.annotations[0].rows(np.zeros(1, bool))
    with pytest.raises(DataError, match="no image with an instance"):
        Findings.of(data)


@pytest.fixture
def own_data(tmp_path):
    annotations, images = write_coco(tmp_path / "data", count=3)
    return f"coco:{annotations}:{images}"


def train_mini(tmp_path, data, *words):
    """The settings that hold during training."""
    assert cli.main(["train", "--cpu", "--net", "Mini", "--imdb", data, "--out",
                     str(tmp_path / "out"), "--iters", "0", *words, "--set", "TRAIN.SCALES", "[60]",
                     "TRAIN.RPN_POST_NMS_TOP_N", "20"]) == 0
    return cfg


def test_train_fits_own_data_says_so_and_keeps_it(tmp_path, own_data, caplog):
    caplog.set_level("INFO", "mnc")
    train_mini(tmp_path, own_data, "--iters", "1")
    path, = (tmp_path / "out").glob("*.yml")
    found = yaml.safe_load(path.read_text())
    assert found["EXP_DIR"] == "mini_mnc_5stage" and found["COMPAT"]["BRIDGE_DELTAS"] == "exact"
    assert found["TRAIN"]["SCALES"] == [60] and found["TRAIN"]["RPN_POST_NMS_TOP_N"] == 20
    assert max(found["ANCHOR_SCALES"]) < 3, "boxes of 20 to 30 pixels"
    assert "data: 3 of 3 images with instances, 80 x 60 in the median; 6 instances" in caplog.text
    assert "fit: ANCHOR_SCALES " in caplog.text and "(was [2, 4, 8])" in caplog.text
    head = next(line for line in (tmp_path / "out/net/test.prototxt").read_text().splitlines()
                if line.startswith("# Generated"))
    anchors = len(found["ANCHOR_SCALES"]) * len(found["ANCHOR_RATIOS"])
    assert f"--anchors {anchors} --features pyramid" in head


@pytest.mark.parametrize("words", [["--no-fit"], [
    "--cfg", str(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")]])
def test_without_fit_a_misfit_is_a_warning_with_the_settings(tmp_path, own_data, words, caplog):
    assert train_mini(tmp_path, own_data, *words).ANCHOR_SCALES == [2, 4, 8]
    warning, = [r.getMessage() for r in caplog.records if "do not fit the data" in r.getMessage()]
    assert "unlike every anchor" in warning and "--set ANCHOR_SCALES [" in warning


def test_data_that_the_settings_are_for_is_not_fitted(tmp_path, tiny_scenes, monkeypatch, caplog):
    from mnc.data import get_dataset, imdb

    data = get_dataset(f"sbd:{tiny_scenes}:train")
    monkeypatch.setitem(imdb.DATASETS, "known", lambda folder: data)
    caplog.set_level("INFO", "mnc")
    assert train_mini(tmp_path, "known").ANCHOR_SCALES == [2, 4, 8]
    assert "data:" not in caplog.text and "settings: " in caplog.text


@pytest.mark.parametrize("words, features", [
    ([], "pyramid"), (["--features", "single"], None), (["--stride", "4"], "stride 4"),
    (["--no-fit"], None), (["--no-fit", "--features", "pyramid"], "pyramid")])
def test_features_are_chosen_unless_they_are_named(tmp_path, own_data, words, features):
    settings = train_mini(tmp_path, own_data, *words)
    text = (tmp_path / "out/net/train.prototxt").read_text()
    assert ("--features pyramid" in text) == (features == "pyramid")
    assert ("--stride 4" in text) == (features == "stride 4")
    exact = "exact" if features == "pyramid" else "reference"
    assert exact == settings.COMPAT.PROPOSAL_GRADIENT


def test_what_augment_names_the_fit_leaves(tmp_path, own_data, monkeypatch):
    from mnc.training import fitting

    monkeypatch.setattr(fitting, "MANY", 1)
    assert train_mini(tmp_path, own_data).TRAIN.AUGMENT.CROP == fitting.WINDOW
    settings = train_mini(tmp_path / "light", own_data, "--augment", "light")
    assert settings.TRAIN.AUGMENT.CROP == 1 and settings.TRAIN.FG_FRACTION == [fitting.HALF]
