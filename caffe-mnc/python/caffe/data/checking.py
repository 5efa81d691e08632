"""Every record or image of a data layer's source decoded once, before training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from caffe.data.batches import Batches

AHEAD = 64      # items that threads work on at a time


def faults(batches: Batches) -> Iterator[str]:
    """What is wrong with the items of one pass over a source of images, each in words.

    Each must decode and become an array of the first one's shape, unless batches are of one image.
    Where the source itself breaks off, that ends the pass.
    """
    if not hasattr(batches, "output_shape"):
        return
    items, first = batches.items(0, 0), None
    with ThreadPoolExecutor(4) as threads:
        while True:
            try:
                group = list(itertools.islice(items, AHEAD))
            except (ValueError, OSError) as error:
                yield str(error)
                return
            if not group:
                return
            for item, found in zip(group, threads.map(lambda i: _shape(batches, i), group)):
                if isinstance(found, str):
                    yield found
                    continue
                first = first or found
                if found != first and batches.batch_size > 1:
                    yield (f"{batches.label(item)}: has the shape {found[1:]}, the first "
                           f"{first[1:]}")


def _shape(batches: Any, item: Any) -> tuple[int, ...] | str:
    """Of a batch that begins with the item, or what is wrong with it."""
    try:
        return batches.output_shape(item)
    except (ValueError, OSError) as error:
        text, label = str(error), batches.label(item)
        return text if label in text else f"{label}: {text}"
