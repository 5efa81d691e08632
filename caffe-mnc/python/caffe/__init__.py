"""Caffe's Python interface: nets and solvers from prototxt files, computed by PyTorch.

PyTorch takes seconds to load: that waits for the first name that is asked of the package, so that
commands answer mistakes at once. The names are in caffe/public.py.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from caffe.engine.allocator import keep_few_kernels
from caffe.engine.compat import other_caffe, python2
from caffe.engine.version import VERSION as __version__  # noqa: F401

if TYPE_CHECKING:
    from caffe.public import *  # noqa: F403
    from caffe.public import __all__ as __all__

keep_few_kernels()
other_caffe.warn()      # names another caffe on the path, for scripts that expect that one
python2.install()       # uncaught errors of old scripts get a hint


def __getattr__(name: str) -> Any:
    """A module below this one by itself; any other name with all the rest."""
    if name == "__all__" or not name.startswith("__"):
        if find_spec(f"{__name__}.{name}"):
            return import_module(f"{__name__}.{name}")
        public = vars(import_module("caffe.public"))
        if "__all__" in public:                     # not yet where its own imports ask
            globals().update({each: public[each] for each in (*public["__all__"], "__all__")})
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module 'caffe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
