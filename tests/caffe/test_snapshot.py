"""Solver states: the real program's load, ours hold the same fields in the same form."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe.engine.errors import WeightsError
from caffe.engine.formats.snapshot import SolverState, read_state, write_state
from caffe.proto import caffe_pb2

WIRE = Path(__file__).parents[1] / "golden/wire"
BINARY, HDF5 = WIRE / "wire_iter_3.solverstate", WIRE / "wire_iter_3.solverstate.h5"


def test_states_of_the_real_program_load():
    expected = json.loads((WIRE / "solverstate.json").read_text())
    history = np.load(WIRE / "snapshot_binaryproto.npz")
    state = read_state(BINARY)
    assert (state.iter, state.learned_net, state.current_step, len(state.history)) == \
        tuple(expected[k] for k in ("iter", "learned_net", "current_step", "n_history"))
    for i, values in enumerate(state.history):
        np.testing.assert_array_equal(values, history[f"history:{i}"])
    assert read_state(HDF5).learned_net == "wire_iter_3.caffemodel.h5"
    assert (read_state(HDF5).iter, read_state(HDF5).current_step) == (3, 1)
    assert len(read_state(HDF5).history) == 9


def test_our_binary_state_is_caffes_byte_for_byte(tmp_path):
    write_state(tmp_path / "s", read_state(BINARY), hdf5=False)
    ours, theirs = (caffe_pb2.SolverState.FromString(p.read_bytes())
                    for p in (tmp_path / "s", BINARY))
    assert ours == theirs
    assert (tmp_path / "s").read_bytes() == BINARY.read_bytes()


def test_our_hdf5_state_has_caffes_types(tmp_path):
    write_state(tmp_path / "s.h5", read_state(HDF5), hdf5=True)
    with h5py.File(tmp_path / "s.h5") as ours, h5py.File(HDF5) as theirs:
        assert set(ours) == set(theirs)
        for name in ("iter", "current_step", "learned_net", "history/0", "history/8"):
            mine, real = ours[name], theirs[name]
            assert mine.id.get_type() == real.id.get_type(), name      # string padding included
            assert mine.shape == real.shape
            np.testing.assert_array_equal(mine[()], real[()])


@pytest.mark.parametrize("hdf5", [False, True])
def test_round_trip_with_extras(tmp_path, hdf5):
    state = SolverState(7, "dir/näme.caffemodel", 2, [np.float32([[1, 2]]), np.float32([3])],
                        {"random/cpu": np.arange(256, dtype=np.uint8),
                         "param/0/rpn/conv": np.float32([[0.1]])})
    write_state(tmp_path / "s", state, hdf5=hdf5)
    found = read_state(tmp_path / "s")
    assert (found.iter, found.learned_net, found.current_step) == (7, "dir/näme.caffemodel", 2)
    assert found.extra.keys() == state.extra.keys()
    for mine, saved in zip([*found.history, *found.extra.values()],
                           [*state.history, *(state.extra[k] for k in found.extra)], strict=True):
        assert mine.dtype == saved.dtype
        np.testing.assert_array_equal(mine, saved)


def test_eleven_history_blobs_come_back_in_order(tmp_path):
    history = [np.float32([i]) for i in range(11)]       # HDF5 lists "10" before "2"
    write_state(tmp_path / "s.h5", SolverState(0, "", 0, history), hdf5=True)
    assert [h.item() for h in read_state(tmp_path / "s.h5").history] == list(range(11))


def test_other_files_are_named(tmp_path):
    (tmp_path / "bad").write_bytes(b"\xff\xff\xff")
    with pytest.raises(WeightsError, match="bad: not a solver state"):
        read_state(tmp_path / "bad")
    mean = caffe_pb2.BlobProto(num=1, channels=3, height=1, width=1, data=[1, 2, 3])
    for content, said in ((b"", "it is empty"), (mean.SerializeToString(), "names no weights")):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(WeightsError, match=f"bad: not a solver state.*{said}"):
            read_state(tmp_path / "bad")
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["data"] = [1]
    with pytest.raises(WeightsError, match="bad.h5: not a solver state"):
        read_state(tmp_path / "bad.h5")


def test_half_a_state_is_named(tmp_path):
    path = tmp_path / "s.solverstate.h5"
    write_state(path, SolverState(3, "m", 0, [np.ones(1000, np.float32)]), hdf5=True)
    path.write_bytes(path.read_bytes()[:2500])
    with pytest.raises(WeightsError, match="not a solver state, or damaged"):
        read_state(path)
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "none")
