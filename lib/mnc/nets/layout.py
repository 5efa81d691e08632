"""What may be other than in a net's table: features, stride, a vector of the whole image.

    Layout(features="pyramid").of(NETS["Mini"])     # its Sizes with three maps, strides 4, 8, 16
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from mnc.nets.backbones import Level, Pool, Row, Sizes, filler
from mnc.nets.command import NetError

FEATURES = ("single", "pyramid")
STRIDES = (4, 8, 16)
LEVELS = 3                  # at least, of a pyramid
HIDDEN = 1024               # units of fc6 and fc7 on a pyramid, at most
MASK_CHANNELS = 64          # of the convolutions of a mask there, at most


@dataclass(frozen=True)
class Layout:
    """How a net departs from its table."""

    features: str = "single"        # one of FEATURES
    stride: int | None = None       # image pixels a cell, of a pyramid's finest map; None: the
                                    # net's own, 4 of a pyramid
    context: bool = False           # a feature of the whole image joins those of each RoI

    def of(self, sizes: Sizes) -> Sizes:
        """The sizes of a net in this layout; raises NetError where it cannot be."""
        if self.features not in FEATURES or self.stride not in (None, *STRIDES):
            raise NetError(f"features are {' or '.join(FEATURES)}, a stride is 4, 8 or 16; got "
                           f"{self.features} and {self.stride}")
        sizes = replace(sizes, context=self.context)
        if self.features == "pyramid":
            return _pyramid(sizes, self.stride or STRIDES[0])
        return _strided(sizes, self.stride or sizes.feat_stride)

    def growth(self, sizes: Sizes) -> tuple[float, ...]:
        """Of the anchors, from the first of the maps to each."""
        strides = self.of(sizes).strides
        return tuple(stride / strides[0] for stride in strides)

    @property
    def flags(self) -> list[str]:
        """As the command line says it."""
        return [*(["--features", self.features] if self.features != "single" else []),
                *(["--stride", str(self.stride)] if self.stride else []),
                *(["--context"] if self.context else [])]

    @property
    def ending(self) -> str:
        """Of the name of a folder."""
        return "".join(f"_{word.lstrip('-')}" for word in self.flags)

    @classmethod
    def read(cls, words: Sequence[str]) -> Layout:
        """Of the words of a command that wrote a net."""
        after = dict(pairwise(words))
        stride = after.get("--stride")
        return cls(after.get("--features", "single"), int(stride) if stride else None,
                   "--context" in words)


PLAIN = Layout()            # as the tables are


def with_strides(rows: Iterable[Row]) -> Iterator[tuple[Row, int]]:
    """Each row and the pixels of the image a cell of its top."""
    stride = 1
    for row in rows:
        stride *= row.stride
        yield row, stride


def _strided(sizes: Sizes, stride: int) -> Sizes:
    """Rows that would step further do not, and those behind look as far as before (à trous).

    For a larger stride the last row has poolings before it.
    """
    if stride > sizes.feat_stride:
        return _coarser(sizes, stride)
    rows: list[Row] = []
    for row, own in with_strides(sizes.backbone):
        before = own // row.stride
        if own <= stride:
            rows.append(row)
        elif not (isinstance(row, Pool) and own > stride):
            rows.append(_dilated(row, max(before // stride, 1),
                                 1 if own > stride and row.stride > 1 else row.stride))
    return replace(sizes, backbone=tuple(rows), feat_stride=stride)


def _coarser(sizes: Sizes, stride: int) -> Sizes:
    if sizes.head:
        raise NetError(f"a ResNet's features have a stride of at most {sizes.feat_stride}, got "
                       f"{stride}")
    times = (stride // sizes.feat_stride).bit_length() - 1
    more = [Pool(f"_last{i + 1}") for i in range(times)]
    return replace(sizes, backbone=(*sizes.backbone[:-1], *more, sizes.backbone[-1]),
                   feat_stride=stride)


def _dilated(row: Any, dilation: int, stride: int) -> Row:
    changes = {"dilation": dilation} if hasattr(row, "dilation") else {}
    return replace(row, stride=stride, **changes)


def _pyramid(sizes: Sizes, stride: int) -> Sizes:
    """Maps from the last blob of each stride on; a ResNet's conv5 is a map, not a RoI's head.

    Where a net has rows for coarser maps alone, they come in place of its last. Masks are as fine
    as the warped RoI.
    """
    backbone = (*sizes.backbone[:-1], *sizes.coarser) if sizes.coarser else \
        (*sizes.backbone, *sizes.head)
    tops = {at: row.top for row, at in with_strides(backbone)}
    sources = [(at, top) for at, top in tops.items() if at >= stride]
    if stride not in tops:
        raise NetError(f"no features of stride {stride} to begin a pyramid with; there are those "
                       f"of {', '.join(map(str, tops))}")
    while len(sources) < LEVELS:
        sources.append((2 * sources[-1][0], ""))
    levels = tuple(Level(f"p{at.bit_length() - 1}", at, top) for at, top in sources)
    fillers = replace(sizes.fillers, hidden=sizes.fillers.hidden or filler("xavier"))
    return replace(
        sizes, backbone=backbone, head=(), features=backbone[-1].top, levels=levels,
        feat_stride=stride, exact=True, fillers=fillers, mask_size=sizes.warp,
        mask_convs=min(sizes.pyramid, MASK_CHANNELS), rpn=min(sizes.rpn, sizes.pyramid),
        fc6=min(sizes.fc6 or HIDDEN, HIDDEN), fc7=min(sizes.fc7 or HIDDEN, HIDDEN))
