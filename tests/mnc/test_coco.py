"""COCO annotation files."""

from __future__ import annotations

import contextlib
import io
import json
import logging

import numpy as np
import pytest

from mnc.data import DataError, coco_index, get_dataset
from mnc.data.coco import COCO
from mnc.data.dataset import category_ids, image_ids, problems
from mnc.data.roidb import prepare
from small_data import write_coco

pytest.importorskip("pycocotools")


@pytest.fixture
def small(tmp_path):
    return write_coco(tmp_path, count=2)


def change(file, **lists):
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | lists))
    return content


def test_images_classes_and_numbers(small):
    dataset = get_dataset(f"coco:{small[0]}:{small[1]}")
    assert dataset.names == ["picture 1", "picture 0"]                 # by id
    assert dataset.classes == ("__background__", "kite", "boat")       # by id
    assert image_ids(dataset) == [99, 100] and category_ids(dataset) == [3, 7]
    assert dataset.image(0).shape == (60, 80, 3) and problems(dataset) == {}
    twice = get_dataset(f"coco:{small[0]}:{small[1]}+coco:{small[0]}:{small[1]}")
    assert image_ids(twice) == [1, 2, 3, 4] and category_ids(twice) == [1, 2]


def test_polygons_runs_and_codes(small):
    from pycocotools.coco import COCO as Reference

    with contextlib.redirect_stdout(io.StringIO()):
        reference = Reference(str(small[0]))
    dataset = COCO(*small)
    for i, number in enumerate(dataset.image_ids):
        found, wanted = dataset.annotation(i), reference.loadAnns(reference.getAnnIds([number]))
        assert found.labels.tolist() == [1, 2, 1] and found.crowd.tolist() == [False, False, True]
        assert found.size == (60, 80)
        for box, mask, area, each in zip(found.boxes.astype(int), found.masks, found.areas, wanted):
            whole = reference.annToMask(each).astype(bool)
            x1, y1, x2, y2 = box
            assert (whole[y1:y2 + 1, x1:x2 + 1] == mask).all() and mask.sum() == whole.sum()
            assert mask.any(0)[[0, -1]].all() and mask.any(1)[[0, -1]].all() and area == mask.sum()


def test_crowds_are_not_trained_on(small):
    roidb, maskdb = prepare(COCO(*small), use_flipped=False)
    assert [entry["gt_classes"].tolist() for entry in roidb] == [[1, 2], [1, 2]]
    assert [len(entry["gt_masks"]) for entry in maskdb] == [2, 2]


def test_boxes_without_segmentation(small):
    content = change(small[0])
    bare = {"id": 50, "image_id": 99, "category_id": 7, "iscrowd": 0}
    change(small[0], annotations=content["annotations"] + [
        bare | {"bbox": [2.5, 3, 10, 20]}, bare | {"bbox": [-4, 50, 10, 20], "segmentation": []}])
    found = COCO(*small).annotation(0)
    assert found.boxes[3:].tolist() == [[2.5, 3, 11.5, 22], [0, 50, 5, 59]]
    assert found.has_mask.tolist() == [True] * 3 + [False] * 2
    assert found.areas[3:].tolist() == [200, 60]


def test_what_cannot_be_used_is_counted_by_kind(small, caplog):
    content = change(small[0])
    good = content["annotations"][0]
    tiny = {"size": [60, 80], "counts": [4800]}
    bad = [good | {"id": 61, "image_id": 5}, good | {"id": 62, "category_id": 5},
           good | {"id": 63, "segmentation": [[1, 2, 3, 4]]},
           good | {"id": 64, "segmentation": tiny},
           good | {"id": 65, "segmentation": {"size": [6, 8], "counts": [40, 8]}},
           good | {"id": 66, "segmentation": {"counts": [48]}},
           good | {"id": 67, "segmentation": None, "bbox": [90, 3, 4, 4]},
           good | {"id": 68, "segmentation": None, "bbox": None},
           good | {"id": 69, "image_id": 6}, None, good | {"id": 70, "image_id": [6]},
           good | {"id": 71, "area": [12]},
           good | {"id": 72, "segmentation": {"size": [60, 80], "counts": [5, 10**8, 7]}},
           good | {"id": 73, "segmentation": {"size": [60, 80], "counts": [-5, 10]}}]
    change(small[0], annotations=[good, *bad])
    with caplog.at_level(logging.WARNING, "mnc"):
        dataset = COCO(*small)
    assert len(dataset.annotation(1).labels) == 1
    (record,) = caplog.records
    for part in ("14 annotations cannot be used",
                 "1 that are no objects with names and values (id None)",
                 "1 with an area that is no number (id 71)",
                 "3 of an image that is not in the file (id 61, 69, 70)",
                 "1 of a category that is not in the file (id 62)",
                 "1 with polygons of four numbers and a bbox that does not explain them (id 63)",
                 "1 with a mask without a pixel (id 64)",
                 "1 with a mask of another size than the image (id 65)",
                 "1 with a segmentation that is neither polygons nor RLE (id 66)",
                 "2 with run lengths that do not fill the image (id 72, 73)",
                 "1 with a box smaller than a pixel or outside the image (id 67)",
                 "1 with neither a segmentation nor a bbox of four numbers (id 68)"):
        assert part in record.getMessage()


def test_files_that_are_no_annotations(small, tmp_path):
    with pytest.raises(DataError, match="nowhere.json: no such annotation file"):
        get_dataset(f"coco:{tmp_path / 'nowhere.json'}:{small[1]}")
    with pytest.raises(DataError, match="nowhere: no such folder of images"):
        get_dataset(f"coco:{small[0]}:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="write it as coco:ANNOTATIONS.json:IMAGE_DIR"):
        get_dataset("coco:annotations.json")
    content = change(small[0])
    change(small[0], images=content["images"] * 2)
    with pytest.raises(DataError, match="annotations.json: image id [0-9]+ occurs twice"):
        COCO(*small)
    change(small[0], images=[{"id": 1, "file_name": "a.png"}])
    with pytest.raises(DataError, match='entry 0 of "images" lacks height, width'):
        COCO(*small)
    for id_ in ("a", None):
        change(small[0], images=[{"id": id_, "file_name": "a.png", "height": 4, "width": 5}])
        with pytest.raises(DataError, match='0 of "images": id must be a whole number, got '):
            COCO(*small)
    small[0].write_text('{"info": {}}')
    with pytest.raises(DataError, match='lacks the list "images" .*; it has info'):
        COCO(*small)
    small[0].write_text("[1")
    with pytest.raises(DataError, match="not readable JSON"):
        COCO(*small)


def test_a_file_without_annotations_is_fit_for_testing(small):
    content = change(small[0], annotations=None)
    assert not len(COCO(*small).annotation(0).labels)
    del content["annotations"]
    small[0].write_text(json.dumps(content))
    assert COCO(*small).annotation(0).boxes.shape == (0, 4)


def test_the_index_is_kept_under_the_hash_of_the_file(small, tmp_path, monkeypatch, caplog):
    cache = tmp_path / "cache"
    first = COCO(*small, cache=cache)
    assert not cache.exists()                                      # small files are read again
    monkeypatch.setattr(coco_index, "KEEP_FROM", 0)
    COCO(*small, cache=cache)
    (kept,) = cache.iterdir()
    monkeypatch.setattr(coco_index, "parse", lambda file: pytest.fail("the file was read again"))
    again = COCO(*small, cache=cache)
    assert again.names == first.names and again.classes == first.classes
    for a, b in zip(first.annotation(0).masks, again.annotation(0).masks):
        assert (a == b).all()
    monkeypatch.undo()
    monkeypatch.setattr(coco_index, "KEEP_FROM", 0)
    content = change(small[0])
    change(small[0], annotations=content["annotations"][:1])
    assert len(COCO(*small, cache=cache).annotation(1).labels) == 1
    assert len(list(cache.iterdir())) == 2
    kept.write_bytes(b"PK, but no archive")
    change(small[0], **content)
    assert len(COCO(*small, cache=cache).annotation(1).labels) == 3
    assert "it is made again" in caplog.text
    np.load(kept, allow_pickle=False).close()


def test_the_places_of_the_real_data(small, tmp_path):
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    for name in ("instances_val2017", "image_info_test-dev2017"):
        (folder / "annotations" / f"{name}.json").write_text(small[0].read_text())
    for name in ("val2017", "test2017"):
        (folder / name).symlink_to(small[1])
    assert get_dataset("coco_2017_val", tmp_path).names[0] == "picture 1"
    assert get_dataset("coco_2017_test-dev", tmp_path).image(0).shape == (60, 80, 3)
    with pytest.raises(DataError, match="instances_train2014.json: no such .*fetch_coco.sh 2014"):
        get_dataset("coco_2014_train", tmp_path)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_the_ground_truth_itself_scores_1(small, kind):
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO as Reference
    from pycocotools.cocoeval import COCOeval

    dataset, results = COCO(*small), []
    for i, number in enumerate(dataset.image_ids):
        found = dataset.annotation(i)
        found = found.rows(~found.crowd)
        for box, label, mask in zip(found.boxes.astype(int).tolist(), found.labels, found.masks):
            whole = np.zeros(found.size, np.uint8, order="F")
            x1, y1, x2, y2 = box
            whole[y1:y2 + 1, x1:x2 + 1] = mask
            code = coco_mask.encode(whole)
            results.append({"image_id": number, "category_id": dataset.category_ids[label - 1],
                            "segmentation": code, "bbox": [x1, y1, x2 - x1 + 1, y2 - y1 + 1],
                            "score": 1.0})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = Reference(str(small[0]))
        run = COCOeval(truth, truth.loadRes(results), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert run.stats[0] == pytest.approx(1)
