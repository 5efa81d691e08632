"""The nets of this project as functions that write prototxt text.

    generate("Mini", "mnc_5stage", "models/Mini/mnc_5stage", classes=6, anchors=9)

Writing them needs no caffe; mnc.nets.fit, which reads them, does.
"""

from mnc.nets.backbones import NETS
from mnc.nets.command import NetError, generate_command
from mnc.nets.generate import TASKS, generate, generate_all
from mnc.nets.layout import Layout

__all__ = ["NETS", "TASKS", "Layout", "NetError", "generate", "generate_all", "generate_command"]


def __getattr__(name: str) -> object:
    """how_to_make, which was here once."""
    if name == "how_to_make":
        from mnc.nets.fit import how_to_make

        return how_to_make
    raise AttributeError(f"module 'mnc.nets' has no attribute {name!r}")
