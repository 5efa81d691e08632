"""Packages that only one feature needs, imported when it is used."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def need(module: str, *, package: str, feature: str) -> ModuleType:
    """The top package of `module`, imported; else ImportError that says what to install."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{feature} needs {package}, which cannot be imported ({error}); "
                          f"install it: pip install {package}") from error
    return sys.modules[module.partition(".")[0]]
