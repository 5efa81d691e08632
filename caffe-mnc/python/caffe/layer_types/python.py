"""`Python` layers: classes of the user, found by module and name on the Python path."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from caffe.engine.compat import python2
from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer
from caffe.engine.registry import nearest


@LAYERS.register("Python")
def python_layer(param: Any, *args: Any) -> Layer:
    """An object of the class python_param { module layer } names; it must be a caffe.Layer."""
    options = param.python_param
    title = f'layer "{param.name}" (Python)'
    module = _import(options.module, title)
    kind = getattr(module, options.layer, None)
    if kind is None:
        hint = nearest(options.layer, vars(module))
        raise LayerError(f'{title}: module "{options.module}" ({module.__file__}) has no class '
                         f'"{options.layer}"{hint}')
    if not (isinstance(kind, type) and issubclass(kind, Layer)):
        raise LayerError(f'{title}: "{options.module}.{options.layer}" is not a subclass of '
                         f"caffe.Layer")
    return kind(param, *args)


def _import(name: str, title: str) -> ModuleType:
    """A module of the Python path; the errors of its code keep their kind."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise LayerError(f'{title}: python_param.module is "{name}"; it must be the name of a '
                         f"module, found on the Python path")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name != name and not name.startswith(f"{error.name}.")
        advice = f'"{name}" itself imports it' if missing else \
            "is its folder on the Python path (PYTHONPATH, sys.path)?"
        hint = python2.hint(error)
        raise LayerError(f'{title}: cannot import module "{name}": {error}; {hint or advice}') \
            from error
    except Exception as error:
        python2.add_note(error, f"in {title}, importing its module {name}")
        python2.annotate(error)
        raise
