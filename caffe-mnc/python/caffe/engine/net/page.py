"""A page that shows a net: `caffe summary --html`, and nets in notebooks.

One file of HTML without links to anywhere: the graph as SVG, a field that searches names and
types, and the fields of the layer that is clicked.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from caffe.engine.layer import layer_class
from caffe.engine.net.build import Node
from caffe.engine.net.page_text import PAGE
from caffe.engine.net.placement import Placement, place
from caffe.engine.net.summary import Row, readable_bytes, summarize, total
from caffe.proto import caffe_pb2

if TYPE_CHECKING:
    from caffe.engine.net.net import Net

BOX, ACROSS, DOWN, LINE = (180, 34), 210, 64, 18    # pixels: of a box, between boxes, of a layer


def page(net: Net, written: Mapping[str, Any] | None = None) -> str:
    """The HTML of a net.

    written: LayerParameters by the names of layers, to show in place of those the net has.
    """
    rows = {row.layer: row for row in summarize(net)}
    boxes, edges = _boxes(net, rows)
    title = net.name or "Net"
    sums = total(net, list(rows.values()))
    split = {top: node.bottom_names[0] for node in net.nodes if node.layer.name not in rows
             for top in node.top_names}
    layers = {node.layer.name: _fields(node, rows[node.layer.name], split,
                                       (written or {}).get(node.layer.name))
              for node in net.nodes if node.layer.name in rows}
    facts = (f"{len(rows)} layers, {sums.parameters:,} parameters, {sums.multiply_adds:,} "
             f"multiply-adds, {readable_bytes(sums.memory) or '0 B'} of outputs")
    data = json.dumps(layers).replace("</", "<\\/")     # no text of a net may end the script
    return PAGE.replace("@TITLE@", html.escape(title)).replace("@FACTS@", html.escape(facts)) \
        .replace("@GRAPH@", _graph(boxes, edges, rows)).replace("@LAYERS@", data)


def in_notebook(net: Net) -> str:
    """The page in a frame, as notebooks show it."""
    return (f'<iframe srcdoc="{html.escape(page(net))}" width="100%" height="600" '
            'style="border:1px solid #ccc"></iframe>')


def _boxes(net: Net, rows: Mapping[str, Row]) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """Layers by box, those in place with what they follow; edges between boxes."""
    maker: dict[int, int] = {}          # blob -> box
    boxes: list[list[str]] = []
    edges: dict[tuple[int, int], None] = {}
    for node in net.nodes:
        read = [maker[i] for i in node.bottom_ids]
        if node.layer.name not in rows:                 # a Split that the engine put in
            maker.update(dict.fromkeys(node.top_ids, read[0]))
            continue
        if node.in_place and len(set(read)) == 1:
            box = read[0]
            boxes[box].append(node.layer.name)
        else:
            box = len(boxes)
            boxes.append([node.layer.name])
            edges.update(dict.fromkeys((each, box) for each in read))
        maker.update(dict.fromkeys(node.top_ids, box))
    return boxes, list(edges)


def _graph(boxes: list[list[str]], edges: list[tuple[int, int]], rows: Mapping[str, Row]) -> str:
    placement = place(len(boxes), edges)
    heights = [max([0, *(len(box) for box, at in zip(boxes, placement.places) if at[0] == row)])
               for row in range(1 + max([0, *(at[0] for at in placement.places)]))]
    tops = [20 + sum(DOWN + LINE * (n - 1) for n in heights[:row]) for row in range(len(heights))]
    parts = [_edge(edge, path, boxes, tops) for edge, path in zip(edges, placement.edges)]
    parts += [_box(box, at, tops, rows) for box, at in zip(boxes, placement.places)]
    height = tops[-1] + DOWN + LINE * heights[-1] if heights else 0
    return (f'<svg id="graph" width="{_width(placement)}" height="{height}">'
            f'{"".join(parts)}</svg>')


def _width(placement: Placement) -> int:
    return int(placement.width * ACROSS) + 40


def _edge(edge: tuple[int, int], path: list[tuple[int, float]], boxes: list[list[str]],
          tops: list[int]) -> str:
    points = [(20 + at * ACROSS + BOX[0] / 2, tops[row]) for row, at in path]
    start = points[0][1] + BOX[1] + LINE * (len(boxes[edge[0]]) - 1)
    text = f"M{points[0][0]:g} {start}"
    last = (points[0][0], start)
    for x, y in points[1:]:
        middle = (last[1] + y) / 2
        text += f"C{last[0]:g} {middle:g} {x:g} {middle:g} {x:g} {y}"
        last = (x, y)
    return f'<path d="{text}"/>'


def _box(names: list[str], at: tuple[int, float], tops: list[int], rows: Mapping[str, Row]) -> str:
    x, y = 20 + at[1] * ACROSS, tops[at[0]]
    parts = []
    for i, name in enumerate(names):
        row, first = rows[name], i == 0
        height = BOX[1] if first else LINE
        top = y if first else y + BOX[1] + LINE * (i - 1)
        shown = name if len(name) <= 24 else f"{name[:23]}…"
        lines = [f'<text x="{x + 8:g}" y="{top + 14}">{html.escape(shown)}</text>']
        if first:
            lines.append(f'<text class="kind" x="{x + 8:g}" y="{top + 28}">'
                         f'{html.escape(row.type)} {html.escape(row.output)[:26]}</text>')
        color = layer_class(row.type).drawing(caffe_pb2.LayerParameter(type=row.type)).color
        parts.append(f'<g class="layer" data-layer="{html.escape(name)}" tabindex="0">'
                     f'<rect x="{x:g}" y="{top}" width="{BOX[0]}" height="{height}" '
                     f'style="--color:{color}"/>{"".join(lines)}</g>')
    return "".join(parts)


def _fields(node: Node, row: Row, split: Mapping[str, str],
            written: Any | None) -> dict[str, Any]:
    message = caffe_pb2.LayerParameter()
    message.CopyFrom(written if written is not None else node.layer.param)
    message.ClearField("blobs")
    message.bottom[:] = [split.get(name, name) for name in message.bottom]
    return {"type": row.type, "bottoms": [
                f"{split.get(name, name)}: {_shape(blob.shape)}" for name, blob in zip(
                    node.bottom_names, node.bottom)],
            "tops": [f"{name}: {_shape(blob.shape)}" for name, blob in zip(
                node.top_names, node.top)],
            "weights": [_shape(blob.shape) for blob in node.layer.blobs],
            "parameters": f"{row.parameters:,}", "multiply-adds": f"{row.multiply_adds:,}",
            "memory": readable_bytes(row.memory) or "0 B", "prototxt": str(message)}


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
