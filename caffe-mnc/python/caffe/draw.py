"""Drawings of nets: layers and blobs as a graph of pydot, laid out by Graphviz."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from caffe.engine.description import Drawing
from caffe.engine.errors import CaffeError
from caffe.engine.layer import layer_class
from caffe.engine.optional import need
from caffe.proto import caffe_pb2

LAYER_STYLE_DEFAULT = {"shape": "record", "fillcolor": Drawing().color, "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}
BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}


def get_pooling_types_dict() -> dict[int, str]:
    """Number of a pooling method -> its name."""
    return {number: name for name, number in caffe_pb2.PoolingParameter.PoolMethod.items()}


def get_edge_label(layer: Any) -> str:
    """What flows out of a layer: batch size or number of outputs; '""' where neither is known."""
    return _drawing(layer).flows


def get_layer_lr_mult(layer: Any) -> tuple[float, float]:
    """(lr_mult of the weights, of the bias) of a layer that has both.

    Raises ValueError for layers that have not.
    """
    if not _drawing(layer).weight_and_bias:
        raise ValueError(f"{layer.type} layers have no lr_mult of weight and bias")
    if len(layer.param) > 2:
        raise ValueError(f'layer "{layer.name}" ({layer.type}) has {len(layer.param)} param '
                         f"entries where two are known")
    given = [spec.lr_mult for spec in layer.param]
    return (*given, 1.0, 1.0)[:2]


def get_layer_label(layer: Any, rankdir: str, display_lrm: bool = False) -> str:
    """Name, type, window and perhaps multipliers of a layer, in quotes.

    A drawing from top to bottom has room beside a word, one from left to right below it.
    """
    drawing = _drawing(layer)
    lines = [layer.name, f"({' '.join(filter(None, (layer.type, drawing.kind)))})"]
    if drawing.window:
        lines += [f"kernel size: {drawing.window[0]}", f"stride: {drawing.window[1]}",
                  f"pad: {drawing.window[2]}"]
    if display_lrm and drawing.weight_and_bias:
        multipliers = get_layer_lr_mult(layer)
        if any(multipliers):
            lines.append("lr mult: {:.1f}, {:.1f}".format(*multipliers))
    return '"{}"'.format((" " if rankdir in ("TB", "BT") else r"\n").join(lines))


def _drawing(layer: Any) -> Drawing:
    return layer_class(layer.type).drawing(layer)


def choose_color_by_layertype(layertype: str) -> str:
    """The fill colour of a layer's box."""
    return _drawing(caffe_pb2.LayerParameter(type=layertype)).color


def get_pydot_graph(caffe_net: Any, rankdir: str, label_edges: bool = True,
                    phase: int | None = None, display_lrm: bool = False) -> Any:
    """The graph of a NetParameter; of the layers of one phase if `phase` is given."""
    pydot = _pydot()
    graph = pydot.Dot(caffe_net.name or "Net", graph_type="digraph", rankdir=rankdir)
    nodes: dict[str, Any] = {}
    edges: list[Any] = []
    for layer in caffe_net.layer:
        if not _is_in(layer, phase):
            continue
        node = pydot.Node(get_layer_label(layer, rankdir, display_lrm), **_style(layer))
        nodes[f"{layer.name}_{layer.type}"] = node
        for name in [*layer.bottom, *layer.top]:
            nodes.setdefault(f"{name}_blob", pydot.Node(_quoted(name), **BLOB_STYLE))
        label = get_edge_label(layer) if label_edges else '""'
        edges += [pydot.Edge(nodes[f"{name}_blob"], node, label='""') for name in layer.bottom]
        edges += [pydot.Edge(node, nodes[f"{name}_blob"], label=_quoted(label))
                  for name in layer.top]
    for node in nodes.values():
        graph.add_node(node)
    for edge in edges:
        graph.add_edge(edge)
    return graph


def _pydot() -> ModuleType:
    return need("pydot", package="pydot", feature="caffe.draw")


def _quoted(text: str) -> str:
    """Graphviz reads colons and slashes as its own syntax outside quotes."""
    return text if text.startswith('"') else f'"{text}"'


def _style(layer: Any) -> dict[str, str]:
    if list(layer.bottom) == list(layer.top) and len(layer.top) == 1:
        return NEURON_LAYER_STYLE
    return {**LAYER_STYLE_DEFAULT, "fillcolor": choose_color_by_layertype(layer.type)}


def _is_in(layer: Any, phase: int | None) -> bool:
    """Whether the rules of a layer let it into the nets of a phase, as far as they name phases."""
    if layer.include and layer.exclude:
        raise ValueError(f"layer {layer.name} has both include and exclude rules; use one kind")
    if phase is None:
        return True
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def draw_net(caffe_net: Any, rankdir: str, ext: str = "png", phase: int | None = None,
             display_lrm: bool = False) -> bytes:
    """The drawing of a NetParameter as a file of format `ext` ("raw": Graphviz's own text).

    Raises CaffeError where the program dot is missing.
    """
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    if ext == "raw":
        return graph.to_string().encode()
    try:
        return graph.create(format=ext)
    except FileNotFoundError as error:
        raise CaffeError("drawing nets needs the program dot of Graphviz on the PATH (Debian, "
                         "Ubuntu: apt install graphviz); format raw works without it") from error


def draw_net_to_file(caffe_net: Any, filename: str, rankdir: str = "LR", phase: int | None = None,
                     display_lrm: bool = False) -> None:
    """Draw a NetParameter into a file, whose ending is the format."""
    drawing = draw_net(caffe_net, rankdir, filename.rpartition(".")[2], phase, display_lrm)
    with open(filename, "wb") as file:
        file.write(drawing)
