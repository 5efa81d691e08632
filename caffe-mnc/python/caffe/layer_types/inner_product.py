"""Layers that are a matrix: InnerProduct and Embed."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe.engine import pages
from caffe.engine.description import Drawing
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, TorchLayer, exactly
from caffe.layer_types.axes import canonical
from caffe.layer_types.packed import SMALL, linear, pack_matrix, packable, small_product
from caffe.ops.int8 import Int8, round_matrix

PIECE = 4                   # items of what calibration keeps of a bottom


@LAYERS.register("InnerProduct")
class InnerProduct(TorchLayer):
    """y = x W^T + b over all axes from `axis` on; W (num_output, K), b (num_output,)

    bottom: (..., K in any number of axes); top: (..., num_output). With transpose, W is
    (K, num_output).
    """

    num_bottom = exactly(1)
    num_top = exactly(1)
    owns_output = is_product = True

    @classmethod
    def parameter_count(cls, param):
        return 1 + param.inner_product_param.bias_term

    @classmethod
    def drawing(cls, param):
        return Drawing("#CC33FF", flows=str(param.inner_product_param.num_output),
                       weight_and_bias=True)

    def setup(self, bottom, top):
        options = self.param.inner_product_param
        self.axis = canonical(self, options.axis, len(bottom[0].shape))
        self.inputs, self.outputs = math.prod(bottom[0].shape[self.axis:]), options.num_output
        if self.outputs < 1:
            raise LayerError(f"{self.title}: num_output is missing or 0")
        self.transpose = options.transpose
        whole = (self.axis == 1 and len(bottom[0].shape) == 4 and not self.transpose
                 and self.outputs * self.inputs >= SMALL)       # and so it will be packed
        self.planes = bottom[0].shape[1:] if whole else None    # (C, H, W)
        self.packs_like = (self.transpose, self.planes)
        shape = (self.outputs, self.inputs)
        self.add_blob(shape[::-1] if self.transpose else shape, options.weight_filler)
        if options.bias_term:
            self.add_blob((self.outputs,), options.bias_filler)
        self._rows: tuple[Tensor | None, Tensor | None] = None, None

    def check(self, *shapes):
        if math.prod(shapes[0][self.axis:]) != self.inputs:
            raise LayerError(f"{self.title}: the weights are for {self.inputs} inputs an item, the "
                             f"bottom of shape {shapes[0]} has {math.prod(shapes[0][self.axis:])}")

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*shapes[0][:self.axis], self.outputs)]

    def multiply_adds(self, bottoms, tops):
        return math.prod(tops[0]) * self.inputs

    def arrange(self, params, dtype):
        """To be packed, columns follow maps as they lie in memory, channels last: (H, W, C)."""
        rest = super().arrange(params[1:], dtype)
        if self.planes is None or not packable(params[0], dtype):
            return [pages.converted(params[0], dtype), *rest]
        by_channel = params[0].reshape(self.outputs, self.planes[0], -1)
        result = pages.zeros(params[0].shape, dtype)
        result.view(self.outputs, -1, self.planes[0]).copy_(by_channel.transpose(1, 2))
        return [result, *rest]

    def arranged_back(self, index, value):
        if index or self.planes is None or not packable(value, value.dtype):
            return value
        return value.view(self.outputs, -1, self.planes[0]).transpose(1, 2).reshape(value.shape)

    def pack(self, params):
        rows = math.prod(self.seen_shapes[0][:self.axis]) if self.seen_shapes else 1
        if self.transpose or (self.planes is None and small_product(params[0], rows)):
            return params
        return [pack_matrix(params[0]), *params[1:]]

    def round_weight(self, weight):
        return None if self.transpose or self.axis == 0 else round_matrix(weight)

    def piece(self, x, random):
        """A few of the items, or all."""
        items = x.reshape(-1, self.inputs)
        chosen = random.permutation(len(items))[:PIECE]
        return items[torch.from_numpy(chosen)].reshape(-1, *[1] * (self.axis - 1), self.inputs)

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor | None = None,
                activation: str = "none", int8: Int8 | None = None) -> Tensor:
        if weight.is_mkldnn and self.planes and int8 is None:
            x = x.reshape(len(x), *self.planes).permute(0, 2, 3, 1)
        flat = x if x.dim() == self.axis + 1 else x.reshape(*x.shape[:self.axis], self.inputs)
        if int8:
            return int8.linear(flat, weight, bias, activation)
        if weight.is_mkldnn:
            return linear(flat, weight, bias, activation)
        if self.taping and weight.requires_grad and self.rounding is None:
            self._rows = x, flat.detach()
            if x.requires_grad or (bias is not None and bias.requires_grad):
                weight = weight.detach()        # its gradient comes of add_gradients
        return F.linear(flat, weight.T if self.transpose else weight, bias)

    def add_gradients(self, inputs: list[Tensor], gradients: list[Tensor]) -> tuple[int, ...]:
        """dW += y'^T x straight into its memory: 400 MB would else be allocated and added."""
        weight = self.blobs[0]
        if self.rounding is not None or not self.blob_needs_gradient[0]:
            return ()
        rows = math.prod(inputs[0].shape[:self.axis])
        seen, flat = self._rows     # of a channels-last map a copy, which autograd keeps, too
        x = flat if flat is not None and seen is inputs[0] else inputs[0].detach()
        x = x.reshape(rows, self.inputs)
        y = gradients[0].reshape(rows, self.outputs)
        factors = (x.T, y) if self.transpose else (y.T, x)
        if weight.has_diff:
            weight.diff_tensor.addmm_(*factors)
        else:       # of one row a product of columns and rows, without what a matrix product packs
            by = torch.mm if rows != 1 else torch.mul
            by(*factors, out=weight.overwrite_diff())
        return (0,)


@LAYERS.register("Embed")
class Embed(TorchLayer):
    """y = W[x] + b, x whole numbers of [0, input_dim); W (input_dim, num_output)

    bottom: (...); top: (..., num_output)
    """

    num_bottom = exactly(1)
    num_top = exactly(1)
    no_gradient = (0,)

    def setup(self, bottom, top):
        options = self.param.embed_param
        if options.num_output < 1 or options.input_dim < 1:
            raise LayerError(f"{self.title}: num_output and input_dim must be given, got "
                             f"{options.num_output} and {options.input_dim}")
        self.add_blob((options.input_dim, options.num_output), options.weight_filler)
        if options.bias_term:
            self.add_blob((options.num_output,), options.bias_filler)

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y = F.embedding(x.long(), weight)
        return y if bias is None else y + bias
