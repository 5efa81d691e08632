"""Initial weights of the masked path: an ImageNet model with its RoI layers a second time.

A cascade classifies a RoI twice, with its whole features and with those under its mask. ImageNet
knows one such head (fc6 and fc7, or conv5 of a ResNet); both start from it.
mnc.commands.make_mask_init alone asks; what weights a net starts from is this room's.
"""

from __future__ import annotations

import re
from pathlib import Path

from caffe.extend import PROTOBUF_LIMIT, WeightsError, atomic_path, read_caffemodel
from caffe.proto import caffe_pb2

# Layers of the box path in ImageNet models: NAME has its like on the masked path in NAME_mask.
HEAD = re.compile(r"fc[67]|(res|bn|scale)5[a-z]\w*")


def default_output(model: str | Path) -> Path:
    """VGG16.caffemodel or VGG16.v2.caffemodel -> VGG16.mask.caffemodel"""
    name = Path(model).name.removesuffix(".caffemodel").removesuffix(".v2")
    return Path(model).with_name(f"{name}.mask.caffemodel")


def make_mask_init(model: str | Path, output: str | Path) -> list[str]:
    """Write `model` with its RoI layers doubled; returns the names of the layers copied.

    Raises WeightsError if it has none, or if `output` is the model itself.
    """
    if Path(output).resolve() == Path(model).resolve():
        raise WeightsError(f"{output}: the weights would be written over the model they are made "
                           "of; name another file")
    message = read_caffemodel(model)
    copied = double_head(message)
    if not copied:
        raise WeightsError(f"{model}: no layer fc6, fc7 or of a ResNet's conv5 with weights to "
                           "copy to the masked path; is it an ImageNet model?")
    if message.ByteSize() > PROTOBUF_LIMIT:
        raise WeightsError(f"{output}: the weights would exceed protobuf's 2 GB")
    with atomic_path(output) as temporary:
        Path(temporary).write_bytes(message.SerializeToString())
    return copied


def double_head(message: caffe_pb2.NetParameter) -> list[str]:
    """Append a NAME_mask to the message for each NAME of the head; returns the names.

    Layers that have their like already are left alone. Works on old and on present formats.
    """
    copied = []
    for layers in (message.layers, message.layer):
        present = {_described(layer).name for layer in layers}
        for layer in list(layers):
            name = _described(layer).name
            if not (HEAD.fullmatch(name) and _described(layer).blobs):
                continue
            if name.endswith("_mask") or f"{name}_mask" in present:
                continue
            added = layers.add()
            added.CopyFrom(layer)
            _described(added).name = f"{name}_mask"
            copied.append(name)
    return copied


def _described(layer):
    """The V0 format nests the layer in a connection."""
    nested = isinstance(layer, caffe_pb2.V1LayerParameter) and layer.HasField("layer")
    return layer.layer if nested else layer
