"""What a net consists of, layer by layer: shapes, parameters, multiply-adds, memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffe.engine.net.net import Net

COLUMNS = ("layer", "type", "output", "parameters", "multiply-adds", "memory")


@dataclass(frozen=True)
class Row:
    """One layer, or all of them.

    parameters: their values, those it shares too. multiply_adds: of its products with weights, in
    one forward pass. memory: bytes of its tops, 0 where they lie in a bottom's.
    """

    layer: str
    type: str
    shapes: tuple[tuple[int, ...], ...]     # of its tops
    parameters: int
    multiply_adds: int
    memory: int

    @property
    def output(self) -> str:
        return ", ".join(" x ".join(map(str, shape)) or "scalar" for shape in self.shapes)


def summarize(net: Net) -> list[Row]:
    """A row for each layer but the Splits that the engine put in, with the present shapes."""
    rows, seen = [], set()
    for node in net.nodes:
        layer = node.layer
        memory = 0
        for blob in node.top:
            if blob.memory not in seen:
                seen.add(blob.memory)
                memory += blob.count * blob.dtype.itemsize
        if layer.aliases_bottom and layer.name.endswith("_split"):
            continue
        tops = [blob.shape for blob in node.top]
        rows.append(Row(layer.name, layer.type, tuple(tops), sum(b.count for b in layer.blobs),
                        layer.multiply_adds([blob.shape for blob in node.bottom], tops), memory))
    return rows


def total(net: Net, rows: Sequence[Row]) -> Row:
    """The sums; parameters that layers share count once."""
    return Row("total", "", (), sum(blob.count for blob in net.learnable_params),
               sum(row.multiply_adds for row in rows), sum(row.memory for row in rows))


def table(net: Net) -> str:
    """The rows and the total as text, a line each."""
    rows = summarize(net)
    lines = [COLUMNS, *map(_cells, [*rows, total(net, rows)])]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(
        cell.ljust(width) if i < 3 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (f"{row.parameters:,}" if row.parameters else "",
               f"{row.multiply_adds:,}" if row.multiply_adds else "", readable_bytes(row.memory))
    return (row.layer, row.type, row.output, *numbers)


def readable_bytes(count: int) -> str:
    """`12.3 MB`; nothing for 0."""
    if not count:
        return ""
    power = min(3, int(math.log(count, 1000)))
    return f"{count / 1000 ** power:.{1 if power else 0}f} {('B', 'kB', 'MB', 'GB')[power]}"
