"""VOC and COCO data as tools other than their own write them: kept where the meaning is clear."""

from __future__ import annotations

import codecs
import json
import logging

import cv2
import numpy as np
import pytest

from mnc.data.coco import COCO
from mnc.data.dataset import DataError, problems
from mnc.data.sbd import SBD
from mnc.data.voc import VOC

SIZE = "<size><width>60</width><height>40</height><depth>3</depth></size>"


def an_object(x1=10, y1=10, x2=30, y2=25, name="boat", more=""):
    return (f"<object><name>{name}</name>{more}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>")


@pytest.fixture
def voc(tmp_path):
    def make(objects=None, *, size=SIZE, names=("a",), ending=".jpg", listed=None, xml=None,
             classes=b"boat\nkite\n"):
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
        text = f"<annotation>{size}{an_object() if objects is None else objects}</annotation>"
        for name in names:
            path = tmp_path / "JPEGImages" / f"{name}.png"
            cv2.imwrite(str(path), np.full((40, 60, 3), 90, np.uint8))
            path.rename(path.with_suffix(ending))
            (tmp_path / "Annotations" / f"{name}.xml").write_bytes(xml or text.encode())
        lines = "".join(f"{name}\n" for name in names).encode() if listed is None else listed
        (tmp_path / "ImageSets/Main/train.txt").write_bytes(lines)
        (tmp_path / "classes.txt").write_bytes(classes)
        return VOC(tmp_path, "train")
    return make


@pytest.mark.parametrize("corners, box", [
    ((0, 0, 30, 25), [0, 0, 29, 24]), ((10, 10, 61, 41), [9, 9, 59, 39]),
    ((-3, 5, 20, 20), [0, 4, 19, 19]), ((30, 25, 10, 10), [9, 9, 29, 24]),
    ((30, 10, 10, 25), [9, 9, 29, 24]), ((10.5, 10, 30, 25), [9.5, 9, 29, 24])])
def test_boxes_are_cut_and_turned(voc, corners, box):
    data = voc(an_object(*corners))
    assert data.annotation(0).boxes.tolist() == [box] and not problems(data)


def test_a_box_wholly_outside_is_refused(voc):
    assert "is not inside the image" in problems(voc(an_object(70, 5, 90, 20)))[0]


def test_swapped_corners_are_counted(voc, caplog):
    data = voc(an_object(30, 25, 10, 10) * 2, names=("a", "b", "c"))
    with caplog.at_level(logging.WARNING, "mnc"):
        for i in (0, 0, 1, 2):
            data.annotation(i)
    counts = [record.args[1] for record in caplog.records if "swapped" in record.msg]
    assert counts == [2, 4]                      # said at the first, and as they double


@pytest.mark.parametrize("size", [
    "", "<size><width>0</width><height>0</height></size>", "<size><width/><height/></size>"])
def test_no_size_is_no_fault(voc, size):
    data = voc(size=size)
    assert data.annotation(0).size is None and not problems(data)


@pytest.mark.parametrize("text, difficult", [
    ("1", True), ("True", True), (" 1 ", True), ("1.0", True), ("0", False), ("Unspecified", False), ("", False)])
def test_difficult(voc, text, difficult):
    data = voc(an_object(more=f"<difficult>{text}</difficult>"))
    assert data.annotation(0).difficult.tolist() == [difficult]


@pytest.mark.parametrize("ending", [".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".tif", ".webp"])
def test_endings(voc, ending):
    assert not problems(voc(ending=ending))


@pytest.mark.parametrize("xml", [
    '<?xml version="1.0" encoding="gbk"?><annotation><folder>输</folder>%s</annotation>'.encode("gbk"),
    "<annotation><folder>é</folder>%s</annotation>".encode("latin-1"),
    b'\n<?xml version="1.0"?>\n<annotation>%s</annotation>',
    b'<annotation xmlns="http://host/voc">%s</annotation>',
    codecs.BOM_UTF8 + b"<annotation>%s</annotation>"])
def test_xml(voc, xml):
    data = voc(xml=xml.replace(b"%s", (SIZE + an_object()).encode()))
    assert data.annotation(0).boxes.tolist() == [[9, 9, 29, 24]]


@pytest.mark.parametrize("listed, names", [
    (codecs.BOM_UTF8 + b"a\n", ["a"]), (b"a\r\nb\r\n", ["a", "b"]), (b"a  1\nb -1\n", ["a", "b"]),
    (b"a\t1\n", ["a"]), (b"a.jpg\n", ["a"]), ("a\n".encode("utf-16"), ["a"]),
    ("café\n".encode("latin-1"), ["café"])])
def test_lists(voc, listed, names):
    data = voc(names=("a", "b", "café"), listed=listed)
    assert data.names == names and not problems(data)


def test_a_name_that_looks_flagged_is_a_name(voc):
    assert voc(names=("a 1",), listed=b"a 1\n").names == ["a 1"]


@pytest.mark.parametrize("line", ["/etc/passwd", "../a", "x/../../a"])
def test_names_of_lists_stay_inside(voc, tmp_path, line):
    with pytest.raises(DataError, match=r"train.txt, line 2: .*(absolute|leaves)"):
        voc(listed=f"a\n{line}\n".encode())
    (tmp_path / "val.txt").write_text(line)
    with pytest.raises(DataError, match=r"val.txt, line 1: .*(absolute|leaves)"):
        SBD(tmp_path, "val")


@pytest.mark.parametrize("classes", [
    codecs.BOM_UTF8 + b"boat\nkite\n", b"boat\r\nkite\r\n", "boat\nkite\n".encode("utf-16")])
def test_classes(voc, classes):
    assert voc(classes=classes).classes == ("__background__", "boat", "kite")


# --- COCO ----------------------------------------------------------------------------------------

SQUARE = [10, 10, 30, 10, 30, 25, 10, 25]


@pytest.fixture
def coco(tmp_path):
    def make(image=None, **changes):
        (tmp_path / "images").mkdir(exist_ok=True)
        about = {"id": 1, "file_name": "a.png", "height": 40, "width": 60} | (image or {})
        each = {"id": 1, "image_id": about["id"], "category_id": 1, "segmentation": [SQUARE],
                "bbox": [10, 10, 20, 15], "area": 300, "iscrowd": 0} | changes
        (tmp_path / "a.json").write_text(json.dumps({
            "images": [about], "categories": [{"id": 1, "name": "boat"}], "annotations": [each]}))
        return COCO(tmp_path / "a.json", tmp_path / "images")
    return make


@pytest.mark.parametrize("changes", [
    {"iscrowd": "0"}, {"iscrowd": "false"}, {"iscrowd": None}, {"image_id": "1"},
    {"category_id": "1"}, {"area": "300"}, {"area": None}, {"segmentation": SQUARE},
    {"segmentation": [[10, 10, 20, 15]]}, {"area": float("nan")}, {"segmentation": [[], SQUARE]},
    {"segmentation": [[10, 10], [30, 10], [30, 25], [10, 25]]}])
def test_what_is_clear_is_kept(coco, changes):
    found = coco(**changes).annotation(0)
    assert found.boxes.tolist() == [[10, 10, 29, 24]] and found.areas.tolist() == [300]
    assert found.masks[0].sum() == 300 and not found.crowd[0]


def test_text_says_crowd_too(coco):
    assert coco(iscrowd="1").annotation(0).crowd[0] and coco(iscrowd="true").annotation(0).crowd[0]


@pytest.mark.parametrize("drawn", [[[]], [], None, {}, ""])
def test_boxes_alone(coco, drawn):
    found = coco(segmentation=drawn).annotation(0)
    assert found.boxes.tolist() == [[10, 10, 29, 24]] and found.masks == [None]


@pytest.mark.parametrize("changes, why", [
    ({"iscrowd": "maybe"}, "an iscrowd that is neither 0 nor 1"), ({"area": [3]}, "no number"),
    ({"segmentation": "[[1]]"}, "neither polygons nor RLE"), ({"image_id": "b"}, "of an image that"),
    ({"segmentation": [[5, 5, 6, 6]]}, "that does not explain them"),
    ({"segmentation": [[*SQUARE[:-1], None]]}, "no numbers of pixels"),
    ({"segmentation": [], "bbox": [float("nan")] * 4}, "smaller than a pixel or outside")])
def test_what_is_not_is_left_out_with_its_reason(coco, caplog, changes, why):
    with caplog.at_level(logging.WARNING, "mnc"):
        assert not len(coco(**changes).annotation(0).labels)
    assert why in caplog.text


def test_large_ids(coco):
    data = coco(image={"id": 2**63 + 5})
    assert data.image_ids == [2**63 + 5] and len(data.annotation(0).labels) == 1
    from mnc.evaluation.coco import coco_metric

    truth = data.annotation(0)
    nothing, found = (np.zeros((0, 5)), []), (np.c_[truth.boxes, [0.9]], truth.masks)
    figures = coco_metric(data, [[nothing], [found]])
    assert figures["COCO mAP^r@.5"] == figures["COCO mAP^b@.5"] == pytest.approx(1)


@pytest.mark.parametrize("name, why", [
    ("/etc/passwd", "absolute"), ("../../etc/passwd", "leaves the folder"), ("a\0b", "no name"),
    (5, "must be text"), (None, "must be text")])
def test_names_of_images(coco, name, why):
    with pytest.raises(DataError, match=f'entry 0 of "images": file_name .*{why}'):
        coco(image={"file_name": name})
