"""Where the layers of a net lie on a page: rows from top to bottom, few crossings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 6          # times that rows are ordered by what is above and below them


@dataclass(frozen=True)
class Placement:
    """Of each box its row and its place in it, from 0; of each edge the places it passes by."""

    places: list[tuple[int, float]]
    edges: list[list[tuple[int, float]]]
    width: float


def place(count: int, edges: Sequence[tuple[int, int]]) -> Placement:
    """Rows for `count` boxes whose edges (from, to) go from lower numbers to higher ones.

    A box lies below all it reads; an edge over several rows has a place in each.
    """
    rows = [0] * count
    for start, end in sorted(edges, key=lambda edge: edge[1]):
        rows[end] = max(rows[end], rows[start] + 1)
    row_of, paths = list(rows), []
    links: list[tuple[int, int]] = []
    for start, end in edges:
        path = [start]
        for row in range(rows[start] + 1, rows[end]):       # a corner of the edge, as a box
            row_of.append(row)
            path.append(len(row_of) - 1)
        path.append(end)
        paths.append(path)
        links += pairwise(path)
    ordered = _ordered(row_of, links)
    widest = max(map(len, ordered), default=1)
    at = {box: (row, i + (widest - len(boxes)) / 2) for row, boxes in enumerate(ordered)
          for i, box in enumerate(boxes)}
    return Placement([at[box] for box in range(count)],
                     [[at[box] for box in path] for path in paths], widest)


def _ordered(row_of: Sequence[int], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The boxes of each row, each near the middle of its neighbours in the row before or behind."""
    rows: list[list[int]] = [[] for _ in range(max(row_of, default=-1) + 1)]
    for box, row in enumerate(row_of):
        rows[row].append(box)
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for start, end in links:
        above.setdefault(end, []).append(start)
        below.setdefault(start, []).append(end)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for boxes in rows if down else rows[::-1]:
            beside = above if down else below
            now = {box: i / len(each) for each in rows for i, box in enumerate(each)}
            wanted = {box: _middle([now[other] for other in beside.get(box, ())], now[box])
                      for box in boxes}
            boxes.sort(key=wanted.__getitem__)
    return rows


def _middle(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
