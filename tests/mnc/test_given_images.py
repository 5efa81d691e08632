"""Images in every form that people have them in."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mnc.data import DataError
from mnc.data.given_images import as_bgr
from small_data import turned


@pytest.fixture
def bgr():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def encoded(image, ending=".png"):
    return cv2.imencode(ending, image)[1].tobytes()


def rgb(bgr):
    return np.ascontiguousarray(bgr[..., ::-1])


def with_alpha(pixels):
    return np.dstack((pixels, np.full(pixels.shape[:2], 9, np.uint8)))


@pytest.mark.parametrize("form", [
    lambda x: x, lambda x: with_alpha(x), lambda x: x[:, ::-1][:, ::-1],
    lambda x: encoded(x), lambda x: bytearray(encoded(x)), lambda x: memoryview(encoded(x)),
    lambda x: encoded(with_alpha(x)),
    lambda x: Image.fromarray(rgb(x)), lambda x: Image.fromarray(with_alpha(rgb(x))),
    lambda x: Image.open(io.BytesIO(encoded(x))),
    lambda x: torch.from_numpy(rgb(x)), lambda x: torch.from_numpy(rgb(x)).permute(2, 0, 1),
    lambda x: torch.from_numpy(with_alpha(rgb(x))).permute(2, 0, 1),
    lambda x: torch.from_numpy(rgb(x)).permute(2, 0, 1) / 255,
    lambda x: (torch.from_numpy(rgb(x)) / 255).double().requires_grad_()])
def test_colours(form, bgr):
    found = as_bgr(form(bgr))
    assert np.array_equal(found, bgr) and found.dtype == np.uint8


def test_half_precision(bgr):
    found = as_bgr((torch.from_numpy(rgb(bgr)) / 255).bfloat16())
    assert np.abs(found.astype(int) - bgr).max() <= 1


@pytest.mark.parametrize("form", [
    lambda g: g, lambda g: g[..., None], lambda g: encoded(g), lambda g: Image.fromarray(g),
    lambda g: Image.merge("LA", [Image.fromarray(g)] * 2), lambda g: torch.from_numpy(g),
    lambda g: torch.from_numpy(g)[None], lambda g: torch.from_numpy(g)[None] / 255,
    lambda g: Image.fromarray(g.astype(np.uint16) * 256 + 99)])
def test_grey(form, bgr):
    grey = bgr[..., 0].copy()
    assert np.array_equal(as_bgr(form(grey)), np.dstack([grey] * 3))


def test_palettes_and_bits(bgr):
    image = Image.fromarray(rgb(bgr)).quantize(256)
    assert image.mode == "P" and np.array_equal(as_bgr(image), rgb(np.array(image.convert("RGB"))))
    bits = Image.fromarray(bgr[..., 0] > 99)
    assert bits.mode == "1" and set(np.unique(as_bgr(bits))) == {0, 255}


def test_photographs_taken_sideways_are_turned(tmp_path):
    content = turned(encoded(np.zeros((5, 7, 3), np.uint8), ".jpg"))
    (tmp_path / "a.jpg").write_bytes(content)
    for form in (content, Image.open(io.BytesIO(content)), tmp_path / "a.jpg", str(tmp_path / "a.jpg")):
        assert as_bgr(form).shape == (7, 5, 3)


@pytest.mark.parametrize("image, error, message", [
    (None, TypeError, "got NoneType"), ([[1]], TypeError, "got list"), (3, TypeError, "got int"),
    (io.BytesIO(), TypeError, "got BytesIO"),
    (np.zeros((2, 3, 3)), ValueError, r"float64; \(image \* 255\)"),
    (np.zeros((3, 20, 20), np.uint8), ValueError, "transpose"),
    (np.zeros((1, 2, 3, 3), np.uint8), ValueError, "call .batch"),
    (np.zeros((0, 4, 3), np.uint8), ValueError, "got"), (np.zeros((4, 4, 2), np.uint8), ValueError, "got"),
    (torch.zeros(2, 3, 8, 8), ValueError, "call .batch"), (torch.zeros(8), ValueError, r"got \(8,\) float32"),
    (torch.zeros(5, 8, 8), ValueError, "channels last; got"), (torch.zeros(3, 0, 8), ValueError, "got"),
    (torch.zeros(3, 8, 8, dtype=torch.int64), ValueError, "uint8, or float from 0 to 1"),
    (torch.full((3, 8, 8), 255.0), ValueError, "go from 255 to 255"),
    (torch.full((3, 8, 8), float("nan")), ValueError, "go from nan"),
    (torch.tensor([-2.1, 2.0]).repeat(3, 4, 4), ValueError, "before it is normalised"),
    (Image.new("F", (4, 4)), ValueError, "mode F"),
    (b"no image", DataError, "8 bytes: not a decodable image"), (b"", DataError, "0 bytes"),
    ("https://example.org/a.jpg", DataError, "an address; fetch it"), ("nix.jpg", DataError, "no such image"),
])
def test_what_is_refused_in_words(image, error, message):
    with pytest.raises(error, match=message):
        as_bgr(image)


def test_a_damaged_pil_image(bgr):
    content = encoded(np.random.default_rng(1).integers(0, 256, (90, 90, 3)).astype(np.uint8))
    with pytest.raises(DataError, match="the PIL image cannot be read"):
        as_bgr(Image.open(io.BytesIO(content[:400])))
