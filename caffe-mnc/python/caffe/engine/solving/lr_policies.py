"""Learning-rate policies: the rate of an iteration from the numbers of the solver file."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from caffe.engine.errors import PrototxtError
from caffe.engine.registry import Registry

LR_POLICIES = Registry("learning-rate policy", PrototxtError)

# A policy maps (SolverParameter, iteration, current step) to the factor on base_lr.
Policy = Callable[[Any, int, int], float]


def learning_rate(param: Any, iteration: int, current_step: int) -> float:
    """base_lr times the factor of `param.lr_policy`. Call `current_step()` first for its step."""
    return param.base_lr * LR_POLICIES.get(param.lr_policy)(param, iteration, current_step)


def current_step(param: Any, iteration: int, previous: int) -> int:
    """How many steps the rate has taken by `iteration`.

    "multistep" moves on by at most one a call, so it has to be told where it was.
    """
    if param.lr_policy == "step":
        return iteration // _positive(param, "stepsize")
    if param.lr_policy == "multistep":
        due = previous < len(param.stepvalue) and iteration >= param.stepvalue[previous]
        return previous + 1 if due else previous
    return previous


@LR_POLICIES.register("fixed")
def fixed(param: Any, iteration: int, step: int) -> float:
    """1"""
    return 1.0


@LR_POLICIES.register("step")
def step(param: Any, iteration: int, step: int) -> float:
    """gamma ^ floor(iteration / stepsize)"""
    return param.gamma ** (iteration // _positive(param, "stepsize"))


@LR_POLICIES.register("exp")
def exp(param: Any, iteration: int, step: int) -> float:
    """gamma ^ iteration"""
    return param.gamma ** iteration


@LR_POLICIES.register("inv")
def inv(param: Any, iteration: int, step: int) -> float:
    """(1 + gamma * iteration) ^ -power"""
    return (1 + param.gamma * iteration) ** -param.power


@LR_POLICIES.register("multistep")
def multistep(param: Any, iteration: int, step: int) -> float:
    """gamma ^ number of `stepvalue`s reached"""
    return param.gamma ** step


@LR_POLICIES.register("poly")
def poly(param: Any, iteration: int, step: int) -> float:
    """(1 - iteration / max_iter) ^ power, 0 from max_iter on"""
    return max(0.0, 1 - iteration / _positive(param, "max_iter")) ** param.power


@LR_POLICIES.register("cosine")
def cosine(param: Any, iteration: int, step: int) -> float:
    """(1 + cos(pi * iteration / max_iter)) / 2, 0 from max_iter on. Not among Caffe's.

    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, equation 5.
    """
    return (1 + math.cos(math.pi * min(iteration / _positive(param, "max_iter"), 1))) / 2


@LR_POLICIES.register("sigmoid")
def sigmoid(param: Any, iteration: int, step: int) -> float:
    """1 / (1 + exp(-gamma * (iteration - stepsize))); decays for a negative gamma"""
    exponent = -param.gamma * (iteration - param.stepsize)
    return 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0      # exp() overflows at 710


def _positive(param: Any, field: str) -> int:
    value = getattr(param, field)
    if value <= 0:
        raise PrototxtError(f'lr_policy "{param.lr_policy}" needs a positive {field}, got {value}')
    return value
