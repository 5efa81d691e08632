"""Images dealt to training, validation and test: every class in its share, groups together.

Functions of arrays, apart from mnc.commands.data, which reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def split(counts: np.ndarray, groups: Sequence[object], shares: Sequence[float],
          seed: int = 0) -> np.ndarray:
    """(N,) which part each image goes to; parts have these shares of images and of each class.

    counts (N, K): instances of each class in each image; images of equal `groups` (N,) go
    together. The classes on the fewest groups are dealt first (iterative stratification, Sechidis
    et al. 2011), each group to the part that lacks the most; a class on one group alone goes to the
    largest part. Raises ValueError where there are fewer groups than parts.
    """
    names, member = np.unique(np.asarray(groups, str), return_inverse=True)
    if len(names) < len(shares):
        raise ValueError(f"{len(names)} images or groups cannot be split into {len(shares)}")
    whole = np.zeros((len(names), counts.shape[1] + 1))         # and the images, as a class
    np.add.at(whole, member, np.hstack((counts, np.ones((len(counts), 1)))))
    wanted = np.outer(shares, whole.sum(axis=0))                # (parts, K + 1)
    missing, parts = wanted.copy(), np.full(len(names), -1)
    order = np.random.default_rng(seed).permutation(len(names))
    for group in _dealt(whole, order):
        lack = missing / np.maximum(wanted, 1e-9)
        have = whole[group, :-1] > 0
        need = lack[:, -1] + (lack[:, :-1][:, have].mean(axis=1) if have.any() else 0)
        best = max(range(len(shares)), key=lambda part: (round(float(need[part]), 9), shares[part]))
        parts[group] = best
        missing[best] -= whole[group]
    _fill(parts, whole, order, len(shares))
    return parts[member]


def _dealt(whole: np.ndarray, order: np.ndarray) -> Sequence[int]:
    """The groups: those of the rarest class first, of these the fullest; the others as in order."""
    on = (whole[:, :-1] > 0).sum(axis=0)                        # groups that have each class
    rarity = [min((on[k] for k in np.flatnonzero(row[:-1])), default=np.inf) for row in whole]
    return sorted(order.tolist(), key=lambda group: (rarity[group], -whole[group].sum()))


def _fill(parts: np.ndarray, whole: np.ndarray, order: np.ndarray, number: int) -> None:
    """A part that got nothing gets the smallest group of the part with the most groups."""
    for part in range(number):
        if not (parts == part).any():
            largest = np.bincount(parts, minlength=number).argmax()
            given = [group for group in order if parts[group] == largest]
            parts[min(given, key=lambda group: whole[group, -1])] = part
