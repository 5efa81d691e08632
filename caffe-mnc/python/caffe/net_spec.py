"""Nets written in Python: `n.conv1 = L.Convolution(n.data, num_output=20, kernel_size=5)`.

`layers` (L) makes layers of any type, `params` (P) knows the enums of the options, and a `NetSpec`
gives names; `to_proto` turns the tops, and all they depend on, into a NetParameter.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

from google.protobuf.message import Message

from caffe.engine.formats import extensions
from caffe.engine.registry import nearest
from caffe.proto import caffe_pb2


def param_name_dict() -> dict[str, str]:
    """Layer type -> stem of the field with its options: {'Convolution': 'convolution', ...}."""
    options = [f for f in caffe_pb2.LayerParameter.DESCRIPTOR.fields if f.name.endswith("_param")]
    own = {f.message_type.name.removesuffix("Parameter"): f.name.removesuffix("_param")
           for f in options if f.message_type}
    return own | {kind: field.removesuffix("_param")
                  for kind, field in extensions.fields().items()}


def to_proto(*tops: Top | Function) -> Any:
    """A NetParameter of `tops` and everything before them; all names are made up."""
    writer = _Writer({})
    for top in tops:
        writer.write(_function(top))
    return writer.net()


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """proto.name = val, where lists fill repeated fields and dicts fill messages.

    Raises AttributeError where there is no such field.
    """
    if name not in proto.DESCRIPTOR.fields_by_name and not _is_declared(proto, name):
        raise AttributeError(f"{proto.DESCRIPTOR.name} has no field {name!r}"
                             f"{nearest(name, proto.DESCRIPTOR.fields_by_name)}")
    field = _field(proto, name)
    if hasattr(field, "extend"):
        for item in val if isinstance(val, (list, tuple)) else [val]:
            if isinstance(item, dict):
                _assign_all(field.add(), item)
            elif isinstance(item, Message):
                field.add().CopyFrom(item)
            else:
                field.append(item)
    elif isinstance(val, dict):
        _assign_all(field, val)
    elif isinstance(val, Message):
        field.CopyFrom(val)
    else:
        setattr(proto, name, val)


def _is_declared(proto: Message, name: str) -> bool:
    """Whether it is the field of a layer type of another package (caffe.register_layer)."""
    return proto.DESCRIPTOR.name == "LayerParameter" and name in extensions.fields().values()


def _field(proto: Message, name: str) -> Any:
    return extensions.options(proto, name) if _is_declared(proto, name) else getattr(proto, name)


def _assign_all(proto: Message, values: dict[str, Any]) -> None:
    for name, value in values.items():
        assign_proto(proto, name, value)


_SEVERAL = ("; a layer with several tops gives a tuple of them: name each, "
            "n.a, n.b = L.Slice(..., ntop=2)")


class Top:
    """Output number `n` of the layer `fn`."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn, self.n = fn, n

    def to_proto(self) -> Any:
        """A NetParameter of this output and everything before it."""
        return to_proto(self)

    def _update(self, params: dict[str, Any]) -> None:
        self.fn._update(params)


class Function:
    """A layer of `type_name` on the tops `inputs`, with keyword options.

    Options are fields of the type's own message or of LayerParameter. Three are for us: `ntop`
    (how many tops, 1), `in_place` (the tops are the bottoms), and with `ntop=0` a `name` is kept.
    """

    def __init__(self, type_name: str, inputs: tuple[Any, ...], params: dict[str, Any]) -> None:
        for index, each in enumerate(inputs):
            if not isinstance(each, Top):
                # pycaffe's sentence, which scripts look for
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(each)})"
                                + _SEVERAL * isinstance(each, (tuple, list)))
        self.type_name, self.inputs, self.params = type_name, inputs, dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def to_proto(self) -> Any:
        """A NetParameter of this layer and everything before it."""
        return to_proto(self)

    def _update(self, params: dict[str, Any]) -> None:
        self.params.update(params)


def _function(top: Any) -> Function:
    if not isinstance(top, (Top, Function)):
        raise TypeError(f"{top!r} is not a Top (type is {type(top)})"
                        + _SEVERAL * isinstance(top, (tuple, list)))
    return top if isinstance(top, Function) else top.fn


class _Writer:
    """Collects LayerParameters; `names` are those the user gave to tops and layers."""

    def __init__(self, names: dict[Top | Function, str]) -> None:
        self.names = dict(names)
        self.layers: OrderedDict[Function, Any] = OrderedDict()
        self._made_up: Counter[str] = Counter()
        self._options = param_name_dict()

    def net(self) -> Any:
        return caffe_pb2.NetParameter(layer=self.layers.values())

    def write(self, function: Function) -> None:
        """Append a layer behind those it reads; walks with a stack, for nets are deep."""
        stack = [function]
        while stack:
            waiting = [t.fn for t in stack[-1].inputs if t.fn not in self.layers]
            if waiting:
                stack.append(waiting[0])
                continue
            last = stack.pop()
            if last not in self.layers:
                self.layers[last] = self._layer(last)

    def _layer(self, function: Function) -> Any:
        layer = caffe_pb2.LayerParameter(type=function.type_name)
        layer.bottom.extend(self.layers[t.fn].top[t.n] for t in function.inputs)
        layer.top.extend(layer.bottom if function.in_place
                         else [self._name(top, function) for top in function.tops])
        layer.name = self._name(function.tops[0] if function.tops else function, function)
        for name, value in function.params.items():
            self._assign(layer, name, value)
        return layer

    def _name(self, owner: Top | Function, function: Function) -> str:
        if owner not in self.names:
            self._made_up[function.type_name] += 1
            self.names[owner] = f"{function.type_name}{self._made_up[function.type_name]}"
        return self.names[owner]

    def _assign(self, layer: Any, name: str, value: Any) -> None:
        """An option of the type's message if it has one of that name; else of the layer."""
        options = self._options.get(layer.type)
        if not name.endswith("param") and options:
            message = _field(layer, f"{options}_param")
            if name in message.DESCRIPTOR.fields_by_name:
                assign_proto(message, name, value)
                return
            if name not in layer.DESCRIPTOR.fields_by_name:
                raise AttributeError(
                    f"{layer.type} has no option {name!r}"
                    f"{nearest(name, [*message.DESCRIPTOR.fields_by_name, 'ntop', 'in_place'])}")
        assign_proto(layer, name, value)


class NetSpec:
    """Names for tops: `n.conv1 = L.Convolution(...)` or `n['conv1'] = ...`; del n.conv1 forgets it.

    `n.tops` is the OrderedDict of them; `n.to_proto()` the net they are the tops of.
    """

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Any) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name == "tops" or name not in self.tops:     # "tops": a copy that has no content yet
            raise AttributeError(f"the NetSpec has no top {name!r}"
                                 f"{nearest(name, self.__dict__.get('tops', ()))}")
        return self.tops[name]

    def __delattr__(self, name: str) -> None:
        if name not in self.tops:
            raise AttributeError(f"the NetSpec has no top {name!r}{nearest(name, self.tops)}")
        del self.tops[name]

    def __setitem__(self, key: str, value: Any) -> None:
        self.tops[key] = value

    def __getitem__(self, item: str) -> Any:
        return self.tops[item]

    def __delitem__(self, key: str) -> None:
        del self.tops[key]

    def keys(self) -> list[str]:
        """The names, in the order of naming."""
        return list(self.tops)

    def vals(self) -> list[Any]:
        """What they name."""
        return list(self.tops.values())

    def update(self, name: str, params: dict[str, Any]) -> None:
        """Give the layer of the top `name` these options, too; they replace those of before."""
        self[name].fn.params.update(params)

    def to_proto(self) -> Any:
        """The NetParameter of all named tops and what they depend on, in the order of naming."""
        writer = _Writer({top: name for name, top in self.tops.items()})
        for top in self.tops.values():
            writer.write(_function(top))
        return writer.net()


class Layers:
    """L: an attribute is a layer type; calling it with tops and options makes such a layer."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def layer(*args: Any, **kwargs: Any) -> Any:
            """The top; a tuple of tops if there are several; the Function if there is none."""
            function = Function(name, args, kwargs)
            if not function.tops:
                return function
            return function.tops[0] if len(function.tops) == 1 else function.tops
        layer.__name__ = name
        return layer


class Parameters:
    """P: P.Pooling.MAX is the number of MAX in PoolingParameter."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Enums(name)


class _Enums:
    def __init__(self, name: str) -> None:
        self._name = f"{name}Parameter"

    def __getattr__(self, name: str) -> Any:
        message = getattr(caffe_pb2, self._name, None)
        if message is None:
            messages = caffe_pb2.DESCRIPTOR.message_types_by_name
            raise AttributeError(f"there is no {self._name}{nearest(self._name, messages)}")
        if not hasattr(message, name):
            values = [v for e in message.DESCRIPTOR.enum_types for v in e.values_by_name]
            raise AttributeError(f"{self._name} has no {name!r}{nearest(name, values)}")
        return getattr(message, name)


layers = Layers()
params = Parameters()
