"""Recurrent layers, unrolled over time: RNN, LSTM, and LSTMUnit, one step of an LSTM."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.formats.arrays import read_arrays
from caffe.engine.layer import LAYERS, TorchLayer, between, exactly


class KeepsStates(TorchLayer):
    """States (N, size) that go on from forward to forward: `_last` behind it, `_first` before."""

    pure = False
    graph_note = "its states begin at 0 in every run of the file"
    size: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last: tuple[Tensor, ...] = ()
        self._first: tuple[Tensor, ...] = ()

    def start_run(self, params):
        self._first = self._last

    def keep(self, *states: Tensor) -> None:
        """What the next forward goes on from, each (N, size)."""
        if not torch.compiler.is_exporting():
            self._last = tuple(state.detach() for state in states)

    @property
    def first(self) -> tuple[Tensor, ...]:
        return () if torch.compiler.is_exporting() else self._first

    def multiply_adds(self, bottoms, tops):
        """Every matrix once a step and sequence."""
        return math.prod(tops[0][:-1]) * sum(b.count for b in self.blobs if len(b.shape) == 2)

    def snapshot_state(self) -> bytes:
        """The hidden states, for a solver state."""
        file = io.BytesIO()
        np.savez(file, *(h.cpu().numpy() for h in self._last))
        return file.getvalue()

    def restore_state(self, state: bytes) -> None:
        """Go on from the hidden states that `snapshot_state` gave."""
        try:
            last = tuple(torch.from_numpy(array).to(self.device, self.dtype)
                         for array in read_arrays(io.BytesIO(state)).values())
        except (ValueError, TypeError) as error:
            raise LayerError(f"{self.title}: the saved states are damaged: {error}") from error
        if any(h.dim() != 2 or h.shape[1] != self.size for h in last):
            raise LayerError(f"{self.title}: the saved states are damaged: "
                             f"shapes {[tuple(h.shape) for h in last]}, not (N, {self.size})")
        self._last = last


class Recurrent(KeepsStates):
    """What RNN and LSTM share: (state, x_t) -> (state, y_t) for t = 0 .. T - 1

    bottom: x (T, N, ...); cont (T, N): 0 where a sequence begins, else 1; [x_static (N, ...)];
    with expose_hidden the states before t = 0, (1, N, D) each. top: y (T, N, D), and with
    expose_hidden the states behind t = T - 1. Without it the states go on from one forward to the
    next. As in Caffe, no gradient enters through the last states or leaves through the first.
    Parameters: input weights (G, inputs), input bias (G,), [static weights (G, static inputs)],
    then those of `recurrent_shapes`.
    """

    num_bottom = between(2, 5)
    num_top = between(1, 3)
    states = 1          # tensors (N, D) that go from step to step
    gates = 1           # G / D

    def recurrent_shapes(self, size: int) -> list[tuple[int, ...]]:
        """Shapes of the parameters behind the input's."""
        raise NotImplementedError

    def step(self, hidden: tuple[Tensor, ...], cont: Tensor, gates: Tensor,
             params: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
        """The states and the output of a step; `gates` (N, G): what the inputs contribute."""
        raise NotImplementedError

    def setup(self, bottom, top):
        options = self.param.recurrent_param
        self.size, self.exposed = options.num_output, options.expose_hidden
        if self.size < 1:
            raise LayerError(f"{self.title}: num_output is missing or 0")
        given = self.states if self.exposed else 0
        self.static = len(bottom) == 3 + given
        if len(bottom) not in (2 + given, 3 + given) or len(top) != 1 + given:
            raise LayerError(f"{self.title}: needs the bottoms x, cont, [x_static]"
                             f"{f' and {given} states, {1 + given} tops' if given else ', one top'}"
                             f"; got {len(bottom)} bottoms and {len(top)} tops")
        self.no_gradient = (1, *range(len(bottom) - given, len(bottom)))
        shapes = [(self.gates * self.size, math.prod(bottom[0].shape[2:])),
                  (self.gates * self.size,)]
        if self.static:
            shapes.append((self.gates * self.size, math.prod(bottom[2].shape[1:])))
        for shape in shapes + self.recurrent_shapes(self.size):
            self.add_blob(shape, options.bias_filler if len(shape) == 1 else options.weight_filler)

    def check(self, *shapes):
        x, cont = shapes[:2]
        if len(x) < 2 or cont != x[:2]:
            raise LayerError(f"{self.title}: x must be (T, N, ...) and cont (T, N), got {x} and "
                             f"{cont}")
        if self.static and shapes[2][:1] != x[1:2]:
            raise LayerError(f"{self.title}: x_static must be ({x[1]}, ...), got {shapes[2]}")
        for state in shapes[2 + self.static:]:
            if state != (1, x[1], self.size):
                raise LayerError(f"{self.title}: states must be {(1, x[1], self.size)}, got "
                                 f"{state}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        state = (1, shapes[0][1], self.size)
        return [(*shapes[0][:2], self.size)] + [state] * (self.states if self.exposed else 0)

    def compute(self, x: Tensor, cont: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        bottoms = int(self.static) + (self.states if self.exposed else 0)
        given, (weight, bias, *params) = rest[:bottoms], rest[bottoms:]
        gates = F.linear(x.reshape(*x.shape[:2], math.prod(x.shape[2:])), weight, bias)
        if self.static:
            gates = gates + F.linear(given[0].flatten(1), params.pop(0))       # (T, N, G)
        hidden = self._initial(x, given[int(self.static):])
        outputs = []
        for cont_t, gates_t in zip(cont.detach(), gates):
            hidden, y = self.step(hidden, cont_t[:, None], gates_t, tuple(params))
            outputs.append(y)
        self.keep(*hidden)
        top = torch.stack(outputs) if outputs else x.new_zeros(0, x.shape[1], self.size)
        return (top, *(h.detach()[None] for h in hidden)) if self.exposed else (top,)

    def _initial(self, x: Tensor, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The states before t = 0: given, or of the last forward if N is the same, or 0."""
        if self.exposed:
            return tuple(h[0].detach() for h in given)
        if self.first and len(self.first[0]) == x.shape[1]:
            return self.first
        return (x.new_zeros(x.shape[1], self.size),) * self.states


@LAYERS.register("RNN")
class RNN(Recurrent):
    """h_t = tanh(W_hh (cont_t h_t-1) + W_xh x_t + b_h), y_t = tanh(W_ho h_t + b_o)

    Parameters: W_xh, b_h, [W_xh_static], W_hh (D, D), W_ho (D, D), b_o (D,). See Recurrent.
    """

    def recurrent_shapes(self, size: int) -> list[tuple[int, ...]]:
        return [(size, size), (size, size), (size,)]

    def step(self, hidden, cont, gates, params):
        w_hh, w_ho, b_o = params
        h = torch.tanh(F.linear(hidden[0] * cont, w_hh) + gates)
        return (h,), torch.tanh(F.linear(h, w_ho, b_o))


@LAYERS.register("LSTM")
class LSTM(Recurrent):
    """c_t = cont_t f c_t-1 + i g, y_t = h_t = o tanh(c_t)

    (i, f, o, g) = (sigmoid, sigmoid, sigmoid, tanh) of W_hc (cont_t h_t-1) + W_xc x_t + b_c
    Parameters: W_xc (4D, inputs), b_c (4D,), [W_xc_static], W_hc (4D, D). States: h, c. See
    Recurrent.
    """

    states, gates = 2, 4

    def recurrent_shapes(self, size: int) -> list[tuple[int, ...]]:
        return [(4 * size, size)]

    def step(self, hidden, cont, gates, params):
        h, c = hidden
        c, h = lstm_unit(c, F.linear(h * cont, params[0]) + gates, cont)
        return (h, c), h


def lstm_unit(c: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
    """The next c, h (..., D) from c, gates (..., 4D) in the order i, f, o, g, and cont (..., 1)"""
    i, f, o, g = gates.chunk(4, -1)
    c = cont * torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return c, torch.sigmoid(o) * torch.tanh(c)


@LAYERS.register("LSTMUnit")
class LSTMUnit(TorchLayer):
    """One step of an LSTM: c_t and h_t from c_t-1 and the gates before their nonlinearities

    bottom: c (1, N, D), gates (1, N, 4D) in the order i, f, o, g, cont (1, N); top: c, h
    """

    num_bottom = exactly(3)
    num_top = exactly(2)
    no_gradient = (2,)

    def check(self, *shapes):
        c, gates, cont = shapes
        if len(c) != 3 or c[0] != 1 or gates != (1, c[1], 4 * c[2]) or cont != (1, c[1]):
            raise LayerError(f"{self.title}: bottoms must be (1, N, D), (1, N, 4 D) and (1, N), "
                             f"got {', '.join(map(str, shapes))}")

    def compute(self, c: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
        return lstm_unit(c, gates, cont.detach()[..., None])
