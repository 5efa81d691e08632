"""Blobs: named arrays with a value (`data`) and a gradient (`diff`), shared by user and engine."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from caffe.engine import memory
from caffe.engine.errors import CaffeError


class Head(enum.Enum):
    """Which copy of a `SyncedTensor` is current."""

    UNINITIALIZED = 0
    HOST = 1
    DEVICE = 2
    RELEASED = 3


# an attribute of an Enum takes as long as the rest of what a blob does when it is read
DEVICE, UNINITIALIZED = Head.DEVICE, Head.UNINITIALIZED


class SyncedTensor:
    """One array with a host copy (numpy views handed to users) and a device copy (the engine's).

    On the CPU both are one memory. Until a user asks for a view, tensors the engine produces are
    adopted without a copy; from then on they are copied into the memory behind the view, which
    stays the same as long as the number of elements stays.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        self.head = Head.UNINITIALIZED
        self._host: Any = None      # flat CPU tensor behind the views handed out
        self._device: Any = None    # tensor of the net's device
        self._source: Callable[[], torch.Tensor] | None = None      # of what was released
        self.lent = False           # another net computes with it, too

    @property
    def touched(self) -> bool:
        """True once a user holds a view: autograd must not save this memory."""
        return self._host is not None

    def shows(self, value: torch.Tensor) -> bool:
        """Whether `value` lies in the memory behind the views handed out.

        `value` may have any shape.
        """
        return self.touched and value.numel() > 0 and (
            value.untyped_storage().data_ptr() == self._host.untyped_storage().data_ptr())

    def resize(self, shape: tuple[int, ...]) -> None:
        """Another number of elements drops the content; the same number keeps it."""
        if shape == self.shape:
            return
        if math.prod(shape) != math.prod(self.shape):
            self._host = self._device = None
            self.head = UNINITIALIZED
        self.shape = shape

    def adopt(self, value: torch.Tensor) -> None:
        """Take `value` as the content. Of this shape, on any device."""
        if value.shape != self.shape:
            self.resize(tuple(value.shape))
        self._source = None
        if value.requires_grad:
            value = value.detach()
        if value.dtype is not self.dtype or value.device != self.device:
            value = value.to(self.device, self.dtype)
        if self._host is not None and self.device.type == "cpu":
            self._host.copy_(value.reshape(-1))
            self.head = Head.HOST
        else:
            self._device, self.head = value, DEVICE

    def clear(self) -> None:
        """Make the content zeros; where no user holds a view, when it is next read."""
        if self.touched:
            self._fill_zero()
        else:
            self.head = UNINITIALIZED           # the memory is kept for what comes next

    def release(self, source: Callable[[], torch.Tensor] | None = None) -> None:
        """Give the memory back; who reads it gets what `source` makes, of the same shape. Without
        one reading is an error until something is written.
        """
        self._host = self._device = None
        self._source, self.head = source, Head.RELEASED

    def keep(self) -> None:
        """After `release`: reading is no error any more."""
        if self.head is Head.RELEASED:
            self.head = Head.UNINITIALIZED

    def read(self) -> torch.Tensor:
        """The content on the device; zeros if nothing was ever written. May be changed in place.

        Of the blob's shape. Raises CaffeError where an optimised net did not keep it.
        """
        if self.head is Head.RELEASED and self._source is not None:
            self.adopt(self._source().reshape(self.shape))
        if self.head is Head.RELEASED:
            raise CaffeError("the net was optimised for other outputs and did not keep this blob; "
                             "name it in net.optimize(outputs=[...])")
        on_cpu = self.device.type == "cpu"
        if self.head is Head.UNINITIALIZED:
            self._fill_zero()
        if self.head is Head.HOST and not on_cpu:
            self._device, self.head = self._host.to(self.device), Head.DEVICE
        return self._host if self.head is Head.HOST else self._device

    def view(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The content on the device in a shape of as many elements; changes in place arrive."""
        value = self._device if self.head is DEVICE else self.read()
        if value.shape == shape:
            return value
        self._expect(shape)
        if not value.is_contiguous():
            value = self._device = value.contiguous()
        return value.reshape(shape)

    def host(self, shape: tuple[int, ...]) -> np.ndarray:
        """A writable numpy view in that shape; the host copy becomes the current one."""
        self._expect(shape)
        if self.head is not Head.HOST:
            self._to_host()
        return self._host.numpy().reshape(shape)

    def _expect(self, shape: tuple[int, ...]) -> None:
        if math.prod(shape) != math.prod(self.shape):
            raise CaffeError(f"a blob of shape {shape} shares memory that now has the shape "
                             f"{self.shape}; call net.reshape() after giving an input another "
                             f"shape")

    def _fill_zero(self) -> None:
        if self.touched:
            self._host.zero_()
            self.head = Head.HOST
        elif self._device is not None and self._device.shape == self.shape:
            self.overwrite().zero_()
        else:
            self._device = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
            self.head = Head.DEVICE

    def overwrite(self) -> torch.Tensor:
        """Memory on the device for the caller to fill: what was there is lost.

        Of the blob's shape.
        """
        if self.touched and self.device.type == "cpu":
            return self.read()
        if self._device is None or self._device.shape != self.shape:
            self._device = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        self.head = Head.DEVICE
        return self._device

    def _to_host(self) -> None:
        value = self.read().reshape(-1)
        if not self.touched:
            # autograd may have saved the tensor we hold: users get memory of their own
            self._host = torch.empty(value.numel(), dtype=self.dtype)
        if self.head is not Head.HOST:
            self._host.copy_(value)
        if self.device.type == "cpu":
            self._device = None
        self.head = Head.HOST


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
    def diff_tensor(self) -> torch.Tensor:
        return self._diff.view(self._shape)

    @diff_tensor.setter
    def diff_tensor(self, value: torch.Tensor) -> None:
        # reshape() would give axes of size 1 strides that hide the layout, even to the same shape
        self._diff.adopt(value if value.shape == self._shape else value.reshape(self._shape))

    def clear_diff(self) -> None:
        """Make the gradient zeros."""
        self._diff.clear()

    def overwrite_diff(self) -> torch.Tensor:
        """The gradient's memory for the caller to fill: what was there is lost."""
        return self._diff.overwrite().view(self._shape)

    def add_diff(self, gradient: torch.Tensor) -> None:
        """Add to the gradient; the tensor itself may be kept for it."""
        if self.has_diff:
            self.diff_tensor.add_(gradient)
        else:
            self.diff_tensor = gradient.contiguous()

    @property
    def touched(self) -> bool:
        """True once a user holds a view of the values."""
        return self._data._host is not None

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

    def keep(self) -> None:
        """Undo `release`: values that were given back read as zeros until they are written."""
        self._data.keep()

    def __repr__(self) -> str:
        return f"Blob{self._shape}"
