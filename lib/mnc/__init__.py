"""Multi-task Network Cascades: boxes, masks, sampling, data, training, inference and evaluation.

    from mnc import Segmenter, Instance         # docs/python_api.md
"""

from importlib.util import find_spec
from pathlib import Path

_caffe = find_spec("caffe")      # found, not imported
if _caffe and _caffe.origin and not (Path(_caffe.origin).parent / "engine").is_dir():
    raise ImportError(f"the caffe that Python finds, {_caffe.origin}, is another distribution. mnc "
                      f"needs the one that comes with it: take the other off the path (PYTHONPATH, "
                      f"sys.path, pip uninstall), or put this one's folder before it")

__all__ = ["Instance", "Segmenter"]


def __getattr__(name: str) -> object:
    """Segmenter and Instance, loaded at first use: `import mnc` alone loads nothing else."""
    if name in __all__:
        from mnc import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module 'mnc' has no attribute {name!r}")
