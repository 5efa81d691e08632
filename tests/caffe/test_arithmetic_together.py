"""Nets with every way in which gradients of workers could go wrong: N workers train as one does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from google.protobuf import text_format

import caffe
from caffe.engine.net.net import Net
from caffe.engine.parallel import reducer
from caffe.engine.parallel.team import together
from caffe.engine.solving.workers import Sharing
from test_training_together import assert_close

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from workers import run_workers

# "w" is used twice; "still" does not learn; "shift" is as large as what it is added to; of some batches
# "kept" has no row, so that "few" has no gradient there; two losses have weights.
NET = """
layer { name: "d" type: "MemoryData" top: "x" top: "y"
  memory_data_param { batch_size: 3 channels: 1 height: 5 width: 7 } }
layer { name: "half" type: "Power" bottom: "x" top: "half" power_param { scale: 0.5 } }
layer { name: "one" type: "InnerProduct" bottom: "x" top: "one" param { name: "w" lr_mult: 2 }
  inner_product_param { num_output: 6 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "two" type: "InnerProduct" bottom: "half" top: "two" param { name: "w" }
  inner_product_param { num_output: 6 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "still" type: "InnerProduct" bottom: "x" top: "still" param { lr_mult: 0 }
  inner_product_param { num_output: 6 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "all" type: "Concat" bottom: "one" bottom: "two" bottom: "still" top: "all" }
layer { name: "bn" type: "BatchNorm" bottom: "all" top: "bn" batch_norm_param { eps: 0.1 } }
layer { name: "shift" type: "Bias" bottom: "bn" top: "shift" param { decay_mult: 0 }
  bias_param { axis: 0 num_axes: -1 filler { type: "gaussian" } } }
layer { name: "kept" type: "Python" bottom: "shift" bottom: "y" top: "kept"
  python_param { module: "test_arithmetic_together" layer: "Kept" } }
layer { name: "few" type: "InnerProduct" bottom: "kept" top: "few"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "size" type: "Reduction" bottom: "few" top: "size" loss_weight: 0.3 reduction_param { operation: SUMSQ } }
layer { name: "ip" type: "InnerProduct" bottom: "shift" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" loss_weight: 2 }
"""
SOLVERS = {
    "steps and L1": 'base_lr: 0.02 momentum: 0.9 weight_decay: 0.01 regularization_type: "L1" '
                    'lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 4',
    "Adam": 'type: "Adam" base_lr: 0.01 momentum: 0.9 momentum2: 0.99 lr_policy: "poly" power: 1 '
            "max_iter: 20",
    "Nesterov": 'type: "Nesterov" base_lr: 0.01 momentum: 0.9 lr_policy: "sigmoid" gamma: -0.5 '
                "stepsize: 3",
    "clipped": 'base_lr: 0.1 lr_policy: "fixed" weight_decay: 0.001 clip_gradients: %g',
}


class Kept(caffe.Layer):
    """The rows of classes below 3: of some batches none."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        self.rows = np.flatnonzero(bottom[1].data < 3)
        top[0].reshape(len(self.rows), bottom[0].data.shape[1])

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data[self.rows]

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = 0
        bottom[0].diff[self.rows] = top[0].diff


def trained(passes: int, sharing: Sharing) -> dict[str, dict[str, np.ndarray]]:
    """Losses and weights of each of SOLVERS after 5 updates; each parameter goes by itself."""
    make = Net.from_proto
    Net.from_proto = classmethod(lambda cls, *a: make(*a, dtype="float64"))     # type: ignore
    reducer.FIRST = reducer.BUCKET = 1
    with together() as team:
        return {name: _trained(options % (passes / 2) if "%" in options else options, passes, team,
                               sharing) for name, options in SOLVERS.items()}


def _trained(options: str, passes: int, team, sharing: Sharing) -> dict[str, np.ndarray]:
    param = text_format.Parse(f"{options} iter_size: {passes} random_seed: 7",
                              caffe.proto.caffe_pb2.SolverParameter())
    text_format.Parse(NET, param.net_param)
    solver = caffe.get_solver(param)
    random = np.random.default_rng(2)           # 11 batches, which N workers take in turn
    solver.net.set_input_arrays(random.random((33, 1, 5, 7), np.float32),
                                random.integers(0, 10, 33).astype(np.float32))
    solver.join(team, sharing)
    losses = []
    for _ in range(5):
        solver.step(1)
        losses.append(solver.loss)
    return {"losses": np.array(losses),
            **{f"{name}/{i}": blob.data.copy() for name, blobs in solver.net.params.items()
               for i, blob in enumerate(blobs) if name != "bn"}}


def test_workers_train_as_one_whatever_the_net_has():
    alone, = run_workers(1, trained, 4, Sharing())
    assert all(each["losses"].std() > 0.01 for each in alone.values())
    for count in (2, 4):
        workers = run_workers(count, trained, 4 // count, Sharing())
        for name in SOLVERS:
            assert_close(alone[name], workers[0][name])
            for each in workers[1:]:
                for key in each[name]:
                    np.testing.assert_array_equal(each[name][key], workers[0][name][key])


def test_gradients_in_half_the_bytes_are_those_but_for_rounding():
    """bfloat16 has 8 bits: they differ, by less than that over 5 updates; the workers agree."""
    alone, = run_workers(1, trained, 2, Sharing())
    one, two = run_workers(2, trained, 1, Sharing(compress="bf16"))
    for name in ("steps and L1", "Nesterov", "clipped"):        # Adam divides by what is near 0
        assert_close(alone[name], one[name], 2e-2)
        assert not np.array_equal(alone[name]["ip/0"], one[name]["ip/0"])
        for key in one[name]:
            np.testing.assert_array_equal(one[name][key], two[name][key])
