"""Dropout."""

from __future__ import annotations

import torch
from torch import Tensor

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TRAIN
from caffe.engine.random import generator
from caffe.layer_types.activation import Neuron


@LAYERS.register("Dropout")
class Dropout(Neuron):
    """TRAIN: y = x * m / (1 - ratio), m = 1 with probability 1 - ratio, else 0.  TEST: y = x

    With scale_train: false the factor moves to TEST: y = x * m, and y = x * (1 - ratio).
    """

    reads_bottoms_again = False
    keeps_low_precision = keeps_coordinates = True

    def setup(self, bottom, top):
        options = self.param.dropout_param
        if not 0 <= options.dropout_ratio < 1:
            raise LayerError(f"{self.title}: dropout_ratio must be in [0, 1), "
                             f"got {options.dropout_ratio:g}")
        self.keep, self.scale_train = 1 - options.dropout_ratio, options.scale_train

    def tangent(self, x, y):
        return None         # the mask of forward stays

    def compute(self, x: Tensor) -> Tensor:
        if self.phase != TRAIN:
            return x if self.scale_train else x * self.keep
        mask = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        mask.bernoulli_(self.keep, generator=generator(x.device))
        return x * (mask / self.keep if self.scale_train else mask)
