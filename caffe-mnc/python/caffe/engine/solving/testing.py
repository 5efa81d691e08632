"""Tests of a solver between iterations; workers that train together share the batches out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe.engine import log
from caffe.engine.solving.evaluation import EVALUATIONS
from caffe.engine.solving.progress import pass_over, run_forward, take_turns

if TYPE_CHECKING:
    from caffe.engine.solving.solver import Solver


def test(solver: Solver, index: int) -> None:
    """Run test net `index` for test_iter[index] batches; log what eval_type makes of it."""
    log.info(log.TESTING, solver.iter, index)
    net, batches, workers = solver.test_nets[index], solver.param.test_iter[index], solver.workers
    net.share_with(solver.net)
    workers.share_statistics()
    take_turns(net, batches, workers.rank, workers.count)
    done, loss, outputs = 0, 0.0, EVALUATIONS.get(solver.param.eval_type)(solver.param)
    for number in range(batches):
        if solver.stop_requested:
            break
        if number % workers.count == workers.rank:
            loss += run_forward(net)
            outputs.add(net)
        else:
            pass_over(net)
        done += 1
    parts = workers.tested((done, loss, outputs))
    if any(done < batches for done, _, _ in parts):
        log.info(log.TEST_STOPPED)
        return
    outputs.join([each for _, _, each in parts])
    if solver.param.test_compute_loss:
        log.info(log.TEST_LOSS, sum(loss for _, loss, _ in parts) / batches)
    outputs.log(net)
    for hear in solver.after_test:
        hear(index, outputs.figures())
