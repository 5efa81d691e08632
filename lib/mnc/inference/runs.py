"""A whole test: shared by workers, kept where it breaks off, gone on from there.

Apart from its one reader, mnc.commands.test, because that must not load torch for its flags.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from caffe.extend import Team
from mnc.data.dataset import DataError, Dataset
from mnc.inference.networks import as_list
from mnc.inference.pace import in_all
from mnc.inference.shared import ByImage, load_found, save_found, test_together
from mnc.inference.whole_sets import Finder, of_the_set
from mnc.instances import SetDetections
from mnc.results import detections as results
from mnc.results.origin import differences

LONG = 60.0         # seconds of a test from which starting workers is little
SMALL = 20.0        # images a second from which images leave cores idle


@dataclass(frozen=True)
class Run:
    """A test of a data set, which may go on from an earlier one."""

    path: Path                      # of the detections
    dataset: Dataset
    about: dict[str, object]        # what makes them

    def detections(self, team: Team, finder: Finder, reuse: bool) -> SetDetections | None:
        """Of an earlier run if that is asked for, else of all workers' tests; None but at 0."""
        part = self.path.with_name(f"{self.path.stem}_partial.npz")
        finished, before = None, {}
        if reuse and team.rank == 0:
            finished = reusable(self.path, self.about)
            if finished is None and reusable(part, self.about) is not None:
                before = load_found(part)
        images = range(len(self.dataset))
        todo = team.of_the_first([] if finished else [i for i in images if i not in before])

        def keep(found: ByImage) -> None:
            found = before | found
            if found:
                save_found(part, self.dataset, found, self.about)
                print(f"{len(found)} of {len(images)} images are done and kept in {part}; the same "
                      "command with --reuse goes on from there", flush=True)

        began = time.monotonic()
        found = before | test_together(team, todo, partial(finder.images, self.dataset), keep)
        if finished or team.rank > 0:
            return finished
        if todo:
            say_rate(len(todo), time.monotonic() - began, idle_cores(team, finder))
        detections = of_the_set([found[i] for i in images], finder.settings, finder.task)
        results.save_detections(self.path, self.dataset, detections, self.about)
        part.unlink(missing_ok=True)
        return detections


def say_rate(images: int, seconds: float, cores: int) -> None:
    """Not in the figures' file, which is the same to the byte whenever the test is run.

    And what would be faster, where that was measured to be (docs/benchmarks.md): a worker each of
    so many cores, for small images, if there are enough to be worth starting workers.
    """
    print(in_all(images, seconds), flush=True)
    if cores > 1 and seconds > LONG and images > SMALL * seconds:
        print(f"with --workers {cores}, a process a core, many small images take less time",
              flush=True)


def idle_cores(team: Team, finder: Finder) -> int:
    """Cores that share the kernels of one image after the other; 1 where workers share the images,
    or a GPU is at work.
    """
    device = as_list(finder.net)[0].device.type
    return torch.get_num_threads() if team.count == 1 and device == "cpu" else 1


def reusable(path: Path, about: dict) -> SetDetections | None:
    """The detections in a file if nothing differs from what made them; else why not, and None."""
    if not path.exists():
        return None
    try:
        different = differences(results.about_detections(path), about)
        if different:
            print(f"{path} is not reused, it was made otherwise:\n  " + "\n  ".join(different))
            return None
        detections, _ = results.load_detections(path)
    except DataError as error:
        print(f"{error}; it is not reused")
        return None
    print(f"{path} is reused: same nets, settings and images", flush=True)
    return detections
