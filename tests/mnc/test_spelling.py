"""Classes that are one by another spelling."""

from __future__ import annotations

import pytest

from mnc.data.spelling import look_alikes


@pytest.mark.parametrize("counts, pairs", [
    ({"leaf": 40, "Leaf": 38, "twig": 9}, [("Leaf", "leaf")]),
    ({"blue car": 3, "blue_car": 9, "bluecar": 1}, [("blue car", "blue_car"), ("bluecar", "blue car"),
                                                    ("bluecar", "blue_car")]),
    ({"bottle": 200, "bottel": 2}, [("bottel", "bottle")]),
    ({"bottle": 200, "bottel": 20}, []),                        # too many for a slip
    ({"car": 500, "cat": 4, "cart": 9}, []),
    ({"bottle": 200, "bottles": 0}, []),                        # listed, but used nowhere
    ({"++": 4, "--": 3}, []),
    ({"na\u00efve": 5, "nai\u0308ve": 5}, [("na\u00efve", "nai\u0308ve")])])
def test_look_alikes(counts, pairs):
    assert look_alikes(counts) == pairs


def test_sets_of_many_classes_have_rare_ones():
    many = {f"kind {k}": 1000 for k in range(60)}
    assert look_alikes({**many, "bottle": 1000, "bottel": 2}) == []
