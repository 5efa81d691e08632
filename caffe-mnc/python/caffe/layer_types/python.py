"""`Python` layers: classes of the user, found by module and name on the Python path."""

from __future__ import annotations

import importlib
from typing import Any

from caffe.engine.errors import LayerError
from caffe.engine.layer import LAYERS, Layer
from caffe.engine.registry import nearest


@LAYERS.register("Python")
def python_layer(param: Any, *args: Any) -> Layer:
    """An object of the class python_param { module layer } names; it must be a caffe.Layer."""
    options = param.python_param
    title = f'layer "{param.name}" (Python)'
    try:
        module = importlib.import_module(options.module)
    except ModuleNotFoundError as error:
        raise LayerError(f'{title}: cannot import module "{options.module}": {error}; is its '
                         f"folder on the Python path (PYTHONPATH, sys.path)?") from error
    kind = getattr(module, options.layer, None)
    if kind is None:
        hint = nearest(options.layer, vars(module))
        raise LayerError(f'{title}: module "{options.module}" ({module.__file__}) has no class '
                         f'"{options.layer}";{hint}')
    if not (isinstance(kind, type) and issubclass(kind, Layer)):
        raise LayerError(f'{title}: "{options.module}.{options.layer}" is not a subclass of '
                         f"caffe.Layer")
    return kind(param, *args)
