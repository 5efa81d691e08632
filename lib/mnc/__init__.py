"""Multi-task Network Cascades: boxes, masks, sampling, data, training, inference and evaluation.

    from mnc import Segmenter, Instance         # docs/python_api.md
"""

from __future__ import annotations

__all__ = ["Instance", "Segmenter"]


def __getattr__(name: str) -> object:
    """Segmenter and Instance, loaded at first use: `import mnc` alone loads nothing else."""
    if name in __all__:
        from mnc import segmenter

        return getattr(segmenter, name)
    raise AttributeError(f"module 'mnc' has no attribute {name!r}")
