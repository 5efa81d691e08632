"""SSD's layers by hand: boxes, matches, mining, files of detections, what is said of mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from google.protobuf import text_format

import caffe
from annotated_sets import label_map
from caffe.data.label_map import read_label_map
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net
from caffe.layer_types.ssd import boxes, matching
from caffe.layer_types.ssd.output_boxes import read_name_sizes, to_pixels
from caffe.proto import caffe_pb2
from caffe.proto.caffe_pb2 import PriorBoxParameter, ResizeParameter

A, B, FAR = [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.25], [0.6, 0.6, 0.9, 0.9]


def rows(*values) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 4)


# --- boxes ---------------------------------------------------------------------------------------

def test_overlaps_without_the_pixel_that_others_count():
    np.testing.assert_allclose(boxes.overlaps(rows(A), rows(A, B, FAR)), [[1, 0.5, 0]])
    np.testing.assert_allclose(boxes.overlaps(rows([0, 0, 1, 1.]), rows([1, 1, 2, 2.]), 1), [[1 / 7]])


def test_touching_boxes_do_not_overlap():
    assert boxes.overlaps(rows([0, 0, 0.5, 0.5]), rows([0.5, 0, 1, 0.5])) == 0


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
def test_what_is_encoded_decodes_to_itself(code):
    random = torch.rand(7, 4).double() * 0.4
    near, other = (torch.cat((x[:, :2], x[:, :2] + x[:, 2:] + 0.1), 1) for x in (random, random / 2))
    kind, spread = PriorBoxParameter.CodeType.Value(code), torch.tensor([0.1, 0.1, 0.2, 0.2])
    codes = boxes.encode(kind, near, spread.double(), other)
    torch.testing.assert_close(boxes.decode(kind, near, spread.double(), codes), other)


def test_suppression_keeps_the_better_and_what_overlaps_no_more_than_the_threshold():
    found = rows(B, A, FAR, A)
    assert boxes.suppress(found, torch.tensor([0.9, 0.8, 0.1, 0.8]), 0.5).tolist() == [0, 1, 2]
    assert boxes.suppress(found, torch.tensor([0.9, 0.8, 0.1, 0.8]), 0.49).tolist() == [0, 2]


def test_the_threshold_falls_with_each_box_kept():
    found = rows(FAR, A, B)
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert boxes.suppress(found, scores, 0.6, eta=1.0).tolist() == [0, 1, 2]
    assert boxes.suppress(found, scores, 0.6, eta=0.8).tolist() == [0, 1]


# --- matches -------------------------------------------------------------------------------------

def test_every_object_takes_a_box_and_then_every_box_an_object():
    """Object 0 takes box 0, object 1 (hardly seen) box 2; box 1 overlaps object 0 by 0.5."""
    objects = rows(A, [0.85, 0.85, 1, 1])
    got = matching.match(rows(A, B, FAR, [0.3, 0.6, 0.4, 0.7]), objects, 0.5, False)
    assert got.index.tolist() == [0, 0, 1, -1]
    assert matching.match(rows(A, B, FAR), objects, None, False).index.tolist() == [0, -1, 1]
    assert matching.match(rows(A, B, FAR), objects, 0.51, False).index.tolist() == [0, -1, 1]


def test_of_equal_overlaps_the_lower_box_wins():
    assert matching.match(rows(A, A), rows(A), None, False).index.tolist() == [0, -1]


def test_boxes_beyond_the_image_can_be_left_out():
    got = matching.match(rows([-0.1, 0, 0.5, 0.5], A), rows(A), 0.5, True)
    assert got.index.tolist() == [matching.IGNORED, 0]


def test_hard_examples_come_in_the_order_of_their_losses():
    loss = np.float32([1, 3, 2, 3])
    assert matching.hardest(loss, None, 0, 0).tolist() == [1, 3, 2, 0]
    assert matching.hardest(loss, rows(A, A, FAR, B), 0.6, -1).tolist() == [1, 3, 2]
    assert matching.hardest(loss, rows(A, A, FAR, B), 0.6, 2).tolist() == [1, 3]
    assert matching.hardest(loss, rows(A, A, FAR, B), 0.6, 0).tolist() == []
    speck = [0.1, 0.1, 0.101, 0.101]
    assert matching.hardest(loss, rows(A, speck, FAR, B), 0.6, -1).tolist() == [3, 2, 0]


# --- the loss ------------------------------------------------------------------------------------

def loss_net(options: str, objects: list, more: str = "", scores: int = 4) -> Net:
    """Two priors, A and FAR, whose codes and scores are inputs; two classes."""
    net = Net.from_proto(read_net(f"""
        layer {{ name: 'in' type: 'Input' top: 'loc' top: 'conf' top: 'prior' top: 'gt' input_param {{
          shape {{ dim: 1 dim: 8 }} shape {{ dim: 1 dim: {scores} }} shape {{ dim: 1 dim: 2 dim: 8 }}
          shape {{ dim: 1 dim: 1 dim: {len(objects)} dim: 8 }} }} }}
        layer {{ name: 'l' type: 'MultiBoxLoss' bottom: 'loc' bottom: 'conf' bottom: 'prior'
          bottom: 'gt' top: 'loss' {more} multibox_loss_param {{ num_classes: 2 {options} }} }}"""),
        caffe.TRAIN)
    net.blobs["prior"].data[...] = np.reshape([*A, *FAR, *[0.1, 0.1, 0.2, 0.2] * 2], (1, 2, 8))
    net.blobs["gt"].data[...] = np.reshape(objects, (1, 1, -1, 8))
    return net


def loss(*args, **kwargs) -> float:
    return float(loss_net(*args, **kwargs).forward()["loss"])


OBJECT = [0, 1, 0, *A, 0]


def test_one_match_and_one_negative_cost_a_log_of_two_each():
    assert loss("", [OBJECT]) == pytest.approx(2 * np.log(2))


def test_without_objects_there_are_no_negatives_either():
    assert loss("", [[-1] * 8]) == 0
    assert loss("mining_type: NONE", [[-1] * 8]) == pytest.approx(2 * np.log(2))


def test_difficult_objects_can_be_left_out():
    assert loss("use_difficult_gt: false", [[0, 1, 0, *A, 1]]) == 0


def test_a_part_counts_only_where_propagate_down_says_so():
    shifted = [0, 1, 0, 0.1, 0, 0.5, 0.5, 0]        # a code of 1: smooth L1 0.5
    down = "propagate_down: true propagate_down: false propagate_down: false propagate_down: false"
    assert loss("", [shifted], more=down) == pytest.approx(0.5)
    assert loss("loc_weight: 3", [shifted], more=down) == pytest.approx(1.5)


def test_a_second_forward_matches_anew():
    """SSD keeps the matches of the first batch until backward."""
    net = loss_net("", [OBJECT])
    first = float(net.forward()["loss"])
    net.blobs["gt"].data[...] = -1
    assert (first > 0, float(net.forward()["loss"])) == (True, 0)


@pytest.mark.parametrize("options, objects, said", [
    ("", [[0, 0, 0, *A, 0]], "label of the background"),
    ("", [[0, 7, 0, *A, 0]], "label 7, num_classes is 2"),
    ("share_location: false", [OBJECT], "mining needs share_location"),
    ("do_neg_mining: false", [OBJECT], "contradicts mining_type"),
    ("background_label_id: 5", [OBJECT], "SOFTMAX needs background_label_id"),
])
def test_what_a_loss_says_of_mistakes(options, objects, said):
    with pytest.raises(LayerError, match=f'layer "l" .*{said}'):
        loss_net(options, objects).forward()


def test_a_loss_says_what_shapes_it_needs():
    with pytest.raises(LayerError, match=r"2 priors and 2 classes need codes \(N, 8\), scores \(N, 4\)"):
        loss_net("", [OBJECT], scores=5)


# --- detections ----------------------------------------------------------------------------------

def detection_net(more: str) -> Net:
    """Codes of 0, so that the two priors A and FAR are what is found; scores are an input."""
    net = Net.from_proto(read_net(f"""
        layer {{ name: 'in' type: 'Input' top: 'loc' top: 'conf' top: 'prior' input_param {{
          shape {{ dim: 1 dim: 8 }} shape {{ dim: 1 dim: 6 }} shape {{ dim: 1 dim: 2 dim: 8 }} }} }}
        layer {{ name: 'out' type: 'DetectionOutput' bottom: 'loc' bottom: 'conf' bottom: 'prior'
          top: 'out' detection_output_param {{ num_classes: 3 confidence_threshold: 0.3
            code_type: CENTER_SIZE {more} }} }}"""), caffe.TEST)
    net.blobs["prior"].data[...] = np.reshape([*A, *FAR, *[0.1, 0.1, 0.2, 0.2] * 2], (1, 2, 8))
    net.blobs["conf"].data[...] = [[0.1, 0.5, 0.4, 0.1, 0.3, 0.6]]
    return net


def test_rows_of_detections():
    out = detection_net("").forward()["out"][0, 0]
    np.testing.assert_allclose(out, [[0, 1, 0.5, *A], [0, 2, 0.6, *FAR], [0, 2, 0.4, *A]], atol=1e-6)


def test_boxes_are_cut_to_the_image_only_with_clip():
    for more, wanted in (("", -0.1), ("clip: true", 0)):
        net = detection_net(more)
        net.blobs["prior"].data[0, 0, 0] = -0.1
        assert net.forward()["out"][0, 0, 0, 3] == pytest.approx(wanted)


def test_of_equal_scores_the_lower_class_and_then_the_lower_prior_is_kept():
    """keep_top_k; SSD's own choice is that of an unstable sort."""
    net = detection_net("keep_top_k: 2")
    net.blobs["conf"].data[...] = 0.5
    assert net.forward()["out"][0, 0, :, 1].tolist() == [1, 1]


@pytest.fixture
def saved(tmp_path):
    label_map(tmp_path / "map.prototxt", ["cat", "dog"])
    (tmp_path / "sizes.txt").write_text("000007 100 200\n000009 100 200\n")

    def save(kind: str) -> None:
        net = detection_net(f"""save_output_param {{ output_directory: '{tmp_path}/results'
            output_name_prefix: 'det_' output_format: '{kind}' label_map_file: '{tmp_path}/map.prototxt'
            name_size_file: '{tmp_path}/sizes.txt' }}""")
        net.forward()
        assert not (tmp_path / "results").exists(), "written when all images have been seen"
        net.blobs["conf"].data[...] = 0
        net.forward()
    return tmp_path / "results", save


def test_files_for_voc(saved):
    folder, save = saved
    save("VOC")
    assert (folder / "det_cat.txt").read_text() == "000007 0.5 0 0 100 50\n"
    assert (folder / "det_dog.txt").read_text() == ("000007 0.6 120 60 180 90\n"
                                                    "000007 0.4 0 0 100 50\n")


def test_a_class_with_a_slash_has_a_file_in_the_folder(saved):
    folder, save = saved
    label_map(folder.parent / "map.prototxt", ["../cat", "dog"])
    save("VOC")
    assert {path.name for path in folder.iterdir()} == {"det_.._cat.txt", "det_dog.txt"}


def test_files_for_coco(saved):
    folder, save = saved
    save("COCO")
    first, *_ = json.loads((folder / "det_.json").read_text())
    assert first == {"image_id": 7, "category_id": "cat", "bbox": [0, 0, 100, 50], "score": 0.5}


def test_files_for_ilsvrc(saved):
    folder, save = saved
    save("ILSVRC")
    assert (folder / "det_.txt").read_text().splitlines()[0] == "000007 1 0.5 0 0 100 50"


def test_mistakes_of_files_are_said_when_the_net_is_built(tmp_path):
    label_map(tmp_path / "map.prototxt", ["cat", "dog"])
    (tmp_path / "sizes.txt").write_text("000007 100\n")
    with pytest.raises(LayerError, match='sizes.txt, line 1: expected "name height width"'):
        detection_net(f"""save_output_param {{ output_directory: 'x' output_format: 'VOC'
            label_map_file: '{tmp_path}/map.prototxt' name_size_file: '{tmp_path}/sizes.txt' }}""")


def test_a_label_map_gives_a_label_once(tmp_path):
    (tmp_path / "map").write_text("item { name: 'a' label: 1 } item { name: 'b' label: 1 }")
    with pytest.raises(ValueError, match="label 1 is given twice"):
        read_label_map(str(tmp_path / "map"))


# --- where boxes lie in the image ----------------------------------------------------------------

@pytest.mark.parametrize("resize, wanted", [
    ("height: 10 width: 10", [50, 25, 150, 100]),
    ("height: 10 width: 10 resize_mode: FIT_SMALL_SIZE", [50, 25, 150, 100]),
    ("height: 10 width: 10 resize_mode: FIT_SMALL_SIZE height_scale: 120 width_scale: 160",
     [40, 30, 120, 100]),
    ("height: 10 width: 10 resize_mode: FIT_LARGE_SIZE_AND_PAD", [50, 0, 150, 100])])
def test_boxes_in_pixels_of_the_image(resize, wanted):
    """An image of 100 x 200."""
    options = text_format.Parse(resize, ResizeParameter())
    got = to_pixels(np.float32([[0.25, 0.25, 0.75, 1.25]]), (100, 200), options)
    np.testing.assert_allclose(got, [wanted], atol=1e-4)


def test_overlaps_in_pixels_count_the_last_one(tmp_path):
    """0.5 by shares; (51 * 26) / (51 * 51) in pixels."""
    (tmp_path / "sizes.txt").write_text("a 100 100\n")
    rows = {}
    for more in ("", f"name_size_file: '{tmp_path}/sizes.txt'"):
        net = Net.from_proto(read_net(f"""layer {{ name: 'in' type: 'Input' top: 'det' top: 'gt'
            input_param {{ shape {{ dim: 1 dim: 1 dim: 1 dim: 7 }}
                           shape {{ dim: 1 dim: 1 dim: 1 dim: 8 }} }} }}
            layer {{ name: 'e' type: 'DetectionEvaluate' bottom: 'det' bottom: 'gt' top: 'e'
            detection_evaluate_param {{ num_classes: 2 overlap_threshold: 0.505 {more} }} }}"""),
                             caffe.TEST)
        net.blobs["det"].data[...] = np.reshape([0, 1, 0.9, *B], (1, 1, 1, 7))
        net.blobs["gt"].data[...] = np.reshape([0, 1, 0, *A, 0], (1, 1, 1, 8))
        rows[bool(more)] = net.forward()["e"][0, 0, 1, 3:].tolist()
    assert rows == {False: [0, 1], True: [1, 0]}


def test_sizes_need_lines_of_three_words(tmp_path):
    (tmp_path / "sizes").write_text("")
    with pytest.raises(ValueError, match="names no images"):
        read_name_sizes(str(tmp_path / "sizes"))


def test_priors_need_sizes_that_make_sense():
    def build(text):
        Net.from_proto(read_net(f"""layer {{ name: 'in' type: 'Input' top: 'x' top: 'img' input_param {{
            shape {{ dim: 1 dim: 1 dim: 2 dim: 2 }} }} }} layer {{ name: 'p' type: 'PriorBox'
            bottom: 'x' bottom: 'img' top: 'p' prior_box_param {{ {text} }} }}"""), caffe.TEST)
    build("min_size: 2 max_size: 3")
    for text, said in (("", "min_size must be given"), ("min_size: 2 max_size: 2", "larger"),
                       ("min_size: 2 variance: 1 variance: 2", "none, 1 or 4"),
                       ("min_size: 2 img_h: 3", "both img_h and img_w"),
                       ("min_size: 2 step: 3 step_h: 1 step_w: 1", "give step, or both")):
        with pytest.raises(LayerError, match=f'layer "p" .*{said}'):
            build(text)
    assert caffe_pb2.PriorBoxParameter().flip


def test_an_order_of_axes_names_each_once():
    for order in ("order: 0 order: 0", "order: 4"):
        with pytest.raises(LayerError, match='layer "p" .*must name axes of 0 to 1'):
            Net.from_proto(read_net(f"""input: 'x' input_shape {{ dim: 2 dim: 3 }} layer {{ name: 'p'
                type: 'Permute' bottom: 'x' top: 'y' permute_param {{ {order} }} }}"""), caffe.TEST)
