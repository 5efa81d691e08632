"""AnnotatedData: what becomes of images and of the boxes in them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from annotated_sets import annotated, write_lmdb
from caffe.data.noise import add_noise, distort
from caffe.data.objects import Objects
from caffe.data.resizing import Resizer
from caffe.data.sampling import draw_window, expand, pixels_of
from caffe.data.transform import Transformer
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net
from caffe.layer_types.ssd.annotated_data import AnnotatedBatches
from caffe.proto import caffe_pb2

BOX, SMALL = (0.25, 0.25, 0.75, 0.5), (0.0, 0.0, 0.25, 0.25)


@pytest.fixture
def random():
    return np.random.default_rng(3)


def ramp(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8, every pixel different from its neighbours"""
    values = np.arange(height * width * 3) * 7 % 251
    return values.reshape(height, width, 3).astype(np.uint8)


def message(kind, text: str):
    return text_format.Parse(text, kind())


def net(source, text: str = "", batch: int = 2, phase=caffe.TEST, tops: str = "top: 'label'"):
    return Net.from_proto(read_net(f"""layer {{ name: 'data' type: 'AnnotatedData' top: 'data' {tops}
        data_param {{ source: '{source}' backend: LMDB batch_size: {batch} }} {text} }}"""), phase)


# --- the layer -----------------------------------------------------------------------------------

def test_rows_are_image_label_instance_box_difficult(tmp_path):
    source = write_lmdb(tmp_path / "db", [annotated(ramp(4, 8), [(2, BOX, True), (1, SMALL, False)]),
                                          annotated(ramp(4, 8), [(3, BOX, False)])])
    made = net(source)
    assert made.blobs["label"].shape == (1, 1, 2, 8)
    made.forward()
    np.testing.assert_array_equal(made.blobs["label"].data[0, 0], [
        [0, 2, 0, *BOX, 1], [0, 1, 0, *SMALL, 0], [1, 3, 0, *BOX, 0]])
    np.testing.assert_array_equal(made.blobs["data"].data[1], ramp(4, 8).transpose(2, 0, 1))


def test_a_batch_without_objects_has_one_row_of_minus_one(tmp_path):
    made = net(write_lmdb(tmp_path / "db", [annotated(ramp(4, 4), [])]))
    made.forward()
    np.testing.assert_array_equal(made.blobs["label"].data, np.full((1, 1, 1, 8), -1))


def test_without_annotation_type_the_top_is_labels(tmp_path):
    records = [annotated(ramp(4, 4), []) for _ in range(2)]
    for number, record in enumerate(records):
        record.ClearField("type")
        record.datum.label = 5 + number
    made = net(write_lmdb(tmp_path / "db", records))
    made.forward()
    np.testing.assert_array_equal(made.blobs["label"].data, [5, 6])


def test_labels_of_yolo_and_several_sizes(tmp_path):
    """MobileNet-YOLO's: each batch has one of the sizes, labels are centres in shares."""
    record = annotated(ramp(4, 8), [(3, BOX, False), (1, SMALL, True)])
    made = net(write_lmdb(tmp_path / "db", [record] * 2), """annotated_data_param { yolo_data_type: 1 yolo_data_jitter: 0.3
                               train_diffcult: false }
        transform_param { resize_param { prob: 0.5 height: 8 width: 8 }
                          resize_param { prob: 0.5 height: 16 width: 12 } }""")
    assert made.blobs["label"].shape == (2, 1, 300, 5)
    seen = set()
    for _ in range(12):
        made.forward()
        seen.add(made.blobs["data"].shape)
        np.testing.assert_array_equal(made.blobs["label"].data[0, 0, :2],
                                      [[2, 0.5, 0.375, 0.5, 0.25], [0] * 5])
    assert seen == {(2, 3, 8, 8), (2, 3, 16, 12)}


def test_the_label_top_may_be_left_out(tmp_path):
    made = net(write_lmdb(tmp_path / "db", [annotated(ramp(4, 4), [(1, BOX, False)])]), tops="")
    made.forward()
    assert list(made.blobs) == ["data"]


TRAINING = """transform_param { mirror: true mean_value: 104 mean_value: 117 mean_value: 123
  resize_param { prob: 1 resize_mode: WARP height: 12 width: 10 interp_mode: LINEAR
                 interp_mode: AREA interp_mode: NEAREST interp_mode: CUBIC interp_mode: LANCZOS4 }
  emit_constraint { emit_type: CENTER }
  distort_param { brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5
    contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5 saturation_lower: 0.5
    saturation_upper: 1.5 random_order_prob: 0.5 }
  expand_param { prob: 0.5 max_expand_ratio: 4 } }
annotated_data_param { batch_sampler { max_sample: 1 max_trials: 1 }
  batch_sampler { sampler { min_scale: 0.3 max_scale: 1 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }
    sample_constraint { min_jaccard_overlap: 0.1 } max_sample: 1 max_trials: 50 } }"""


def test_the_settings_of_ssd_pascal_give_batches_that_a_seed_repeats(tmp_path):
    source = write_lmdb(tmp_path / "db", [annotated(ramp(20, 30), [(1, BOX, False)])
                                          for _ in range(3)])
    runs = []
    for _ in range(2):
        caffe.set_random_seed(5)
        made = net(source, TRAINING, batch=3, phase=caffe.TRAIN)
        runs.append([])
        for _ in range(8):
            made.forward()
            rows = made.blobs["label"].data[0, 0].copy()
            assert made.blobs["data"].shape == (3, 3, 12, 10)
            assert ((rows[:, 3:7] >= 0) & (rows[:, 3:7] <= 1)).all()
            runs[-1].append((made.blobs["data"].data.copy(), rows))
    for first, second in zip(*runs):
        for a, b in zip(first, second):
            np.testing.assert_array_equal(a, b)
    assert len({rows.tobytes() for _, rows in runs[0]}) > 4, "nothing is drawn"


@pytest.mark.parametrize("record, text, said", [
    (caffe_pb2.Datum(channels=1, height=1, width=1, data=b"x"), "", "AnnotatedDatum"),
    (annotated(ramp(4, 4), []), "transform_param { resize_param { height: 3 } }",
     "resize_param needs height and width"),
    (annotated(ramp(4, 4), []), "annotated_data_param { batch_sampler { sampler { max_scale: 2 } } }",
     "0 < min_scale <= max_scale <= 1"),
    (annotated(ramp(4, 4), []), """transform_param { resize_param { height: 3 width: 3
     resize_mode: FIT_SMALL_SIZE } }""", "batch_size: 1"),
    (annotated(ramp(4, 4), []), "transform_param { noise_param { convert_to_lab: true } }",
     "convert_to_lab"),
])
def test_what_cannot_work_is_said_when_the_net_is_built(tmp_path, record, text, said):
    with pytest.raises(LayerError, match=f'layer "data" .*{said}'):
        net(write_lmdb(tmp_path / "db", [record]), text)


def test_images_of_different_sizes_name_the_record(tmp_path):
    source = write_lmdb(tmp_path / "db", [annotated(ramp(4, 4), []), annotated(ramp(4, 5), [])])
    with pytest.raises(LayerError, match="record 1: has another size .* resize_param"):
        net(source).forward()


# --- boxes follow --------------------------------------------------------------------------------

def objects(*boxes) -> Objects:
    return Objects(np.float32(boxes).reshape(-1, 4), np.zeros((len(boxes), 3), np.float32))


def test_boxes_are_cut_to_a_window_and_relative_to_it():
    seen = objects((0.4, 0.4, 0.6, 0.9), (0.8, 0.8, 0.9, 0.9)).seen_through(
        np.float32([0.5, 0, 0.75, 0.5]), None)
    np.testing.assert_allclose(seen.boxes, [[0, 0.8, 0.4, 1]], atol=1e-6)


@pytest.mark.parametrize("emit, left", [
    ("emit_type: CENTER", 1), ("emit_type: MIN_OVERLAP emit_overlap: 0.3", 2),
    ("emit_type: MIN_OVERLAP emit_overlap: 0.6", 1)])
def test_emit_constraint(emit, left):
    """The window holds the whole of the first box and 0.4 of the second, without its centre."""
    seen = objects((0.6, 0.1, 0.9, 0.4), (0.3, 0.1, 0.8, 0.4)).seen_through(
        np.float32([0.6, 0, 1, 1]), message(caffe_pb2.EmitConstraint, emit))
    assert len(seen) == left


def test_mirrored_boxes():
    np.testing.assert_allclose(objects((0.1, 0.2, 0.4, 0.5)).mirrored().boxes,
                               [[0.6, 0.2, 0.9, 0.5]], atol=1e-7)


def test_crop_and_mirror_of_the_batch_move_the_boxes(tmp_path, random):
    """A bright square is where its box says, whatever was drawn."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:20, 15:45] = 200
    options = message(caffe_pb2.LayerParameter, """transform_param { mirror: true crop_h: 30 crop_w: 50
        resize_param { height: 40 width: 60 } expand_param { max_expand_ratio: 2 } }
        annotated_data_param { batch_sampler { sampler { min_scale: 0.6 } } }""")
    batches = AnnotatedBatches(1, 0, options, None, train=True)
    shown = 0
    for _ in range(60):
        got, left = batches.change(image.transpose(2, 0, 1),
                                   objects((0.25, 0.25, 0.75, 0.5)), random)
        for box in left.boxes:
            xmin, ymin, xmax, ymax = (box * [50, 30, 50, 30]).round().astype(int)
            inner = got[0, ymin + 2:ymax - 2, xmin + 2:xmax - 2]
            assert inner.size == 0 or inner.min() > 150
            assert got.max() < 255
            outside = got[0].copy()
            outside[max(0, ymin - 3):ymax + 3, max(0, xmin - 3):xmax + 3] = 0
            assert outside.max() < 50
            shown += 1
    assert shown > 30


# --- resize --------------------------------------------------------------------------------------

def resizer(text: str) -> Resizer:
    return Resizer(message(caffe_pb2.ResizeParameter, text))


@pytest.mark.parametrize("mode, size, box", [
    ("WARP", (30, 60), (0.25, 0.25, 0.75, 0.5)),
    ("FIT_SMALL_SIZE", (30, 60), (0.25, 0.25, 0.75, 0.5)),      # 2 : 1 as the image
    ("FIT_LARGE_SIZE_AND_PAD", (30, 60), (0.25, 0.25, 0.75, 0.5)),
])
def test_an_image_of_the_wanted_shape_is_only_resized(mode, size, box, random):
    made = resizer(f"resize_mode: {mode} height: 30 width: 60")
    image = ramp(10, 20)
    got = made(image, random)
    np.testing.assert_array_equal(got, cv2.resize(image, (60, 30)))
    assert made.output_size((10, 20)) == got.shape[:2] == size
    np.testing.assert_allclose(made.move(np.float32([BOX]), (10, 20)), [box], atol=1e-6)


def test_fit_large_pads_equally_on_both_sides(random):
    made = resizer("resize_mode: FIT_LARGE_SIZE_AND_PAD height: 20 width: 20 pad_value: 7")
    got = made(np.full((10, 20, 3), 90, np.uint8), random)
    assert got.shape == (20, 20, 3)
    assert (got[5:15] == 90).all() and (got[:5] == 7).all() and (got[15:] == 7).all()
    np.testing.assert_allclose(made.move(np.float32([[0, 0, 1, 1], [0.5, 0.5, 1, 1]]), (10, 20)),
                               [[0, 0.25, 1, 0.75], [0.5, 0.5, 1, 0.75]], atol=1e-6)


def test_fit_small_keeps_the_shape_and_counts_on_a_fixed_canvas(random):
    made = resizer("resize_mode: FIT_SMALL_SIZE height: 20 width: 20 height_scale: 40 width_scale: 40")
    got = made(ramp(10, 20), random)
    assert got.shape == (20, 40, 3) == (*made.output_size((10, 20)), 3)
    whole = np.float32([0, 0, 1, 1])
    np.testing.assert_allclose(made.on_canvas(np.float32([whole]), (10, 20), whole),
                               [[0, 0, 1, 0.5]], atol=1e-6)


@pytest.mark.parametrize("mode, border", [("MIRRORED", cv2.BORDER_REFLECT_101),
                                          ("REPEAT_NEAREST", cv2.BORDER_REPLICATE)])
def test_pads_of_other_kinds(mode, border, random):
    got = resizer(f"resize_mode: FIT_LARGE_SIZE_AND_PAD height: 9 width: 4 pad_mode: {mode}")(
        ramp(4, 4), random)
    np.testing.assert_array_equal(got, cv2.copyMakeBorder(ramp(4, 4), 2, 3, 0, 0, border))


# --- windows -------------------------------------------------------------------------------------

def sampler(text: str):
    return message(caffe_pb2.BatchSampler, text)


def test_windows_meet_their_constraint(random):
    wanted = sampler("""sampler { min_scale: 0.2 max_scale: 0.9 } max_trials: 200
        sample_constraint { min_object_coverage: 0.9 }""")
    for _ in range(20):
        window = draw_window([wanted], np.float32([BOX]), random)
        assert (window[:2] <= [0.3, 0.29]).all() and (window[2:] >= [0.7, 0.47]).all()
        assert (window >= 0).all() and (window <= 1).all()


def test_no_window_meets_a_constraint_without_objects(random):
    wanted = sampler("sample_constraint { min_jaccard_overlap: 0.1 }")
    assert draw_window([wanted], np.zeros((0, 4), np.float32), random) is None
    assert draw_window([sampler("use_original_image: false")], np.float32([BOX]), random) is None


def test_the_ratio_of_a_window_is_width_to_height(random):
    for _ in range(20):
        window = draw_window([sampler("sampler { min_scale: 0.4 max_scale: 0.4 min_aspect_ratio: 4 "
                                      "max_aspect_ratio: 4 }")], np.zeros((0, 4)), random)
        np.testing.assert_allclose(window[2:] - window[:2], [0.8, 0.2], atol=1e-6)


def test_pixels_of_a_window_are_cut_to_whole_ones():
    image = ramp(10, 10)
    np.testing.assert_array_equal(pixels_of(np.float32([0.19, 0.35, 0.58, 0.95]), image),
                                  image[3:9, 1:4])
    assert pixels_of(np.float32([0.99, 0.99, 1, 1]), image).shape == (1, 1, 3)


def test_expansion_puts_the_image_whole_on_a_larger_canvas(random):
    options = message(caffe_pb2.ExpansionParameter, "max_expand_ratio: 3")
    image = ramp(10, 20)
    canvas, window = expand(image, options, np.array([9, 8, 7]), random)
    height, width = canvas.shape[:2]
    assert 10 < height < 30 and 20 < width < 60
    xmin, ymin, _, _ = objects((0, 0, 1, 1)).seen_through(window, None).boxes[0]
    top, left = round(float(ymin) * height), round(float(xmin) * width)
    np.testing.assert_array_equal(canvas[top:top + 10, left:left + 20], image)
    canvas[top:top + 10, left:left + 20] = [9, 8, 7]
    assert (canvas == [9, 8, 7]).all()
    assert expand(image, message(caffe_pb2.ExpansionParameter, "prob: 0 max_expand_ratio: 3"),
                  np.zeros(3), random)[1] is None


# --- light, colours, noise -----------------------------------------------------------------------

def test_brightness_and_contrast_are_rounded_and_cut(random):
    image = np.uint8([[[0, 100, 250]]])
    bright = message(caffe_pb2.DistortionParameter, "brightness_prob: 1 brightness_delta: 0")
    np.testing.assert_array_equal(distort(image, bright, random), image)
    strong = message(caffe_pb2.DistortionParameter,
                     "contrast_prob: 1 contrast_lower: 1.25 contrast_upper: 1.25")
    np.testing.assert_array_equal(distort(image, strong, random), [[[0, 125, 255]]])


def test_saturation_of_zero_is_grey_and_hue_keeps_brightness(random):
    image = np.uint8([[[10, 100, 250]]])
    grey = message(caffe_pb2.DistortionParameter,
                   "saturation_prob: 1 saturation_lower: 0 saturation_upper: 0")
    np.testing.assert_array_equal(distort(image, grey, random), [[[250, 250, 250]]])
    hue = message(caffe_pb2.DistortionParameter, "hue_prob: 1 hue_delta: 60")
    assert {int(distort(image, hue, random).max()) for _ in range(5)} == {250}


def test_the_order_of_channels_is_drawn(random):
    order = message(caffe_pb2.DistortionParameter, "random_order_prob: 1")
    got = {tuple(distort(np.uint8([[[1, 2, 3]]]), order, random)[0, 0]) for _ in range(40)}
    assert len(got) == 6


@pytest.mark.parametrize("text, wanted", [
    ("inverse: true", [[[255, 154, 54]]]), ("posterize: true", [[[32, 96, 224]]]),
    ("decolorize: true", [[[119, 119, 119]]]),
    ("saltpepper: true saltpepper_param { fraction: 1 value: 9 }", [[[9, 9, 9]]]),
    ("", [[[0, 101, 201]]])])
def test_noise_by_hand(text, wanted, random):
    got = add_noise(np.uint8([[[0, 101, 201]]]), message(caffe_pb2.NoiseParameter, text), random)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("text", ["hist_eq: true", "clahe: true", "gauss_blur: true", "erode: true",
                                  "jpeg: 50", "convert_to_hsv: true"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_noise_keeps_the_shape(text, channels, random):
    if channels == 1 and "hsv" in text:
        pytest.skip("grey has no hue")
    image = ramp(16, 12)[:, :, :channels]
    got = add_noise(image, message(caffe_pb2.NoiseParameter, text), random)
    assert got.shape == image.shape and got.dtype == np.uint8 and (got != image).any()


def test_noise_and_resize_serve_every_data_layer(random):
    options = message(caffe_pb2.TransformationParameter, """noise_param { inverse: true }
        resize_param { height: 2 width: 3 } mean_value: 5""")
    got = Transformer(options, train=True)(np.full((3, 4, 6), 55, np.uint8), random)
    np.testing.assert_array_equal(got, np.full((3, 2, 3), 195))
