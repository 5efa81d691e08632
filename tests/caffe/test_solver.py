"""Solvers: trajectories of the real Caffe, resuming, log lines, options and what is refused."""

import json
import re
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format

import caffe
from caffe.engine.errors import CaffeError, PrototxtError, WeightsError
from caffe.engine.formats.snapshot import read_state, write_state
from caffe.engine.solving.solver import solver_parameter
from caffe.engine.solving.update_rules import SOLVERS, SGDSolver, get_solver
from caffe.proto import caffe_pb2

GOLDEN = Path(__file__).parents[1] / "golden"
VECTORS = np.load(GOLDEN / "solvers.npz")
TEXT = json.loads(str(VECTORS["text"]))
CASES = sorted({name.split("/")[0] for name in VECTORS.files if "/" in name})

NET = """
name: "small"
layer { name: "in" type: "Input" top: "x" top: "t"
        input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "h"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "h" top: "h" include { phase: TRAIN } }
layer { name: "out" type: "InnerProduct" bottom: "h" top: "y" param { lr_mult: 1 }
        param { lr_mult: 2 decay_mult: 0 }
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" loss_weight: 2 }
layer { name: "only" type: "Power" bottom: "y" top: "stage" include { stage: "extra" } }
"""


def message(text, net=NET):
    param = text_format.Parse(text, caffe_pb2.SolverParameter())
    if net:
        text_format.Parse(net, param.net_param)
    return param


def fill(solver):
    """The same batch in every net of a solver."""
    random = np.random.RandomState(5)
    x, t = random.randn(4, 3), random.randn(4, 2)
    for net in (solver.net, *solver.test_nets):
        net.blobs["x"].data[...], net.blobs["t"].data[...] = x, t
    return solver


def small(text="", **options):
    text = 'base_lr: 0.1 lr_policy: "fixed" random_seed: 7 ' + text
    return fill(get_solver(message(text, **options)))


def params(solver):
    return [b.data.copy() for b in solver.net.learnable_params]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def logged(capsys):
    return [line.split("] ", 1)[1] for line in capsys.readouterr().err.splitlines() if "] " in line]


# --- the arithmetic, against the real Caffe ------------------------------------------------------

@pytest.mark.parametrize("case", CASES)
def test_trajectories_are_caffes(case):
    param = text_format.Parse(TEXT[f"{case}.prototxt"], caffe_pb2.SolverParameter())
    param.ClearField("net")
    text_format.Parse(TEXT["net.prototxt"], param.net_param)
    solver = get_solver(param)
    assert len(VECTORS[f"{case}/loss"]) == 12
    for name in ("x", "t"):
        solver.net.blobs[name].data[...] = VECTORS[f"{case}/{name}"]
    weight, bias = solver.net.params["ip"]
    weight.data[...], bias.data[...] = VECTORS[f"{case}/w"][0], VECTORS[f"{case}/b"][0]
    for i, loss in enumerate(VECTORS[f"{case}/loss"]):
        solver.step(1)
        assert float(solver.net.blobs["loss"].data) == pytest.approx(loss, rel=1e-5)
        for blob, name in ((weight, "w"), (bias, "b")):      # the diff holds what was subtracted
            value = VECTORS[f"{case}/{name}"][i + 1]
            np.testing.assert_allclose(blob.data, value, atol=1e-5 * np.abs(value).max())
            step = VECTORS[f"{case}/update_{name}"][i]
            np.testing.assert_allclose(blob.diff, step, atol=1e-4 * np.abs(step).max())


def test_every_solver_type_has_trajectories():
    assert SOLVERS.names() == ["AdaDelta", "AdaGrad", "Adam", "Nesterov", "RMSProp", "SGD"]
    for name in SOLVERS.names():
        assert f"{name.lower()}_plain" in CASES


@pytest.mark.parametrize("name, steps", [
    # by hand: g = 2 each time, rate 0.1, momentum 0.5
    ("SGD", [0.2, 0.3]),                        # h = .2, then .1 + .2
    ("Nesterov", [0.3, 0.35]),                  # 1.5 * .2 - 0, then 1.5 * .3 - .5 * .2
])
def test_steps_by_hand(name, steps):
    solver = get_solver(message(f'type: "{name}" momentum: 0.5 lr_policy: "fixed"'))
    history = [torch.zeros(1)]
    for expected in steps:
        gradient = torch.tensor([2.])
        buffer = solver.update(gradient, history, 0.1)
        assert (gradient if buffer is None else buffer).item() == pytest.approx(expected)


FILTERS = """layer { name: "x" type: "DummyData" top: "x" dummy_data_param {
  shape { dim: 2 dim: 2 dim: 5 dim: 4 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param {
  num_output: 3 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "l" type: "Reduction" bottom: "y" top: "l" loss_weight: 1
  reduction_param { operation: SUMSQ } }"""


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
@pytest.mark.parametrize("looked_at", ["", "data", "diff", "data diff"])
@pytest.mark.parametrize("piece", [8, 1 << 19])
def test_filters_learn_the_same_whoever_looks_at_them(rule, looked_at, piece, monkeypatch):
    """They lie in channels-last until a user holds a view; steps and buffers follow."""
    monkeypatch.setattr("caffe.engine.memory_order.PIECE", piece)
    found = []
    for names in ("", looked_at):
        caffe.set_random_seed(4)
        solver = get_solver(message(f'type: "{rule}" momentum: 0.5 weight_decay: 0.1 base_lr: 0.01 '
                                    'lr_policy: "fixed"', FILTERS))
        solver.step(1)
        weight = solver.net.params["c"][0]
        views = [getattr(weight, name) for name in names.split()]
        solver.step(2)
        for view, name in zip(views, names.split()):
            assert np.array_equal(view, getattr(weight, name))
        found.append((weight.tensor.clone(), weight.diff_tensor.clone()))
    for mine, theirs in zip(*found):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_the_diff_after_an_update_is_the_step_and_gradients_add_to_it():
    caffe.set_random_seed(4)
    solver = get_solver(message('momentum: 0.5 base_lr: 0.01 lr_policy: "fixed"', FILTERS))
    solver.step(1)
    weight = solver.net.params["c"][0]
    before = weight.tensor.clone()
    solver.step(1)
    step = weight.diff_tensor.clone()
    torch.testing.assert_close(before - weight.tensor, step, rtol=1e-4, atol=1e-6)
    assert torch.equal(step, solver.history[0]) and weight.has_diff
    weight.diff_tensor.zero_()          # the buffer is not what users write to
    assert solver.history[0].abs().sum() > 0
    solver.step(1)
    step = solver.history[0].clone()
    solver.net.forward_backward()       # Caffe's backward adds to what is there
    added = weight.diff_tensor - step
    assert torch.equal(step, solver.history[0])
    solver.net.clear_param_diffs()
    solver.net.run_backward()
    torch.testing.assert_close(weight.diff_tensor, added, rtol=1e-4, atol=1e-4)


class OwnRule(SGDSolver):
    """The same rule, as others write it: no kernel does it in one pass."""

    def update(self, gradient, history, rate):
        return history[0].mul_(self.param.momentum).add_(gradient, alpha=rate)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay, norm, passes, once", [
    (0, "L2", 1, True), (0.1, "L2", 1, True), (0.1, "L2", 3, True), (0, "L1", 2, True),
    (0.1, "L1", 1, False)])
def test_one_pass_makes_the_steps_of_the_rule(decay, norm, passes, once, dtype):
    found = []
    for kind in (SGDSolver, OwnRule):
        caffe.set_random_seed(4)
        solver = kind(message(
            f'momentum: 0.9 base_lr: 0.01 lr_policy: "step" gamma: 0.3 stepsize: 2 weight_decay: '
            f'{decay} regularization_type: "{norm}" iter_size: {passes}', FILTERS))
        solver.step(5)
        found.append([(b.tensor.clone(), b.diff_tensor.clone())
                      for b in solver.net.learnable_params])
        value, gradient, buffer = torch.randn(3, 4, 3, 5, 5, dtype=dtype).unbind()
        before = gradient.clone()
        done = solver.in_one_pass(value, gradient, [buffer], 0.01, decay)
        assert done == (once and kind is SGDSolver)
        assert torch.equal(gradient, before)        # the step is in the buffer
    for mine, theirs in zip(*found):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_what_lies_otherwise_is_not_done_in_one_pass():
    solver = get_solver(message('momentum: 0.9 base_lr: 0.01 lr_policy: "fixed"', FILTERS))
    value, gradient, buffer = torch.randn(3, 4, 3, 5, 5).unbind()
    last = gradient.contiguous(memory_format=torch.channels_last)
    gaps = torch.randn(4, 3, 5, 10)[..., ::2]
    for arrays in ((value, last, buffer), (gaps, gaps, gaps), (value, gradient.double(), buffer)):
        assert not solver.in_one_pass(*arrays[:2], [arrays[2]], 0.01, 0.1)


# --- going on ------------------------------------------------------------------------------------

@pytest.mark.parametrize("hdf5", [False, True])
def test_going_on_from_a_state_of_the_real_program(hdf5, monkeypatch):
    wire = GOLDEN / "wire"
    kind, ending = ("hdf5", ".h5") if hdf5 else ("binaryproto", "")
    values = np.load(wire / f"snapshot_{kind}.npz")
    monkeypatch.chdir(wire)
    solver = caffe.SGDSolver(f"solver_{kind}.prototxt")
    solver.restore(f"wire_iter_3.solverstate{ending}")
    assert (solver.iter, solver.current_step) == (3, 1)
    solver.net.blobs["data"].data[...], solver.net.blobs["label"].data[...] = \
        values["x"], values["label"]
    solver.step(2)
    for name, blobs in solver.net.params.items():
        for i, blob in enumerate(blobs):
            np.testing.assert_allclose(blob.data, values[f"param5:{name}:{i}"], rtol=1e-4,
                                       atol=1e-6)


def test_our_training_leads_to_the_real_programs_snapshot(monkeypatch, tmp_path):
    wire = GOLDEN / "wire"
    values = np.load(wire / "snapshot_binaryproto.npz")
    solver = caffe.SGDSolver(str(wire / "solver_binaryproto.prototxt"))    # net beside the file
    solver.net.blobs["data"].data[...], solver.net.blobs["label"].data[...] = \
        values["x"], values["label"]
    for name, blobs in solver.net.params.items():
        for i, blob in enumerate(blobs):
            blob.data[...] = values[f"before:{name}:{i}"]
    solver.step(3)
    monkeypatch.chdir(tmp_path)
    assert solver.snapshot() == "wire_iter_3.caffemodel"
    ours, theirs = (read_state(folder / "wire_iter_3.solverstate") for folder in (tmp_path, wire))
    assert (ours.iter, ours.learned_net, ours.current_step) == \
        (theirs.iter, theirs.learned_net, theirs.current_step)
    for mine, real in zip(ours.history, theirs.history, strict=True):
        assert mine.shape == real.shape
        np.testing.assert_allclose(mine, real, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", SOLVERS.names())
@pytest.mark.parametrize("hdf5", [False, True])
def test_resuming_goes_on_to_the_bit(kind, hdf5, tmp_path):
    """Dropout included: the state holds the random generators."""
    text = (f'type: "{kind}" snapshot_prefix: "{tmp_path}/s" max_iter: 6 weight_decay: 0.01 '
            f'clip_gradients: 0.7 iter_size: 2 '
            f'snapshot_format: {"HDF5" if hdf5 else "BINARYPROTO"} ')
    if kind not in ("AdaGrad", "RMSProp"):
        text += "momentum: 0.9 "
    straight = small(text)
    straight.step(6)
    first = small(text)
    first.step(3)
    model = first.snapshot()
    first.step(1)           # moves the generators on
    second = small(text)
    second.solve(model.replace("caffemodel", "solverstate"))
    assert second.iter == 6
    assert_equal(params(second), params(straight))
    assert_equal([h.numpy() for h in second.history], [h.numpy() for h in straight.history])


def test_multistep_is_resumed_in_its_step(tmp_path):
    text = (f'gamma: 0.5 stepvalue: 1 stepvalue: 2 stepvalue: 8 snapshot_prefix: "{tmp_path}/s"')
    param = message(f'base_lr: 1 lr_policy: "multistep" {text}')
    first = fill(get_solver(param))
    first.step(3)
    first.snapshot()
    second = fill(get_solver(param))
    second.restore(f"{tmp_path}/s_iter_3.solverstate")
    assert (second.lr, second.current_step) == (0.25, 2)


def test_weights_beside_a_moved_state_are_found(tmp_path):
    (tmp_path / "old").mkdir()
    first = small(f'snapshot_prefix: "{tmp_path}/old/s"')
    first.step(1)
    first.snapshot()
    (tmp_path / "old").rename(tmp_path / "new")
    second = small()
    second.restore(tmp_path / "new/s_iter_1.solverstate")
    assert_equal(params(second), params(first))
    (tmp_path / "new/s_iter_1.caffemodel").unlink()
    with pytest.raises(WeightsError, match="s_iter_1.caffemodel\" are missing"):
        second.restore(tmp_path / "new/s_iter_1.solverstate")


def test_weights_exported_in_another_form_are_restored_as_trained(tmp_path):
    """As MNC writes bbox_pred: un-normalised in the file, to the bit in training."""
    @contextmanager
    def doubled(net):
        kept = [b.data.copy() for b in net.params["out"]]
        for blob in net.params["out"]:
            blob.data[...] *= 3
        yield ["out"]
        for blob, values in zip(net.params["out"], kept):
            blob.data[...] = values

    for snapshot_format in ("HDF5", "BINARYPROTO"):
        first = small(f'snapshot_prefix: "{tmp_path}/s" snapshot_format: {snapshot_format}')
        first.step(2)
        first.export = doubled
        model = first.snapshot()
        tested = caffe.Net.from_proto(first.param.net_param, caffe.TEST)
        tested.copy_from(model)
        np.testing.assert_array_equal(tested.params["out"][0].data,
                                      first.net.params["out"][0].data * 3)
        second = small()
        second.restore(model.replace("caffemodel", "solverstate"))
        assert_equal(params(second), params(first))


def test_layers_may_keep_a_state_of_their_own(tmp_path):
    first = small(f'snapshot_prefix: "{tmp_path}/s"')
    first.net.layer_dict["fc"].snapshot_state = lambda: b"position 7"
    first.snapshot()
    second = small()
    found = []
    second.net.layer_dict["fc"].restore_state = found.append
    second.restore(tmp_path / "s_iter_0.solverstate")
    assert found == [b"position 7"]


def test_a_state_of_another_solver_is_refused_with_nothing_changed(tmp_path):
    first = small(f'type: "Adam" momentum: 0.9 snapshot_prefix: "{tmp_path}/s"')
    first.step(2)
    first.snapshot()
    second = small()
    before = params(second)
    with pytest.raises(WeightsError, match=r"8 history blobs, this solver \(SGDSolver\) has 4"):
        second.restore(tmp_path / "s_iter_2.solverstate")
    assert_equal(params(second), before)
    assert second.iter == 0


# --- log lines, tests, snapshots in between ------------------------------------------------------

def test_log_lines_are_caffes(capsys, tmp_path):
    solver = small(f'display: 2 max_iter: 4 test_iter: 3 test_interval: 4 '
                   f'snapshot_prefix: "{tmp_path}/s" test_compute_loss: true')
    capsys.readouterr()
    solver.solve()
    expected = [
        "Solving small", "Learning Rate Policy: fixed",
        r"Iteration 0, Testing net \(#0\)", "Test loss: N",
        r"    Test net output #0: loss = N \(\* 2 = N loss\)",
        "Iteration 0, loss = N", r"    Train net output #0: loss = N \(\* 2 = N loss\)",
        "Iteration 0, lr = 0.1",
        r"Iteration 2 \(N iter/s, Ns/2 iters\), loss = N",
        r"    Train net output #0: loss = N \(\* 2 = N loss\)", "Iteration 2, lr = 0.1",
        f"Snapshotting to binary proto file {tmp_path}/s_iter_4.caffemodel",
        f"Snapshotting solver state to binary proto file {tmp_path}/s_iter_4.solverstate",
        "Iteration 4, loss = N",
        r"Iteration 4, Testing net \(#0\)", "Test loss: N",
        r"    Test net output #0: loss = N \(\* 2 = N loss\)",
        "Optimization Done."]
    found = logged(capsys)
    for line, pattern in zip(found, expected, strict=True):
        assert re.fullmatch(pattern.replace("N ", r"[\d.e+-]+ ").replace("Ns", r"[\d.e+-]+s")
                            .replace("= N", r"= [\d.e+-]+").replace(": N", r": [\d.e+-]+"), line)


def test_the_pipelines_of_scripts_find_their_numbers(capsys, tmp_path):
    """The grep, sed and awk of Caffe's parse_log.sh, and the patterns of its parse_log.py."""
    solver = small(f'display: 2 max_iter: 4 test_iter: 1 test_interval: 2 '
                   f'snapshot_prefix: "{tmp_path}/s"')
    capsys.readouterr()
    solver.solve()
    log = tmp_path / "train.log"
    log.write_text(capsys.readouterr().err)

    def shell(command):
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True,
                              cwd=tmp_path, env={"LOG": log.name, "PATH": "/usr/bin:/bin"}).stdout.split()

    assert shell("grep ', lr = ' $LOG | awk '{print $9}'") == ["0.1", "0.1"]
    losses = shell("grep ', loss = ' $LOG | awk -F = '{print $2}'")
    assert len([float(x) for x in losses]) == 3
    assert shell("grep 'Iteration ' $LOG | grep loss | "
                 r"sed 's/.*Iteration \([[:digit:]]*\).*/\1/g'") == ["0", "2", "4"]
    tests = shell("sed -n '/Iteration .* Testing net/,/Iteration *. loss/p' $LOG | "
                  "grep 'Test net output #0' | awk '{print $11}'")
    assert len([float(x) for x in tests]) == 3
    assert shell("grep -c '] Solving ' $LOG") == ["1"]
    outputs = re.findall(r"(Train|Test) net output #(\d+): (\S+) = ([\.\deE+-]+)", log.read_text())
    assert [o[:3] for o in outputs] == [("Test", "0", "loss"), ("Train", "0", "loss")] * 2 + \
        [("Test", "0", "loss")]


def test_speed_is_counted_since_the_last_line(capsys):
    solver = small("display: 3")
    solver.step(7)
    lines = [line for line in logged(capsys) if ", loss = " in line]
    assert [re.match(r"Iteration (\d+)(?: \(.*/(\d+) iters\))?", x).groups() for x in lines] == \
        [("0", None), ("3", "3"), ("6", "3")]


def test_average_loss_is_the_mean_of_the_last(capsys):
    small("display: 1 average_loss: 2").step(3)
    smoothed = [float(x.rsplit("= ", 1)[1]) for x in logged(capsys) if ", loss = " in x]
    small("display: 1").step(3)
    single = [float(x.rsplit("= ", 1)[1]) for x in logged(capsys) if ", loss = " in x]
    np.testing.assert_allclose(
        smoothed, [single[0], (single[0] + single[1]) / 2, (single[1] + single[2]) / 2], rtol=1e-5)


def test_test_nets_use_the_weights_in_training():
    solver = small("test_iter: 1 test_interval: 1 display: 0")
    solver.step(2)
    solver.test_all()
    assert_equal([b.data for b in solver.test_nets[0].params["fc"]],
                 [b.data for b in solver.net.params["fc"]])
    assert "drop" in solver.net.layer_dict and "drop" not in solver.test_nets[0].layer_dict


@pytest.mark.parametrize("text, expected", [
    ("test_initialization: true", [0, 2, 4]), ("test_initialization: false", [2, 4])])
def test_test_interval(text, expected):
    solver = small(f"test_iter: 1 test_interval: 2 {text}")
    seen = []
    solver.test_all = lambda: seen.append(solver.iter)
    solver.step(5)
    assert seen == expected


def test_snapshots_come_at_their_interval_and_not_twice_at_the_end(tmp_path):
    solver = small(f'snapshot: 2 max_iter: 4 snapshot_prefix: "{tmp_path}/s"')
    solver.solve()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "s_iter_2.caffemodel", "s_iter_2.solverstate",
        "s_iter_4.caffemodel", "s_iter_4.solverstate"]


@pytest.mark.parametrize("after, files", [("true", 2), ("false", 0)])
def test_snapshot_after_train(after, files, tmp_path):
    solver = small(f'max_iter: 1 snapshot_prefix: "{tmp_path}/s" snapshot_after_train: {after}')
    solver.solve()
    assert len(list(tmp_path.iterdir())) == files


def test_requests_stop_and_snapshot(tmp_path, capsys):
    solver = small(f'max_iter: 9 snapshot_prefix: "{tmp_path}/s"')

    def ask():
        solver.snapshot_requested = solver.iter == 1
        solver.stop_requested = solver.iter == 3

    solver.add_callback(ask, lambda: None)
    solver.solve()
    assert solver.iter == 4
    assert sorted(p.name for p in tmp_path.glob("*.caffemodel")) == ["s_iter_2.caffemodel",
                                                                     "s_iter_4.caffemodel"]
    assert logged(capsys)[-1] == "Optimization stopped early."


def test_a_stop_ends_one_call_of_step_and_none_after_it():
    solver = small("")
    solver.stop_requested = True        # before the first: it is still to be followed
    solver.step(4)
    assert solver.iter == 1
    solver.step(4)
    assert solver.iter == 5 and not solver.stop_requested
    solver.stop_requested = True
    solver.step(4)
    assert solver.iter == 6 and solver.stop_requested


def test_callbacks_come_before_forward_and_before_the_update():
    solver, calls = small("iter_size: 2"), []
    forward_backward, apply_update = solver.net.forward_backward, solver.apply_update
    solver.net.forward_backward = lambda: calls.append("pass") or forward_backward()
    solver.apply_update = lambda: calls.append("update") or apply_update()
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients"))
    solver.step(1)
    assert calls == ["start", "pass", "pass", "gradients", "update"]


def test_a_loop_of_ones_own_equals_step():
    """net.forward(), net.backward() and apply_update(), as pycaffe users write it."""
    theirs, own = small("momentum: 0.9"), small("momentum: 0.9")
    caffe.set_random_seed(11)
    theirs.step(2)
    caffe.set_random_seed(11)
    for _ in range(2):
        own.net.clear_param_diffs()
        own.net.forward()
        own.net.backward()
        own.apply_update()
    assert own.iter == 2
    assert_equal(params(own), params(theirs))


def test_clipping_says_what_it_did(capsys):
    solver = small("clip_gradients: 0.001")
    solver.step(1)
    assert any(re.match(r"Gradient clipping: scaling down gradients \(L2 norm .* > 0.001\) "
                        r"by scale factor ", line) for line in logged(capsys))
    norm = np.sqrt(sum((b.diff ** 2).sum() for b in solver.net.learnable_params[:3])
                   + (solver.net.learnable_params[3].diff ** 2).sum() / 4)      # lr_mult 2
    assert norm == pytest.approx(0.1 * 0.001, rel=1e-5)


# --- options -------------------------------------------------------------------------------------

def test_share_weights_gives_one_memory():
    solver = small()
    net = caffe.Net.from_proto(solver.param.net_param, caffe.TEST)
    solver.share_weights(net)
    solver.step(1)
    assert_equal([b.data for b in net.params["out"]], [b.data for b in solver.net.params["out"]])


def test_param_can_be_changed_while_training():
    solver = small()
    solver.param.base_lr, solver.param.max_iter = 0.5, 3
    assert solver.lr == 0.5


def test_seed_makes_training_repeatable():
    first, second = small(), small()
    first.step(2)
    second = small()
    second.step(2)
    assert_equal(params(first), params(second))


def test_states_choose_layers():
    solver = small('train_state { stage: "extra" } test_iter: 1 test_iter: 1 test_interval: 1 '
                   'test_state { stage: "extra" } test_state { level: 1 }')
    assert "only" in solver.net.layer_dict
    assert ["only" in net.layer_dict for net in solver.test_nets] == [True, False]


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.prototxt").write_text(text)


def test_nets_are_found_from_the_working_directory_then_beside_the_solver(tmp_path, monkeypatch):
    write(tmp_path, net=NET, solver='net: "net.prototxt" base_lr: 1 lr_policy: "fixed"')
    assert get_solver(tmp_path / "solver.prototxt").net.name == "small"
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere", net=NET.replace("small", "other"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert get_solver("../solver.prototxt").net.name == "other"
    with pytest.raises(PrototxtError, match="nowhere.prototxt"):
        get_solver(message('train_net: "nowhere.prototxt" lr_policy: "fixed"', net=None))


def test_a_project_that_was_moved_is_found(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    write(tmp_path / "here", net=NET,
          solver='net: "examples/small/net.prototxt" base_lr: 1 lr_policy: "fixed"',
          lost='net: "examples/small/absent.prototxt" base_lr: 1 lr_policy: "fixed"')
    monkeypatch.chdir(tmp_path)
    assert get_solver("here/solver.prototxt").net.name == "small"
    with pytest.raises(PrototxtError, match="^examples/small/absent.prototxt: cannot be read"):
        get_solver("here/lost.prototxt")


def test_train_net_and_test_nets_of_their_own(tmp_path):
    write(tmp_path, a=NET, b=NET.replace("small", "second"), s="""
        train_net: "a.prototxt" test_net: "b.prototxt" test_net: "a.prototxt" test_iter: 1
        test_iter: 1 test_interval: 5 base_lr: 1 lr_policy: "fixed" """)
    solver = get_solver(str(tmp_path / "s.prototxt"))
    assert [net.name for net in (solver.net, *solver.test_nets)] == ["small", "second", "small"]


def test_weights_field_loads_several_files(tmp_path):
    first = small(f'snapshot_prefix: "{tmp_path}/s"')
    model = first.snapshot()
    for blob in first.net.params["fc"]:
        blob.data[...] = 3
    first.iter = 1
    second = small(f'weights: "{model}, {first.snapshot()}"')
    assert (second.net.params["fc"][0].data == 3).all()


def test_snapshot_prefix_defaults_to_the_solver_file(tmp_path):
    write(tmp_path, net=NET, solver='net: "net.prototxt" lr_policy: "fixed"',
          prefix=f'net: "net.prototxt" lr_policy: "fixed" snapshot_prefix: "{tmp_path}"')
    assert solver_parameter(tmp_path / "solver.prototxt").snapshot_prefix == f"{tmp_path}/solver"
    assert solver_parameter(tmp_path / "prefix.prototxt").snapshot_prefix == f"{tmp_path}/prefix"


def test_old_solver_type_is_accepted(tmp_path):
    write(tmp_path, net=NET, s='net: "net.prototxt" lr_policy: "fixed" solver_type: NESTEROV')
    assert type(get_solver(tmp_path / "s.prototxt")).__name__ == "NesterovSolver"


@pytest.mark.parametrize("text, message_", [
    ('type: "Adams"', 'unknown solver type "Adams"; did you mean "Adam"'),
    ('lr_policy: "stepp"', 'unknown learning-rate policy "stepp"; did you mean "step"'),
    ('type: "AdaGrad" momentum: 0.9', 'momentum 0.9 cannot be used with type "AdaGrad"'),
    ('type: "RMSProp" rms_decay: 1.5', r"rms_decay must be in \[0, 1\), got 1.5"),
    ('regularization_type: "L3"', 'regularization_type "L3": L1 or L2'),
    ("iter_size: 0", "iter_size must be at least 1, got 0"),
    ('net: "a" train_net: "b"', "exactly one of .*; got train_net, net_param, net"),
    ("test_iter: 1", "positive test_interval"),
    ('test_iter: 1 test_interval: 1 test_state { } test_state { }', "1 test nets but 2 test_state"),
    ('test_net: "a" test_interval: 1', "1 test nets but 0 test_iter"),
])
def test_errors_say_what_is_wrong(text, message_):
    with pytest.raises(PrototxtError, match=message_):
        param = caffe_pb2.SolverParameter(lr_policy="fixed")
        param.MergeFrom(message(text))
        get_solver(param)


def test_a_snapshot_folder_that_is_missing_is_said_before_training(tmp_path):
    with pytest.raises(CaffeError, match='nowhere" does not exist or cannot be written'):
        small(f'snapshot: 10 snapshot_prefix: "{tmp_path}/nowhere/s"')


@pytest.mark.parametrize("name, value", [
    ("param/0/nobody", np.zeros(3, np.float32)),
    ("param/0/fc", np.zeros(3, np.float32)),
    ("random/cpu", np.zeros(3, np.uint8)),
    ("random/numpy", np.zeros(3, np.uint8))])
def test_a_state_with_extras_that_do_not_fit_changes_nothing(name, value, tmp_path):
    trained = small(f'snapshot_prefix: "{tmp_path}/s"')
    trained.step(2)
    path = Path(trained.snapshot()).with_suffix(".solverstate")
    state = read_state(path)
    write_state(path, replace(state, extra={**state.extra, name: value}), hdf5=False)
    solver = small()
    before, drawn = solver.net.params["fc"][0].data.copy(), caffe.engine.random.get_state()
    with pytest.raises(WeightsError, match="s_iter_2.solverstate"):
        solver.restore(path)
    assert solver.iter == 0 and (solver.net.params["fc"][0].data == before).all()
    for device, values in caffe.engine.random.get_state().items():
        np.testing.assert_array_equal(values, drawn[device])


def test_random_states_of_absent_devices_are_left_out(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    caffe.engine.random.set_state({"cuda:99": np.zeros(16, np.uint8)})


def test_clipping_without_parameters():
    net = '''layer { name: "in" type: "Input" top: "x" top: "t" input_param { shape { dim: 4 } } }
             layer { name: "loss" type: "EuclideanLoss" bottom: "x" bottom: "t" top: "loss" }'''
    solver = get_solver(message('base_lr: 0.1 lr_policy: "fixed" clip_gradients: 1', net))
    solver.step(2)
    assert solver.iter == 2


def test_cosine_falls_to_nothing_and_a_factor_warms_up():
    solver = get_solver(message('base_lr: 2 lr_policy: "cosine" max_iter: 4'))
    solver.rate_factor = lambda iteration: 0.5 if iteration == 0 else 1.0
    found = []
    for solver.iter in range(6):
        found.append(solver.lr)
    assert found == pytest.approx([1, 1 + 0.5 ** 0.5, 1, 1 - 0.5 ** 0.5, 0, 0])
