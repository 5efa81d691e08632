"""The cases of layers of faces and sequences, in the form of cases.py."""

from __future__ import annotations

import itertools

import numpy as np

import oracles
from cases import NOISE, Bottom, Case, case, fractions, labels, x
from cases_regions import linear

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


def lists(lengths, width, least=0, fill=-1.0):
    """A column of labels of [least, 3) for each sequence, ended by `fill`; rows are steps"""
    def draw(shape, random):
        rows = np.full(shape, fill)
        for n, length in enumerate(lengths):
            rows[:length, n] = random.integers(least, 3, length)
        return rows
    return Bottom((width, len(lengths)), draw, False)


def marks(lengths, steps):
    rows = (np.arange(steps)[:, None] < np.array(lengths)) * 1.0
    return Bottom(rows.shape, lambda shape, random: rows, False)


def path_cost(scores, labels, blank):
    """-log of the summed probability of all paths, one by one"""
    logs = np.log(oracles.softmax(scores, 1))
    total = 0.0
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        read = [c for i, c in enumerate(path) if c != blank and (not i or path[i - 1] != c)]
        if read == list(labels):
            total += np.exp(logs[np.arange(len(path)), list(path)].sum())
    return -np.log(total)


def ctc(scores, going, labels):
    costs = [path_cost(scores[:int(going[:, n].sum()), n], labels[labels[:, n] >= 0, n], 3)
             for n in range(scores.shape[1]) if (labels[:, n] >= 0).any()]
    return sum(costs) / scores.shape[1]


def warp_ctc(scores, labels):
    return np.mean([path_cost(scores[:, n], row[row != 0], 0)
                    for n, row in enumerate(labels)])


def greedy(scores, going, labels):
    """Of scores with the classes 0, 1 and the blank 2"""
    found, total, wrong = np.full((*scores.shape[1::-1], 1, 1), -1.0), [], 0
    for n in range(scores.shape[1]):
        best = scores[:int(going[:, n].sum()), n]
        read = [c for c, _ in itertools.groupby(best.argmax(1)) if c != 2]
        found[n, :len(read), 0, 0] = read
        total.append(-best.max(1).sum())
        wrong += read != labels[labels[:, n] >= 0, n].tolist()
    assert wrong in (0, scores.shape[1])
    return found, np.reshape(total, (-1, 1, 1, 1)), np.ones((1, 1, 1, 1))


def reading(steps, sequences):
    """Scores whose best classes are 0, blank, 1, 1, blank, 0, and their lists of labels"""
    def draw(shape, random):
        return np.eye(3)[[0, 2, 1, 1, 2, 0]][:, None] + random.uniform(0, 0.1, shape)
    return Bottom((steps, sequences, 3), draw)


def read_labels(shape, random):
    return np.array([[0, 0], [1, 1], [0, 0], [-1, -1]]) * 1.0


def deformed(x, offsets, w, b):
    """Kernel 3, pad 1, two parts of the channels, four groups of offsets"""
    y = np.zeros((len(x), len(w), *x.shape[2:]))
    for n, o, i, j in np.ndindex(*y.shape):
        for c, k, m in np.ndindex(*w.shape[1:]):
            part = c // (x.shape[1] // 2)
            at = 2 * (9 * part + 3 * k + m)
            row, column = np.array([i + k - 1, j + m - 1]) + offsets[n, at:at + 2, i, j]
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                y[n, o, i, j] += w[o, c, k, m] * linear(x[n, c], row, column)
    return y + b[:, None, None]


# Two sequences of three steps, the second of which begins again at its third.
TWICE = Bottom((6, 1), lambda shape, random: np.array([[0], [0], [1], [1], [1], [0]]) * 1.0, False)
LSTM = f'num_output: 2 weight_{NOISE} bias_{NOISE}'

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
    # sequences
    "Lstm": [
        case(f"lstm_param {{ {LSTM} }}", x(5, 3, 2), oracle=lambda x, wx, wh, b: oracles.lstm(
            x, np.ones(x.shape[:2]), wx, b, wh)[0]),
        case(f"lstm_param {{ {LSTM} batch_size: 2 }}", x(6, 3), TWICE, resizable=False,
             oracle=lambda x, cont, wx, wh, b: oracles.lstm(
                 x.reshape(3, 2, 3), cont.reshape(3, 2), wx, b, wh)[0].reshape(6, 2)),
        # The threshold cuts gradients, so that they are not the derivative.
        case(f"lstm_param {{ {LSTM} clipping_threshold: 0.01 }}", x(5, 3, 2), gradient=False)],
    "CTCLoss": [
        case("ctc_loss_param { mode: EXACT }", x(4, 3, 4), marks([4, 3, 4], 4),
             lists([2, 1, 0], 4), resizable=False, oracle=ctc),
        case("", x(4, 2, 4), marks([4, 3], 4), lists([2, 1], 4), resizable=False, gradient=False,
             oracle=ctc)],
    **{kind: [case("ctc_loss_param { mode: EXACT }", x(4, 2, 3), labels(3, 2, 2), resizable=False,
                   oracle=warp_ctc)] for kind in ("WarpCTC", "WarpCTCLoss")},
    "CTCGreedyDecoder": [
        case("", reading(6, 2), marks([6, 6], 6), Bottom((4, 2), read_labels, False), tops=3,
             gradient=False, resizable=False, oracle=greedy)],
    "CTCDecoder": [case("", x(5, 2, 3), marks([5, 3], 5), gradient=False, resizable=False)],
    "DeformableConvolution": [
        case(f"deformable_convolution_param {{ num_output: 2 kernel_size: 3 pad: 1 "
             f"deformable_group: 2 weight_{NOISE} bias_{NOISE} }}", x(2, 4, 3, 4),
             fractions(2, 36, 3, 4), oracle=deformed)],
}
