"""Names of classes in figures of matplotlib: as they are, whatever signs they have."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def as_they_are() -> dict[str, Any]:
    """Settings of a text: no mathematics between dollars; the font $MNC_FONT where it is given."""
    from matplotlib.font_manager import FontProperties

    own = os.environ.get("MNC_FONT")
    return {"parse_math": False, **({"fontproperties": FontProperties(fname=own)} if own else {})}


@contextmanager
def any_letters() -> Iterator[None]:
    """For drawing: letters that the font lacks are boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield
