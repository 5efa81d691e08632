"""Augmented images: boxes and masks stay exactly on what is in the picture; draws are kept."""

from __future__ import annotations

import numpy as np
import pytest

from mnc import cli
from mnc.augmentations import AUGMENTATIONS, settings_of
from mnc.commands import train_options
from mnc.config import ConfigError, cfg, cfg_from_dict, cfg_from_list
from mnc.data import Annotation
from mnc.data.appearance import Appearance
from mnc.data.augmentation import Augmentation, shown
from mnc.data.minibatch import minibatch, sample_of
from mnc.data.roidb import mask_entry, mirrored_masks, mirrored_rois, roi_entry
from mnc.data.views import Sample, View
from mnc.drawing.instances import write_image
from mnc.drawing.truth import draw_truth
from mnc.masks.rendering import pasted

SIZE = 61, 83
WHOLE = (0, 0, 83, 61)


def drawn_sample(size=SIZE):
    """Two blobs and an edge piece: the red channel shows the first mask, and so on."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    planes = [((x - 30) / 14) ** 2 + ((y - 25) / 8) ** 2 < 1, abs(x - 60) + abs(y - 40) < 11,
              (x > width - 9) & (y < 20)]
    boxes, masks = [], []
    for plane in planes:
        rows, columns = np.flatnonzero(plane.any(1)), np.flatnonzero(plane.any(0))
        boxes.append((columns[0], rows[0], columns[-1], rows[-1]))
        masks.append(plane[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1])
    image = 255 * np.stack(planes, axis=2).astype(np.uint8)
    return Sample(image, np.array(boxes, np.float32), np.array([1, 2, 3]), masks)


def planes_of(sample):
    """(H, W, 3) bool: the masks in the image, by their labels."""
    planes = np.zeros((*sample.size, 3), bool)
    for box, mask, label in zip(sample.boxes, sample.masks, sample.labels):
        planes[..., label - 1] = pasted(box, mask, sample.size)
    return planes


def seen(view, sample, min_visible=0.0):
    found = view.instances(sample, min_visible)
    return Sample(view.image(sample.image), found.boxes, found.labels, found.masks, view.zoom)


def assert_tight(sample):
    for box, mask in zip(sample.boxes, sample.masks):
        assert mask.shape == (box[3] - box[1] + 1, box[2] - box[0] + 1)
        assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()
        assert (box[:2] >= 0).all() and box[2] < sample.size[1] and box[3] < sample.size[0]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("angle", [0.0, 17.0, -104.5])
def test_masks_and_boxes_lie_on_what_the_image_shows(flipped, quarters, angle):
    window = (7, 11, 50, 47)
    view = View(SIZE, window, flipped, quarters, angle)
    sample = seen(view, drawn_sample())
    assert sample.size == (47, 50) and len(sample.labels)
    shown, expected = sample.image >= 128, planes_of(sample)
    # corners beyond the image have its mean colour, far below a half
    assert (shown == expected).mean() > 0.9995 if angle else (shown == expected).all()
    assert_tight(sample)


def test_a_quarter_turn_by_hand():
    mask = np.array([[1, 0], [1, 1], [1, 1]], bool)             # an L's corner is at the top right
    sample = Sample(np.zeros((5, 4, 3), np.uint8), np.array([(2, 1, 3, 3)], np.float32),
                    np.array([1]), [mask])
    turned = View((5, 4), (0, 0, 5, 4), quarters=1).instances(sample, 0)
    assert turned.boxes.tolist() == [[1, 0, 3, 1]]
    assert turned.masks[0].tolist() == [[False, True, True], [True, True, True]]
    flipped = View((5, 4), (0, 0, 4, 5), flipped=True).instances(sample, 0)
    assert flipped.boxes.tolist() == [[2, 1, 3, 3]]
    assert flipped.masks[0].tolist() == [[True, True], [True, True], [True, False]]


def test_a_free_quarter_is_an_exact_one():
    sample = drawn_sample((61, 61))
    exact, free = (seen(View((61, 61), (0, 0, 61, 61), quarters=quarters, angle=angle), sample)
                   for quarters, angle in ((1, 0.0), (0, 90.0)))
    np.testing.assert_array_equal(planes_of(exact), planes_of(free))
    np.testing.assert_array_equal(exact.image, free.image)


def test_what_is_mostly_outside_or_hidden_is_dropped():
    sample = drawn_sample()
    box = sample.boxes[0]                                        # 16 .. 44 in x
    window = (0, 0, int(box[0]) + 5, 61)                         # five columns of the first are left
    assert View(SIZE, window).instances(sample, 0.25).labels.tolist() == []
    left = View(SIZE, window).instances(sample, 0.0)
    assert left.labels.tolist() == [1] and left.boxes[0, 2] == window[2] - 1
    hole = (16, 0, 20, 61)
    hidden = View(SIZE, WHOLE, holes=(hole,))
    assert hidden.instances(sample, 0.25).labels.tolist() == [1, 2, 3]
    kept = hidden.instances(sample, 0.5)
    assert kept.labels.tolist() == [2, 3]
    np.testing.assert_array_equal(hidden.instances(sample, 0.0).masks[0], sample.masks[0])  # whole
    image = hidden.cut_out(sample.image)
    assert len(np.unique(image[:, 16:36].reshape(-1, 3), axis=0)) == 1 and sample.image[25, 30, 0]


def test_instances_without_masks_are_their_boxes():
    sample = drawn_sample()
    some = Sample(sample.image, sample.boxes, sample.labels, [None, sample.masks[1], None])
    none = Sample(sample.image, sample.boxes, sample.labels, None)
    for view in (View(SIZE, (0, 0, 61, 83), True, 3), View(SIZE, (20, 5, 50, 50)),
                 View(SIZE, (20, 5, 50, 50), holes=((0, 0, 10, 50),))):
        with_masks = view.instances(sample, 0.0)
        for without in (view.instances(some, 0.0), view.instances(none, 0.0)):
            assert without.labels.tolist() == with_masks.labels.tolist()
            # a cropped box is cut where a cropped mask may be tighter
            assert np.abs(without.boxes - with_masks.boxes).max() <= 3
    assert view.instances(none, 0).masks is None and view.instances(some, 0).masks[0] is None
    assert View(SIZE, (0, 0, 10, 10)).instances(none, 0).labels.tolist() == []
    rotated = View(SIZE, WHOLE, angle=30.0).instances(none, 0.0)     # around the rotated box
    inside = View(SIZE, WHOLE, angle=30.0).instances(sample, 0.0)
    assert (rotated.boxes[:, :2] <= inside.boxes[:, :2] + 1).all()
    assert (rotated.boxes[:, 2:] >= inside.boxes[:, 2:] - 1).all()


def strong():
    cfg_from_dict(settings_of("strong") | {"TRAIN.AUGMENT.FLIP_VERTICAL": 0.5,
                                           "TRAIN.AUGMENT.ROTATE_90": 0.75}, "test")
    return Augmentation.of(cfg)


def test_an_image_keeps_an_instance_and_follows_from_its_generator():
    how, sample = strong(), drawn_sample()
    for number in range(200):
        once, again = (how.changed(sample, np.random.default_rng([5, number])) for _ in range(2))
        assert len(once.labels) and once.image.dtype == np.uint8
        assert_tight(once)
        np.testing.assert_array_equal(once.image, again.image)
        np.testing.assert_array_equal(once.boxes, again.boxes)
        assert 0.5 <= once.zoom <= 2
        assert once.zoom * max(once.size) <= max(SIZE) + 1           # never larger for the net
    assert (sample.image == drawn_sample().image).all()


def test_an_image_without_instances_is_seen_as_it_is():
    empty = Sample(drawn_sample().image, np.zeros((0, 4), np.float32), np.zeros(0, int), [])
    other = strong().changed(empty, np.random.default_rng(0))
    assert other.size == SIZE and len(other.labels) == 0 and other.zoom == 1


def test_how_it_looks():
    image = np.full((40, 50, 3), (10, 120, 200), np.uint8)
    image[20:] = (90, 100, 110)
    rng = np.random.default_rng(0)
    assert Appearance().changed(image, rng) is image
    assert Appearance(brightness=0.5).changed(image, rng)[0, 0].tolist() == [5, 60, 100]
    grey = Appearance(saturation=0).changed(image, rng)
    assert (grey.std(axis=2) == 0).all() and grey[0, 0, 0] == round(.114 * 10 + .587 * 120 + .299 * 200)
    flat = Appearance(contrast=0).changed(image, rng)
    assert np.ptp(flat) == 0
    shifted = Appearance(hue=120).changed(image, rng)                # red -> green, green -> blue
    assert shifted[0, 0].tolist() == [120, 200, 10]
    blurred = Appearance(blur=2).changed(image, rng)
    assert 90 < int(blurred[20, 25, 2]) < 200 and (blurred[0, 0] == image[0, 0]).all()
    noise = Appearance(noise=5).changed(image, rng).astype(int) - image
    assert abs(noise.mean()) < 0.2 and 4.5 < noise.std() < 5.5


@pytest.mark.parametrize("key, value, message", [
    ("CROP", 0.0, "CROP must be above 0"), ("CROP", 1.5, "CROP must be from 0 to 1, got 1.5"),
    ("SCALE", (2.0, 0.5), "two factors, the smaller one first"), ("SCALE", (1.0,), "two factors"),
    ("ROTATE", 270.0, "from 0 to 180"), ("NOISE", -1.0, "0 or more"),
    ("FLIP_VERTICAL", 2.0, "from 0 to 1")])
def test_settings_that_nothing_could_be_drawn_from(key, value, message):
    cfg_from_dict({f"TRAIN.AUGMENT.{key}": value}, "test")
    with pytest.raises(ConfigError, match=f"TRAIN.AUGMENT.{key}.*|{message}"):
        Augmentation.of(cfg)
    with pytest.raises(ConfigError, match=message):
        Augmentation.of(cfg)


def test_defaults_change_nothing():
    assert not Augmentation.of(cfg).active
    cfg_from_list(["TRAIN.AUGMENT.MIN_VISIBLE", "0.5"])
    assert not Augmentation.of(cfg).active
    for name in AUGMENTATIONS:
        cfg_from_dict(settings_of(name), name)
        assert Augmentation.of(cfg).active == (name != "none")


@pytest.fixture
def entries(tmp_path):
    sample = drawn_sample()
    write_image(tmp_path / "a.png", sample.image)
    found = Annotation(sample.boxes, sample.labels, sample.masks)
    return (roi_entry(str(tmp_path / "a.png"), found, SIZE, 4) | {"name": "a"},
            mask_entry(sample.masks))


def test_minibatches_hold_what_was_changed(entries):
    means, zoomed = np.array([10.0, 20.0, 30.0]), None

    def change(sample):
        nonlocal zoomed
        zoomed = View(SIZE, (16, 10, 40, 30), zoom=1.5)
        return seen(zoomed, sample)
    for rois, masks in (entries, (mirrored_rois(entries[0]), mirrored_masks(entries[1]))):
        blobs = minibatch(rois, masks, means, target_size=122, max_size=1000, change=change)
        assert blobs["im_info"].tolist() == [[90, 120, 3]]           # 122 / 61, times 1.5
        assert blobs["data"].shape == (1, 3, 90, 120)
        expected = change(sample_of(rois, masks))
        np.testing.assert_allclose(blobs["gt_boxes"][:, :4], expected.boxes * 3)
        assert blobs["gt_boxes"][:, 4].tolist() == expected.labels.tolist()
        for padded, size, mask in zip(blobs["gt_masks"], blobs["mask_info"], expected.masks):
            assert size.tolist() == list(mask.shape)
            np.testing.assert_array_equal(padded[:mask.shape[0], :mask.shape[1]], mask)
    alone = minibatch(entries[0], None, means, target_size=61, max_size=100, change=change)
    assert set(alone) == {"data", "im_info", "gt_boxes"}


def test_pictures_of_it(entries):
    sample = drawn_sample()
    picture = draw_truth(sample.image, sample.boxes, sample.masks, 166)
    assert picture.shape == (122, 166, 3) and picture[50, 60, 1] > 0      # tinted
    x1, y1, x2, _ = sample.boxes[1].astype(int)
    edge = picture[2 * y1, 2 * x1:2 * x2 + 1]
    assert (edge == edge[0]).all() and edge[0].any()
    plain = draw_truth(sample.image, sample.boxes, None, 166)
    assert (plain[50, 60] == picture[50, 60]).sum() < 3 and (plain[2 * y1, 2 * x1] == edge[0]).all()
    found = list(shown([entries[0]], [entries[1]], strong(), images=3, views=2))
    assert len(found) == 3                                                  # there is one image
    assert found[0][0] == "a, as it is: 3 of 3 instances, 83 x 61 pixels"
    assert "size for the net ×" in found[1][0] and found[1][1].size != SIZE


def test_the_flag_sets_what_set_does_not_name(tmp_path, tiny_scenes, monkeypatch):
    settings = {}
    monkeypatch.setattr("mnc.training.loop.SolverWrapper.train_model",
                        lambda wrapper, iterations, **about:
                        settings.update(cfg.TRAIN.AUGMENT))
    assert cli.main(["train", "--cpu", "--net", "Mini", "--imdb", f"sbd:{tiny_scenes}:train",
                     "--out", str(tmp_path), "--iters", "1", "--augment", "strong",
                     "--set", "TRAIN.AUGMENT.ROTATE", "3"]) == 0
    assert settings["ROTATE"] == 3 and settings["CUTOUT"] == 2
    with pytest.raises(KeyError):
        settings_of("mild")
    assert train_options.AUGMENTATIONS is AUGMENTATIONS
