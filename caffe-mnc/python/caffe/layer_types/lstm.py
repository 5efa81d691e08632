"""Lstm, the layer that preceded Caffe's own LSTM (junhyukoh/caffe-lstm, CTPN, caffe_ocr)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, between, exactly
from caffe.layer_types.recurrent import KeepsStates, lstm_unit


@LAYERS.register("Lstm")
class Lstm(KeepsStates):
    """c_t = f c_t-1 + i g, h_t = o tanh(c_t); W_x, W_h, b are its parameters (CTPN, caffe_ocr)

    bottom: x (T, N, inputs), top (T, N, num_output); or x (T N, inputs ...) with N = batch_size,
    rows t N + n, top (T N, num_output). On request marks, one for each row or each t: 0 where a
    sequence begins; with them the states go on from one forward to the next. Parameters: W_x
    (4 D, inputs), W_h (4 D, D), b (4 D,), gates in the order i, f, o, g: LSTM has W_x, b, W_h.
    clipping_threshold: the gradient of each gate before its nonlinearity is cut to that.
    """

    num_bottom = between(1, 2)
    num_top = exactly(1)
    no_gradient = (1,)

    def setup(self, bottom, top):
        options, shape = self.param.lstm_param, bottom[0].shape
        self.size, self.batch = options.num_output, options.batch_size
        if self.size < 1 or self.batch < 1:
            raise LayerError(f"{self.title}: lstm_param needs num_output and batch_size above 0, "
                             f"got {self.size} and {self.batch}")
        self.parted = len(shape) == 3
        inputs = math.prod(shape[2 if self.parted else 1:])
        self.add_blob((4 * self.size, inputs), options.weight_filler)
        self.add_blob((4 * self.size, self.size), options.weight_filler)
        self.add_blob((4 * self.size,), options.bias_filler)

    def check(self, *shapes):
        x, inputs = shapes[0], self.blobs[0].shape[1]
        if (len(x) == 3) != self.parted or math.prod(x[2 if self.parted else 1:]) != inputs:
            raise LayerError(f"{self.title}: was built for {inputs} inputs an item, got shape {x}")
        if not self.parted and x[0] % self.batch:
            raise LayerError(f"{self.title}: {x[0]} rows are no multiple of batch_size "
                             f"{self.batch}")
        steps, batch = self._sizes(x)
        if len(shapes) == 2 and math.prod(shapes[1]) not in (steps, steps * batch):
            raise LayerError(f"{self.title}: needs {steps} or {steps * batch} marks, got shape "
                             f"{shapes[1]}")

    def _sizes(self, x: tuple[int, ...]) -> tuple[int, int]:
        return (x[0], x[1]) if self.parted else (x[0] // self.batch, self.batch)

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*shapes[0][:2 if self.parted else 1], self.size)]

    def compute(self, x: Tensor, *rest: Tensor) -> Tensor:
        (*marks, w_x, w_h, bias), (steps, batch) = rest, self._sizes(tuple(x.shape))
        gates = F.linear(x.reshape(steps, batch, w_x.shape[1]), w_x, bias)
        cont = marks[0].detach().reshape(steps, -1, 1).expand(steps, batch, 1) if marks \
            else x.new_ones(steps, batch, 1)
        h, c = self.first if marks and self.first and len(self.first[0]) == batch \
            else (x.new_zeros(batch, self.size),) * 2
        outputs = []
        for gates_t, cont_t in zip(gates, cont):
            c, h = lstm_unit(c, self._clipped(gates_t + F.linear(h * cont_t, w_h)), cont_t)
            outputs.append(h)
        self.keep(h, c)
        top = torch.stack(outputs) if outputs else gates[..., :self.size]
        return top if self.parted else top.reshape(steps * batch, self.size)

    def _clipped(self, gates: Tensor) -> Tensor:
        most = self.param.lstm_param.clipping_threshold
        if most > 0 and gates.requires_grad:
            gates.register_hook(lambda gradient: gradient.clamp(-most, most))
        return gates
