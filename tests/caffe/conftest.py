"""What tests of the engine share."""

from __future__ import annotations

import pytest

from caffe.engine.blob import Blob


@pytest.fixture
def no_values(monkeypatch):
    """Parameters get a shape but no memory: some nets of others have half a gigabyte of them."""
    monkeypatch.setattr("caffe.engine.caffe_layer.fill", lambda tensor, filler: None)
    monkeypatch.setattr(Blob, "tensor", property(
        lambda self: self._data.read().reshape(self._shape) if self.count < 1e6 else None,
        Blob.tensor.fset))
