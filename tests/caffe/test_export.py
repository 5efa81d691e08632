"""caffe.export: files of torch and ONNX that compute what the net computes, or none."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

import caffe
import caffe.export as exporting
from caffe import ops
from caffe.commands.export import main
from caffe.engine.net.net import Net
from caffe.export import Form, export
from caffe.exporting import plain, targets
from caffe.exporting.checking import samples
from test_plan import DOUBLING, INPUT, WARP, Doubling, conv, data, layer, nets  # noqa: F401

MISSING = [name for name in ("onnx", "onnxscript", "onnxruntime")
           if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
EVERY = pytest.mark.parametrize("target", [
    "torch", "torchscript", "pt2", "code", pytest.param("onnx", marks=needs_onnx)])
DYNAMIC = pytest.mark.parametrize("target", [
    "pt2", "torchscript", "code", pytest.param("onnx", marks=needs_onnx)])


def pooling(kind, top, options):
    return layer("Pooling", "a", top, f"pooling_param {{ pool: {kind} {options} }}")


# windows that round up: clipped at the end, dropped because they begin in the padding, empty
POOLINGS = tuple(pooling(kind, f"{kind}{i}", options) for kind in ("MAX", "AVE") for i, options in
                 enumerate(("kernel_size: 3 stride: 2", "kernel_size: 3 stride: 2 pad: 1",
                            "kernel_size: 2 stride: 3 pad: 1", "kernel_size: 1 stride: 2",
                            "global_pooling: true", "kernel_h: 4 kernel_w: 3 stride: 3 pad_h: 2",
                            "kernel_size: 3 stride: 2 round_mode: FLOOR")))
NET = (INPUT, conv("c1/3x3", "x", "a"), layer("BatchNorm", "a", "a"),
       layer("Scale", "a", "a", "scale_param { bias_term: true }"), layer("ReLU", "a", "a"),
       *POOLINGS, layer("LRN", "a", "norm", "lrn_param { local_size: 3 alpha: 0.5 }"),
       layer("LRN", "a", "inside", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"),
       layer("Deconvolution", "a", "up", """convolution_param { num_output: 2 kernel_size: 4 stride: 2
             pad: 1 weight_filler { type: 'gaussian' std: 0.3 } }"""),
       layer("Slice", "a", "s1", "slice_param { axis: 1 }").replace("top", "top: 's2' top", 1),
       layer("Eltwise", "s1 s2", "e", "eltwise_param { operation: MAX }"),
       layer("Concat", "e s1", "cat"), layer("Crop", "up cat", "cropped"),
       layer("Flatten", "cat", "f"),
       layer("InnerProduct", "f", "ip",
             "inner_product_param { num_output: 5 weight_filler { type: 'xavier' } }"),
       layer("Softmax", "ip", "prob-1"), layer("ArgMax", "ip", "best"),
       layer("PReLU", "norm", "prelu"), layer("Permute", "inside", "turned",
                                              "permute_param { order: 0 order: 2 order: 3 }"),
       layer("Power", "a", "power", "power_param { power: 2 scale: 0.5 shift: 1 }"),
       layer("PriorBox", "e x", "boxes", "prior_box_param { min_size: 2 aspect_ratio: 2 }"))


@EVERY
def test_each_target_computes_what_the_net_computes(target, tmp_path):
    net, = nets(*NET, count=1)
    done = export(net, tmp_path / f"file.{target}", target)
    assert done.inputs == ["x"] and done.outputs == list(net.outputs) and not done.foreign
    assert 0 <= done.difference < 5e-5
    beside = ["file.safetensors"] if target == "code" else []
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"file.{target}", *beside]


@needs_onnx
def test_onnx_has_the_names_and_the_numbers_of_the_net(tmp_path):
    import onnxruntime
    net, = nets(*NET, count=1)
    export(net, tmp_path / "net.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    x = data(2, 3, 8, 10, seed=9)
    assert [each.name for each in session.get_outputs()] == list(net.outputs)
    found = dict(zip(net.outputs, session.run(None, {"x": x})))
    for name, value in net.forward(x=x).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_program_of_torch_runs_without_the_net(tmp_path):
    net, = nets(*NET, count=1)
    export(net, tmp_path / "net.pt2", "pt2", outputs=["prob-1"])
    x = data(2, 3, 8, 10, seed=9)
    found = torch.export.load(tmp_path / "net.pt2").module()(x=torch.from_numpy(x))
    np.testing.assert_allclose(found["prob-1"].detach(), net.forward(x=x)["prob-1"], atol=1e-6)


def test_a_state_dict_is_loaded_by_torch_safely(tmp_path):
    net, = nets(*NET, count=1)
    export(net, tmp_path / "net.pth", "torch")
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    np.testing.assert_array_equal(state["c1/3x3.weight"], net.params["c1/3x3"][0].data)


@EVERY
def test_other_numbers_than_the_nets_are_refused_and_no_file_is_left(target, tmp_path, monkeypatch):
    net, = nets(*NET[:3], count=1)
    (tmp_path / "old").write_text("as it was")
    monkeypatch.setattr(targets, "MOST_DIFFERENCE", -1.0)
    with pytest.raises(caffe.CaffeError, match="gives other outputs than the net"):
        export(net, tmp_path / "old", target)
    assert (tmp_path / "old").read_text() == "as it was" and len(list(tmp_path.iterdir())) == 1


def test_differences_are_relative_where_values_are_large():
    expected = np.array([1000.0, 0.0, np.inf, np.nan], np.float32)
    found = torch.tensor([1000.5, 0.1, np.inf, np.nan])
    assert exporting.difference(found[:2], expected[:2]) == pytest.approx(5e-4)
    assert exporting.difference(found[2:], expected[2:]) == 0
    assert exporting.difference(found[:1], expected[2:3]) == np.inf
    assert exporting.difference(found[3:], expected[:1]) == np.inf
    assert exporting.difference(found[:1], expected[:2]) == np.inf


def test_operators_of_ours_are_told(tmp_path):
    rois = np.array([[0, 1, 1, 7, 6], [1, 0, 2, 9, 7]], np.float32)
    values = {"x": data(2, 3, 8, 10), "rois": rois}
    for kind, foreign in (("ROIPooling", ["caffe::roi_pooling"]), ("ROIWarping", [])):
        pool = layer(kind, "x rois", "y", "roi_pooling_param { pooled_w: 3 pooled_h: 2 }"
                     .replace("pooling", kind[3:].lower()))
        net, = nets(*WARP[:2], pool, count=1)
        assert export(net, tmp_path / "net.pt2", "pt2", values=values).foreign == foreign
        assert not export(net, tmp_path / "net.pt", "torchscript", values=values).foreign


@needs_onnx
def test_regions_are_pooled_in_onnx_as_here(tmp_path):
    """Corners that round up and down, empty bins, RoIs over the border and outside of the map."""
    pool = layer("ROIPooling", "x rois", "y",
                 "roi_pooling_param { pooled_w: 3 pooled_h: 2 spatial_scale: 0.5 }")
    mask = layer("Pooling", "x", "small", "pooling_param { kernel_h: 7 kernel_w: 8 }")
    net, = nets(WARP[0], WARP[1].replace("dim: 2", "dim: 6"), pool, mask,
                layer("Power", "y", "z", "power_param { scale: 2 }"), count=1)
    rois = np.array([[0, 1, 1, 7, 6], [1, 0, 2, 19, 17], [1, 5, 5, 5, 5], [0, -9, -5, 4, 3],
                     [1, 12.9, 3, 40, 30], [0, 60, 60, 70, 70]], np.float32)
    done = export(net, tmp_path / "net.onnx", "onnx", values={"x": data(2, 3, 8, 10), "rois": rois})
    assert done.difference == 0 and (net.blobs["y"].data[-1] == 0).all()


@EVERY
def test_what_no_file_can_hold_is_named_with_its_layer(target, tmp_path):
    net, = nets(INPUT, layer("Python", "x", "y", DOUBLING), count=1)
    if target == "torch":       # the weights alone
        return
    with pytest.raises(caffe.CaffeError, match=r'layer "Python_y" \(Python\): it reads.*outputs='):
        export(net, tmp_path / "net", target)
    assert not list(tmp_path.iterdir())


@EVERY
def test_inputs_that_nobody_reads_and_layers_in_place_on_inputs(target, tmp_path):
    net, = nets(INPUT, INPUT.replace('"in"', '"i"').replace('"x"', '"im_info"'),
                layer("ReLU", "x", "x"), count=1)
    assert net.outputs == ["im_info", "x"]
    done = export(net, tmp_path / "net", target)
    assert (done.inputs, done.outputs, done.difference) == (["x"], ["x"], 0)


def test_only_test_nets_with_outputs_go(tmp_path):
    train, = nets(*NET[:2], count=1, phase=caffe.TRAIN)
    silent, = nets(INPUT, 'layer { name: "s" type: "Silence" bottom: "x" }', count=1)
    for net, why in ((train, "this one is in TRAIN"), (silent, "this one has none")):
        with pytest.raises(caffe.CaffeError, match=why):
            export(net, tmp_path / "net.pth", "torch")


def test_values_must_fit_the_inputs(tmp_path):
    net, = nets(*NET[:2], count=1)
    for values, got in (({}, "none"), ({"x": np.zeros(3)}, r"\(3,\)")):
        with pytest.raises(caffe.CaffeError, match=rf'shape \(2, 3, 8, 10\) for input "x", got {got}'):
            export(net, tmp_path / "net.pth", "torch", values=values)


def test_labels_are_no_random_numbers(tmp_path):
    label = INPUT.replace('"in"', '"l"').replace('"x"', '"label"').replace("dim: 3", "dim: 1")
    net, = nets(INPUT, label, layer("SoftmaxWithLoss", "x label", "loss"), count=1)
    with pytest.raises(caffe.CaffeError, match=r"layer \"SoftmaxWithLoss_loss\".*--values FILE.npz"):
        export(net, tmp_path / "net.pt", "torchscript")
    values = {"x": data(2, 3, 8, 10), "label": np.zeros((2, 1, 8, 10), np.float32)}
    assert export(net, tmp_path / "net.pt", "torchscript", values=values).difference < 1e-6


def test_rois_and_sizes_of_images_are_such_as_can_be(tmp_path):
    """Without --values: RoIs in the image, that differ; an image of the map's size."""
    pool = layer("ROIPooling", "x rois", "y", "roi_pooling_param { pooled_w: 2 pooled_h: 2 spatial_scale: 0.5 }")
    net, = nets(WARP[0], WARP[1].replace("dim: 2", "dim: 6"), pool, count=1)
    given, = samples(net, net.to_torch(), Form(), None)[1:2]
    rois = given["rois"].numpy()
    assert set(rois[:, 0]) == {0, 1} and (rois[:, 3:] >= rois[:, 1:3]).all() and rois.std(0).min() > 0
    assert rois.max() < 20 and export(net, tmp_path / "net.pt", "torchscript").difference < 1e-6
    scores, shifts = (INPUT.replace('"in"', f'"{n}"').replace('"x"', f'"{n}"').replace("dim: 2 dim: 3", f"dim: 1 dim: {c}")
                      for n, c in (("s", 4), ("d", 8)))
    info = 'layer { name: "i" type: "Input" top: "info" input_param { shape { dim: 1 dim: 3 } } }'
    net, = nets(scores, shifts, info, layer("Proposal", "s d info", "rois", """proposal_param { feat_stride: 16
        base_size: 16 min_size: 4 ratio: 1 scale: 2 scale: 4 pre_nms_topn: 50 post_nms_topn: 9 nms_thresh: 0.7 }"""), count=1)
    given = samples(net, net.to_torch(), Form(), None)[0]
    assert given["info"].tolist() == [[128, 160, 1]]
    for target in ("torchscript", "pt2"):
        assert export(net, tmp_path / "net.pt", target).difference < 1e-5


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    net, = nets(*NET[:2], count=1)
    (tmp_path / "net.prototxt").write_text("\n".join(NET[:2]))
    net.save(str(tmp_path / "net.caffemodel"))
    files = [str(tmp_path / name) for name in ("net.prototxt", "net.caffemodel", "net.pth")]
    assert main([*files[:2], "--to", "pt2", "-o", files[2], "--input", "x=1x3x5x7"]) == 0
    assert "x -> a" in (said := capsys.readouterr().out) and "Largest difference from the net:" in said
    program = torch.export.load(files[2]).module()
    x = data(1, 3, 5, 7)
    net.blobs["x"].reshape(1, 3, 5, 7)
    np.testing.assert_allclose(program(x=torch.from_numpy(x))["a"].detach(), net.forward(x=x)["a"],
                               atol=1e-6)
    for shape, why in (("y=1x3", "inputs are x"), ("x=1,3", "takes NAME=1x3x600x1000")):
        assert main([*files[:2], "--to", "pt2", "-o", files[2], "--input", shape]) == 1
        assert why in capsys.readouterr().err


@needs_onnx
def test_real_networks_in_onnx_give_what_the_real_caffe_gave(real_material, tmp_path):
    import onnxruntime
    for name, files in json.loads((real_material / "models.json").read_text()).items():
        recorded = np.load(real_material / files["outputs"])
        net = Net(str(real_material / files["prototxt"]), caffe.TEST,
                  weights=str(real_material / files["weights"]))
        net.blobs[net.inputs[0]].reshape(*recorded["in"].shape)
        net.reshape()
        export(net, tmp_path / "net.onnx", "onnx")
        session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
        for key, value in zip(net.outputs, session.run(None, {net.inputs[0]: recorded["in"]})):
            wanted = recorded[f"out_{key}"]
            np.testing.assert_allclose(value, wanted, rtol=1e-4, err_msg=f"{name} {key}",
                                       atol=1e-5 * np.abs(wanted).max())


def test_real_networks_in_plain_code_give_what_the_real_caffe_gave(real_material, tmp_path):
    for name, files in json.loads((real_material / "models.json").read_text()).items():
        recorded = np.load(real_material / files["outputs"])
        net = Net(str(real_material / files["prototxt"]), caffe.TEST,
                  weights=str(real_material / files["weights"]))
        net.blobs[net.inputs[0]].reshape(*recorded["in"].shape)
        net.reshape()
        export(net, tmp_path / f"{name}.py", "code")
        spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = module.Net()(torch.from_numpy(recorded["in"]))
        for key, value in found.items():
            wanted = recorded[f"out_{key}"]
            np.testing.assert_allclose(value.detach(), wanted, rtol=1e-4, err_msg=f"{name} {key}",
                                       atol=1e-5 * np.abs(wanted).max())


CONVS = (INPUT, conv("c1/3x3", "x", "a"), layer("ReLU", "a", "a"), *POOLINGS[:3], POOLINGS[7], POOLINGS[8],
         layer("LRN", "a", "norm", "lrn_param { local_size: 3 alpha: 0.5 }"),
         layer("Softmax", "norm", "soft"), layer("Concat", "a soft", "cat"),
         layer("Pooling", "cat", "all", "pooling_param { pool: AVE global_pooling: true }"))


@DYNAMIC
def test_any_batch_and_any_size(target, tmp_path):
    """Windows that are clipped at some sizes and are not at others, a batch of one."""
    net, = nets(*CONVS, count=1)
    done = export(net, tmp_path / "net.py", target, form=Form({"x": (0, 2, 3)}))
    assert done.difference < 5e-5 and net.blobs["x"].shape == (2, 3, 8, 10)
    if target == "onnx":
        import onnxruntime
        session = onnxruntime.InferenceSession(tmp_path / "net.py")
        for shape in ((1, 3, 9, 9), (3, 3, 7, 16), (1, 3, 12, 13)):
            x = data(*shape)
            net.blobs["x"].reshape(*shape)
            found = dict(zip(net.outputs, session.run(None, {"x": x})))
            for name, value in net.forward(x=x).items():
                np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)


@DYNAMIC
def test_a_size_that_the_net_fixes_is_no_dynamic_one(target, tmp_path):
    flat = layer("InnerProduct", "x", "y", "inner_product_param { num_output: 2 }")
    net, = nets(INPUT, flat, count=1)
    with pytest.raises(caffe.CaffeError, match="dynamic: the net itself does not take"):
        export(net, tmp_path / "net", target, form=Form({"x": (2,)}))
    for dynamic, why in (({"y": (0,)}, 'no input "y"; inputs are x'), ({"x": (4,)}, "axes 0 to 3, got 4")):
        with pytest.raises(caffe.CaffeError, match=why):
            export(net, tmp_path / "net", target, form=Form(dynamic))
    assert not list(tmp_path.iterdir())


def test_torchscript_gives_a_tuple(tmp_path):
    net, = nets(*NET[:2], count=1)
    export(net, tmp_path / "net.pt", "torchscript")
    x = data(2, 3, 8, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found, = torch.jit.load(tmp_path / "net.pt")(torch.from_numpy(x))
    np.testing.assert_allclose(found.detach(), net.forward(x=x)["a"], atol=1e-6)


@EVERY
def test_in_sixteen_bits(target, tmp_path):
    net, = nets(*CONVS[:3], count=1)
    done = export(net, tmp_path / "net.py", target, form=Form(half=True))
    assert 0 < done.difference < 1e-2
    weights = tmp_path / ("net.safetensors" if target == "code" else "net.py")
    assert weights.stat().st_size < 60_000
    if target == "torch":
        assert torch.load(tmp_path / "net.py")["c1/3x3.weight"].dtype == torch.float16


def test_code_is_a_line_a_layer_and_needs_torch_alone(tmp_path):
    net, = nets(*NET, count=1)
    export(net, tmp_path / "net.py", "code")
    text = (tmp_path / "net.py").read_text()
    assert "caffe" not in text
    assert "        c1_3x3 = torch.conv2d(x, self.c1_3x3_weight, self.c1_3x3_bias" in text
    assert len(re.findall("# Pooling$", text, re.MULTILINE)) == len(POOLINGS)
    code = f"""import sys; sys.path.insert(0, {str(tmp_path)!r})
import torch; from net import Net
x = torch.arange(480.).reshape(2, 3, 8, 10) / 480
module = Net(); found = module(x)
found['prob-1'].sum().backward()
assert 'numpy' not in vars(sys.modules['net']) and not any(m.startswith('caffe') for m in sys.modules)
print(found['prob-1'].tolist())"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    expected = net.forward(x=np.arange(480, dtype=np.float32).reshape(2, 3, 8, 10) / 480)["prob-1"]
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)


def test_weights_beside_code_are_what_safetensors_reads(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    net, = nets(*NET[:5], count=1)
    export(net, tmp_path / "net.py", "code")
    found = safetensors.load_file(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(found["c1_3x3_weight"], net.params["c1/3x3"][0].data)


def test_boxes_are_suppressed_and_pooled_in_plain_torch():
    random = np.random.default_rng(2)
    low = random.uniform(0, 30, (3, 40, 2))
    boxes = torch.tensor(np.concatenate((low, low + random.uniform(1, 20, (3, 40, 2))), 2))
    scores = torch.tensor(random.uniform(size=(3, 40)).round(1))
    scores[0, :5], scores[1, 3] = -np.inf, np.nan
    for inclusive, limit in ((False, 0), (True, 4)):
        arguments = boxes, scores, 0.3, inclusive, limit
        assert torch.equal(plain.nms_of_lists(*arguments), ops.nms_of_lists(*arguments))
    features = torch.tensor(random.normal(size=(2, 3, 8, 10)), dtype=torch.float32)
    rois = torch.tensor([[0, 1, 1, 7, 6], [1, 0, 2, 19, 17], [1, 5, 5, 5, 5], [0, -9, -5, 4, 3],
                         [1, 12.9, 3, 40, 30], [0, 60, 60, 70, 70]])
    torch.testing.assert_close(plain.roi_pooling(features, rois, 2, 3, 0.5)[0],
                               ops.roi_pooling(features, rois, 2, 3, 0.5).contiguous())


@needs_onnx
def test_states_begin_anew_in_a_file_and_it_is_said(tmp_path):
    lstm = layer("LSTM", "s c", "h", """recurrent_param { num_output: 4
        weight_filler { type: 'uniform' min: -1 max: 1 } }""")
    text = """layer { name: "in" type: "Input" top: "s" top: "c" input_param {
        shape { dim: 3 dim: 2 dim: 5 } shape { dim: 3 dim: 2 } } }"""
    net, = nets(text, lstm, count=1)
    values = {"s": data(3, 2, 5), "c": np.array([[0, 0], [1, 1], [1, 0]], np.float32)}
    done = export(net, tmp_path / "net.onnx", "onnx", values=values)
    assert done.difference < 1e-5 and "states begin at 0" in done.notes[0]


class Tripling(caffe.Layer):
    """A layer of a user that says what it is in tensors."""

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = 3 * bottom[0].data

    def tensor_form(self):
        return lambda x: (3 * x,)


def test_a_python_layer_goes_by_its_tensor_form(tmp_path):
    net, = nets(INPUT, layer("Python", "x", "y", DOUBLING.replace("test_plan", __name__).replace(
        "Doubling", "Tripling")), count=1)
    assert export(net, tmp_path / "net.pt2", "pt2").difference == 0


def detector():
    """An SSD of one map: 4 x 5 cells, 4 priors each, 3 classes."""
    def head(name, outputs):
        flat = f"{name}_flat"
        return (conv(name, "a", name, outputs),
                layer("Permute", name, f"{name}_turned", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
                layer("Flatten", f"{name}_turned", flat))
    pool = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
    return (INPUT, conv("c", "x", "c", 4), layer("Pooling", "c", "a", pool), *head("loc", 16), *head("conf", 12),
            layer("PriorBox", "a x", "priors", "prior_box_param { min_size: 3 max_size: 5 aspect_ratio: 2 flip: true }"),
            layer("Reshape", "conf_flat", "rows", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }"),
            layer("Softmax", "rows", "prob", "softmax_param { axis: 2 }"), layer("Flatten", "prob", "probs"),
            layer("DetectionOutput", "loc_flat probs priors", "found", """detection_output_param { num_classes: 3
                nms_param { nms_threshold: 0.4 top_k: 30 } keep_top_k: 12 confidence_threshold: 0.4 code_type: CENTER_SIZE }"""))


@EVERY
def test_an_ssd_with_its_detections(target, tmp_path):
    net, = nets(*detector(), count=1)
    done = export(net, tmp_path / "net.py", target)
    assert done.difference < 5e-5 and done.outputs == ["found"]
    assert done.foreign == (["caffe::nms_of_lists"] if target == "pt2" else [])
    found = net.forward(x=data(2, 3, 8, 10))["found"]
    assert 5 < found.shape[2] <= 24 and found[0, 0, :, 1].min() == 1
