"""Small nets of others as prototxts, whose layers cost little beside what is around them."""

from __future__ import annotations


def lenet(batch: int, *, train: bool = False) -> str:
    """28 x 28 digits; with the loss when it is to be trained"""
    labels = _input("label", batch) if train else ""
    last = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" ' \
        'top: "loss" }' if train else _layer("Softmax", "ip2", "prob")
    return "\n".join([
        _input("data", batch, 1, 28, 28), labels, _conv("data", "c1", 20, 5), _pool("c1", "p1"),
        _conv("p1", "c2", 50, 5), _pool("c2", "p2"), _product("p2", "ip1", 500), _relu("ip1"),
        _product("ip1", "ip2", 10), last])


def cifar10_quick(batch: int) -> str:
    """BVLC's three convolutions on 32 x 32"""
    return "\n".join([
        _input("data", batch, 3, 32, 32), _conv("data", "c1", 32, 5, "pad: 2"),
        _pool("c1", "p1", 3, 2), _relu("p1"), _conv("p1", "c2", 32, 5, "pad: 2"), _relu("c2"),
        _pool("c2", "p2", 3, 2, "AVE"), _conv("p2", "c3", 64, 5, "pad: 2"), _relu("c3"),
        _pool("c3", "p3", 3, 2, "AVE"), _product("p3", "ip1", 64), _product("ip1", "ip2", 10),
        _layer("Softmax", "ip2", "prob")])


def mtcnn(batch: int, side: int = 120) -> str:
    """MTCNN's proposal net: three convolutions with PReLU, two heads"""
    return "\n".join([
        _input("data", batch, 3, side, side), _conv("data", "c1", 10, 3), _layer("PReLU", "c1"),
        _pool("c1", "p1"), _conv("p1", "c2", 16, 3), _layer("PReLU", "c2"),
        _conv("c2", "c3", 32, 3), _layer("PReLU", "c3"), _conv("c3", "c4_1", 2, 1),
        _conv("c3", "c4_2", 4, 1), _layer("Softmax", "c4_1", "prob")])


def resnet20(batch: int) -> str:
    """He's for CIFAR-10: nine blocks of two convolutions"""
    layers, name = [_input("data", batch, 3, 32, 32), *_normalized("data", "c0", 16, 3, "pad: 1"),
                    _relu("c0")], "c0"
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            a, b, short = (f"{kind}{stage}{block}" for kind in ("a", "b", "short"))
            layers += [*_normalized(name, a, width, 3, f"pad: 1 stride: {stride}"), _relu(a),
                       *_normalized(a, b, width, 3, "pad: 1")]
            if stride == 2:
                layers += _normalized(name, short, width, 1, "stride: 2")
            joined = f"sum{stage}{block}"
            layers += [f'layer {{ name: "{joined}" type: "Eltwise" bottom: "{b}" '
                       f'bottom: "{short if stride == 2 else name}" top: "{joined}" }}',
                       _relu(joined)]
            name = joined
    return "\n".join([*layers, _global_pool(name, "pooled"), _product("pooled", "ip", 10),
                      _layer("Softmax", "ip", "prob")])


def mobilenet(batch: int, side: int = 128) -> str:
    """MobileNet's thirteen pairs of a depthwise and a 1 x 1 convolution, at half its width"""
    layers, name = [_input("data", batch, 3, side, side),
                    *_normalized("data", "c0", 16, 3, "pad: 1 stride: 2"), _relu("c0")], "c0"
    widths = (32, 64, 64, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512)
    before = 16
    for i, width in enumerate(widths):
        stride = 2 if i in (1, 3, 5, 11) else 1
        layers += [*_normalized(name, f"dw{i}", before, 3,
                                 f"pad: 1 stride: {stride} group: {before}"),
                   _relu(f"dw{i}"), *_normalized(f"dw{i}", f"pw{i}", width, 1), _relu(f"pw{i}")]
        name, before = f"pw{i}", width
    return "\n".join([*layers, _global_pool(name, "pooled"), _product("pooled", "ip", 100),
                      _layer("Softmax", "ip", "prob")])


def ssd(batch: int, side: int = 160) -> str:
    """What an SSD computes before its boxes: a small VGG, and two heads on each of three maps"""
    layers, name = [_input("data", batch, 3, side, side)], "data"
    for stage, width in enumerate((16, 32, 64, 64, 64)):
        for i in range(2):
            layers += [_conv(name, f"c{stage}{i}", width, 3, "pad: 1"), _relu(f"c{stage}{i}")]
            name = f"c{stage}{i}"
        if stage >= 2:
            layers += [_conv(name, f"box{stage}", 24, 3, "pad: 1"),
                       _conv(name, f"class{stage}", 36, 3, "pad: 1")]
        if stage < 4:
            layers.append(_pool(name, f"p{stage}"))
            name = f"p{stage}"
    return "\n".join(layers)


def _layer(kind: str, bottom: str, top: str | None = None, options: str = "") -> str:
    top = top or bottom
    return (f'layer {{ name: "{kind} {bottom} {top}" type: "{kind}" bottom: "{bottom}" '
            f'top: "{top}" {options} }}')


def _input(name: str, *shape: int) -> str:
    dims = " ".join(f"dim: {n}" for n in shape)
    return (f'layer {{ name: "{name}" type: "Input" top: "{name}" '
            f"input_param {{ shape {{ {dims} }} }} }}")


def _conv(bottom: str, top: str, outputs: int, kernel: int, more: str = "") -> str:
    return _layer("Convolution", bottom, top, f"convolution_param {{ num_output: {outputs} "
                  f'kernel_size: {kernel} {more} weight_filler {{ type: "msra" }} }}')


def _normalized(bottom: str, top: str, outputs: int, kernel: int, more: str = "") -> list[str]:
    return [_conv(bottom, top, outputs, kernel, more),
            _layer("BatchNorm", top, options="batch_norm_param { use_global_stats: true }"),
            _layer("Scale", top, options="scale_param { bias_term: true }")]


def _pool(bottom: str, top: str, kernel: int = 2, stride: int = 2, method: str = "MAX") -> str:
    return _layer("Pooling", bottom, top, f"pooling_param {{ pool: {method} kernel_size: {kernel} "
                  f"stride: {stride} }}")


def _global_pool(bottom: str, top: str) -> str:
    return _layer("Pooling", bottom, top, "pooling_param { pool: AVE global_pooling: true }")


def _product(bottom: str, top: str, outputs: int) -> str:
    return _layer("InnerProduct", bottom, top, f"inner_product_param {{ num_output: {outputs} "
                  'weight_filler { type: "xavier" } }')


def _relu(blob: str) -> str:
    return _layer("ReLU", blob)
