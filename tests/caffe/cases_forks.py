"""The cases of the layer types of forks, in the form of cases.py; SSD's are there."""

from __future__ import annotations

import numpy as np

import oracles
from cases import WEIGHTS, Case, case, x

ELSEWHERE: dict[str, str] = {}


def depthwise(stride: int, pad: int, dilation: int):
    return lambda x, w, b=None: oracles.convolution(x, w, b, (stride,) * 2, (pad,) * 2,
                                                    (dilation,) * 2, x.shape[1])


def reorg_up(x):
    """Value by value: (c, h, w) goes to (c mod C', 2 h + o div 2, 2 w + o mod 2), o = c div C'."""
    images, channels, height, width = x.shape
    y, small = np.zeros((images, channels // 4, height * 2, width * 2)), channels // 4
    for c, h, w in np.ndindex(*x.shape[1:]):
        o = c // small
        y[:, c % small, 2 * h + o // 2, 2 * w + o % 2] = x[:, c, h, w]
    return y


CASES: dict[str, list[Case]] = {
    # small nets
    "ConvolutionDepthwise": [
        case(f"convolution_param {{ kernel_size: 3 num_output: 7 {WEIGHTS} }}", x(2, 2, 5, 4),
             oracle=depthwise(1, 0, 1)),
        case(f"convolution_param {{ kernel_size: 2 stride: 2 pad: 1 dilation: 2 bias_term: false "
             f"{WEIGHTS} }}", x(1, 3, 5, 7), oracle=depthwise(2, 1, 2))],
    "DepthwiseConvolution": [
        case(f"convolution_param {{ kernel_size: 3 num_output: 2 group: 2 {WEIGHTS} }}",
             x(2, 2, 5, 4), oracle=depthwise(1, 0, 1))],
    "ReLU6": [case("", x(2, 3, 5), oracle=lambda x: np.clip(x, 0, 6)),
              case("relu6_param { negative_slope: 0.5 }", x(2, 3),
                   oracle=lambda x: np.where(x > 0, x, x / 2))],
    "Axpy": [case("", x(2, 3), x(2, 3, 5, 7), x(2, 3, 5, 7),
                  oracle=lambda s, x, y: s[:, :, None, None] * x + y),
             case("", x(2, 3, 1, 1), x(2, 3, 2, 2), x(2, 3, 2, 2),
                  oracle=lambda s, x, y: s * x + y)],
    "ShuffleChannel": [case("shuffle_channel_param { group: 3 }", x(2, 6, 2), oracle=lambda x:
                            x[:, [0, 2, 4, 1, 3, 5]])],
    # Without reverse the vectors of the fork decide: its map has no plainer form.
    "Reorg": [case("reorg_param { stride: 2 reverse: true }", x(2, 8, 2, 3), oracle=reorg_up),
              case("reorg_param { stride: 2 }", x(2, 4, 4, 6))],
    "Reverse": [case("reverse_param { axis: 1 }", x(2, 3, 5), oracle=lambda x: x[:, ::-1]),
                case("", x(2, 3, 5), oracle=lambda x: x[::-1])],
    "Flip": [case("", x(2, 3, 5, 7), oracle=lambda x: x[..., ::-1]),
             case("flip_param { flip_width: false flip_height: true }", x(2, 3, 5, 7),
                  oracle=lambda x: x[:, :, ::-1])],
    "Transpose": [case("transpose_param { dim: 0 dim: 3 dim: 1 dim: 2 }", x(2, 3, 5, 7),
                       oracle=lambda x: x.transpose(0, 3, 1, 2))],
}
