"""Layers that keep their weights in training: `mnc train --freeze conv1,conv2`."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format

from caffe.extend import layer_class, read_net
from caffe.proto import caffe_pb2
from mnc.nets.fit import TrainingError, train_net_path

log = logging.getLogger("mnc")


def freeze(layer: caffe_pb2.LayerParameter) -> None:
    """lr_mult and decay_mult 0 for every parameter of the layer."""
    while len(layer.param) < _count(layer):
        layer.param.add()
    for param in layer.param:
        param.lr_mult = param.decay_mult = 0


def slow_layers(net: caffe_pb2.NetParameter) -> list[str]:
    """Names of the layers that learn, but slower than the net's rate: ImageNet's, in Lite0."""
    return [layer.name for layer in net.layer if _count(layer) and layer.param
            and 0 < layer.param[0].lr_mult < 1]


def freeze_layers(net: caffe_pb2.NetParameter, names: Sequence[str]) -> list[str]:
    """Freeze the layers of these names in a train net, and those that share their parameters.

    A name stands for every layer whose name begins with it and does not go on with a digit: conv1
    for conv1_1 and conv1_2, not for conv10. What normalises and scales their output in place is
    frozen with them, statistics included. Returns the names of the layers. Raises TrainingError
    where a name stands for none.
    """
    learning = [layer for layer in net.layer if _count(layer)]
    chosen: set[str] = set()
    for name in names:
        found = {layer.name for layer in learning
                 if re.match(rf"{re.escape(name)}(?!\d)", layer.name)}
        if not found:
            raise TrainingError(f"--freeze {name}: no layer with weights is called so; there are "
                                f"{', '.join(layer.name for layer in learning)}")
        chosen |= found
    outputs: set[str] = set()
    for layer in net.layer:
        in_place = layer.top and layer.bottom == layer.top and outputs.issuperset(layer.top)
        if layer.name in chosen or (in_place and _count(layer)):
            chosen.add(layer.name)
            outputs.update(layer.top)
    shared = {param.name for layer in learning if layer.name in chosen
              for param in layer.param if param.name}
    frozen = [layer for layer in learning if layer.name in chosen
              or shared.intersection(param.name for param in layer.param)]
    for layer in frozen:
        freeze(layer)
        if layer_class(layer.type).num_statistics:
            layer.batch_norm_param.use_global_stats = True
    return [layer.name for layer in frozen]


def with_frozen_layers(solver: caffe_pb2.SolverParameter, names: Sequence[str],
                       folder: Path) -> caffe_pb2.SolverParameter:
    """The solver on a net of its own, FOLDER/train_frozen.prototxt, with these layers frozen."""
    net = read_net(str(train_net_path(solver)))
    log.info("freeze: %s", ", ".join(freeze_layers(net, names)))
    path = folder / "train_frozen.prototxt"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text_format.MessageToString(net))
    result = caffe_pb2.SolverParameter()
    result.CopyFrom(solver)
    for field in ("net", "train_net"):
        result.ClearField(field)
    result.train_net = str(path)
    return result


def _count(layer: caffe_pb2.LayerParameter) -> int:
    return layer_class(layer.type).parameter_count(layer) or 0
