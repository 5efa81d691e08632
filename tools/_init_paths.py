"""Puts a plain checkout's packages on sys.path: `caffe`, `mnc` and `pylayer` need no installation then."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

for folder in (ROOT / "lib", ROOT / "caffe-mnc" / "python"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
