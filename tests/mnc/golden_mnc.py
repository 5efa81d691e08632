"""Vectors of the public MNC code's functions and layers: tests/golden/mnc.zip."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
ARCHIVE = GOLDEN / "mnc.zip"


@functools.cache
def index() -> dict[str, dict]:
    """Case name -> its entry: layer, param_str, phase, bottoms, tops, config_changes, note."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        return {case["name"]: case for case in json.loads(archive.read("index.json"))}


@functools.cache
def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of a case."""
    with zipfile.ZipFile(ARCHIVE) as archive, archive.open(f"{name}.npz") as file:
        return dict(np.load(io.BytesIO(file.read())))


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest difference over the largest magnitude wanted."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"got {got.shape}, want {want.shape}"
    return float(np.abs(got - want).max() / max(1e-6, np.abs(want).max())) if want.size else 0.0
