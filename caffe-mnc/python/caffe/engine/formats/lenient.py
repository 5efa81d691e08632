"""Lenient reading: unknown fields of a text file are taken out, with a warning each.

Fields that could change shapes are not: a net of other shapes is another net.
"""

from __future__ import annotations

import re

_enabled = False

_TOKEN = re.compile(
    r"""\#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[{}<>\[\]:;,]|[^\s{}<>\[\]:;,"'\#]+""")
_OPEN, _CLOSE = "{<[", "}>]"


def set_lenient(on: bool = True) -> None:
    """From now on an unknown field in a prototxt is a warning (True) or an error (False)."""
    global _enabled
    _enabled = bool(on)


def is_lenient() -> bool:
    return _enabled


# Words of fields that give a layer's top its shape, or its parameters theirs.
_SHAPING = re.compile(r"axes|axis|ceil|crop|depth|dilat|dim|factor|floor|group|height|hole|kernel|"
                      r"length|num_|order|output|pad|pool|round|scale_bias|shape|size|stride|"
                      r"width|_[hw]$")
_NO_OPTIONS = ("NetParameter", "LayerParameter", "V1LayerParameter", "SolverParameter")


def may_shape(message: str, field: str) -> bool:
    """Whether an unknown field of a message could change the shapes of a net: it is never left out.

    Judged by its name; fields of layers, nets and solvers themselves do not.
    """
    return message not in _NO_OPTIONS and bool(_SHAPING.search(field))


def without_field(text: str, line: int, column: int) -> str:
    """`text` with the field whose name is at line and column (from 1) blanked out."""
    start = sum(len(each) + 1 for each in text.split("\n")[:line - 1]) + column - 1
    end = _end_of_field(text, start)
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def _end_of_field(text: str, start: int) -> int:
    """Behind the value of the field that starts there: a scalar, strings in a row, or brackets."""
    tokens = [m for m in _TOKEN.finditer(text, start) if not m[0].startswith("#")]
    end, depth, place = tokens[0].end(), 0, 1
    if place < len(tokens) and tokens[place][0] == ":":
        end, place = tokens[place].end(), place + 1
    for i, token in enumerate(tokens[place:], place):
        depth += (token[0] in _OPEN) - (token[0] in _CLOSE)
        if depth < 0:
            return end
        end = token.end()
        if depth == 0 and not (_is_string(token[0]) and _is_string(_text_of(tokens, i + 1))):
            return end
    return end


def _text_of(tokens: list[re.Match], i: int) -> str:
    return tokens[i][0] if i < len(tokens) else ""


def _is_string(token: str) -> bool:
    return token[:1] in ('"', "'")
