"""The command that writes a net; each prototxt of ours has it in its first line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ANCHORS = 9                            # 3 scales x 3 ratios
GENERATED = "# Generated: "            # before the command
# The name in the prototxts, where it is not that of the net.
NAMES = {("VGG16", "faster_rcnn_end2end"): "VGG_ILSVRC_16_layers"}


class NetError(ValueError):
    """A net, a task or a size that cannot be generated."""


def generate_command(net: str, task: str, classes: int, anchors: int = ANCHORS,
                     folder: str | Path | None = None, *, layout: Sequence[str] = ()) -> str:
    """layout: the flags of mnc.nets.layout.Layout."""
    words = ["python", "models/generate.py", "--net", net, "--task", task, "--classes",
             str(classes), "--anchors", str(anchors), *layout]
    return " ".join([*words, *(["--out", str(folder)] if folder else [])])
