"""What those who build on the engine need of it: authors of layers, pylayer, mnc.

Names here stay. Everything below `caffe.engine` may move; nothing outside the package `caffe`
imports from there (tests/test_imports.py). README.md of caffe-mnc shows a layer written with it.

    layers      Layer, TorchLayer, LossLayer; exactly, at_least, between (numbers of bottoms and
                tops); LAYERS.register("Type"), layer_class (of a type); Phase, TRAIN, TEST;
                Blob, BlobList
    inside one  fill (a FillerParameter's values), generator (the engine's random numbers),
                current_device (where a net made now computes), Mode (a reference's arithmetic, or
                the exact one)
    errors      CaffeError, PrototxtError, LayerError, WeightsError; nearest ("did you mean")
    files       read_net, read_solver (prototxts), named_file (by a solver), read_caffemodel,
                read_about (what HDF5 weights say of themselves, `net.about`), PROTOBUF_LIMIT
                (bytes a message may have), atomic_path (write whole or not at all), import_net
                (torch's weights as a net with its parameters)
    of others   read_arrays (.npz), read_text, read_encoded, stored_name, parse_json, parse_yaml,
                parse_xml (any encoding, bounded depth), inside (names that stay in their folder),
                read_file, decode_image, decode_map (pixels, their number bounded),
                check_image_size (by the header)
    training    Solver, train_to (with snapshots when due and before an error), signals, locked
                (one training a snapshot prefix), Job (work in a thread that is waited for with
                time-outs), iteration_of (whose snapshot would replace given weights),
                unchanged_random (what a block draws is not missed); WeightAverage (of the
                weights, in snapshots); Metrics (figures, a Row now and then, handed to each Sink),
                JsonLines, TensorBoard, read_rows; LogRecord (the log as a file), beneath (a bar in
                its place)
    workers     together (the processes that torchrun starts, as a Team), start_workers (so many of
                the present command), Sharing (how they train; Solver.join), workers (which one this
                is: workers.rank(), ...)
    process     need (a package that one feature needs), keep_freed_memory, load_plugin (layer
                types of a module or file)
"""

import caffe.layer_types  # noqa: F401 (names registered later meet those there)
from caffe.data.prefetch import Job
from caffe.engine.allocator import keep_freed_memory
from caffe.engine.blob import Blob
from caffe.engine.device import current_device
from caffe.engine.errors import CaffeError, LayerError, PrototxtError, WeightsError
from caffe.engine.fillers import fill
from caffe.engine.formats.arrays import read_arrays
from caffe.engine.formats.atomic_file import atomic_path
from caffe.engine.formats.image_file import check_size as check_image_size
from caffe.engine.formats.image_file import decode as decode_image
from caffe.engine.formats.image_file import decode_map, read_file
from caffe.engine.formats.paths import inside
from caffe.engine.formats.prototxt import read_net, read_solver
from caffe.engine.formats.text import (
    parse_json,
    parse_xml,
    parse_yaml,
    read_encoded,
    read_text,
    stored_name,
)
from caffe.engine.formats.weights import PROTOBUF_LIMIT, read_about, read_caffemodel
from caffe.engine.layer import (
    LAYERS,
    TEST,
    TRAIN,
    Arity,
    BlobList,
    Layer,
    LossLayer,
    Phase,
    TorchLayer,
    at_least,
    between,
    exactly,
    layer_class,
)
from caffe.engine.log import Record as LogRecord
from caffe.engine.log import beneath
from caffe.engine.optional import need
from caffe.engine.parallel import team as workers
from caffe.engine.parallel.launching import start as start_workers
from caffe.engine.parallel.team import Team, together
from caffe.engine.plugins import load as load_plugin
from caffe.engine.random import generator
from caffe.engine.random import unchanged as unchanged_random
from caffe.engine.registry import Registry, nearest
from caffe.engine.solving.averaging import WeightAverage
from caffe.engine.solving.lock import locked
from caffe.engine.solving.metrics import JsonLines, Metrics, Row, Sink, TensorBoard, read_rows
from caffe.engine.solving.nets import named_file
from caffe.engine.solving.saving import iteration_of, train_to
from caffe.engine.solving.solver import Solver
from caffe.engine.solving.stopping import signals
from caffe.engine.solving.workers import Sharing
from caffe.importing.sources import import_net
from caffe.ops import Mode

__all__ = [
    "LAYERS",
    "PROTOBUF_LIMIT",
    "TEST",
    "TRAIN",
    "Arity",
    "Blob",
    "BlobList",
    "CaffeError",
    "Job",
    "JsonLines",
    "Layer",
    "LayerError",
    "LogRecord",
    "LossLayer",
    "Metrics",
    "Mode",
    "Phase",
    "PrototxtError",
    "Registry",
    "Row",
    "Sharing",
    "Sink",
    "Solver",
    "Team",
    "TensorBoard",
    "TorchLayer",
    "WeightAverage",
    "WeightsError",
    "at_least",
    "atomic_path",
    "beneath",
    "between",
    "check_image_size",
    "current_device",
    "decode_image",
    "decode_map",
    "exactly",
    "fill",
    "generator",
    "import_net",
    "inside",
    "iteration_of",
    "keep_freed_memory",
    "layer_class",
    "load_plugin",
    "locked",
    "named_file",
    "nearest",
    "need",
    "parse_json",
    "parse_xml",
    "parse_yaml",
    "read_about",
    "read_arrays",
    "read_caffemodel",
    "read_encoded",
    "read_file",
    "read_net",
    "read_rows",
    "read_solver",
    "read_text",
    "signals",
    "start_workers",
    "stored_name",
    "together",
    "train_to",
    "unchanged_random",
    "workers",
]
