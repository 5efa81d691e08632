"""The one checked function for masks of files, against pycocotools where that can be trusted."""

from __future__ import annotations

import numpy as np
import pytest

from mnc.masks import run_lengths
from mnc.masks.run_lengths import MaskError

pycocotools = pytest.importorskip("pycocotools.mask")
SIZE = (13, 17)


def random_mask(seed, size=SIZE):
    return np.random.default_rng(seed).uniform(size=size) < 0.5


@pytest.mark.parametrize("seed", range(20))
def test_codes_say_what_pycocotools_says(seed):
    mask = random_mask(seed)
    code = run_lengths.encode(mask)
    theirs = pycocotools.encode(np.asfortranarray(mask, np.uint8))
    assert code["counts"].encode() == theirs["counts"]
    assert (run_lengths.decode(code) == mask).all() and run_lengths.area(code) == mask.sum()
    found = run_lengths.checked(code, SIZE)
    assert found.code == theirs and found.area == mask.sum()
    assert found.box == pycocotools.toBbox(theirs).tolist()
    (x1, y1, x2, y2), cut = run_lengths.cropped(code)
    assert [x1, y1, x2 - x1 + 1, y2 - y1 + 1] == found.box
    assert (mask[y1:y2 + 1, x1:x2 + 1] == cut).all()


def test_numbers_on_the_screen():
    """4 rows, 3 columns; runs go down the columns."""
    code = {"size": [4, 3], "counts": [1, 2, 5, 3, 1]}
    assert run_lengths.decode(code).astype(int).tolist() == [
        [0, 0, 1], [1, 0, 1], [1, 0, 1], [0, 0, 0]]
    assert run_lengths.checked(code, (4, 3)).area == 5


@pytest.mark.parametrize("counts", [[0, 7, 0, 3, 211], [3, 0, 4, 5, 209], [221, 0]])
def test_runs_of_no_pixel_are_joined(counts):
    code = {"size": list(SIZE), "counts": counts}
    mask = run_lengths.decode(code)
    if not mask.any():
        with pytest.raises(MaskError, match="without a pixel"):
            run_lengths.checked(code, SIZE)
        return
    found = run_lengths.checked(code, SIZE)
    assert found.code == pycocotools.encode(np.asfortranarray(mask, np.uint8))


@pytest.mark.parametrize("counts, fault", [
    ([100, 50], "do not fill"), ([221, 5], "do not fill"), ([-5, 226], "do not fill"),
    ([0.5, 220.5], "not whole"), ([float("nan")], "not whole"), ([2**70], "not whole"),
    ([], "do not fill"), ("", "do not fill"), ("oooo", "cut or damaged"), ("a\0b", "cut or"),
    ("~~~~", "cut or damaged"), ("\u8f93", "neither"), ("o" * 300 + "0", "cut or damaged"),
    (None, "neither"), (5, "neither"), ([None], "neither"), ({}, "neither")])
def test_runs_that_do_not_make_a_mask(counts, fault):
    with pytest.raises(MaskError, match=fault):
        run_lengths.checked({"size": list(SIZE), "counts": counts}, SIZE)


@pytest.mark.parametrize("size", [["13", "17"], [13.0, 17.0], (13, 17)])
@pytest.mark.parametrize("counts", [[100, 50, 71], ["100", "50", "71"], [100.0, 50.0, 71.0]])
def test_numbers_as_text_are_numbers(size, counts):
    assert run_lengths.checked({"size": size, "counts": counts}, SIZE).area == 50


@pytest.mark.parametrize("size", [(10**5, 10**5), (2**31, 2**31), (10**30, 5), (-5, 60)])
def test_sizes_are_bounded(size):
    for given in ([[1, 1, 9, 1, 9, 9]], {"size": list(size), "counts": [5, 5]}):
        with pytest.raises(MaskError, match="size"):
            run_lengths.checked(given, size)
    with pytest.raises(MaskError, match="impossible size"):
        run_lengths.decode({"size": list(size), "counts": [5, 5]})


TRIANGLE = [1.5, 2, 12, 3.25, 7, 11]


@pytest.mark.parametrize("given", [
    [TRIANGLE], TRIANGLE, [[], TRIANGLE], [[*TRIANGLE, 4]], [[str(v) for v in TRIANGLE]],
    [[[1.5, 2], [12, 3.25], [7, 11]]], [[1.5, 2], [12, 3.25], [7, 11]]])
def test_ways_to_write_a_polygon(given):
    want = pycocotools.merge(pycocotools.frPyObjects([TRIANGLE], *SIZE))
    assert run_lengths.checked(given, SIZE).code == want


@pytest.mark.parametrize("far", [2e4, 1e6, 1e7, 1e9, 1e11, -1e7])
def test_far_corners_are_cut_and_the_mask_stays(far):
    near = np.sign(far) * 9000
    want, found = (run_lengths.checked([[3, 3, x, 3, x, 9, 3, 9]], SIZE).code for x in (near, far))
    assert run_lengths.decode(found).tolist() == run_lengths.decode(want).tolist()


@pytest.mark.parametrize("far", [np.nan, np.inf, -np.inf, 1e13, 1e300])
def test_coordinates_that_are_none(far):
    with pytest.raises(MaskError, match="no numbers of pixels"):
        run_lengths.checked([[3, 3, far, 3, far, 9, 3, 9]], SIZE)
    with pytest.raises(MaskError, match="no numbers of pixels"):
        run_lengths.checked([[3, 3, None, 3, 5, 9]], SIZE)


def test_long_edges_are_refused():
    zigzag = [v for k in range(400) for v in (k % 2 * 9999, k)]
    with pytest.raises(MaskError, match="edges are longer"):
        run_lengths.checked([zigzag * 2], SIZE)


@pytest.mark.parametrize("given, bbox, area", [
    ([[2, 3, 5, 4]], [2, 3, 5, 4], 20), ([[2, 3, 7, 7]], [2, 3, 5, 4], 20), ([[2, 3, 5, 4]], None, 20)])
def test_four_numbers_are_a_rectangle(given, bbox, area):
    found = run_lengths.checked(given, SIZE, bbox)
    assert found.area == area and found.box == [2, 3, 5, 4]


def test_four_numbers_that_the_box_does_not_explain():
    for bbox in ([9, 9, 1, 1], [1, 2], [np.nan] * 4, "no"):
        with pytest.raises(MaskError):
            run_lengths.checked([[2, 3, 5, 4]], SIZE, bbox)


@pytest.mark.parametrize("given", [None, [], {}, "", [[]], [[], []]])
def test_nothing_drawn(given):
    assert run_lengths.checked(given, SIZE) is None


@pytest.mark.parametrize("given", [5, "[[1, 2]]", [{"size": [1, 2]}], [["a"] * 6], [[10**400] * 6],
                                   {"counts": [221]}, {"size": [13, 17]}, True, [[[[1]]] * 6]])
def test_what_is_no_segmentation(given):
    with pytest.raises(MaskError):
        run_lengths.checked(given, SIZE)


@pytest.mark.parametrize("seed", range(30))
def test_masks_are_cut_out_of_their_codes_and_put_into_images(seed):
    """Against masks decoded whole; full columns, borders and empty masks among them."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 9, 2).tolist()
    mask = rng.random((height, width)) < rng.choice([0, .1, .5, .95, 1])
    found = run_lengths.cropped(run_lengths.packed(mask))
    if not mask.any():
        assert found is None
    else:
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), xs.max(), ys.max()]
        assert found[0] == box and np.array_equal(
            found[1], mask[box[1]:box[3] + 1, box[0]:box[2] + 1])
    x, y, right, below = rng.integers(0, 4, 4).tolist()
    whole = np.pad(mask, ((y, below), (x, right)))
    assert np.array_equal(run_lengths.decode(run_lengths.at(mask, (x, y), whole.shape)), whole)


@pytest.mark.parametrize("corner, shape", [((0, 0), SIZE), ((3, 0), (13, 4)), ((2, 5), (8, 15)), ((16, 12), (1, 1))])
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_mask_of_a_box_is_coded_as_its_image(corner, shape, share):
    """Also where it reaches head and foot, so that a run goes on in the next column."""
    mask = np.random.default_rng(4).uniform(size=shape) < share
    image = np.zeros(SIZE, bool)
    image[corner[1]:corner[1] + shape[0], corner[0]:corner[0] + shape[1]] = mask
    assert run_lengths.placed(mask, corner, SIZE) == run_lengths.encode(image)
