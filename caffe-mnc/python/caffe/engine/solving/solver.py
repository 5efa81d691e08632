"""The loop of a solver: forward, backward, update, and what happens between iterations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from caffe.engine import log, random, waiting
from caffe.engine.errors import CaffeError, PrototxtError
from caffe.engine.memory_order import in_order_of, pieces
from caffe.engine.net.net import Net
from caffe.engine.parallel.team import Team
from caffe.engine.solving import finite, lr_policies, saving, state, testing
from caffe.engine.solving.clipping import clip_gradients
from caffe.engine.solving.evaluation import AP_VERSIONS, EVALUATIONS
from caffe.engine.solving.nets import make_test_nets, make_train_net, solver_parameter
from caffe.engine.solving.progress import (
    Clock,
    SmoothedLoss,
    log_outputs,
    output_values,
    run_forward,
)
from caffe.engine.solving.workers import BY_DEFAULT, Alone, Sharing, Workers
from caffe.proto import caffe_pb2


class Solver:
    """Trains `net` as a SolverParameter says. One subclass an update rule.

    source: a solver file or a SolverParameter. `iter` counts the updates made so far.
    """

    histories = 1       # buffers of the update rule for each parameter

    def __init__(self, source: str | os.PathLike[str] | Any) -> None:
        self.param = solver_parameter(source)
        folder = None if isinstance(source, caffe_pb2.SolverParameter) else Path(source).parent
        self.check_options()
        self.iter = 0
        self.current_step = 0
        self.stop_requested = False
        self._stop_followed = False                     # an earlier step() has done so
        self.stopped_by: int | None = None              # the signal that asked for it
        self.snapshot_requested = False
        self.take_snapshot: Callable[[], str | os.PathLike[str]] = self.snapshot
        self.keep = 0                                   # snapshots to leave on disk; 0: all
        self.last_snapshot: str | None = None           # the weights it wrote last
        self.resumed_from: str | None = None            # the state it went on from
        self.saved_at: int | None = None                # the iteration of that
        self.unsaved = False                            # a snapshot failed since
        self.on_nan = "ignore"                          # or "stop", "skip": finite.py
        self.skipped = 0                                # iterations without an update, by "skip"
        self.rate_factor: Callable[[int], float] = lambda iteration: 1.0    # of warm-ups
        self.companions: dict[str, Any] = {}            # kept in states, as layers are
        self.loss = float("nan")                        # of the last iteration
        self.after_update: list[Callable[[], object]] = []      # before snapshots
        self.after_test: list[Callable[[int, dict[str, float]], object]] = []
        self.export: Callable[[Net], AbstractContextManager[Iterable[str]]] = as_trained
        self.workers = Alone(self)
        self._smoothed = SmoothedLoss(self.param.average_loss)
        self._callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []
        if self.param.random_seed >= 0:
            random.set_random_seed(self.param.random_seed)
        self.net = make_train_net(self.param, folder)
        self.test_nets = make_test_nets(self.param, folder)
        self.history = [torch.zeros_like(blob.tensor)
                        for _ in range(self.histories) for blob in self.net.learnable_params]
        log.info("Solver scaffolding done.")

    def update(self, gradient: torch.Tensor, history: list[torch.Tensor],
               rate: float) -> torch.Tensor | None:
        """Turn `gradient` in place into the step to subtract; `history` holds its buffers.

        All of one shape, a part of the parameter's values. Returns the buffer that is the step, if
        one is: `gradient` may then stay what it was.
        """
        raise NotImplementedError

    def in_one_pass(self, value: torch.Tensor, gradient: torch.Tensor,
                    history: list[torch.Tensor], rate: float, decay: float) -> bool:
        """Normalize, regularize, `update` and subtract at once where the rule has a kernel for it:
        then True, and the first buffer is the step. All of the parameter's shape.
        """
        return False

    # --- training ---------------------------------------------------------------------------

    @property
    def lr(self) -> float:
        """The learning rate of the present iteration."""
        step = lr_policies.current_step(self.param, self.iter, self.current_step)
        return lr_policies.learning_rate(self.param, self.iter, step) * self.rate_factor(self.iter)

    def step(self, iterations: int) -> None:
        """Make that many updates, with tests, log lines and snapshots when they are due.

        Fewer if `stop_requested` becomes True: it ends this call, not those after it. Raises
        NotFinite if the loss is not finite and `on_nan` is "stop".
        """
        if self._stop_followed:
            self.stop_requested = self._stop_followed = False
        self.workers.begin()
        self._smoothed = SmoothedLoss(self.param.average_loss)
        clock = Clock(self.iter)
        end = self.iter + iterations
        try:
            while self.iter < end:
                self._iterate(clock)
                if self.workers.stopping:
                    break
        except waiting.Interrupted as error:
            if self.workers.count > 1:      # the others wait: they end by this error, too
                raise
            log.warning("Iteration %d: %s", self.iter, error)
            self.stop_requested = True
        self._stop_followed = self.workers.stopping

    def _iterate(self, clock: Clock) -> None:
        """Test if that is due, forward and backward, update, snapshot if that is due."""
        self.net.clear_param_diffs()
        if self._test_is_due() and (self.iter or self.param.test_initialization):
            self.test_all()
            if self.workers.stopping:
                return
        for on_start, _ in self._callbacks:
            on_start()
        self.net.debug_info = self.param.debug_info and self._is_due(self.param.display)
        self.loss = loss = self._pass_through()
        if finite.to_be_skipped(self, loss):
            self.iter += 1
            return
        self._smoothed.add(loss)
        if self._is_due(self.param.display):
            self._display(clock)
        for _, on_gradients_ready in self._callbacks:
            on_gradients_ready()
        self.apply_update()
        for look in self.after_update:
            look()
        asked = self.workers.wants_snapshot
        if self._is_due(self.param.snapshot) or asked:
            self.snapshot_requested = self.snapshot_requested and not asked
            saving.when_due(self)

    def _pass_through(self) -> float:
        """Forward and backward, iter_size times; the mean loss, of all workers."""
        loss, passes = 0.0, self.param.iter_size
        for number in range(passes):
            if number == passes - 1:
                self.workers.last_pass()
            loss += self.net.forward_backward()
        return self.workers.agree(loss / passes)

    def solve(self, resume: str | None = None) -> None:
        """Train to max_iter, from the state file `resume` if given.

        Raises what ends training early, after a snapshot; OSError if the last cannot be written.
        """
        log.info(log.SOLVING, self.net.name)
        log.info(log.POLICY, self.param.lr_policy)
        self.stop_requested = waiting.stop_requested.is_set()
        if resume:
            log.info(log.RESTORING, resume)
            self.restore(resume)
        if (self.param.snapshot_after_train or self.param.snapshot) and not self.workers.rank:
            saving.check_place(self.param.snapshot_prefix)
        self.step_to(self.param.max_iter)
        if self.param.snapshot_after_train and self.workers.any(
                self.unsaved or not self._is_due(self.param.snapshot)):
            saving.at_the_end(self)
        if self.workers.stopping:
            log.info(log.STOPPED)
            return
        if self._is_due(self.param.display):
            self._smoothed.add(run_forward(self.net))
            log.info(log.LOSS, self.iter, self._smoothed.mean)
        if self._test_is_due():
            self.test_all()
        log.info(log.DONE)

    def step_to(self, end: int) -> None:
        """`step` until `iter` is `end`; an error that ends it early costs nothing of what is done:
        a snapshot is taken first."""
        start = self.iter
        try:
            self.step(end - self.iter)
        except Exception as error:
            if self.iter > start:
                saving.before_an_error(self, error)
            raise

    def apply_update(self) -> None:
        """clip -> normalize -> regularize -> update rule -> subtract; then `iter` goes up."""
        self.current_step = lr_policies.current_step(self.param, self.iter, self.current_step)
        rate = lr_policies.learning_rate(self.param, self.iter, self.current_step)
        rate *= self.rate_factor(self.iter)
        if self._is_due(self.param.display):
            log.info(log.LEARNING_RATE, self.iter, rate)
        net, count = self.net, len(self.net.learnable_params)
        clip_gradients(net.learnable_params, self.param.clip_gradients)
        for i, blob in enumerate(net.learnable_params):
            value, given = blob.tensor, blob.diff_tensor
            gradient, *history = [in_order_of(value, each)
                                  for each in (given, *self.history[i::count])]
            self.history[i::count] = history
            step = self._update(value, gradient, history, rate * net.params_lr[i],
                                net.params_weight_decay[i])
            if step is not None:
                blob.show_as_diff(history[step])
            elif gradient is not given:
                blob.diff_tensor = gradient
        self.iter += 1

    def _update(self, value: torch.Tensor, gradient: torch.Tensor, history: list[torch.Tensor],
                rate: float, decay_mult: float) -> int | None:
        """Of one parameter; returns which buffer is the step, if one is."""
        if self.in_one_pass(value, gradient, history, rate, self.param.weight_decay * decay_mult):
            return 0
        for part, of_part, *buffers in pieces((value, gradient, *history)):
            self._normalize(of_part)
            self._regularize(part, of_part, decay_mult)
            step = self.update(of_part, buffers, rate)
            part.sub_(of_part if step is None else step)
        return None if step is None else [step is buffer for buffer in buffers].index(True)

    def add_callback(self, on_start: Any,
                     on_gradients_ready: Callable[[], object] | None = None) -> None:
        """Call `on_start()` before each iteration's forward, the other before each update.

        Or the methods of these names of one object, such as an NCCL.
        """
        pair = (on_start, on_gradients_ready) if on_gradients_ready is not None else \
            (on_start.on_start, on_start.on_gradients_ready)
        self._callbacks.append(pair)

    def join(self, team: Team, sharing: Sharing = BY_DEFAULT) -> None:
        """Train together with the other workers of a team, each of which calls this when its solver
        and its data are ready: all become like worker 0, but for their random numbers.

        Raises Lost where they do not come together.
        """
        if team.count > 1:
            self.workers = Workers(self, team, sharing)

    def share_weights(self, net: Net) -> None:
        """Make `net` use the parameters of the net in training."""
        net.share_with(self.net)

    def _normalize(self, gradient: torch.Tensor) -> None:
        if self.param.iter_size > 1:
            gradient.div_(self.param.iter_size)

    def _regularize(self, value: torch.Tensor, gradient: torch.Tensor, decay_mult: float) -> None:
        """gradient += decay * w (L2) or decay * sign(w) (L1)"""
        decay = self.param.weight_decay * decay_mult
        if decay:
            l1 = self.param.regularization_type == "L1"
            gradient.add_(value.sign() if l1 else value, alpha=decay)

    # --- between iterations -----------------------------------------------------------------

    def _is_due(self, interval: int) -> bool:
        return interval > 0 and self.iter % interval == 0

    def _test_is_due(self) -> bool:
        return bool(self.test_nets) and self._is_due(self.param.test_interval)

    def _display(self, clock: Clock) -> None:
        loss = self._smoothed.mean
        done, seconds = clock.lap(self.iter)
        if done:
            log.info(log.LOSS_WITH_SPEED, self.iter, done / seconds, seconds, done, loss)
        else:
            log.info(log.LOSS, self.iter, loss)
        self.workers.report()
        log_outputs(self.net, log.TRAIN_OUTPUT, output_values(self.net))

    def test_all(self) -> None:
        """Test every test net, with the weights as snapshots have them."""
        with self.export(self.net):
            for index in range(len(self.test_nets)):
                if not self.workers.stopping:
                    self.test(index)

    def test(self, index: int) -> None:
        """Run test net `index` for test_iter[index] batches; log what eval_type makes of it."""
        testing.test(self, index)

    # --- snapshots --------------------------------------------------------------------------

    def snapshot(self) -> str:
        """Write PREFIX_iter_N.caffemodel and .solverstate (with .h5 behind, if so configured);
        returns the name of the first.

        `export` is held around the writing of the weights: a function of the net that returns a
        context manager. It may change parameters for that time and gives the names of their
        layers; the state then holds these as they are in training.
        """
        self.last_snapshot, self.saved_at = state.snapshot(self), self.iter
        return self.last_snapshot

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on from a solver state; WeightsError, with nothing changed, if it does not fit."""
        self.resume(path)

    def resume(self, where: str | os.PathLike[str]) -> str | None:
        """Go on from a state file, or from the newest good pair of a folder or of "auto", the
        folder of the snapshots. Returns the state's name; None where "auto" finds nothing yet.

        Raises WeightsError, with nothing changed, if a file is not whole or does not fit.
        """
        return self.workers.resume(where)

    # --- checks -----------------------------------------------------------------------------

    def check_options(self) -> None:
        """What can be said before training starts is said before.

        Raises PrototxtError, or CaffeError where snapshots cannot be written.
        """
        param = self.param
        lr_policies.LR_POLICIES.get(param.lr_policy)
        EVALUATIONS.get(param.eval_type)
        AP_VERSIONS.get(param.ap_version)
        if param.regularization_type not in ("L1", "L2"):
            raise PrototxtError(f'regularization_type "{param.regularization_type}": L1 or L2')
        for field in ("iter_size", "average_loss"):
            if getattr(param, field) < 1:
                raise PrototxtError(f"{field} must be at least 1, got {getattr(param, field)}")
        folder = Path(param.snapshot_prefix).parent
        if param.snapshot and not os.access(folder, os.W_OK):
            raise CaffeError(f'snapshot_prefix "{param.snapshot_prefix}": the folder "{folder}" '
                             f"does not exist or cannot be written to")


@contextmanager
def as_trained(net: Net) -> Iterator[tuple[str, ...]]:
    """Writes weights as they are: no layer altered."""
    yield ()
