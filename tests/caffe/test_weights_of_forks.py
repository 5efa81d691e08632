"""Weight files of forks: half precision, options that clash with ours, other shapes of one thing."""

from __future__ import annotations

import numpy as np
import pytest

from caffe.engine.errors import WeightsError
from caffe.engine.formats import weights
from caffe.proto import caffe_pb2
from test_weights import assert_same, contents, net


def message_of(n):
    return caffe_pb2.NetParameter.FromString(weights.to_proto(n).SerializeToString())


@pytest.mark.parametrize("dtype, tolerance", [("<f2", 1e-3), ("<f4", 0), ("<f8", 0)])
def test_raw_data_of_nvidia(tmp_path, dtype, tolerance):
    """Their files hold parameters as bytes of a type, half precision most of all."""
    source, target, path = net(), net(), tmp_path / "half.caffemodel"
    message = message_of(source)
    for layer in message.layer:
        for blob in layer.blobs:
            blob.raw_data = np.array(blob.data, dtype).tobytes()
            blob.raw_data_type = {"<f2": caffe_pb2.FLOAT16, "<f4": caffe_pb2.FLOAT,
                                  "<f8": caffe_pb2.DOUBLE}[dtype]
            del blob.data[:]
    path.write_bytes(message.SerializeToString())
    target.copy_from(str(path))
    for key, value in contents(source).items():
        np.testing.assert_allclose(contents(target)[key], value, rtol=tolerance, atol=0)
    blob.raw_data = blob.raw_data[:-3]
    path.write_bytes(message.SerializeToString())
    with pytest.raises(WeightsError, match='layer "c" blob 1: [0-9]+ values for the shape .5,.'):
        target.copy_from(str(path))


def field(number, payload):
    return bytes([*_number(number << 3 | 2), *_number(len(payload))]) + payload


def _number(value):
    while value > 127:
        yield value & 127 | 128
        value >>= 7
    yield value


def test_options_of_another_fork_do_not_hide_the_weights(tmp_path, capsys):
    """Field 145 has a Parameter's shape here and MatWrite's prefix, a string, in DeepLab."""
    clash = field(145, field(1, b"out/"))
    source, target, path = net(), net(), tmp_path / "fork.caffemodel"
    message = message_of(source)
    path.write_bytes(b"".join(field(100, layer.SerializeToString() + clash)
                              for layer in message.layer))
    target.copy_from(str(path))
    assert_same(contents(target), contents(source))
    said = [line for line in capsys.readouterr().err.splitlines() if "another fork's" in line]
    assert len(said) == 1 and "fork.caffemodel" in said[0]


def test_files_that_are_no_messages_are_still_damaged(tmp_path):
    path = tmp_path / "x.caffemodel"
    for content in (b"\xa2\x06\xff\xff", b"text", bytes(range(200))):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="neither a .caffemodel nor|holds no layers"):
            net().copy_from(str(path))


def test_statistics_of_tsn_fit_those_of_pspnet(tmp_path):
    """BN's parameters are (1, C) in one fork and (1, C, 1, 1) in the other."""
    text = ("input: 'x' input_shape { dim: 1 dim: 3 dim: 2 dim: 2 } layer { name: 'bn' type: 'BN' "
            "bottom: 'x' top: 'y' bn_param { frozen: true } }")
    message, target = message_of(net(text)), net(text)
    for i, blob in enumerate(message.layer[1].blobs):
        del blob.data[:], blob.shape.dim[:]
        blob.shape.dim.extend((1, 3))
        blob.data.extend((i, i + 1, i + 2))
    path = tmp_path / "tsn.caffemodel"
    path.write_bytes(message.SerializeToString())
    target.copy_from(str(path))
    assert [b.data.ravel().tolist() for b in target.params["bn"]] == [
        [i, i + 1, i + 2] for i in range(4)]
