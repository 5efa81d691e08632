"""An imported net held against its ONNX file, by onnxruntime, before it is kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from caffe.engine.errors import CaffeError
from caffe.engine.layer import TEST
from caffe.engine.net.net import Net
from caffe.importing.written import WrittenNet

MOST_DIFFERENCE = 1e-4      # of an output, in units of its largest value where that exceeds 1


def kept_if_equal(net: WrittenNet, path: str | os.PathLike[str], prefix: str | Path) -> str:
    """Write PREFIX.prototxt and PREFIX.caffemodel; returns what was found of their outputs.

    Raises CaffeError, and writes nothing, where an output is not that of the file on random inputs.
    """
    try:
        import onnxruntime
    except ImportError:
        net.save(prefix)
        return "Not compared with the file, for onnxruntime is not installed"
    with tempfile.TemporaryDirectory() as folder:
        prototxt, weights = net.save(Path(folder, "net"))
        ours = Net(str(prototxt), TEST, weights=str(weights))
    onnxruntime.set_default_logger_severity(3)
    theirs = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    values: dict[str, Any] = {name: random.standard_normal(ours.blobs[name].data.shape, np.float32)
              for name in ours.inputs}
    ours.forward(**values)
    names = [output.name for output in theirs.get_outputs() if output.name in ours.blobs]
    worst = 0.0
    for name, wanted in zip(names, theirs.run(names, values)):
        found = ours.blobs[name].data
        if found.shape != wanted.shape:
            raise CaffeError(f"{path}: {name} has the shape {wanted.shape} there and {found.shape} "
                             "here; nothing was written")
        worst = max(worst, float(np.abs(found - wanted).max(initial=0)
                                 / max(1, np.abs(wanted).max(initial=0))))
    if not worst <= MOST_DIFFERENCE:
        raise CaffeError(f"{path}: the outputs here and in onnxruntime differ by {worst:.3g}; "
                         "nothing was written")
    net.save(prefix)
    return f"Largest difference from the file, run by onnxruntime: {worst:.3g}"
