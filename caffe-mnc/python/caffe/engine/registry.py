"""Things found by name: layer types, fillers, solvers, learning-rate policies, commands."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from caffe.engine.errors import CaffeError


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """'; did you mean "ReLU" or "PReLU"?' for a misspelt name; `; otherwise` if nothing is near."""
    known = list(known)
    folded = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), folded, n=2, cutoff=0.6)
    if not near:
        return otherwise and f"; {otherwise}"
    return "; did you mean " + " or ".join(f'"{folded[n]}"' for n in near) + "?"


class Registry:
    """Names to classes or functions; registration is a decorator at the definition.

    package: its import registers what it defines; the first question imports it.
    """

    def __init__(self, kind: str, error: type[Exception] = CaffeError, package: str = "") -> None:
        self.kind = kind
        self.error = error
        self._package = package
        self._entries: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator: make the decorated object known as `name`. A name is given once."""
        def add(entry: Any) -> Any:
            if name in self._entries:
                raise ValueError(f'{self.kind} "{name}" is registered twice')
            self._entries[name] = entry
            return entry
        return add

    def get(self, name: str) -> Any:
        """The entry called `name`; raises `self.error` with the nearest known names."""
        if name not in self:
            hint = nearest(name, self._entries, f"known: {', '.join(self.names())}")
            raise self.error(f'unknown {self.kind} "{name}"{hint}')
        return self._entries[name]

    def remove(self, name: str) -> None:
        """Forget `name`, so that it can be given again."""
        self._known().pop(name)

    def names(self) -> list[str]:
        return sorted(self._known())

    def __contains__(self, name: str) -> bool:
        return name in self._known()

    def _known(self) -> dict[str, Any]:
        package, self._package = self._package, ""      # what is imported may ask, too
        if package:
            try:
                import_module(package)
            except BaseException:
                self._package = package
                raise
        return self._entries
