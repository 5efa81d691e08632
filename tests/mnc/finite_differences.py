"""Numerical gradients in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def gradient(function: Callable[[np.ndarray], float], at: np.ndarray,
             step: float = 1e-5) -> np.ndarray:
    """d function / d at, by central differences; `function` takes an array like `at`."""
    result = np.zeros(at.shape)
    for i in np.ndindex(at.shape):
        moved = [at.copy() for _ in range(2)]
        moved[0][i] += step
        moved[1][i] -= step
        result[i] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return result
