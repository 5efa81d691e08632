"""Reads message definitions in the language of .proto files (proto2), as far as layers need them.

Messages, enums, messages and enums inside, optional, required and repeated fields, defaults. What
else the language has (services, oneof, maps, options) is an error with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from caffe.engine.errors import PrototxtError
from caffe.proto import caffe_pb2

Field = descriptor_pb2.FieldDescriptorProto
SCALARS = {name: getattr(Field, f"TYPE_{name.upper()}") for name in (
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "string",
    "bytes")}
LABELS = {"optional": Field.LABEL_OPTIONAL, "required": Field.LABEL_REQUIRED,
          "repeated": Field.LABEL_REPEATED}
_TOKEN = re.compile(r"""\s+|//[^\n]*|/\*.*?\*/|(?P<token>"(?:\\.|[^"\\])*"|[\w.+-]+|\S)""", re.S)


def read_messages(path: Path, file: Any) -> None:
    """Add the messages and enums of the .proto file `path` to a FileDescriptorProto.

    Raises PrototxtError with file and line.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise PrototxtError(f"{path}: cannot be read: {error.strerror}") from error
    reader = _Reader(path, text)
    while (word := reader.next(end=True)) is not None:
        if word == "message":
            reader.message(file.message_type.add(), f".{file.package}")
        elif word == "enum":
            reader.enum(file.enum_type.add())
        elif word in ("syntax", "package", "import", "option"):
            reader.skip_statement()
        else:
            reader.fail(f"a message or an enum, got {word!r}")
    _name_types(file)


class _Reader:
    """The tokens of a file, one after the other, and what they say."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.line = path, 1
        self._tokens = self._split(text)

    def _split(self, text: str) -> Iterator[tuple[int, str]]:
        for match in _TOKEN.finditer(text):
            if match["token"]:
                yield text.count("\n", 0, match.start()) + 1, match["token"]

    def next(self, *, end: bool = False) -> Any:
        """The next token; None at the end of the file if that may be here."""
        self.line, token = next(self._tokens, (self.line, None))
        if token is None and not end:
            self.fail("more; the file ends here")
        return token

    def fail(self, wanted: str) -> None:
        raise PrototxtError(f"{self.path}:{self.line}: there should be {wanted}")

    def expect(self, wanted: str) -> None:
        if (token := self.next()) != wanted:
            self.fail(f"{wanted!r}, got {token!r}")

    def skip_statement(self) -> None:
        while self.next() != ";":
            pass

    def message(self, message: Any, scope: str) -> None:
        message.name = self.next()
        self.expect("{")
        while (word := self.next()) != "}":
            if word == "message":
                self.message(message.nested_type.add(), f"{scope}.{message.name}")
            elif word == "enum":
                self.enum(message.enum_type.add())
            elif word in LABELS:
                self.field(message.field.add(label=LABELS[word]))
            elif word in ("reserved", "extensions", "option"):
                self.skip_statement()
            else:
                self.fail(f"optional, required, repeated, message or enum, got {word!r}")

    def field(self, field: Any) -> None:
        kind, field.name = self.next(), self.next()
        if kind in SCALARS:
            field.type = SCALARS[kind]
        else:
            field.type_name = kind              # resolved when all messages are known
        self.expect("=")
        field.number = self.number()
        while (word := self.next()) != ";":
            if word == "default":
                self.expect("=")
                field.default_value = self.next().strip('"')

    def enum(self, enum: Any) -> None:
        enum.name = self.next()
        self.expect("{")
        while (word := self.next()) != "}":
            self.expect("=")
            enum.value.add(name=word, number=self.number())
            self.expect(";")

    def number(self) -> int:
        token = self.next()
        try:
            return int(token, 0)
        except ValueError:
            self.fail(f"a number, got {token!r}")
            raise


def _name_types(file: Any) -> None:
    """Full names, and the kinds, of the messages and enums that fields are of."""
    known: dict[str, int] = {}
    for name, message in caffe_pb2.DESCRIPTOR.message_types_by_name.items():
        known[f".caffe.{name}"] = Field.TYPE_MESSAGE
        known.update({f".caffe.{name}.{enum.name}": Field.TYPE_ENUM for enum in message.enum_types})
    known.update({f".caffe.{name}": Field.TYPE_ENUM
                  for name in caffe_pb2.DESCRIPTOR.enum_types_by_name})
    scope = f".{file.package}"
    known.update({f"{scope}.{enum.name}": Field.TYPE_ENUM for enum in file.enum_type})
    for message in file.message_type:
        known.update(_inside(message, scope))
    for message in file.message_type:
        _name_fields(message, scope, known)


def _inside(message: Any, scope: str) -> dict[str, int]:
    here = f"{scope}.{message.name}"
    found = {here: int(Field.TYPE_MESSAGE)}
    found.update({f"{here}.{enum.name}": int(Field.TYPE_ENUM) for enum in message.enum_type})
    for inner in message.nested_type:
        found.update(_inside(inner, here))
    return found


def _name_fields(message: Any, scope: str, known: dict[str, int]) -> None:
    here = f"{scope}.{message.name}"
    for field in message.field:
        if not field.type_name:
            continue
        places = [f"{here}.{field.type_name}", f"{scope}.{field.type_name}",
                  f".caffe.{field.type_name.removeprefix('caffe.')}"]
        full = next((place for place in places if place in known), None)
        if full is None:
            raise PrototxtError(f"{message.name}.{field.name}: no type {field.type_name!r}; it is "
                                f"a message or enum of the file or of caffe.proto, or one of "
                                f"{', '.join(SCALARS)}")
        field.type_name, field.type = full, known[full]
    for inner in message.nested_type:
        _name_fields(inner, here, known)
