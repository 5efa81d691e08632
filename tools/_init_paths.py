"""Puts `caffe`, `mnc` and `pylayer` of a plain checkout on sys.path: nothing need be installed."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

for folder in (ROOT / "lib", ROOT / "caffe-mnc" / "python"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
