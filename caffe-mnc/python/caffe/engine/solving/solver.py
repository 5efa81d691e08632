"""The loop of a solver: forward, backward, update, and what happens between iterations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe.engine import log, random
from caffe.engine.errors import CaffeError, PrototxtError, WeightsError
from caffe.engine.formats import weights
from caffe.engine.formats.prototxt import read_solver
from caffe.engine.formats.snapshot import SolverState, read_state, write_state
from caffe.engine.net.net import Net
from caffe.engine.solving import lr_policies
from caffe.engine.solving.evaluation import AP_VERSIONS, EVALUATIONS
from caffe.engine.solving.nets import make_test_nets, make_train_net
from caffe.engine.solving.progress import (
    Clock,
    SmoothedLoss,
    log_outputs,
    output_values,
    run_forward,
)
from caffe.proto import caffe_pb2

PIECE = 1 << 17     # values that an update works on at a time: with gradient and history 1.5 MB


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
        self.snapshot_requested = False
        self.export: Callable[[Net], AbstractContextManager[Iterable[str]]] = as_trained
        self._smoothed = SmoothedLoss(self.param.average_loss)
        self._callbacks: list[tuple[Callable[[], None], Callable[[], None]]] = []
        if self.param.random_seed >= 0:
            random.set_random_seed(self.param.random_seed)
        self.net = make_train_net(self.param, folder)
        self.test_nets = make_test_nets(self.param, folder)
        self.history = [torch.zeros_like(blob.tensor)
                        for _ in range(self.histories) for blob in self.net.learnable_params]
        log.info("Solver scaffolding done.")

    def update(self, gradient: torch.Tensor, history: list[torch.Tensor], rate: float) -> None:
        """Turn `gradient` in place into the step to subtract; `history` holds its buffers."""
        raise NotImplementedError

    # --- training ---------------------------------------------------------------------------

    @property
    def lr(self) -> float:
        """The learning rate of the present iteration."""
        step = lr_policies.current_step(self.param, self.iter, self.current_step)
        return lr_policies.learning_rate(self.param, self.iter, step)

    def step(self, iterations: int) -> None:
        """Make that many updates, with tests, log lines and snapshots when they are due."""
        self._smoothed = SmoothedLoss(self.param.average_loss)
        clock = Clock(self.iter)
        end = self.iter + iterations
        while self.iter < end:
            self.net.clear_param_diffs()
            if self._test_is_due() and (self.iter or self.param.test_initialization):
                self.test_all()
                if self.stop_requested:
                    break
            for on_start, _ in self._callbacks:
                on_start()
            self.net.debug_info = self.param.debug_info and self._is_due(self.param.display)
            loss = sum(self.net.forward_backward() for _ in range(self.param.iter_size))
            self._smoothed.add(loss / self.param.iter_size)
            if self._is_due(self.param.display):
                self._display(clock)
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.apply_update()
            self._after_update()
            if self.stop_requested:
                break

    def solve(self, resume: str | None = None) -> None:
        """Train to max_iter, from the state file `resume` if given."""
        log.info(log.SOLVING, self.net.name)
        log.info(log.POLICY, self.param.lr_policy)
        self.stop_requested = False
        if resume:
            log.info(log.RESTORING, resume)
            self.restore(resume)
        self.step(self.param.max_iter - self.iter)
        if self.param.snapshot_after_train and not self._is_due(self.param.snapshot):
            self.snapshot()
        if self.stop_requested:
            log.info(log.STOPPED)
            return
        if self._is_due(self.param.display):
            self._smoothed.add(run_forward(self.net))
            log.info(log.LOSS, self.iter, self._smoothed.mean)
        if self._test_is_due():
            self.test_all()
        log.info(log.DONE)

    def apply_update(self) -> None:
        """clip -> normalize -> regularize -> update rule -> subtract; then `iter` goes up."""
        self.current_step = lr_policies.current_step(self.param, self.iter, self.current_step)
        rate = lr_policies.learning_rate(self.param, self.iter, self.current_step)
        if self._is_due(self.param.display):
            log.info(log.LEARNING_RATE, self.iter, rate)
        net, count = self.net, len(self.net.learnable_params)
        self._clip_gradients()
        for i, blob in enumerate(net.learnable_params):
            arrays = blob.tensor, blob.diff_tensor, *self.history[i::count]
            for value, gradient, *history in _pieces(arrays):
                self._normalize(gradient)
                self._regularize(value, gradient, net.params_weight_decay[i])
                self.update(gradient, history, rate * net.params_lr[i])
                value.sub_(gradient)
        self.iter += 1

    def add_callback(self, on_start: Callable[[], None],
                     on_gradients_ready: Callable[[], None]) -> None:
        """Call `on_start()` before each iteration's forward, the other before each update."""
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net: Net) -> None:
        """Make `net` use the parameters of the net in training."""
        net.share_with(self.net)

    def _clip_gradients(self) -> None:
        """Scale all gradients so that their common L2 norm is at most clip_gradients."""
        limit = self.param.clip_gradients
        gradients = [blob.diff_tensor for blob in self.net.learnable_params]
        if limit < 0 or not gradients:
            return
        norm = float(torch.stack([torch.linalg.vector_norm(g) for g in gradients]).norm())
        if norm > limit:
            log.info("Gradient clipping: scaling down gradients (L2 norm %g > %g) by scale factor "
                     "%g", norm, limit, limit / norm)
            for gradient in gradients:
                gradient.mul_(limit / norm)

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

    def _after_update(self) -> None:
        if self._is_due(self.param.snapshot) or self.snapshot_requested:
            self.snapshot_requested = False
            self.snapshot()

    def _display(self, clock: Clock) -> None:
        loss = self._smoothed.mean
        done, seconds = clock.lap(self.iter)
        if done:
            log.info(log.LOSS_WITH_SPEED, self.iter, done / seconds, seconds, done, loss)
        else:
            log.info(log.LOSS, self.iter, loss)
        log_outputs(self.net, log.TRAIN_OUTPUT, output_values(self.net))

    def test_all(self) -> None:
        """Test every test net."""
        for index in range(len(self.test_nets)):
            if not self.stop_requested:
                self.test(index)

    def test(self, index: int) -> None:
        """Run test net `index` for test_iter[index] batches; log what eval_type makes of it."""
        log.info(log.TESTING, self.iter, index)
        net, batches = self.test_nets[index], self.param.test_iter[index]
        net.share_with(self.net)
        loss, outputs = 0.0, EVALUATIONS.get(self.param.eval_type)(self.param)
        for _ in range(batches):
            if self.stop_requested:
                log.info(log.TEST_STOPPED)
                return
            loss += run_forward(net)
            outputs.add(net)
        if self.param.test_compute_loss:
            log.info(log.TEST_LOSS, loss / batches)
        outputs.log(net)

    # --- snapshots --------------------------------------------------------------------------

    def snapshot(self) -> str:
        """Write PREFIX_iter_N.caffemodel and .solverstate (with .h5 behind, if so configured);
        returns the name of the first.

        `export` is held around the writing of the weights: a function of the net that returns a
        context manager. It may change parameters for that time and gives the names of their
        layers; the state then holds these as they are in training.
        """
        hdf5 = self.param.snapshot_format == self.param.HDF5
        model, state = (f"{self.param.snapshot_prefix}_iter_{self.iter}{kind}{'.h5' * hdf5}"
                        for kind in (".caffemodel", ".solverstate"))
        Path(model).parent.mkdir(parents=True, exist_ok=True)
        log.info(log.SNAPSHOT_HDF5 if hdf5 else log.SNAPSHOT_BINARY, model)
        save = weights.save_hdf5 if hdf5 else weights.save_caffemodel
        with self.export(self.net) as altered:
            save(self.net, model, self.param.snapshot_diff)
        log.info(log.STATE_HDF5 if hdf5 else log.STATE_BINARY, state)
        history = [h.cpu().numpy() for h in self.history]
        write_state(state, SolverState(self.iter, model, self.current_step, history,
                                       self._extra_state(altered or ())), hdf5=hdf5)
        return model

    def _extra_state(self, altered: Iterable[str]) -> dict[str, np.ndarray]:
        extra = {f"random/{device}": s for device, s in random.get_state().items()}
        for name in altered:
            for i, blob in enumerate(self.net.params[name]):
                extra[f"param/{i}/{name}"] = blob.tensor.cpu().numpy()
        for layer in self.net.layers:
            if hasattr(layer, "snapshot_state"):
                extra[f"layer/{layer.name}"] = np.frombuffer(layer.snapshot_state(), np.uint8)
        return extra

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on from a solver state; WeightsError, with nothing changed, if it does not fit."""
        state = read_state(path)
        self._check_history(state.history, os.fspath(path))
        self._check_extra(state.extra, os.fspath(path))
        model = _find_model(state.learned_net, Path(path))
        with _random_state_of(state.extra, os.fspath(path)):
            if model:
                self.net.copy_from(model)
        self.iter, self.current_step = state.iter, state.current_step
        for mine, saved in zip(self.history, state.history):
            mine.copy_(torch.as_tensor(saved).reshape(mine.shape))
        self._restore_extra(state.extra)

    def _check_history(self, history: list[np.ndarray], path: str) -> None:
        want, got = ([tuple(h.shape) for h in each] for each in (self.history, history))
        if len(want) != len(got):
            raise WeightsError(f"{path}: {len(got)} history blobs, this solver "
                               f"({type(self).__name__}) has {len(want)}")
        for i, (mine, saved) in enumerate(zip(want, got)):
            if mine != saved and (1,) * (4 - len(mine)) + mine != saved:
                raise WeightsError(f"{path}: history blob {i} has the shape {saved}, this "
                                   f"solver's has {mine}")

    def _check_extra(self, extra: dict[str, np.ndarray], path: str) -> None:
        for key, value in extra.items():
            kind, index, name = [*key.split("/", 2), ""][:3]
            mine = self.net.params.get(name, []) if kind == "param" else []
            if kind == "param" and value.shape not in {b.shape for b in mine[int(index):][:1]}:
                raise WeightsError(f'{path}: parameter {index} of layer "{name}", of shape '
                                   f"{value.shape}, does not fit the net")

    def _restore_extra(self, extra: dict[str, np.ndarray]) -> None:
        for key, value in extra.items():
            kind, _, rest = key.partition("/")
            if kind == "param":
                index, _, name = rest.partition("/")
                self.net.params[name][int(index)].tensor.copy_(torch.as_tensor(value))
            elif kind == "layer" and hasattr(self.net.layer_dict.get(rest), "restore_state"):
                self.net.layer_dict[rest].restore_state(value.tobytes())

    # --- checks -----------------------------------------------------------------------------

    def check_options(self) -> None:
        """What can be said before training starts is said before."""
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


def solver_parameter(source: str | os.PathLike[str] | Any) -> Any:
    """The SolverParameter of a file, or a copy of the one given, with its snapshot prefix complete.

    Without a prefix snapshots are named after the solver file; in a folder they get its name.
    """
    if isinstance(source, caffe_pb2.SolverParameter):
        param = caffe_pb2.SolverParameter()
        param.CopyFrom(source)
        return param
    param = read_solver(source)
    path = Path(source)
    if not param.HasField("snapshot_prefix"):
        param.snapshot_prefix = str(path.with_suffix(""))
    elif os.path.isdir(param.snapshot_prefix):
        param.snapshot_prefix = str(Path(param.snapshot_prefix) / path.stem)
    return param


def _pieces(arrays: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Parts of arrays of one shape, side by side, small enough to stay in the caches of a CPU."""
    pays = arrays[0].device.type == "cpu" and arrays[0].numel() > PIECE
    if not pays or not all(array.is_contiguous() for array in arrays):
        yield tuple(arrays)
        return
    yield from zip(*(array.view(-1).split(PIECE) for array in arrays))


@contextmanager
def as_trained(net: Net) -> Iterator[tuple[str, ...]]:
    """Writes weights as they are: no layer altered."""
    yield ()


@contextmanager
def _random_state_of(extra: dict[str, np.ndarray], path: str) -> Iterator[None]:
    """The random states saved in `extra` are set, and stay if the block ends without an error."""
    before = random.get_state()
    try:
        try:
            random.set_state({key.removeprefix("random/"): value for key, value in extra.items()
                              if key.startswith("random/")})
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise WeightsError(f"{path}: the saved random state is damaged: {error}") from error
        yield
    except BaseException:
        random.set_state(before)
        raise


def _find_model(learned_net: str, state: Path) -> str | None:
    """The weight file of a state: where it was written, or beside the state if both were moved."""
    if not learned_net:
        return None
    for candidate in (Path(learned_net), state.parent / Path(learned_net).name):
        if candidate.exists():
            return str(candidate)
    raise WeightsError(f'{state}: its weights "{learned_net}" are missing, not beside it either')
