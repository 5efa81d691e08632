#!/usr/bin/env python3
"""Write what is registered into caffe-mnc/README.md: python caffe-mnc/status_table.py"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- written by status_table.py -->", "<!-- end -->"

sys.path.insert(0, str(Path(__file__).with_name("python")))

from caffe.engine.compat.forks import forks_of_type  # noqa: E402
from caffe.engine.fillers import FILLERS  # noqa: E402
from caffe.engine.layer import LAYERS  # noqa: E402
from caffe.engine.registry import Registry  # noqa: E402
from caffe.engine.solving.lr_policies import LR_POLICIES  # noqa: E402
from caffe.engine.solving.update_rules import SOLVERS  # noqa: E402


def table() -> str:
    """All registered names; for layers the family file and the first line of the docstring."""
    lines = ["", f"{len(LAYERS.names())} layer types:", "",
             "| type | file | what | beside BVLC: of |", "|---|---|---|---|"]
    for name in LAYERS.names():
        entry = LAYERS.get(name)
        what = inspect.getdoc(entry).splitlines()[0].replace("|", "\\|")
        file = entry.__module__.partition(".layer_types.")[2].replace(".", "/")
        forks = ", ".join(fork.partition(" (")[0] for fork in forks_of_type(name))
        lines.append(f"| {name} | {file}.py | {what} | {forks} |")
    lines += ["", *(_line(*each) for each in (("Solvers", SOLVERS), ("Fillers", FILLERS),
                                              ("Learning-rate policies", LR_POLICIES))), ""]
    return "\n".join(lines)


def _line(title: str, registry: Registry) -> str:
    return f"{title}: {', '.join(registry.names())}.  "


def with_table(text: str) -> str:
    """The README with the part between the marks renewed."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
