"""What a target of an export is, what is asked of the file and what is said of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from caffe.engine.errors import CaffeError
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.registry import Registry

MOST_DIFFERENCE = 1e-4
MOST_DIFFERENCE_OF_HALVES = 1e-2

Tensors = Mapping[str, torch.Tensor]
Run = Callable[[Tensors], dict[str, torch.Tensor]]


class Exportable(Protocol):
    """A module of named inputs and outputs: `net.to_torch()`, or one made of it."""

    inputs: list[str]
    outputs: list[str]

    def __call__(self, **values: torch.Tensor) -> dict[str, torch.Tensor]: ...


@dataclass(frozen=True)
class Form:
    """How a file is to be.

    dynamic: axes of inputs whose sizes may differ from run to run. half: weights and arithmetic
    in 16 bits; inputs and outputs stay in the net's precision. about: further facts to write into
    it where it can hold such.
    """

    dynamic: Mapping[str, Sequence[int]] = field(default_factory=dict)
    half: bool = False
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def most(self) -> float:
        """How far outputs may be apart."""
        return MOST_DIFFERENCE_OF_HALVES if self.half else MOST_DIFFERENCE


PLAIN = Form()          # of fixed sizes, in the net's precision


@dataclass(frozen=True)
class Written:
    """A file: how its own program runs it, and operators in it that torch lacks.

    weights: a second file that goes beside it, of the same name with another ending.
    """

    run: Run
    foreign: list[str] = field(default_factory=list)
    weights: Path | None = None

    def keep_beside(self, path: Path) -> None:
        """Give the second file its place beside `path`."""
        if self.weights is not None:
            with atomic_path(path.with_suffix(self.weights.suffix)) as place:
                shutil.move(self.weights, place)


# name -> write(module, inputs, path, form)
TARGETS = Registry("export target", CaffeError)
Write = Callable[[nn.Module, Tensors, Path, Form], Written]
