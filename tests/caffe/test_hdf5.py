"""HDF5: what is refused of strangers' files, and names of layers that look like paths."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import caffe
from caffe.engine.formats import hdf5

DATA = np.arange(8, dtype=np.float32).reshape(2, 4)
NET = ('layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } } '
       'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" '
       'inner_product_param { num_output: 2 bias_term: false } }')


@pytest.fixture
def secret(tmp_path):
    """A file whose bytes would make weights"""
    (tmp_path / "secret").write_bytes(DATA.tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data/fc/0"] = DATA
    return tmp_path


def external_link(file, folder):
    file["data/fc/0"] = h5py.ExternalLink(str(folder / "secret.h5"), "/data/fc/0")


def external_group(file, folder):
    file["data"] = h5py.ExternalLink(str(folder / "secret.h5"), "/data")


def soft_then_external(file, folder):
    file["else"] = h5py.ExternalLink(str(folder / "secret.h5"), "/data")
    file["data/fc"] = h5py.SoftLink("/else/fc")


def external_storage(file, folder):
    file.create_group("data/fc").create_dataset("0", (2, 4), "f4", external=[
        (str(folder / "secret"), 0, h5py.h5f.UNLIMITED)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((2, 4), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "data/fc/0", (2, 4))
    file.create_group("data/fc").create_virtual_dataset("0", layout)


def never_written(file, folder):
    file.create_group("data/fc").create_dataset("0", (2, 4), "f4")


def soft_loop(file, folder):
    file["data/fc"] = h5py.SoftLink("/data/fc")


REFUSED = {external_link: "link to another file", external_group: "link to another file",
           soft_then_external: "link to another file", external_storage: "in another file",
           virtual: "a virtual data set", never_written: "was never written",
           soft_loop: "a link that leads to itself"}


@pytest.mark.parametrize("make", REFUSED)
def test_weights_stand_for_themselves(secret, make):
    with h5py.File(secret / "w.h5", "w") as file:
        make(file, secret)
    net = caffe.Net(NET, caffe.TEST)
    before = net.params["fc"][0].data.copy()
    with pytest.raises(caffe.WeightsError, match=rf"w\.h5.*{REFUSED[make]}"):
        net.copy_from(str(secret / "w.h5"))
    assert (net.params["fc"][0].data == before).all()


@pytest.mark.parametrize("make", [external_link, external_storage, virtual, never_written])
def test_so_does_data(secret, make):
    with h5py.File(secret / "d.h5", "w") as file:
        make(file, secret)
        file["x"] = h5py.SoftLink("/data/fc/0")
    (secret / "list.txt").write_text(str(secret / "d.h5"))
    with pytest.raises(caffe.LayerError, match=REFUSED[make]):
        caffe.Net(f'layer {{ name: "d" type: "HDF5Data" top: "x" hdf5_data_param {{ source: '
                  f'"{secret / "list.txt"}" batch_size: 1 }} }}', caffe.TEST)


def test_links_inside_the_file_are_followed(secret):
    with h5py.File(secret / "w.h5", "w") as file:
        file["here/0"] = DATA
        file["data/fc"] = h5py.SoftLink("/here")
    net = caffe.Net(NET, caffe.TEST)
    net.copy_from(str(secret / "w.h5"))
    assert (net.params["fc"][0].data == DATA).all()


def test_flipped_bits_are_one_kind_of_error(tmp_path):
    net = caffe.Net(NET, caffe.TEST)
    net.save_hdf5(str(tmp_path / "w.h5"))
    whole = (tmp_path / "w.h5").read_bytes()
    rng = np.random.default_rng(0)
    failed = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 8):
            content[place] ^= 1 << rng.integers(8)
        (tmp_path / "x.h5").write_bytes(content)
        try:
            net.copy_from(str(tmp_path / "x.h5"))
        except caffe.WeightsError as error:
            failed += 1
            assert "x.h5" in str(error)
    assert failed > 30


# --- names ---------------------------------------------------------------------------------------

def parameters(name, bottom, top):
    return (f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" '
            'inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } '
            'bias_filler { type: "gaussian" std: 1 } } }\n')


def relu(name):
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "x" top: "x" }}\n'


INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'


def chain(*names):
    return INPUT + "".join(parameters(name, f"b{k}" if k else "x", f"b{k + 1}")
                           for k, name in enumerate(names))


NAMES = {
    "a path": chain("a/b", "a/c"), "two parameters of one path": chain("conv1", "conv1/0"),
    "the other order": chain("conv1/0", "conv1"), "deeper": chain("a", "a/0/1"),
    "a layer without parameters above": INPUT + relu("features") + parameters("features/0", "x", "y"),
    "digits": chain("0", "1"), "two slashes": chain("a//b", "a/b"), "a dot": chain("./a", "a"),
    "only a dot": chain("."), "two dots": chain("..", "a/../b"), "a slash first": chain("/fc", "fc"),
    "a slash last": chain("fc/", "fc"), "percent": chain("a%2Fb", "a/b", "100%"),
    "others": chain("fc 1 输", 'fc\\"1', "fc\\0001", "fc\\\\1")}


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_layers_come_back(tmp_path, kind):
    net, other = (caffe.Net(NAMES[kind], caffe.TEST) for _ in range(2))
    net.save_hdf5(str(tmp_path / "w.h5"))
    other.copy_from(str(tmp_path / "w.h5"))
    for name, blobs in net.params.items():
        for mine, theirs in zip(blobs, other.params[name]):
            assert (mine.data == theirs.data).all() and mine.data.any()


def test_names_that_caffe_can_say_are_said_as_caffe_does(tmp_path):
    net = caffe.Net(chain("a/b", "a/c", "conv1"), caffe.TEST)
    net.save_hdf5(str(tmp_path / "w.h5"))
    with h5py.File(tmp_path / "w.h5") as file:
        assert set(file["data"]) == {"in", "a", "conv1"} and set(file["data/a"]) == {"b", "c"}


def test_encoding():
    assert hdf5.stored_as("conv1/0", {"conv1"}) == "conv1%2F0"
    assert hdf5.stored_as("conv1/0", {"other"}) == "conv1/0"
    for name in (".", "a//b", "/a", "100%", "a\0b", "输/0"):
        assert hdf5.decoded(hdf5.encoded(name)) == name and "/" not in hdf5.encoded(name)
