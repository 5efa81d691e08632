"""Faults while training: full disks, locks, signals, losses that are no numbers, errors in between."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format

import caffe
from caffe import cli
from caffe.engine import log, waiting
from caffe.engine.errors import CaffeError, LayerError
from caffe.engine.formats.atomic_file import HOST
from caffe.engine.formats.snapshot import read_state
from caffe.engine.solving import lock, saving
from caffe.engine.solving.finite import NotFinite
from caffe.engine.solving.lock import locked
from caffe.engine.solving.update_rules import get_solver
from caffe.proto import caffe_pb2

NET = """
layer { name: "in" type: "DummyData" top: "x" top: "t"
        dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
                           data_filler { type: "gaussian" } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
OPTIONS = 'base_lr: 0.1 lr_policy: "fixed" momentum: 0.5 random_seed: 3 '


def training(prefix, options="", net=NET):
    param = text_format.Parse(f'{OPTIONS} snapshot_prefix: "{prefix}" {options}',
                              caffe_pb2.SolverParameter())
    text_format.Parse(net, param.net_param)
    return get_solver(param)


def iterations(folder, ending="caffemodel"):
    return sorted(int(p.stem.rpartition("_")[2]) for p in folder.glob(f"*.{ending}"))


@pytest.fixture(autouse=True)
def usual():
    yield
    log.configure()
    waiting.stop_requested.clear()


# --- snapshots that cannot be written ------------------------------------------------------------

@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while `full` says so; it counts the writes that failed."""
    class Disk:
        full, failed = False, 0
    real = os.fsync

    def fsync(descriptor):
        if Disk.full:
            Disk.failed += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    return Disk


def test_a_full_disk_costs_no_training_and_the_next_interval_tries_again(tmp_path, disk, capsys):
    solver = training(tmp_path / "s", "snapshot: 2 max_iter: 6")
    solver.add_callback(lambda: setattr(disk, "full", solver.iter in (2, 3)), lambda: None)
    solver.solve()
    assert iterations(tmp_path) == iterations(tmp_path, "solverstate") == [2, 6]
    assert f"Iteration 4: the snapshot failed, training goes on: [Errno 28] No space left on " \
        f"device: '{tmp_path}/s_iter_4.caffemodel'" in capsys.readouterr().err


def test_the_last_snapshot_waits_for_room(tmp_path, disk, monkeypatch):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        disk.full = len(waits) < 2

    monkeypatch.setattr("time.sleep", sleep)
    solver = training(tmp_path / "s", "snapshot: 2 max_iter: 4")
    solver.add_callback(lambda: setattr(disk, "full", solver.iter == 3), lambda: None)
    solver.solve()
    assert iterations(tmp_path) == [2, 4] and waits == list(saving.WAITS[:2])


def test_a_disk_that_stays_full_ends_in_an_error_and_what_was_there_stays(tmp_path, disk,
                                                                         monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    solver = training(tmp_path / "s", "snapshot: 2 max_iter: 4")
    solver.add_callback(lambda: setattr(disk, "full", solver.iter == 3), lambda: None)
    with pytest.raises(OSError, match="No space left on device: .*s_iter_4.caffemodel"):
        solver.solve()
    assert iterations(tmp_path) == [2]
    assert disk.failed == 2 + len(saving.WAITS)
    resumed = training(tmp_path / "s")
    resumed.resume("auto")
    assert resumed.iter == 2


def test_a_folder_deleted_while_training_is_made_again(tmp_path):
    (tmp_path / "out").mkdir()
    solver = training(tmp_path / "out/s", "snapshot: 2 max_iter: 4")

    def delete():
        if solver.iter == 3:
            for path in tmp_path.glob("out/*"):
                path.unlink()
            (tmp_path / "out").rmdir()

    solver.add_callback(delete, lambda: None)
    solver.solve()
    assert iterations(tmp_path / "out") == [4]


@pytest.mark.parametrize("options", ["", "snapshot: 1"])
def test_where_snapshots_go_is_tried_before_the_first_iteration(options, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CaffeError, match=r'snapshot_prefix ".*file/s": |file" does not exist'):
        solver = training(tmp_path / "file/s", f"max_iter: 3 {options}")
        solver.add_callback(lambda: pytest.fail("trained"), lambda: None)
        solver.solve()


def test_an_error_in_the_middle_is_preceded_by_a_snapshot(tmp_path):
    solver = training(tmp_path / "s", "max_iter: 9")

    def fail():
        if solver.iter == 5:
            raise LayerError("image 7 does not decode")

    solver.add_callback(fail, lambda: None)
    with pytest.raises(LayerError, match="image 7"):
        solver.solve()
    assert iterations(tmp_path) == iterations(tmp_path, "solverstate") == [5]


def test_keep_leaves_the_newest_and_what_is_not_of_this_training(tmp_path):
    (tmp_path / "s_iter_900.solverstate").write_bytes(b"of a longer run")
    (tmp_path / "s_iter_1.txt").write_bytes(b"notes")
    solver = training(tmp_path / "s", "snapshot: 1 max_iter: 5")
    other = training(tmp_path / "s_b")
    other.step(1)
    other.snapshot()
    solver.keep = 2
    solver.solve()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "s_b_iter_1.caffemodel", "s_b_iter_1.solverstate", "s_iter_1.txt",
        "s_iter_4.caffemodel", "s_iter_4.solverstate", "s_iter_5.caffemodel",
        "s_iter_5.solverstate", "s_iter_900.solverstate"]


# --- two trainings, and those that died ----------------------------------------------------------

HOLD = """
import sys, time
from caffe.engine.solving.lock import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that trains with the prefix s."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "s")],
                             stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert child.stdout.readline() == "locked\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_second_training_with_one_prefix_is_refused_by_name(tmp_path, holder):
    with pytest.raises(CaffeError, match=rf"another training writes these snapshots: process "
                                         rf"{holder.pid} on .*, since .*--no-lock"), \
            locked(tmp_path / "s"):
        pass
    with locked(tmp_path / "other"):
        pass


def test_the_lock_and_the_leftovers_of_a_killed_training_are_nothing_to_the_next(tmp_path, holder,
                                                                                  capsys):
    left = tmp_path / f".s_iter_7.caffemodel.{HOST}.{holder.pid}.tmp"
    left.write_bytes(b"half")
    holder.kill()
    holder.wait()
    with locked(tmp_path / "s"):
        assert not left.exists() and (tmp_path / ".s.lock").exists()
    assert f"Removed {left}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with locked(tmp_path / "s"):
        assert "No lock for" in capsys.readouterr().err


# --- the command ---------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(
        f'{OPTIONS} net: "net.prototxt" max_iter: 6 snapshot: 2 snapshot_prefix: "s"')
    return tmp_path


def test_snapshot_auto_and_keep(folder, capsys):
    argv = ["train", "--solver=solver.prototxt", "--snapshot=auto"]
    assert cli.main([*argv, "--keep=1"]) == 0
    assert "No snapshot s_iter_N yet: training begins" in capsys.readouterr().err
    assert iterations(folder) == [6]
    whole = Path("s_iter_6.caffemodel").read_bytes()
    assert cli.main(["train", "--solver=solver.prototxt"]) == 0
    for kind in ("caffemodel", "solverstate"):
        Path(f"s_iter_6.{kind}").unlink()
    assert cli.main(argv) == 0
    assert "Resuming from s_iter_4.solverstate" in capsys.readouterr().err
    assert Path("s_iter_6.caffemodel").read_bytes() == whole


def test_two_commands_with_one_prefix(folder, capsys):
    with locked("s"):
        assert cli.main(["train", "--solver=solver.prototxt"]) == 1
        assert "caffe: error: s: another training writes" in capsys.readouterr().err
        assert cli.main(["train", "--solver=solver.prototxt", "--nolock"]) == 0


def test_check_data_names_all_that_is_wrong_before_training(folder, capsys):
    import cv2

    for i in range(5):
        cv2.imwrite(f"{i}.png", np.zeros((4 + (i == 3), 4, 3), np.uint8))
    Path("1.png").write_bytes(b"<html>")
    Path("list").write_text("".join(f"{i}.png {i}\n" for i in range(6)))
    Path("net.prototxt").write_text("""
        layer { name: "d" type: "ImageData" top: "x" top: "y"
                image_data_param { source: "list" batch_size: 2 } }
        layer { name: "none" type: "Silence" bottom: "x" bottom: "y" }""")
    assert cli.main(["train", "--solver=solver.prototxt", "--check_data"]) == 1
    said = capsys.readouterr().err
    assert "caffe: error: 3 records or images cannot be used:" in said
    for fault in ("1.png", "3.png: has the shape (3, 5, 4), the first (3, 4, 4)", "5.png"):
        assert f'layer "d" (ImageData): {fault}' in said or fault in said
    assert "Starting Optimization" not in said


def test_check_data_finds_changed_records_of_a_database(folder, capsys):
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open("db", map_size=10**7)
    with environment.begin(write=True) as transaction:
        for i, side in enumerate((2, 2, 3, 2)):
            datum = caffe_pb2.Datum(channels=1, height=side, width=2, data=b"x" * 2 * side, label=i)
            content = datum.SerializeToString()
            transaction.put(b"%08d" % i, content[:-4] if i == 1 else content)
    environment.close()
    Path("net.prototxt").write_text("""
        layer { name: "d" type: "Data" top: "x" top: "y"
                data_param { source: "db" backend: LMDB batch_size: 2 } }
        layer { name: "none" type: "Silence" bottom: "x" bottom: "y" }""")
    assert cli.main(["train", "--solver=solver.prototxt", "--check_data"]) == 1
    said = capsys.readouterr().err
    assert "2 records or images cannot be used" in said
    assert "db: record 1" in said and "db: record 2: has the shape (1, 3, 2)" in said


@pytest.mark.parametrize("flag, message", [
    ("--on_nan=x", "--on_nan takes stop, skip, ignore; got 'x'"),
    ("--keep=-1", "--keep takes a number of snapshots, got -1")])
def test_wrong_flags(flag, message, folder, capsys):
    assert cli.main(["train", "--solver=solver.prototxt", flag]) == 1
    assert message in capsys.readouterr().err


SLOW = '''
import hashlib, os, time
import caffe
class Slow(caffe.Layer):
    def setup(self, bottom, top): top[0].reshape(1)
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top):
        print("forward", flush=True)
        if os.environ["HANG"] == "deep":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)     # one call, many minutes long
        time.sleep(3600 if os.environ["HANG"] else 0.05)
    def backward(self, top, propagate_down, bottom): pass
'''


HUNG = 300      # seconds after which a process has not been slow, but hangs


def taken(child, number):
    """Wait until a signal that was sent has come: of two at once the system makes one."""
    bit = 1 << (number - 1)
    while child.poll() is None and int(re.search(
            r"ShdPnd:\s*(\w+)", Path(f"/proc/{child.pid}/status").read_text())[1], 16) & bit:
        time.sleep(0.01)


@pytest.fixture
def command(folder):
    """caffe train as a process, in its first iteration; hang: "shallow" or "deep", it lasts.

    Python takes up signals in a shallow hang, in a deep one it cannot.
    """
    (folder / "slow.py").write_text(SLOW)
    Path("net.prototxt").write_text(NET + """
        layer { name: "slow" type: "Python" bottom: "y" top: "z"
                python_param { module: "slow" layer: "Slow" } }
        layer { name: "none" type: "Silence" bottom: "z" }""")
    Path("solver.prototxt").write_text(
        f'{OPTIONS} net: "net.prototxt" max_iter: 100000 snapshot_prefix: "s"')
    children = []

    def start(hang=""):
        path = os.pathsep.join([str(folder), *sys.path])
        child = subprocess.Popen(
            [sys.executable, "-m", "caffe", "train", "--solver=solver.prototxt"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "HANG": hang})
        children.append(child)
        assert child.stdout.readline() == "forward\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def test_sigterm_stops_with_a_snapshot_and_its_own_status(command, folder):
    child = command()
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=HUNG)
    assert child.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: stopping after this iteration, with a snapshot" in said
    assert iterations(folder) and iterations(folder) == iterations(folder, "solverstate")
    assert not (folder / ".s.lock").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("hang", ["shallow", "deep"])
def test_a_second_sigint_ends_at_once_and_says_what_is_kept(hang, command, folder):
    """Also inside a call that does not come back."""
    child = command(hang)
    child.send_signal(signal.SIGINT)
    taken(child, signal.SIGINT)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=HUNG)
    assert child.returncode == 130
    assert "Training ended at once in iteration 0: there is no snapshot of it" in said
    assert not iterations(folder)


def test_a_hung_source_gives_way_to_a_stop(tmp_path, monkeypatch):
    """A pipe in the place of an image; the state is that of the last whole iteration."""
    import cv2

    monkeypatch.setattr(waiting, "GRACE", 0.1)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((2, 2, 3), np.uint8))
    os.mkfifo(tmp_path / "1.png")
    (tmp_path / "list").write_text("".join(f"{tmp_path}/{i}.png {i}\n" for i in range(2)))
    solver = training(tmp_path / "s", "max_iter: 5", f"""
        layer {{ name: "d" type: "ImageData" top: "x" top: "y"
                 image_data_param {{ source: "{tmp_path}/list" batch_size: 1 }} }}
        layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "z"
                 inner_product_param {{ num_output: 1 }} }}
        layer {{ name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "y" top: "loss" }}""")
    solver.add_callback(lambda: solver.iter == 1 and waiting.stop_requested.set(), lambda: None)
    solver.solve()
    assert solver.iter == 1 and iterations(tmp_path) == [1]
    with open(tmp_path / "1.png", "wb"):            # lets the thread go
        pass


# --- what is kept in the state -------------------------------------------------------------------

def test_every_global_generator_is_in_the_state(tmp_path):
    def draws():
        return random.random(), float(torch.rand(())), float(np.random.rand())

    solver = training(tmp_path / "s")
    solver.step(1)
    solver.snapshot()
    straight = draws()
    random.seed(99), torch.manual_seed(99), np.random.seed(99)
    training(tmp_path / "s").restore(tmp_path / "s_iter_1.solverstate")
    assert draws() == straight


def test_resumed_test_losses_are_those_of_an_undisturbed_training(tmp_path, capsys):
    """The test net's own place in its data goes on, too."""
    import cv2

    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((2, 2, 3), 40 * i, np.uint8))
    (tmp_path / "list").write_text("".join(f"{tmp_path}/{i}.png {i}\n" for i in range(5)))
    net = f"""
        layer {{ name: "d" type: "ImageData" top: "x" top: "y"
                 image_data_param {{ source: "{tmp_path}/list" batch_size: 2 shuffle: true }} }}
        layer {{ name: "fc" type: "InnerProduct" bottom: "x" top: "z"
                 inner_product_param {{ num_output: 1 }} }}
        layer {{ name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "y" top: "loss" }}"""
    options = "test_iter: 1 test_interval: 1 base_lr: 0.0001"

    def test_lines():
        return [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()
                if "Test net output" in line]

    straight = training(tmp_path / "s", options.replace("base_lr: 0.0001", ""), net)
    straight.step(3)
    straight.snapshot()
    test_lines()
    straight.step(3)
    expected = test_lines()
    resumed = training(tmp_path / "s", options.replace("base_lr: 0.0001", ""), net)
    resumed.restore(tmp_path / "s_iter_3.solverstate")
    test_lines()
    resumed.step(3)
    assert test_lines() == expected and len(set(expected)) > 1


@pytest.mark.parametrize("arrays_first", [True, False])
def test_memory_data_goes_on_where_it_was(arrays_first, tmp_path):
    net = """layer { name: "d" type: "MemoryData" top: "x" top: "y"
                     memory_data_param { batch_size: 1 channels: 1 height: 1 width: 2 } }
             layer { name: "fc" type: "InnerProduct" bottom: "x" top: "z"
                     inner_product_param { num_output: 1 weight_filler { type: "xavier" } } }
             layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "y" top: "loss" }"""
    arrays = np.random.rand(5, 1, 1, 2).astype(np.float32), np.arange(5, dtype=np.float32)

    def begun():
        solver = training(tmp_path / "s", net=net)
        solver.net.set_input_arrays(*arrays)
        return solver

    straight = begun()
    straight.step(7)
    first = begun()
    first.step(3)
    first.snapshot()
    second = begun() if arrays_first else training(tmp_path / "s", net=net)
    second.restore(tmp_path / "s_iter_3.solverstate")
    if not arrays_first:
        second.net.set_input_arrays(*arrays)
    second.step(4)
    np.testing.assert_array_equal(second.net.params["fc"][0].data,
                                  straight.net.params["fc"][0].data)
    second.net.set_input_arrays(*arrays)            # later ones begin at their start
    second.net.forward()
    assert second.net.blobs["y"].data[0] == 0


def test_a_layer_of_a_user_keeps_its_own_state_and_may_fail_at_it(tmp_path, capsys):
    first = training(tmp_path / "s")
    first.net.layer_dict["fc"].snapshot_state = lambda: b"seven"
    first.net.layer_dict["loss"].snapshot_state = lambda: 1 / 0
    first.snapshot()
    assert 'layer "loss" (EuclideanLoss): snapshot_state failed' in capsys.readouterr().err
    assert read_state(tmp_path / "s_iter_0.solverstate").extra["layer/fc"].tobytes() == b"seven"

    def refuse(state):
        raise KeyError("position")

    second = training(tmp_path / "s")
    second.net.layer_dict["fc"].restore_state = refuse
    with pytest.raises(caffe.engine.errors.WeightsError,
                       match=r's_iter_0.solverstate: layer "fc" .*cannot go on from it: KeyError'):
        second.restore(tmp_path / "s_iter_0.solverstate")


# --- losses that are no numbers ------------------------------------------------------------------

def diverging(prefix, on_nan, options="max_iter: 6 snapshot: 2", at=(3,)):
    """A solver whose blob y is NaN in these iterations."""
    solver = training(prefix, options)
    solver.on_nan = on_nan
    fc = solver.net.layer_dict["fc"]
    forward = fc.forward

    def with_nan(bottom, top):
        forward(bottom, top)
        if solver.iter in at:
            top[0].data[1, 0] = np.nan
    fc.forward = with_nan
    return solver


def test_nan_stops_with_where_it_began(tmp_path):
    solver = diverging(tmp_path / "s", "stop")
    with pytest.raises(NotFinite) as error:
        solver.solve()
    said = str(error.value)
    assert said.startswith("Iteration 3, lr = 0.1: the loss is nan; the first that is not finite "
                           'is blob "y" of layer "fc" (InnerProduct)')
    assert f"The last snapshot, finite, is {tmp_path}/s_iter_2.caffemodel" in said
    assert iterations(tmp_path) == [2]


def test_nan_may_be_skipped(tmp_path, capsys):
    solver = diverging(tmp_path / "s", "skip", "max_iter: 6", at=(2, 4))
    weights = []
    solver.add_callback(lambda: weights.append(solver.net.params["fc"][0].data.copy()),
                        lambda: None)
    solver.solve()
    assert solver.skipped == 2 and solver.iter == 6
    assert capsys.readouterr().err.count("no update") == 2
    np.testing.assert_array_equal(weights[2], weights[3])
    assert not np.array_equal(weights[3], weights[4])


def test_weights_that_became_nan_are_not_saved_over_the_last_good_ones(tmp_path):
    solver = training(tmp_path / "s", "max_iter: 6 snapshot: 2")
    solver.on_nan, solver.keep = "stop", 1

    def poison():
        if solver.iter == 3:
            solver.net.params["fc"][1].diff[0] = np.inf

    solver.add_callback(lambda: None, poison)
    with pytest.raises(NotFinite, match=r'Iteration 4: parameter 1 of layer "fc".*s_iter_2'):
        solver.solve()
    assert iterations(tmp_path) == [2]


def test_the_images_of_the_batch_are_named(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "0.png"), np.ones((2, 2, 3), np.uint8))
    (tmp_path / "list").write_text(f"{tmp_path}/0.png 1\n")
    solver = training(tmp_path / "s", "", f"""
        layer {{ name: "d" type: "ImageData" top: "x" top: "y"
                 image_data_param {{ source: "{tmp_path}/list" batch_size: 1 }} }}
        layer {{ name: "log" type: "Log" bottom: "y" top: "l" log_param {{ shift: -1 }}
                 loss_weight: 1 }}""")
    solver.on_nan = "stop"
    with pytest.raises(NotFinite, match=rf'loss is -inf;.*blob "l".*the batch: {tmp_path}/0.png'):
        solver.step(1)


def test_accuracy_on_nan_is_not_one():
    net = caffe.Net("""
        layer { name: "in" type: "Input" top: "x" top: "y"
                input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }
        layer { name: "a" type: "Accuracy" bottom: "x" bottom: "y" top: "a" }""", caffe.TEST)
    net.blobs["x"].data[...] = [[np.nan] * 3, [5, np.nan, 1]]
    net.blobs["y"].data[...] = 0
    assert net.forward()["a"] == 0


def test_nan_in_weights_is_said_when_they_are_loaded(tmp_path, capsys):
    net = caffe.Net(NET, caffe.TRAIN)
    net.params["fc"][1].data[0] = np.nan
    net.save(str(tmp_path / "w"))
    caffe.Net(NET, caffe.TRAIN).copy_from(str(tmp_path / "w"))
    assert f'{tmp_path}/w: parameter 1 of layer "fc" (InnerProduct) is not finite' in \
        capsys.readouterr().err
