"""Image files of every kind: what caffe.io.load_image and the data layers make of them."""

from __future__ import annotations

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

import caffe
from caffe.data.images import read_image
from caffe.engine.formats import image_file

HEIGHT, WIDTH = 12, 20
COLOURS = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
COLOURS[:, :10], COLOURS[:, 10:] = (200, 40, 20), (10, 90, 220)
GREY = np.array(Image.fromarray(COLOURS).convert("L"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("images")
    picture = Image.fromarray(COLOURS)
    turned = [picture.rotate(180)]
    for name in ("rgb.png", "rgb.bmp", "rgb.tif", "rgb.ppm"):
        picture.save(where / name)
    picture.save(where / "rgb.webp", lossless=True)
    picture.save(where / "one.gif")
    for name in ("many.gif", "apng.png", "many.tif"):
        picture.save(where / name, save_all=True, append_images=turned)
    picture.convert("RGBA").save(where / "rgba.png")
    picture.convert("P", palette=Image.Palette.ADAPTIVE).save(where / "palette.png")
    picture.convert("P", palette=Image.Palette.ADAPTIVE).save(where / "palette.tif")
    for mode in ("L", "LA", "1"):
        picture.convert(mode).save(where / f"{mode}.png")
    picture.convert("CMYK").save(where / "cmyk.jpg", quality=95)
    picture.save(where / "rgb.jpg", quality=95)
    Image.fromarray(GREY.astype(np.uint16) * 257).save(where / "grey16.png")
    cv2.imwrite(str(where / "rgb16.png"), COLOURS[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(where / "rgb16.tif"), COLOURS[..., ::-1].astype(np.uint16) * 257,
                [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    Image.fromarray(GREY.astype(np.float32) / 255).save(where / "float.tif")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(where / "turned.jpg", quality=95, exif=exif)
    picture.save(where / "wrong_ending.jpg", "PNG")
    return where


def load(folder, name, color=True):
    return np.round(caffe.io.load_image(str(folder / name), color) * 255)


@pytest.mark.parametrize("name, tolerance", [
    ("rgb.png", 0), ("rgb.bmp", 0), ("rgb.tif", 0), ("rgb.ppm", 0), ("rgb.webp", 0), ("one.gif", 0),
    ("many.gif", 0), ("apng.png", 0), ("many.tif", 0), ("rgba.png", 0), ("palette.png", 0),
    ("palette.tif", 0), ("rgb16.png", 0), ("rgb16.tif", 0), ("wrong_ending.jpg", 0),
    ("cmyk.jpg", 12), ("rgb.jpg", 12)])
def test_colours(folder, name, tolerance):
    found = load(folder, name)
    assert found.shape == (HEIGHT, WIDTH, 3) and np.abs(found[:, ::19] - COLOURS[:, ::19]).max() \
        <= tolerance
    grey = load(folder, name, color=False)
    assert grey.shape == (HEIGHT, WIDTH, 1) and np.abs(grey[:, ::19, 0] - np.round(
        COLOURS[:, ::19] @ [0.2125, 0.7154, 0.0721])).max() <= max(tolerance, 1)


@pytest.mark.parametrize("name", ["L.png", "LA.png", "grey16.png", "float.tif"])
def test_grey(folder, name):
    assert (load(folder, name) == GREY[..., None]).all()
    assert (load(folder, name, color=False)[..., 0] == GREY).all()


def test_bits(folder):
    assert set(np.unique(load(folder, "1.png"))) <= {0, 255}


@pytest.mark.parametrize("name", ["rgb.png", "L.png", "grey16.png", "rgba.png", "1.png", "rgb.bmp",
                                  "rgb.jpg", "palette.png", "rgb16.tif", "float.tif", "rgb.tif"])
@pytest.mark.parametrize("color", [True, False])
def test_what_scikit_image_read_it_still_reads(folder, name, color):
    from skimage import img_as_float, io

    wanted = img_as_float(io.imread(str(folder / name), as_gray=not color)).astype(np.float32)
    wanted = np.tile(wanted[..., None], 3 if color else 1) if wanted.ndim == 2 else wanted[..., :3]
    np.testing.assert_array_equal(caffe.io.load_image(str(folder / name), color), wanted)


def test_photographs_are_upright_everywhere(folder):
    from mnc.data.images import read_image as mnc_image

    wanted = (WIDTH, HEIGHT)
    assert load(folder, "turned.jpg").shape[:2] == wanted
    assert read_image(folder / "turned.jpg").shape[1:] == wanted
    assert mnc_image(folder / "turned.jpg").shape[:2] == wanted
    assert mnc_image(folder / "turned.jpg", (HEIGHT, WIDTH)).shape[:2] == (HEIGHT, WIDTH)
    assert read_image(folder / "turned.jpg", color=None).shape[1:] == (HEIGHT, WIDTH)


def test_names_that_are_not_utf8(folder):
    path = os.path.join(os.fsencode(folder), b"caf\xe9.png")
    with open(path, "wb") as file:
        file.write((folder / "rgb.png").read_bytes())
    from mnc.data.images import read_image as mnc_image

    name = os.fsdecode(path)
    assert (mnc_image(name)[..., ::-1] == COLOURS).all()
    assert read_image(name).shape == (3, HEIGHT, WIDTH)
    assert caffe.io.load_image(name).shape == COLOURS.shape


# --- what is refused before it is decoded --------------------------------------------------------

def png(width, height, depth=8, colour=2):
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


def jpeg(folder):
    content = bytearray((folder / "rgb.jpg").read_bytes())
    place = content.index(b"\xff\xc0")
    content[place + 5:place + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(content)


def bmp(folder):
    content = bytearray((folder / "rgb.bmp").read_bytes())
    content[18:26] = struct.pack("<ii", 60000, -60000)
    return bytes(content)


def gif(folder):
    content = bytearray((folder / "one.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 65000, 65000)
    return bytes(content)


def tiff(folder):
    content = (folder / "rgb16.tif").read_bytes()
    for tag in (256, 257):
        for kind, size in ((3, "<H"), (4, "<I")):
            entry = struct.pack("<HHI", tag, kind, 1) + struct.pack(size, WIDTH if tag == 256
                                                                    else HEIGHT)
            if entry in content:
                content = content.replace(entry + b"\0" * (12 - len(entry)),
                                          struct.pack("<HHII", tag, 4, 1, 60000))
    return content


@pytest.mark.parametrize("make", [
    lambda folder: png(30000, 30000), lambda folder: png(2**31 - 1, 2**31 - 1),
    lambda folder: png(40000, 40000, 1, 3), jpeg, bmp, gif, tiff,
    lambda folder: b"P6 60000 60000 255 "])
@pytest.mark.parametrize("read", [image_file.decode, image_file.decode_exactly,
                                  image_file.decode_map])
def test_more_pixels_than_are_read(folder, make, read):
    with pytest.raises(ValueError, match=r"^x: an image of \d+ x \d+ pixels; up to 268435456"):
        read(make(folder), "x")


def test_more_pixels_than_the_bytes_can_hold(folder):
    for content in (png(16000, 16000), png(5000, 5000, 1, 0)):
        with pytest.raises(ValueError, match="its header promises"):
            image_file.decode(content, "x")
    empty = np.zeros((4000, 5000), np.uint8)
    for kind in ("PNG", "JPEG", "GIF"):
        stream = io.BytesIO()
        Image.fromarray(empty).save(stream, kind)
        assert image_file.decode(stream.getvalue(), "x").shape == (4000, 5000, 3)


@pytest.mark.parametrize("content", [
    b"", b"hello", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\x10", b"GIF89a", b"BM", b"\x89PNG\r\n\x1a\n",
    b"\x89PNG\r\n\x1a\n\0\0\0\5IHDR\0\0\0\0\6v!%\t",          # found by fuzzing: its first chunk is whole, but short
    b"II*\0\x08\0\0\0", b"RIFF\0\0\0\0WEBP", png(4, 5)])
@pytest.mark.parametrize("read", [image_file.decode, image_file.decode_exactly])
def test_what_is_no_image(content, read):
    with pytest.raises(ValueError, match="^x: not a decodable image, or damaged"):
        read(content, "x")


@pytest.mark.parametrize("name", ["rgb.png", "rgb.jpg", "rgb.bmp", "rgb16.tif", "one.gif", "rgb.webp"])
def test_flipped_bits_are_errors_of_ours(folder, name):
    rng = np.random.default_rng(0)
    whole = (folder / name).read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 3):
            content[place] ^= 1 << rng.integers(8)
        for read in (image_file.decode, image_file.decode_exactly):
            try:
                read(bytes(content), "x")
            except ValueError as error:
                assert str(error).startswith("x: ")
