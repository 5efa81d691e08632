"""Images dealt to training and validation."""

from __future__ import annotations

import numpy as np
import pytest

from mnc.data.splitting import split


def counts_of(seed, images=100):
    rng = np.random.default_rng(seed)
    return np.stack((rng.poisson(4, images), rng.poisson(1, images), rng.random(images) < .1), 1)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_has_its_share(seed):
    counts = counts_of(seed)
    part = split(counts, range(100), (0.7, 0.2, 0.1), seed)
    assert np.abs(np.bincount(part) - [70, 20, 10]).max() <= 3
    for k, share in enumerate((0.7, 0.2, 0.1)):
        sums, whole = counts[part == k].sum(axis=0), counts.sum(axis=0)
        assert (np.abs(sums - share * whole) <= np.maximum(2, 0.06 * whole)).all()


def test_one_seed_one_split():
    counts = counts_of(0)
    first = split(counts, range(100), (0.8, 0.2), 1)
    assert np.array_equal(first, split(counts, range(100), (0.8, 0.2), 1))
    assert not np.array_equal(first, split(counts, range(100), (0.8, 0.2), 2))


def test_groups_stay_together():
    groups = [f"patient {k // 7}" for k in range(100)]
    part = split(counts_of(0), groups, (0.8, 0.2))
    assert all(len(set(part[k:k + 7])) == 1 for k in range(0, 100, 7))
    assert 10 <= (part == 1).sum() <= 30


def test_a_class_on_one_image_is_trained_on():
    counts = np.array([[1, 0]] * 9 + [[1, 1]])
    assert split(counts, range(10), (0.5, 0.5))[9] == 0


def test_every_part_gets_an_image():
    assert sorted(split(np.ones((3, 1)), range(3), (0.98, 0.01, 0.01))) == [0, 1, 2]
    assert sorted(split(np.zeros((2, 1)), range(2), (0.8, 0.2))) == [0, 1]
    with pytest.raises(ValueError, match="1 images or groups cannot be split into 2"):
        split(np.ones((3, 1)), "aaa", (0.8, 0.2))
