"""Weight files: the real Caffe's load, ours hold the same, and what does not fit is said."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import caffe
from caffe.engine.errors import WeightsError
from caffe.engine.formats import blob_proto, hdf5, layer_weights, weights
from caffe.engine.formats.prototxt import read_net
from caffe.engine.net.net import Net
from caffe.proto import caffe_pb2

WIRE = Path(__file__).parents[1] / "golden/wire"

PAIR = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "y" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "y" top: "z" param { name: "w" } param { name: "b" }
        inner_product_param { num_output: 3 } }
layer { name: "c" type: "InnerProduct" bottom: "z" top: "v"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" }
                              bias_filler { type: "uniform" } } }
"""


def net(text=PAIR, phase=caffe.TEST, **options):
    return Net.from_proto(read_net(text), phase, **options)


def contents(of):
    return {(name, i): blob.data.copy() for name, blobs in of.params.items()
            for i, blob in enumerate(blobs)}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=str(key))


def wire_values(file, prefix="param"):
    stored = np.load(WIRE / file)
    return {(name.split(":")[1], int(name.split(":")[2])): stored[name] for name in stored.files
            if name.startswith(prefix + ":")}


# --- files of the real program -------------------------------------------------------------------

@pytest.mark.parametrize("file, values", [
    ("wire_iter_3.caffemodel", "snapshot_binaryproto.npz"),
    ("wire_iter_3.caffemodel.h5", "snapshot_hdf5.npz")])
def test_files_of_the_real_program_load(file, values):
    wire = Net(str(WIRE / "net.prototxt"), caffe.TRAIN)
    wire.copy_from(str(WIRE / file))
    assert_same(contents(wire), wire_values(values))


def test_our_caffemodel_is_caffes_field_for_field(tmp_path):
    wire = Net(str(WIRE / "net.prototxt"), caffe.TRAIN,
               weights=str(WIRE / "wire_iter_3.caffemodel"))
    wire.save(str(tmp_path / "ours"))
    ours = weights.read_caffemodel(tmp_path / "ours")
    theirs = weights.read_caffemodel(WIRE / "wire_iter_3.caffemodel")
    del theirs.input[:]             # the fork keeps `input:` where BVLC Caffe has a layer
    assert ours.layer[0].type == "Input"
    del ours.layer[0]
    for spec in ours.layer[1].param:
        spec.ClearField("decay_mult")       # ours says of BatchNorm's statistics that none decays
    assert ours == theirs


def test_our_hdf5_is_caffes_and_links_shared_parameters(tmp_path):
    wire = Net(str(WIRE / "net.prototxt"), caffe.TRAIN,
               weights=str(WIRE / "wire_iter_3.caffemodel.h5"))
    wire.save_hdf5(str(tmp_path / "ours.h5"))
    with h5py.File(tmp_path / "ours.h5") as ours, \
            h5py.File(WIRE / "wire_iter_3.caffemodel.h5") as theirs:
        for layer, group in theirs["data"].items():
            for index, dataset in group.items():
                mine = ours["data"][layer][index]
                np.testing.assert_array_equal(mine[()], dataset[()])
                assert (mine.dtype, mine.chunks) == (dataset.dtype, dataset.chunks)
        assert set(theirs["data"]) <= set(ours["data"])
        assert ours["data/conv3/0"] == ours["data/conv2/0"]     # one object, two names


@pytest.mark.parametrize("shared", [True, False])
def test_linked_parameters_are_read_once_and_shared_only_where_the_net_shares(
        shared, tmp_path, monkeypatch):
    def net(share):
        fc = """layer {{ name: "{0}" type: "InnerProduct" bottom: "x" top: "{0}" {1}
            inner_product_param {{ num_output: 6 weight_filler {{ type: "xavier" }} }} }}"""
        name = 'param { name: "w" } param { name: "b" }' * share
        return Net.from_proto(read_net("""layer { name: "in" type: "Input" top: "x"
            input_param { shape { dim: 2 dim: 8 } } }""" + fc.format("a", name)
            + fc.format("b", name)), caffe.TEST)

    file, numbers, read = str(tmp_path / "w.h5"), hdf5.numbers, []
    saved = net(True)
    saved.save_hdf5(file)
    monkeypatch.setattr(hdf5, "numbers", lambda data: read.append(data.name) or numbers(data))
    loaded = net(shared)
    view = loaded.params["b"][1].data       # what a user holds stays his
    loaded.copy_from(file)
    assert len(read) == 2
    for name in "ab":
        for mine, stored in zip(loaded.params[name], saved.params["a"]):
            np.testing.assert_array_equal(mine.data, stored.data)
    loaded.params["a"][0].data[...] = 7
    assert (loaded.params["b"][0].data == 7).all() == shared
    assert view is not None and np.shares_memory(view, loaded.params["b"][1].data)


def test_large_parameters_are_read_as_small_ones(tmp_path):
    """From 1 MB on they have pages of their own; other precisions and byte orders, too."""
    values = np.random.default_rng(0).normal(size=(600, 700)).astype(np.float32)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for kind in ("<f4", ">f4", "<f8", "<f2"):
            found = hdf5.numbers(file.create_dataset(kind, data=values.astype(kind)))
            assert found.dtype == np.dtype(kind).newbyteorder("=") and found.flags.writeable
            np.testing.assert_array_equal(found, values.astype(kind))


def test_a_value_that_is_not_finite_is_found_in_any_part():
    x = torch.zeros(3, 1 << 20)
    assert weights.is_finite(x) and weights.is_finite(x[:0]) and weights.is_finite(3e38 + x)
    for value in (float("nan"), float("inf")):
        x[2, 5] = value
        assert not weights.is_finite(x)


def test_old_formats_load():
    """V1 `layers` and legacy 4-d blobs, against the file the real program upgraded."""
    with zipfile.ZipFile(WIRE / "old_formats.zip") as archive:
        v1 = caffe_pb2.NetParameter.FromString(archive.read("v1.caffemodel"))
        upgraded = caffe_pb2.NetParameter.FromString(archive.read("v1_upgraded.caffemodel"))
    found = {name: blobs for name, blobs in layer_weights.stored_layers(v1) if len(blobs)}
    expected = {y.name: y.blobs for y in upgraded.layer if len(y.blobs)}
    assert found.keys() == expected.keys()
    for name in expected:
        for mine, theirs in zip(found[name], expected[name], strict=True):
            a, b = blob_proto.from_blob_proto(mine), blob_proto.from_blob_proto(theirs)
            assert a.legacy
            np.testing.assert_array_equal(a.read().ravel(), b.read().ravel())


def test_v0_weights_are_found_in_the_nested_layer():
    message = caffe_pb2.NetParameter()
    message.layers.add().layer.name = "c"
    for shape in ((1, 1, 5, 3), (1, 1, 1, 5)):
        blob = message.layers[0].layer.blobs.add(data=np.arange(np.prod(shape)))
        blob.num, blob.channels, blob.height, blob.width = shape
    assert [(n, len(b)) for n, b in layer_weights.stored_layers(message)] == [("c", 2)]


# --- round trips ---------------------------------------------------------------------------------

@pytest.fixture(params=["caffemodel", "h5"])
def save(request):
    return {"caffemodel": weights.save_caffemodel, "h5": weights.save_hdf5}[request.param]


def test_round_trip(tmp_path, save):
    first, second = net(), net()
    save(first, tmp_path / "w.anything")          # the name does not tell the format
    second.copy_from(str(tmp_path / "w.anything"))
    assert_same(contents(second), contents(first))
    assert second.params["a"][0].data is not None
    second.params["a"][0].data[0, 0] = 7
    assert second.params["b"][0].data[0, 0] == 7      # still one memory


def test_double_precision(tmp_path, save):
    first, second = net(dtype="float64"), net(dtype="float64")
    first.params["c"][0].data[...] = np.pi
    save(first, tmp_path / "w")
    second.copy_from(str(tmp_path / "w"))
    assert (second.params["c"][0].data == np.pi).all()
    single = net()
    single.copy_from(str(tmp_path / "w"))
    assert (single.params["c"][0].data == np.float32(np.pi)).all()


def test_gradients_are_written_when_asked(tmp_path):
    one = net()
    one.params["c"][1].diff[...] = [1, 2, 3, 4, 5]
    weights.save_caffemodel(one, tmp_path / "w", write_diff=True)
    weights.save_hdf5(one, tmp_path / "w.h5", write_diff=True)
    layer = weights.read_caffemodel(tmp_path / "w").layer[-1]
    assert list(layer.blobs[1].diff) == [1, 2, 3, 4, 5]
    with h5py.File(tmp_path / "w.h5") as file:
        np.testing.assert_array_equal(file["diff/c/1"][()], [1, 2, 3, 4, 5])
        assert file["diff/b/0"] == file["diff/a/0"]


def test_layers_match_by_name_and_unknown_ones_are_skipped(tmp_path, save, capsys):
    first = net()
    save(first, tmp_path / "w")
    other = net(PAIR.replace('"c"', '"fresh"'))
    before = contents(other)
    other.copy_from(str(tmp_path / "w"))
    np.testing.assert_array_equal(other.params["a"][0].data, first.params["a"][0].data)
    np.testing.assert_array_equal(other.params["fresh"][0].data, before["fresh", 0])
    said = capsys.readouterr().err
    assert "Ignoring source layer c" in said and said.count("Ignoring") == 1


def test_layer_names_with_slashes(tmp_path, save):
    text = PAIR.replace('"c"', '"inception/1x1"')
    first, second = net(text), net(text)
    save(first, tmp_path / "w")
    second.copy_from(str(tmp_path / "w"))
    assert_same(contents(second), contents(first))


def test_hdf5_without_the_borrowed_parameters_loads(tmp_path):
    first, second = net(), net()
    weights.save_hdf5(first, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        del file["data/b/0"], file["data/b/1"]
    second.copy_from(str(tmp_path / "w.h5"))
    assert_same(contents(second), contents(first))


def test_legacy_shapes_match(tmp_path):
    message = caffe_pb2.NetParameter()
    layer = message.layer.add(name="c", type="InnerProduct")
    for shape in ((1, 1, 5, 3), (1, 1, 1, 5)):
        blob = layer.blobs.add(data=np.arange(np.prod(shape)))
        blob.num, blob.channels, blob.height, blob.width = shape
    (tmp_path / "w").write_bytes(message.SerializeToString())
    one = net()
    one.copy_from(str(tmp_path / "w"))
    np.testing.assert_array_equal(one.params["c"][0].data, np.arange(15).reshape(5, 3))


# --- what does not fit ---------------------------------------------------------------------------

def test_a_shape_that_does_not_fit_is_named_and_nothing_changes(tmp_path, save):
    save(net(PAIR.replace("num_output: 5", "num_output: 7")), tmp_path / "w")
    one = net()
    before = contents(one)
    with pytest.raises(WeightsError, match=r'w: layer "c" \(InnerProduct\) blob 0 has the shape '
                                           r"\(7, 3\) in the file, \(5, 3\) in the net"):
        one.copy_from(str(tmp_path / "w"))
    assert_same(contents(one), before)


def test_another_number_of_blobs_is_named(tmp_path, save):
    save(net(PAIR.replace("num_output: 5", "num_output: 5 bias_term: false")), tmp_path / "w")
    with pytest.raises(WeightsError, match=r'layer "c" \(InnerProduct\) has 1 parameter blob\(s\) '
                                           r"in the file, 2 in the net"):
        net().copy_from(str(tmp_path / "w"))


@pytest.mark.parametrize("content, message", [
    (b"\xff" * 50, "neither a .caffemodel nor an HDF5 file"),
    (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "not an HDF5 file, or damaged|neither")])
def test_damaged_files_are_named(tmp_path, content, message):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(WeightsError, match=f"bad: .*({message})"):
        net().copy_from(str(tmp_path / "bad"))


def test_hdf5_where_only_a_caffemodel_will_do(tmp_path):
    weights.save_hdf5(net(), tmp_path / "w.h5")
    with pytest.raises(WeightsError, match="w.h5: an HDF5 file; this takes a binary .caffemodel"):
        weights.read_caffemodel(tmp_path / "w.h5")


def test_other_hdf5_files_are_named(tmp_path):
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["label"] = [1]
    with pytest.raises(WeightsError, match="images.h5: .*no group /data"):
        net().copy_from(str(tmp_path / "images.h5"))


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.caffemodel"):
        net().copy_from("nowhere.caffemodel")


@pytest.mark.parametrize("data, shape", [
    ([1, 2, 3], (2, 2)), ([1, 2], (-1, -2)), ([], (0, 2**62, 2**62)), ([], (2**32, 2**32))])
def test_values_short_of_the_shape_are_named(data, shape):
    proto = caffe_pb2.BlobProto(data=data)
    proto.shape.dim.extend(shape)
    with pytest.raises(WeightsError, match=re.escape(f"{len(data)} values for the shape {shape}")):
        blob_proto.from_blob_proto(proto)


# --- limits, safety ------------------------------------------------------------------------------

def test_beyond_protobufs_limit_borrowers_are_left_out_then_hdf5_is_named(
        tmp_path, monkeypatch, capsys):
    one, second = (net(PAIR.replace("dim: 3", "dim: 40").replace("put: 3", "put: 40"))
                   for _ in range(2))
    monkeypatch.setattr(weights, "PROTOBUF_LIMIT", 4 * sum(a.size for a in contents(one).values()))
    one.save(str(tmp_path / "w"))
    assert re.search("left out.*: b$", capsys.readouterr().err, re.MULTILINE)
    assert [y.name for y in weights.read_caffemodel(tmp_path / "w").layer] == ["in", "a", "c"]
    second.copy_from(str(tmp_path / "w"))
    assert_same(contents(second), contents(one))
    monkeypatch.setattr(weights, "PROTOBUF_LIMIT", 50)
    with pytest.raises(WeightsError, match="exceed protobuf's 2 GB; save them as HDF5"):
        one.save(str(tmp_path / "x"))


def test_a_failed_write_leaves_the_old_file(tmp_path, save, monkeypatch):
    target = tmp_path / "w"
    target.write_bytes(b"precious")
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(net(), target)
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


def test_any_protobuf_reader_reads_our_blobs():
    data = torch.arange(6.).reshape(2, 3)
    proto = weights.to_blob_proto(data, data.neg())
    assert list(proto.data) == [0, 1, 2, 3, 4, 5] and list(proto.diff)[1:] == [-1, -2, -3, -4, -5]
    assert list(proto.shape.dim) == [2, 3]
    assert list(weights.to_blob_proto(data.double()).double_data) == [0, 1, 2, 3, 4, 5]
    assert weights.to_blob_proto(torch.zeros(200, 300)).data[59999] == 0


def test_hdf5_that_another_process_reads(tmp_path):
    weights.save_hdf5(net(), tmp_path / "w.h5")
    code = f"import h5py; print(sorted(h5py.File({str(tmp_path / 'w.h5')!r})['data']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['a', 'b', 'c', 'in']"


def altered(path, alter):
    """A weight file of ones with its last parameter altered."""
    source = net()
    for blob in (b for blobs in source.params.values() for b in blobs):
        blob.data[...] = 1
    source.save_hdf5(str(path))
    with h5py.File(path, "r+") as file:
        layer = list(source.params)[-1]
        values = file["data"][layer]["0"][()]
        del file["data"][layer]["0"]
        return alter(file["data"][layer], values)


@pytest.mark.parametrize("alter", [
    lambda group, values: group.create_group("0") and None,
    lambda group, values: group.create_dataset("0", data=values.astype("S1")) and None,
    lambda group, values: group.create_dataset("0", data=values, chunks=values.shape,
                                               fletcher32=True).id.get_chunk_info(0).byte_offset],
    ids=["group", "text", "damaged block"])
def test_damage_found_late_leaves_the_net_as_it_was(tmp_path, alter):
    path = tmp_path / "w.h5"
    block = altered(path, alter)
    if block:
        with open(path, "r+b") as file:
            file.seek(block)
            file.write(b"damage")
    target = net()
    before = contents(target)
    with pytest.raises(WeightsError, match="w.h5"):
        target.copy_from(str(path))
    assert_same(contents(target), before)


def test_numbers_of_any_type_and_byte_order_load(tmp_path):
    altered(tmp_path / "w.h5", lambda group, values: group.create_dataset(
        "0", data=values.astype(">f8")) and None)
    target = net()
    target.copy_from(str(tmp_path / "w.h5"))
    assert all((b.data == 1).all() for blobs in target.params.values() for b in blobs)


@pytest.mark.parametrize("old, new", [('name: "second"', 'name: "first"'), ('name: "second"', "")])
def test_hdf5_needs_a_name_for_each_layer_with_parameters(old, new, tmp_path):
    text = """layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
              layer { type: "ReLU" bottom: "x" top: "x" }
              layer { name: "first" type: "Scale" bottom: "x" top: "y" }
              layer { name: "second" type: "Scale" bottom: "y" top: "z" }"""
    net(text).save_hdf5(str(tmp_path / "w.h5"))         # a layer without parameters needs none
    with pytest.raises(WeightsError, match="other.h5.*give each its own"):
        net(text.replace(old, new)).save_hdf5(str(tmp_path / "other.h5"))
    assert not (tmp_path / "other.h5").exists()


# --- weights that fill nothing -------------------------------------------------------------------

@pytest.mark.parametrize("content, message", [
    (b"", "holds no layers: it is empty"),
    (caffe_pb2.BlobProto(num=1, channels=1, height=1, width=2,
                         data=[1, 2]).SerializeToString(), "holds no layers|neither"),
    (caffe_pb2.Datum(channels=1, height=1, width=1, data=b"1").SerializeToString(),
     "holds no layers|neither")], ids=["empty", "mean", "datum"])
def test_files_without_layers_are_no_weights(content, message, tmp_path):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        net().copy_from(str(tmp_path / "w"))


def test_an_hdf5_file_without_layers_is_no_weights(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("data")
    with pytest.raises(WeightsError, match="holds no layers"):
        net().copy_from(str(tmp_path / "w.h5"))


def test_nothing_for_this_net_is_a_warning_or_where_required_an_error(tmp_path, save, capsys):
    save(net(PAIR.replace('name: "a"', 'name: "module.a"').replace('name: "b"', 'name: "module.b"')
             .replace('name: "c"', 'name: "module.c"')), tmp_path / "w")
    one = net()
    one.copy_from(str(tmp_path / "w"))
    said = capsys.readouterr().err
    assert re.search(r"^W.*w: nothing in it is for this net: it has .*module.a.*the net a, b, c$",
                     said, re.MULTILINE)
    with pytest.raises(WeightsError, match="nothing in it is for this net"):
        one.copy_from(str(tmp_path / "w"), required=True)


def test_part_of_a_net_filled_is_one_line_with_counts(tmp_path, save, capsys):
    save(net(), tmp_path / "w")
    capsys.readouterr()
    net(PAIR.replace('name: "c"', 'name: "fresh"')).copy_from(str(tmp_path / "w"))
    assert "w: fills 2 of 3 layers that have parameters; as they were: fresh" in \
        capsys.readouterr().err
    net().copy_from(str(tmp_path / "w"))
    assert "fills" not in capsys.readouterr().err


def test_a_net_without_parameters_takes_any_weights_in_silence(tmp_path, save, capsys):
    save(net(), tmp_path / "w")
    net('layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 } } }').copy_from(
        str(tmp_path / "w"), required=True)
    assert "nothing" not in capsys.readouterr().err
