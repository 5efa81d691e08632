"""caffe test: the mean of a net's outputs over some batches."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from caffe.commands import devices
from caffe.commands.flags import names
from caffe.commands.registration import UsageError
from caffe.engine import log
from caffe.engine.layer import TEST
from caffe.engine.net.net import Net
from caffe.engine.solving.evaluation import MeanAveragePrecision, MeanOutputs
from caffe.engine.solving.progress import output_values, run_forward
from caffe.proto import caffe_pb2


def run(flags: SimpleNamespace) -> int:
    """score a model"""
    if not flags.model or not flags.weights:
        raise UsageError("test needs --model FILE and --weights FILE")
    if flags.iterations < 1:
        raise UsageError(f"--iterations must be at least 1, got {flags.iterations}")
    devices.use_one(flags.gpu)
    net = Net(flags.model, TEST, level=flags.level, stages=names(flags.stage))
    for name in names(flags.weights):
        net.copy_from(name, required=True)
    log.info("Running for %d iterations.", flags.iterations)
    if flags.ap_version:
        average_precision(net, flags.iterations, flags.ap_version)
        return 0
    loss, outputs = averages(net, flags.iterations)
    log.info("Loss: %g", loss)
    for name, values in outputs.items():
        weight = net.blob_loss_weights[name]
        for value in values:
            log.info("%s = %g%s", name, value,
                     log.WEIGHTED % (weight, weight * value) if weight else "")
    return 0


def average_precision(net: Net, batches: int, version: str) -> None:
    """Log what a solver with eval_type "detection" logs, of that many forward passes."""
    outputs = MeanAveragePrecision(caffe_pb2.SolverParameter(
        ap_version=version, show_per_class_result=True))
    for _ in range(batches):
        run_forward(net)
        outputs.add(net)
    outputs.log(net)


def averages(net: Net, batches: int) -> tuple[float, dict[str, np.ndarray]]:
    """The mean loss, and the mean of each value of each output, over that many forward passes."""
    loss, outputs = 0.0, MeanOutputs(None)
    for batch in range(batches):
        loss += run_forward(net)
        outputs.add(net)
        for name, values in output_values(net).items():
            for value in values:
                log.info("Batch %d, %s = %g", batch, name, value)
    return loss / batches, outputs.means()
