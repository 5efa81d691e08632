"""caffe.io: messages, Transformer, resizing as Caffe resized, oversampling."""

import builtins

import cv2
import numpy as np
import pytest

import caffe
from caffe import io
from caffe.proto import caffe_pb2

ARRAY = np.arange(2 * 3 * 5 * 7, dtype=np.float32).reshape(2, 3, 5, 7) / 8


# --- messages ------------------------------------------------------------------------------------

def test_blobproto_round_trip():
    blob = io.array_to_blobproto(ARRAY, diff=-ARRAY)
    assert list(blob.shape.dim) == [2, 3, 5, 7] and not blob.HasField("num")
    np.testing.assert_array_equal(io.blobproto_to_array(blob), ARRAY)
    np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), -ARRAY)
    assert io.blobproto_to_array(blob).dtype == np.float64


def test_blobproto_of_old_files_and_of_doubles():
    old = caffe_pb2.BlobProto(num=1, channels=2, height=1, width=3, data=range(6))
    assert io.blobproto_to_array(old).shape == (1, 2, 1, 3)
    double = caffe_pb2.BlobProto(double_data=[1 / 3], shape={"dim": [1]})
    assert io.blobproto_to_array(double)[0] == 1 / 3


def test_list_of_arrays_round_trip():
    text = io.arraylist_to_blobprotovector_str([ARRAY, ARRAY[0, 0]])
    assert isinstance(text, bytes)
    found = io.blobprotovector_str_to_arraylist(text)
    assert [a.shape for a in found] == [(2, 3, 5, 7), (5, 7)]
    np.testing.assert_array_equal(found[1], ARRAY[0, 0])


@pytest.mark.parametrize("dtype, field", [(np.uint8, "data"), (np.float32, "float_data")])
def test_datum_round_trip(dtype, field):
    image = (np.arange(3 * 5 * 7) % 251).reshape(3, 5, 7).astype(dtype)
    datum = io.array_to_datum(image, 4)
    assert (datum.channels, datum.height, datum.width, datum.label) == (3, 5, 7, 4)
    assert len(getattr(datum, field)) == 105
    found = io.datum_to_array(caffe_pb2.Datum.FromString(datum.SerializeToString()))
    np.testing.assert_array_equal(found, image)
    found[...] = 0                              # a copy that may be written to
    assert found.dtype == (np.uint8 if dtype == np.uint8 else np.float64)


def test_datum_without_label_and_of_the_wrong_shape():
    assert not io.array_to_datum(np.zeros((1, 1, 1), np.uint8)).HasField("label")
    with pytest.raises(ValueError, match=r"got the shape \(5, 7\)"):
        io.array_to_datum(np.zeros((5, 7)))
    with pytest.raises(ValueError, match="encoded"):
        io.datum_to_array(caffe_pb2.Datum(encoded=True, data=b"\xff\xd8"))


# --- Transformer ---------------------------------------------------------------------------------

def transformer():
    made = io.Transformer({"data": (10, 3, 5, 7)})
    made.set_transpose("data", (2, 0, 1))
    made.set_channel_swap("data", (2, 1, 0))
    made.set_raw_scale("data", 255)
    made.set_mean("data", np.array([1., 2, 3]))
    made.set_input_scale("data", 0.5)
    return made


def test_preprocess_does_its_steps_in_order():
    image = np.random.rand(5, 7, 3).astype(np.float32)
    before = image.copy()
    found = transformer().preprocess("data", image)
    expected = (image[:, :, ::-1].transpose(2, 0, 1) * 255 - [[[1]], [[2]], [[3]]]) * 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32 and found.shape == (3, 5, 7)
    np.testing.assert_array_equal(image, before)


def test_deprocess_is_the_way_back():
    image = np.random.rand(5, 7, 3).astype(np.float32)
    data = transformer().preprocess("data", image)
    np.testing.assert_allclose(transformer().deprocess("data", data[None]), image, atol=1e-6)


def test_preprocess_resizes_to_the_input():
    assert transformer().preprocess("data", np.random.rand(11, 13, 3)).shape == (3, 5, 7)


def test_a_transformer_without_settings_changes_nothing():
    image = np.random.rand(5, 7, 3).astype(np.float32)
    np.testing.assert_array_equal(io.Transformer({"x": (1, 7, 5, 7)}).preprocess("x", image), image)


@pytest.mark.parametrize("mean, shape", [
    (np.ones(3), (3, 1, 1)), (np.ones((5, 7)), (5, 7)), (np.ones((3, 5, 7)), (3, 5, 7)),
    (np.random.default_rng(1).random((3, 10, 14)), (3, 5, 7)), (np.ones((3, 10, 14)), (3, 5, 7))])
def test_means_of_every_form(mean, shape):
    made = io.Transformer({"data": (10, 3, 5, 7)})
    made.set_mean("data", mean)
    assert made.mean["data"].shape == shape
    assert abs(made.mean["data"].mean() - mean.mean()) < 0.1


@pytest.mark.parametrize("call, message", [
    (lambda t: t.set_mean("data", np.ones(4)), "mean of 4 channels: input data has 3"),
    (lambda t: t.set_mean("data", np.ones((1, 3, 5, 7))), "mean of shape"),
    (lambda t: t.set_transpose("data", (0, 1)), "3 axes beside the batch"),
    (lambda t: t.set_channel_swap("data", (0, 1)), "input data has 3 channels"),
    (lambda t: t.preprocess("label", np.ones((5, 7, 3))), "label is not an input"),
    (lambda t: t.set_raw_scale("label", 1), "label is not an input"),
])
def test_wrong_settings_say_what_is_wrong(call, message):
    with pytest.raises(Exception, match=message):
        call(transformer())


# --- images --------------------------------------------------------------------------------------

def bilinear(image, height, width):
    """Pixel centres stay in place; outside the image is the smallest value. One loop a pixel."""
    low = image.min()
    padded = np.full((image.shape[0] + 2, image.shape[1] + 2, image.shape[2]), low, float)
    padded[1:-1, 1:-1] = image
    out = np.zeros((height, width, image.shape[2]))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * image.shape[0] / height + 0.5
            x = (j + 0.5) * image.shape[1] / width + 0.5
            a, b = int(y), int(x)
            corners = padded[a:a + 2, b:b + 2]
            weights = np.outer([a + 1 - y, y - a], [b + 1 - x, x - b])
            out[i, j] = (corners * weights[:, :, None]).sum((0, 1))
    return out


@pytest.mark.parametrize("size", [(5, 7), (11, 13), (3, 2), (4, 13)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resize_keeps_pixel_centres_and_does_not_smooth(size, channels):
    image = np.random.rand(5, 7, channels).astype(np.float32) * 9 - 2
    found = io.resize_image(image, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, bilinear(image, *size), atol=1e-5)


def test_resize_of_other_channel_counts_keeps_corners():
    image = np.random.rand(5, 7, 4)
    found = io.resize_image(image, (9, 13))
    assert found.shape == (9, 13, 4) and found.dtype == np.float32
    np.testing.assert_allclose(found[::8, ::12], image[::4, ::6], rtol=1e-5)


def test_resize_of_one_value_and_order_zero():
    assert (io.resize_image(np.full((5, 7, 3), 4.), (2, 3)) == 4).all()
    image = np.arange(4.).reshape(2, 2, 1)
    np.testing.assert_allclose(io.resize_image(image, (4, 4), interp_order=0)[:, :, 0],
                               image.repeat(2, 0).repeat(2, 1)[:, :, 0], atol=1e-6)


@pytest.fixture
def files(tmp_path):
    image = np.zeros((5, 7, 3), np.uint8)
    image[..., 0], image[0, 0] = 255, (0, 255, 51)          # BGR for cv2
    cv2.imwrite(str(tmp_path / "colour.png"), image)
    cv2.imwrite(str(tmp_path / "grey.png"), image[:, :, 0])
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack((image, image[:, :, 0])))
    return tmp_path


def test_load_image(files):
    image = io.load_image(str(files / "colour.png"))
    assert image.shape == (5, 7, 3) and image.dtype == np.float32
    np.testing.assert_allclose(image[0, 0], [0.2, 1, 0])     # RGB in [0, 1]
    np.testing.assert_allclose(image[1, 1], [0, 0, 1])
    assert io.load_image(str(files / "alpha.png")).shape == (5, 7, 3)
    assert io.load_image(str(files / "grey.png")).shape == (5, 7, 3)
    for name in ("grey.png", "colour.png"):
        grey = io.load_image(str(files / name), color=False)
        assert grey.shape == (5, 7, 1) and 0 <= grey.min() <= grey.max() <= 1


def test_oversample_crops_corners_centre_and_mirrors():
    image = np.arange(5 * 7, dtype=float).reshape(5, 7, 1)
    crops = io.oversample([image, image + 100], (3, 4))
    assert crops.shape == (20, 3, 4, 1) and crops.dtype == np.float32
    assert [int(c[0, 0, 0]) for c in crops[:5]] == [0, 3, 14, 17, 8]
    np.testing.assert_array_equal(crops[5:10], crops[:5, :, ::-1])
    np.testing.assert_array_equal(crops[10:], crops[:10] + 100)
    with pytest.raises(ValueError, match="do not fit"):
        io.oversample([image], (6, 6))


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("skimage"):
            raise ImportError("No module named 'skimage'")
        return real(name, *args, **kwargs)
    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        caffe.io.resize_image(np.random.rand(5, 7, 3), (2, 2))
