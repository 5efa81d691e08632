"""One array and its copies: what users see through numpy, what the engine computes with."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from caffe.engine import pages
from caffe.engine.errors import CaffeError


class Head(enum.Enum):
    """Which copy of a `SyncedTensor` is current."""

    UNINITIALIZED = 0
    HOST = 1
    DEVICE = 2
    RELEASED = 3
    LOWER = 4           # the device's, in less precision than the array's: so it came, unread


# an attribute of an Enum takes as long as the rest of what a blob does when it is read
DEVICE, UNINITIALIZED = Head.DEVICE, Head.UNINITIALIZED
LOWER = torch.bfloat16, torch.float16       # each of their numbers is one of float32's


class SyncedTensor:
    """One array with a host copy (numpy views handed to users) and a device copy (the engine's).

    On the CPU both are one memory. Until a user asks for a view, tensors the engine produces are
    adopted without a copy; from then on they are copied into the memory behind the view, which
    stays the same as long as the number of elements stays.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        self.head = Head.UNINITIALIZED
        self.held: Any = None      # flat CPU tensor behind the views handed out
        self._device: Any = None    # tensor of the net's device
        self._source: Callable[[], torch.Tensor] | None = None      # of what was released
        self.lent = False           # another net computes with it, too
        self.channels_last = False  # a user's views are in Caffe's order all the same

    @property
    def touched(self) -> bool:
        """True once a user holds a view: autograd must not save this memory."""
        return self.held is not None

    def shows(self, value: torch.Tensor) -> bool:
        """Whether `value` lies in the memory behind the views handed out.

        `value` may have any shape.
        """
        return self.touched and value.numel() > 0 and (
            value.untyped_storage().data_ptr() == self.held.untyped_storage().data_ptr())

    def resize(self, shape: tuple[int, ...]) -> None:
        """Another number of elements drops the content; the same number keeps it."""
        if shape == self.shape:
            return
        if math.prod(shape) != math.prod(self.shape):
            self.held = self._device = None
            self.head = UNINITIALIZED
        self.shape = shape

    def adopt(self, value: torch.Tensor) -> None:
        """Take `value` as the content. Of this shape, on any device, in any precision: where that
        is less than the array's, it stays so until somebody reads the content.
        """
        if value.shape != self.shape:
            self.resize(tuple(value.shape))
        self._source = None
        if value.requires_grad:
            value = value.detach()
        if value.dtype is not self.dtype or value.device != self.device:
            if value.dtype in LOWER and value.device == self.device and self.held is None \
                    and self.dtype.is_floating_point:
                self._device, self.head = value, Head.LOWER
                return
            value = value.to(self.device, self.dtype)
        if self.held is not None and self.device.type == "cpu":
            self.held.copy_(value.reshape(-1))
            self.head = Head.HOST
        else:
            self._device, self.head = self._ordered(value) if self.channels_last else value, DEVICE

    def order_channels_last(self) -> None:
        """From now on the memory that no user holds a view of has the channels of a pixel side by
        side. For four axes.
        """
        self.channels_last = True
        if self.head is DEVICE:
            self.adopt(self._device)

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
        self.held = self._device = None
        self._source, self.head = source, Head.RELEASED

    def stand_for(self, value: torch.Tensor) -> None:
        """Read as `value`, of this shape: copied now where a user holds a view, else by who reads
        it. Memory that is there stays for what is written next.
        """
        if self.held is not None:
            self.adopt(value)
        else:
            self._source, self.head = value.clone, Head.RELEASED

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
            self._device, self.head = self.held.to(self.device), Head.DEVICE
        if self.head is Head.LOWER:
            self.adopt(self._device.to(self.dtype))
        return self.held if self.head is Head.HOST else self._device

    def view(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The content on the device in a shape of as many elements; changes in place arrive."""
        value = self._device if self.head is DEVICE else self.read()
        if value.shape == shape:
            return value
        self._expect(shape)
        if not value.is_contiguous():
            value = self._device = value.contiguous()
        return value.reshape(shape)

    def as_made(self, shape: tuple[int, ...]) -> torch.Tensor:
        """`view`, in less precision where it came so and nobody has read it. Not to be changed; of
        that shape.
        """
        if self.head is Head.LOWER and self._device.shape == shape:
            return self._device
        return self.view(shape)

    def host(self, shape: tuple[int, ...]) -> np.ndarray:
        """A writable numpy view in that shape; the host copy becomes the current one."""
        self._expect(shape)
        if self.head is not Head.HOST:
            self._to_host()
        return self.held.numpy().reshape(shape)

    def _expect(self, shape: tuple[int, ...]) -> None:
        if math.prod(shape) != math.prod(self.shape):
            raise CaffeError(f"a blob of shape {shape} shares memory that now has the shape "
                             f"{self.shape}; call net.reshape() after giving an input another "
                             f"shape")

    def _fill_zero(self) -> None:
        if self.touched:
            self.held.zero_()
            self.head = Head.HOST
        elif self._device is not None and self._device.shape == self.shape:
            self.overwrite().zero_()
        else:
            self._device = self._new(pages.zeros)
            self.head = Head.DEVICE

    def overwrite(self) -> torch.Tensor:
        """Memory on the device for the caller to fill: what was there is lost.

        Of the blob's shape.
        """
        if self.touched and self.device.type == "cpu":
            return self.read()
        if self._device is None or self._device.shape != self.shape \
                or self._device.dtype is not self.dtype:
            self._device = self._new(torch.empty)
        self.head = Head.DEVICE
        return self._device

    def _new(self, make: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Memory of this shape, in this order."""
        if not self.channels_last or len(self.shape) != 4:
            return make(self.shape, dtype=self.dtype, device=self.device)
        n, c, h, w = self.shape
        # said by its strides: of one channel torch's own memory format leaves the order open
        return make((n, h, w, c), dtype=self.dtype, device=self.device).permute(0, 3, 1, 2)

    def _ordered(self, value: torch.Tensor) -> torch.Tensor:
        if value.dim() != 4:
            return value
        _, c, h, w = value.shape
        return value if value.stride() == (h * w * c, 1, w * c, c) else \
            self._new(torch.empty).copy_(value)

    def _to_host(self) -> None:
        value = self.read().reshape(-1)
        if not self.touched:
            # autograd may have saved the tensor we hold: users get memory of their own
            self.held = torch.empty(value.numel(), dtype=self.dtype)
        if self.head is not Head.HOST:
            self.held.copy_(value)
        if self.device.type == "cpu":
            self._device = None
        self.head = Head.HOST
