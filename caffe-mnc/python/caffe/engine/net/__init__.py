"""Building and running a net."""

from caffe.engine.net.net import Net

__all__ = ["Net"]
