"""From a NetParameter to connected layers: filter by state, insert splits, connect, mark gradients.

Each pass is `NetParameter -> NetParameter` or one walk over the nodes; together they do what
Caffe's `Net::Init` does, by the same rules and with the same names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from caffe.engine import memory, plugins
from caffe.engine.blob import Blob
from caffe.engine.compat import forks, python2
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer
from caffe.engine.registry import nearest
from caffe.proto import caffe_pb2

T = TypeVar("T")
AUTOMATIC = "(automatic)"       # the name of a loss's top that the net does not name


@dataclass
class Node:
    """One layer of a net with its blobs: themselves, their names, their numbers in the net."""

    layer: Layer
    bottom_ids: list[int] = field(default_factory=list)
    top_ids: list[int] = field(default_factory=list)
    bottom_names: list[str] = field(default_factory=list)
    top_names: list[str] = field(default_factory=list)
    bottom: list[Blob] = field(default_factory=list)
    top: list[Blob] = field(default_factory=list)
    loss_weights: list[float] = field(default_factory=list)
    need_backward: bool = False

    @cached_property
    def in_place(self) -> bool:
        """Known once the net is connected."""
        return any(i in self.bottom_ids for i in self.top_ids)

    @cached_property
    def is_loss(self) -> bool:
        """Whether a top counts in the loss; known once the net is connected."""
        return any(self.loss_weights)


# --- passes over the text of the net -----------------------------------------------------------

def filter_by_state(param: Any, state: Any) -> Any:
    """Keep the layers whose include/exclude rules let them into a net of this NetState.

    Raises LayerError for a layer that has both kinds of rules.
    """
    kept = caffe_pb2.NetParameter()
    kept.CopyFrom(param)
    del kept.layer[:]
    for layer in param.layer:
        if layer.include and layer.exclude:
            raise LayerError(f'layer "{layer.name}" ({layer.type}) has both include and exclude '
                             f"rules; use one kind")
        included = any(meets(state, r) for r in layer.include) if layer.include else \
            not any(meets(state, r) for r in layer.exclude)
        if included:
            kept.layer.add().CopyFrom(layer)
    return kept


def meets(state: Any, rule: Any) -> bool:
    """Whether a NetState satisfies a NetStateRule."""
    stages = set(state.stage)
    return ((not rule.HasField("phase") or rule.phase == state.phase)
            and (not rule.HasField("min_level") or state.level >= rule.min_level)
            and (not rule.HasField("max_level") or state.level <= rule.max_level)
            and stages.issuperset(rule.stage)
            and stages.isdisjoint(rule.not_stage))


def insert_splits(param: Any) -> Any:
    """Give each blob with several consumers a Split layer, named as Caffe names it.

    A loss weight on a top counts as a consumer; it moves to the first top of the Split.
    """
    source, uses = _trace(param)
    out = caffe_pb2.NetParameter()
    out.CopyFrom(param)
    del out.layer[:]
    taken: Counter = Counter()
    for i, original in enumerate(param.layer):
        layer = out.layer.add()
        layer.CopyFrom(original)
        for j in range(len(original.bottom)):
            top = source[i, j]
            if uses[top] > 1:
                layer.bottom[j] = _split_blob(param, top, taken[top])
                taken[top] += 1
        for j in range(len(original.top)):
            if uses[i, j] > 1:
                taken[i, j] += _add_split(out, param, layer, (i, j), uses[i, j])
    return out


def _trace(param: Any) -> tuple[dict, Counter]:
    """(layer, bottom) -> the (layer, top) that produces it; and how often each top is used."""
    produced: dict[str, tuple[int, int]] = {}
    source: dict[tuple[int, int], tuple[int, int]] = {}
    uses: Counter[tuple[int, int]] = Counter()
    for i, layer in enumerate(param.layer):
        for j, name in enumerate(layer.bottom):
            if name not in produced:
                raise LayerError(_unknown_bottom(param, i, name, produced))
            source[i, j] = produced[name]
            uses[produced[name]] += 1
        for j, name in enumerate(layer.top):
            produced[name] = (i, j)
            if j < len(layer.loss_weight) and layer.loss_weight[j]:
                uses[i, j] += 1
    return source, uses


def _unknown_bottom(param: Any, index: int, name: str, produced: dict) -> str:
    layer = param.layer[index]          # it may make the blob itself: in place, with a typo in both
    later = [other.name for other in param.layer[index + 1:]
             if name in other.top and name not in other.bottom]
    hint = f'; it is made by layer "{later[0]}", which comes later' if later else \
        nearest(name, produced, "no layer before it makes a top of that name")
    return f'layer "{layer.name}" ({layer.type}): unknown bottom blob "{name}"{hint}'


def _split_name(param: Any, top: tuple[int, int]) -> str:
    layer = param.layer[top[0]]
    return f"{layer.top[top[1]]}_{layer.name}_{top[1]}_split"


def _split_blob(param: Any, top: tuple[int, int], index: int) -> str:
    return f"{_split_name(param, top)}_{index}"


def _add_split(out: Any, param: Any, layer: Any, top: tuple[int, int], count: int) -> int:
    """Append the Split of `top`; returns how many of its tops the loss has taken."""
    j = top[1]
    weight = layer.loss_weight[j] if j < len(layer.loss_weight) else 0.0
    split = out.layer.add(name=_split_name(param, top), type="Split", bottom=[layer.top[j]])
    split.top.extend(_split_blob(param, top, k) for k in range(count))
    if not weight:
        return 0
    split.loss_weight.extend([weight] + [0.0] * (count - 1))
    layer.loss_weight[j] = 0.0
    return 1


# --- layers and their connections ----------------------------------------------------------------

def connect(param: Any, make_layer: Callable[[Any], Layer], make_blob: Callable[[], Blob],
            on_ready: Callable[[Node], None]) -> tuple[list[Node], list[str], list[Blob]]:
    """Create, connect and set up the layers in order: (nodes, blob names, blobs).

    `on_ready(node)` is called after each layer's setup, before the next is made.

    Raises LayerError where two layers make one blob, or one cannot be made.
    """
    nodes: list[Node] = []
    names: list[str] = []
    blobs: list[Blob] = []
    current: dict[str, int] = {}        # blob name -> its position
    for layer_param in param.layer:
        node = Node(make_layer(layer_param))
        node.bottom_ids = [current[name] for name in layer_param.bottom]
        for j, name in enumerate(layer_param.top):
            if j < len(layer_param.bottom) and layer_param.bottom[j] == name:
                node.top_ids.append(current[name])
                continue
            if name in current:
                raise LayerError(f'{node.layer.title}: top blob "{name}" is already made by an '
                                 f"earlier layer; rename it, or make it the bottom too (in place)")
            node.top_ids.append(_append(names, blobs, name, make_blob()))
            current[name] = node.top_ids[-1]
        for _ in range(_automatic_tops(node)):
            node.top_ids.append(_append(names, blobs, AUTOMATIC, make_blob()))
        node.bottom, node.bottom_names = _at(node.bottom_ids, blobs), _at(node.bottom_ids, names)
        node.top, node.top_names = _at(node.top_ids, blobs), _at(node.top_ids, names)
        set_up(node)
        on_ready(node)
        nodes.append(node)
    return nodes, names, blobs


def _at(places: list[int], values: list[T]) -> list[T]:
    return [values[i] for i in places]


def _append(names: list[str], blobs: list[Blob], name: str, blob: Blob) -> int:
    names.append(name)
    blobs.append(blob)
    return len(blobs) - 1


def _automatic_tops(node: Node) -> int:
    """A loss layer may leave its top unnamed: Caffe gives it one that nobody sees."""
    layer = node.layer
    return max(0, layer.num_top.least - len(node.top_ids)) if layer.default_loss_weight else 0


def set_up(node: Node) -> None:
    """Arity, setup, first reshape and loss weights of one layer.

    Raises LayerError where one of these does not fit.
    """
    layer = node.layer
    layer.check_arity(node.bottom, node.top)
    with noted(layer), sized(layer):
        layer.setup(node.bottom, node.top)
        layer.reshape(node.bottom, node.top)
    given = list(layer.param.loss_weight)
    if given and len(given) != len(node.top):
        raise LayerError(f"{layer.title} has {len(node.top)} top(s) but {len(given)} loss_weight")
    default = [layer.default_loss_weight] + [0.0] * len(node.top)
    node.loss_weights = given or default[:len(node.top)]
    for blob, weight in zip(node.top, node.loss_weights):
        if weight:
            blob.diff_tensor.fill_(weight)


@contextmanager
def sized(layer: Layer) -> Iterator[None]:
    """Arrays too large for the machine are a LayerError with the layer and its largest number."""
    try:
        yield
    except (memory.SizeError, MemoryError, OverflowError, RuntimeError) as error:
        large = isinstance(error, (memory.SizeError, MemoryError, OverflowError)) or any(
            word in str(error) for word in ("overflow", "allocate memory"))
        if not large or isinstance(error, LayerError):
            raise
        value, field = memory.largest_number(layer.param)
        where = f"; its largest number is {field}: {value}" if field else ""
        raise LayerError(f"{layer.title}: {str(error) or 'out of memory'}{where}") from error


class noted:
    """Context: an exception is shown with the layer's name, and a hint if it is Python 2's."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            annotate(self.layer, error)


def annotate(layer: Layer, error: BaseException) -> None:
    """What `noted` does, for loops that a context at each layer would slow down."""
    if layer.title not in str(error) and hasattr(error, "add_note"):
        python2.add_note(error, f"in {layer.title}")
    python2.annotate(error)


def make_layer(param: Any, phase: int, dtype: Any, device: Any) -> Layer:
    """The layer that a LayerParameter describes. Raises LayerError for an unknown type."""
    plugins.load_named()
    try:
        kind = LAYERS.get(param.type)
    except LayerError as error:
        said = forks.said_of(param.type, kind="type")
        reason = f'unknown layer type "{param.type}"; {said}' if said else error
        raise LayerError(f'layer "{param.name}": {reason}') from None
    return kind(param, phase, dtype, device)


# --- which gradients are needed ----------------------------------------------------------------

def mark_backward(nodes: list[Node], force: bool, learns: Callable[[Node], list[bool]]) -> None:
    """Decide for every layer, bottom and parameter whether backward computes its gradient.

    A bottom needs one if its blob depends on something that learns, unless `propagate_down`
    says otherwise; nothing that the loss does not depend on is computed. `force_backward`
    overrides both for every bottom that can have a gradient.
    """
    _mark_needs(nodes, learns)
    _drop_what_no_loss_needs(nodes)
    if force:
        for node in nodes:
            node.need_backward = True
            layer = node.layer
            layer.bottom_needs_gradient = [
                need or i not in layer.no_gradient
                for i, need in enumerate(layer.bottom_needs_gradient)]
            layer.blob_needs_gradient = [True] * len(layer.blobs)


def _mark_needs(nodes: list[Node], learns: Callable[[Node], list[bool]]) -> None:
    needed: dict[int, bool] = defaultdict(bool)
    for node in nodes:
        layer, given = node.layer, list(node.layer.param.propagate_down)
        if given and len(given) != len(node.bottom):
            raise LayerError(f"{layer.title} has {len(node.bottom)} bottom(s) but {len(given)} "
                             f"propagate_down")
        layer.bottom_needs_gradient = given or [needed[i] for i in node.bottom_ids]
        layer.blob_needs_gradient = learns(node)
        node.need_backward = any(layer.bottom_needs_gradient) or any(layer.blob_needs_gradient)
        for i in node.top_ids:
            needed[i] = node.need_backward


def _drop_what_no_loss_needs(nodes: list[Node]) -> None:
    under_loss: set[int] = set()
    skipped: set[int] = set()
    for node in reversed(nodes):
        layer = node.layer
        counts = [i for i, w in zip(node.top_ids, node.loss_weights) if w or i in under_loss]
        if all(i in skipped for i in node.top_ids):
            node.need_backward = False
            layer.bottom_needs_gradient = [False] * len(node.bottom)
        if counts:
            under_loss.update(node.bottom_ids)
        else:
            node.need_backward = False
            layer.bottom_needs_gradient = [False] * len(node.bottom)
        skipped.update(i for i, need in zip(node.bottom_ids, layer.bottom_needs_gradient)
                       if not need)
