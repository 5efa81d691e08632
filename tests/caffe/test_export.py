"""caffe.export: files of torch and ONNX that compute what the net computes, or none."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch

import caffe
import caffe.export as exporting
import export_table
from caffe.commands.export import main
from caffe.engine.net.net import Net
from caffe.export import export
from test_plan import DOUBLING, INPUT, WARP, Doubling, conv, data, layer, nets  # noqa: F401

MISSING = [name for name in ("onnx", "onnxscript", "onnxruntime")
           if importlib.util.find_spec(name) is None]
REGIONS = ("MaskPooling", "MaskResize", "ROIPooling", "ROIWarping")
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
EVERY = pytest.mark.parametrize("target", [
    "torch", "pt2", pytest.param("onnx", marks=needs_onnx)])


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
    assert [p.name for p in tmp_path.iterdir()] == [f"file.{target}"]


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
    monkeypatch.setattr(exporting, "MOST_DIFFERENCE", -1.0)
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


@needs_onnx
@pytest.mark.parametrize("layers, said", [
    ((INPUT, layer("ArgMax", "x", "y", "argmax_param { top_k: 2 }")), 'layer "ArgMax_y": ONNX has no'),
    ((INPUT, layer("Python", "x", "y", DOUBLING)), r'layer "Python_y" \(Python\): it reads')])
def test_what_onnx_cannot_say_is_named_with_its_layer(layers, said, tmp_path):
    net, = nets(*layers, count=1)
    values = {name: np.zeros(net.blobs[name].shape) for name in net.inputs}
    with pytest.raises(caffe.CaffeError, match=said):
        export(net, tmp_path / "net.onnx", "onnx", values=values)
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


def test_the_page_tells_what_leaves_the_net():
    """`python -m pytest tests/caffe/export_table.py` adds what it lacks."""
    found, movable = export_table.written(), {
        kind for kind, case in export_table.ENTRIES.values() if export_table.can_move(kind, case)}
    assert len(found) > 80
    assert {k for k, cells in found.items() if cells[0] == "yes"} == movable & set(found)


@needs_onnx
def test_cases_go_through_onnx_where_the_page_says_so(tmp_path):
    """A tenth of all, and those of regions."""
    said, entries = export_table.written(), export_table.ENTRIES
    chosen = {name: (kind, case) for i, (name, (kind, case)) in enumerate(entries.items())
              if (i % 10 == 0 or kind in REGIONS) and said.get(kind, [""])[-1] == "yes"}
    assert len(chosen) > 15
    assert export_table.refusals(tmp_path, "onnx", chosen) == {}
