"""Options of layer types that are defined outside this package: `my_param { ... }` in a prototxt.

Such a message is a protobuf extension of LayerParameter. Files of text spell its field like any
other; protobuf wants brackets around it, which reading adds and `as_written` takes away. Its number
is made from its name, so that weight files of one process are read in another.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FieldDescriptor

from caffe.engine.errors import CaffeError, PrototxtError
from caffe.engine.formats.messages import read_messages
from caffe.proto import caffe_pb2

Field = descriptor_pb2.FieldDescriptorProto
FIRST, COUNT = 100_000_000, 400_000_000         # extension numbers of LayerParameter in caffe.proto
SCALARS = {bool: Field.TYPE_BOOL, int: Field.TYPE_INT32, float: Field.TYPE_FLOAT,
           str: Field.TYPE_STRING}

_declared: dict[str, tuple[str, FieldDescriptor]] = {}      # by field: layer type, extension


def snake_case(name: str) -> str:
    """"PwAttend" -> "pw_attend", "ROIAlign" -> "roi_align" """
    apart = re.sub(r"([A-Z]+)([A-Z][a-z])|([a-z\d])([A-Z])", r"\1\3_\2\4", name)
    return apart.lower()


def declare(kind: str, params: Mapping[str, Any] | str | os.PathLike[str]) -> FieldDescriptor:
    """Make `kind`'s options a field of LayerParameter, `snake_case(kind)_param`.

    params: a .proto file with a message KINDParameter (or one message alone), or a dict of fields:
    a type (int, float, bool, str) or a default value of it; [int] and the like for repeated ones; a
    tuple of names for an enum, the first the default; a message class of caffe_pb2.
    Raises CaffeError if the name is taken or the fields cannot be understood.
    """
    field = f"{snake_case(kind)}_param"
    if field in caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name or field in _declared:
        raise CaffeError(f'layer type "{kind}": LayerParameter has a field {field} already')
    number = FIRST + zlib.crc32(field.encode()) % COUNT
    file = descriptor_pb2.FileDescriptorProto(
        name=f"caffe/plugins/{field}.proto", package="caffe", syntax="proto2",
        dependency=[caffe_pb2.DESCRIPTOR.name])
    if isinstance(params, Mapping):
        wanted = f"{kind}Parameter"
        _fill_message(file.message_type.add(name=wanted), kind, params)
    else:
        wanted = _from_file(file, Path(params), f"{kind}Parameter")
    file.extension.add(name=field, number=number, type=Field.TYPE_MESSAGE, extendee=".caffe."
                       "LayerParameter", type_name=f".caffe.{wanted}", label=Field.LABEL_OPTIONAL)
    pool: Any = descriptor_pool.Default()
    try:
        pool.AddSerializedFile(file.SerializeToString())
    except TypeError as error:
        raise CaffeError(f'layer type "{kind}": its message cannot be used: {error}') from error
    extension = pool.FindExtensionByName(f"caffe.{field}")
    _declared[field] = kind, extension
    return extension


def _from_file(file: Any, path: Path, wanted: str) -> str:
    """Add the messages of a .proto file; returns the name of the one to use."""
    read_messages(path, file)
    names = [message.name for message in file.message_type]
    if wanted in names:
        return wanted
    if len(names) == 1:
        return names[0]
    raise CaffeError(f"{path}: no message {wanted}; it has {', '.join(names) or 'none'}")


def _fill_message(message: Any, kind: str, fields: Mapping[str, Any]) -> None:
    for number, (name, what) in enumerate(fields.items(), 1):
        field = message.field.add(name=name, number=number, label=Field.LABEL_OPTIONAL)
        if isinstance(what, list) and len(what) == 1:
            field.label, what = Field.LABEL_REPEATED, what[0]
        descriptor = getattr(what, "DESCRIPTOR", None)
        if isinstance(what, tuple) and what and all(isinstance(each, str) for each in what):
            enum = message.enum_type.add(name=name.title().replace("_", ""))
            for value, each in enumerate(what):
                enum.value.add(name=each, number=value)
            field.type = Field.TYPE_ENUM
            field.type_name = f".caffe.{message.name}.{enum.name}"
        elif descriptor is not None:
            field.type, field.type_name = Field.TYPE_MESSAGE, f".{descriptor.full_name}"
        elif what in SCALARS:
            field.type = SCALARS[what]
        elif type(what) in SCALARS and field.label == Field.LABEL_OPTIONAL:
            field.type = SCALARS[type(what)]
            field.default_value = str(what).lower() if isinstance(what, bool) else str(what)
        else:
            raise CaffeError(f'layer type "{kind}": field {name!r} is {what!r}; it is a type (int, '
                             "float, bool, str) or a default value, [type] where it is repeated, a "
                             "tuple of names for an enum, or a message class of caffe_pb2")


def forget(kind: str) -> None:
    """The fields of `kind` are no longer read. (Protobuf keeps the name: it cannot be declared anew
    with other fields in this process.)"""
    for field in [f for f, (owner, _) in _declared.items() if owner == kind]:
        del _declared[field]


def fields() -> dict[str, str]:
    """Layer type -> its field in LayerParameter, of all that were declared."""
    return {kind: field for field, (kind, _) in _declared.items()}


def options(layer_param: Any, field: str) -> Any:
    """The options of that field in a LayerParameter; writing to them sets it."""
    return layer_param.Extensions[_declared[field][1]]


# Strings and comments are taken whole, so that what looks like a field in them stays.
_SKIPPED = r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|#[^\n]*"


def for_protobuf(text: str) -> str:
    """Text of a net with the fields declared here in brackets, as protobuf reads them."""
    if not _declared:
        return text
    names = "|".join(map(re.escape, _declared))
    pattern = re.compile(rf"{_SKIPPED}|(?<![\w.\[])({names})(?=\s*[:{{<])")
    return pattern.sub(lambda m: f"[caffe.{m[1]}]" if m[1] else m[0], text)


def as_written(text: str) -> str:
    """Text that protobuf has made, with these fields as a prototxt spells them."""
    if not _declared:
        return text
    names = "|".join(map(re.escape, _declared))
    return re.sub(rf"{_SKIPPED}|\[caffe\.({names})\]", lambda m: m[1] or m[0], text)


__all__ = ["PrototxtError", "as_written", "declare", "fields", "for_protobuf", "forget", "options",
           "snake_case"]
