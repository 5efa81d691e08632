"""One thread that segments what is asked for: a queue with a limit, and what is counted."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

Result = list[dict[str, object]]
Segment = Callable[[Sequence[np.ndarray]], list[Result]]


class Full(Exception):
    """As many images wait as may."""


class Worker:
    """Gives images to `segment` in one thread, several at a time where several wait.

    segment: images (H, W, 3) uint8 BGR -> the result of each. limit: images that may wait; batch:
    the most that are given at once. A net serves one thread at a time, so that is all there are.
    """

    def __init__(self, segment: Segment, limit: int, batch: int) -> None:
        self._segment = segment
        self._batch = batch
        self._waiting: queue.Queue[tuple[np.ndarray, Future]] = queue.Queue(limit)
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        threading.Thread(target=self._run, name="segmenter", daemon=True).start()

    def ask(self, image: np.ndarray) -> Future[Result]:
        """The result of this image, later. Raises Full."""
        answer: Future[Result] = Future()
        try:
            self._waiting.put_nowait((image, answer))
        except queue.Full:
            self.counts["refused"] += 1
            raise Full from None
        return answer

    @property
    def waiting(self) -> int:
        """Images that wait."""
        return self._waiting.qsize()

    def _run(self) -> None:
        while True:
            jobs = [self._waiting.get()]
            while len(jobs) < self._batch and not self._waiting.empty():
                jobs.append(self._waiting.get_nowait())
            began = time.monotonic()
            self._answer([job for job in jobs if job[1].set_running_or_notify_cancel()])
            self.seconds += time.monotonic() - began

    def _answer(self, jobs: Sequence[tuple[np.ndarray, Future]]) -> None:
        """All together; if that fails, each by itself: one image must not spoil the others."""
        if not jobs:
            return
        try:
            results = self._segment([image for image, _ in jobs])
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._answer([job])
                return
            self.counts["failed"] += 1
            jobs[0][1].set_exception(error)
            return
        for (_, answer), result in zip(jobs, results, strict=True):
            self.counts["segmented"] += 1
            answer.set_result(result)
