"""Old forms of a net or solver, rewritten into the current one.

Each rewrite is a function of one message that returns a message: a new one when there was something
to do, the same one when not. The order matters: layers of 2013 (V0) become layers of 2014 (V1),
those become current ones, and then `input:` fields become an Input layer.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from caffe.engine import log
from caffe.engine.errors import PrototxtError
from caffe.engine.layer import layer_class
from caffe.engine.registry import nearest
from caffe.proto import caffe_pb2


def upgrade(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The net in the current form; a net that is current already comes back as it is."""
    for rewrite in (upgrade_layers, inputs_to_layer, freeze_statistics):
        param = rewrite(param)
    return param


def upgrade_layers(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """`layers` of 2013 and 2014 as `layer`; everything else of the net untouched."""
    for rewrite in (v0_padding_into_consumers, v0_to_v1, move_v1_transforms, v1_to_current):
        param = rewrite(param)
    return param


def upgrade_solver(param: caffe_pb2.SolverParameter) -> caffe_pb2.SolverParameter:
    """The enum `solver_type` as the string `type`. Raises PrototxtError where both are given."""
    if not param.HasField("solver_type"):
        return param
    if param.HasField("type"):
        raise PrototxtError("solver has both type and the old solver_type; remove solver_type")
    param = _copy(param)
    param.type = SOLVER_TYPES[param.solver_type]
    param.ClearField("solver_type")
    return param


SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")   # by enum value


def inputs_to_layer(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """`input:` with `input_shape` or `input_dim` as one layer "input" in front of the others.

    Inputs without any shape are dropped: weight files of 2015 name their inputs so.
    """
    if not param.input:
        return param
    shapes = _input_shapes(param)
    upgraded = _without(param, "input", "input_shape", "input_dim", "layer")
    if shapes:
        upgraded.layer.add(name="input", type="Input", top=param.input,
                           input_param={"shape": shapes})
    upgraded.layer.extend(param.layer)
    return upgraded


def _input_shapes(param: caffe_pb2.NetParameter) -> list[caffe_pb2.BlobShape]:
    count = len(param.input)
    if param.input_shape:
        if len(param.input_shape) != count:
            raise PrototxtError(f'net "{param.name}": {count} input but {len(param.input_shape)} '
                                "input_shape; give one input_shape for each input")
        return list(param.input_shape)
    dims = param.input_dim
    if dims and len(dims) != 4 * count:
        raise PrototxtError(f'net "{param.name}": {count} input need {4 * count} input_dim, got '
                            f"{len(dims)}; input_shape allows other than four axes")
    return [caffe_pb2.BlobShape(dim=dims[i:i + 4]) for i in range(0, len(dims), 4)]


def freeze_statistics(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """Statistics are never trained: of a BatchNorm that lists a `param` for each of its three."""
    if not any(map(_would_train_statistics, param.layer)):
        return param
    param = _copy(param)
    for layer in filter(_would_train_statistics, param.layer):
        for spec in layer.param:
            spec.lr_mult = spec.decay_mult = 0
    return param


def _would_train_statistics(layer: caffe_pb2.LayerParameter) -> bool:
    return (0 < layer_class(layer.type).num_statistics == len(layer.param)
            and any(spec.lr_mult or spec.decay_mult for spec in layer.param))


# Layers of 2014 (V1) ------------------------------------------------------------------------------

# Types whose present name is not the enum's name in camel case.
_V1_TYPES = {
    "NONE": "", "ABSVAL": "AbsVal", "ARGMAX": "ArgMax", "BNLL": "BNLL", "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output", "LRN": "LRN", "MVN": "MVN", "RELU": "ReLU", "TANH": "TanH",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
}
_V1_SAME = ("name", "bottom", "top", "include", "exclude", "blobs", "loss_weight")
_V1_PARAM_SPECS = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult",
                   "weight_decay": "decay_mult"}
_V1_DATA_PARAMS = ("data_param", "image_data_param", "window_data_param")


def v1_to_current(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """`layers { type: RELU }` -> `layer { type: "ReLU" }`; parallel lists -> `param { }`.

    Raises PrototxtError where both forms are in one net.
    """
    if not param.layers:
        return param
    if param.layer:
        raise PrototxtError(f'net "{param.name}" mixes "layers" (old form) with "layer"; '
                            'write all as "layer"')
    upgraded = _without(param, "layers")
    upgraded.layer.extend(map(_current_layer, param.layers))
    return upgraded


def _current_layer(old: caffe_pb2.V1LayerParameter) -> caffe_pb2.LayerParameter:
    layer = caffe_pb2.LayerParameter()
    layer.type = _current_type(caffe_pb2.V1LayerParameter.LayerType.Name(old.type))
    for field, value in old.ListFields():
        if field.name in _V1_PARAM_SPECS:
            _spread(value, layer.param, _V1_PARAM_SPECS[field.name])
        elif field.name in _V1_SAME or field.name.endswith("_param"):
            _assign(layer, field.name, value)
    return layer


def _current_type(v1_name: str) -> str:
    camel = "".join(word.capitalize() for word in v1_name.split("_"))
    return _V1_TYPES.get(v1_name, camel)


def _spread(values, specs, field: str) -> None:
    """values[i] becomes specs[i].field; specs grows as needed."""
    for i, value in enumerate(values):
        if i == len(specs):
            specs.add()
        setattr(specs[i], field, value)


def move_v1_transforms(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """scale, mean_file, crop_size and mirror of V1 data layers belong in transform_param."""
    if not any(_v1_transforms(layer) for layer in param.layers):
        return param
    param = _copy(param)
    for layer in param.layers:
        for options, field in _v1_transforms(layer):
            setattr(layer.transform_param, field, getattr(options, field))
            options.ClearField(field)
    return param


def _v1_transforms(layer: caffe_pb2.V1LayerParameter) -> list[tuple[Message, str]]:
    return [(getattr(layer, options), field)
            for options in _V1_DATA_PARAMS if layer.HasField(options)
            for field in ("scale", "mean_file", "crop_size", "mirror")
            if getattr(layer, options).HasField(field)]


# Layers of 2013 (V0) ------------------------------------------------------------------------------

# V0 type: V1 type, the V1 message its options go to, and {V0 field: field of that message}.
_V0_CONV = {"num_output": "num_output", "biasterm": "bias_term", "weight_filler": "weight_filler",
            "bias_filler": "bias_filler", "pad": "pad", "kernelsize": "kernel_size",
            "group": "group", "stride": "stride"}
_V0_INNER = {f: _V0_CONV[f] for f in ("num_output", "biasterm", "weight_filler", "bias_filler")}
_V0_POOL = {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride", "pool": "pool"}
_V0_SOURCE = {"source": "source", "batchsize": "batch_size"}
_V0_TYPES = {
    "accuracy": ("ACCURACY", "", {}),
    "bnll": ("BNLL", "", {}),
    "concat": ("CONCAT", "concat_param", {"concat_dim": "concat_dim"}),
    "conv": ("CONVOLUTION", "convolution_param", _V0_CONV),
    "data": ("DATA", "data_param", {**_V0_SOURCE, "rand_skip": "rand_skip"}),
    "dropout": ("DROPOUT", "dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "euclidean_loss": ("EUCLIDEAN_LOSS", "", {}),
    "flatten": ("FLATTEN", "", {}),
    "hdf5_data": ("HDF5_DATA", "hdf5_data_param", _V0_SOURCE),
    "hdf5_output": ("HDF5_OUTPUT", "", {}),
    "im2col": ("IM2COL", "", {}),
    "images": ("IMAGE_DATA", "image_data_param",
               {**_V0_SOURCE, "rand_skip": "rand_skip", "shuffle_images": "shuffle",
                "new_height": "new_height", "new_width": "new_width"}),
    "infogain_loss": ("INFOGAIN_LOSS", "infogain_loss_param", {"source": "source"}),
    "innerproduct": ("INNER_PRODUCT", "inner_product_param", _V0_INNER),
    "lrn": ("LRN", "lrn_param", {f: f for f in ("local_size", "alpha", "beta", "k")}),
    "multinomial_logistic_loss": ("MULTINOMIAL_LOGISTIC_LOSS", "", {}),
    "pool": ("POOLING", "pooling_param", _V0_POOL),
    "relu": ("RELU", "", {}),
    "sigmoid": ("SIGMOID", "", {}),
    "softmax": ("SOFTMAX", "", {}),
    "softmax_loss": ("SOFTMAX_LOSS", "", {}),
    "split": ("SPLIT", "", {}),
    "tanh": ("TANH", "", {}),
    "window_data": ("WINDOW_DATA", "window_data_param",
                    {**_V0_SOURCE, "det_fg_threshold": "fg_threshold",
                     "det_bg_threshold": "bg_threshold", "det_fg_fraction": "fg_fraction",
                     "det_context_pad": "context_pad", "det_crop_mode": "crop_mode"}),
}
_V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size",
                 "mirror": "mirror"}
_V0_SAME = ("name", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param")


def v0_to_v1(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """`layers { layer { type: "conv" kernelsize: 3 } }` -> a V1 layer with convolution_param."""
    if not _is_v0(param):
        return param
    upgraded = _without(param, "layers")
    upgraded.layers.extend(map(_v1_layer, param.layers))
    return upgraded


def _v1_layer(connection: caffe_pb2.V1LayerParameter) -> caffe_pb2.V1LayerParameter:
    old = connection.layer
    if old.type not in _V0_TYPES:
        hint = nearest(old.type, _V0_TYPES, f"known: {', '.join(_V0_TYPES)}")
        raise PrototxtError(f'layer "{old.name}": "{old.type}" is no type of the 2013 form{hint}')
    v1_type, options, fields = _V0_TYPES[old.type]
    layer = caffe_pb2.V1LayerParameter(bottom=connection.bottom, top=connection.top, type=v1_type)
    for field, value in old.ListFields():
        if field.name in fields:
            _assign(getattr(layer, options), fields[field.name], value)
        elif field.name in _V0_TRANSFORM:
            _assign(layer.transform_param, _V0_TRANSFORM[field.name], value)
        elif field.name in _V0_SAME:
            _assign(layer, field.name, value)
        elif field.name != "type":
            log.warning('layer "%s": a "%s" layer has no %s', old.name, old.type, field.name)
    return layer


def v0_padding_into_consumers(param: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """A "padding" layer goes away: the conv or pool layers that read its top take over its pad."""
    if not _is_v0(param):
        return param
    upgraded = _without(param, "layers")
    made_by: dict[str, caffe_pb2.V1LayerParameter] = {}      # blob -> the layer that made it last
    for connection in param.layers:
        if connection.layer.type != "padding":
            _take_over_padding(upgraded.layers.add(), connection, made_by)
        made_by.update(dict.fromkeys(connection.top, connection))
    return upgraded


def _take_over_padding(layer, connection, made_by) -> None:
    layer.CopyFrom(connection)
    for i, bottom in enumerate(connection.bottom):
        source = made_by.get(bottom)
        if source is None or source.layer.type != "padding":
            continue
        old = connection.layer
        if old.type not in ("conv", "pool") or len(connection.bottom) != 1:
            raise PrototxtError(f'layer "{old.name}" ({old.type}): padding layer '
                                f'"{source.layer.name}" may only feed a conv or pool layer')
        if len(source.bottom) != 1:
            raise PrototxtError(f'padding layer "{source.layer.name}": needs one bottom, '
                                f"got {len(source.bottom)}")
        layer.layer.pad = source.layer.pad
        layer.bottom[i] = source.bottom[0]


def _is_v0(param: caffe_pb2.NetParameter) -> bool:
    return any(layer.HasField("layer") for layer in param.layers)


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _without(message: Any, *fields: str) -> Any:
    """A copy less some fields, which are not copied first: they may hold all the weights."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name not in fields:
            _assign(copy, field.name, value)
    return copy


def _assign(message: Message, field: str, value) -> None:
    """message.field = value, whatever kind of field it is; a lone value starts a repeated field."""
    current = getattr(message, field)
    if isinstance(current, Message):
        current.CopyFrom(value)
    elif hasattr(current, "extend"):
        current.extend(value if hasattr(value, "__len__") else [value])
    else:
        setattr(message, field, value)
