"""Gradients through what torch has recorded, without autograd's engine where that can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def gradients(pairs: list[tuple[torch.Tensor, torch.Tensor]],
               variables: list[torch.Tensor]) -> Sequence[torch.Tensor | None]:
    """Those of the variables, of their shapes, from (output, its gradient) of the outputs."""
    if len(pairs) == 1:
        found = _along_a_chain(*pairs[0], variables)
        if found is not None:
            return found
    return torch.autograd.grad([o for o, _ in pairs], variables, [g for _, g in pairs],
                               retain_graph=True, allow_unused=True)


def _along_a_chain(output: torch.Tensor, gradient: torch.Tensor,
                   variables: list[torch.Tensor]) -> list[torch.Tensor | None] | None:
    """The same, if operators of torch, each fed by the one before it and by variables, made the
    output; else None.

    torch.autograd.grad takes 15 to 30 microseconds around the gradients of operators.
    """
    nodes = _chain(output.grad_fn)
    found: dict[int, torch.Tensor | None] = {}
    with torch.no_grad():
        for node in nodes:
            if node is not nodes[0]:
                fitting = _for_output(node, gradient)
                if fitting is None:
                    return None
                gradient = fitting
            made = node(gradient)
            for (behind, _), each in zip(node.next_functions,
                                         made if isinstance(made, tuple) else (made,)):
                if behind is None:
                    continue
                leaf = getattr(behind, "variable", None)
                if leaf is None:
                    gradient = each
                elif id(leaf) in found:
                    return None         # it is taken twice
                else:
                    found[id(leaf)] = each
        result = [found.get(id(variable)) for variable in variables]
        if not nodes or any(each is not None and each.dtype != variable.dtype
                            for each, variable in zip(result, variables)):
            return None
        return [None if each is None else _summed(each, variable.shape)
                for each, variable in zip(result, variables)]


def _chain(node: Any) -> list[Any]:
    """The operators from this one back to variables, if each but the last has one behind it."""
    nodes = []          # torch calls them Node, and does not say that they are functions
    while node is not None:
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            return []
        nodes.append(node)
        behind = [(each, output) for each, output in node.next_functions
                  if each is not None and getattr(each, "variable", None) is None]
        if len(behind) > 1 or (behind and behind[0][1]):
            return []
        node = behind[0][0] if behind else None
    return nodes


def _for_output(node: Any, gradient: torch.Tensor | None) -> torch.Tensor | None:
    """The gradient as autograd hands it to an operator of one output; None where it has others."""
    made = list(getattr(node, "_input_metadata", ()))
    if gradient is None or len(made) != 1 or made[0].dtype != gradient.dtype:
        return None
    return _summed(gradient, tuple(made[0].shape))


def _summed(gradient: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Over the axes that an operator has broadcast, as autograd does behind it."""
    return gradient if gradient.shape == shape else gradient.sum_to_size(shape)
