"""The six update rules, and how a solver file names them.

Each rule turns a gradient g into the step subtracted from the parameter; h are its buffers of the
parameter's shape, rate the learning rate times the parameter's lr_mult.
"""

from __future__ import annotations

import math
import os
from typing import Any

import torch

from caffe.engine.errors import PrototxtError
from caffe.engine.memory_order import alike_on_the_cpu
from caffe.engine.registry import Registry
from caffe.engine.solving.nets import solver_parameter
from caffe.engine.solving.solver import Solver

SOLVERS = Registry("solver type", PrototxtError)


def get_solver(source: str | os.PathLike[str] | Any) -> Solver:
    """The solver that a solver file or SolverParameter describes, by its `type`."""
    return SOLVERS.get(solver_parameter(source).type)(source)


@SOLVERS.register("SGD")
class SGDSolver(Solver):
    """h = momentum h + rate g;  step = h"""

    def update(self, gradient: torch.Tensor, history: list[torch.Tensor],
               rate: float) -> torch.Tensor:
        return history[0].mul_(self.param.momentum).add_(gradient, alpha=rate)

    def in_one_pass(self, value: torch.Tensor, gradient: torch.Tensor,
                    history: list[torch.Tensor], rate: float, decay: float) -> bool:
        """By torch's kernel on the CPU: h = momentum h + (1 - dampening) (g + weight_decay w), and
        lr h is subtracted. All of one shape.
        """
        param, buffer, passes = self.param, history[0], self.param.iter_size
        if type(self).update is not SGDSolver.update or not param.momentum \
                or (decay and param.regularization_type != "L2") \
                or not alike_on_the_cpu((value, gradient, buffer)):
            return False
        torch._fused_sgd_(      # g is a sum over the passes: their number goes into the factors
            [value], [gradient], [buffer], weight_decay=decay * passes, momentum=param.momentum,
            lr=1.0, dampening=1 - rate / passes, nesterov=False, maximize=False,
            is_first_step=False)
        return True


@SOLVERS.register("Nesterov")
class NesterovSolver(Solver):
    """h' = momentum h + rate g;  step = (1 + momentum) h' - momentum h"""

    def update(self, gradient: torch.Tensor, history: list[torch.Tensor], rate: float) -> None:
        momentum, before = self.param.momentum, history[0].clone()
        history[0].mul_(momentum).add_(gradient, alpha=rate)
        gradient.copy_(history[0]).mul_(1 + momentum).sub_(before, alpha=momentum)


class WithoutMomentum(Solver):
    """Rules that the solver file may give no momentum."""

    def check_options(self) -> None:
        """Raises PrototxtError for a momentum."""
        super().check_options()
        if self.param.momentum:
            raise PrototxtError(f'momentum {self.param.momentum:g} cannot be used with type '
                                f'"{self.param.type}"; leave it out')


@SOLVERS.register("AdaGrad")
class AdaGradSolver(WithoutMomentum):
    """h = h + g^2;  step = rate g / (sqrt(h) + delta)"""

    def update(self, gradient: torch.Tensor, history: list[torch.Tensor], rate: float) -> None:
        history[0].addcmul_(gradient, gradient)
        gradient.div_(history[0].sqrt().add_(self.param.delta)).mul_(rate)


@SOLVERS.register("RMSProp")
class RMSPropSolver(WithoutMomentum):
    """h = decay h + (1 - decay) g^2;  step = rate g / (sqrt(h) + delta)"""

    def update(self, gradient: torch.Tensor, history: list[torch.Tensor], rate: float) -> None:
        decay = self.param.rms_decay
        history[0].mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
        gradient.div_(history[0].sqrt().add_(self.param.delta)).mul_(rate)

    def check_options(self) -> None:
        """Raises PrototxtError for a rms_decay outside [0, 1)."""
        super().check_options()
        if not 0 <= self.param.rms_decay < 1:
            raise PrototxtError(f"rms_decay must be in [0, 1), got {self.param.rms_decay:g}")


@SOLVERS.register("AdaDelta")
class AdaDeltaSolver(Solver):
    """h1 = m h1 + (1 - m) g^2;  u = g sqrt((delta + h2) / (delta + h1));  h2 = m h2 + (1 - m) u^2

    step = rate u; m is the momentum.
    """

    histories = 2

    def update(self, gradient: torch.Tensor, history: list[torch.Tensor], rate: float) -> None:
        momentum, delta = self.param.momentum, self.param.delta
        gradients, updates = history
        gradients.mul_(momentum).addcmul_(gradient, gradient, value=1 - momentum)
        gradient.mul_((updates + delta).div_(gradients + delta).sqrt_())
        updates.mul_(momentum).addcmul_(gradient, gradient, value=1 - momentum)
        gradient.mul_(rate)


@SOLVERS.register("Adam")
class AdamSolver(Solver):
    """m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2

    step = rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + delta), t = iter + 1, b1 = momentum,
    b2 = momentum2.
    """

    histories = 2

    def update(self, gradient: torch.Tensor, history: list[torch.Tensor], rate: float) -> None:
        beta1, beta2, t = self.param.momentum, self.param.momentum2, self.iter + 1
        mean, square = history
        mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        correction = math.sqrt(1 - beta2**t) / (1 - beta1**t)
        torch.div(mean, square.sqrt().add_(self.param.delta), out=gradient)
        gradient.mul_(rate * correction)
