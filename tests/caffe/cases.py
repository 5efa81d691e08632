"""The cases of every layer type: test_layer_contract.py runs all of them.

A new layer type needs an entry in CASES. `options` is the text inside `layer { }`; the oracle gets
the bottoms and then the parameters as numpy arrays and returns the top (or a tuple of tops).
Bottoms hold values that lie apart from each other and from 0, so that no kink is near.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import oracles


@dataclass(frozen=True)
class Bottom:
    """A bottom blob: `draw(shape, generator)` makes its values."""

    shape: tuple[int, ...]
    draw: Callable[[tuple[int, ...], np.random.Generator], np.ndarray]
    differentiable: bool = True

    def resized(self, first: int) -> Bottom:
        return Bottom((first, *self.shape[1:]), self.draw, self.differentiable)


def x(*shape: int) -> Bottom:
    """Distinct values of (-2, 2), none near 0."""
    def draw(shape, random):
        count = int(np.prod(shape))
        grid = np.linspace(-2, 2, count + count % 2)[:count]
        return random.permutation(grid).reshape(shape)
    return Bottom(shape, draw)


def positive(*shape: int) -> Bottom:
    return Bottom(shape, lambda shape, random: random.uniform(0.2, 3, shape))


def fractions(*shape: int) -> Bottom:
    return Bottom(shape, lambda shape, random: random.uniform(0.05, 0.95, shape), False)


def labels(classes: int, *shape: int, least: int = 0) -> Bottom:
    return Bottom(shape, lambda shape, random: random.integers(least, classes, shape) * 1.0, False)


def rois(count: int, images: int, height: int, width: int, whole: bool = False,
         differentiable: bool = False) -> Bottom:
    """RoIs of a map of this size, inside it."""
    def draw(shape, random):
        corners = random.uniform(0.05, 0.45, (shape[0], 4)) * [width, height, width, height]
        corners[:, 2:] += np.array([width, height]) / 2
        if whole:
            corners = 2 * np.round(corners / 2)     # whole on the map too, at scale 0.5
        image = random.integers(0, images, (shape[0], 1)) + 0.5     # cut to a whole number
        return np.hstack((image, corners))
    return Bottom((count, 5), draw, differentiable)


def continuing(steps: int, sequences: int) -> Bottom:
    """cont of a recurrent layer: every sequence begins at step 0, some again later."""
    def draw(shape, random):
        cont = random.integers(0, 4, shape).clip(max=1) * 1.0
        cont[:1] = 0
        return cont
    return Bottom((steps, sequences), draw, False)


def priors(count: int) -> Bottom:
    """Boxes of an image in shares of it, and variances: (1, 2, 4 count)"""
    def draw(shape, random):
        low = random.uniform(0, 0.6, (count, 2))
        boxes = np.hstack((low, low + random.uniform(0.2, 0.4, (count, 2))))
        return np.stack((boxes.ravel(), np.tile([0.1, 0.1, 0.2, 0.2], count)))[None]
    return Bottom((1, 2, 4 * count), draw, False)


def objects(classes: int, *images: int) -> Bottom:
    """Objects in these images: (1, 1, G, 8) image, label, instance, box, difficult"""
    def draw(shape, random):
        low = random.uniform(0, 0.5, (len(images), 2))
        label = random.integers(1, classes, len(images))
        return np.column_stack((images, label, np.zeros(len(images)), low, low + 0.4,
                                np.zeros(len(images)))).reshape(shape)
    return Bottom((1, 1, len(images), 8), draw, False)


def detected(classes: int, *images: int) -> Bottom:
    """Detections in these images: (1, 1, K, 7) image, label, score, box"""
    def draw(shape, random):
        low = random.uniform(0, 0.5, (len(images), 2))
        label = random.integers(1, classes, len(images))
        return np.column_stack((images, label, random.permutation(len(images)), low,
                                low + 0.4)).reshape(shape)
    return Bottom((1, 1, len(images), 7), draw, False)


@dataclass(frozen=True)
class Case:
    options: str
    bottoms: tuple[Bottom, ...]
    oracle: Callable[..., Any] | None = None
    tops: int = 1
    phase: str = "TEST"
    gradient: bool = True               # of bottoms marked differentiable and of the parameters
    resizable: bool = True              # the first axis of every bottom may change, to 0 as well
    sized_by_data: bool = False         # shapes of tops depend on what the bottoms hold
    learned: int = 99                   # parameters that have a gradient: the first so many
    tolerance: float = 1e-6             # float64 throughout, but options are float32


def case(options: str, *bottoms: Bottom, **more: Any) -> Case:
    return Case(options, bottoms, **more)


WEIGHTS = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" std: 0.5 }'
NOISE = 'filler { type: "gaussian" std: 1 }'


def convolution_cases(name: str) -> list[Case]:
    run = getattr(oracles, name)

    def oracle(stride, pad, dilation, group):
        return lambda x, w, b=None: run(x, w, b, stride, pad, dilation, group)

    def options(text):
        return f"convolution_param {{ {WEIGHTS} {text} }}"

    return [
        case(options("num_output: 3 kernel_size: 3"), x(2, 2, 5, 7),
             oracle=oracle((1, 1), (0, 0), (1, 1), 1)),
        case(options("num_output: 3 kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 "
                     "pad_h: 0 pad_w: 1"),
             x(2, 2, 5, 4), oracle=oracle((2, 1), (0, 1), (1, 1), 1)),
        case(options("num_output: 4 kernel_size: 2 kernel_size: 3 stride: 1 stride: 2 pad: 1 "
                     "pad: 2 dilation: 2 dilation: 1 group: 2 bias_term: false"), x(1, 2, 5, 4),
             oracle=oracle((1, 2), (1, 2), (2, 1), 2)),
        case(options("num_output: 2 kernel_size: 2 hole_h: 2 hole_w: 1"), x(1, 2, 5, 4),
             oracle=oracle((1, 1), (0, 0), (2, 1), 1)),
        case(options("num_output: 2 kernel_size: 3"), x(2, 3, 5),
             oracle=oracle((1,), (0,), (1,), 1)),
        case(options("num_output: 2 kernel_size: 2"), x(1, 2, 3, 2, 4),
             oracle=oracle((1,) * 3, (0,) * 3, (1,) * 3, 1)),
        case(options("num_output: 2 kernel_size: 2 axis: 2"), x(2, 3, 2, 3, 4),
             oracle=lambda x, w, b: np.stack([run(item, w, b, (1, 1), (0, 0), (1, 1), 1)
                                              for item in x]) if len(x) else x),
        case(options("num_output: 2 kernel_size: 1"), x(2, 2, 3, 2), x(2, 2, 3, 2), tops=2,
             oracle=lambda x, y, w, b: tuple(run(v, w, b, (1, 1), (0, 0), (1, 1), 1)
                                             for v in (x, y))),
    ]


def pooling_cases() -> list[Case]:
    def pool(text, shape, kernel, stride, pad, **more):
        average = "AVE" in text
        return case(f"pooling_param {{ {text} }}", x(*shape), oracle=lambda x: oracles.pooling(
            x, kernel, stride, pad, not re.search("FLOOR|false", text), average)[0], **more)

    def both(text, *rest):
        return [pool(f"pool: {kind} {text}", *rest) for kind in ("MAX", "AVE")]

    return [
        *both("kernel_size: 2 stride: 2", (2, 3, 5, 7), (2, 2), (2, 2), (0, 0)),
        *both("kernel_size: 3 stride: 2 pad: 1", (1, 2, 5, 7), (3, 3), (2, 2), (1, 1)),
        *both("kernel_size: 3 stride: 3 pad: 2", (1, 2, 5, 7), (3, 3), (3, 3), (2, 2)),
        *both("kernel_size: 2 stride: 2 pad: 1", (1, 2, 6, 5), (2, 2), (2, 2), (1, 1)),
        *both("kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1", (1, 2, 5, 7),
              (2, 3), (1, 2), (0, 1)),
        *both("kernel_size: 2 stride: 2 round_mode: FLOOR", (1, 2, 5, 7), (2, 2), (2, 2), (0, 0)),
        *both("kernel_size: 3 stride: 2 pad: 1 ceil_mode: false", (1, 2, 5, 6), (3, 3), (2, 2),
              (1, 1)),
        *both("global_pooling: true", (2, 3, 5, 7), (5, 7), (1, 1), (0, 0)),
        case("pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }", x(1, 2, 5, 7), tops=2,
             oracle=lambda x: oracles.pooling(x, (3, 3), (2, 2), (1, 1))),
        case("pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", positive(2, 3, 5, 7),
             oracle=lambda x: oracles.stochastic(x, (2, 2), (2, 2))),
        case("pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }", positive(1, 2, 5, 7),
             phase="TRAIN"),
    ]


def affine_cases(param: str, combine: Callable) -> list[Case]:
    def place(small, rank, axis):
        return small.reshape(*small.shape, *[1] * (rank - axis - small.ndim))

    def oracle(axis):
        return lambda x, s: combine(x, place(s, x.ndim, axis))

    return [
        case(f"{param} {{ {NOISE} }}", x(2, 3, 5, 7), oracle=oracle(1)),
        case(f"{param} {{ axis: -2 num_axes: -1 {NOISE} }}", x(2, 3, 5, 7), oracle=oracle(2)),
        case(f"{param} {{ axis: 1 num_axes: 2 {NOISE} }}", x(2, 3, 5, 7), oracle=oracle(1)),
        case(f"{param} {{ num_axes: 0 {NOISE} }}", x(2, 3), oracle=oracle(0)),
        case(f"{param} {{ axis: 0 }}", x(2, 3, 5), x(2, 3), oracle=oracle(0)),
    ]


def loss_normalisations() -> list[Case]:
    """SoftmaxWithLoss (2, 3, 5) with classes on axis 1 and label 0 ignored."""
    divisors = {"normalization: FULL": lambda label: label.size,
                "normalization: VALID": lambda label: max(1, (label != 0).sum()),
                "normalization: BATCH_SIZE": len, "normalization: NONE": lambda label: 1,
                "normalize: true": lambda label: max(1, (label != 0).sum()),
                "normalize: false": len}
    return [case(f"loss_param {{ ignore_label: 0 {text} }}", x(2, 3, 5), labels(3, 2, 5),
                 oracle=lambda x, label, d=divisor: oracles.softmax_loss(x, label, 1, d(label), 0))
            for text, divisor in divisors.items()]


def recurrent(text: str = "") -> str:
    return (f'recurrent_param {{ num_output: 2 weight_filler {{ type: "gaussian" std: 0.5 }} '
            f'bias_filler {{ type: "gaussian" std: 0.5 }} {text} }}')


def infogain_cases() -> list[Case]:
    matrix = Bottom((3, 3), lambda shape, random: random.uniform(-1, 1, shape), False)
    divisors = {"": np.size, "ignore_label: 0": lambda label: max(1, (label != 0).sum()),
                "normalization: BATCH_SIZE ignore_label: 2": len,
                "normalization: NONE": lambda _: 1,
                "normalization: FULL ignore_label: 1": np.size}
    found = []
    for text, divisor in divisors.items():
        ignore = int(text[-1]) if "ignore" in text else None
        found.append(case(
            f"loss_param {{ {text} }}", x(2, 3, 5), labels(3, 2, 5), matrix, resizable=False,
            oracle=lambda x, label, h, d=divisor, i=ignore: oracles.infogain(
                x, label, h, 1, d(label), i)))
    return [*found, case("infogain_loss_param { axis: -1 }", x(2, 5, 3), labels(3, 2, 5), matrix,
                         tops=2, resizable=False, oracle=lambda x, label, h: (
                             oracles.infogain(x, label, h, 2, label.size), oracles.softmax(x, 2)))]


CASES: dict[str, list[Case]] = {
    # sources
    "DummyData": [
        case("dummy_data_param { data_filler { value: 3 } data_filler { value: -1 } "
             "shape { dim: 2 dim: 3 } shape { dim: 4 } }", tops=2, gradient=False, resizable=False,
             oracle=lambda: (np.full((2, 3), 3), np.full(4, -1))),
        case("dummy_data_param { num: 2 num: 3 channels: 1 height: 5 width: 7 }", tops=2,
             gradient=False, resizable=False,
             oracle=lambda: (np.zeros((2, 1, 5, 7)), np.zeros((3, 1, 5, 7))))],
    "Input": [case("input_param { shape { dim: 2 dim: 3 } }", resizable=False)],
    "Parameter": [case("parameter_param { shape { dim: 2 dim: 3 } }", oracle=lambda p: p,
                       resizable=False)],
    # activations
    "ReLU": [case("", x(2, 3, 5), oracle=lambda x: np.maximum(x, 0)),
             case("relu_param { negative_slope: 0.3 }", x(2, 3, 5, 7),
                  oracle=lambda x: np.where(x > 0, x, x * 0.3))],
    "PReLU": [case(f"prelu_param {{ {NOISE} }}", x(2, 3, 5), oracle=lambda x, a:
                   np.where(x > 0, x, x * a[:, None])),
              case("prelu_param { channel_shared: true }", x(2, 3), oracle=lambda x, a:
                   np.where(x > 0, x, x * 0.25))],
    "ELU": [case("elu_param { alpha: 0.5 }", x(2, 3, 5),
                 oracle=lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)))],
    "Sigmoid": [case("", x(2, 3, 5), oracle=oracles.sigmoid)],
    "TanH": [case("", x(2, 3, 5), oracle=np.tanh)],
    "Swish": [case("swish_param { beta: 1.5 }", x(2, 3),
                   oracle=lambda x: x * oracles.sigmoid(1.5 * x))],
    "AbsVal": [case("", x(2, 3, 5), oracle=np.abs)],
    "BNLL": [case("", x(2, 3, 5), oracle=lambda x: np.log1p(np.exp(x)))],
    "Power": [case("power_param { power: 3 scale: 0.5 shift: 2 }", x(2, 3, 5),
                   oracle=lambda x: (2 + 0.5 * x) ** 3),
              case("power_param { power: 0.5 shift: 4 }", x(2, 3), oracle=lambda x: (4 + x) ** 0.5),
              case("power_param { power: 0 }", x(2, 3), oracle=np.ones_like),
              case("power_param { power: 2 scale: 0 shift: 3 }", x(2, 3),
                   oracle=lambda x: np.full_like(x, 9))],
    "Exp": [case("exp_param { base: 2 scale: 0.5 shift: 1 }", x(2, 3),
                 oracle=lambda x: 2 ** (1 + x / 2)),
            case("exp_param { shift: 0.5 }", x(2, 3), oracle=lambda x: np.exp(0.5 + x))],
    "Log": [case("log_param { base: 10 scale: 2 shift: 1 }", positive(2, 3),
                 oracle=lambda x: np.log10(1 + 2 * x)),
            case("", positive(2, 3), oracle=np.log)],
    "Threshold": [case("threshold_param { threshold: 0.5 }", x(2, 3), gradient=False,
                       oracle=lambda x: (x > 0.5) * 1.0)],
    "Clip": [case("clip_param { min: -1 max: 1.5 }", x(2, 3, 5),
                  oracle=lambda x: np.clip(x, -1, 1.5))],
    "Softmax": [case("", x(2, 3, 5), oracle=lambda x: oracles.softmax(x, 1)),
                case("softmax_param { axis: -1 }", x(2, 3, 5),
                     oracle=lambda x: oracles.softmax(x, -1))],
    "Dropout": [case("", x(2, 3, 5), oracle=lambda x: x),
                case("dropout_param { dropout_ratio: 0.25 scale_train: false }", x(2, 3),
                     oracle=lambda x: 0.75 * x),
                case("dropout_param { dropout_ratio: 0.25 }", x(2, 3, 5), phase="TRAIN"),
                case("dropout_param { scale_train: false }", x(2, 3, 5), phase="TRAIN")],
    # over time
    "RNN": [
        case(recurrent(), x(5, 3, 2), continuing(5, 3), oracle=oracles.rnn),
        case(recurrent(), x(3, 2, 5), continuing(3, 2), x(2, 3), resizable=False,
             oracle=lambda x, cont, s, w, b, ws, *rest: oracles.rnn(
                 x, cont, w, b, *rest, static=s @ ws.T))],
    "LSTM": [
        case(recurrent(), x(5, 3, 2), continuing(5, 3),
             oracle=lambda x, cont, *params: oracles.lstm(x, cont, *params)[0]),
        case(recurrent(), x(3, 2, 5), continuing(3, 2), x(2, 3), resizable=False,
             oracle=lambda x, cont, s, w, b, ws, wh: oracles.lstm(
                 x, cont, w, b, wh, static=s @ ws.T)[0]),
        case(recurrent("expose_hidden: true"), x(3, 2, 5), labels(2, 3, 2), fractions(1, 2, 2),
             fractions(1, 2, 2), tops=3, resizable=False,
             oracle=lambda x, cont, h, c, *params: tuple(
                 v if v.ndim == 3 else v[None]
                 for v in oracles.lstm(x, cont, *params, first=(h[0], c[0]))))],
    "LSTMUnit": [case("", x(1, 3, 2), x(1, 3, 8), labels(2, 1, 3), tops=2, resizable=False,
                      oracle=lambda c, gates, cont: oracles.lstm_step(c, gates, cont[..., None]))],
    # sums over windows and over everything
    "Convolution": convolution_cases("convolution"),
    "Deconvolution": convolution_cases("deconvolution"),
    "Pooling": pooling_cases(),
    "Im2col": [
        case("convolution_param { kernel_size: 3 pad: 1 stride: 2 }", x(2, 3, 5, 7),
             oracle=lambda x: oracles.im2col(x, (3, 3), (2, 2), (1, 1), (1, 1))),
        case("convolution_param { kernel_h: 2 kernel_w: 3 pad_h: 0 pad_w: 2 dilation: 2 "
             "dilation: 1 }", x(2, 2, 5, 3),
             oracle=lambda x: oracles.im2col(x, (2, 3), (1, 1), (0, 2), (2, 1)))],
    "SPP": [
        case("spp_param { pyramid_height: 3 }", x(2, 3, 9, 7), oracle=lambda x: oracles.spp(x, 3)),
        case("spp_param { pyramid_height: 2 pool: AVE }", x(2, 3, 5, 7),
             oracle=lambda x: oracles.spp(x, 2, average=True)),
        case("spp_param { pyramid_height: 1 }", x(2, 3, 5, 7),
             oracle=lambda x: x.max((2, 3), keepdims=True))],
    "InnerProduct": [
        case(f"inner_product_param {{ num_output: 3 {WEIGHTS} }}", x(2, 5, 7),
             oracle=lambda x, w, b: x.reshape(len(x), -1) @ w.T + b),
        case("inner_product_param { num_output: 3 axis: -1 transpose: true bias_term: false "
             f"{WEIGHTS} }}", x(2, 5, 7), oracle=lambda x, w: x @ w),
        case(f"inner_product_param {{ num_output: 3 axis: 0 {WEIGHTS} }}", x(2, 5), resizable=False,
             oracle=lambda x, w, b: w @ x.ravel() + b)],
    "Embed": [case(f"embed_param {{ num_output: 3 input_dim: 5 {WEIGHTS} }}", labels(5, 2, 7),
                   oracle=lambda i, w, b: w[i.astype(int)] + b)],
    "LRN": [case("lrn_param { local_size: 3 alpha: 0.7 beta: 0.6 k: 1.5 }", x(2, 5, 3, 2),
                 oracle=lambda x: oracles.lrn_across(x, 3, 0.7, 0.6, 1.5)),
            case("lrn_param { local_size: 3 alpha: 0.5 beta: 0.5 norm_region: WITHIN_CHANNEL }",
                 x(1, 2, 5, 3), oracle=lambda x: x / np.sqrt(1 + 0.5 * oracles.pooling(
                     x * x, (3, 3), (1, 1), (1, 1), average=True)[0]))],
    "BatchNorm": [
        case("batch_norm_param { eps: 0.125 }", x(3, 2, 5), phase="TRAIN",
             oracle=lambda x, *_: oracles.batch_norm(x, 0.125)),
        case("batch_norm_param { use_global_stats: false eps: 0.125 }", x(5, 3),
             oracle=lambda x, *_: oracles.batch_norm(x, 0.125)),
        case("batch_norm_param { eps: 0.25 }", x(2, 3, 5), oracle=lambda x, *_: x / 0.5)],
    "MVN": [
        case("", x(2, 3, 5, 7), oracle=lambda x: oracles.mvn(x, (2, 3))),
        case("mvn_param { across_channels: true }", x(2, 3, 5),
             oracle=lambda x: oracles.mvn(x, (1, 2))),
        case("mvn_param { normalize_variance: false }", x(2, 3, 5),
             oracle=lambda x: x - x.mean(2, keepdims=True)),
        # Its gradient takes sqrt(var) + eps for the root of a variance.
        case("mvn_param { eps: 0.125 }", x(2, 3, 5), gradient=False,
             oracle=lambda x: oracles.mvn(x, 2, 0.125))],
    "Scale": [*affine_cases("scale_param", np.multiply),
              case(f"scale_param {{ bias_term: true {NOISE} bias_{NOISE} }}", x(2, 3, 5),
                   oracle=lambda x, s, b: x * s[:, None] + b[:, None])],
    "Bias": affine_cases("bias_param", np.add),
    "Eltwise": [case("", x(2, 3), x(2, 3), x(2, 3), oracle=lambda *v: sum(v)),
                case("eltwise_param { operation: SUM coeff: 0.5 coeff: -2 }", x(2, 3), x(2, 3),
                     oracle=lambda a, b: 0.5 * a - 2 * b),
                case("eltwise_param { operation: PROD }", x(2, 3), x(2, 3), x(2, 3),
                     oracle=lambda a, b, c: a * b * c),
                case("eltwise_param { operation: MAX }", x(2, 3), positive(2, 3), positive(2, 3),
                     oracle=lambda *v: np.max(v, 0))],
    "Reduction": [case(f"reduction_param {{ operation: {name} axis: 1 coeff: 0.5 }}", x(2, 3, 5),
                       oracle=lambda x, f=f: 0.5 * f(x.reshape(len(x), -1)).sum(1))
                  for name, f in (("SUM", lambda x: x), ("ASUM", np.abs), ("SUMSQ", np.square),
                                  ("MEAN", lambda x: x / 15))]
                 + [case("", x(2, 3, 5), oracle=lambda x: x.sum())],
    # arrangements
    "Split": [case("", x(2, 3, 5), tops=3, oracle=lambda x: (x, x, x))],
    "Reshape": [case("reshape_param { shape { dim: 0 dim: -1 dim: 5 } }", x(2, 3, 5, 7),
                     oracle=lambda x: x.reshape(len(x), 21, 5)),
                case("reshape_param { shape { dim: 5 dim: 3 } axis: 1 num_axes: 2 }", x(2, 3, 5, 7),
                     oracle=lambda x: x.reshape(len(x), 5, 3, 7))],
    "Flatten": [case("", x(2, 3, 5), oracle=lambda x: x.reshape(len(x), 15)),
                case("flatten_param { axis: -3 end_axis: -2 }", x(2, 3, 5, 7),
                     oracle=lambda x: x.reshape(len(x), 15, 7))],
    "Concat": [case("", x(2, 3, 5), x(2, 1, 5), oracle=lambda *v: np.concatenate(v, 1)),
               case("concat_param { axis: -1 }", x(2, 3), x(2, 5), oracle=lambda *v: np.hstack(v)),
               case("concat_param { concat_dim: 0 }", x(2, 3), x(5, 3),
                    oracle=lambda *v: np.vstack(v))],
    "Slice": [case("slice_param { slice_point: 1 slice_point: 3 }", x(2, 7, 5), tops=3,
                   oracle=lambda x: tuple(np.split(x, (1, 3), 1))),
              case("slice_param { axis: -1 }", x(2, 3, 6), tops=2,
                   oracle=lambda x: tuple(np.split(x, 2, -1)))],
    "Crop": [case("crop_param { axis: 2 offset: 1 offset: 3 }", x(2, 3, 5, 7),
                  Bottom((2, 1, 2, 3), lambda s, r: np.zeros(s), False),
                  oracle=lambda x, like: x[:, :, 1:3, 3:6])],
    "Tile": [case("tile_param { axis: 1 tiles: 3 }", x(2, 3, 5),
                  oracle=lambda x: np.tile(x, (1, 3, 1)))],
    "BatchReindex": [case("", x(5, 3, 2), labels(5, 7), resizable=False,
                          oracle=lambda x, i: x[i.astype(int)]),
                     case("", x(5, 3), labels(2, 5), oracle=lambda x, i: x[i.astype(int)])],
    "Filter": [case("", x(5, 3, 2), x(5, 7), labels(2, 5), tops=2, sized_by_data=True,
                    oracle=lambda x, y, chosen: (x[chosen != 0], y[chosen != 0]))],
    "Silence": [case("", x(2, 3), x(2, 5), tops=0, oracle=lambda *v: ())],
    # losses and metrics
    "SoftmaxWithLoss": [
        case("", x(2, 3), labels(3, 2), oracle=lambda x, label:
             oracles.softmax_loss(x, label, 1, len(x))),
        case("softmax_param { axis: 2 }", x(2, 5, 3), labels(3, 2, 5), tops=2,
             oracle=lambda x, label: (oracles.softmax_loss(x, label, 2, label.size),
                                      oracles.softmax(x, 2))),
        *loss_normalisations()],
    "SigmoidCrossEntropyLoss": [
        case("", x(2, 3, 5), fractions(2, 3, 5), oracle=lambda x, t:
             oracles.cross_entropy(x, t).sum() / len(x)),
        case("loss_param { normalization: VALID ignore_label: 1 }", x(2, 7), labels(2, 2, 7),

             oracle=lambda x, t: (oracles.cross_entropy(x, t) * (t != 1)).sum()
             / max(1, (t != 1).sum())),
        case("", x(2, 3), fractions(2, 3), fractions(2, 3), oracle=lambda x, t, w:
             (w * oracles.cross_entropy(x, t)).sum() / w.sum())],
    "SmoothL1Loss": [
        case("", x(2, 3, 5), x(2, 3, 5), oracle=lambda x, t: oracles.smooth_l1(x, t, 1, 1, 1)),
        case("smooth_l1_loss_param { sigma: 2 }", x(2, 3), x(2, 3), fractions(2, 3),
             fractions(2, 3), oracle=lambda x, t, i, o: oracles.smooth_l1(x, t, i, o, 2))],
    "EuclideanLoss": [case("", x(2, 3, 5), x(2, 3, 5),
                           oracle=lambda x, t: ((x - t) ** 2).sum() / (2 * len(x)))],
    "HingeLoss": [case("", x(7, 5), labels(5, 7), oracle=lambda x, k: oracles.hinge(x, k, 1)),
                  case("hinge_loss_param { norm: L2 }", x(7, 5), labels(5, 7),
                       oracle=lambda x, k: oracles.hinge(x, k, 2))],
    "MultinomialLogisticLoss": [
        case("", positive(7, 5), labels(5, 7),
             oracle=lambda p, k: -np.log(p[range(len(p)), k.astype(int)]).mean())],
    "InfogainLoss": infogain_cases(),
    "ContrastiveLoss": [
        case("contrastive_loss_param { margin: 5 legacy_version: true }", x(7, 3), x(7, 3),
             labels(2, 7), oracle=lambda a, b, s: oracles.contrastive(a, b, s, 5, True)),
        # Its gradient divides by d + 1e-4 where the derivative divides by d.
        case("contrastive_loss_param { margin: 3 }", x(7, 3), x(7, 3), labels(2, 7),
             gradient=False, oracle=lambda a, b, s: oracles.contrastive(a, b, s, 3, False))],
    "Accuracy": [case("", x(7, 5), labels(5, 7), gradient=False,
                      oracle=lambda x, label: oracles.accuracy(x, label, 1)),
                 case("accuracy_param { top_k: 3 }", x(7, 5), labels(5, 7), gradient=False,
                      oracle=lambda x, label: oracles.accuracy(x, label, 3))],
    "ArgMax": [case("", x(3, 5), gradient=False, oracle=lambda x: x.argmax(1)[:, None, None]),
               case("argmax_param { axis: 1 out_max_val: true }", x(3, 5, 2), gradient=False,
                    oracle=lambda x: x.max(1, keepdims=True))],
    # regions
    "ROIPooling": [case("roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }",
                        x(2, 3, 7, 11), rois(3, 2, 14, 22, whole=True), resizable=False,
                        oracle=lambda x, r: oracles.roi_pooling(x, r, (2, 3), 0.5))],
    "ROIWarping": [
        case("roi_warping_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }", x(2, 3, 7, 11),
             rois(5, 2, 14, 22), gradient=False, resizable=False,
             oracle=lambda x, r: oracles.roi_warping(x, r, (2, 3), 0.5)),
        case("roi_warping_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 mode: EXACT }",
             x(2, 3, 7, 11), rois(5, 2, 14, 22, differentiable=True), resizable=False)],
    "MaskResize": [
        case("mask_resize_param { output_height: 3 output_width: 2 }", x(2, 1, 7, 5),
             oracle=lambda x: oracles.mask_resize(x, 3, 2)),
        case("mask_resize_param { output_height: 7 output_width: 5 mode: EXACT }", x(2, 3, 3, 2),
             oracle=lambda x: oracles.mask_resize(x, 7, 5))],
    "MaskPooling": [case("", x(2, 3, 5, 7), positive(2, 1, 5, 7), oracle=np.multiply)],
    # SSD
    "Normalize": [
        case("norm_param { }", x(2, 3, 5, 7), oracle=lambda x, s:
             s * oracles.normalize(x, (1, 2, 3))),
        case("normalize_param { bp_norm: true }", x(2, 3, 5), tops=2, oracle=lambda x: (
            oracles.normalize(x, 1, 1e-6), np.sqrt((x * x).sum(1, keepdims=True) + 1e-6))),
        case('normalize_param { normalize_type: "L1" }', x(2, 3, 5), oracle=lambda x:
             x / (np.abs(x).sum(1, keepdims=True) + 1e-6)),
        case(f"norm_param {{ across_spatial: false channel_shared: false mode: EXACT "
             f"scale_{NOISE} eps: 0.5 }}", x(2, 3, 5),
             oracle=lambda x, s: s[:, None] * oracles.normalize(x, 1, 0.5)),
        # Its gradient is the derivative only where all scales are equal.
        case(f"norm_param {{ channel_shared: false scale_{NOISE} }}", x(2, 3, 5), gradient=False,
             oracle=lambda x, s: s[:, None] * oracles.normalize(x, (1, 2)))],
    "Permute": [case("permute_param { order: 0 order: 2 order: 3 order: 1 }", x(2, 3, 5, 7),
                     oracle=lambda x: x.transpose(0, 2, 3, 1)),
                case("permute_param { order: 2 }", x(2, 3, 5), resizable=False,
                     oracle=lambda x: x.transpose(2, 0, 1)),
                case("", x(2, 3), oracle=lambda x: x)],
    "PriorBox": [
        case("prior_box_param { min_size: 4 max_size: 9 aspect_ratio: 4 clip: true }",
             x(2, 3, 2, 1), x(2, 3, 8, 10), gradient=False,
             oracle=lambda *_: oracles.priors(
                 [(5, 2), (5, 6)], [(4, 4), (6, 6), (8, 2), (2, 8)], (8, 10), [0.1] * 4)),
        case("prior_box_param { min_size: 4.9 img_h: 20 img_w: 10 step: 5 offset: 0 variance: 1 "
             "variance: 2 variance: 3 variance: 4 }", x(2, 3, 1, 2), gradient=False,
             oracle=lambda *_: oracles.priors([(0, 0), (5, 0)], [(4, 4)], (20, 10), [1, 2, 3, 4],
                                              clip=False))],
    "DetectionOutput": [
        case("detection_output_param { num_classes: 3 nms_param { nms_threshold: 0.4 } "
             "code_type: CENTER_SIZE confidence_threshold: 0.3 }", x(2, 20), fractions(2, 15),
             priors(5), gradient=False, resizable=False, sized_by_data=True)],
    "MultiBoxLoss": [
        case(f"multibox_loss_param {{ num_classes: 3 overlap_threshold: 0.3 mode: EXACT {text} }}",
             x(2, 28), x(2, 21), priors(7), objects(3, 0, 0, 1), resizable=False)
        for text in ("code_type: CENTER_SIZE", "code_type: CORNER_SIZE loc_loss_type: L2",
                     "encode_variance_in_target: true", "conf_loss_type: LOGISTIC",
                     "conf_loss_type: LOGISTIC mining_type: NONE bp_inside: true",
                     "mining_type: HARD_EXAMPLE sample_size: 5",
                     "mining_type: HARD_EXAMPLE nms_param { top_k: 6 } use_prior_for_nms: true",
                     "nms_param { top_k: 6 nms_threshold: 0.2 } neg_overlap: 0.9")] + [
        # What SSD calls the gradient is not the derivative.
        case("multibox_loss_param { num_classes: 3 encode_variance_in_target: true }",
             x(2, 28), x(2, 21), priors(7), objects(3, 0, 1), resizable=False, gradient=False),
        case("multibox_loss_param { num_classes: 3 mining_type: NONE share_location: false "
             "use_prior_for_matching: false }",
             x(2, 84), x(2, 21), priors(7), objects(3, 0, 1), resizable=False)],
    "DetectionEvaluate": [
        case("detection_evaluate_param { num_classes: 3 overlap_threshold: 0.3 }",
             detected(3, 0, 0, 1, 1, 1), objects(3, 0, 0, 1), gradient=False, resizable=False,
             sized_by_data=True)],
}

# Layers whose tests need more than bottoms and numbers, with the file that has them.
ELSEWHERE = {"Python": "test_python_layer.py", "AnnotatedData": "test_annotated_data.py",
             **dict.fromkeys(("Data", "HDF5Data", "HDF5Output", "ImageData", "MemoryData",
                              "WindowData"), "test_data_layers.py")}
