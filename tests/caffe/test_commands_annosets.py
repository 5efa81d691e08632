"""convert_annoset, create_annoset and get_image_size."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest

from annotated_sets import label_map, write_voc
from caffe.commands import convert_annoset, create_annoset, get_image_size
from caffe.data.images import record_of
from caffe.data.lmdb_file import LmdbFile
from caffe.proto import caffe_pb2

IMAGE = (np.arange(10 * 20 * 3) % 251).reshape(10, 20, 3).astype(np.uint8)


@pytest.fixture
def voc(tmp_path):
    """A folder with two images, three objects and a label map; a list of them."""
    lines = [write_voc(tmp_path, "first", IMAGE, [("dog", (2, 1, 12, 6), False),
                                                  ("cat", (0, 0, 20, 10), True),
                                                  ("dog", (5, 5, 10, 10), False)]),
             write_voc(tmp_path, "second", IMAGE[:, :16], [])]
    (tmp_path / "list.txt").write_text("".join(lines))
    label_map(tmp_path / "map.prototxt", ["cat", "dog"])
    return tmp_path


def convert(folder, *flags):
    target = folder / f"db{len(list(folder.iterdir()))}"
    status = convert_annoset.main(["--anno_type=detection", *flags,
                                   f"--label_map_file={folder}/map.prototxt", f"{folder}/",
                                   f"{folder}/list.txt", str(target)])
    assert status == 0
    return [caffe_pb2.AnnotatedDatum.FromString(value) for value in LmdbFile(str(target)).values()]


def boxes(annotated):
    return {group.group_label: [(a.instance_id, *np.round([a.bbox.xmin, a.bbox.ymin, a.bbox.xmax,
                                                           a.bbox.ymax], 6), a.bbox.difficult)
                                for a in group.annotation] for group in annotated.annotation_group}


def test_boxes_of_voc_are_pixels_by_size_grouped_by_label(voc):
    first, second = convert(voc)
    assert first.type == caffe_pb2.AnnotatedDatum.BBOX and second.HasField("type")
    assert first.datum.label == -1
    assert boxes(first) == {2: [(0, 0.1, 0.1, 0.6, 0.6, False), (1, 0.25, 0.5, 0.5, 1, False)],
                            1: [(0, 0, 0, 1, 1, True)]}
    assert boxes(second) == {}
    np.testing.assert_array_equal(record_of(first.datum, "").image, IMAGE.transpose(2, 0, 1))


def test_encoded_images_of_the_wanted_kind_go_in_byte_for_byte(voc):
    first, _ = convert(voc, "--encode_type=png")
    assert first.datum.encoded
    assert first.datum.data == (voc / "JPEGImages/first.png").read_bytes()
    jpeg, _ = convert(voc, "--encode_type=jpg")
    assert jpeg.datum.data[:2] == b"\xff\xd8"


@pytest.mark.parametrize("flags, size", [
    (("--resize_height=5", "--resize_width=7"), (5, 7)), (("--min_dim=30",), (30, 60)),
    (("--max_dim=10",), (5, 10)), (("--min_dim=30", "--max_dim=40"), (20, 40)),
    (("--min_dim=8", "--resize_height=5", "--resize_width=7"), (10, 20))])
def test_sizes(voc, flags, size):
    first, _ = convert(voc, *flags)
    assert (first.datum.height, first.datum.width) == size
    assert boxes(first)[1] == [(0, 0, 0, 1, 1, True)], "boxes are shares: resizing changes none"


def test_annotations_in_json_and_text(voc):
    (voc / "a.json").write_text(json.dumps({
        "image": {"height": 10, "width": 20},
        "annotation": [{"category_id": "dog", "bbox": [2, 1, 10, 5], "iscrowd": 1}]}))
    (voc / "a.txt").write_text("2 2 1 12 6\n")
    for kind, difficult in (("json", True), ("txt", False)):
        (voc / "list.txt").write_text(f"JPEGImages/first.png a.{kind}\n")
        first, = convert(voc, f"--label_type={kind}")
        assert boxes(first) == {2: [(0, 0.1, 0.1, 0.6, 0.6, difficult)]}


def test_classification_keeps_the_label(voc):
    (voc / "list.txt").write_text("JPEGImages/first.png 7\n")
    target = voc / "db"
    assert convert_annoset.main([f"{voc}/", f"{voc}/list.txt", str(target)]) == 0
    value, = LmdbFile(str(target)).values()
    first = caffe_pb2.AnnotatedDatum.FromString(value)
    assert not first.HasField("type") and first.datum.label == 7


def test_what_is_missing_is_left_out_with_a_warning(voc, capfd):
    (voc / "list.txt").write_text("JPEGImages/first.png Annotations/gone.xml\n"
                                  "JPEGImages/gone.png Annotations/first.xml\n")
    first, = convert(voc)
    assert boxes(first) == {}
    said = capfd.readouterr().err
    assert "gone.xml: no such annotation" in said and "Failed to read" in said


@pytest.mark.parametrize("spoil, said", [
    (lambda f: (f / "Annotations/first.xml").write_text("<annotation><object><name>dgo</name>"
     "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object>"
     "</annotation>"), 'first.xml: .* the label map has no "dgo"; did you mean "dog"'),
    (lambda f: (f / "Annotations/first.xml").write_text("<annotation><obj"), "first.xml: not an"),
    (lambda f: (f / "list.txt").write_text("a b c\n"), "list.txt:1: takes IMAGE ANNOTATION"),
    (lambda f: (f / "map.prototxt").write_text("item { nme: 'x' }"), "not a label map"),
])
def test_errors_name_the_file(voc, spoil, said, capfd):
    spoil(voc)
    assert convert_annoset.main(["--anno_type=detection", f"--label_map_file={voc}/map.prototxt",
                                 f"{voc}/", f"{voc}/list.txt", f"{voc}/db"]) == 1
    assert re.search(said, capfd.readouterr().err)
    assert not (voc / "db").exists()


def test_create_annoset_links_the_database_and_makes_it_anew(voc):
    words = ["--anno-type=detection", f"--label-map-file={voc}/map.prototxt", "--check-label",
             "--encode-type=jpg", "--encoded", str(voc), f"{voc}/list.txt",
             f"{voc}/lmdb/small_lmdb", f"{voc}/examples/small"]
    assert create_annoset.main(words) == 0
    link = voc / "examples/small/small_lmdb"
    assert len(list(LmdbFile(str(link)).values())) == 2
    assert create_annoset.main(words) == 1
    (voc / "list.txt").write_text("JPEGImages/first.png Annotations/first.xml\n")
    assert create_annoset.main(["--redo", *words]) == 0
    assert len(list(LmdbFile(str(link)).values())) == 1


def test_get_image_size(voc):
    assert get_image_size.main([f"{voc}/", f"{voc}/list.txt", f"{voc}/sizes.txt"]) == 0
    assert (voc / "sizes.txt").read_text() == "first 10 20\nsecond 10 16\n"
    (voc / "ids.txt").write_text("first 7\nsecond 9\n")
    assert get_image_size.main([f"--name_id_file={voc}/ids.txt", f"{voc}/", f"{voc}/list.txt",
                                f"{voc}/sizes.txt"]) == 0
    assert (voc / "sizes.txt").read_text() == "7 10 20\n9 10 16\n"


def test_a_jpeg_in_gray_is_compressed_again(voc):
    cv2.imwrite(str(voc / "JPEGImages/first.jpg"), IMAGE)
    (voc / "list.txt").write_text("JPEGImages/first.jpg Annotations/first.xml\n")
    first, = convert(voc, "--gray", "--encoded")
    assert record_of(first.datum, "").image.shape == (1, 10, 20)
