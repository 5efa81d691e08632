"""Weights and solver state are one pair: what is mixed, cut or copied is told, never resumed from."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from caffe.engine.errors import WeightsError
from caffe.engine.formats.seal import SIZE
from caffe.engine.formats.snapshot import read_state, write_state
from caffe.engine.solving.update_rules import get_solver
from caffe.proto import caffe_pb2

NET = """
layer { name: "in" type: "Input" top: "x" top: "t"
        input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def training(prefix, *, seed=1, net=NET, options="", hdf5=False):
    """A solver whose snapshots begin with `prefix`."""
    param = text_format.Parse(
        f'base_lr: 0.1 lr_policy: "fixed" momentum: 0.5 random_seed: {seed} '
        f'snapshot_format: {"HDF5" if hdf5 else "BINARYPROTO"} '
        f'snapshot_prefix: "{prefix}" {options}', caffe_pb2.SolverParameter())
    text_format.Parse(net, param.net_param)
    solver = get_solver(param)
    random = np.random.RandomState(seed)
    solver.net.blobs["x"].data[...] = random.randn(4, 3)
    solver.net.blobs["t"].data[...] = random.randn(4, 2)
    return solver


@pytest.fixture(params=[False, True], ids=["binary", "hdf5"])
def hdf5(request):
    return request.param


def trained(prefix, *iterations, **options):
    """Snapshots at these iterations; returns the names of their states."""
    solver, found = training(prefix, **options), []
    for iteration in iterations:
        solver.step(iteration - solver.iter)
        found.append(Path(solver.snapshot().replace("caffemodel", "solverstate")))
    return found


def weights_of(state):
    return Path(str(state).replace("solverstate", "caffemodel"))


def refused(solver, state, message):
    """The state is refused and the solver is as it was."""
    before = [b.data.copy() for b in solver.net.learnable_params]
    with pytest.raises(WeightsError, match=message) as error:
        solver.restore(state)
    assert solver.iter == 0
    for blob, values in zip(solver.net.learnable_params, before):
        np.testing.assert_array_equal(blob.data, values)
    return str(error.value)


def test_another_trainings_weights_are_refused_with_the_newest_good_pair(tmp_path, hdf5):
    a1, a2 = trained(tmp_path / "a", 1, 2, hdf5=hdf5)
    (b2,) = trained(tmp_path / "b", 2, seed=2, hdf5=hdf5)
    shutil.copy(weights_of(b2), weights_of(a2))
    said = refused(training(tmp_path / "a"), a2, "are not those it was written with")
    assert f"newest good snapshot here is {a1}" in said


def test_a_copied_folder_goes_on_from_its_own_weights(tmp_path):
    (tmp_path / "old").mkdir()
    (state,) = trained(tmp_path / "old/s", 1)
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    weights_of(state).write_bytes(b"changed since")
    solver = training(tmp_path / "s")
    solver.restore(tmp_path / "copy" / state.name)
    assert solver.iter == 1


def test_a_state_cut_anywhere_is_refused(tmp_path):
    (state,) = trained(tmp_path / "s", 2)
    whole = state.read_bytes()
    caffes_own = caffe_pb2.SolverState.FromString(whole[SIZE:])
    del caffes_own.extra[:]
    behind_history = SIZE + caffes_own.ByteSize()
    for length in (*range(0, len(whole), 97), behind_history, len(whole) - 1):
        state.write_bytes(whole[:length])
        refused(training(tmp_path / "s"), state, state.name)


def test_weights_cut_at_a_layer_are_refused(tmp_path):
    net = caffe.Net(NET, caffe.TRAIN)
    net.save(str(tmp_path / "w"))
    whole = (tmp_path / "w").read_bytes()
    message = caffe_pb2.NetParameter.FromString(whole[SIZE:])
    del message.layer[-1]
    (tmp_path / "w").write_bytes(whole[:SIZE + message.ByteSize()])
    with pytest.raises(WeightsError, match=r"w: incomplete: \d+ bytes of \d+"):
        net.copy_from(str(tmp_path / "w"))
    (tmp_path / "w").write_bytes(whole[:-3] + b"abc")
    with pytest.raises(WeightsError, match="w: damaged: its checksum"):
        net.copy_from(str(tmp_path / "w"))


def test_other_programs_read_a_sealed_file_and_may_write_it_anew(tmp_path):
    """A reader that keeps unknown fields moves the seal behind the others: no check any more."""
    net = caffe.Net(NET, caffe.TRAIN)
    net.save(str(tmp_path / "w"))
    message = caffe_pb2.NetParameter.FromString((tmp_path / "w").read_bytes())
    del message.layer[-1]
    (tmp_path / "w").write_bytes(message.SerializeToString())
    net.params["fc"][0].data[...] = 0
    net.copy_from(str(tmp_path / "w"), required=True)
    assert net.params["fc"][0].data.any()


def test_another_rule_or_net_is_refused(tmp_path):
    (state,) = trained(tmp_path / "s", 1)
    refused(training(tmp_path / "s", options='type: "Nesterov"'), state,
            "written by SGDSolver, this solver is NesterovSolver")
    refused(training(tmp_path / "s", net=NET.replace('"fc"', '"ip"')), state,
            r"of another net: its parameter is \['fc', 0, \[2, 3\]\], this net's \['ip', 0")


def test_weights_short_of_a_parameter_are_refused_in_foreign_pairs_too(tmp_path):
    (path,) = trained(tmp_path / "s", 1)
    state = read_state(path)
    state.extra.clear()
    write_state(path, state, hdf5=False)
    training(tmp_path / "s").restore(path)                  # as Caffe's own
    other = caffe.Net(NET.replace('"fc"', '"else"'), caffe.TRAIN)
    other.save(str(weights_of(path)))
    refused(training(tmp_path / "s"), path, "have nothing for fc")


def test_a_state_that_names_another_iteration_is_refused(tmp_path):
    first, second = trained(tmp_path / "s", 1, 2)
    state = read_state(second)
    state.extra.clear()
    caffe_state = caffe_pb2.SolverState(iter=2, learned_net=str(weights_of(first)))
    caffe_state.history.extend(caffe_pb2.SolverState.FromString(second.read_bytes()).history)
    second.write_bytes(caffe_state.SerializeToString())
    refused(training(tmp_path / "s"), second, "state of iteration 2 names the weights")


@pytest.mark.parametrize("name", ["empty", "mean.binaryproto", "datum"])
def test_other_files_are_no_states(name, tmp_path):
    mean = caffe_pb2.BlobProto(num=1, channels=1, height=1, width=2, data=[1, 2])
    content = {"empty": b"", "mean.binaryproto": mean.SerializeToString(),
               "datum": caffe_pb2.Datum(channels=1, height=1, width=1, data=b"1").SerializeToString()}
    (tmp_path / name).write_bytes(content[name])
    refused(training(tmp_path / "s"), tmp_path / name, name)


def test_damage_of_any_kind_is_one_error_or_none(tmp_path, hdf5):
    """Bytes changed, lost and added, without the seal that would tell at once."""
    (state,) = trained(tmp_path / "s", 2, hdf5=hdf5)
    solver, random = training(tmp_path / "s", hdf5=hdf5), np.random.RandomState(4)
    for path in (state, weights_of(state)):
        whole = path.read_bytes()[0 if hdf5 else SIZE:]
        for _ in range(150):
            content, place = bytearray(whole), random.randint(len(whole), size=3)
            content[place[0]] = random.randint(256)
            del content[place[1]:place[1] + random.randint(5)]
            content[place[2]:place[2]] = random.bytes(random.randint(3))
            path.write_bytes(content)
            with suppress(WeightsError):
                solver.restore(state)
            with suppress(WeightsError):
                solver.net.copy_from(str(weights_of(state)))
        path.write_bytes(whole)


def test_names_that_are_no_text_are_read(tmp_path):
    (path,) = trained(tmp_path / "s", 1)
    message = caffe_pb2.SolverState.FromString(path.read_bytes()[SIZE:])
    message.learned_net = "weights_XX_iter_1.caffemodel"
    message.ClearField("extra")
    path.write_bytes(message.SerializeToString().replace(b"XX", b"\xc4\xe3"))
    refused(training(tmp_path / "s"), path, "are missing, not beside it either")


# --- the newest good one -------------------------------------------------------------------------

def test_auto_takes_the_newest_good_pair_and_says_what_it_passed_over(tmp_path, hdf5, capsys):
    states = trained(tmp_path / "s", 1, 2, 10, 11, hdf5=hdf5)
    trained(tmp_path / "s_other", 12, hdf5=hdf5)            # another training's
    weights_of(states[3]).unlink()
    states[2].write_bytes(states[2].read_bytes()[:-100])
    solver = training(tmp_path / "s")
    assert solver.resume("auto") == str(states[1])
    assert solver.iter == 2
    said = capsys.readouterr().err
    assert f"Passed over {states[3]}: its weights" in said and f"Passed over {states[2]}" in said


def test_auto_begins_where_nothing_is_and_stops_where_nothing_is_good(tmp_path):
    assert training(tmp_path / "s").resume("auto") is None
    (state,) = trained(tmp_path / "s", 1)
    state.write_bytes(b"")
    refused(training(tmp_path / "s"), "auto", "no good snapshot s_iter_N; passed over.*s_iter_1")


def test_a_folder_stands_for_its_newest_pair(tmp_path):
    states = trained(tmp_path / "s", 1, 3)
    solver = training(tmp_path / "elsewhere/t")
    assert solver.resume(tmp_path) == str(states[1])
    trained(tmp_path / "r", 2)
    with pytest.raises(WeightsError, match="snapshots of r, s, none of t"):
        solver.resume(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(WeightsError, match="no good snapshot"):
        solver.resume(tmp_path / "none")


def test_weights_in_the_place_of_a_state_are_told(tmp_path, hdf5):
    state, = trained(tmp_path / "s", 2, hdf5=hdf5)
    solver = training(tmp_path / "t", hdf5=hdf5)
    with pytest.raises(WeightsError, match=f"these are weights.*beside them is {state}.*--weights"):
        solver.restore(weights_of(state))
