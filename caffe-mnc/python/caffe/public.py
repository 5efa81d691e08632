"""What `import caffe` gives: caffe/__init__.py loads it when the first name is asked for."""

from caffe import io, layer_types
from caffe._caffe import (
    Layer,
    Solver,
    get_solver,
    has_nccl,
    init_log,
    layer_type_list,
    log,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from caffe.classifier import Classifier
from caffe.detector import Detector
from caffe.engine.errors import CaffeError, LayerError, PrototxtError, WeightsError
from caffe.engine.formats.lenient import set_lenient
from caffe.engine.layer import TEST, TRAIN
from caffe.engine.memory import set_memory_limit
from caffe.engine.plugins import register_layer
from caffe.engine.version import VERSION as __version__
from caffe.net_spec import NetSpec, layers, params, to_proto
from caffe.proto import caffe_pb2
from caffe.pycaffe import (
    NCCL,
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    Net,
    RMSPropSolver,
    SGDSolver,
    Timer,
)

__all__ = [
    "NCCL", "TEST", "TRAIN", "AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "CaffeError",
    "Classifier", "Detector", "Layer", "LayerError", "NesterovSolver", "Net", "NetSpec",
    "PrototxtError", "RMSPropSolver", "SGDSolver", "Solver", "Timer", "WeightsError", "__version__",
    "caffe_pb2", "get_solver", "has_nccl", "init_log", "io", "layer_type_list", "layer_types",
    "layers", "log", "params", "register_layer", "set_device", "set_lenient", "set_memory_limit",
    "set_mode_cpu", "set_mode_gpu", "set_multiprocess", "set_random_seed", "set_solver_count",
    "set_solver_rank", "solver_count", "solver_rank", "to_proto",
]
