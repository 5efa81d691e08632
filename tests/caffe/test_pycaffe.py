"""The surface of pycaffe: every name of the module and every member of its classes."""

import ast
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import caffe
import caffe._caffe
import caffe.pycaffe
from caffe.engine import log as caffe_log
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net

NET = """
name: "testnet"
force_backward: true
layer { name: "data" type: "Input" top: "data" top: "label"
        input_param { shape { dim: 4 dim: 2 dim: 3 dim: 3 } shape { dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 5 kernel_size: 2 pad: 1 weight_filler { type: "xavier" } }
        param { name: "w" lr_mult: 1 } param { lr_mult: 2 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip_blob"
        inner_product_param { num_output: 7 weight_filler { type: "gaussian" std: 2.5 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip_blob" bottom: "label" top: "loss"
        loss_weight: 2 }
"""

PUBLIC = ["Net", "SGDSolver", "NesterovSolver", "AdaGradSolver", "RMSPropSolver", "AdaDeltaSolver", "AdamSolver", "NCCL", "Timer", "init_log", "log", "set_mode_cpu", "set_mode_gpu", "set_device", "Layer", "get_solver", "layer_type_list", "set_random_seed", "solver_count", "set_solver_count", "solver_rank", "set_solver_rank", "set_multiprocess", "has_nccl", "__version__", "TRAIN", "TEST", "Classifier", "Detector", "io", "layers", "params", "NetSpec", "to_proto", "set_lenient"]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    return str(tmp_path / "net.prototxt")


@pytest.fixture
def net(path):
    caffe.set_random_seed(1)
    made = caffe.Net(path, caffe.TRAIN)
    made.blobs["data"].data[...] = np.random.rand(4, 2, 3, 3)
    made.blobs["label"].data[...] = [1, 2, 0, 6]
    return made


# --- the modules ----------------------------------------------------------------------------------

def test_the_first_name_loads_torch_and_all_the_rest():
    code = """
import sys
import caffe
print("torch" in sys.modules, caffe.__version__)
print(caffe.proto.caffe_pb2.Datum.__name__, "torch" in sys.modules, caffe.pycaffe.Net is caffe.Net)
from caffe import *
print(Net is caffe.Net, hasattr(caffe, "Nets"))
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.stdout == "False 1.0.0\nDatum False True\nTrue False\n", done.stderr


@pytest.mark.parametrize("module", ["caffe.ops", "caffe.classifier"])
def test_layer_types_and_kernels_are_there_whatever_is_imported_first(module):
    code = f"""
import {module}
from caffe.engine.layer import LAYERS
print(len(LAYERS.names()), "ReLU" in LAYERS)
from caffe import ops
print(ops.native is not None)
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    kernels = caffe.ops.native is not None
    assert done.stdout.split() == [str(len(caffe.layer_type_list())), "True", str(kernels)], done.stderr


def test_every_public_name_is_there():
    assert [name for name in PUBLIC if not hasattr(caffe, name)] == []
    assert set(caffe.__all__) <= set(dir(caffe))
    for module in ("io", "net_spec", "draw", "coord_map", "classifier", "detector", "pycaffe",
                   "_caffe", "proto.caffe_pb2"):
        __import__(f"caffe.{module}")


def test_the_old_modules_hold_the_same_objects():
    assert caffe.pycaffe.Net is caffe._caffe.Net is caffe.Net
    assert [n for n in caffe._caffe.__all__ if not hasattr(caffe._caffe, n)] == []
    for name in ("SGDSolver", "NCCL", "Timer", "get_solver"):
        assert getattr(caffe.pycaffe, name) is getattr(caffe._caffe, name)


def test_packages_for_one_feature_are_imported_by_it():
    """At the top of no module, so that `import caffe` works without them."""
    optional = {"skimage", "pydot", "lmdb", "plyvel", "matplotlib"}
    for path in Path(caffe.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not optional & {name.split(".")[0] for name in names}, path


def test_phases_and_version():
    assert (caffe.TRAIN, caffe.TEST) == (0, 1) and caffe.__version__.startswith("1.")


def test_layer_types_are_names():
    types = caffe.layer_type_list()
    assert {"Convolution", "InnerProduct", "Python", "SoftmaxWithLoss"} <= set(types)
    assert list(types) == sorted(types)


# --- Net: what it is made of ----------------------------------------------------------------------

def test_dictionaries_in_the_order_of_the_net(net):
    for each in (net.blobs, net.blob_loss_weights, net.params, net.layer_dict, net.top_names,
                 net.bottom_names):
        assert isinstance(each, OrderedDict)
    assert list(net.blobs) == ["data", "label", "conv", "ip_blob", "loss"]
    assert list(net.params) == ["conv", "ip"]
    assert [len(blobs) for blobs in net.params.values()] == [2, 2]
    assert list(net.layer_dict) == ["data", "conv", "relu", "ip", "loss"]
    assert net.blob_loss_weights == {"data": 0, "label": 0, "conv": 0, "ip_blob": 0, "loss": 2}
    assert net.bottom_names == {"data": [], "conv": ["data"], "relu": ["conv"], "ip": ["conv"],
                                "loss": ["ip_blob", "label"]}
    assert net.top_names["data"] == ["data", "label"] and net.top_names["relu"] == ["conv"]


def test_lists(net):
    assert (net.inputs, net.outputs) == (["data", "label"], ["loss"])
    assert list(net._blob_names) == list(net.blobs)
    assert list(net._layer_names) == list(net.layer_dict)
    assert [id(b) for b in net._blobs] == [id(b) for b in net.blobs.values()]
    assert list(net._blob_loss_weights) == [0, 0, 0, 0, 2]
    assert (list(net._inputs), list(net._outputs)) == ([0, 1], [4])
    assert (list(net._bottom_ids(4)), list(net._top_ids(0))) == ([3, 1], [0, 1])
    assert [y.type for y in net.layers] == ["Input", "Convolution", "ReLU", "InnerProduct",
                                            "SoftmaxWithLoss"]
    assert net.layers[1].blobs[0] is net.params["conv"][0]


def test_the_name_can_be_set(net):
    assert net.name == "testnet"
    net.name = "other"
    assert net.to_proto().name == "other"


def test_the_old_constructor_says_what_the_new_one_is(net, path, tmp_path, capsys):
    net.save(str(tmp_path / "w"))
    caffe.Net(path, str(tmp_path / "w"), caffe.TEST)
    assert "Net('" + path + "', 1, weights='" in capsys.readouterr().err


def test_level_and_stages(tmp_path):
    rule = 'layer {{ name: "{}" type: "Input" top: "{}" include {{ {} }} }}'
    (tmp_path / "n").write_text("\n".join(rule.format(n, n, r) for n, r in (
        ("a", "min_level: 2"), ("b", 'stage: "s"'), ("c", 'not_stage: "t"'), ("d", "phase: TEST"))))
    file = str(tmp_path / "n")
    assert list(caffe.Net(file, caffe.TRAIN).blobs) == ["c"]
    assert list(caffe.Net(file, caffe.TEST, level=2).blobs) == ["a", "c", "d"]
    assert list(caffe.Net(file, caffe.TRAIN, 0, ["s", "t"]).blobs) == ["b"]


# --- Net: running ---------------------------------------------------------------------------------

def test_forward_returns_live_views(net):
    out = net.forward()
    assert list(out) == ["loss"] and out["loss"] is not None
    assert np.shares_memory(out["loss"], net.blobs["loss"].data)
    first = float(out["loss"])
    net.blobs["data"].data[...] *= 3
    net.forward()
    assert float(out["loss"]) != first


def test_forward_takes_all_inputs_and_names_blobs(net):
    data, label = np.random.rand(4, 2, 3, 3), [0, 1, 2, 3]
    out = net.forward(blobs=["conv"], data=data, label=np.array(label))
    assert set(out) == {"loss", "conv"} and out["conv"].shape == (4, 5, 4, 4)
    np.testing.assert_allclose(net.blobs["data"].data, data, rtol=1e-6)
    net.forward(data=np.ones((4, 1, 1, 1)), label=np.zeros((4, 1, 1, 1)))   # as numpy assigns
    assert (net.blobs["data"].data == 1).all()


@pytest.mark.parametrize("given, message", [
    ({"data": np.ones((4, 2, 3, 3))}, '"label" is missing; inputs: data, label'),
    ({"data": 1, "label": 2, "x": 3}, '"x" is not an input'),
    ({"data": np.ones((3, 2, 3, 3)), "label": np.ones(4)}, r"has the shape \(4, 2, 3, 3\)"),
    ({"data": np.ones((4, 3, 2, 3)), "label": np.ones(4)}, None),
])
def test_wrong_inputs(net, given, message):
    if message is None:
        net.forward(**given)
        return
    with pytest.raises(ValueError, match=message):
        net.forward(**given)


def test_forward_from_and_to(net):
    whole = net.forward()["loss"].copy()
    assert list(net.forward(end="conv")) == ["conv"]
    assert list(net.forward(end="ip")) == ["ip_blob"]
    assert list(net.forward(start="ip", end="ip", blobs=["data"])) == ["ip_blob", "data"]
    np.testing.assert_array_equal(net.forward(start="relu")["loss"], whole)


def test_a_layer_whose_top_has_another_name_gives_the_blob_of_its_name_too():
    n = Net.from_proto(read_net("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }
        layer { name: "y" type: "AbsVal" bottom: "x" top: "z" }
        layer { name: "r" type: "AbsVal" bottom: "z" top: "y" }"""), caffe.TEST)
    assert list(n.forward(end="y")) == ["z", "y"]


def test_backward_returns_diffs(net):
    net.forward()
    out = net.backward()
    assert list(out) == ["data", "label"] and np.abs(out["data"]).sum() > 0
    assert np.shares_memory(out["data"], net.blobs["data"].diff)
    assert set(net.backward(diffs=["conv"])) == {"data", "label", "conv"}
    assert list(net.backward(end="ip")) == ["conv"]
    assert list(net.backward(start="relu", end="conv")) == ["data"]


def test_backward_takes_diffs_of_outputs(net):
    net.forward()
    once = net.backward()["data"].copy()
    twice = net.backward(loss=np.array(4.))["data"]
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)
    with pytest.raises(ValueError, match='"ip" is not an output'):
        net.backward(ip=1)


def test_layers_by_number(net):
    loss = net._forward(0, 4)
    assert isinstance(loss, float) and loss == pytest.approx(2 * float(net.blobs["loss"].data))
    net._backward(4, 0)
    assert net.run() == loss and net.run(0, 1) == 0
    net.run_backward()
    assert [node.layer for node in net.nodes] == list(net.layers)
    assert [node.top_names for node in net.nodes] == list(net.top_names.values())
    assert net.nodes[1].bottom[0] is net.blobs["data"]
    for run, first, last in ((net._forward, 0, 5), (net._backward, 5, 0), (net._forward, -1, 2)):
        with pytest.raises(IndexError, match="0 to 4"):
            run(first, last)


@pytest.fixture
def scores():
    caffe.set_random_seed(1)
    return Net.from_proto(read_net("""
        force_backward: true
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
        layer { name: "y" type: "InnerProduct" bottom: "x" top: "y"
                inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
        layer { name: "z" type: "Sigmoid" bottom: "y" top: "z" }"""), caffe.TEST)


def test_forward_all_takes_any_number_of_items(scores):
    x = np.random.rand(10, 3).astype(np.float32)
    out = scores.forward_all(blobs=["y"], x=x)
    np.testing.assert_allclose(out["y"], x @ scores.params["y"][0].data.T, rtol=1e-5)
    assert set(out) == {"z", "y"} and out["z"].shape == (10, 2)
    assert scores.forward_all(x=x[:8])["z"].shape == (8, 2)
    with pytest.raises(ValueError, match="needs an array"):
        scores.forward_all()


def test_batches_are_filled_with_zeros(scores):
    parts = list(scores._batch({"x": np.ones((10, 3), np.float32)}))
    assert [part["x"].shape for part in parts] == [(4, 3)] * 3
    assert (parts[2]["x"].sum(), parts[2]["x"].dtype) == (6, np.float32)


def test_forward_backward_all(scores):
    x, dz = np.random.rand(10, 3).astype(np.float32), np.random.rand(10, 2).astype(np.float32)
    outs, diffs = scores.forward_backward_all(blobs=["y"], diffs=["y"], x=x, z=dz)
    z = outs["z"]
    np.testing.assert_allclose(diffs["y"], dz * z * (1 - z), rtol=1e-4)
    np.testing.assert_allclose(diffs["x"], diffs["y"] @ scores.params["y"][0].data, rtol=1e-4)
    assert outs["y"].shape == (10, 2)
    with pytest.raises(ValueError, match="neither inputs nor outputs of the net: w"):
        scores.forward_backward_all(x=x, w=dz)


def test_callbacks_get_the_number_of_the_layer(scores):
    seen = []
    for when in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(scores, when)(lambda i, when=when: seen.append((when, i)))
    scores.forward()
    assert seen == [(f"{when}_forward", i) for i in range(3) for when in ("before", "after")]
    del seen[:]
    scores.backward()
    assert seen == [(f"{when}_backward", i) for i in (2, 1, 0) for when in ("before", "after")]


def test_reshape(net):
    net.blobs["data"].reshape(6, 2, 3, 3)
    net.blobs["label"].reshape(6)
    net.reshape()
    assert net.blobs["conv"].shape == (6, 5, 4, 4) and net.blobs["loss"].shape == ()


def test_clear_param_diffs(net):
    net.params["conv"][0].diff[...] = 1
    net.clear_param_diffs()
    assert (net.params["conv"][0].diff == 0).all()


# --- Net: weights ---------------------------------------------------------------------------------

@pytest.mark.parametrize("save, load", [("save", "copy_from"), ("save_hdf5", "load_hdf5"),
                                        ("save_to_hdf5", "copy_from")])
def test_weights_go_to_files_and_back(net, path, tmp_path, save, load):
    file = str(tmp_path / "w.h5")
    getattr(net, save)(file)
    other = caffe.Net(path, caffe.TEST)
    getattr(other, load)(file)
    np.testing.assert_array_equal(other.params["ip"][0].data, net.params["ip"][0].data)
    assert caffe.Net(path, caffe.TEST, weights=file).params["conv"][1].data.shape == (5,)


def test_save_hdf5_takes_write_diff(net, tmp_path):
    import h5py
    net.save_hdf5(str(tmp_path / "w.h5"), True)
    with h5py.File(tmp_path / "w.h5") as file:
        assert set(file) == {"data", "diff"}


def test_share_with_makes_one_memory(net, path):
    other = caffe.Net(path, caffe.TEST)
    other.share_with(net)
    net.params["ip"][0].data[0, 0] = 5
    assert other.params["ip"][0].data[0, 0] == 5


def test_surgery_by_flat_views(net):
    net.params["ip"][0].data.flat = np.arange(7 * 80)
    net.params["ip"][1].data[...] = 1
    assert net.params["ip"][0].data[1, 0] == 80


# --- Blob -----------------------------------------------------------------------------------------

def test_blob(net):
    blob = net.blobs["conv"]
    assert tuple(blob.shape) == (4, 5, 4, 4) and blob.count == 320
    assert (blob.num, blob.channels, blob.height, blob.width) == (4, 5, 4, 4)
    assert net.blobs["label"].channels == 1
    assert blob.data.dtype == np.float32 and blob.data.flags.writeable
    assert np.shares_memory(blob.data, blob.data) and not np.shares_memory(blob.data, blob.diff)
    blob.reshape(2, 10, 4, 4)
    assert blob.data.shape == blob.diff.shape == (2, 10, 4, 4)
    with pytest.raises(TypeError):
        blob.reshape(num=3)


def test_pointers_need_a_gpu(net):
    with pytest.raises(caffe.CaffeError, match="the blob is on the CPU"):
        net.blobs["data"]._gpu_data_ptr
    with pytest.raises(caffe.CaffeError, match="the blob is on the CPU"):
        net.blobs["data"]._gpu_diff_ptr


# --- Layer and containers -------------------------------------------------------------------------

class Recorder(caffe.Layer):
    """What a Python layer finds set before setup; two parameters."""

    def setup(self, bottom, top):
        self.found = (self.param_str, self.param_str_, self.phase, str(self.phase), len(self.blobs),
                      len(bottom), len(top))
        self.blobs.add_blob(3)
        self.blobs.add_blob(2, 5)
        self.blobs[0].data[...] = 7

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff


def test_python_layers(tmp_path):
    n = Net.from_proto(read_net(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 }} }} }}
        layer {{ name: "p" type: "Python" bottom: "x" top: "y" python_param {{
                 module: "{__name__}" layer: "Recorder" param_str: "abc" }} }}"""), caffe.TEST)
    layer = n.layers[1]
    assert isinstance(layer, Recorder) and layer.type == "Python"
    assert layer.found == ("abc", "abc", 1, "TEST", 0, 1, 1)
    assert [b.shape for b in n.params["p"]] == [(3,), (2, 5)]
    n.save(str(tmp_path / "w"))
    n.params["p"][0].data[...] = 0
    n.copy_from(str(tmp_path / "w"))
    assert (n.params["p"][0].data == 7).all()


def test_containers_index_slice_append_and_extend(net):
    blobs = net.params["conv"]
    assert isinstance(blobs, caffe._caffe.BlobVec)
    assert len(blobs) == 2 and blobs[-1] is blobs[1] and len(blobs[0:1]) == 1
    assert [b.count for b in blobs] == [40, 5] and blobs[0] in blobs
    caffe._caffe.BlobVec().add_blob(2, 3)
    for name in ("RawBlobVec", "LayerVec", "NetVec", "StringVec", "IntVec", "DtypeVec", "BoolVec"):
        vector = getattr(caffe._caffe, name)()
        vector.append(1)
        vector.extend([2, 3])
        vector[0] = 5
        assert (list(vector), len(vector), list(vector[1:])) == ([5, 2, 3], 3, [2, 3])


# --- Solver ---------------------------------------------------------------------------------------

@pytest.fixture
def solver_file(path, tmp_path):
    text = NET.replace('"Input"', '"DummyData"').replace("input_param", "dummy_data_param")
    (tmp_path / "data.prototxt").write_text(text)
    file = tmp_path / "solver.prototxt"
    file.write_text(f"""net: "{tmp_path}/data.prototxt" test_iter: 2 test_interval: 10 base_lr: 0.01
        lr_policy: "step" stepsize: 4 gamma: 0.1 momentum: 0.9 max_iter: 6 random_seed: 1 display: 2
        snapshot_prefix: "{tmp_path}/snap" """)
    return str(file)


def test_solver_members(solver_file):
    solver = caffe.SGDSolver(solver_file)
    assert isinstance(solver, caffe._caffe.Solver) and solver.iter == 0
    assert next(iter(solver.net.blobs)) == "data" and len(solver.test_nets) == 1
    before = solver.net.params["ip"][1].data.copy()
    solver.step(3)
    assert solver.iter == 3 and solver.lr == pytest.approx(0.01)
    assert (solver.net.params["ip"][1].data != before).any()
    solver.snapshot()
    solver.solve()
    assert solver.iter == 6 and solver.lr == pytest.approx(0.001)
    solver.restore(solver.param.snapshot_prefix + "_iter_3.solverstate")
    assert solver.iter == 3
    solver.solve(solver.param.snapshot_prefix + "_iter_6.solverstate")
    assert solver.iter == 6


def test_get_solver_and_the_six_classes(solver_file, tmp_path):
    assert type(caffe.get_solver(solver_file)) is caffe.SGDSolver
    text = Path(solver_file).read_text().replace("momentum: 0.9", "momentum: 0")
    for kind in ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):
        (tmp_path / kind).write_text(f'{text} type: "{kind}"')
        assert type(caffe.get_solver(str(tmp_path / kind))) is getattr(caffe, f"{kind}Solver")


def test_param_fields_can_be_set(solver_file):
    solver = caffe.SGDSolver(solver_file)
    param = solver.param
    assert (param.max_iter, param.display, param.layer_wise_reduce) == (6, 2, True)
    param.max_iter, param.base_lr, param.display, param.layer_wise_reduce = 2, 0.5, 0, False
    assert solver.lr == 0.5
    solver.solve()
    assert solver.iter == 2


def test_a_loop_of_ones_own_with_apply_update(solver_file):
    one, other = caffe.SGDSolver(solver_file), caffe.SGDSolver(solver_file)
    one.step(1)
    other.net.clear_param_diffs()
    other.net.forward()
    other.net.backward()
    other.apply_update()
    np.testing.assert_array_equal(one.net.params["ip"][0].data, other.net.params["ip"][0].data)


def test_callbacks_and_shared_weights_of_a_solver(solver_file, path):
    solver, seen = caffe.SGDSolver(solver_file), []
    solver.add_callback(lambda: seen.append("start"), lambda: seen.append("ready"))
    solver.step(2)
    assert seen == ["start", "ready"] * 2
    other = caffe.Net(path, caffe.TEST)
    solver.share_weights(other)
    solver.step(1)
    np.testing.assert_array_equal(other.params["ip"][0].data, solver.net.params["ip"][0].data)


# --- functions of the module ----------------------------------------------------------------------

def test_ranks_are_kept_for_each_thread():
    try:
        caffe.set_solver_count(4)
        caffe.set_solver_rank(2)
        caffe.set_multiprocess(True)
        assert (caffe.solver_count(), caffe.solver_rank()) == (4, 2)
        found = []
        thread = threading.Thread(
            target=lambda: found.append((caffe.solver_count(), caffe.solver_rank())))
        thread.start()
        thread.join()
        assert found == [(1, 0)]
    finally:
        caffe.set_solver_count(1)
        caffe.set_solver_rank(0)
        caffe.set_multiprocess(False)


def test_the_mode_belongs_to_the_thread(monkeypatch):
    from caffe.engine.device import current_device
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    caffe.set_device(3)
    caffe.set_mode_gpu()
    found = [str(current_device())]
    thread = threading.Thread(target=lambda: found.append(str(current_device())))
    thread.start()
    thread.join()
    caffe.set_mode_cpu()
    caffe.set_device(0)
    assert found == ["cuda:3", "cpu"]


def test_nets_run_in_threads_of_their_own(path):
    nets = [caffe.Net(path, caffe.TRAIN) for _ in range(3)]
    nets[1].share_with(nets[0])
    nets[2].share_with(nets[0])
    found = {}

    def work(i):
        for _ in range(5):
            nets[i].forward(data=np.full((4, 2, 3, 3), i), label=np.zeros(4))
            nets[i].backward()
        found[i] = nets[i].blobs["ip_blob"].data.copy()
    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(3):
        nets[0].forward(data=np.full((4, 2, 3, 3), i), label=np.zeros(4))
        np.testing.assert_allclose(found[i], nets[0].blobs["ip_blob"].data, rtol=1e-5)


def test_seeds_make_equal_nets(path):
    def weights():
        caffe.set_random_seed(5)
        return caffe.Net(path, caffe.TRAIN).params["ip"][0].data
    np.testing.assert_array_equal(weights(), weights())


def test_timer(capsys):
    timer = caffe.Timer()
    assert timer.ms == 0 and "never been run" in capsys.readouterr().err
    began = time.perf_counter()
    timer.start()
    timer.stop()
    assert 0 <= timer.ms <= 1000 * (time.perf_counter() - began) + 1
    timer.start()
    assert timer.ms >= 0


def test_log_and_init_log(capsys, monkeypatch):
    try:
        caffe.log("from a script")
        line = capsys.readouterr().err
        assert line.startswith("I") and "test_pycaffe.py:" in line and "] from a script" in line
        caffe.init_log(1, True)
        caffe.log("quiet")
        monkeypatch.setenv("GLOG_minloglevel", "2")
        caffe.init_log()
        caffe_log.warning("quiet too")
        assert capsys.readouterr().err == ""
    finally:
        monkeypatch.undo()
        caffe_log.configure()


# --- MemoryData -----------------------------------------------------------------------------------

MEMORY = """
layer { name: "in" type: "MemoryData" top: "data" top: "label"
        memory_data_param { batch_size: 2 channels: 1 height: 3 width: 2 } }
layer { name: "neg" type: "Power" bottom: "data" top: "neg" power_param { scale: -1 } }
layer { name: "quiet" type: "Silence" bottom: "label" }
"""


def test_set_input_arrays():
    n = Net.from_proto(read_net(MEMORY), caffe.TEST)
    data = np.random.rand(6, 1, 3, 2).astype(np.float32)
    n.set_input_arrays(data, np.arange(6, dtype=np.float32))
    for start in (0, 2, 4, 0):
        np.testing.assert_array_equal(n.forward()["neg"], -data[start:start + 2])
        np.testing.assert_array_equal(n.blobs["label"].data.ravel(), [start, start + 1])


@pytest.mark.parametrize("data, labels, message", [
    (np.ones((6, 1, 2, 3), np.float32), np.ones(6, np.float32), r"data must be \(N, 1, 3, 2\)"),
    (np.ones((6, 1, 3, 2)), np.ones(6, np.float32), "float32 and C-contiguous, got float64"),
    (np.ones((6, 1, 3, 2), np.float32), np.ones(4, np.float32), "6 items but 4 labels"),
    (np.ones((5, 1, 3, 2), np.float32), np.ones(5, np.float32), "multiple of the batch size 2"),
])
def test_arrays_that_do_not_fit(data, labels, message):
    with pytest.raises(caffe.CaffeError, match=message):
        Net.from_proto(read_net(MEMORY), caffe.TEST).set_input_arrays(data, labels)


def test_set_input_arrays_needs_memory_data(net):
    with pytest.raises(caffe.CaffeError, match="must be a MemoryData layer"):
        net.set_input_arrays(np.ones((4, 1, 1, 1), np.float32), np.ones(4, np.float32))
