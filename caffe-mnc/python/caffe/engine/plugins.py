"""Layer types of other packages: how they are defined, and how a command finds them.

    @caffe.register_layer("PwAttend", params={"heads": 4, "scale": float})
    class PwAttend(TorchLayer): ...

`layer { type: "PwAttend" pw_attend_param { heads: 2 } ... }` then builds. A module that does this
is loaded by an import, by `--plugin` of any command, by CAFFE_PLUGINS (names with commas), or by an
entry point of its distribution in the group `caffe.layers` (docs/new_layers.md).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from caffe.engine.errors import CaffeError
from caffe.engine.formats import extensions
from caffe.engine.layer import LAYERS, Layer

GROUP = "caffe.layers"
L = TypeVar("L", bound=type[Layer])

_named_loaded = False


def register_layer(kind: str, params: Mapping[str, Any] | str | os.PathLike[str] | None = None,
                   ) -> Callable[[L], L]:
    """Decorator: a Layer or TorchLayer is the layer type `kind`.

    params: its options, `snake_case(kind)_param` in a prototxt: a dict of fields or a .proto file
    (extensions.declare; a relative file is looked for beside the module). The layer reads them as
    `self.options`. Raises CaffeError where the class is no layer or the type is taken.
    """
    def register(layer: L) -> L:
        if not (isinstance(layer, type) and issubclass(layer, Layer)):
            raise CaffeError(f'layer type "{kind}": {layer!r} is no subclass of caffe.Layer or '
                             "caffe.extend.TorchLayer")
        if kind in LAYERS:
            raise CaffeError(f'layer type "{kind}" is there already, in '
                             f"{LAYERS.get(kind).__module__}; LAYERS.remove forgets it")
        if params is not None:
            extensions.declare(kind, _placed(params, layer))
            field = extensions.fields()[kind]
            layer.options = property(        # type: ignore[attr-defined]
                lambda self: extensions.options(self.param, field), doc=f"{field} of the prototxt")
        LAYERS.register(kind)(layer)
        return layer
    return register


def _placed(params: Mapping[str, Any] | str | os.PathLike[str], layer: type) -> Any:
    if isinstance(params, Mapping):
        return params
    home = getattr(sys.modules.get(layer.__module__), "__file__", None)
    return Path(home or "").parent / params


def load(name: str) -> None:
    """Import a plugin: the name of a module, or a Python file. CaffeError if that fails."""
    path = Path(name)
    try:
        if path.suffix == ".py":
            _load_file(path)
        else:
            importlib.import_module(name)
    except CaffeError:
        raise
    except Exception as error:
        raise CaffeError(f"plugin {name}: {type(error).__name__}: {error}") from error


def _load_file(path: Path) -> None:
    where = str(path.resolve())
    if any(getattr(module, "__file__", None) == where for module in list(sys.modules.values())):
        return
    if not path.is_file():
        raise CaffeError(f"plugin {path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, where)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)


def load_named() -> None:
    """Once in a process: the plugins of CAFFE_PLUGINS and of installed distributions."""
    global _named_loaded
    if _named_loaded:
        return
    _named_loaded = True
    for name in filter(None, os.environ.get("CAFFE_PLUGINS", "").split(",")):
        load(name.strip())
    for entry in importlib.metadata.entry_points(group=GROUP):
        load(entry.value.partition(":")[0])
