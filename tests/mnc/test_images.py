"""Reading and preparing images."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from mnc.data import DataError
from mnc.data.images import image_blob, prepare_image, read_image, scale_for
from small_data import turned

GOLDEN = Path(__file__).parent.parent / "golden" / "mnc_data.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as archive:
        return {key: archive[key] for key in archive if key.startswith(("prep_", "cv2_"))}


@pytest.mark.parametrize(("want", "scale", "size"), [
    ("target_80_max_110", "scale1", (80, 110)), ("target_40_max_1000", "scale2", (40, 1000))])
def test_prepared_as_by_the_reference(golden, want, scale, size):
    got, factor = prepare_image(golden["prep_image/image_bgr"], golden["prep_image/means"], *size)
    want = golden[f"prep_image/{want}"]
    assert factor == golden[f"prep_image/{scale}"]
    assert got.dtype == np.float32 and got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("means", [np.array([[[102.9801, 115.9465, 122.7717]]]), np.array([1, 2.5, 3], np.float32),
                                   [7, 8, 9], 128.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_bytes_and_numbers_are_prepared_alike(means, dtype):
    """A window of a larger image, as tiles are."""
    image = np.random.randint(0, 256, (40, 60, 3), np.uint8)[3:33, 5:45]
    got, _ = prepare_image(image.astype(dtype), means, 60, 1000)
    plain = (image.astype(np.float32) - means).astype(np.float32)
    np.testing.assert_array_equal(got, cv2.resize(plain, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR))


def test_a_large_photograph_is_prepared_in_the_memory_of_its_numbers():
    image = np.zeros((1500, 2000, 3), np.uint8)
    tracemalloc.start()
    prepare_image(image, np.array([[[102.9801, 115.9465, 122.7717]]]), 300, 500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 4 * image.size


def test_blob_as_by_the_reference(golden):
    want, means = golden["prep_image/blob1"], golden["prep_image/means"]
    got = image_blob([prepare_image(golden["prep_image/image_bgr"], means, 80, 110)[0]])
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_blob_of_unequal_images():
    blob = image_blob([np.full((2, 5, 3), 1, np.float32), np.full((3, 2, 3), 2, np.float32)])
    assert blob.shape == (2, 3, 3, 5)
    assert blob[0, 0].tolist() == [[1] * 5, [1] * 5, [0] * 5]
    assert blob[1, 2].tolist() == [[2, 2, 0, 0, 0]] * 3


def test_this_opencv_resizes_as_the_reference_one(golden):
    pairs = [(golden[f"cv2_resize/in_{i}"], golden[f"cv2_resize/out_{i}"]) for i in range(9)]
    image = golden["cv2_resize/img"]
    got = [cv2.resize(a, b.shape[::-1]) for a, b in pairs]
    want = [b for _, b in pairs]
    for factor in (0.5, 1.6, 0.731):
        got.append(cv2.resize(image, None, fx=factor, fy=factor))
        want.append(golden[f"cv2_resize/img_scale_{factor}"])
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_scale():
    assert scale_for(300, 400, 600, 1000) == 2
    assert scale_for(400, 300, 600, 1000) == 2
    assert scale_for(300, 600, 600, 1000) == 1000 / 600        # the long side caps it
    assert scale_for(600, 1000.4, 600, 1000) == 1              # 1000.4 rounds to 1000


def test_a_missing_and_an_undecodable_image(tmp_path):
    with pytest.raises(DataError, match="gone.jpg: no such image file"):
        read_image(tmp_path / "gone.jpg")
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match="torn.jpg: not a decodable image"):
        read_image(tmp_path / "torn.jpg")
    with pytest.raises(DataError, match=r"must be \(H, W, 3\), got shape \(4, 5\)"):
        prepare_image(np.zeros((4, 5)), np.zeros(3), 8, 16)


def test_grey_and_transparent_files_become_bgr(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((3, 5), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "clear.png"), np.full((3, 5, 4), 7, np.uint8))
    for name in ("grey.png", "clear.png"):
        image = read_image(tmp_path / name)
        assert image.shape == (3, 5, 3) and image.dtype == np.uint8


def test_a_photograph_taken_sideways(tmp_path):
    """Read upright, or as it lies in the file if it was annotated so."""
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((7, 11, 3), np.uint8))
    plain = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(turned(plain))
    assert read_image(tmp_path / "b.jpg").shape == (11, 7, 3)
    assert read_image(tmp_path / "b.jpg", (11, 7)).shape == (11, 7, 3)
    assert read_image(tmp_path / "b.jpg", (7, 11)).shape == (7, 11, 3)
    for size in ((7, 11), (11, 7), (5, 5)):
        assert read_image(tmp_path / "a.jpg", size).shape == (7, 11, 3)


def test_a_header_that_promises_too_many_pixels_is_named(tmp_path):
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                                        + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(DataError, match="huge.png: an image of 100000 x 100000 pixels"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize("size", [(1, 2001), (2001, 1), (2, 9000)])
def test_a_side_never_vanishes(size):
    got, scale = prepare_image(np.full((*size, 3), 9, np.uint8), np.zeros(3), 600, 1000)
    assert sorted(got.shape) == [1, 3, 1000] and scale == 1000 / max(size)
    assert (got == 9).all()
