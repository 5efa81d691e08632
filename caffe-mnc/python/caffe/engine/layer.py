"""The layer contracts: `Layer`, Caffe's own, and `TorchLayer`, one differentiable function."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import torch

from caffe.engine.arity import Arity, at_least, exactly
from caffe.engine.arity import between as between  # for layers, beside the other two
from caffe.engine.blob import Blob
from caffe.engine.description import CoordinateMap, Drawing
from caffe.engine.errors import LayerError
from caffe.engine.fillers import fill
from caffe.engine.registry import Registry

LAYERS = Registry("layer type", LayerError)
Tensors = tuple[torch.Tensor, ...]


class Phase(enum.IntEnum):
    """Equals Caffe's integers; prints as the prototxt spells it."""

    TRAIN = 0
    TEST = 1

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


TRAIN, TEST = Phase.TRAIN, Phase.TEST


class Layer:
    """Caffe's layer: what a Python layer in a prototxt subclasses (`caffe.Layer`).

    `setup`, `reshape` and `forward` are called with lists of bottom and top blobs; `backward`
    with the tops, one flag a bottom, and the bottoms. Attributes set before `setup`: `name`,
    `type`, `param` (the LayerParameter), `param_str`, `phase`, `dtype`, `device`, `blobs`.
    """

    num_bottom: Arity = at_least(0)
    num_top: Arity = at_least(0)
    no_gradient: tuple[int, ...] = ()    # bottoms that can never have a gradient (labels)
    default_loss_weight = 0.0            # of the first top
    statistics = 0                       # so many parameters are statistics: nobody trains them
    is_input = False                     # the user fills its tops
    takes_arrays = False                 # Net.set_input_arrays may call its `set_arrays`
    discards = False                     # has no tops because nothing is done with its bottoms
    replayable = False                   # forward may run again to record it: no state, no source
    shapes_by_running = False            # forward itself gives the tops their shapes
    any_ones = False                     # files may have parameters with other axes of length 1

    # what net.optimize() asks
    pure = False                # `run` is all that forward does
    aliases_bottom = False      # the tops are the bottom's memory
    owns_output = False         # what `run` makes (or `fuse_with`'s function) may be overwritten
    is_product = False          # `run` is a product with the parameters, in whatever precision
    keeps_low_precision = False     # each value comes of one value of a bottom, rounded if at all

    # what caffe.coord_map asks
    keeps_coordinates = False           # a pixel of the top is the pixel of the bottom
    sized_like: tuple[int, ...] = ()    # bottoms that give a size, not content

    def __init__(self, param: Any, phase: Phase = TRAIN, dtype: torch.dtype = torch.float32,
                 device: torch.device | str = "cpu") -> None:
        self.param = param
        self.name, self.type = param.name, param.type
        self.param_str = self.param_str_ = param.python_param.param_str
        self.phase = Phase(phase)
        self.dtype, self.device = dtype, torch.device(device)
        self.blobs = BlobList(dtype, self.device)
        self.recording = False      # forward is to keep what backward needs
        self.replaying = False      # forward runs once more to record it: statistics stay
        self.bottom_needs_gradient: list[bool] = []
        self.blob_needs_gradient: list[bool] = []

    def setup(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Read options, make parameters. Once."""

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Give the tops their shapes. Before every forward."""

    def forward(self, bottom: list[Blob], top: list[Blob]) -> None:
        raise LayerError(f"{self.title} has no forward()")

    def backward(self, top: list[Blob], propagate_down: list[bool], bottom: list[Blob]) -> None:
        if any(propagate_down):
            raise LayerError(f"{self.title} has no backward(), but its bottoms need a gradient")

    # --- what a layer may tell about itself; none of it needs to be ----------------------------

    def run(self, *bottoms: torch.Tensor, params: list[torch.Tensor] | None = None) -> Tensors:
        """The tops of a pure layer from the values of its bottoms, without blobs or recording."""
        raise NotImplementedError

    def fuse_with(self, following: Layer) -> Callable[..., Tensors] | None:
        """The tops of `following` from this layer's bottoms, if the two are better done at once."""
        return None

    def overwriting(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """`run` for a bottom whose memory may be used for the top, if that can be had."""
        return None

    def as_affine(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(factor, shift), each (C,), if the top is bottom * factor_c + shift_c, c on axis 1."""
        return None

    def fold_affine(self, params: list[torch.Tensor], factor: torch.Tensor,
                    shift: torch.Tensor) -> list[torch.Tensor] | None:
        """Parameters in place of `params` that make the top top * factor_c + shift_c."""
        return None

    @classmethod
    def coordinate_map(cls, options: dict[str, Any]) -> CoordinateMap | None:
        """Where coordinates of the bottom lie in the top, from the options as NetSpec has them."""
        return (None, 1, 0) if cls.keeps_coordinates else None

    @classmethod
    def drawing(cls, param: Any) -> Drawing:
        """How drawings of nets show a layer of this type with these parameters."""
        return Drawing()

    @property
    def title(self) -> str:
        """How errors name the layer: layer "conv1" (Convolution)."""
        return f'layer "{self.name}" ({self.type})'

    def check_arity(self, bottom: Sequence, top: Sequence) -> None:
        for what, blobs, arity in (("bottom", bottom, self.num_bottom), ("top", top, self.num_top)):
            if len(blobs) not in arity:
                raise LayerError(f"{self.title} takes {arity} {what} blob(s), got {len(blobs)}")

    def add_blob(self, shape: Sequence[int], filler: Any = None) -> None:
        """Append a parameter of `shape`, filled as the FillerParameter says (0 without one)."""
        blob = self.blobs.add_blob(*shape)
        zeros = filler is None or (filler.type == "constant" and not filler.value)
        if not zeros:       # a new blob reads as zeros, and takes no memory until it is read
            try:
                fill(blob.tensor, filler)
            except ValueError as error:
                raise LayerError(f"{self.title}: {error}") from error


def layer_class(type_name: str) -> type[Layer]:
    """The class of a layer type; `Layer` for types that are unknown or that options choose."""
    entry = LAYERS.get(type_name) if type_name in LAYERS else Layer
    return entry if isinstance(entry, type) and issubclass(entry, Layer) else Layer


class BlobList(list):
    """The parameters of a layer; `add_blob(*shape)` makes one more, filled with zeros."""

    def __init__(self, dtype: torch.dtype = torch.float32,
                 device: torch.device | str = "cpu") -> None:
        super().__init__()
        self._dtype, self._device = dtype, device

    def add_blob(self, *shape: int) -> Blob:
        self.append(Blob(shape, self._dtype, self._device))
        return self[-1]


class TorchLayer(Layer):
    """A layer that is one differentiable function: `tops = compute(*bottoms, *parameters)`.

    The engine records `compute` when a gradient is wanted and differentiates it by autograd, so
    that a layer's gradient cannot disagree with its forward pass.
    """

    replayable = True
    shapes_by_running = True
    pure = True
    per_bottom = False      # compute is applied to each bottom by itself, with the same parameters

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tape: tuple[list[torch.Tensor], tuple[torch.Tensor, ...]] | None = None
        self.seen_shapes: tuple[tuple[int, ...], ...] | None = None     # of the bottoms, last

    def compute(self, *tensors: Any, **none: Any) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The tops from the bottoms and then the parameters; changes none of them in place."""
        raise NotImplementedError

    def run(self, *bottoms: torch.Tensor, params: list[torch.Tensor] | None = None) -> Tensors:
        self._check_shapes(tuple(tuple(x.shape) for x in bottoms))
        return self._guarded(list(bottoms), params or [b.tensor for b in self.blobs])

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
        self._check_shapes(tuple(b.shape for b in bottom))
        record = self.recording and any([*self.bottom_needs_gradient, *self.blob_needs_gradient])
        inputs = [_input(b, record, need) for b, need in zip(bottom, self._needs(bottom))]
        params = [b.tensor.detach().requires_grad_(record and need)
                  for b, need in zip(self.blobs, self._blob_needs())]
        with torch.set_grad_enabled(record):
            outputs = self._guarded(inputs, params)
        for blob, value in zip(top, outputs):
            blob.tensor = own_memory(value, bottom)
        self._tape = (inputs + params, outputs) if record else None

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
        pairs = [(o, t.diff_tensor.to(o.dtype)) for o, t in zip(outputs, top) if o.requires_grad]
        if not pairs:
            return
        added = self.add_gradients(variables[:len(bottom)], [g for _, g in pairs])
        done = {len(bottom) + i for i in added}
        wanted = [i for i, v in enumerate(variables) if v.requires_grad and i not in done]
        by_variable: list[torch.Tensor | None] = [None] * len(variables)
        if wanted:
            found = torch.autograd.grad(
                [o for o, _ in pairs], [variables[i] for i in wanted], [g for _, g in pairs],
                retain_graph=True, allow_unused=True)
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
            self.check(*shapes)
            self.seen_shapes = shapes

    def _guarded(self, inputs: list[torch.Tensor], params: list[torch.Tensor]) -> tuple:
        """Outputs as a tuple; whatever torch objects to is said with the layer's name."""
        try:
            if self.per_bottom:
                return tuple(self.compute(x, *params) for x in inputs)
            outputs = self.compute(*inputs, *params)
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


def _in_layout_of(value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Channels-last where the value is: torch is slow where the two differ."""
    last = torch.channels_last
    if value.dim() == 4 and value.is_contiguous(memory_format=last) and not value.is_contiguous():
        return gradient.contiguous(memory_format=last)
    return gradient


def _memory(value: torch.Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _input(blob: Blob, record: bool, need: bool) -> torch.Tensor:
    """The value `compute` works on: never memory that a user may write to while it is recorded."""
    value = blob.tensor
    if record and blob.touched:
        value = value.clone()
    return value.detach().requires_grad_(record and need)


def own_memory(value: torch.Tensor, bottom: list[Blob]) -> torch.Tensor:
    """`value`, copied if it is a view of memory that a user can write to through a bottom."""
    value = value.detach()
    return value.clone() if any(blob.shows(value) for blob in bottom) else value
