"""Data in the VOC layout."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mnc.data import DataError, get_dataset
from mnc.data.classes import VOC_CLASSES
from mnc.data.voc import VOC
from small_data import turned, voc_palette, write_palette_png, write_voc

TWO = [("cat", 3, 2, 7, 4, 0), ("dog", 1, 1, 11, 7, 1)]
OWNER = np.zeros((7, 11), np.uint8)
OWNER[1:4, 2:7] = 1
OWNER[3:6, 5:10] = 2
OWNER[0] = 255


@pytest.fixture
def folder(tmp_path):
    write_voc(tmp_path / "mine", "a", TWO)
    write_voc(tmp_path / "mine", "b", [])
    return tmp_path / "mine"


def draw(folder, part, name, index):
    write_palette_png(folder / part / f"{name}.png", index, voc_palette())


def test_boxes_count_from_0(folder):
    dataset = VOC(folder, "train")
    assert dataset.names == ["a", "b"] and dataset.classes == VOC_CLASSES
    found = dataset.annotation(0)
    assert found.boxes.tolist() == [[2, 1, 6, 3], [0, 0, 10, 6]] and found.boxes.dtype == np.float32
    assert [dataset.classes[k] for k in found.labels] == ["cat", "dog"]
    assert found.difficult.tolist() == [False, True] and not found.crowd.any()
    assert found.masks is None and found.size == (7, 11)
    assert dataset.annotation(1).boxes.shape == (0, 4) and dataset.image(1).shape == (7, 11, 3)


def test_instances_from_palette_pngs(folder):
    draw(folder, "SegmentationObject", "a", OWNER)
    classes = np.where(OWNER == 1, 12, np.where(OWNER == 2, 15, OWNER))
    draw(folder, "SegmentationClass", "a", classes)
    found = VOC(folder, "train", masks=True).annotation(0)
    assert found.labels.tolist() == [12, 15]
    assert found.boxes.tolist() == [[2, 1, 6, 3], [5, 3, 9, 5]] and found.size == (7, 11)
    assert found.masks[0].tolist() == [[True] * 5, [True] * 5, [True] * 3 + [False] * 2]
    assert VOC(folder, "train", masks=True).annotation(1).masks is None      # no PNG of b
    assert VOC(folder, "train").annotation(0).masks is None


def test_classes_in_the_order_of_the_xml_and_grey_maps(folder):
    (folder / "SegmentationObject").mkdir()
    cv2.imwrite(str(folder / "SegmentationObject" / "a.png"), OWNER)
    dataset = get_dataset(f"voc:{folder}:train")
    assert [dataset.classes[k] for k in dataset.annotation(0).labels] == ["cat", "dog"]
    cv2.imwrite(str(folder / "SegmentationObject" / "b.png"), OWNER)
    with pytest.raises(DataError, match="counts to 2, but .*b.xml has 0 objects"):
        dataset.annotation(1)
    cv2.imwrite(str(folder / "SegmentationObject" / "b.png"), np.full((7, 11, 3), 9, np.uint8))
    with pytest.raises(DataError, match="b.png: has colours, but no palette"):
        dataset.annotation(1)


def test_the_palette_is_the_files_own(folder):
    palette = np.zeros((256, 3), np.uint8)
    palette[:3, 1] = 50, 9, 200
    palette[255] = 255
    write_palette_png(folder / "SegmentationObject" / "a.png", OWNER, palette)
    assert VOC(folder, "train", masks=True).annotation(0).boxes[0].tolist() == [2, 1, 6, 3]


def test_own_classes(folder):
    (folder / "classes.txt").write_text("dog\ncat\n")
    dataset = VOC(folder, "train")
    assert dataset.classes == ("__background__", "dog", "cat")
    assert dataset.annotation(0).labels.tolist() == [2, 1]
    (folder / "classes.txt").write_text("dog\n")
    with pytest.raises(DataError, match='a.xml: class "cat" is not one of dog; .*classes.txt'):
        VOC(folder, "train").annotation(0)


@pytest.mark.parametrize(("text", "message"), [
    ("<annotation>", "not readable XML"),
    ("<annotation><object><name>cat</name></object></annotation>", "object 1 has no bndbox"),
    ("<annotation><object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object></annotation>",
     "<bndbox> lacks <ymin>"),
    ("<annotation><object><bndbox><xmin>one</xmin></bndbox></object></annotation>",
     "xmin must be a number, got 'one'"),
    ("<annotation><size><width>4</width></size></annotation>", "<size> lacks <height>"),
    ("<annotation><size><width>4</width><height>nan</height></size></annotation>",
     "height must be a number of pixels, got nan"),
    ("<annotation><size><width>inf</width><height>3</height></size></annotation>",
     "width must be a number of pixels, got inf"),
])
def test_a_bad_file_is_named(folder, text, message):
    (folder / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(DataError, match=f"b.xml: {message}"):
        VOC(folder, "train").annotation(1)
    (folder / "Annotations" / "b.xml").unlink()
    with pytest.raises(DataError, match="b.xml: no such annotation file"):
        VOC(folder, "train").annotation(1)


def test_lists(folder, tmp_path):
    with pytest.raises(DataError, match="val.txt: no such list; there are: train$"):
        VOC(folder, "val")
    with pytest.raises(DataError, match="no such folder; a VOC folder holds"):
        VOC(tmp_path / "nowhere", "val")
    (folder / "ImageSets" / "Segmentation").mkdir()
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    assert len(VOC(folder, "train", masks=True)) == 1 and len(VOC(folder, "train")) == 2


def test_the_places_of_the_real_data(folder, tmp_path):
    for year in ("2007", "2012"):
        (tmp_path / f"VOCdevkit{year}").mkdir()
        (tmp_path / f"VOCdevkit{year}" / f"VOC{year}").symlink_to(folder)
    both = get_dataset("voc_2007_train+voc_2012_segobj_train", tmp_path)
    assert both.names == ["a", "b", "a", "b"]
    assert get_dataset("voc_2012_train", tmp_path).name == "voc_2012_train"
    with pytest.raises(DataError, match="VOC2007: no such .*fetch_voc.sh 2007"):
        get_dataset("voc_2007_test", tmp_path / "elsewhere")


def test_unions_need_the_same_classes(folder, tmp_path):
    write_voc(tmp_path / "other", "a", [])
    (tmp_path / "other" / "classes.txt").write_text("kite\n")
    with pytest.raises(DataError, match="cannot be joined; .* has aeroplane.* has kite"):
        get_dataset(f"voc:{folder}:train+voc:{tmp_path / 'other'}:train")


def test_a_photograph_is_turned_as_it_was_annotated(folder):
    path = folder / "JPEGImages" / "a.jpg"
    path.write_bytes(turned(path.read_bytes()))
    assert VOC(folder, "train").image(0).shape == (7, 11, 3)
    (folder / "Annotations" / "a.xml").unlink()             # of a test set, for example
    assert VOC(folder, "train").image(0).shape == (11, 7, 3)
