"""The Python layers inside nets: against the public code's, and where that would have crashed."""

from __future__ import annotations

import numpy as np
import pytest

import caffe
from caffe.engine.errors import LayerError
from finite_differences import gradient
from golden_mnc import index, load, relative_error
from mnc.boxes.anchors import generate_anchors, shifted_anchors
from mnc.config import overridden

MODULES = {"ProposalLayer": "proposal_layer", "AnchorTargetLayer": "anchor_target_layer",
           "ProposalTargetLayer": "proposal_target_layer", "MaskLayer": "mask_layer",
           "StageBridgeLayer": "stage_bridge_layer"}
CASES = [name for name, case in index().items() if case.get("layer") in MODULES]
NORMALIZED = {"TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED": True}


def build(layer, bottoms, tops, param_str="", phase=caffe.TRAIN, dtype="float32"):
    """A net of one Python layer; `bottoms` name -> array."""
    dims = {name: " ".join(f"dim: {n}" for n in array.shape) for name, array in bottoms.items()}
    inputs = "".join(f'input: "{name}"\ninput_shape {{ {dims[name]} }}\n' for name in bottoms)
    names = [*(f'bottom: "{name}"' for name in bottoms), *(f'top: "{name}"' for name in tops)]
    net = caffe.Net(f'name: "t"\nforce_backward: true\n{inputs}'
                    f'layer {{ name: "p" type: "Python" {" ".join(names)} python_param {{ '
                    f'module: "pylayer.{MODULES[layer]}" layer: "{layer}" '
                    f'param_str: "{param_str}" }} }}\n',
                    phase, dtype=dtype)
    for name, array in bottoms.items():
        net.blobs[name].data[...] = array
    return net


def backward(net, diffs):
    """Gradients of the bottoms, given those of some tops; the others' are 0."""
    for name in net.outputs:
        net.blobs[name].diff[...] = diffs.get(name, 0)
    net.backward()
    return {name: net.blobs[name].diff.copy() for name in net.inputs}


@pytest.mark.parametrize("name", CASES)
def test_against_the_public_code(name):
    case, golden = index()[name], load(name)
    bottoms = {b: golden[f"bottom:{b}"] for b in case["bottoms"]}
    phase = caffe.TRAIN if case["phase"] == "TRAIN" else caffe.TEST
    with overridden(NORMALIZED | case["config_changes"]):
        net = build(case["layer"], bottoms, case["tops"], case["param_str"], phase)
    np.random.seed(case["numpy_seed"])
    net.forward()
    for top in case["tops"]:
        assert relative_error(net.blobs[top].data, golden[f"top:{top}"]) < 1e-6, top
    assert np.allclose(np.random.rand(4), golden["after_draw"]), "the draws differ"
    diffs = {top: golden[f"topdiff:{top}"] for top in case["tops"] if f"topdiff:{top}" in golden}
    if diffs:
        found = backward(net, diffs)
        for bottom in bottoms:
            assert relative_error(found[bottom], golden[f"bottomdiff:{bottom}"]) < 1e-6, bottom


def test_the_cases_are_all_there():
    assert len(CASES) == 19


# --- options --------------------------------------------------------------------------------

IM_INFO = np.array([[64, 96, 1]], np.float32)


def proposal_bottoms(anchors=9, seed=0):
    rng = np.random.default_rng(seed)
    return {"prob": rng.uniform(size=(1, 2 * anchors, 8, 12)),
            "deltas": rng.normal(0, 0.2, (1, 4 * anchors, 8, 12)), "im_info": IM_INFO}


@pytest.mark.parametrize("text", [
    "{'feat_stride': 8}", "'feat_stride': 8", "feat_stride: 8", "'feat_stride': 8, 'use_clip': 0",
    "{'feat_stride': 8, 'gradient_scale': 1}",
])
def test_braces_are_optional(text):
    net = build("ProposalLayer", proposal_bottoms(), ["rois"], text)
    assert net.layers[-1].anchor_grid.stride == 8


@pytest.mark.parametrize("layer, text, said", [
    ("ProposalLayer", "", "must give feat_stride"),
    ("ProposalLayer", "{'feat_strid': 8}", "unknown option .feat_strid.*feat_stride"),
    ("ProposalLayer", "[8", "param_str must be YAML"),
    ("AnchorTargetLayer", "", "must give feat_stride"),
])
def test_bad_options_are_named(layer, text, said):
    bottoms = proposal_bottoms()
    tops = ["rois"] if layer == "ProposalLayer" else ["a", "b", "c", "d"]
    with pytest.raises(LayerError, match=said):
        build(layer, bottoms, tops, text)


@pytest.mark.parametrize("layer, tops", [("ProposalLayer", 1), ("AnchorTargetLayer", 4)])
def test_a_wrong_number_of_anchors_is_named(layer, tops):
    with pytest.raises(LayerError, match="9 anchors.*ANCHOR_SCALES"):
        build(layer, proposal_bottoms(anchors=6), [f"t{i}" for i in range(tops)], "feat_stride: 8")


# --- other strides and anchors, and what is empty -------------------------------------------

SMALL = {"ANCHOR_SCALES": [1, 2], "ANCHOR_RATIOS": [1], "TRAIN.RPN_MIN_SIZE": 4}
GT = np.array([[8, 8, 39, 39, 2], [50, 30, 70, 60, 1]], np.float32)


def test_stride_8_with_two_anchors():
    bottoms = proposal_bottoms(anchors=2)
    bottoms["deltas"][...] = 0
    with overridden(SMALL | {"TRAIN.RPN_NMS_THRESH": 1.0}):
        net = build("ProposalLayer", bottoms, ["rois", "index"], "feat_stride: 8")
        net.forward()
        labels = build("AnchorTargetLayer",
                       {"score": bottoms["prob"], "gt": GT, "im_info": IM_INFO},
                       ["labels", "targets", "inside", "outside"], "feat_stride: 8")
        labels.forward()
    anchors = shifted_anchors(generate_anchors(16, [1], [1, 2]), 8, 12, 8)
    of_rois = net.blobs["index"].data[0].astype(int)
    assert len(of_rois) == 2 * 8 * 12
    decoded = np.clip(anchors[of_rois] + [0, 0, 1, 1], 0, [95, 63, 95, 63])
    assert np.allclose(net.blobs["rois"].data[:, 1:], decoded)
    assert labels.blobs["labels"].data.shape == (1, 1, 16, 12)
    assert labels.blobs["targets"].data.shape == (1, 8, 8, 12)
    exact = np.where((anchors == [8, 8, 39, 39]).all(1))[0][0]       # the first truth is an anchor
    y, x, a = np.unravel_index(exact, (8, 12, 2))
    assert labels.blobs["labels"].data.reshape(2, 8, 12)[a, y, x] == 1


def test_no_proposal():
    with overridden(SMALL | {"TRAIN.RPN_MIN_SIZE": 1000}):
        net = build("ProposalLayer", proposal_bottoms(2), ["rois", "index"], "feat_stride: 8")
    net.forward()
    assert net.blobs["rois"].data.shape == (0, 5) and net.blobs["index"].data.shape == (1, 0)
    assert not any(diff.any() for diff in backward(net, {}).values())


ONE_BACKGROUND_BIN = {"TRAIN.BG_THRESH_LO": [0.0], "TRAIN.BG_THRESH_HI": [0.5],
                      "TRAIN.BG_FRACTION": [1.0]}
TARGET_TOPS = ["rois", "labels", "targets", "inside", "outside"]
MASK_TOPS = [*TARGET_TOPS, "mask_targets", "mask_weight", "info"]


def target_bottoms(proposals, truths, masks=True):
    rois = np.array([[0, 9, 8, 40, 40], [0, 70, 0, 90, 20], [0, 50, 30, 71, 62]], np.float32)
    bottoms = {"rpn_rois": rois[:proposals], "gt_boxes": GT[:truths], "im_info": IM_INFO}
    if masks:
        bottoms |= {"gt_masks": np.ones((truths, 32, 32), np.float32),
                    "mask_info": np.array([[32, 32], [31, 21]], np.float32)[:truths]}
    return bottoms


@pytest.mark.parametrize("proposals, truths, rows", [(3, 2, 5), (0, 2, 2), (3, 0, 3), (0, 0, 0)])
def test_proposal_targets_of_anything(proposals, truths, rows):
    bottoms = target_bottoms(proposals, truths) | {"index": np.arange(proposals)[None]}
    with overridden(ONE_BACKGROUND_BIN):
        net = build("ProposalTargetLayer", bottoms, [*MASK_TOPS, "fg", "bg"], "num_classes: 3")
    net.forward()
    assert [net.blobs[t].data.shape[0] for t in MASK_TOPS] == [rows] * 8
    assert net.blobs["targets"].data.shape == (rows, 12)
    assert len(net.blobs["fg"].data) + len(net.blobs["bg"].data) == proposals
    found = backward(net, {"rois": 1})
    assert np.array_equal(found["rpn_rois"], np.ones((proposals, 5)))         # all were taken


def test_only_the_foreground_gets_a_gradient_without_bp_all():
    with overridden(ONE_BACKGROUND_BIN):
        net = build("ProposalTargetLayer", target_bottoms(3, 2, masks=False), TARGET_TOPS,
                    "{'num_classes': 3, 'bp_all': 0}")
    net.forward()
    assert backward(net, {"rois": 1})["rpn_rois"][:, 1].tolist() == [1, 0, 1]


def test_tops_and_bottoms_must_match():
    with pytest.raises(LayerError, match="3 bottoms for 5 tops"):
        build("ProposalTargetLayer", target_bottoms(3, 2, masks=False), MASK_TOPS, "num_classes: 3")
    with pytest.raises(LayerError, match="7 bottoms for 8 tops"):
        build("StageBridgeLayer", target_bottoms(3, 2), ["rois_ext"], "num_classes: 3")
    with pytest.raises(LayerError, match="441"):
        build("MaskLayer", {"m": np.zeros((2, 100))}, ["p"])


def test_masks_without_foreground():
    bottoms = {"m": np.full((2, 441), 0.9), "gt": np.ones((1, 9, 9)), "info": np.full((2, 12), -1)}
    net = build("MaskLayer", bottoms, ["p", "label"])
    net.forward()
    assert not net.blobs["label"].data.any() and not backward(net, {"p": 1})["m"].any()


# --- the exact forms ------------------------------------------------------------------------

def test_exact_mask_gradient_passes_every_row():
    bottoms = {"m": np.full((2, 441), 0.9), "gt": np.ones((1, 9, 9)), "info": np.full((2, 12), -1)}
    with overridden({"COMPAT.MASK_GRADIENT": "exact"}):
        net = build("MaskLayer", bottoms, ["p", "label"])
    net.forward()
    assert (backward(net, {"p": 1})["m"] == 1).all()


@pytest.mark.parametrize("text, limit", [
    ("feat_stride: 8", None), ("{'feat_stride': 8, 'use_clip': 1, 'clip_base': 4}", 0.25),
])
def test_exact_proposal_gradient_is_the_derivative(text, limit):
    bottoms = proposal_bottoms(2)
    with overridden(SMALL | {"COMPAT.PROPOSAL_GRADIENT": "exact", "TRAIN.RPN_POST_NMS_TOP_N": 5}):
        net = build("ProposalLayer", bottoms, ["rois", "index"], text, dtype="float64")
    net.forward()
    weight = np.random.default_rng(1).normal(size=(5, 5))
    found = backward(net, {"rois": weight})["deltas"]
    rows = np.flatnonzero(found)

    def value(at):
        net.blobs["deltas"].data.reshape(-1)[rows] = at
        net.forward()
        return (weight[:, 1:] * net.blobs["rois"].data[:, 1:]).sum()

    numerical = gradient(value, bottoms["deltas"].reshape(-1)[rows])
    assert len(rows) >= 12
    expected = numerical if limit is None else np.clip(numerical, -limit, limit)
    assert np.allclose(found.reshape(-1)[rows], expected, atol=1e-6)


def bridge_bottoms():
    rng = np.random.default_rng(4)
    truth = target_bottoms(3, 2)
    scores = rng.uniform(size=(3, 3))
    scores[0] = 0.9, 0.5, 0.1                                   # class 0 first: testing only
    return {"rois": truth["rpn_rois"], "pred": rng.normal(0, 0.5, (3, 12)), "prob": scores,
            "gt_boxes": truth["gt_boxes"], "gt_masks": truth["gt_masks"], "im_info": IM_INFO,
            "mask_info": truth["mask_info"]}


@pytest.mark.parametrize("deltas", ["reference", "exact"])
def test_exact_bridge_gradient_is_the_derivative(deltas):
    bottoms = bridge_bottoms()
    tops = [f"t{i}" for i in range(8)]
    exact = {"COMPAT.BRIDGE_GRADIENT": "exact", "COMPAT.BRIDGE_DELTAS": deltas}
    with overridden(NORMALIZED | exact):
        net = build("StageBridgeLayer", bottoms, tops, "num_classes: 3", dtype="float64")
    net.forward()
    weight = np.random.default_rng(1).normal(size=(5, 5))
    found = backward(net, {"t0": weight})

    def value(name):
        def of(array):
            net.blobs[name].data[...] = array
            net.forward()
            return (weight[:, 1:] * net.blobs["t0"].data[:, 1:]).sum()
        return of

    for name in ("pred", "rois"):
        at = net.blobs[name].data.copy()
        columns = slice(1, None) if name == "rois" else slice(None)
        numerical = gradient(value(name), at)
        assert np.abs(numerical).max() > 0.1
        assert np.allclose(found[name][:, columns], numerical[:, columns], atol=1e-6)
        net.blobs[name].data[...] = at


@pytest.mark.parametrize("classes, shift", [("all", 1.0), ("foreground", 2.0)])
def test_which_class_moves_the_rois_of_a_test(classes, shift):
    rois = np.array([[0, 10, 10, 19, 29]], np.float32)
    pred = np.array([[1, 0, 0, 0, 2, 0, 0, 0]], np.float32)     # class 0 one width, class 1 two
    with overridden({"COMPAT.BRIDGE_TEST_CLASS": classes}):
        net = build("StageBridgeLayer", {"rois": rois, "pred": pred, "prob": np.array([[0.9, 0.1]]),
                                         "im_info": IM_INFO}, ["rois_ext"], phase=caffe.TEST)
    net.forward()
    assert net.blobs["rois_ext"].data[0, 1] == 10 + 10 * shift


@pytest.mark.parametrize("growth, width", [(75.0, 10 * np.e ** 2), (np.log(3), 30.0)])
def test_most_growth_of_a_box(growth, width):
    """Of RoIs by the bridge, in training in true size too, and of anchors by the proposal layer."""
    pred = np.zeros((1, 12), np.float32)
    pred[0, 10] = 2
    bottoms = bridge_bottoms() | {
        "rois": np.array([[0, 40, 30, 49, 39]], np.float32), "pred": pred,
        "prob": np.array([[0, 0, 1]], np.float32)}
    test = {name: bottoms[name] for name in ("rois", "pred", "prob")} | {"im_info": IM_INFO}
    with overridden({"COMPAT.BBOX_GROWTH": growth}):
        net = build("StageBridgeLayer", test, ["rois_ext"], phase=caffe.TEST)
    net.forward()
    found = net.blobs["rois_ext"].data[0]
    assert np.isclose(found[3] - found[1], width) and np.isclose(found[4] - found[2], 10)

    exact = {"COMPAT.BRIDGE_DELTAS": "exact", "TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED": True,
             "TRAIN.BBOX_NORMALIZE_STDS": [0.1, 0.1, 0.2, 0.2]}
    bottoms["pred"] = pred / 0.2
    with overridden({"COMPAT.BBOX_GROWTH": growth} | exact):
        net = build("StageBridgeLayer", bottoms, [f"t{i}" for i in range(8)], "num_classes: 3")
    net.forward()
    widths = net.blobs["t0"].data[:, 3] - net.blobs["t0"].data[:, 1]
    assert np.isclose(widths, width).any()

    deltas = np.zeros((1, 4, 8, 12), np.float32)
    deltas[0, 2, 4, 6] = 2
    with overridden(SMALL | {"ANCHOR_SCALES": [1], "COMPAT.BBOX_GROWTH": growth}):
        net = build("ProposalLayer", {"prob": np.ones((1, 2, 8, 12)), "deltas": deltas,
                                      "im_info": IM_INFO}, ["rois"], "feat_stride: 8")
    net.forward()
    rois = net.blobs["rois"].data
    assert np.isclose((rois[:, 3] - rois[:, 1]).max(), min(95, 16 * width / 10))


def test_the_bridge_without_any_roi():
    bottoms = {name: array[:0] if name in ("rois", "pred", "prob") else array
               for name, array in bridge_bottoms().items()}
    net = build("StageBridgeLayer", bottoms, [f"t{i}" for i in range(8)], "num_classes: 3")
    net.forward()
    assert net.blobs["t1"].data.tolist() == [2, 1]              # the ground truth itself
    assert backward(net, {"t0": 1})["rois"].shape == (0, 5)
