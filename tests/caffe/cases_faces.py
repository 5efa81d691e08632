"""The cases of layers of faces and sequences, in the form of cases.py."""

from __future__ import annotations

import numpy as np

import oracles
from cases import NOISE, Case, case, labels, x

ELSEWHERE: dict[str, str] = {}
CENTERS = f"num_output: 3 center_{NOISE}"
MARGIN = f'num_output: 3 weight_{NOISE} mode: EXACT'


def own(label):
    return np.arange(label.size), label.astype(int).ravel()


def centers(x, label, c):
    return ((x - c[label.astype(int)]) ** 2).sum() / (2 * max(1, len(x)))


def triplets(a, p, n):
    near, far = ((a - p) ** 2).sum(1), ((a - n) ** 2).sum(1)
    return np.maximum(0, 3 + near - far).sum() / (2 * len(a))


def focal(gamma, alpha=1.0, sign=-1):
    def oracle(x, label):
        p = oracles.softmax(x, 1)[own(label)]
        return ((alpha + sign * p) ** gamma * -np.log(p)).mean()
    return oracle


def margin(m, weight):
    """The cosine of m times the angle, continued so that it falls all the way."""
    def oracle(x, label, w):
        unit = w / np.linalg.norm(w, axis=1, keepdims=True)
        y, length = x @ unit.T, np.linalg.norm(x, axis=1)
        at = own(label)
        t = np.arccos(y[at] / length)
        k = np.floor(m * t / np.pi)
        y[at] = (length * ((-1) ** k * np.cos(m * t) - 2 * k) + weight * y[at]) / (1 + weight)
        return y
    return oracle


CASES: dict[str, list[Case]] = {
    "TripletLoss": [case("triplet_loss_param { margin: 3 }", x(5, 3), x(5, 3), x(5, 3),
                         oracle=triplets)],
    "CenterLoss": [
        case(f"center_loss_param {{ {CENTERS} mode: EXACT }}", x(7, 2), labels(3, 7),
             oracle=centers),
        # The fork's centres move by a rule of their own.
        case(f"center_loss_param {{ {CENTERS} }}", x(7, 2), labels(3, 7), learned=0,
             oracle=centers)],
    "FocalLoss": [
        case("", x(5, 3), labels(3, 5), oracle=focal(2), resizable=False),
        case("focal_loss_param { type: ONEADDP gamma: 3 }", x(5, 3), labels(3, 5),
             oracle=focal(3, sign=1), resizable=False),
        case("loss_param { ignore_label: 0 normalization: BATCH_SIZE } "
             "focal_loss_param { gamma: 1 alpha: 0.5 mode: EXACT }", x(5, 3, 2), labels(3, 5, 2)),
        # Its gradient is not the derivative where alpha is not 1.
        case("focal_loss_param { gamma: 1 alpha: 0.5 }", x(5, 3), labels(3, 5), gradient=False,
             oracle=focal(1, 0.5), resizable=False)],
    "LabelSpecificAdd": [
        case("label_specific_add_param { bias: -0.5 }", x(5, 3), labels(3, 5), phase="TRAIN",
             oracle=lambda x, label: x - 0.5 * (np.eye(3)[label.astype(int)] * (x > 0.5))),
        case("label_specific_add_param { bias: -0.5 }", x(5, 3), labels(3, 5),
             oracle=lambda x, label: x)],
    "MarginInnerProduct": [
        case(f"margin_inner_product_param {{ {MARGIN} type: {name} lambda_min: 0.5 base: 0.1 }}",
             x(5, 4), labels(3, 5), oracle=margin(m, 0.5), phase="TRAIN", learned=0)
        for m, name in enumerate(("SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE"), 1)],
}
