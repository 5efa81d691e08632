"""Blobs: named arrays with a value (`data`) and a gradient (`diff`), shared by user and engine."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from caffe.engine import memory
from caffe.engine.errors import CaffeError
from caffe.engine.memory_order import pieces
from caffe.engine.synced import UNINITIALIZED, SyncedTensor


class Blob:
    """An N-d array of values and its gradient.

    `data` and `diff` are writable numpy views that stay live; `tensor` and `diff_tensor` are the
    same values for code that works in torch. Assigning to these two adopts the tensor, its shape
    included.
    """

    def __init__(self, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float32,
                 device: torch.device | str = "cpu") -> None:
        shape, device = tuple(int(n) for n in shape), torch.device(device)
        memory.check(shape, dtype.itemsize)
        self._shape = shape
        self._data = SyncedTensor(shape, dtype, device)
        self._diff = SyncedTensor(shape, dtype, device)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def count(self) -> int:
        return math.prod(self._shape)

    @property
    def dtype(self) -> torch.dtype:
        return self._data.dtype

    @property
    def device(self) -> torch.device:
        return self._data.device

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > 4:
            raise ValueError(f"num, channels, height and width need at most 4 axes, got shape "
                             f"{self._shape}")
        return self._shape[axis] if axis < len(self._shape) else 1

    num = property(lambda self: self._legacy(0), doc="First of four axes; absent ones count 1.")
    channels = property(lambda self: self._legacy(1), doc="Second of four axes.")
    height = property(lambda self: self._legacy(2), doc="Third of four axes.")
    width = property(lambda self: self._legacy(3), doc="Fourth of four axes.")

    def reshape(self, *shape: int) -> None:
        """Give the blob a new shape. Content survives if the number of elements stays.

        Raises ValueError for a negative or too large axis.
        """
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        shape = tuple(int(n) for n in shape)
        memory.check(shape, self.dtype.itemsize)
        self._shape = shape
        self._data.resize(shape)
        self._diff.resize(shape)

    def share_data(self, other: Blob) -> None:
        """Use the values of `other` as one's own: one memory, two shapes."""
        self._data = other._data

    def share_with_net(self, other: Blob) -> None:
        """Use the values of another net's blob: a net that was optimised leaves them in place."""
        self.share_data(other)
        self._data.lent = True

    @property
    def lent(self) -> bool:
        """Whether several nets compute with these values."""
        return self._data.lent

    def share_diff(self, other: Blob) -> None:
        """Use the gradient of `other` as one's own."""
        self._diff = other._diff

    @property
    def data(self) -> np.ndarray:
        return self._data.host(self._shape)

    @property
    def diff(self) -> np.ndarray:
        return self._diff.host(self._shape)

    @property
    def tensor(self) -> torch.Tensor:
        return self._data.view(self._shape)

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        self._shape = tuple(value.shape)
        self._data.adopt(value)
        self._diff.resize(self._shape)

    @property
    def tensor_as_made(self) -> torch.Tensor:
        """`tensor`, in less precision where it came so and nobody has read it in the blob's own.
        Not to be changed in place.
        """
        return self._data.as_made(self._shape)

    @property
    def diff_as_made(self) -> torch.Tensor:
        """`diff_tensor`, likewise."""
        return self._diff.as_made(self._shape)

    @property
    def diff_tensor(self) -> torch.Tensor:
        return self._diff.view(self._shape)

    @diff_tensor.setter
    def diff_tensor(self, value: torch.Tensor) -> None:
        # reshape() would give axes of size 1 strides that hide the layout, even to the same shape
        self._diff.adopt(value if value.shape == self._shape else value.reshape(self._shape))

    def order_channels_last(self) -> None:
        """Keep values and gradient as kernels for planes want their weights; arrays of users do not
        show it. For blobs (N, C, H, W).
        """
        self._data.order_channels_last()
        self._diff.order_channels_last()

    def clear_diff(self) -> None:
        """Make the gradient zeros."""
        self._diff.clear()

    def overwrite_diff(self) -> torch.Tensor:
        """The gradient's memory for the caller to fill: what was there is lost."""
        made = self._diff.overwrite()
        return made if made.shape == self._shape else made.view(self._shape)

    def show_as_diff(self, step: torch.Tensor) -> None:
        """The gradient reads as `step`, of the blob's shape, which is copied when somebody does.
        Until the gradient is written or cleared nobody may change `step`.
        """
        self._diff.stand_for(step)

    def add_diff(self, gradient: torch.Tensor) -> None:
        """Add to the gradient; the tensor itself may be kept for it. It may have less precision."""
        if not self.has_diff:
            self.diff_tensor = gradient if self._diff.channels_last else gradient.contiguous()
        elif gradient.dtype is self.dtype:
            self.diff_tensor.add_(gradient)
        else:
            before = self.diff_as_made
            arrays = self.overwrite_diff(), before, gradient
            for total, one, other in pieces(arrays):    # what is converted stays in the caches
                torch.add(one.to(total.dtype), other, out=total)

    @property
    def touched(self) -> bool:
        """True once a user holds a view of the values."""
        return self._data.held is not None

    def shows(self, value: torch.Tensor) -> bool:
        """Whether `value` lies in the memory of which users hold a view."""
        return self._data.shows(value)

    @property
    def memory(self) -> int:
        """A number that blobs which share their values have in common."""
        return id(self._data)

    @property
    def has_diff(self) -> bool:
        """False until something wrote the gradient (it reads as zeros)."""
        return self._diff.head is not UNINITIALIZED

    _gpu_data_ptr = property(lambda self: self._pointer(self.tensor),
                             doc="Address of the values on the GPU, for kernels of the user.")
    _gpu_diff_ptr = property(lambda self: self._pointer(self.diff_tensor),
                             doc="Address of the gradient on the GPU.")

    def _pointer(self, tensor: torch.Tensor) -> int:
        if self.device.type == "cpu":
            raise CaffeError("_gpu_data_ptr, _gpu_diff_ptr: the blob is on the CPU; call "
                             "caffe.set_mode_gpu() before the net is made")
        return tensor.data_ptr()

    def release(self, source: Callable[[], torch.Tensor] | None = None) -> None:
        """Give back the memory of the values: who reads them gets what `source` makes, of the same
        shape. Without one, reading them is an error until they are written.
        """
        self._data.release(source)

    def release_as(self, shape: tuple[int, ...]) -> None:
        """Take that shape and give back the memory of the values: reading them is an error."""
        if self._shape != shape:
            self.reshape(*shape)
        self._data.release()

    def keep(self) -> None:
        """Undo `release`: values that were given back read as zeros until they are written."""
        self._data.keep()

    def __repr__(self) -> str:
        return f"Blob{self._shape}"
