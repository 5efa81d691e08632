"""Outlines of the drawn instances: polygons (P, 2) of points (x, y) inside [-1, 1]^2, with jitter.

Every outline is chunky (no limb thinner than a third of the whole) and fills clearly less than
70 % of its tight box, so that a solid box is no mask.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def cross(rng: np.random.Generator) -> np.ndarray:
    """A plus with arms of width 2t. (points, 2)"""
    t = rng.uniform(0.30, 0.37)
    return np.array([(-t, -1), (t, -1), (t, -t), (1, -t), (1, t), (t, t),
                     (t, 1), (-t, 1), (-t, t), (-1, t), (-1, -t), (-t, -t)])


def triangle(rng: np.random.Generator) -> np.ndarray:
    """A triangle on its base, the tip a little off the middle. (points, 2)"""
    return np.array([(-1, 1), (rng.uniform(-0.3, 0.3), -1), (1, 1)])


def star(rng: np.random.Generator) -> np.ndarray:
    """Five points at radius 1, five notches at about half of it. (points, 2)"""
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.0, rng.uniform(0.47, 0.55))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)


def crescent(rng: np.random.Generator) -> np.ndarray:
    """The unit disc less a disc of radius r around (d, 0): open to the right."""
    d, r = rng.uniform(0.62, 0.70), rng.uniform(0.80, 0.86)
    x = (1 + d * d - r * r) / (2 * d)                       # where the two circles meet
    y = np.sqrt(1 - x * x)
    back, front = np.arctan2(y, x), np.arctan2(y, x - d)
    outer = np.linspace(back, 2 * np.pi - back, 40)
    inner = np.linspace(2 * np.pi - front, front, 30)[1:-1]
    return np.concatenate((np.stack((np.cos(outer), np.sin(outer)), axis=1),
                           np.stack((d + r * np.cos(inner), r * np.sin(inner)), axis=1)))


def ell(rng: np.random.Generator) -> np.ndarray:
    """An L with two arms of width 2t. (points, 2)"""
    t = 2 * rng.uniform(0.34, 0.40)
    return np.array([(-1, -1), (-1 + t, -1), (-1 + t, 1 - t), (1, 1 - t), (1, 1), (-1, 1)])


OUTLINES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    f.__name__: f for f in (cross, triangle, star, crescent, ell)}


def posed(polygon: np.ndarray, rng: np.random.Generator, side: float, tilt: float) -> np.ndarray:
    """The polygon mirrored at random, stretched, and turned by at most `tilt` degrees.

    Its tight box has its corner at 0 and `side` pixels for the longer side.

    polygon: (points, 2), x and y.
    """
    angle = np.deg2rad(rng.uniform(-tilt, tilt))
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    stretch = np.exp(rng.uniform(-0.22, 0.22))
    points = polygon * (rng.choice((-1.0, 1.0)), 1.0) * (stretch, 1 / stretch) @ turn.T
    points = points - points.min(axis=0)
    return points * (side / points.max())
