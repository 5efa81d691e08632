"""The cases of the layer types of forks, in the form of cases.py; SSD's are there."""

from __future__ import annotations

import numpy as np

import oracles
from cases import WEIGHTS, Bottom, Case, case, fractions, labels, x

ELSEWHERE = dict.fromkeys(("DenseImageData", "ImageLabelmapData", "ImageSegData", "MatWrite"),
                          "test_label_maps.py") | {
    "DetectNetTransformation": "test_detectnet.py"}


def wide(*shape: int) -> Bottom:
    """Values of (-4, 4)"""
    draw = x(*shape).draw
    return Bottom(shape, lambda shape, random: 2 * draw(shape, random))


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


def interp(size, crop=(0, 0)):
    """Rows of `size` between the corners of what is left inside the crop."""
    def oracle(x):
        x = x[:, :, crop[0]:x.shape[2] - crop[1], crop[0]:x.shape[3] - crop[1]]
        for axis, length in ((2, size[0]), (3, size[1])):
            rows = np.linspace(0, x.shape[axis] - 1, length) if length > 1 else np.zeros(1)
            first = np.minimum(rows.astype(int), x.shape[axis] - 1)
            second = np.minimum(first + 1, x.shape[axis] - 1)
            part = (rows - first).reshape(-1, *[1] * (3 - axis))
            x = x.take(first, axis) * (1 - part) + x.take(second, axis) * part
        return x
    return oracle


def unpooled(x, mask, *size):
    y = np.zeros((*x.shape[:2], size[0] * size[1]))
    np.put_along_axis(y, mask.reshape(*x.shape[:2], -1).astype(int), x.reshape(*x.shape[:2], -1), 2)
    return y.reshape(*x.shape[:2], *size)


def places(height: int, width: int, *shape: int) -> Bottom:
    """Different places of a plane for each value of a plane."""
    def draw(shape, random):
        planes = [random.permutation(height * width)[:shape[2] * shape[3]]
                  for _ in range(shape[0] * shape[1])]
        return np.array(planes).reshape(shape)
    return Bottom(shape, draw, False)


def windows(method):
    """UnPooling with kernel 3, stride 2 and pad 1."""
    def oracle(x):
        size = [2 * (n - 1) + 1 for n in x.shape[2:]]
        y, count = np.zeros((*x.shape[:2], *size)), np.zeros(size)
        for h, w in np.ndindex(*x.shape[2:]):
            if method == "FIXED":
                y[:, :, 2 * h, 2 * w] = x[:, :, h, w]
                continue
            part = np.s_[max(0, 2 * h - 1):2 * h + 2, max(0, 2 * w - 1):2 * w + 2]
            y[(..., *part)] += x[:, :, h, w, None, None] / (9 if method == "DIV" else 1)
            count[part] += 1
        return y / np.maximum(count, 1)
    return oracle


def tiny_dsod(reference, x):
    for axis in (2, 3):
        rows = []
        for o in range(reference.shape[axis]):
            c = (o + 1) * x.shape[axis] / reference.shape[axis] - 1
            i = int(c)
            row = x.take(i, axis) * (1 - (c - i))
            rows.append(row + (x.take(i + 1, axis) * (c - i) if i + 1 < x.shape[axis] else 0))
        x = np.stack(rows, axis)
    return x


def channels(values):
    return values.reshape(1, -1, 1, 1)


def segmentation(scores, labels):
    """Pixel accuracy, mean accuracy of the classes that occur, mean IoU; label 1 is ignored."""
    found, labels = scores.argmax(1).ravel(), labels.ravel()
    found, labels = found[labels != 1], labels[labels != 1]
    if not len(labels):
        return np.array([0, 0, 1]).reshape(1, 1, 1, 3)
    shares = [(found[labels == c] == c).mean() for c in np.unique(labels)]
    unions = [((found == c) | (labels == c)).sum() for c in range(scores.shape[1])]
    ious = [((found == c) & (labels == c)).sum() / u if u else 1 for c, u in enumerate(unions)]
    return np.array([(found == labels).mean(), np.mean(shares), np.mean(ious)]).reshape(1, 1, 1, 3)


def rough_l1(d):
    return np.where(np.abs(d) < 1, d * d / 2, np.abs(d) - 0.5)


def hardest(rois, loss, labels, weights):
    """Two RoIs of each image keep their label and weights."""
    kept = [i for image in np.unique(rois[:, 0]) for i in sorted(
        np.flatnonzero(rois[:, 0] == image), key=lambda i: -loss[i, 0])[:2]]
    out, none = np.full_like(labels, -3), np.zeros_like(weights)
    out[kept], none[kept] = labels[kept], weights[kept]
    return out, none


def moved(image, flow):
    """image at (x + flow 0, y + flow 1); the last row and column go on for a pixel, 0 outside"""
    y, (height, width) = np.zeros_like(image), image.shape[2:]
    for n, h, w in np.ndindex(len(y), height, width):
        column, row = flow[n, 0, h, w] + w, flow[n, 1, h, w] + h
        if not (0 <= column < width and 0 <= row < height):
            continue
        for i, j in np.ndindex(2, 2):
            share = (1 - abs(row - int(row) - i)) * (1 - abs(column - int(column) - j))
            y[n, :, h, w] += share * image[n, :, min(int(row) + i, height - 1),
                                           min(int(column) + j, width - 1)]
    return y


def flow(*shape: int) -> Bottom:
    """Pixels that a picture moved, none of them whole"""
    def draw(shape, random):
        return random.integers(-3, 3, shape) + random.uniform(0.1, 0.9, shape)
    return Bottom(shape, draw)


def weighed(places, widths, kernel):
    """Rows around `places`, weighed by the kernel of the distance over the width"""
    def oracle(x, *like):
        for axis, at, width in zip((2, 3), places, widths):
            weights = np.array([[kernel(abs(p - i) / width) for i in range(x.shape[axis])]
                                for p in at])
            weights /= weights.sum(1, keepdims=True)
            x = np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)
        return x
    return oracle


def triangle(u):
    return max(0, 1 - u)


def keys(u):
    """The cubic kernel of Keys, a = -1/2"""
    if u >= 2:
        return 0
    return 1.5 * u ** 3 - 2.5 * u ** 2 + 1 if u <= 1 else -0.5 * u ** 3 + 2.5 * u ** 2 - 4 * u + 2


SLOPES = " ".join(f'{name}_filler {{ type: "gaussian" std: 1 }}' for name in ("slope", "bias"))
SCALES = " ".join(f'{name}_filler {{ type: "gaussian" std: 1 }}' for name in ("scale", "shift"))

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
    "NegReLU": [case("", x(2, 3, 5), oracle=lambda x: np.minimum(x, 0)),
                case("relu_param { negative_slope: 0.5 }", x(2, 3),
                     oracle=lambda x: np.where(x < 0, x, x / 2))],
    # In the fork the ends have the slope of the middle.
    "HardSigmoid": [
        case("hard_sigmoid_param { mode: EXACT }", wide(2, 3, 5),
             oracle=lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        case("", wide(2, 3, 5), gradient=False, oracle=lambda x: np.clip(0.2 * x + 0.5, 0, 1))],
    "GRN": [case("", x(2, 3, 5), oracle=lambda x: x / np.sqrt((x * x).sum(1, keepdims=True))),
            case("grn_param { bias: 0.5 }", x(2, 3), oracle=lambda x: x / np.sqrt(
                (x * x).sum(1, keepdims=True) + 0.5))],
    # optical flow
    "ChannelNorm": [case("", x(2, 3, 5, 4),
                         oracle=lambda x: np.sqrt((x * x).sum(1, keepdims=True)))],
    "FlowWarp": [case("", x(2, 3, 4, 5), flow(2, 2, 4, 5), oracle=moved)],
    "Downsample": [
        case("downsample_param { top_height: 3 top_width: 2 }", x(2, 3, 5, 4), oracle=weighed(
            ([0, 2, 4], [0, 3]), (2, 3), triangle)),
        case("", x(2, 3, 5, 4), fractions(2, 1, 4, 4), oracle=weighed(
            ([0, 4 / 3, 8 / 3, 4], range(4)), (4 / 3, 1), triangle))],
    "Resample": [
        case("resample_param { width: 10 height: 10 }", x(2, 3, 5, 5), oracle=weighed(
            (np.arange(10) / 2 - 0.25,) * 2, (1, 1), triangle)),
        case("resample_param { factor: 0.5 type: CUBIC }", x(2, 3, 6, 8), oracle=weighed(
            ([0.5, 2.5, 4.5], [0.5, 2.5, 4.5, 6.5]), (2, 2), keys)),
        # half as wide: each axis has the offset of the other
        case("resample_param { antialias: false }", x(2, 3, 4, 8), fractions(2, 1, 4, 4),
             oracle=weighed(([0.5, 1.5, 2.5, 3.5], [0, 2, 4, 6]), (1, 1), triangle)),
        case("resample_param { width: 2 height: 3 type: NEAREST }", x(2, 3, 6, 4),
             oracle=lambda x: x[:, :, 1::2][..., 1::2])],
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
    # segmentation
    "Interp": [case("interp_param { height: 7 width: 3 }", x(2, 3, 5, 4), oracle=interp((7, 3))),
               case("interp_param { shrink_factor: 2 pad_beg: -1 pad_end: -2 height: 9 width: 9 }",
                    x(1, 2, 8, 6), oracle=interp((3, 2), (1, 2))),
               case("interp_param { zoom_factor: 3 }", x(1, 2, 3, 2), oracle=interp((7, 4)))],
    "Upsample": [
        case("upsample_param { scale: 2 pad_out_w: true }", x(2, 3, 2, 3), places(4, 5, 2, 3, 2, 3),
             oracle=lambda x, m: unpooled(x, m, 4, 5)),
        case("upsample_param { upsample_h: 5 upsample_w: 7 }", x(2, 3, 2, 3),
             places(5, 7, 2, 3, 2, 3), oracle=lambda x, m: unpooled(x, m, 5, 7)),
        case("upsample_param { scale: 3 }", x(2, 3, 2, 5),
             oracle=lambda x: x.repeat(3, 2).repeat(3, 3)),
        case("upsample_param { height: 5 width: 7 mode: NEAREST }", x(2, 3, 2, 3), oracle=lambda x:
             x[:, :, [0, 0, 0, 1, 1]][..., [0, 0, 0, 1, 1, 2, 2]]),
        case("upsample_param { height_scale: 2 width_scale: 3 }", x(2, 3, 2, 3),
             oracle=interp((4, 9))),
        case("upsample_param { mode: BILINEAR }", x(2, 3, 2, 3), fractions(2, 1, 5, 4),
             oracle=lambda x, like: interp((5, 4))(x)),
        case("", fractions(2, 3, 5, 7), x(2, 3, 2, 3), oracle=tiny_dsod),
        case("", x(2, 3, 2, 3), places(4, 6, 2, 3, 2, 3),
             oracle=lambda x, m: unpooled(x, m, 4, 6))],
    "UnPooling": [
        case("unpooling_param { kernel_size: 2 stride: 2 }", x(2, 3, 2, 3), places(4, 6, 2, 3, 2, 3),
             oracle=lambda x, m: unpooled(x, m, 4, 6)),
        case("unpooling_param { kernel_size: 2 stride: 2 unpool_size: 7 }", x(1, 2, 3, 3),
             places(7, 7, 1, 2, 3, 3), oracle=lambda x, m: unpooled(x, m, 7, 7)),
        *(case(f"unpooling_param {{ unpool: {method} kernel_size: 3 stride: 2 pad: 1 }}",
               x(2, 3, 2, 3), oracle=windows(method)) for method in ("FIXED", "DIV", "REP"))],
    "BN": [
        case(f"bn_param {{ {SLOPES} eps: 0.125 }}", x(3, 2, 5, 2), phase="TRAIN",
             learned=2, oracle=lambda x, s, b, *_: s * oracles.batch_norm(x, 0.125) + b),
        case(f"bn_param {{ {SLOPES} frozen: true eps: 0.5625 }}", x(3, 2, 5, 2), phase="TRAIN",
             learned=0, oracle=lambda x, s, b, *_: s * x / 1.25 + b),
        case(f"bn_param {{ {SLOPES} eps: 0.25 mode: EXACT }}", x(3, 2, 5, 2), learned=2,
             oracle=lambda x, s, b, *_: s * x / 0.5 + b),
        # In TEST the fork goes back as in training.
        case(f"bn_param {{ {SLOPES} eps: 0.25 }}", x(3, 2, 5, 2), gradient=False,
             oracle=lambda x, s, b, *_: s * x / 0.5 + b),
        case(f"bn_param {{ {SCALES} }}", x(3, 2, 5, 2), tops=3, oracle=lambda x, s, b: (
            s * oracles.batch_norm(x, 1e-9) + b,
            channels(x.mean((0, 2, 3)) if len(x) else np.zeros(2)),
            channels(x.var((0, 2, 3)) if len(x) else np.zeros(2)))),
        case(f"bn_param {{ {SCALES} bn_mode: INFERENCE }}", x(3, 2, 5, 2),
             oracle=lambda x, s, b: s * x + b)],
    "SegAccuracy": [case("seg_accuracy_param { ignore_label: 1 }", x(2, 5, 3, 7),
                         labels(5, 2, 1, 3, 7), gradient=False, oracle=segmentation)],
    # hard examples
    "SoftmaxWithLossOHEM": [
        case("loss_param { ignore_label: 0 normalization: PRE_FIXED pre_fixed_normalizer: 4 }",
             x(7, 3), labels(3, 7), tops=3, oracle=lambda x, label: (
                 oracles.softmax_loss(x, label, 1, 4, 0), oracles.softmax(x, 1),
                 np.where(label > 0, -np.log(oracles.softmax(x, 1))[range(len(x)),
                                                                   label.astype(int)], 0)))],
    "SmoothL1LossOHEM": [
        case("loss_param { mode: EXACT }", x(7, 3, 2), x(7, 3, 2), fractions(7, 3, 2), tops=2,
             oracle=lambda a, b, w: (oracles.smooth_l1(a, b, w, 1, 1) / 2, rough_l1(
                 w * (a - b)).sum(1, keepdims=True))),
        # The fork does not multiply by the weight again.
        case("loss_param { normalization: BATCH_SIZE }", x(7, 3), x(7, 3), fractions(7, 3),
             gradient=False, oracle=lambda a, b, w: oracles.smooth_l1(a, b, w, 1, 1))],
    "BoxAnnotatorOHEM": [
        case("box_annotator_ohem_param { roi_per_img: 2 ignore_label: -3 }", labels(2, 7, 5),
             x(7, 1), labels(3, 7, 1), x(7, 4), tops=2, gradient=False, oracle=hardest)],
}
