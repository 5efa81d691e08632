"""Every layer case of the contract test in files, where docs/export.md says that it goes there."""

from __future__ import annotations

import gc
import importlib.util

import pytest

import export_table
from export_table import ENTRIES, can_move, refusals, written

PARTS = 12
MISSING = [name for name in ("onnx", "onnxscript", "onnxruntime")
           if importlib.util.find_spec(name) is None]
TARGETS = pytest.mark.parametrize("column, target", [
    ("code, torchscript", "torchscript"), pytest.param("onnx", "onnx", marks=pytest.mark.skipif(
        bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"))])


@pytest.fixture(autouse=True)
def no_collector():
    """torch's exporters make millions of objects and few cycles: the collector takes a third."""
    gc.disable()
    yield
    gc.enable()


@TARGETS
@pytest.mark.parametrize("part", range(PARTS))
def test_cases_go_where_the_page_says_so(column, target, part, tmp_path):
    """In nets of some tens of layers side by side; run, and equal within 1e-4."""
    said = written()
    going = [name for name, (kind, _) in ENTRIES.items() if said[kind][column] == "yes"]
    chosen = {name: ENTRIES[name] for name in going[part::PARTS]}
    assert len(chosen) > 15
    assert refusals(tmp_path, target, chosen) == {}


@TARGETS
def test_and_do_not_where_it_says_so(column, target, tmp_path):
    """One of each type."""
    said = written()
    staying = {kind: (name, (kind, case)) for name, (kind, case) in ENTRIES.items()
               if said[kind][column].startswith("no") and can_move(kind, case)}
    assert staying and len(staying) < 5
    assert len(refusals(tmp_path, target, dict(staying.values()))) == len(staying)


def test_the_page_has_every_type():
    """`python -m pytest tests/caffe/export_table.py` adds what it lacks."""
    found, kinds = written(), {kind for kind, _ in ENTRIES.values()}
    movable = {kind for kind, case in ENTRIES.values() if can_move(kind, case)}
    assert set(found) == kinds and all(list(row) == list(export_table.COLUMNS) for row in found.values())
    assert {row["torch"] for row in found.values()} == {"yes"}
    assert {kind for kind, row in found.items() if not row["pt2"].startswith("no")} <= movable
