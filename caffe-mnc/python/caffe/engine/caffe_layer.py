"""`Layer`, Caffe's own contract of layers. Import it from caffe.engine.layer."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch

from caffe.engine import memory, pages
from caffe.engine.arity import Arity, at_least
from caffe.engine.blob import Blob
from caffe.engine.description import CoordinateMap, Drawing
from caffe.engine.errors import LayerError
from caffe.engine.fillers import fill
from caffe.engine.registry import Registry
from caffe.engine.rounding import Rounding

LAYERS = Registry("layer type", LayerError, "caffe.layer_types")
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
    num_statistics = 0                   # so many parameters are statistics: nobody trains them
    is_input = False                     # the user fills its tops
    takes_arrays = False                 # Net.set_input_arrays may call its `set_arrays`
    discards = False                     # has no tops because nothing is done with its bottoms
    replayable = False                   # forward may run again to record it: no state, no source
    shapes_by_running = False            # forward itself gives the tops their shapes
    shared_place = False        # workers that train together stand at one place of its source
    any_ones = False                     # files may have parameters with other axes of length 1

    # what net.optimize() asks
    pure = False                # `run` is all that forward does
    dense = False               # `run` is operators of torch that other runtimes have, too
    aliases_bottom = False      # the tops are the bottom's memory
    owns_output = False         # what `run` makes (or `fuse_with`'s function) may be overwritten
    is_product = False          # `run` is a product with the parameters, in whatever precision
    keeps_low_precision = False     # each value comes of one value of a bottom, rounded if at all
    moves_values = False        # the top has values of the bottom and 0, gradients go back likewise
    selects = False             # the tops are values of the bottom: `run` takes uint8, too
    takes_low_precision = False     # `run` (and `fuse_with`'s function) take bottoms of any mixture
    packs_like: Hashable = ()   # layers of one class that say the same may share packed parameters
    activation: str | None = None   # the name of what it does, for `run` of packed products before

    # what net.to_torch() and files of nets ask of a layer that is not pure
    keeps_batch = False         # `run` is all but for `keep_batch`
    graph_note = ""             # `run` can be in a file; in what that departs from forward
    bound_because = "it reads and writes blobs by itself"       # if it cannot be in a file

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
        self.rounding: Rounding | None = None       # if it computes in less precision than dtype
        self.bottom_needs_gradient: list[bool] = []
        self.blob_needs_gradient: list[bool] = []

    def setup(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Read options, make parameters. Once."""

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Give the tops their shapes. Before every forward."""

    def forward(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Compute the tops. Raises LayerError where a layer does not define it."""
        raise LayerError(f"{self.title} has no forward()")

    def backward(self, top: list[Blob], propagate_down: list[bool], bottom: list[Blob]) -> None:
        """Compute the diffs of bottoms that `propagate_down` names. Raises LayerError where it
        should and a layer does not define it.
        """
        if any(propagate_down):
            raise LayerError(f"{self.title} has no backward(), but its bottoms need a gradient")

    # --- what a layer may tell about itself; none of it needs to be ----------------------------

    def run(self, *bottoms: torch.Tensor, params: list[torch.Tensor] | None = None,
            **fused: Any) -> Tensors:
        """The tops of a pure layer from the values of its bottoms, without blobs or recording.

        Shapes as those of the blobs. fused: for packed parameters, `activation` of what follows.
        """
        raise NotImplementedError

    def arrange(self, params: list[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
        """`params` in that precision and in the order of values that `pack` takes; of the same
        shapes.
        """
        return [pages.converted(p, dtype) for p in params]

    def arranged_back(self, index: int, value: torch.Tensor) -> torch.Tensor:
        """That parameter in its own order again, from what `arrange` made of it: of its shape."""
        return value

    def pack(self, params: list[torch.Tensor]) -> list[torch.Tensor]:
        """What `arrange` made in the layout that kernels compute in, for many a `run` without a
        gradient.

        What changes is in torch's oneDNN layout (`is_mkldnn`), of the same shapes."""
        return params

    def round_weight(self, weight: torch.Tensor) -> Any:
        """The weight in 8 bits, a caffe.ops.int8.Rounded, if `run` of a product takes it:
        packed among the parameters, with `int8`, a caffe.ops.int8.Int8, and a bottom in
        uint8. weight: of the layer's own shape.
        """
        return None

    def piece(self, x: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """A small part of bottom 0 that `run` takes, from which `int8` levels are chosen.

        x: a value of bottom 0. The parts have one shape, but for their first axis.
        """
        return x

    def fuse_with(self, following: Layer) -> Callable[..., Tensors] | None:
        """The tops of `following` from this layer's bottoms, if the two are better done at once."""
        return None

    def overwriting(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """`run` for a bottom whose memory may be used for the top, if that can be had.

        It takes and gives tensors of the bottom's shape.
        """
        return None

    def as_affine(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(factor, shift), each (C,), if the top is bottom * factor_c + shift_c, c on axis 1."""
        return None

    def fold_affine(self, params: list[torch.Tensor], factor: torch.Tensor,
                    shift: torch.Tensor) -> list[torch.Tensor] | None:
        """Parameters in place of `params` that make the top top * factor_c + shift_c.

        factor and shift: (C,), one value a channel of the top.
        """
        return None

    def is_statistic(self, index: int) -> bool:
        """Whether that parameter is a statistic: nobody trains it."""
        return index < self.num_statistics

    def tensor_form(self) -> Callable[..., Tensors] | None:
        """What a test net's forward computes, as a function of the bottoms' tensors alone.

        For layers that read and write blobs: a torch.nn.Module, or another callable, that takes
        the bottoms, of the blobs' shapes, gives the tuple of the tops, and can be followed by
        torch.export. With it a net with the layer can be a file of torch or ONNX.
        """
        return None

    def likely(self, index: int, shapes: Sequence[tuple[int, ...]],
               random: np.random.Generator) -> np.ndarray | None:
        """Values that this bottom may have, where not any number will do: files of nets are tried
        on them. RoIs in the image, a size of the image; shapes: of all bottoms, as they are.
        """
        return None

    def start_run(self, params: list[torch.Tensor]) -> None:
        """Before a `run` with these parameters, of the blobs' shapes: what forward does besides.

        It counts, or goes on from the states of the last run.
        """

    def keep_batch(self, params: list[torch.Tensor], bottom: torch.Tensor) -> None:
        """Behind a `run` with these parameters, of the blobs' shapes: what it saw goes into them.

        bottom: the value of bottom 0, of any shape the layer takes.
        """

    def multiply_adds(self, bottoms: list[tuple[int, ...]], tops: list[tuple[int, ...]]) -> int:
        """Of the products with its parameters in one forward pass, from the shapes of its blobs."""
        return 0

    @classmethod
    def coordinate_map(cls, options: dict[str, Any]) -> CoordinateMap | None:
        """Where coordinates of the bottom lie in the top, from the options as NetSpec has them."""
        return (None, 1, 0) if cls.keeps_coordinates else None

    @classmethod
    def parameter_count(cls, param: Any) -> int | None:
        """How many parameters a layer of one bottom and these options has, where that is told."""
        return cls.num_statistics or None

    @classmethod
    def drawing(cls, param: Any) -> Drawing:
        """How drawings of nets show a layer of this type with these parameters."""
        return Drawing()

    @property
    def title(self) -> str:
        """How errors name the layer: layer "conv1" (Convolution)."""
        return f'layer "{self.name}" ({self.type})'

    def check_arity(self, bottom: Sequence, top: Sequence) -> None:
        """Raises LayerError where the layer takes another number of bottoms or tops."""
        for what, blobs, arity in (("bottom", bottom, self.num_bottom), ("top", top, self.num_top)):
            if len(blobs) not in arity:
                raise LayerError(f"{self.title} takes {arity} {what} blob(s), got {len(blobs)}")

    def add_blob(self, shape: Sequence[int], filler: Any = None) -> None:
        """Append a parameter of `shape`, filled as the FillerParameter says (0 without one).

        Raises LayerError where the filler cannot fill that shape.
        """
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
        memory.claim(shape, self._dtype.itemsize)
        self.append(Blob(shape, self._dtype, self._device))
        return self[-1]
