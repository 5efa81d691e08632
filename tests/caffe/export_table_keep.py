"""Writes the table of docs/export.md: `python -m pytest tests/caffe/export_table.py` (minutes).

Every case of the contract test goes into nets of some tens of layers, which are exported; a layer
that an export names is taken out, and the rest tried again.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import layer_class
from caffe.engine.net.net import Net
from caffe.export import export
from test_layer_contract import ALL, prototxt

PAGE = Path(__file__).resolve().parents[2] / "docs/export.md"
BEGIN, END = "<!-- written by tests/caffe/export_table.py -->", "<!-- end -->"
TOGETHER = 24


def test_write_the_table(tmp_path):
    PAGE.write_text(with_table(PAGE.read_text(), table(tmp_path)))


def with_table(text: str, rows: str) -> str:
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{rows}{END}{rest.partition(END)[2]}"


def written() -> dict[str, tuple[str, ...]]:
    """type -> what the page has of it, by column: torch, pt2, onnx"""
    rows = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row]
    return {kind: tuple(rest) for kind, *rest in cells}


def table(folder: Path) -> str:
    entries = {p.id: p.values for p in ALL if p.values[1].bottoms and p.values[1].tops}
    movable = {name: each for name, each in entries.items() if movable_layer(*each)}
    refused = {target: tried(folder, target, movable) for target in ("pt2", "onnx")}
    lines = ["| type | torch | pt2 | onnx |", "|---|---|---|---|"]
    for kind in dict.fromkeys(kind for kind, _ in entries.values()):
        names = [name for name, (k, _) in entries.items() if k == kind]
        if not any(name in movable for name in names):
            lines.append(f"| {kind} | no | no | no |")
            continue
        cells = [cell([refused[target].get(name) for name in names]) for target in ("pt2", "onnx")]
        lines.append(f"| {kind} | yes | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def cell(reasons: list[str | None]) -> str:
    """What is said of a type whose cases were refused for these reasons (None: were not)."""
    given = sorted({reason for reason in reasons if reason})
    if not given:
        return "yes"
    return ("no: " if None not in reasons else "partly: ") + "; ".join(given)


def movable_layer(kind, case) -> bool:
    net = Net.from_proto(read_net(prototxt(kind, case)), caffe.TEST)
    layer = net.layer_dict["l"]
    return layer.pure or layer.keeps_batch


def joined(entries) -> tuple[Net, dict[str, np.ndarray]]:
    """One net with a layer a case, side by side, and the values of its inputs."""
    texts, values = [], {}
    for number, (name, (kind, case)) in enumerate(entries.items()):
        text = re.sub(r"'([bt]\d+)'", rf"'n{number}\1'", prototxt(kind, case))
        text = text.replace("name: 'l'", f"name: '{name}'")
        inputs, _, layer = text.partition("layer {")
        for i, shape in enumerate(re.findall(r"input_shape \{(.*?)\}", inputs)):
            texts.append(f"layer {{ name: 'in{number}b{i}' type: 'Input' top: 'n{number}b{i}' "
                         f"input_param {{ shape {{{shape}}} }} }}")
        texts.append("layer {" + layer)
        random = np.random.default_rng(7)
        values.update((f"n{number}b{i}", np.asarray(b.draw(b.shape, random), np.float32))
                      for i, b in enumerate(case.bottoms))
    caffe.set_random_seed(3)
    return Net.from_proto(read_net("\n".join(texts)), caffe.TEST), values


def tried(folder: Path, target: str, entries) -> dict[str, str]:
    """Names of the cases that a target refuses -> why"""
    refused: dict[str, str] = {}
    waiting = list(entries.items())
    while waiting:
        part, waiting = dict(waiting[:TOGETHER]), waiting[TOGETHER:]
        while part:
            try:
                net, values = joined(part)
                foreign = export(net, folder / "net", target, values=values).foreign
                print(target, "took", *part, *foreign, flush=True)
                break
            except (caffe.CaffeError, Exception) as error:
                said = str(error)
                names = [n for n in part if f'"{n}"' in said]
                print(target, names, type(error).__name__, said[:300], flush=True)
                if not names and len(part) == 1:
                    names = list(part)
                if not names:       # which one is not said: one by one
                    waiting = [*waiting]
                    half = len(part) // 2
                    items = list(part.items())
                    refused.update(tried(folder, target, dict(items[:half])))
                    refused.update(tried(folder, target, dict(items[half:])))
                    break
                for name in names:
                    refused[name] = reason(said, target)
                    del part[name]
    return refused


def reason(said: str, target: str) -> str:
    operator = re.search(r"no operator for ([\w:]+)", said)
    if operator:
        return f"{operator[1]} has no ONNX operator"
    return "values decide shapes" if "depends on values" in said else "differs"


assert layer_class
