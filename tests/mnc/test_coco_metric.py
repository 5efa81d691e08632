"""COCO's result format and metric, on drawn scenes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mnc import results
from mnc.data import Annotation, DataError, get_dataset
from mnc.evaluation.average_precision import evaluate
from mnc.evaluation.coco import coco_metric, entries_metric, load
from mnc.evaluation.figures import figures_of
from mnc.masks.rendering import pasted
from mnc.results import coco as coco_results
from mnc.results import saved as saved_results
from mnc.results.detections import Saved
from mnc.tasks import TASKS

pytest.importorskip("pycocotools")


@pytest.fixture(scope="module")
def data(tiny_scenes):
    return get_dataset(f"sbd:{tiny_scenes}:val")


def perfect(dataset, score=lambda k: 0.5 + k / 100):
    """The truth as detections with whole masks."""
    found = [[(np.zeros((0, 5)), []) for _ in dataset.names] for _ in dataset.classes]
    for i in range(len(dataset)):
        known = dataset.annotation(i)
        for k, (box, label, mask) in enumerate(zip(known.boxes, known.labels, known.masks)):
            boxes, masks = found[label][i]
            found[label][i] = np.vstack((boxes, [*box, score(k)])), [*masks, mask]
    return found


def test_the_truth_measures_one(data):
    found = coco_metric(data, perfect(data))
    for kind in "rb":
        for name in ("@[.5:.95]", "@.5", "@.75"):
            assert found[f"COCO mAP^{kind}{name}"] == pytest.approx(1)
        by_class = found[f"COCO AP^{kind}@[.5:.95]"]
        assert list(by_class) == list(data.classes[1:])
        sizes = [found[f"COCO mAP^{kind}@[.5:.95] {size}"] for size in ("small", "medium", "large")]
        assert any(size == pytest.approx(1) for size in sizes)
        assert all(np.isnan(size) or size == pytest.approx(1) for size in sizes)
    lines = results.table(found).splitlines()
    assert "COCO AP^r@[.5:.95]" in lines[0] and any(line.startswith("COCO AR^b") for line in lines)


def test_nothing_found_measures_nought(data):
    found = coco_metric(data, [[(np.zeros((0, 5)), [])] * len(data)] * len(data.classes))
    assert found["COCO mAP^r@[.5:.95]"] == 0 and found["COCO AR^b of 100"] == 0


def test_it_says_what_pycocotools_says(data, tmp_path):
    """Through files and COCO's own loadRes and summarize."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    noisy = [[(boxes + [0, 0, 0, 0, 1] * rng.uniform(-.3, .3, (len(boxes), 1)),
               [mask & (rng.uniform(size=mask.shape) < rng.uniform(0.5, 1)) for mask in masks])
              for boxes, masks in row] for row in perfect(data)]
    coco_results.write_results(tmp_path / "res.json", data, noisy, 0.4)
    (tmp_path / "gt.json").write_text(json.dumps(coco_results.truth(data)))
    truth = COCO(str(tmp_path / "gt.json"))
    written = json.loads((tmp_path / "res.json").read_text())
    for kind, name in (("segm", "r"), ("bbox", "b")):
        # With a box in the file loadRes takes its area for the size of the instance.
        kept = [{k: v for k, v in entry.items() if kind == "bbox" or k != "bbox"}
                for entry in written]
        theirs = COCOeval(truth, truth.loadRes(kept), kind)
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
        entries = coco_results.read_entries(tmp_path / "res.json", data)
        ours = entries_metric(data, entries, kinds=[name])
        whole = f"COCO mAP^{name}@[.5:.95]"
        got = [ours[whole], ours[f"COCO mAP^{name}@.5"], ours[f"COCO mAP^{name}@.75"],
               *(ours[f"{whole} {size}"] for size in ("small", "medium", "large")),
               *(ours[f"COCO AR^{name} of {n}"] for n in (1, 10, 100)),
               *(ours[f"COCO AR^{name} of 100 {size}"] for size in ("small", "medium", "large"))]
        np.testing.assert_allclose(np.nan_to_num(got, nan=-1), theirs.stats, atol=1e-12)
        assert name == "b" or 0 < ours[whole] < 1


def test_results_come_back_from_the_file(data, tmp_path):
    coco_results.write_results(tmp_path / "res.json", data, perfect(data), 0.4)
    saved = saved_results.load(tmp_path / "res.json", data)
    assert saved.task.name == "seg"
    for row, read in zip(perfect(data), saved.detections):
        for (boxes, masks), (boxes2, masks2) in zip(row, read):
            np.testing.assert_allclose(boxes, boxes2)
            assert all(map(np.array_equal, masks, masks2))
    figures = figures_of(saved, data, 0.4, ("voc", "coco"))
    assert figures["mAP^r_vol"] == figures["mAP^b@0.5"] == pytest.approx(1)
    assert figures["COCO mAP^r@[.5:.95]"] == pytest.approx(1)


def test_maps_measure_the_same_before_and_after_the_file(data, tmp_path):
    """What is written is what the protocol renders."""
    rng = np.random.default_rng(0)
    maps = [[(boxes + np.array([*rng.uniform(-2, 2, 4), 0]) if len(boxes) else boxes,
              rng.uniform(0.38, 1, (len(boxes), 1, 21, 21))) for boxes, _ in row]
            for row in perfect(data)]
    coco_results.write_results(tmp_path / "res.json", data, maps, 0.4)
    saved = saved_results.load(tmp_path / "res.json", data)
    for name in ("AP^r@0.5", "AP^r@0.7"):
        want = evaluate(data, maps)[name]
        assert evaluate(data, saved.detections)[name] == pytest.approx(want, nan_ok=True)
    assert evaluate(data, maps)["mAP^r@0.5"] > 0


def test_boxes_alone(data, tmp_path):
    boxes = [[(b, np.zeros((len(b), 1, 0, 0))) for b, _ in row] for row in perfect(data)]
    coco_results.write_results(tmp_path / "res.json", data, boxes, 0.4)
    saved = saved_results.load(tmp_path / "res.json", data)
    figures = figures_of(saved, data, 0.4, ("voc", "coco"))
    assert saved.task.name == "det" and figures["mAP^b@0.5"] == pytest.approx(1)
    assert figures["COCO mAP^b@[.5:.95]"] == pytest.approx(1)
    assert not any("^r" in name for name in figures)


def test_names_polygons_and_plain_run_lengths_of_other_systems(data, tmp_path):
    height, width = data.annotation(0).size
    square = [[10, 10, 30, 10, 30, 30, 10, 30]]
    plain = {"size": [height, width], "counts": [0, 5, height * width - 5]}
    entries = [{"image_id": data.names[0], "category_id": data.classes[2], "score": 0.5,
                "segmentation": square},
               {"image_id": f"{data.names[0]}.jpg", "category_id": 2, "score": 0.25,
                "segmentation": plain}]
    (tmp_path / "other.json").write_text(json.dumps(entries))
    read = coco_results.read_entries(tmp_path / "other.json", data)
    assert [e["image_id"] for e in read] == [1, 1] and [e["category_id"] for e in read] == [2, 2]
    (boxes, masks) = coco_results.to_detections(data, read)[2][0]
    np.testing.assert_allclose(boxes, [[10, 10, 29, 29, 0.5], [0, 0, 0, 4, 0.25]])
    assert masks[0].all() and masks[1].shape == (5, 1)


@pytest.mark.parametrize("content, message", [
    ("{", "not JSON"),
    ("{}", "a list of detections, this is a dict"),
    ('[{"image_id": 1, "score": 1, "bbox": [1, 1, 2, 2]}]', "detection 1 lacks category_id"),
    ('[{"image_id": 1, "score": 1, "category_id": 1}]', "lacks bbox and segmentation"),
    ('[{"image_id": 77, "score": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}]',
     "detection 1: image_id 77 is not in sbd"),
    ('[{"image_id": 1, "score": 1, "category_id": "mast", "bbox": [1, 1, 2, 2]}]',
     "category_id 'mast' is not in sbd"),
    ('[{"image_id": 1, "score": 1, "category_id": 1, "segmentation": {"size": [2, 3], '
     '"counts": [6]}}]', r"is for \[2, 3\] \(height, width\), the image has"),
    ('[{"image_id": [1], "score": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}]',
     r"detection 1: image_id cannot be \[1\]"),
    ('[{"image_id": 1, "score": null, "category_id": 1, "bbox": [1, 1, 2, 2]}]',
     "detection 1: score cannot be None"),
    ('[{"image_id": 1, "score": 1, "category_id": 1, "bbox": [1, 1, 2]}]', "bbox cannot be"),
    ('[{"image_id": 1, "score": 1, "category_id": 1, "segmentation": {"size": [2, 3]}}]',
     "segmentation cannot be"),
    ('[{"image_id": 1, "score": 1, "category_id": 1, "segmentation": []}]',
     "a mask of image 1 is neither polygons nor RLE"),
])
def test_mistakes_in_files_are_named(data, tmp_path, content, message):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(DataError, match=message):
        coco_results.read_entries(tmp_path / "bad.json", data)


def test_a_mask_is_cut_at_the_image(data):
    assert pasted(np.array([-1, 2, 0, 3]), np.ones((2, 2), bool), (4, 3)).nonzero() == (
        pytest.approx([2, 3]), pytest.approx([0, 0]))


class Mixed:
    """A crowd, and an instance without a mask."""

    name, names, classes = "mixed", ["0"], ("__background__", "kite")
    mask = np.ones((10, 10), bool)

    def __len__(self):
        return 1

    def image_path(self, i):
        return "0.jpg"

    def annotation(self, i):
        boxes = np.array([(0, 0, 9, 9), (20, 0, 29, 9), (0, 20, 9, 29)], np.float32)
        return Annotation(boxes, np.ones(3, int), [self.mask, self.mask, None], (40, 40),
                          crowd=np.array([False, True, False]))


def test_crowds_and_instances_without_masks():
    boxes = np.array([[20, 0, 29, 9, 0.9], [20, 5, 29, 9, 0.8], [0, 20, 9, 29, 0.7],
                      [0, 0, 9, 9, 0.5]])
    masks = [Mixed.mask, Mixed.mask[:5], Mixed.mask, Mixed.mask]
    detections = [[(boxes[:0], [])], [(boxes, masks)]]
    found = coco_metric(Mixed(), detections)
    assert found["COCO mAP^r@[.5:.95]"] == pytest.approx(1)     # only the last one counts
    assert found["COCO mAP^b@[.5:.95]"] == pytest.approx(1)     # the one without a mask, too
    assert evaluate(Mixed(), detections, [0.5])["mAP^r@0.5"] == pytest.approx(1)
    assert load(coco_results.truth(Mixed())).anns[3].get("segmentation") is None


def test_coco_data_is_measured_against_its_own_file(data, tmp_path):
    """Numbers of images and categories, and boxes, as the file has them."""
    content = coco_results.truth(data)
    for image in content["images"]:
        image["id"] += 1000
    for category in content["categories"]:
        category["id"] *= 7
    for each in content["annotations"]:
        each["image_id"] += 1000
        each["category_id"] *= 7
        each["bbox"] = [v + 0.25 for v in each["bbox"]]
    (tmp_path / "gt.json").write_text(json.dumps(content))
    own = get_dataset(f"coco:{tmp_path / 'gt.json'}:{data.folder / 'img'}")
    assert coco_results.truth(own) == content | {"info": {"description": own.name}}
    entries = coco_results.result_entries(own, perfect(own), 0.4)
    assert {e["category_id"] % 7 for e in entries} == {0} and entries[0]["image_id"] > 1000
    found = coco_metric(own, perfect(own))
    assert found["COCO mAP^r@[.5:.95]"] == pytest.approx(1)
    assert 0.8 < found["COCO mAP^b@[.5:.95]"] <= 1


def test_an_instance_without_a_segmentation_in_the_file_is_no_obstacle(data, tmp_path):
    content = coco_results.truth(data)
    content["annotations"][0]["segmentation"] = []
    (tmp_path / "gt.json").write_text(json.dumps(content))
    own = get_dataset(f"coco:{tmp_path / 'gt.json'}:{data.folder / 'img'}")
    found = coco_metric(own, perfect(data))
    assert found["COCO mAP^r@[.5:.95]"] > 0.9 and found["COCO mAP^b@[.5:.95]"] > 0.8


def test_more_results_than_100_of_an_image_count_beside_the_standard_figures(tmp_path):
    """150 objects, all found: COCO's own figures see 100 of them."""
    boxes = [[10 * (k % 15), 10 * (k // 15), 8, 8] for k in range(150)]
    content = {"images": [{"id": 1, "file_name": "many.png", "height": 100, "width": 150}],
               "categories": [{"id": 1, "name": "dot"}],
               "annotations": [{"id": k, "image_id": 1, "category_id": 1, "bbox": box,
                                "area": 64, "iscrowd": 0} for k, box in enumerate(boxes, 1)]}
    (tmp_path / "many.json").write_text(json.dumps(content))
    data = get_dataset(f"coco:{tmp_path / 'many.json'}:{tmp_path}")
    found = np.array([[x, y, x + w - 1, y + h - 1, 1 - k / 1000]
                      for k, (x, y, w, h) in enumerate(boxes)])
    detections = [[(found[:0], np.zeros((0, 0, 0)))], [(found, np.zeros((150, 0, 0)))]]
    about = {"settings": {"TEST": {"MAX_PER_IMAGE": 200}}}
    plain, more = (figures_of(Saved(detections, TASKS["det"], None, each), data, 0.4, ("coco",))
                   for each in ({}, about))
    assert plain["COCO mAP^b@[.5:.95]"] == pytest.approx(67 / 101)         # recall ends at 2/3
    assert plain["COCO AR^b of 100"] == pytest.approx(2 / 3)
    assert more["COCO mAP^b@[.5:.95] of 200"] == more["COCO AR^b of 200"] == pytest.approx(1)
    np.testing.assert_equal({name: more[name] for name in plain}, plain)
    assert "COCO AP^b@[.5:.95] of 200" in results.table(more).splitlines()[0]
