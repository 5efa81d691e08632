"""The nets of this project as functions that write prototxt text.

    generate("Mini", "mnc_5stage", "models/Mini/mnc_5stage", classes=6, anchors=9)
"""

from mnc.nets.backbones import NETS
from mnc.nets.generate import TASKS, NetError, generate, generate_all, generate_command, how_to_make

__all__ = ["NETS", "TASKS", "NetError", "generate", "generate_all", "generate_command",
           "how_to_make"]
