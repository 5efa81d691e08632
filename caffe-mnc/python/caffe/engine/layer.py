"""The layer contracts: `Layer`, Caffe's own, and `TorchLayer`, one differentiable function."""

from __future__ import annotations

from typing import Any

import torch

from caffe.engine.arity import Arity, at_least, between, exactly
from caffe.engine.blob import Blob
from caffe.engine.caffe_layer import (
    LAYERS,
    TEST,
    TRAIN,
    BlobList,
    Layer,
    Phase,
    Tensors,
    layer_class,
)
from caffe.engine.errors import CaffeError, LayerError
from caffe.engine.gradients import gradients

__all__ = ["LAYERS", "TEST", "TRAIN", "Arity", "BlobList", "Layer", "LossLayer", "Phase",
           "TorchLayer", "at_least", "between", "exactly", "layer_class", "own_memory",
           "product_dtype"]


class TorchLayer(Layer):
    """A layer that is one differentiable function: `tops = compute(*bottoms, *parameters)`.

    The engine records `compute` when a gradient is wanted and differentiates it by autograd, so
    that a layer's gradient cannot disagree with its forward pass.
    """

    replayable = True
    shapes_by_running = True
    pure = dense = True
    per_bottom = False      # compute is applied to each bottom by itself, with the same parameters
    reads_bottoms_again = True  # Caffe's backward does; where not, it uses what forward kept
    bound_because = "it counts, or keeps states from one forward to the next"   # where not pure

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tape: tuple[list[torch.Tensor], tuple[torch.Tensor, ...]] | None = None
        self.seen_shapes: tuple[tuple[int, ...], ...] | None = None     # of the bottoms, last
        self.taping = False         # `compute` runs for a backward of this layer's own

    def compute(self, *tensors: Any, **none: Any) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The tops from the bottoms and then the parameters; changes none of them in place."""
        raise NotImplementedError

    def run(self, *bottoms: torch.Tensor, params: list[torch.Tensor] | None = None,
            **fused: Any) -> Tensors:
        if not torch.compiler.is_exporting():       # sizes may be symbols there
            self._check_shapes(tuple([x.shape for x in bottoms]))
        return self._guarded(list(bottoms), params or [b.tensor for b in self.blobs], **fused)

    def add_gradients(self, inputs: list[torch.Tensor],
                      gradients: list[torch.Tensor]) -> tuple[int, ...]:
        """Add the gradients of parameters for which there is a better way than autograd's; returns
        which. inputs: values of the bottoms; gradients: those of the tops.
        """
        return ()

    def check(self, *shapes: tuple[int, ...]) -> None:
        """Raise LayerError if bottoms of these shapes do not fit."""

    def output_shapes(self, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Top shapes from bottom shapes; by default found by running `compute` without data."""
        meta = [torch.empty(s, dtype=self.dtype, device="meta") for s in shapes]
        params = [torch.empty(b.shape, dtype=self.dtype, device="meta") for b in self.blobs]
        with torch.no_grad():
            return [tuple(t.shape) for t in self._guarded(meta, params)]

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        shapes = tuple(b.shape for b in bottom)
        self._check_shapes(shapes)
        for blob, shape in zip(top, self.output_shapes(*shapes)):
            blob.reshape(*shape)

    def forward(self, bottom: list[Blob], top: list[Blob]) -> None:
        record = self.recording and (True in self.bottom_needs_gradient
                                     or True in self.blob_needs_gradient)
        if not (self.pure or self.replaying):
            self.start_run([blob.tensor for blob in self.blobs])
        outputs = self._run_on(bottom, record)
        if self.keeps_batch and not self.replaying:
            self.keep_batch([blob.tensor for blob in self.blobs], bottom[0].tensor)
        for blob, value in zip(top, outputs):
            blob.tensor = own_memory(value, bottom)

    def _run_on(self, bottom: list[Blob], record: bool) -> Tensors:
        self._check_shapes(tuple([b.shape for b in bottom]))
        if self.rounding is not None and (self.is_product or self.rounding.made(bottom)):
            inputs, params = self.rounding.factors(bottom, self.blobs)
        else:
            inputs = list(map(_safe, bottom)) if record else [b.tensor for b in bottom]
            params = [b.tensor for b in self.blobs]
        if not record:                  # tensors of blobs ask for no gradient
            self._tape = None
            return self._guarded(inputs, params)
        inputs = [x.detach().requires_grad_(n) for x, n in zip(inputs, self._needs(bottom))]
        params = [x.detach().requires_grad_(n) for x, n in zip(params, self._blob_needs())]
        self.taping = True
        try:
            with torch.enable_grad():
                outputs = self._guarded(inputs, params)
        finally:
            self.taping = False
        self._tape = inputs + params, outputs
        return outputs

    @property
    def recorded(self) -> bool:
        """Whether forward kept what backward needs, and nobody can have written to a parameter."""
        return self._tape is not None and True not in [b.touched for b in self.blobs]

    def forget(self) -> None:
        """Drop what forward recorded, if backward can do without: it will read its blobs."""
        if self.reads_bottoms_again:
            self._tape = None

    def tangent(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor | None:
        """A function of x with the derivative that Caffe's backward takes from bottom x and top y.

        For layers whose derivative Caffe computes from the top, or from a bottom that they
        overwrite. None: from what `compute` made of the bottoms.
        """
        return None

    def follow(self, bottom: list[Blob], top: list[Blob], own_bottoms: bool, own_top: bool) -> None:
        """Before backward: differentiate at what blobs hold now, where Caffe's backward reads them.

        That differs from forward's if a user wrote to a blob, or if there was no forward.
        own_bottoms, own_top: nobody has overwritten these blobs since forward.
        """
        if not any([*self.bottom_needs_gradient, *self.blob_needs_gradient]):
            return
        variables, outputs = self._tape or ([], ())
        absent = self._tape is None
        edited = absent or (own_bottoms and any(map(_edited, bottom, variables))) or (
            self.rounding is None and any(map(_edited, self.blobs, variables[len(bottom):])))
        if edited or (own_top and any(map(_edited, top, outputs))):
            y = None
            if len(bottom) == len(top) == 1:
                x = _safe(bottom[0]).detach().requires_grad_()
                y = self.tangent(x, top[0].tensor)
            if y is not None:
                self._tape = [x], (y,)
            elif absent or (edited and self.reads_bottoms_again):
                self._run_on(bottom, True)

    def backward(self, top: list[Blob], propagate_down: list[bool], bottom: list[Blob]) -> None:
        refused = [i for i in self.no_gradient if i < len(bottom) and propagate_down[i]]
        if refused:
            raise LayerError(f"{self.title} cannot propagate a gradient to bottom {refused[0]}; "
                             f"set propagate_down: false for it")
        if not any(self._needs(bottom)) and not any(self._blob_needs()):
            return
        if self._tape is None:
            raise LayerError(f"{self.title}: backward() reached it, but it has not run forward")
        variables, outputs = self._tape
        pairs = [(o, _in_layout_of(o, t.diff_as_made.to(o.dtype)))
                 for o, t in zip(outputs, top) if o.requires_grad]
        if not pairs:
            return
        added = self.add_gradients(variables[:len(bottom)], [g for _, g in pairs])
        done = {len(bottom) + i for i in added}
        wanted = [i for i, v in enumerate(variables) if v.requires_grad and i not in done]
        by_variable: list[torch.Tensor | None] = [None] * len(variables)
        if wanted:
            found = gradients(pairs, [variables[i] for i in wanted])
            for i, gradient in zip(wanted, found):
                by_variable[i] = gradient
        for blob, variable, found_one in zip(bottom, variables, by_variable):
            if found_one is not None:
                blob.diff_tensor = _in_layout_of(variable, found_one)
        taken = {_memory(g) for _, g in pairs}      # autograd may hand a gradient through
        for blob, found_one in zip(self.blobs, by_variable[len(bottom):]):
            if found_one is not None:
                blob.add_diff(found_one.clone() if _memory(found_one) in taken else found_one)
                taken.add(_memory(found_one))

    def _needs(self, bottom: list[Blob]) -> list[bool]:
        return self.bottom_needs_gradient or [False] * len(bottom)

    def _blob_needs(self) -> list[bool]:
        return self.blob_needs_gradient or [False] * len(self.blobs)

    def _check_shapes(self, shapes: tuple) -> None:
        if shapes != self.seen_shapes:
            shapes = tuple(map(tuple, shapes))      # torch.Size prints otherwise
            self.check(*shapes)
            self.seen_shapes = shapes

    def _guarded(self, inputs: list[torch.Tensor], params: list[torch.Tensor],
                 **fused: Any) -> tuple:
        """Outputs as a tuple; whatever torch objects to is said with the layer's name."""
        try:
            if self.per_bottom:
                return tuple(self.compute(x, *params, **fused) for x in inputs)
            outputs = self.compute(*inputs, *params, **fused)
        except LayerError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
            raise LayerError(f"{self.title} with bottoms of shape {shapes}: {error}") from error
        return outputs if isinstance(outputs, tuple) else (outputs,)


class LossLayer(TorchLayer):
    """Prediction and label in, a scalar out; the first top counts in the loss with weight 1."""

    num_bottom = exactly(2)
    num_top = at_least(1)
    no_gradient: tuple[int, ...] = (1,)
    default_loss_weight = 1.0
    reads_bottoms_again = False         # but what it kept: differences, probabilities


def product_dtype(precision: str | None) -> torch.dtype | None:
    """The type of a name; None for a net's own. Raises CaffeError for others than "bfloat16"."""
    if precision not in (None, "bfloat16"):
        raise CaffeError(f'precision {precision!r}: a net computes in its own, or in "bfloat16"; '
                         'an optimised one also in "int8", with calibrate=...')
    return torch.bfloat16 if precision else None


def _in_layout_of(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Channels-last where the value is, and nowhere else: where the two differ, torch is slow."""
    if value.dim() != 4 or value.stride() == gradient.stride():
        return gradient
    if value.is_contiguous():
        return gradient.contiguous()
    last = torch.channels_last
    return gradient.contiguous(memory_format=last) if value.is_contiguous(memory_format=last) \
        else gradient


def _memory(value: torch.Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _safe(blob: Blob) -> torch.Tensor:
    """The value for `compute` while it is recorded: no memory that a user may write to."""
    return blob.tensor.clone() if blob.touched else blob.tensor


def _edited(blob: Blob, recorded: torch.Tensor) -> bool:
    """Whether somebody wrote to a blob whose content was `recorded`; nobody can without a view."""
    if not blob.touched or blob.shape != tuple(recorded.shape):
        return False
    now = blob.tensor.to(recorded.dtype)
    return now.data_ptr() != recorded.data_ptr() and not torch.equal(now, recorded.detach())


def own_memory(value: torch.Tensor, bottom: list[Blob]) -> torch.Tensor:
    """`value`, copied if it is a view of memory that a user can write to through a bottom.

    Of any shape.
    """
    if value.requires_grad:
        value = value.detach()
    for blob in bottom:
        if blob.touched and blob.shows(value):
            return value.clone()
    return value
