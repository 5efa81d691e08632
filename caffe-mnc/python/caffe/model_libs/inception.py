"""Inception v3."""

from __future__ import annotations

from typing import Any

from caffe.model_libs.layers import ConvBNLayer, InceptionTower
from caffe.net_spec import NetSpec
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

Tower = list[dict[str, Any]]


def InceptionV3Body(net: NetSpec, from_layer: str, output_pred: bool = False,
                    **bn_param: Any) -> NetSpec:
    """Inception v3 to mixed_10/join, or with output_pred to its 1008 probabilities"""
    last = from_layer
    rows: Any = (
            ("conv", 32, 3, 0, 2), ("conv_1", 32, 3, 0, 1), ("conv_2", 64, 3, 1, 1), ("pool",) * 5,
            ("conv_3", 80, 1, 0, 1), ("conv_4", 192, 3, 0, 1), ("pool_1",) * 5)
    for name, output, kernel, pad, stride in rows:
        if name.startswith("pool"):
            net[name] = L.Pooling(net[last], pool=P.Pooling.MAX, kernel_size=3, stride=2, pad=0)
        else:
            ConvBNLayer(net, last, name, use_bn=True, use_relu=True, num_output=output,
                        kernel_size=kernel, pad=pad, stride=stride, use_scale=False, **bn_param)
        last = name
    for name, towers in _blocks().items():
        last = _block(net, last, name, towers, bn_param)
    for number in (9, 10):
        last = _fan(net, last, f"mixed_{number}", number == 10, bn_param)
    if output_pred:
        net.pool_3 = L.Pooling(net[last], pool=P.Pooling.AVE, kernel_size=8, pad=0, stride=1)
        net.softmax = L.InnerProduct(net.pool_3, num_output=1008)
        net.softmax_prob = L.Softmax(net.softmax)
    return net


def _conv(name: str, output: int, kernel: Any = 1, pad: Any = 0, stride: Any = 1) -> dict[str, Any]:
    return {"name": name, "num_output": output, "kernel_size": kernel, "pad": pad,
            "stride": stride}


def _wide(name: str, output: int, length: int = 7) -> dict[str, Any]:
    return _conv(name, output, [1, length], [0, length // 2], [1, 1])


def _high(name: str, output: int, length: int = 7) -> dict[str, Any]:
    return _conv(name, output, [length, 1], [length // 2, 0], [1, 1])


def _pool(kind: int, pad: int = 1, stride: int = 1) -> dict[str, Any]:
    return {"name": "pool", "pool": kind, "kernel_size": 3, "pad": pad, "stride": stride}


def _blocks() -> dict[str, list[tuple[str, Tower]]]:
    """mixed to mixed_8: (ending of the tower's name, its layers) of each"""
    average, largest = P.Pooling.AVE, P.Pooling.MAX
    blocks: dict[str, list[tuple[str, Tower]]] = {}
    for name, output in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
        blocks[name] = [
            ("", [_conv("conv", 64)]),
            ("/tower", [_conv("conv", 48), _conv("conv_1", 64, 5, 2)]),
            ("/tower_1", [_conv("conv", 64), _conv("conv_1", 96, 3, 1), _conv("conv_2", 96, 3, 1)]),
            ("/tower_2", [_pool(average), _conv("conv", output)])]
    blocks["mixed_3"] = [
        ("", [_conv("conv", 384, 3, 0, 2)]),
        ("/tower", [_conv("conv", 64), _conv("conv_1", 96, 3, 1), _conv("conv_2", 96, 3, 0, 2)]),
        ("", [_pool(largest, 0, 2)])]
    for number, n in ((4, 128), (5, 160), (6, 160), (7, 192)):
        blocks[f"mixed_{number}"] = [
            ("", [_conv("conv", 192)]),
            ("/tower", [_conv("conv", n), _wide("conv_1", n), _high("conv_2", 192)]),
            ("/tower_1", [_conv("conv", n), _high("conv_1", n), _wide("conv_2", n),
                          _high("conv_3", n), _wide("conv_4", 192)]),
            ("/tower_2", [_pool(average), _conv("conv", 192)])]
    blocks["mixed_8"] = [
        ("/tower", [_conv("conv", 192), _conv("conv_1", 320, 3, 0, 2)]),
        ("/tower_1", [_conv("conv", 192), _wide("conv_1", 192), _high("conv_2", 192),
                      _conv("conv_3", 192, 3, 0, 2)]),
        ("", [_pool(largest, 0, 2)])]
    return blocks


def _block(net: NetSpec, last: str, name: str, towers: list[tuple[str, Tower]],
           bn_param: dict[str, Any]) -> str:
    tops = [InceptionTower(net, last, name + ending, tower, **bn_param)
            for ending, tower in towers]
    net[f"{name}/join"] = L.Concat(*tops, axis=1)
    return f"{name}/join"


def _fan(net: NetSpec, last: str, name: str, largest: bool, bn_param: dict[str, Any]) -> str:
    """mixed_9 and mixed_10: two towers end side by side in a wide and a high convolution"""
    tops = [InceptionTower(net, last, name, [_conv("conv", 320)], **bn_param)]
    for ending, tower in (("/tower", [_conv("conv", 384)]),
                          ("/tower_1", [_conv("conv", 448), _conv("conv_1", 384, 3, 1)])):
        InceptionTower(net, last, name + ending, tower, **bn_param)
        stem = f"{name}{ending}/{tower[-1]['name']}"
        joined = f"{name}{ending}/mixed"
        net[joined] = L.Concat(
            InceptionTower(net, stem, joined, [_wide("conv", 384, 3)], **bn_param),
            InceptionTower(net, stem, joined, [_high("conv_1", 384, 3)], **bn_param), axis=1)
        tops.append(net[joined])
    pool = P.Pooling.MAX if largest else P.Pooling.AVE
    tops.append(InceptionTower(net, last, f"{name}/tower_2", [_pool(pool), _conv("conv", 192)],
                               **bn_param))
    net[f"{name}/join"] = L.Concat(*tops, axis=1)
    return f"{name}/join"
