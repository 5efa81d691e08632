"""Workers that train together and fail, die, hang, are stopped, and go on."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist

import caffe
from caffe.engine import log
from caffe.engine.parallel import faults, launching
from caffe.engine.parallel.faults import Lost
from caffe.extend import Sharing, together
from conftest import ROOT
from test_training_together import assert_close, write_lenet

sys.path.insert(0, str(ROOT / "tests"))
from workers import HUNG, exchanges, outcomes, run_workers, wait_only

SMALL = """
layer { name: "d" type: "Data" top: "x" top: "y"
  transform_param { scale: 0.01 crop_size: 20 mirror: true } data_param { source: "lmdb" batch_size: 3 backend: LMDB } }
layer { name: "drop" type: "Dropout" bottom: "x" top: "h" }
layer { name: "ip" type: "InnerProduct" bottom: "h" top: "h2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "h2" bottom: "y" top: "loss" }
"""
SOLVER = """net: "small.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" max_iter: 8 snapshot: 4
snapshot_prefix: "%s" random_seed: 5 layer_wise_reduce: true"""


@pytest.fixture
def folder(tmp_path) -> Path:
    write_lenet(tmp_path)
    (tmp_path / "small.prototxt").write_text(SMALL)
    (tmp_path / "solver.prototxt").write_text(SOLVER % "s")
    return tmp_path


def weights(solver) -> np.ndarray:
    return np.concatenate([b.data.ravel() for blobs in solver.net.params.values() for b in blobs])


# --- one of two ends --------------------------------------------------------------------------------

def with_fault(folder: Path, kind: str) -> str:
    """What worker 0 is told when worker 1 goes wrong in iteration 3.

    Until then a worker may be as slow as its machine. The hanging one says first that it hangs.
    """
    os.chdir(folder)
    log.configure(2)
    if kind == "hang":
        faults.TO_ANSWER, faults.TO_TELL = 1.0, 3.0

    def go_wrong():
        if solver.iter == 3 and team.rank == 1:
            {"raise": broken, "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
             "hang": lambda: (team.store.set("hangs", ""), hanging())}[kind]()
        if solver.iter == 3 and team.rank == 0 and kind == "hang":
            team.store.wait(["hangs"])
            wait_only(2.0, solver)

    try:
        with together() as team:
            solver = caffe.get_solver("solver.prototxt")
            solver.join(team, Sharing(limit=250.0))
            assert {each.options._timeout for each in exchanges(solver)} == {timedelta(seconds=250)}
            solver.add_callback(go_wrong, lambda: None)
            solver.step(8)
    except Lost as error:
        assert dist.PrefixStore("faults", team.store).check(["lost/0"])     # for the launcher
        return str(error)
    except ValueError as error:
        return f"{error}"
    return "nothing happened"


def broken() -> None:
    raise ValueError("a broken image")


def hanging() -> None:
    time.sleep(HUNG)


@pytest.mark.parametrize("kind, told, good", [
    ("raise", "failed: ValueError: a broken image", True),
    ("die", "has died", False),
    ("hang", "did not come in time: it hangs", False)])
def test_the_others_end_with_the_name_of_the_worker(folder, kind, told, good):
    (_, message), (other, _) = outcomes(2, with_fault, folder, kind, stderr=folder / "stderr")
    assert message.startswith("worker 0 cannot go on (iteration 3): worker 1 (process ")
    assert message.endswith(told) and other is good
    written = (folder / "stderr").read_text()
    assert ("in broken" in written) is (kind == "raise")        # its traceback
    assert ("in hanging" in written) is (kind == "hang")


@pytest.mark.parametrize("first, second, told, status", [
    ("exit 1", "sleep 1; exit 3", "Worker 1 of 2 (process {}) ended with status 3; the others", 3),
    ("sleep 1; exit 1", "exit 0", "Worker 1 of 2 (process {}) ended with status 0; the others", 1),
    ("sleep 1; exit 1", "kill -9 $$", "Worker 1 of 2 (process {}) was killed by SIGKILL; the", 137)])
def test_who_started_them_names_the_one_that_was_the_cause(tmp_path, first, second, told, status,
                                                           caplog, monkeypatch):
    monkeypatch.setattr(faults, "ended_for_others", lambda store, count: [0])
    monkeypatch.setattr(logging.getLogger("caffe"), "propagate", True)
    command = f'[ $RANK = 1 ] || {{ {first}; }}; echo $$ > {tmp_path / "pid"}; {second}'
    assert launching.start(2, ["sh", "-c", command]) == status
    assert told.format((tmp_path / "pid").read_text().strip()) in caplog.text


# --- stopped, and gone on ---------------------------------------------------------------------------

def stopped_and_resumed(folder: Path) -> dict[str, object]:
    """A training of 8 iterations; the same, stopped by worker 1 after 5; the same, gone on from 4."""
    os.chdir(folder)
    log.configure(2)
    found: dict[str, object] = {}
    with together() as team:
        whole = caffe.get_solver("solver.prototxt")
        whole.join(team)
        whole.solve()
        found["whole"] = weights(whole)
        Path(f"other{team.rank}.prototxt").write_text(SOLVER % "other")
        other = caffe.get_solver(f"other{team.rank}.prototxt")
        other.join(team)
        other.add_callback(lambda: setattr(
            other, "stop_requested", team.rank == 1 and other.iter == 4), lambda: None)
        other.solve()
        found["stopped at"] = other.iter
        again = caffe.get_solver("solver.prototxt")
        again.join(team)
        again.resume("s_iter_4.solverstate")
        again.step(4)
        found["resumed"] = weights(again)
    return found


def resumed_by_others(folder: Path) -> tuple[int, np.ndarray, list[str]]:
    os.chdir(folder)
    lines: list[str] = []
    logging.getLogger("caffe").addFilter(lambda record: lines.append(record.getMessage()) or True)
    with together() as team:
        solver = caffe.get_solver("solver.prototxt")
        solver.join(team)
        solver.resume("s_iter_4.solverstate")
        solver.step(2)
        return solver.iter, weights(solver), [line for line in lines if "written by" in line]


def test_a_stop_is_everybodys_and_the_same_workers_go_on_bit_for_bit(folder):
    for each in run_workers(2, stopped_and_resumed, folder):
        assert each["stopped at"] == 5
        np.testing.assert_array_equal(each["resumed"], each["whole"])
    assert (folder / "other_iter_5.solverstate").is_file()
    assert not list(folder.glob("*.tmp"))
    for count in (1, 3):
        results = run_workers(count, resumed_by_others, folder)
        for iteration, values, said in results:
            assert iteration == 6 and "written by 2 workers, now" in said[0]
            np.testing.assert_array_equal(values, results[0][1])


# --- as scripts of 2017 write it ----------------------------------------------------------------------

SCRIPT = '''
import sys
from multiprocessing import Process
import caffe

def start(proto, devices, modes):
    uid = caffe.NCCL.new_uid()
    caffe.init_log(2)
    workers = [Process(target=work, args=(proto, devices, modes, uid, k)) for k in range(len(devices))]
    for each in workers:
        each.daemon = True
        each.start()
    for each in workers:
        each.join()

def timed(solver, nccl):
    total, reduce = caffe.Timer(), caffe.Timer()
    solver.net.before_forward(lambda layer: None)
    solver.add_callback(lambda: total.start(), lambda: (total.stop(), reduce.start()))
    solver.add_callback(nccl)
    solver.add_callback(lambda: "", lambda: reduce.stop())

def work(proto, devices, modes, uid, rank):
    if modes == "cpu":
        caffe.set_mode_cpu()
    else:
        caffe.set_mode_gpu()
        caffe.set_device(devices[rank])
    caffe.set_solver_count(len(devices))
    caffe.set_solver_rank(rank)
    caffe.set_multiprocess(True)
    solver = caffe.SGDSolver(proto)
    nccl = caffe.NCCL(solver, uid)
    nccl.bcast()
    if rank == 0:
        timed(solver, nccl)
    else:
        solver.add_callback(nccl)
    if solver.param.layer_wise_reduce:
        solver.net.after_backward(nccl)
    solver.step(solver.param.max_iter)
    solver.net.save("worker%d.caffemodel" % rank)

if __name__ == "__main__":
    start(sys.argv[1], [0, 1], sys.argv[2])
'''


def test_scripts_with_nccl_and_multiprocessing_run(folder, monkeypatch):
    (folder / "train.py").write_text(SCRIPT)
    text = (folder / "small.prototxt").read_text()
    (folder / "small.prototxt").write_text(text.replace("crop_size: 20 mirror: true", "").replace(
        'layer { name: "drop" type: "Dropout" bottom: "x" top: "h" }',
        'layer { name: "drop" type: "Power" bottom: "x" top: "h" }'))
    done = subprocess.run([sys.executable, "train.py", "solver.prototxt", "cpu"], cwd=folder,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                          capture_output=True, text=True, timeout=HUNG, check=True)
    assert "Traceback" not in done.stderr, done.stderr
    one, two = ((folder / f"worker{rank}.caffemodel").read_bytes() for rank in (0, 1))
    assert one == two
    monkeypatch.chdir(folder)
    alone = caffe.get_solver("solver.prototxt")
    alone.param.iter_size = 2
    alone.step(8)
    saved = caffe.extend.read_caffemodel(str(folder / "worker0.caffemodel"))
    found = {f"{y.name}/{i}": np.array(b.data) for y in saved.layer for i, b in enumerate(y.blobs)}
    mine = {f"{name}/{i}": b.data.ravel() for name, blobs in alone.net.params.items()
            for i, b in enumerate(blobs)}
    assert_close(mine, found, 1e-4)


def test_what_threads_cannot_do_is_said(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert caffe.has_nccl()
    try:
        caffe.set_solver_count(2)
        solver = caffe.get_solver("solver.prototxt")
        with pytest.raises(caffe.CaffeError, match="each solver is a process of its own"):
            caffe.NCCL(solver, caffe.NCCL.new_uid())
    finally:
        caffe.set_solver_count(1)
