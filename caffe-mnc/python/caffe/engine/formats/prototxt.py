"""Reads text files of nets, solvers and other messages; says where a file is wrong, and how.

    net.prototxt:12:3: LayerParameter has no field "convolution_params"; did you mean
    "convolution_param"?
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from caffe.engine import log, plugins
from caffe.engine.compat import forks
from caffe.engine.errors import PrototxtError
from caffe.engine.formats import extensions
from caffe.engine.formats.lenient import is_lenient, may_shape, without_field
from caffe.engine.formats.text import decode
from caffe.engine.formats.upgrade import upgrade, upgrade_solver
from caffe.engine.registry import nearest
from caffe.proto import caffe_pb2

M = TypeVar("M", bound=Any)        # a protobuf message


def read_net(source: str | os.PathLike[str]) -> caffe_pb2.NetParameter:
    """The net of a prototxt file, or of text that is one, in the current form of nets.

    Raises PrototxtError with file, line and column.
    """
    param = read_message(source, caffe_pb2.NetParameter())
    if missing := _inputs_without_source(param):
        raise PrototxtError(f'{label_of(source)}: input "{missing[0]}" has no shape; '
                            "add input_shape { dim: ... } for each input")
    return _located(source, upgrade, param)


def _inputs_without_source(param: caffe_pb2.NetParameter) -> list[str]:
    """Inputs in the old manner that have no shape and no layer that makes them.

    Caffe clears the old field; a net that has an Input layer beside it is whole without.
    """
    if param.input_shape or param.input_dim:
        return []
    made = {top for layer in (*param.layer, *param.layers) for top in layer.top}
    return [name for name in param.input if name not in made]


def read_solver(source: str | os.PathLike[str]) -> caffe_pb2.SolverParameter:
    """The solver of a prototxt file, or of text that is one; `solver_type` became `type`."""
    return _located(source, upgrade_solver, read_message(source, caffe_pb2.SolverParameter()))


def read_message(source: str | os.PathLike[str], message: M) -> M:
    """Fill `message` from a file or from text, and return it.

    Raises PrototxtError with file, line and column.
    """
    label = label_of(source)
    _parse(_text(source), message, label)
    missing = message.FindInitializationErrors()
    if missing:
        raise PrototxtError(f"{label}: missing {', '.join(missing)}")
    return message


def _parse(text: str, message: Message, label: str) -> None:
    """Fill `message`; where reading is lenient, unknown fields are left out with a warning."""
    plugins.load_named()
    while True:
        try:
            text_format.Parse(extensions.for_protobuf(text), message)
            return
        except text_format.ParseError as error:
            if further := _further(text, error):
                text = further
                message.Clear()
                continue
            explained = f"{label}:{_explain(error, message)}"
            unknown = _UNKNOWN_FIELD.search(str(error))
            if not (is_lenient() and unknown):
                raise PrototxtError(explained) from error
            if may_shape(_short(unknown[1]), unknown[2]):
                raise PrototxtError(f"{explained}. Reading is lenient, but this may change shapes "
                                    f"or parameters, so that the net would be another; take it out "
                                    f"of the file if it would not") from error
            log.warning("%s (left out)", explained)
            text = without_field(text, error.GetLine() or 0, error.GetColumn() or 0)
            message.Clear()


def _further(text: str, error: text_format.ParseError) -> str:
    """`text` with a field that a fork repeats by the name it has here; '' if that is not it."""
    match = _REPEATED.search(str(error))
    name = match and _SEVERAL.get((_short(match[1]), match[2]))
    if not match or not name:
        return ""
    lines = text.split("\n")
    line, column = error.GetLine() or 1, error.GetColumn() or 0
    end = sum(len(each) + 1 for each in lines[:line - 1]) + column
    found = [m for m in re.finditer(rf"\b{match[2]}\b", text) if m.start() < end]
    return f"{text[:found[-1].start()]}{name}{text[found[-1].end():]}" if found else ""


def _is_text(source: str | os.PathLike[str]) -> bool:
    """Text has several lines, or begins as a field does: `name: value`, `name { ... }`.

    A single line that ends as names of files do, or that names a file, is a name.
    """
    if not isinstance(source, str) or "\n" in source:
        return isinstance(source, str)
    return bool(_FIELD.match(source)) and not _FILE_NAME.search(source) \
        and not os.path.exists(source)


def label_of(source: str | os.PathLike[str]) -> str:
    """What errors call a source: the name of the file, `<text>` for a net given as text."""
    return "<text>" if _is_text(source) else os.fspath(source) or '""'


def _text(source: str | os.PathLike[str]) -> str:
    if _is_text(source):
        return str(source)
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise PrototxtError(f"{label_of(source)}: cannot be read: {error.strerror}") from error
    text = decode(data)[0]
    if "\0" in text:
        raise PrototxtError(f"{os.fspath(source)}: is a binary file, not a text prototxt")
    return text


def _located(source, rewrite, param):
    try:
        return rewrite(param)
    except PrototxtError as error:
        raise PrototxtError(f"{label_of(source)}: {error}") from error


_FIELD = re.compile(r"\s*\w+\s*[:{<]")
_FILE_NAME = re.compile(r"\.(prototxt|pt|txt|pbtxt|caffemodel|h5|json|ya?ml)$", re.I)
_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]+)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named ([^\s]+?)\.?$')
_REPEATED = re.compile(r'Message type "([\w.]+)" should not have multiple "([^"]+)" fields')
_SEVERAL = {("TransformationParameter", "resize_param"): "other_resize_param"}
_POSITION = re.compile(r"^\d+:\d+ : ")


def _explain(error: text_format.ParseError, message: Message) -> str:
    """`12:3: what is wrong` from a protobuf error."""
    reason = _POSITION.sub("", str(error))
    pool = message.DESCRIPTOR.file.pool
    if match := _UNKNOWN_FIELD.search(reason):
        known = [*pool.FindMessageTypeByName(match[1]).fields_by_name, *_declared(match[1])]
        reason = f'{_short(match[1])} has no field "{match[2]}"{_hint(match[2], known, match[1])}'
    elif match := _UNKNOWN_VALUE.search(reason):
        values = pool.FindEnumTypeByName(match[1]).values_by_name
        reason = f'{_short(match[1])} has no value "{match[2]}"{_hint(match[2], values, match[1])}'
    elif match := _REPEATED.search(reason):
        reason = f'{_short(match[1])} has "{match[2]}" more than once; it takes one value'
    return f"{error.GetLine()}:{error.GetColumn()}: {reason}"


def _declared(message: str) -> list[str]:
    """Fields of LayerParameter that layer types of other packages have."""
    return list(extensions.fields().values()) if _short(message) == "LayerParameter" else []


# What the two forms of a layer, `layer` and `layers`, do not share: (message, name) -> instead.
_OTHER_FORM = {
    ("LayerParameter", "blobs_lr"): "in `layer` it is param { lr_mult: ... }, one for each blob",
    ("LayerParameter", "weight_decay"): "in `layer` it is param { decay_mult: ... }, one for each "
                                        "blob",
    ("V1LayerParameter.LayerType", "PYTHON"): 'write the layer as layer { type: "Python" ... }, '
                                              "and all others of the file in that form",
}


def _hint(name: str, known, message: str) -> str:
    if instead := _OTHER_FORM.get((_short(message), name)):
        return f"; {instead}"
    if said := _other_file(name, _short(message)):
        return f"; {said}"
    if said := forks.said_of(name, kind="field"):
        return f"; {said}"
    return nearest(name, known, f"known: {', '.join(known)}")


def _other_file(name: str, message: str) -> str:
    """What to say where a solver's file stands for a net's, or the other way round."""
    if message == "NetParameter" and name in caffe_pb2.SolverParameter.DESCRIPTOR.fields_by_name:
        return "this is the file of a solver, where that of a net is wanted"
    if message == "SolverParameter" and name in caffe_pb2.NetParameter.DESCRIPTOR.fields_by_name:
        return "this is the file of a net, where that of a solver is wanted, which names the net"
    return ""


def _short(full_name: str) -> str:
    return full_name.removeprefix("caffe.")
