"""Large images in tiles: what lies on a seam comes out once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from mnc.config import cfg, overridden
from mnc.inference import TestSettings, cascade, load_net, segment_image
from mnc.inference.tiles import Tiling, joined_tiles, tiles_of
from mnc.instances import InferenceError, Raw
from mnc.masks.voting import vote_masks

SIDE = 100


class Eye:
    """A net that finds every bright piece of what it is shown, cut or not, and some noise."""

    device = "cpu"

    def __init__(self, boxes_by_class=False):
        self.boxes_by_class = boxes_by_class
        self.views = []

    def look(self, view):
        self.views.append(view)
        self.view = view

    def read(self, net, scale, size):
        pieces, number = label(self.view[..., 0] > 0)
        places = find_objects(pieces)
        boxes = np.array([(x.start, y.start, x.stop - 1, y.stop - 1) for y, x in places]
                         + [(0, 0, 9, 9)], np.float32).reshape(-1, 4)
        masks = np.ones((number + 1, 21, 21), np.float32)
        scores = np.zeros((number + 1, 3), np.float32)
        scores[:number, 1], scores[number, 2] = 0.9, 0.002
        scores[:, 0] = 1 - scores[:, 1:].sum(1)
        return Raw(np.tile(boxes, 3) if self.boxes_by_class else boxes, masks, scores)


def settings_of(**changes):
    return replace(TestSettings.of(cfg), scales=(SIDE,), **changes)


def found_by(eye, image, monkeypatch, **changes):
    monkeypatch.setattr(cascade, "run_net", lambda net, view, settings, side: eye.look(view) or 1.0)
    monkeypatch.setattr(cascade, "as_list", lambda net: [net])
    return cascade.pooled(eye, image, settings_of(**changes), eye.read)


@pytest.mark.parametrize("size, side, overlap, number", [
    ((100, 100), 0, .25, 1), ((100, 100), 100, .25, 1), ((50, 80), 100, .25, 1), ((101, 100), 100, .25, 2),
    ((250, 325), 100, .25, 12), ((250, 90), 100, .5, 4), ((100, 200), 100, 0, 2)])
def test_tiles_cover_the_image_evenly(size, side, overlap, number):
    tiles = tiles_of(size, Tiling(side, overlap))
    assert len(tiles) == number
    covered = np.zeros(size, int)
    for tile in tiles:
        covered[tile.y1:tile.y2, tile.x1:tile.x2] += 1
    assert covered.min() == 1
    assert len({(tile.x2 - tile.x1, tile.y2 - tile.y1) for tile in tiles}) == 1
    for starts in ({tile.x1 for tile in tiles}, {tile.y1 for tile in tiles}):
        assert all(b - a <= side * (1 - overlap) + 1 for a, b in pairwise(sorted(starts)))


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_what_lies_on_seams_comes_out_once(by_class, mirrored, monkeypatch):
    rng = np.random.default_rng(0)
    image, truth = np.zeros((330, 290, 3), np.uint8), []
    for x, y in rng.integers(0, (266, 306), (400, 2)).tolist():
        w, h = rng.integers(5, 24, 2).tolist()
        if not image[max(y - 2, 0):y + h + 2, max(x - 2, 0):x + w + 2].any():
            image[y:y + h, x:x + w] = 200
            truth.append((x, y, x + w - 1, y + h - 1))
    raw = found_by(Eye(by_class), image, monkeypatch, tiling=Tiling(SIDE, .25), mirrored=mirrored)
    if by_class:
        raw = replace(raw, boxes=raw.boxes[:, 4:8])
    boxes = vote_masks(raw, image.shape[:2], replace(settings_of().voting, most=1000))[1].boxes
    assert len(truth) > 60 and sorted(map(tuple, boxes[:, :4].astype(int).tolist())) == sorted(truth)
    assert len(set(map(tuple, raw.boxes.tolist()))) == len(truth)        # parts are gone before


def test_what_is_longer_than_the_overlap_stays_in_parts(monkeypatch):
    image = np.zeros((100, 300, 3), np.uint8)
    image[40:60, 10:290] = 200
    raw = found_by(Eye(), image, monkeypatch, tiling=Tiling(SIDE, .25), mirrored=False)
    assert len(raw.boxes) == 4 and raw.boxes[:, 0].min() == 10 and raw.boxes[:, 2].max() == 289


def test_a_surer_part_stays():
    """An uncut result of a much lower score explains nothing."""
    tiles = tiles_of((100, 175), Tiling(100, .25))
    mask = np.ones((1, 21, 21), np.float32)
    part = Raw(np.array([[80, 10, 99, 30]], np.float32), mask, np.array([[.1, .9]], np.float32))
    for score, kept in ((.8, 0), (.46, 0), (.3, 1)):
        whole = Raw(np.array([[5, 10, 40, 30]], np.float32), mask,
                    np.array([[1 - score, score]], np.float32))
        assert len(joined_tiles(tiles, [part, whole], (100, 175))[0].boxes) == kept


def test_small_images_are_seen_whole(monkeypatch):
    image = np.full((90, 100, 3), 200, np.uint8)
    eye = Eye()
    found_by(eye, image, monkeypatch, tiling=Tiling(SIDE, .25), mirrored=False)
    assert len(eye.views) == 1 and eye.views[0].shape == image.shape


def test_images_much_longer_than_wide_are_named_once(monkeypatch, caplog):
    """With the tiles that would show what is in them; in tiles they are seen well enough."""
    caplog.set_level("WARNING", "mnc")
    for shape in ((37, 1703, 3), (37, 1703, 3), (1703, 37, 3), (37, 70, 3)):
        found_by(Eye(), np.zeros(shape, np.uint8), monkeypatch, max_size=150)
    found_by(Eye(), np.zeros((37, 1704, 3), np.uint8), monkeypatch, max_size=150,
             tiling=Tiling(37, .25))
    assert [record.getMessage().partition(", since")[0] for record in caplog.records] == [
        "an image of 1703 x 37 pixels is seen as 150 x 3", "an image of 37 x 1703 pixels is seen as 3 x 150"]
    assert "--set TEST.TILES 37 sees it" in caplog.text


@pytest.mark.parametrize("side, overlap", [(-1, .25), (100, 1.0), (100, -.1)])
def test_tiles_that_cannot_be(side, overlap):
    with overridden({"TEST.TILES": side, "TEST.TILE_OVERLAP": overlap}):
        with pytest.raises(InferenceError, match="TEST.TILES is a side in pixels"):
            TestSettings.of(cfg)


def test_a_net_in_tiles(tiny_model, tiny_scenes, mini_cfg, tmp_path):
    """Of a real net, with the setting TEST.TILES."""
    import cv2

    import caffe

    caffe.set_random_seed(3)
    train = caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN)
    path = tmp_path / "w_iter_1.caffemodel.h5"
    train.save_hdf5(str(path))
    net = load_net(tiny_model / "test.prototxt", path)
    image = cv2.imread(str(sorted((tiny_scenes / "img").glob("*.jpg"))[0]))
    image = np.tile(image, (2, 2, 1))
    with overridden({"TEST.TILES": 200}):
        found = segment_image(net, image, cfg)
        boxes = np.concatenate([each.boxes for each in found])
        assert len(boxes) and boxes[:, 2].max() > 300          # in pixels of the whole
        assert boxes[:, [0, 2]].max() < image.shape[1] and boxes[:, [1, 3]].max() < image.shape[0]
