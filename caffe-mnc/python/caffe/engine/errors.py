"""Errors a user can act on.

CaffeError
├── PrototxtError   a text file does not say what the format allows: file, line, column
├── LayerError      a layer cannot be built or run: layer name and type, what it got
└── WeightsError    a weight or state file cannot be used: file, layer, shapes

The three are ValueErrors too, so that code which catches those keeps working.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class CaffeError(Exception):
    """Base of every error raised on purpose by this package."""


class PrototxtError(CaffeError, ValueError):
    """A prototxt or solver file is not readable as what it should be."""


class LayerError(CaffeError, ValueError):
    """A layer got parameters, bottoms or values that it cannot work with."""


class WeightsError(CaffeError, ValueError):
    """A file of weights or of solver state does not fit, or is damaged."""


@contextmanager
def in_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """What is wrong with a layer is said together with the file the layer stands in.

    Raises LayerError in place of the one without the file.
    """
    try:
        yield
    except LayerError as error:
        raise LayerError(f"{path}: {error}") from error
