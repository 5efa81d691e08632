"""Multi-task Network Cascades: boxes, masks, sampling, data, training, inference and evaluation.

    from mnc import Segmenter, Instance         # docs/python_api.md
"""

from importlib.util import find_spec
from pathlib import Path

_caffe = find_spec("caffe")      # found, not imported
_folders = [Path(place) for place in (_caffe and _caffe.submodule_search_locations) or ()]
if _folders and not any((folder / "engine").is_dir() for folder in _folders):
    raise ImportError(f"the caffe that Python finds, {_folders[0]}, is another distribution. mnc, "
                      f"which lies in {Path(__file__).parent}, needs the one that comes with it: "
                      f"take {_folders[0].parent} off the path (sys.path.insert(0, ...) in the "
                      "script, PYTHONPATH, pip uninstall)")

from mnc import moved  # noqa: E402 (after the check, which must come whatever else is there)

moved.install()

__all__ = ["Instance", "Segmenter"]


def __getattr__(name: str) -> object:
    """Segmenter and Instance, loaded at first use: `import mnc` alone loads nothing else."""
    if name in __all__:
        from mnc import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module 'mnc' has no attribute {name!r}")
