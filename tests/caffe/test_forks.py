"""An unknown type or field of a known fork is said with its fork, and what to do."""

from __future__ import annotations

import pytest

import caffe
from caffe.engine.compat import forks
from caffe.engine.formats.prototxt import read_net
from caffe.engine.layer import LAYERS
from caffe.proto import caffe_pb2


@pytest.mark.parametrize("kind, said", [
    ("BoxGroupOutput", r"of Cascade R-CNN \(zhaoweicai/cascade-rcnn\), a fork of Caffe, and not here; "
                       "a layer of your own"),
    ("NdConvolution", "of C3D .* use Convolution, with one kernel_size for each axis"),
    ("ReLu", 'did you mean "ReLU"'),
])
def test_unknown_types(kind, said):
    with pytest.raises(caffe.LayerError, match=f'layer "l": unknown layer type "{kind}";.*{said}'):
        caffe.Net(f'layer {{ name: "l" type: "{kind}" top: "x" }}', caffe.TEST)


@pytest.mark.parametrize("text, said", [
    ("layer { bbox_reg_param { } }", "LayerParameter has no field .* of MS-CNN .* not here; remove"),
    ("layer { convolution_param { kernel_shape { dim: 3 } } }", "of C3D .* use kernel_size, once"),
    ("layer { bn_param { var_eps: 1 } }", "of CTPN"),
    ("layer { pooling_param { kernel_sise: 3 } }", "did you mean"),
])
def test_unknown_fields(text, said):
    with pytest.raises(caffe.PrototxtError, match=f"1:[0-9]+: .*{said}"):
        read_net(text)


def test_fields_listed_as_missing_are_missing():
    """A field that has come since would never be asked for: it belongs off the list."""
    everywhere = {f.name for m in caffe_pb2.DESCRIPTOR.message_types_by_name.values()
                  for f in m.fields if m.name in ("LayerParameter", "NetParameter")}
    listed = {name for names in forks.FIELDS.values() for name in names.split()}
    assert not listed & everywhere


def test_every_layer_beyond_bvlc_says_whose_it_is():
    bvlc = """AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss
        Convolution Crop Data Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp
        Filter Flatten HDF5Data HDF5Output HingeLoss Im2col ImageData InfogainLoss InnerProduct
        Input LRN LSTM LSTMUnit Log MVN MemoryData MultinomialLogisticLoss PReLU Parameter Pooling
        Power Python RNN ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence
        Slice Softmax SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData"""
    unsaid = [name for name in LAYERS.names() if name not in set(bvlc.split()) and not forks.forks_of_type(name)
              and LAYERS.get(name).__module__.startswith("caffe.layer_types")]
    assert not unsaid
