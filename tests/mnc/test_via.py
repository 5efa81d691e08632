"""VIA's files: projects, region JSON and CSV of version 1 and 2; projects of version 3."""

from __future__ import annotations

import csv
import io
import json
import logging
import re

import cv2
import numpy as np
import pytest

from mnc.data import DataError, get_dataset, problems

SHAPES = [{"name": "polygon", "all_points_x": [2, 8, 8, 2], "all_points_y": [3, 3, 7, 7]},
          {"name": "rect", "x": 12, "y": 5, "width": 8, "height": 4},
          {"name": "circle", "cx": 10, "cy": 14, "r": 4},
          {"name": "ellipse", "cx": 22, "cy": 14, "rx": 4, "ry": 2},
          {"name": "ellipse", "cx": 22, "cy": 14, "rx": 4, "ry": 2, "theta": np.pi / 2}]
BOXES = [[2, 3, 7, 6], [12, 5, 19, 8], [6, 10, 13, 17], [18, 12, 25, 15], [20, 10, 23, 17]]


def regions(attributes):
    return [{"shape_attributes": each, "region_attributes": about}
            for each, about in zip(SHAPES, attributes)]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.full((20, 30, 3), 80, np.uint8))
    return tmp_path


def save(folder, content, name="via.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return f"via:{folder / name}:{folder}"


def records(given, **more):
    return {"a.png123": {"filename": "a.png", "size": 123, "regions": given, "file_attributes": {}},
            "b.png9": {"filename": "b.png", "size": 9, "regions": [], "file_attributes": {}}, **more}


KINDS = [{"kind": "x"}, {"kind": "y"}, {"kind": "x"}, {"kind": "y"}, {"kind": "x"}]


def as_csv(given, hash_sign=""):
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([f"{hash_sign}filename", "file_size", "file_attributes", "region_count",
                    "region_id", "region_shape_attributes", "region_attributes"])
    for k, each in enumerate(given):
        table.writerow(["a.png", 123, "{}", len(given), k, json.dumps(each["shape_attributes"]),
                        json.dumps(each["region_attributes"])])
    table.writerow(["b.png", 9, "{}", 0, 0, "{}", "{}"])
    return text.getvalue()


@pytest.mark.parametrize("write", [
    lambda f, given: save(f, records(given)),
    lambda f, given: save(f, {"_via_settings": {}, "_via_img_metadata": records(given),
                              "_via_attributes": {"region": {}}, "_via_data_format_version": "2.0.10"}),
    lambda f, given: save(f, {"a.png123": {"fileref": "", "size": 123, "filename": "a.png",
                                           "base64_img_data": "", "file_attributes": {},
                                           "regions": dict(enumerate(given))},
                              "b": {"filename": "b.png", "regions": {}}}),          # version 1
    lambda f, given: save(f, as_csv(given), "via.csv"),
    lambda f, given: save(f, as_csv(given, "#"), "via.csv")])
def test_every_kind_of_file(folder, write):
    dataset = get_dataset(write(folder, regions(KINDS)))
    assert dataset.classes == ("__background__", "x", "y") and dataset.names == ["a", "b"]
    found = dataset.annotation(0)
    assert found.boxes.astype(int).tolist() == BOXES and found.labels.tolist() == [1, 2, 1, 2, 1]
    assert len(dataset.annotation(1).labels) == 0 and not problems(dataset)


@pytest.mark.parametrize("attributes, classes", [
    ([{"id": "7", "species": "fox"}] * 4 + [{"id": "8", "species": "cat"}], ("cat", "fox")),
    ([{"note": ""}, {"kind": "x"}, {"kind": "y", "note": "z"}, {"kind": "x"}, {"kind": "x"}], ("x", "y")),
    ([{"Label": {"fox": True, "cat": False}}] * 5, ("fox",)),
    ([{}] * 5, ("object",)), ([{"Class": 3}] * 5, ("3",))])
def test_which_attribute_is_the_class(folder, attributes, classes):
    assert get_dataset(save(folder, records(regions(attributes)))).classes[1:] == classes


def test_what_cannot_be_used_is_counted(folder, caplog):
    broken = [{"shape_attributes": each, "region_attributes": {"kind": "x"}} for each in (
        {"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]},
        {"name": "polygon", "all_points_x": [1, 2, 5], "all_points_y": [1, 2]},
        {"name": "polygon", "all_points_x": [1, 5], "all_points_y": [1, 2]}, {"name": "blob"}, None,
        {"name": "rect", "x": None, "y": 1, "width": 3, "height": 3})]
    given = regions([*KINDS[:4], {}]) + broken
    name = save(folder, records(given, gone={"filename": "gone.jpg", "regions": []}))
    with caplog.at_level(logging.WARNING):
        assert len(get_dataset(name).annotation(0).labels) == 4
    assert len(caplog.records) == 1
    for part in ("8 annotations", "1 lines and points", "4 regions that are damaged",
                 "a.png: region 7", "1 with polygons of fewer", '1 regions without a "kind"',
                 "gone.jpg"):
        assert part in caplog.text, part


@pytest.mark.parametrize("content, message", [
    ({"images": [], "categories": []}, "a COCO file, as VIA exports one.*coco:"),
    ({"attribute": {}, "file": [], "view": {}, "metadata": {}}, "via.json: a damaged project of VIA 3"),
    ({"attribute": {}, "file": {"1": {"fname": "a.mp4", "type": 4}}, "view": {}, "metadata": {}},
     "a project of VIA 3 without an image"),
    ({"a": 1}, "no file of VIA's"), ([], "no file of VIA's"), ("{", "not readable JSON")])
def test_other_files_are_refused_in_words(folder, content, message):
    with pytest.raises(DataError, match=message):
        get_dataset(save(folder, content))


def project(shapes, files=None, view=None, attribute=None):
    """Of VIA 3: shapes are (xy, av) in view 1."""
    known = {"1": {"aname": "id", "anchor_id": "FILE1_Z0_XY1", "type": 1, "options": {}},
             "2": {"aname": "kind", "anchor_id": "FILE1_Z0_XY1", "type": 4, "desc": "",
                   "options": {"0": "x", "7": "y"}, "default_option_id": ""}}
    return {"project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1",
                        "vid_list": ["1", "2"]},
            "config": {"ui": {}}, "attribute": attribute or known,
            "file": files or {str(k): {"fid": k, "fname": name, "type": 2, "loc": 1, "src": ""}
                              for k, name in ((1, "a.png"), (2, "b.png"))},
            "view": view or {"1": {"fid_list": [1]}, "2": {"fid_list": [2]}},
            "metadata": {f"1_{k}": {"vid": "1", "flg": 0, "z": [], "xy": xy, "av": av}
                         for k, (xy, av) in enumerate(shapes)}}


OF_VIA_3 = [[7, 2, 3, 8, 3, 8, 7, 2, 7], [2, 12, 5, 8, 4], [3, 10, 14, 4], [4, 22, 14, 4, 2],
            [8, 12, 6, 15, 5, 20, 7, 14, 9], [9, 14, 14, 10, 18, 10, 10]]


def test_projects_of_version_3(folder, caplog):
    shapes = [(xy, {"2": "70"[k % 2], "1": str(k)}) for k, xy in enumerate(OF_VIA_3)]
    name = save(folder, project([*shapes, ([], {"1": "of the image"})]))
    dataset = get_dataset(name)
    assert dataset.classes[1:] == ("x", "y") and dataset.names == ["a", "b"]
    found = dataset.annotation(0)
    assert found.boxes.astype(int).tolist() == [*BOXES[:4], BOXES[1], BOXES[2]]
    assert found.labels.tolist() == [2, 1, 2, 1, 2, 1]
    assert len(dataset.annotation(1).labels) == 0 and not problems(dataset)
    with pytest.raises(DataError, match=re.escape(f"write {name}")):
        get_dataset(str(folder / "via.json"))


def test_boxes_to_tick_and_words_of_version_3(folder):
    kinds = {"k": {"aname": "kind", "type": 2, "options": {"a": "red", "b": "blue"}}}
    ticked = project([(OF_VIA_3[0], {"k": "b"}), (OF_VIA_3[1], {"k": "a,b"})], attribute=kinds)
    assert get_dataset(save(folder, ticked)).classes[1:] == ("blue", "red blue")
    words = project([(OF_VIA_3[0], {"k": "fox, red"})], attribute={"k": {"aname": "kind", "type": 1}})
    assert get_dataset(save(folder, words)).classes[1:] == ("fox, red",)


def test_what_cannot_be_used_of_version_3_is_counted(folder, caplog):
    broken = [[1, 3, 4], [5, 1, 1, 5, 5], [6, 1, 1, 5, 5, 9, 9], [2, 1, 2, 3], [7, 1, 2, 3], [11, 4],
              [9, 1, 1, 2, 2, 3, 3], ["x"], [3, 1, 1, None]]
    content = project([(xy, {"2": "0"}) for xy in [OF_VIA_3[0], *broken]] + [(OF_VIA_3[1], {"2": "5"})])
    content["metadata"] |= {"pair": {"vid": "3", "xy": OF_VIA_3[0], "av": {"2": "0"}}, "none": None}
    content["view"]["3"] = {"fid_list": [1, 2]}
    with caplog.at_level(logging.WARNING):
        assert len(get_dataset(save(folder, content)).annotation(0).labels) == 1
    assert len(caplog.records) == 1
    for part in ("3 lines and points", "6 regions that are damaged", '1 regions without a "kind"',
                 "2 regions that are on no image, or on one of several (pair, none)"):
        assert part in caplog.text, part


def test_a_table_of_version_3(folder):
    text = "# Exported using VGG Image Annotator\n# CSV_HEADER = metadata_id,file_list,flags\n"
    with pytest.raises(DataError, match="a table of VIA 3.*save the project there"):
        get_dataset(save(folder, text, "via.csv"))


def test_a_table_of_something_else(folder):
    with pytest.raises(DataError, match="no table of VIA's: it needs columns filename, .*; it has a, b"):
        get_dataset(save(folder, "a,b\n1,2\n", "via.csv"))


def test_the_name_may_leave_the_folder_out(folder):
    save(folder, records(regions(KINDS)))
    assert len(get_dataset(f"via:{folder}/via.json")) == 2


def test_a_path_alone_is_told_its_form(folder):
    name = save(folder, records(regions(KINDS)))
    for path in (folder, folder / "via.json"):
        with pytest.raises(DataError, match=re.escape(f"write {name}")):
            get_dataset(str(path))


def test_real_photographs(real_material):
    folder = real_material / "data/kudzu/train"
    dataset = get_dataset(f"via:{folder}/via_region_data.json:{folder}")
    assert len(dataset) == 24 and dataset.classes[1:] == ("kudzu",)
    assert sum(len(dataset.annotation(i).labels) for i in range(24)) == 520
    assert dataset.image(0).shape[:2] == dataset.annotation(0).size
