"""Writes what the table of docs/export.md lacks: `python -m pytest tests/caffe/export_table.py`.

A row, or a column, stays as it is until it is taken out; the whole table takes ten minutes.
test_export_cases.py holds that it is true.
The cases of the contract test go into nets of some tens of layers, which are exported; a layer that
an export names is taken out, and the rest tried again.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import caffe
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.layer_module import reason_it_stays
from caffe.engine.net.net import Net
from caffe.export import export
from test_layer_contract import ALL, prototxt

PAGE = Path(__file__).resolve().parents[2] / "docs/export.md"
BEGIN, END = "<!-- written by tests/caffe/export_table.py -->", "<!-- end -->"
TOGETHER = 24
COLUMNS = {"torch": "torch", "pt2": "pt2", "code, torchscript": "torchscript", "onnx": "onnx"}
BLOBS = "no: values decide what is done"
ENTRIES = {p.id: p.values for p in ALL if p.values[1].bottoms and p.values[1].tops}


def test_write_the_table(tmp_path):
    rows = table(tmp_path)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{rows}{END}{rest.partition(END)[2]}")


def written() -> dict[str, dict[str, str]]:
    """type -> what the page has of it, by column"""
    head, _, *rows = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    _, *columns = cells_of(head)
    return {kind: dict(zip(columns, rest, strict=True)) for kind, *rest in map(cells_of, rows)}


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(folder: Path) -> str:
    rows = written()
    lines = [f"| type | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    movable = {name: entry for name, entry in ENTRIES.items() if can_move(*entry)}
    kinds = list(dict.fromkeys(kind for kind, _ in ENTRIES.values()))
    for column, target in COLUMNS.items():
        lacking = [kind for kind in kinds if column not in rows.setdefault(kind, {})]
        tried = {name: entry for name, entry in movable.items() if entry[0] in lacking}
        refused = refusals(folder, target, tried) if target != "torch" else {}
        for kind in lacking:
            found = [refused.get(name) for name, (other, _) in tried.items() if other == kind]
            rows[kind][column] = "yes" if target == "torch" else cell(found) if found else BLOBS
    lines += [f"| {kind} | {' | '.join(rows[kind][column] for column in COLUMNS)} |"
              for kind in kinds]
    return "\n".join(lines) + "\n"


def cell(reasons: list[str | None]) -> str:
    """What is said of a type whose cases were refused for these reasons (None: were not)."""
    given = sorted({reason for reason in reasons if reason})
    if not given:
        return "yes"
    return ("partly: " if None in reasons else "no: ") + "; ".join(given)


def can_move(kind, case) -> bool:
    layer = Net.from_proto(read_net(prototxt(kind, case)), caffe.TEST).layer_dict["l"]
    return reason_it_stays(layer) is None


def side_by_side(entries) -> tuple[Net, dict[str, np.ndarray]]:
    """One net with a layer a case, by the name of the case, and values of its inputs."""
    texts, values = [], {}
    for number, (name, (kind, case)) in enumerate(entries.items()):
        text = re.sub(r"'([bt]\d+)'", rf"'n{number}\1'", prototxt(kind, case))
        inputs, _, layer = text.partition("layer {")
        texts += [f"layer {{ name: 'in{number}b{i}' type: 'Input' top: 'n{number}b{i}' "
                  f"input_param {{ shape {{{shape}}} }} }}"
                  for i, shape in enumerate(re.findall(r"input_shape \{(.*?)\}", inputs))]
        texts.append("layer {" + layer.replace("name: 'l'", f"name: '{name}'", 1))
        random = np.random.default_rng(7)
        values.update((f"n{number}b{i}", np.asarray(b.draw(b.shape, random), np.float32))
                      for i, b in enumerate(case.bottoms))
    caffe.set_random_seed(3)
    return Net.from_proto(read_net("\n".join(texts)), caffe.TEST), values


def refusals(folder: Path, target: str, entries) -> dict[str, str]:
    """Name of each case that a target refuses -> why"""
    names = list(entries)
    if len(names) > TOGETHER:
        return {**refusals(folder, target, {n: entries[n] for n in names[:TOGETHER]}),
                **refusals(folder, target, {n: entries[n] for n in names[TOGETHER:]})}
    if not names:
        return {}
    net, values = side_by_side(entries)
    try:
        export(net, folder / "net", target, values=values)
        return {}
    except caffe.CaffeError as error:
        said = str(error)
    named = [name for name in names if f'"{name}"' in said] or names[:len(names) // 2 or 1]
    rest = {name: entries[name] for name in names if name not in named}
    if len(names) == 1 or f'"{named[0]}"' in said:
        return {**dict.fromkeys(named, reason(said)), **refusals(folder, target, rest)}
    return {**refusals(folder, target, {name: entries[name] for name in named}),
            **refusals(folder, target, rest)}


def reason(said: str) -> str:
    operator = re.search(r"no operator for ([\w:]+)", said)
    return f"{operator[1]} is no operator of ONNX" if operator else "values decide what is done"
