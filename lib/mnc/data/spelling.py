"""Names of classes that are probably one: "Leaf" and "leaf", or a rare "bottel" beside "bottle"."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping
from difflib import SequenceMatcher
from itertools import combinations

log = logging.getLogger("mnc")

RARE = 0.02                 # of the other's instances: as seldom as slips of the pen are
ALIKE = 0.8                 # of the letters, in order
SHORT = 5                   # letters: among shorter words many are alike, as car and cart
MANY = 60                   # classes, from which rare ones with names like others' are usual
TOLD = 5


def warn_of_spelling(counts: Mapping[str, int]) -> None:
    """A warning that names classes which may be one. counts: instances by class."""
    pairs = look_alikes(counts)
    if pairs:
        told = "; ".join(f'"{rare}" ({counts[rare]}) and "{usual}" ({counts[usual]})'
                         for rare, usual in pairs[:TOLD])
        more = f" and {len(pairs) - TOLD} more" if len(pairs) > TOLD else ""
        log.warning("classes that may be one, spelled in two ways (instances): %s%s", told, more)


def look_alikes(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """(the rarer, the other) of names with the same letters, or nearly so where one is rare."""
    found = []
    for pair in combinations(counts, 2):
        rare, usual = sorted(pair, key=lambda name: counts[name])
        one, other = _letters(rare), _letters(usual)
        slip = (len(counts) < MANY and 0 < counts[rare] <= RARE * counts[usual]
                and min(len(one), len(other)) >= SHORT
                and SequenceMatcher(None, one, other).ratio() >= ALIKE)
        if one == other or slip:
            found.append((rare, usual))
    return found


def _letters(name: str) -> str:
    """Without case, blanks, signs: "Blue Car", "blue_car" and "bluecar" are one."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in folded if c.isalnum()) or folded
