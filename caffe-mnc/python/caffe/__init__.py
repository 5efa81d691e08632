"""Caffe's Python interface: nets and solvers from prototxt files, computed by PyTorch."""

from caffe.engine.device import set_device, set_mode_cpu, set_mode_gpu
from caffe.engine.errors import CaffeError, LayerError, PrototxtError, WeightsError
from caffe.engine.layer import LAYERS, TEST, TRAIN, Layer
from caffe.engine.random import set_random_seed
from caffe import layer_types  # registers the layers
from caffe.engine.net import Net
from caffe.engine.solver import SGDSolver, get_solver
from caffe.proto import caffe_pb2

__version__ = "1.0.0"

__all__ = [
    "CaffeError", "Layer", "LayerError", "Net", "PrototxtError", "SGDSolver", "TEST", "TRAIN",
    "WeightsError", "get_solver", "layer_type_list", "set_device", "set_mode_cpu", "set_mode_gpu",
    "set_random_seed",
]


def layer_type_list() -> list[str]:
    """The layer types a prototxt may name."""
    return LAYERS.names()
