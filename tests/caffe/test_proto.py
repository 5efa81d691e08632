"""The messages: the numbers that files depend on; caffe_pb2.py is made from caffe.proto."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from caffe.proto import caffe_pb2

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "caffe-mnc" / "python"
WIRE = ROOT / "tests" / "golden" / "wire"

FIELD_NUMBERS = {
    "BlobProto.data": 5, "BlobProto.diff": 6, "BlobProto.shape": 7, "BlobProto.double_data": 8,
    "NetParameter.layers": 2, "NetParameter.input_shape": 8, "NetParameter.layer": 100,
    "LayerParameter.name": 1, "LayerParameter.type": 2, "LayerParameter.blobs": 7,
    "LayerParameter.phase": 10, "LayerParameter.convolution_param": 106,
    "LayerParameter.python_param": 130, "LayerParameter.input_param": 143,
    "LayerParameter.recurrent_param": 146, "LayerParameter.swish_param": 147,
    "LayerParameter.clip_param": 148,
    "LayerParameter.roi_pooling_param": 8266711, "LayerParameter.smooth_l1_loss_param": 8266712,
    "LayerParameter.roi_warping_param": 11870, "LayerParameter.mask_resize_param": 11890,
    "ROIPoolingParameter.pooled_h": 1, "ROIPoolingParameter.pooled_w": 2,
    "ROIPoolingParameter.spatial_scale": 3,
    "ROIWarpingParameter.pooled_h": 1, "ROIWarpingParameter.pooled_w": 2,
    "ROIWarpingParameter.spatial_scale": 3, "ROIWarpingParameter.mode": 4,
    "MaskResizeParameter.output_height": 1, "MaskResizeParameter.output_width": 2,
    "MaskResizeParameter.mode": 3, "SmoothL1LossParameter.sigma": 1,
    "DropoutParameter.scale_train": 2, "SolverParameter.weights": 42,
    "SolverParameter.layer_wise_reduce": 41, "V1LayerParameter.layer": 1,
    "V1LayerParameter.param": 1001, "V0LayerParameter.hdf5_output_param": 1001,
    # SSD
    "LayerParameter.annotated_data_param": 200, "LayerParameter.multibox_loss_param": 201,
    "LayerParameter.permute_param": 202, "LayerParameter.prior_box_param": 203,
    "LayerParameter.detection_output_param": 204, "LayerParameter.detection_evaluate_param": 205,
    "LayerParameter.norm_param": 206, "TransformationParameter.resize_param": 8,
    "TransformationParameter.expand_param": 14, "PriorBoxParameter.offset": 13,
    "MultiBoxLossParameter.mining_type": 20, "DetectionOutputParameter.keep_top_k": 7,
    "AnnotatedDatum.annotation_group": 3, "NormalizedBBox.difficult": 6,
}

DEFAULTS = {
    "ROIPoolingParameter.spatial_scale": 1.0, "ROIWarpingParameter.spatial_scale": 1.0,
    "SmoothL1LossParameter.sigma": 1.0, "DropoutParameter.dropout_ratio": 0.5,
    "DropoutParameter.scale_train": True, "FillerParameter.type": "constant",
    "BatchNormParameter.eps": 1e-5, "LRNParameter.beta": 0.75, "SolverParameter.type": "SGD",
    "SolverParameter.rms_decay": 0.99, "NetState.phase": caffe_pb2.TEST,
    "PoolingParameter.round_mode": caffe_pb2.PoolingParameter.CEIL,
    "ROIWarpingParameter.mode": caffe_pb2.ROIWarpingParameter.REFERENCE,
    "MaskResizeParameter.mode": caffe_pb2.MaskResizeParameter.REFERENCE,
    "NormalizeParameter.eps": 1e-10, "MultiBoxLossParameter.sample_size": 64,
    "NonMaximumSuppressionParameter.nms_threshold": 0.3, "BatchSampler.max_trials": 100,
    "SolverParameter.ap_version": "Integral",
}


def field(name: str):
    message, field_name = name.split(".")
    return caffe_pb2.DESCRIPTOR.message_types_by_name[message].fields_by_name[field_name]


@pytest.mark.parametrize("name", FIELD_NUMBERS)
def test_field_number(name):
    assert field(name).number == FIELD_NUMBERS[name]


@pytest.mark.parametrize("name", DEFAULTS)
def test_default(name):
    assert field(name).default_value == pytest.approx(DEFAULTS[name])


def test_exact_mode_is_one():
    assert caffe_pb2.ROIWarpingParameter.EXACT == caffe_pb2.MaskResizeParameter.EXACT == 1


def test_blob_on_the_wire():
    """Packed floats of field 5, little-endian; packed dims of field 7."""
    blob = caffe_pb2.BlobProto(shape={"dim": [1, 2]}, data=[1.0, -2.0])
    assert blob.SerializeToString().hex(" ") == "2a 08 00 00 80 3f 00 00 00 c0 3a 04 0a 02 01 02"


@pytest.mark.parametrize("file, message", [
    ("wire_iter_3.caffemodel", caffe_pb2.NetParameter),
    ("wire_iter_3.solverstate", caffe_pb2.SolverState),
    ("mean.binaryproto", caffe_pb2.BlobProto),
])
def test_files_of_caffe_survive_a_round_trip(file, message):
    data = (WIRE / file).read_bytes()
    assert message.FromString(data).SerializeToString() == data


def test_weights_of_caffe_have_their_shapes():
    net = caffe_pb2.NetParameter.FromString((WIRE / "wire_iter_3.caffemodel").read_bytes())
    blobs = [blob for layer in net.layer for blob in layer.blobs]
    assert blobs
    assert all(len(blob.data) == np.prod(blob.shape.dim) for blob in blobs)


def test_generated_code_is_of_this_proto(tmp_path):
    made = tmp_path / "made"
    subprocess.run([*protoc(), "--proto_path=.", f"--descriptor_set_out={made}",
                    "caffe/proto/caffe.proto"], cwd=SOURCES, check=True)
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file
    forget_json_names(file.message_type)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    fresh = contents(pool.FindFileByName(file.name))
    assert fresh == contents(caffe_pb2.DESCRIPTOR), "run the command at the top of caffe.proto"


def contents(file) -> descriptor_pb2.FileDescriptorProto:
    """As protobuf would write it, which settles how default values are spelt."""
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    return proto


def protoc() -> list[str]:
    """The compiler in grpcio-tools (whose own command needs pkg_resources), or of the PATH."""
    if importlib.util.find_spec("grpc_tools"):
        return [sys.executable, "-c", "import sys; from grpc_tools import _protoc_compiler as c; "
                "sys.exit(c.run_main([b'protoc', *map(str.encode, sys.argv[1:])]))"]
    if shutil.which("protoc"):
        return ["protoc"]
    pytest.skip("no protoc on PATH and no grpcio-tools")


def forget_json_names(messages) -> None:
    for message in messages:
        for each in message.field:
            each.ClearField("json_name")
        forget_json_names(message.nested_type)
