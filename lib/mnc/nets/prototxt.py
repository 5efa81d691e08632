"""Writing of protobuf text: Python values to the usual Caffe layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

INLINE_WIDTH = 64      # a message of plain fields stays on one line up to this length


class Enum(str):
    """An enum value: written bare, unlike a string."""


def scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def message(fields: Mapping[str, object], indent: int = 0) -> list[str]:
    """Lines of a message: a mapping is a sub-message, a list repeats its field, None is nothing."""
    lines = []
    for name, value in fields.items():
        for item in _items(value):
            lines += _field(name, item, indent)
    return lines


def _items(value: object) -> Sequence[object]:
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple)) else (value,)


def _field(name: str, value: object, indent: int) -> list[str]:
    pad = "  " * indent
    if not isinstance(value, Mapping):
        return [f"{pad}{name}: {scalar(value)}"]
    inner = message(value, indent + 1)
    on_one_line = " ".join(line.strip() for line in inner)
    if not any(line.endswith("{") for line in inner) and len(on_one_line) <= INLINE_WIDTH:
        return [f"{pad}{name} {{ {on_one_line} }}"]
    return [f"{pad}{name} {{", *inner, f"{pad}}}"]


def blocks(name: str, fields: Mapping[str, object]) -> str:
    """A top-level message, opened out even when it is short."""
    return "\n".join([f"{name} {{", *message(fields, 1), "}"])


class NetText:
    """A net as it is being written: one block a layer, in order."""

    def __init__(self, name: str, phase: str):
        self.phase = phase
        self._parts = [f'name: "{name}"']

    @property
    def train(self) -> bool:
        return self.phase == "TRAIN"

    def comment(self, text: str) -> None:
        self._parts.append(f"\n# {text}")

    def input(self, name: str, *shape: int) -> None:
        self._parts.append(f'input: "{name}"\n' + blocks("input_shape", {"dim": list(shape)}))

    def layer(self, name: str, type: str, bottom=(), top=(), **fields: object) -> None:
        """Append a layer; bottom and top are names separated by blanks or a list of names."""
        bottom, top = ([*x.split()] if isinstance(x, str) else list(x) for x in (bottom, top))
        self._parts.append(
            blocks("layer", {"name": name, "type": type, "bottom": bottom, "top": top, **fields}))

    def text(self) -> str:
        return "\n".join(self._parts) + "\n"
