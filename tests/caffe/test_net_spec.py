"""NetSpec: nets written in Python give the prototxt a person would write."""

import copy

import pytest
from google.protobuf import text_format

import caffe
from caffe import layers as L
from caffe import params as P
from caffe import to_proto
from caffe.net_spec import Function, Top, assign_proto, param_name_dict
from caffe.proto import caffe_pb2


def parsed(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


def lenet(batch):
    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(shape=[dict(dim=[batch, 1, 28, 28]), dict(dim=[batch])],
                                  transform_param=dict(scale=1. / 255), ntop=2)
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20,
                            weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=10, param=[dict(lr_mult=1), dict(lr_mult=2)])
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.loss = L.SoftmaxWithLoss(n.relu1, n.label)
    return n


def test_a_net_reads_as_a_person_would_write_it():
    assert lenet(5).to_proto() == parsed("""
        layer { name: "data" type: "DummyData" top: "data" top: "label"
                dummy_data_param { shape { dim: 5 dim: 1 dim: 28 dim: 28 } shape { dim: 5 } }
                transform_param { scale: 0.00392156862745098 } }
        layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
                convolution_param { num_output: 20 kernel_size: 5
                                    weight_filler { type: "xavier" } } }
        layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
                pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
        layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1"
                param { lr_mult: 1 } param { lr_mult: 2 }
                inner_product_param { num_output: 10 } }
        layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip1" bottom: "label" top: "loss" }
        """)


def test_its_text_is_a_net(tmp_path):
    n = caffe.NetSpec()
    n.x = L.Input(shape=dict(dim=[2, 3]))
    n.y = L.InnerProduct(n.x, num_output=5)
    path = tmp_path / "net.prototxt"
    path.write_text(str(n.to_proto()))
    assert caffe.Net(str(path), caffe.TEST).blobs["y"].shape == (2, 5)


def test_made_up_names_count_by_type():
    data = L.Input(shape=dict(dim=[2, 3]))
    a = L.ReLU(data)
    net = to_proto(L.Eltwise(a, L.ReLU(a, in_place=True)))
    assert [(y.name, list(y.bottom), list(y.top)) for y in net.layer] == [
        ("Input1", [], ["Input1"]), ("ReLU1", ["Input1"], ["ReLU1"]),
        ("ReLU2", ["ReLU1"], ["ReLU1"]), ("Eltwise1", ["ReLU1", "ReLU1"], ["Eltwise1"])]
    assert a.to_proto() == to_proto(a)


def test_tops_without_a_name_get_one_beside_named_ones():
    n = caffe.NetSpec()
    n.y = L.ReLU(L.Input(shape=dict(dim=[1])))
    assert [y.name for y in n.to_proto().layer] == ["Input1", "y"]


def test_layers_without_tops():
    n = caffe.NetSpec()
    n.a, n.b = L.DummyData(shape=dict(dim=[1]), ntop=2)
    n.silence = L.Silence(n.a, n.b, ntop=0)
    assert n.to_proto().layer[1] == caffe_pb2.LayerParameter(
        name="silence", type="Silence", bottom=["a", "b"])
    assert isinstance(n.silence, Function) and isinstance(n.a, Top)
    assert to_proto(n.silence).layer[1].name == "Silence1"


def test_a_name_given_as_an_option_wins():
    n = caffe.NetSpec()
    n.x = L.Input(shape=dict(dim=[1]), name="source")
    assert (n.to_proto().layer[0].name, n.to_proto().layer[0].top) == ("source", ["x"])


def test_a_netspec_is_a_dictionary_too():
    n = caffe.NetSpec()
    n["x"] = L.Input(shape=dict(dim=[1]))
    n.y = n["z"] = L.ReLU(n.x)
    assert n["y"] is n.z and list(n.tops) == ["x", "y", "z"]
    del n["z"], n.y
    assert list(n.tops) == ["x"]
    assert list(copy.copy(n).tops) == ["x"]
    for missing in (lambda: n.xx, lambda: n.__delattr__("xx")):
        with pytest.raises(AttributeError, match="no top 'xx'; did you mean \"x\""):
            missing()


def test_one_top_under_a_layer_of_thousands():
    top = L.Input(shape=dict(dim=[1]))
    for _ in range(3000):
        top = L.ReLU(top)
    assert len(to_proto(top).layer) == 3001


def test_assign_proto_takes_scalars_lists_dicts_and_messages():
    layer = caffe_pb2.LayerParameter()
    assign_proto(layer, "name", "x")
    assign_proto(layer, "bottom", "a")
    assign_proto(layer, "bottom", ["b", "c"])
    assign_proto(layer, "param", [dict(lr_mult=0), dict(decay_mult=2)])
    assign_proto(layer, "convolution_param", dict(kernel_size=[3, 5], weight_filler=dict(std=.1)))
    assign_proto(layer, "transform_param", caffe_pb2.TransformationParameter(mirror=True))
    assert layer == text_format.Parse("""name: "x" bottom: "a" bottom: "b" bottom: "c"
        param { lr_mult: 0 } param { decay_mult: 2 } transform_param { mirror: true }
        convolution_param { kernel_size: 3 kernel_size: 5 weight_filler { std: 0.1 } }""",
        caffe_pb2.LayerParameter())


def test_param_name_dict():
    names = param_name_dict()
    assert names["Convolution"] == "convolution" and names["InnerProduct"] == "inner_product"
    assert names["HDF5Data"] == "hdf5_data" and names["LRN"] == "lrn"


def test_enums():
    assert (P.Pooling.MAX, P.Pooling.AVE, P.Eltwise.SUM, P.Data.LMDB) == (0, 1, 1, 1)
    assert P.Loss.VALID == 1 and P.Solver.GPU == 1


@pytest.mark.parametrize("call, kind, message", [
    (lambda: P.Pooling.MAXX, AttributeError, "did you mean \"MAX\""),
    (lambda: P.Pool.MAX, AttributeError, "there is no PoolParameter"),
    (lambda: L.ReLU("data"), TypeError,
     r"^ReLU input 0 is not a Top \(type is <class 'str'>\)$"),
    (lambda: L.Eltwise(L.ReLU(L.Input()), L.Slice(L.Input(), ntop=2)), TypeError,
     r"^Eltwise input 1 is not a Top \(type is <class 'tuple'>\)"),
    (lambda: to_proto(L.Slice(L.Input(), ntop=2)), TypeError, "gives a tuple of them: name each"),
    (lambda: to_proto(L.Pooling(kernel_sise=3)), AttributeError, "did you mean \"kernel_size\""),
    (lambda: to_proto(L.Softmax(foo=3)), AttributeError, "Softmax has no option 'foo'$"),
    (lambda: to_proto(L.TanHH(foo=3)), AttributeError, "LayerParameter has no field 'foo'"),
])
def test_what_is_not_there_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
