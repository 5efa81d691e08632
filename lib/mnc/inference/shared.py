"""Testing images with several workers, so that an error loses nothing of what was found before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from caffe.extend import Team
from mnc.data.dataset import Dataset, Subset
from mnc.instances import ImageDetections, InferenceError, by_class
from mnc.results import detections as results

ByImage = dict[int, ImageDetections]     # by the number of the image


def test_together(team: Team, images: Sequence[int],
                  test: Callable[[Sequence[int]], Iterable[tuple[int, ImageDetections]]],
                  keep: Callable[[ByImage], None]) -> ByImage:
    """What `test` finds in these images, at worker 0; worker k of N tests images[k::N].

    Where an error or Ctrl-C ends a share the other workers finish theirs; then `keep` gets all
    that was found, and the error goes on.

    Raises InferenceError where another worker failed.
    """
    found: ByImage = {}
    problem: BaseException | None = None
    try:
        for i, detections in test(images[team.rank::team.count]):
            found[i] = detections
    except (Exception, KeyboardInterrupt) as error:
        problem = error
    parts = team.gather((found, None if problem is None else
                         f"worker {team.rank}: {type(problem).__name__}: {problem}")) or []
    complaints = [complaint for _, complaint in parts if complaint]
    everything = {i: detections for part, _ in parts for i, detections in part.items()}
    if complaints:
        keep(everything)
    if problem is not None:
        raise problem
    if complaints:
        raise InferenceError("; ".join(complaints))
    return everything


def save_found(path: Path, dataset: Dataset, found: ByImage, about: dict[str, object]) -> None:
    """A results file of some images; their numbers are `done` in what it says of itself."""
    done = sorted(found)
    detections = by_class([found[i] for i in done])
    results.save_detections(path, Subset(dataset, done), detections, {**about, "done": done})


def load_found(path: Path) -> ByImage:
    """What `save_found` wrote."""
    detections, _ = results.load_detections(path)
    done: Any = results.about_detections(path)["done"]
    return dict(zip(done, by_class(detections), strict=True))
