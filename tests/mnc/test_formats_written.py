"""What is written in a format is the same when it is read."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from mnc.data import DataError, LabelledImage, LabelledImages, Shape, get_dataset, problems
from mnc.data.classes import line_names
from mnc.data.formats import coco_file, labelme, voc_folder, yolo
from mnc.masks import run_lengths
from mnc.masks.outlines import merged, outlines
from small_data import turned, write_coco

ODD = ["猫 / cat", "it's \"so\" & <that>", "$x_1$", "a,b: c#d", "_under", "null", "42"]
WRITERS = {"coco": (coco_file.write, "coco:{0}/annotations.json:{0}/images"),
           "labelme": (labelme.write, "labelme:{0}"), "yolo": (yolo.write, "yolo:{0}"),
           "voc": (voc_folder.write, "voc:{0}:train")}
formats = pytest.mark.parametrize("kind", WRITERS)


def rewritten(dataset, kind, out, classes=None):
    write, name = WRITERS[kind]
    write(dataset, out)
    return get_dataset(name.format(out), classes=classes)


def blobs(seed, size=(40, 56)):
    """Masks with holes, pieces and pixels that touch at a corner."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.random(size).astype(np.float32), (0, 0), 2.5)
    return smooth > np.quantile(smooth, 0.7)


@pytest.fixture
def odd(tmp_path):
    """Images with a mask of each class, one upon the other nowhere; equal names in two folders."""
    images = []
    for n, place in enumerate(("one/a.png", "two/a.png", "two/b c.png")):
        path = tmp_path / "given" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((40, 56, 3), 50 * n, np.uint8))
        owner = np.random.default_rng(n).integers(0, len(ODD), (40, 56))
        owner = cv2.resize(owner[:5, :7].astype(np.uint8), (56, 40), interpolation=cv2.INTER_NEAREST)
        images.append(LabelledImage(path, [Shape(name, (owner == k) & blobs(n))
                                           for k, name in enumerate(ODD)]))
    return LabelledImages("odd", images, ODD)


def content(dataset, i):
    """{(class, box, mask)} of an image."""
    found = dataset.annotation(i)
    return sorted((dataset.classes[label], tuple(box), None if mask is None else mask.tobytes())
                  for label, box, mask in zip(found.labels, found.boxes.astype(int).tolist(),
                                              found.mask_list))


@formats
def test_masks_and_names_come_back(odd, kind, tmp_path):
    again = rewritten(odd, kind, tmp_path / "out")
    assert set(again.classes) == set(odd.classes) and len(again) == len(odd)
    assert not problems(again)
    for i in range(len(odd)):
        assert np.array_equal(again.image(i), odd.image(i))
        assert content(again, i) == content(odd, i)


@formats
def test_crowds_are_not_instances(kind, tmp_path):
    dataset = get_dataset("coco:{}:{}".format(*write_coco(tmp_path / "given", count=2)))
    again = rewritten(dataset, kind, tmp_path / "out")
    for i, name in enumerate(again.names):
        k = next(k for k, given in enumerate(dataset.names) if given.endswith(name[-1]))
        kept = dataset.annotation(k).rows(~dataset.annotation(k).ignored)
        found = again.annotation(i).rows(~again.annotation(i).ignored)
        assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, kept.boxes.tolist()))
        assert sorted(again.classes[c] for c in found.labels) == sorted(
            dataset.classes[c] for c in kept.labels)


@formats
def test_boxes_without_masks(kind, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 30, 3), np.uint8))
    dataset = LabelledImages("boxes", [LabelledImage(tmp_path / "a.png", [
        Shape("kite", None, (2, 3, 8, 5))])])
    found = rewritten(dataset, kind, tmp_path / "out").annotation(0)
    assert found.boxes.round(3).tolist() == [[2, 3, 9, 7]]
    assert found.has_mask.tolist() == [kind == "labelme"]       # it has rectangles, no boxes


@formats
def test_a_photograph_annotated_as_it_lies(kind, tmp_path):
    jpeg = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(turned(jpeg))
    dataset = LabelledImages("turned", [LabelledImage(tmp_path / "a.jpg", [
        Shape("kite", [[2, 3, 28, 3, 28, 9]])], size=(20, 30))])
    again = rewritten(dataset, kind, tmp_path / "out")
    assert again.image(0).shape == (20, 30, 3) and content(again, 0) == content(dataset, 0)


def test_coco_numbers_stay(tmp_path):
    dataset = get_dataset("coco:{}:{}".format(*write_coco(tmp_path / "given", count=2)))
    again = rewritten(dataset, "coco", tmp_path / "out")
    assert (again.image_ids, again.category_ids) == (dataset.image_ids, dataset.category_ids)
    assert [a.crowd.tolist() for a in map(again.annotation, range(2))] == [
        a.crowd.tolist() for a in map(dataset.annotation, range(2))]
    entry = json.loads((tmp_path / "out/annotations.json").read_text())["annotations"][0]
    assert isinstance(entry["segmentation"], list) and len(entry["segmentation"][0]) < 20


def test_no_image_is_written_over_itself(odd, tmp_path):
    with pytest.raises(DataError, match="name another folder to write to"):
        labelme.write(odd, tmp_path / "given")


def test_voc_counts_to_254(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 300, 3), np.uint8))
    shapes = [Shape("kite", [[k, 1, k + 1, 1, k + 1, 3, k, 3]]) for k in range(256)]
    dataset = LabelledImages("many", [LabelledImage(tmp_path / "a.png", shapes)])
    with pytest.raises(DataError, match="256 instances; the maps of VOC count to 254"):
        voc_folder.write(dataset, tmp_path / "out")


def test_names_in_lines():
    assert line_names(["a", " b \n c ", "\x07"]) == ["a", "b c", "_"]
    with pytest.raises(DataError, match="two classes would be called 'a b'"):
        line_names(["a b", "a\nb"])


@pytest.mark.parametrize("seed", range(8))
def test_outlines_are_drawn_as_the_same_mask(seed):
    mask = blobs(seed)
    for polygons in (outlines(mask), [merged(outlines(mask))]):
        assert np.array_equal(run_lengths.decode(run_lengths.checked(polygons, mask.shape).code), mask)


def test_outlines_of_a_ring():
    mask = np.ones((4, 5), bool)
    mask[1:3, 1:4] = False
    polygon, = outlines(mask, (10, 20))
    whole = np.zeros((30, 30), bool)
    whole[20:24, 10:15] = mask
    assert np.array_equal(run_lengths.decode(run_lengths.checked([polygon], (30, 30)).code), whole)
    assert outlines(np.zeros((3, 3), bool)) == []
