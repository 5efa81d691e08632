"""What layers compute, said again in numpy: slow, obvious, one element at a time where it helps."""

from __future__ import annotations

import itertools

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def convolution(x, weight, bias, stride, pad, dilation, group):
    """One output element at a time; x (N, C, *spatial), every option one number an axis."""
    axes = range(x.ndim - 2)
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    reach = [dilation[a] * (weight.shape[2 + a] - 1) + 1 for a in axes]
    size = [(x.shape[2 + a] - reach[a]) // stride[a] + 1 for a in axes]
    y = np.zeros((len(x), len(weight), *size))
    per_group, out_per_group = weight.shape[1], len(weight) // group
    for o, at in itertools.product(range(len(weight)), np.ndindex(*size)):
        window = tuple(slice(at[a] * stride[a], at[a] * stride[a] + reach[a], dilation[a])
                       for a in axes)
        first = o // out_per_group * per_group
        patch = x[(slice(None), slice(first, first + per_group), *window)]
        y[(slice(None), o, *at)] = (patch * weight[o]).reshape(len(x), -1).sum(1)
    return y if bias is None else y + bias.reshape(-1, *[1] * len(size))


def deconvolution(x, weight, bias, stride, pad, dilation, group):
    """Every input element adds its kernel to the output."""
    axes = range(x.ndim - 2)
    reach = [dilation[a] * (weight.shape[2 + a] - 1) + 1 for a in axes]
    size = [stride[a] * (x.shape[2 + a] - 1) + reach[a] for a in axes]
    out_per_group = weight.shape[1]
    y = np.zeros((len(x), out_per_group * group, *size))
    for c, at in itertools.product(range(x.shape[1]), np.ndindex(*x.shape[2:])):
        first = c // (x.shape[1] // group) * out_per_group
        window = tuple(slice(at[a] * stride[a], at[a] * stride[a] + reach[a], dilation[a])
                       for a in axes)
        for n in range(len(x)):
            y[(n, slice(first, first + out_per_group), *window)] += x[(n, c, *at)] * weight[c]
    y = y[(..., *(slice(p, n - p) for p, n in zip(pad, size)))]
    return y if bias is None else y + bias.reshape(-1, *[1] * len(size))


def pooling(x, kernel, stride, pad, ceil=True, average=False):
    """Caffe's rules: the last window must start inside the image and its first padding."""
    size = []
    for length, k, s, p in zip(x.shape[2:], kernel, stride, pad):
        count = int((np.ceil if ceil else np.floor)((length + 2 * p - k) / s)) + 1
        size.append(count - 1 if p and (count - 1) * s >= length + p else count)
    y, places = np.zeros((*x.shape[:2], *size)), np.zeros((*x.shape[:2], *size))
    for n, c, i, j in np.ndindex(*y.shape):
        start = [at * s - p for at, s, p in zip((i, j), stride, pad)]
        end = [min(a + k, length + p) for a, k, length, p in zip(start, kernel, x.shape[2:], pad)]
        rows, columns = (range(max(a, 0), min(b, length))
                         for a, b, length in zip(start, end, x.shape[2:]))
        values = [(x[n, c, h, w], -(h * x.shape[3] + w)) for h in rows for w in columns]
        if average:
            y[n, c, i, j] = sum(v for v, _ in values) / ((end[0] - start[0]) * (end[1] - start[1]))
        else:
            y[n, c, i, j], place = max(values)
            places[n, c, i, j] = -place
    return y, places


def stochastic(x, kernel, stride):
    """What a draw gives on average."""
    total, squares = (pooling(v, kernel, stride, (0, 0), average=True)[0] for v in (x, x * x))
    return squares / total


def spp(x, height, average=False):
    """Every level is a pooling whose windows touch; the padding is half of what they exceed by."""
    levels = []
    for bins in 2 ** np.arange(height):
        kernel = [int(np.ceil(n / bins)) for n in x.shape[2:]]
        pad = [(k * bins - n + 1) // 2 for k, n in zip(kernel, x.shape[2:])]
        y = pooling(x, kernel, kernel, pad, average=average)[0]
        levels.append(y.reshape(len(x), -1))
    return np.concatenate(levels, 1)


def im2col(x, kernel, stride, pad, dilation):
    """x (N, C, H, W) -> (N, C * kernel, H', W'), one window at a time"""
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    size = [(n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation)]
    y = np.zeros((len(x), x.shape[1] * kernel[0] * kernel[1], *size))
    for i, j in np.ndindex(*size):
        rows = i * stride[0] + dilation[0] * np.arange(kernel[0])
        columns = j * stride[1] + dilation[1] * np.arange(kernel[1])
        y[:, :, i, j] = x[:, :, rows[:, None], columns].reshape(len(x), y.shape[1])
    return y


def lrn_across(x, size, alpha, beta, k):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        near = x[:, max(0, c - size // 2):c + size // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (near ** 2).sum(1)) ** beta
    return y


def batch_norm(x, eps):
    axes = tuple(i for i in range(x.ndim) if i != 1)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def mvn(x, axes, eps=1e-9):
    return (x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + eps)


def lstm_step(c, gates, cont):
    """(c, h) from c (N, D), gates (N, 4D), cont (N, 1)"""
    i, f, o, g = np.split(gates, 4, -1)
    c = cont * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


def lstm(x, cont, w_x, b, w_h, static=0, first=None):
    """y (T, N, D), the last h and c; `static`: what a static input adds to the gates."""
    h, c = first if first is not None else np.zeros((2, x.shape[1], w_h.shape[1]))
    y = []
    for x_t, cont_t in zip(x, cont[..., None]):
        gates = x_t.reshape(len(x_t), -1) @ w_x.T + b + static + (cont_t * h) @ w_h.T
        c, h = lstm_step(c, gates, cont_t)
        y.append(h)
    return np.array(y), h, c


def rnn(x, cont, w_x, b, w_h, w_o, b_o, static=0):
    h, y = np.zeros((x.shape[1], len(w_h))), []
    for x_t, cont_t in zip(x, cont[..., None]):
        h = np.tanh(x_t @ w_x.T + b + static + (cont_t * h) @ w_h.T)
        y.append(np.tanh(h @ w_o.T + b_o))
    return np.array(y)


def hinge(x, label, power):
    own = np.arange(x.shape[1]) == label.reshape(-1, 1)
    return (np.maximum(0, 1 - np.where(own, x, -x)) ** power).sum() / len(x)


def contrastive(a, b, similar, margin, legacy):
    square = ((a - b) ** 2).sum(1)
    other = np.maximum(margin - square, 0) if legacy else np.maximum(margin - square ** 0.5, 0) ** 2
    return np.where(similar, square, other).sum() / (2 * len(a))


def infogain(x, label, matrix, axis, divisor, ignore=None):
    p = np.moveaxis(softmax(x, axis), axis, -1)
    p = p.reshape(-1, p.shape[-1])
    return -sum(matrix[int(k)] @ np.log(row) for row, k in zip(p, label.flat)
                if k != ignore) / divisor


def softmax_loss(x, label, axis, divisor, ignore=None):
    p = np.moveaxis(softmax(x, axis), axis, -1)
    p = p.reshape(-1, p.shape[-1])
    return -sum(np.log(row[int(k)]) for row, k in zip(p, label.flat) if k != ignore) / divisor


def smooth_l1(x, target, inside, outside, sigma):
    d = np.abs(inside * (x - target))
    error = np.where(d < 1 / sigma ** 2, 0.5 * (sigma * d) ** 2, d - 0.5 / sigma ** 2)
    return (outside * error).sum() / len(x)


def cross_entropy(x, target):
    p = sigmoid(x)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def accuracy(scores, label, top_k):
    """Scores (N, K): a class with the same score counts as better."""
    hits = [(row >= row[int(k)]).sum() <= top_k for row, k in zip(scores, label.flat)]
    return np.mean(hits)


def bilinear(plane, y, x):
    """MNC's rule at one point of a plane."""
    height, width = plane.shape
    if not (-0.5 <= y <= height - 0.5 and -0.5 <= x <= width - 0.5):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    i, j = int(y), int(x)
    i2, j2 = min(i + 1, height - 1), min(j + 1, width - 1)
    return ((1 - y + i) * ((1 - x + j) * plane[i, j] + (x - j) * plane[i, j2])
            + (y - i) * ((1 - x + j) * plane[i2, j] + (x - j) * plane[i2, j2]))


def roi_warping(features, rois, pooled, scale):
    """REFERENCE mode; corners that are no halves, so that rounding leaves no doubt."""
    top = np.zeros((len(rois), features.shape[1], *pooled))
    for r, c, p, q in np.ndindex(*top.shape):
        x1, y1, x2, y2 = np.round(rois[r, 1:] * scale)
        top[r, c, p, q] = bilinear(features[int(rois[r, 0]), c],
                                   y1 + p * max(y2 - y1, 0) / pooled[0],
                                   x1 + q * max(x2 - x1, 0) / pooled[1])
    return top


def roi_pooling(features, rois, pooled, scale):
    height, width = features.shape[2:]
    top = np.zeros((len(rois), features.shape[1], *pooled))
    for r, c, p, q in np.ndindex(*top.shape):
        x1, y1, x2, y2 = np.round(rois[r, 1:] * scale)
        h, w = max(y2 - y1 + 1, 1) / pooled[0], max(x2 - x1 + 1, 1) / pooled[1]
        rows = np.clip((np.floor(p * h) + y1, np.ceil((p + 1) * h) + y1), 0, height).astype(int)
        columns = np.clip((np.floor(q * w) + x1, np.ceil((q + 1) * w) + x1), 0, width).astype(int)
        window = features[int(rois[r, 0]), c, slice(*rows), slice(*columns)]
        top[r, c, p, q] = window.max() if window.size else 0
    return top


def mask_resize(x, height, width):
    top = np.zeros((*x.shape[:2], height, width))
    for n, c, p, q in np.ndindex(*top.shape):
        top[n, c, p, q] = bilinear(x[n, c], p * x.shape[2] / height, q * x.shape[3] / width)
    return top


def normalize(x, axes, eps=1e-10):
    return x / np.sqrt((x * x).sum(axes, keepdims=True) + eps)


def priors(centres, sides, image, variances, clip=True):
    """PriorBox in pixels: every cell has a box of each (width, height)."""
    boxes = [[(cx - w / 2) / image[1], (cy - h / 2) / image[0],
              (cx + w / 2) / image[1], (cy + h / 2) / image[0]]
             for cx, cy in centres for w, h in sides]
    boxes = np.clip(boxes, 0, 1) if clip else np.array(boxes)
    return np.stack((boxes.ravel(), np.tile(np.float32(variances), len(boxes))))[None]
