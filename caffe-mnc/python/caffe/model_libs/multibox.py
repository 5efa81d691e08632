"""What makes a net an SSD: the layer that reads its data, and the heads on its maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffe.model_libs.layers import ConvBNLayer
from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P
from caffe.proto import caffe_pb2


def CreateAnnotatedDataLayer(source: str, batch_size: int = 32, backend: int = P.Data.LMDB,
                             output_label: bool = True, train: bool = True,
                             label_map_file: str = "", anno_type: int | None = None,
                             transform_param: Any = None,
                             batch_sampler: Any = ({},)) -> Top | tuple[Top, ...]:
    """An AnnotatedData layer "data" of the phase TRAIN or TEST: its top, or (data, label)"""
    annotated: dict[str, Any] = {"label_map_file": label_map_file,
                                 "batch_sampler": list(batch_sampler)}
    if anno_type is not None:
        annotated["anno_type"] = anno_type
    return L.AnnotatedData(
        name="data", annotated_data_param=annotated, ntop=2 if output_label else 1,
        data_param={"batch_size": batch_size, "backend": backend, "source": source},
        include={"phase": caffe_pb2.Phase.Value("TRAIN" if train else "TEST")},
        transform_param=transform_param or {})


def CreateMultiBoxHead(net: NetSpec, data_layer: str = "data", num_classes: int = 0,
                       from_layers: Sequence[str] = (), use_objectness: bool = False,
                       normalizations: Sequence[float] = (), use_batchnorm: bool = True,
                       lr_mult: float = 1, use_scale: bool = True, min_sizes: Sequence[Any] = (),
                       max_sizes: Sequence[Any] = (), prior_variance: Sequence[float] = (0.1,),
                       aspect_ratios: Sequence[Any] = (), steps: Sequence[Any] = (),
                       img_height: int = 0, img_width: int = 0, share_location: bool = True,
                       flip: bool = True, clip: bool = True, offset: float = 0.5,
                       inter_layer_depth: Sequence[int] = (), kernel_size: int = 1, pad: int = 0,
                       conf_postfix: str = "", loc_postfix: str = "",
                       **bn_param: Any) -> list[Top]:
    """Heads on each of from_layers, concatenated: mbox_loc, mbox_conf, mbox_priorbox (,
    mbox_objectness)

    One entry a source in normalizations (-1: none), min_sizes, max_sizes, aspect_ratios, steps and
    inter_layer_depth; a list of sizes or ratios, or one. Each source has as many predictions a cell
    as its sizes and ratios say, twice the ratios with flip: give no ratio of 1 and none twice.
    use_scale has no effect, as in SSD.
    """
    _check(net, data_layer, num_classes, from_layers, {
        "normalizations": normalizations, "min_sizes": min_sizes, "max_sizes": max_sizes,
        "aspect_ratios": aspect_ratios, "steps": steps, "inter_layer_depth": inter_layer_depth})
    tops: dict[str, list[Top]] = {"loc": [], "conf": [], "priorbox": [], "objectness": []}
    for i, source in enumerate(from_layers):
        if normalizations and normalizations[i] != -1:
            source = _normalized(net, source, normalizations[i])
        if inter_layer_depth and inter_layer_depth[i] > 0:
            ConvBNLayer(net, source, f"{source}_inter", use_bn=use_batchnorm, use_relu=True,
                        lr_mult=lr_mult, num_output=inter_layer_depth[i], kernel_size=3, pad=1,
                        stride=1, **bn_param)
            source = f"{source}_inter"
        least, most, ratios = (_listed(each, i) for each in (min_sizes, max_sizes, aspect_ratios))
        cell = len(least) * (1 + bool(most) + len(ratios) * (1 + flip))
        outputs = {f"loc{loc_postfix}": cell * 4 * (1 if share_location else num_classes),
                   f"conf{conf_postfix}": cell * num_classes}
        if use_objectness:
            outputs["objectness"] = 2 * cell
        for (name, output), kind in zip(outputs.items(), ("loc", "conf", "objectness")):
            tops[kind].append(_predictions(
                net, source, name, use_bn=use_batchnorm, lr_mult=lr_mult, num_output=output,
                kernel_size=kernel_size, pad=pad, **bn_param))
        options = {"min_size": least, "clip": clip, "variance": list(prior_variance),
                   "offset": offset, **({"max_size": most} if most else {}),
                   **({"aspect_ratio": ratios, "flip": flip} if ratios else {}),
                   **_image_size(img_height, img_width)}
        if len(steps) > i and steps[i]:
            options["step"] = steps[i]
        net[f"{source}_mbox_priorbox"] = L.PriorBox(net[source], net[data_layer], **options)
        tops["priorbox"].append(net[f"{source}_mbox_priorbox"])
    return [_joined(net, kind, own) for kind, own in tops.items() if own]


def _check(net: NetSpec, data_layer: str, num_classes: int, from_layers: Sequence[str],
           lists: dict[str, Sequence[Any]]) -> None:
    if num_classes < 1:
        raise ValueError("CreateMultiBoxHead: give num_classes, the background counted")
    for name in (data_layer, *from_layers):
        if name not in net.tops:
            raise ValueError(f'CreateMultiBoxHead: the net has no top "{name}"; it has '
                             f"{', '.join(net.tops)}")
    if not lists["min_sizes"]:
        raise ValueError("CreateMultiBoxHead: give min_sizes")
    for name, values in lists.items():
        if values and len(values) != len(from_layers):
            raise ValueError(f"CreateMultiBoxHead: {len(values)} {name} for {len(from_layers)} "
                             f"from_layers")


def _listed(values: Sequence[Any], i: int) -> list[Any]:
    """Entry number i as a list, nothing if there is none"""
    if len(values) <= i:
        return []
    return list(values[i]) if isinstance(values[i], (list, tuple)) else [values[i]]


def _normalized(net: NetSpec, source: str, scale: float) -> str:
    net[f"{source}_norm"] = L.Normalize(
        net[source], scale_filler={"type": "constant", "value": scale}, across_spatial=False,
        channel_shared=False)
    return f"{source}_norm"


def _predictions(net: NetSpec, source: str, name: str, **options: Any) -> Top:
    """A convolution of the source; its outputs cell by cell, (N, H * W * num_output)"""
    conv = f"{source}_mbox_{name}"
    ConvBNLayer(net, source, conv, use_relu=False, stride=1, **options)
    net[f"{conv}_perm"] = L.Permute(net[conv], order=[0, 2, 3, 1])
    net[f"{conv}_flat"] = L.Flatten(net[f"{conv}_perm"], axis=1)
    return net[f"{conv}_flat"]


def _image_size(height: int, width: int) -> dict[str, int]:
    if not (height and width):
        return {}
    return {"img_size": height} if height == width else {"img_h": height, "img_w": width}


def _joined(net: NetSpec, kind: str, tops: list[Top]) -> Top:
    net[f"mbox_{kind}"] = L.Concat(*tops, axis=2 if kind == "priorbox" else 1)
    return net[f"mbox_{kind}"]
