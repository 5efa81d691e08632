"""One thread that segments what is asked for: a queue with a limit, and what is counted.

What waits are files as they came: decoded, 32 photographs of 50 megapixels would be five gigabytes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

Result = list[dict[str, object]]
Decode = Callable[[bytes, str], np.ndarray]
Segment = Callable[[Sequence[np.ndarray]], list[Result]]
Job = tuple[bytes, str, Future[tuple[tuple[int, ...], Result]]]


class Full(Exception):
    """As many images wait as may."""


class Worker:
    """Gives images to `segment` in one thread, several at a time where several wait.

    decode: the content and name of a file -> (H, W, 3) uint8 BGR. segment: images -> the result of
    each. limit: images that may wait; batch: the most that are given at once. A net serves one
    thread at a time, so that is all there are.
    """

    def __init__(self, decode: Decode, segment: Segment, limit: int, batch: int) -> None:
        self._decode = decode
        self._segment = segment
        self._batch = batch
        self._waiting: queue.Queue[Job] = queue.Queue(limit)
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        threading.Thread(target=self._run, name="segmenter", daemon=True).start()

    def ask(self, content: bytes, name: str) -> Future[tuple[tuple[int, ...], Result]]:
        """(shape of the image, result) of this image file, later; or what `decode` raised.

        Raises Full.
        """
        answer: Future[tuple[tuple[int, ...], Result]] = Future()
        try:
            self._waiting.put_nowait((content, name, answer))
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
            self._answer([pair for pair in map(self._decoded, jobs) if pair])
            self.seconds += time.monotonic() - began
            jobs.clear()                                # nothing is kept while it waits

    def _decoded(self, job: Job) -> tuple[np.ndarray, Future] | None:
        """None where nobody waits for it any more, or where it is no image."""
        content, name, answer = job
        if answer.set_running_or_notify_cancel():
            try:
                return self._decode(content, name), answer
            except Exception as error:
                self.counts["failed"] += 1
                answer.set_exception(error)
        return None

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
        for (image, answer), result in zip(jobs, results, strict=True):
            self.counts["segmented"] += 1
            answer.set_result((image.shape, result))
