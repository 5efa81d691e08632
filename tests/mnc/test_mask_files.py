"""Masks as images, in the layouts that people have them in."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from mnc.data import DataError, get_dataset, problems
from small_data import voc_palette, write_palette_png

SIZE = (20, 30)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def photo(path):
    save(path, np.full((*SIZE, 3), 80, np.uint8))


def mask(*boxes, dtype=np.uint8, values=None):
    """Boxes x1 y1 x2 y2 with the values 255, or these."""
    found = np.zeros(SIZE, dtype)
    for (x1, y1, x2, y2), value in zip(boxes, values or [255] * len(boxes)):
        found[y1:y2 + 1, x1:x2 + 1] = value
    return found


ONE, TWO = (2, 3, 7, 6), (12, 5, 19, 8)


def boxes(dataset, i=0):
    return sorted(map(tuple, dataset.annotation(i).boxes.astype(int).tolist()))


def kaggle(folder):
    for name in ("0a", "0b"):
        photo(folder / f"stage1_train/{name}/images/{name}.png")
        save(folder / f"stage1_train/{name}/masks/1.png", mask(ONE))
        save(folder / f"stage1_train/{name}/masks/2.png", mask(TWO))
    (folder / "stage1_train/__MACOSX").mkdir()
    return folder / "stage1_train"


def ids(folder, **changes):
    photo(folder / "images/a.jpg")
    save(folder / "masks/a.png", mask(ONE, TWO, values=[1, 2], **changes))
    return folder


def sixteen_bits(folder):
    photo(folder / "images/a.jpg")
    save(folder / "masks/a.png", mask(ONE, TWO, values=[300, 1000], dtype=np.uint16))
    return folder


def colours(folder):
    photo(folder / "img/a.jpg")
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[3:7, 2:8], pixels[5:9, 12:20] = (0, 0, 255), (255, 0, 0)
    save(folder / "labels/a.png", pixels)
    return folder


def palette(folder):
    photo(folder / "images/a.jpg")
    write_palette_png(folder / "masks/a.png", mask(ONE, TWO, values=[1, 2]), voc_palette())
    return folder


def numbered(folder):
    photo(folder / "images/a_1.jpg")
    save(folder / "masks/a_1_0.png", mask(ONE))
    save(folder / "masks/a_1_1.png", mask(TWO))
    return folder


def folders(folder):
    photo(folder / "images/a.jpg")
    save(folder / "masks/a/first.png", mask(ONE))
    save(folder / "masks/a/x9.png", mask(TWO))
    return folder


def binary(folder):
    photo(folder / "images/a.jpg")
    save(folder / "masks/a.png", mask(ONE, TWO))
    return folder


def suffixed(folder):
    photo(folder / "images/a.jpg")
    save(folder / "masks/a_mask.png", mask(ONE, TWO, values=[1, 2]))
    return folder


@pytest.mark.parametrize("layout", [kaggle, ids, sixteen_bits, colours, palette, numbered, folders,
                                    binary, suffixed])
def test_layouts(layout, tmp_path, caplog):
    dataset = get_dataset(f"masks:{layout(tmp_path)}")
    assert dataset.classes == ("__background__", "object") and not problems(dataset)
    for i in range(len(dataset)):
        assert boxes(dataset, i) == [ONE, TWO]
    assert ("each connected piece" in caplog.text) == (layout is binary)


def test_folders_of_classes(tmp_path):
    photo(tmp_path / "images/a.jpg")
    save(tmp_path / "masks/kite/a.png", mask(ONE, TWO, values=[1, 2]))
    save(tmp_path / "masks/boat/a/1.png", mask(TWO))
    dataset = get_dataset(f"masks:{tmp_path}")
    assert dataset.classes[1:] == ("boat", "kite")
    assert sorted(dataset.annotation(0).labels.tolist()) == [1, 2, 2]


def test_one_instance_in_two_pieces_stays_one_among_ids(tmp_path):
    photo(tmp_path / "images/b.jpg")
    ids(tmp_path)
    save(tmp_path / "masks/b.png", mask(ONE, TWO, values=[1, 1]))
    dataset = get_dataset(f"masks:{tmp_path}")
    assert boxes(dataset, 1) == [(2, 3, 19, 8)]


def test_the_class_may_have_a_name(tmp_path):
    assert get_dataset(f"masks:{ids(tmp_path)}", classes=["nucleus"]).classes[1:] == ("nucleus",)


def test_what_cannot_be_used(tmp_path, caplog):
    ids(tmp_path)
    for name in ("none", "small", "cut"):
        photo(tmp_path / f"images/{name}.jpg")
    save(tmp_path / "masks/small.png", np.ones((5, 5), np.uint8))
    (tmp_path / "masks/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n12")
    with caplog.at_level(logging.INFO):
        dataset = get_dataset(f"masks:{tmp_path}")
    assert dataset.names == ["a"]
    for part in ("1 images without masks are left out", "none.jpg", "2 images whose masks cannot be used",
                 "5 x 5 pixels, the image has 30 x 20", "cut.png"):
        assert part in caplog.text, part


def test_empty_masks_are_instances_without_a_pixel(tmp_path, caplog):
    folder = kaggle(tmp_path)
    save(folder / "0a/masks/3.png", mask())
    assert boxes(get_dataset(f"masks:{folder}")) == [ONE, TWO]
    assert "1 with a mask without a pixel (0a/images/0a.png: 3.png)" in caplog.text


def test_no_masks(tmp_path):
    photo(tmp_path / "images/a.jpg")
    with pytest.raises(DataError, match="no images with masks: it needs images/NAME.png and"):
        get_dataset(f"masks:{tmp_path}")
