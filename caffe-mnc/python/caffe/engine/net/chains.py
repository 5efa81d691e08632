"""Stretches of a plan that another runtime may compute: layers of torch's operators alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from caffe.engine import log
from caffe.engine.net.build import Node

if TYPE_CHECKING:
    from caffe.engine.net.plan import Step

LEAST_SHARE = 0.2           # of the net's multiply-adds: to convert a chain takes seconds
MOST_WEIGHTS = 2 ** 26      # fc6 of VGG-16 has more: packed, torch is as fast, and it is there once
FASTER = 0.95               # of torch's time, to be taken by "auto"
TURNS = 2

Values = list[Tensor]


class Runner(Protocol):
    """A chain as a runtime has it."""

    def takes(self, values: Values) -> bool:
        """Whether it was made for values of these sizes; any shapes."""

    def __call__(self, values: Values) -> Values:
        """What the chain writes, from what it reads, in float32; any shapes."""


Convert = Callable[["Chain", Values], Runner]


@dataclass(eq=False)
class Chain:
    """Steps one behind the other, the layers in them, what they read and what is read later."""

    steps: list[Step]
    nodes: list[Node]
    reads: list[int]
    writes: list[int]
    runner: Runner | None = None
    tried: bool = field(default=False)

    def decide(self, converts: dict[str, Convert], given: Values, found: Values,
               again: Callable[[], object] | None, allowed: float) -> None:
        """Take the runtime that agrees with `found`, torch's result, to within `allowed`.

        again: torch's run, to be timed beside those of all runtimes: the fastest is taken.
        Any shapes.
        """
        self.tried = True
        runners = {name: runner for name, convert in converts.items()
                   if (runner := self._checked(name, convert, given, found, allowed))}
        if again is None or not runners:
            self.runner = next(iter(runners.values()), None)
            return
        works: dict[str, Callable[[], object]] = {
            "torch": again,
            **{name: partial(runner, given) for name, runner in runners.items()}}
        took = {name: min(_seconds(work) for _ in range(TURNS)) for name, work in works.items()}
        best = min(runners, key=lambda name: took[name])
        if took[best] < FASTER * took["torch"]:
            self.runner = runners[best]
        log.info("%s: %s; %s computes it", self.title,
                    ", ".join(f"{name} {1000 * s:.1f} ms" for name, s in took.items()),
                    best if self.runner else "torch")

    def made_of(self, given: Values) -> Values | None:
        """What the runtime makes of the values that the chain reads, of any shapes; None: torch
        is to do it.
        """
        if self.runner is None or not self.runner.takes(given):
            return None
        try:
            return self.runner(given)
        except Exception as error:      # of any kind: these are other people's kernels
            self.fall_back(type(self.runner).__name__, str(error).splitlines() or [repr(error)])
            return None

    def _checked(self, name: str, convert: Convert, given: Values, found: Values,
                 allowed: float) -> Runner | None:
        try:
            runner = convert(self, given)
            apart = max(_apart(a, b) for a, b in zip(runner(given), found))
        except Exception as error:      # of any kind: these are other people's compilers
            self.fall_back(name, str(error).strip().splitlines() or [repr(error)])
            return None
        if not apart <= allowed:
            self.fall_back(name, [f"its results differ by {apart:.3g} of the largest value"])
            return None
        return runner

    def fall_back(self, name: str, why: Sequence[str]) -> None:
        """From now on torch computes the chain, and one line of the log says why."""
        self.runner = None
        log.warning("%s: torch computes it, not %s: %s", self.title, name, why[0][:300])

    @property
    def title(self) -> str:
        first, last = self.nodes[0].layer, self.nodes[-1].layer
        return f'layers "{first.name}" to "{last.name}"'


def chains_of(steps: list[Step], nodes: list[Node], kept: set[int]) -> list[Chain]:
    """The chains that are worth converting; steps in the order they run in."""
    total = sum(map(_multiply_adds, nodes))
    found: list[list[Step]] = [[]]
    for step in steps:
        inside = {i for each in found[-1] for i in each.writes}
        in_place = set(step.reads).intersection(step.writes)
        if _dense(step, nodes) and in_place <= inside:
            found[-1].append(step)
        else:
            found.append([])
    chains = [_chain(part, steps, nodes, kept) for part in found if part]
    return [chain for chain in chains
            if sum(map(_multiply_adds, chain.nodes)) >= LEAST_SHARE * max(total, 1)
            and sum(b.count for node in chain.nodes for b in node.layer.blobs) <= MOST_WEIGHTS]


def _dense(step: Step, nodes: list[Node]) -> bool:
    return all(node.layer.dense and (node.layer.pure or node.layer.keeps_batch)
               for node in nodes[step.first:step.last + 1])


def _chain(part: list[Step], steps: list[Step], nodes: list[Node], kept: set[int]) -> Chain:
    mine = [node for step in part for node in nodes[step.first:step.last + 1]
            if step.first == step.last or set(node.top_ids) & {*step.writes, *step.reads}
            or _inner(node, nodes, step)]
    written = {i for step in part for i in step.writes}
    later = kept | {i for step in steps if step not in part for i in step.reads}
    reads = dict.fromkeys(i for step in part for i in step.reads if i not in written)
    return Chain(part, mine, list(reads), sorted(written & later))


def _inner(node: Node, nodes: list[Node], step: Step) -> bool:
    """Whether a layer between the first and the last of a step leads from one to the other."""
    return any(set(node.top_ids) & set(other.bottom_ids)
               for other in nodes[step.first:step.last + 1] if other is not node)


def _multiply_adds(node: Node) -> int:
    return node.layer.multiply_adds([b.shape for b in node.bottom], [b.shape for b in node.top])


def _apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in units of the largest value; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    expected = expected.float()
    largest = max(float(expected.abs().max()), 1e-6) if expected.numel() else 1.0
    return float((found.float() - expected).abs().max()) / largest if expected.numel() else 0.0


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
