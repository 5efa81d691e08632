"""Data layers: what they read, how they draw, how they resume, what they say of bad sources."""

from __future__ import annotations

import gc
import resource
import sys
import threading
import time

import cv2
import h5py
import lmdb
import numpy as np
import pytest
import torch

import caffe
from caffe.data import databases
from caffe.engine.errors import LayerError
from caffe.engine.formats.prototxt import read_net
from caffe.engine.formats.weights import to_blob_proto
from caffe.engine.net.net import Net
from caffe.proto import caffe_pb2

RANDOM = np.random.default_rng(7)
IMAGES = RANDOM.integers(0, 256, (5, 3, 6, 7), np.uint8)        # label = number


def net(kind, options, tops=("data", "label"), phase=caffe.TRAIN, seed=3):
    caffe.set_random_seed(seed)
    names = " ".join(f"top: '{name}'" for name in tops)
    text = f"layer {{ name: 'd' type: '{kind}' {names} {options} }}"
    return Net.from_proto(read_net(text), phase)


def batches(n, count):
    """Copies of the tops of so many forwards."""
    found = []
    for _ in range(count):
        n.forward()
        found.append([blob.data.copy() for blob in n.blobs.values()])
    return found


def labels(n, count):
    return np.concatenate([b[1] for b in batches(n, count)]).astype(int).tolist()


def datum(image, label, **more):
    return caffe_pb2.Datum(channels=image.shape[0], height=image.shape[1], width=image.shape[2],
                           data=image.tobytes(), label=label, **more).SerializeToString()


def write_lmdb(path, records):
    with lmdb.open(str(path), map_size=2**24) as environment:
        with environment.begin(write=True) as transaction:
            for i, record in enumerate(records):
                transaction.put(f"{i:08d}".encode(), record)
    return path


def png(image):
    return cv2.imencode(".png", image.transpose(1, 2, 0))[1].tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An LMDB, an image list, HDF5 files and a window file over IMAGES."""
    where = tmp_path_factory.mktemp("sources")
    write_lmdb(where / "lmdb", [datum(image, i) for i, image in enumerate(IMAGES)])
    for i, image in enumerate(IMAGES):
        (where / f"an image {i}.png").write_bytes(png(image))
    (where / "list.txt").write_text("".join(f"an image {i}.png {i}\n" for i in range(5)))
    for i, rows in enumerate((slice(0, 2), slice(2, 5))):
        with h5py.File(where / f"{i}.h5", "w") as file:
            file["data"], file["label"] = IMAGES[rows] / 8, np.arange(5)[rows]
    (where / "h5.txt").write_text(f"{where}/0.h5\n{where}/1.h5\n")
    (where / "scene.png").write_bytes(png(IMAGES[0]))
    (where / "windows.txt").write_text("# 0\nscene.png\n3\n6\n7\n3\n"
                                       "2 0.9 1 1 4 4\n1 0.6 0 0 6 5\n1 0.2 2 0 6 4\n")
    return where


def data_options(folder, more="", transform=""):
    return (f"data_param {{ source: '{folder}/lmdb' backend: LMDB batch_size: 2 {more} }} "
            f"transform_param {{ {transform} }}")


def image_options(folder, more="", transform=""):
    return (f"image_data_param {{ source: '{folder}/list.txt' root_folder: '{folder}/' "
            f"batch_size: 2 {more} }} transform_param {{ {transform} }}")


def hdf5_options(folder, more=""):
    return f"hdf5_data_param {{ source: '{folder}/h5.txt' batch_size: 2 {more} }}"


def window_options(folder, more="", transform="crop_size: 4"):
    return (f"window_data_param {{ source: '{folder}/windows.txt' root_folder: '{folder}/' "
            f"batch_size: 4 {more} }} transform_param {{ {transform} }}")


# --- order and drawing -------------------------------------------------------------------------

@pytest.mark.parametrize("kind, options", (
    ("Data", data_options), ("ImageData", image_options), ("HDF5Data", hdf5_options)))
def test_passes_follow_each_other_without_a_gap(folder, kind, options):
    assert labels(net(kind, options(folder)), 5) == [0, 1, 2, 3, 4] * 2


@pytest.mark.parametrize("kind, options", (
    ("Data", data_options), ("ImageData", image_options), ("HDF5Data", hdf5_options),
    ("WindowData", window_options)))
def test_of_a_test_each_worker_makes_its_batches_alone(folder, kind, options, monkeypatch):
    """Three tests of 5 batches at two workers: those of one, and none is made but where it is used."""
    made, method = [], "draw" if kind == "WindowData" else "assemble"
    expected = batches(net(kind, options(folder)), 17)
    owner = type(net(kind, options(folder)).layers[0].batches)
    make = getattr(owner, method)
    monkeypatch.setattr(owner, method, lambda self, *a: made.append(self) or make(self, *a))
    for rank in (0, 1):
        n = net(kind, options(folder))
        layer = n.layers[0]
        for start in (0, 5, 10):
            layer.take_turns(5, rank, 2)
            for number in range(5):
                if number % 2 == rank:
                    for value, wanted in zip(batches(n, 1)[0], expected[start + number]):
                        np.testing.assert_array_equal(value, wanted)
                else:
                    layer.pass_over()
        used = 3 * len(range(rank, 5, 2))
        assert used <= sum(each is layer.batches for each in made) <= used + 4      # read ahead
        for value, wanted in zip(batches(n, 2), expected[15:]):     # a user's forward: every batch
            np.testing.assert_array_equal(value[0], wanted[0])


@pytest.mark.parametrize("kind, options", (
    ("Data", data_options), ("ImageData", image_options), ("HDF5Data", hdf5_options)))
def test_shuffle_gives_each_item_once_a_pass_in_new_orders(folder, kind, options):
    found = labels(net(kind, options(folder, "shuffle: true")), 10)
    passes = [found[i:i + 5] for i in range(0, 20, 5)]
    assert all(sorted(p) == [0, 1, 2, 3, 4] for p in passes)
    assert len(set(map(tuple, passes))) > 1


def test_two_labels_of_an_image(folder):
    lines = (folder / "list.txt").read_text().splitlines()
    (folder / "two.txt").write_text("".join(f"{line} {i + 10}\n" for i, line in enumerate(lines)))
    options = image_options(folder, "task_class_num: 2").replace("list.txt", "two.txt")
    assert batches(net("ImageData", options), 1)[0][1].tolist() == [[0, 10], [1, 11]]
    with pytest.raises(LayerError, match="an image and 2 labels"):
        net("ImageData", image_options(folder, "task_class_num: 2"))


def test_seed_decides_what_is_drawn(folder):
    options = image_options(folder, "shuffle: true", "crop_size: 3 mirror: true")
    first, same, other = (batches(net("ImageData", options, seed=s), 4) for s in (1, 1, 2))
    assert all((a == b).all() for x, y in zip(first, same) for a, b in zip(x, y))
    assert any((a != b).any() for x, y in zip(first, other) for a, b in zip(x, y))


def test_rand_skip_begins_later(folder):
    starts = {labels(net("Data", data_options(folder, "rand_skip: 5"), seed=s), 1)[0]
              for s in range(12)}
    assert len(starts) > 2 and starts <= set(range(5))
    with pytest.raises(LayerError, match="too few to leave out"):
        for seed in range(9):
            net("ImageData", image_options(folder, "rand_skip: 1000"), seed=seed)


def test_prefetching_does_not_disturb_other_draws(folder):
    """However far the thread is ahead, the engine's generator is not touched."""
    options = image_options(folder, "shuffle: true", "crop_size: 3 mirror: true")
    drawn = []
    for wait in (0, 0.05):
        n = net("ImageData", options)
        n.forward()
        time.sleep(wait)                # the better test, where it suffices for the thread
        drawn.append(torch.rand(3, generator=caffe.engine.random.generator()))
    assert (drawn[0] == drawn[1]).all()


# --- transformation ----------------------------------------------------------------------------

def test_image_is_reduced_by_its_mean_then_scaled(folder):
    n = net("Data", data_options(folder, "", "mean_value: 10 mean_value: 20 mean_value: 30 "
                                             "scale: 0.5"))
    n.forward()
    wanted = (IMAGES[:2] - np.array([10.0, 20, 30])[:, None, None]) / 2
    np.testing.assert_allclose(n.blobs["data"].data, wanted)


def test_crops_are_central_in_test(folder):
    n = net("Data", data_options(folder, "", "crop_size: 4"), phase=caffe.TEST)
    n.forward()
    np.testing.assert_array_equal(n.blobs["data"].data, IMAGES[:2, :, 1:5, 1:5])


def test_crops_and_mirrors_are_drawn_in_train_and_the_mean_image_with_them(folder, tmp_path):
    mean = RANDOM.integers(0, 256, (1, 3, 6, 7)).astype(np.float32)
    (tmp_path / "mean").write_bytes(to_blob_proto(torch.from_numpy(mean)).SerializeToString())
    n = net("Data", data_options(folder, "", f"crop_size: 4 mirror: true "
                                             f"mean_file: '{tmp_path}/mean'"))
    places = [(y, x, flip) for y in range(3) for x in range(4) for flip in (1, -1)]
    seen = []
    for number, image in enumerate(i for b in batches(n, 150) for i in b[0]):
        whole = IMAGES[number % 5] - mean[0]
        seen += [(y, x, flip) for y, x, flip in places
                 if (whole[:, y:y + 4, x:x + 4][:, :, ::flip] == image).all()]
    assert len(seen) == 300 and set(seen) == set(places)


@pytest.mark.parametrize("transform, channels", (
    ("", 3), ("force_color: true", 3), ("force_gray: true", 1)))
def test_encoded_records(tmp_path, transform, channels):
    record = caffe_pb2.Datum(encoded=True, data=png(IMAGES[0]), label=4).SerializeToString()
    write_lmdb(tmp_path / "lmdb", [record])
    n = net("Data", data_options(tmp_path, "", transform))
    n.forward()
    assert n.blobs["data"].shape == (2, channels, 6, 7) and (n.blobs["label"].data == 4).all()
    if channels == 3:
        np.testing.assert_array_equal(n.blobs["data"].data[0], IMAGES[0])


def test_float_records(tmp_path):
    record = caffe_pb2.Datum(channels=1, height=1, width=2, float_data=[0.5, -3])
    write_lmdb(tmp_path / "lmdb", [record.SerializeToString()])
    n = net("Data", data_options(tmp_path), tops=("data",))
    n.forward()
    assert n.blobs["data"].data.tolist() == [[[[0.5, -3]]]] * 2


def test_batches_of_one_may_differ_in_size(tmp_path):
    write_lmdb(tmp_path / "lmdb", [datum(IMAGES[0], 0), datum(IMAGES[1][:, :4, :3].copy(), 1)])
    n = net("Data", data_options(tmp_path).replace("batch_size: 2", "batch_size: 1"))
    assert [b[0].shape for b in batches(n, 3)] == [(1, 3, 6, 7), (1, 3, 4, 3), (1, 3, 6, 7)]
    with pytest.raises(LayerError, match=r'"d" \(Data\): .*record 1: has the shape \(3, 4, 3\)'):
        net("Data", data_options(tmp_path)).forward()


# --- LevelDB -----------------------------------------------------------------------------------

@pytest.fixture
def leveldb(tmp_path):
    plyvel = pytest.importorskip("plyvel", reason="LevelDB needs the optional package plyvel")
    database = plyvel.DB(str(tmp_path / "leveldb"), create_if_missing=True)
    for i, image in enumerate(IMAGES):
        database.put(f"{i:08d}".encode(), datum(image, i))
    database.close()
    return f"data_param {{ source: '{tmp_path}/leveldb' batch_size: 2 }}"


def test_leveldb_is_the_default_backend_and_serves_several_nets(leveldb):
    one, two = net("Data", leveldb), net("Data", leveldb, phase=caffe.TEST)
    assert labels(one, 5) == labels(two, 5) == [0, 1, 2, 3, 4] * 2
    np.testing.assert_array_equal(one.blobs["data"].data, IMAGES[[3, 4]])


def test_damaged_leveldb(leveldb, tmp_path):
    for file in (tmp_path / "leveldb").glob("MANIFEST*"):
        file.write_bytes(b"nothing")
    with pytest.raises(LayerError, match=r'"d" \(Data\): .*leveldb: cannot be opened as a LevelDB'):
        net("Data", leveldb)


def test_without_plyvel_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "plyvel", None)
    monkeypatch.setattr(databases.LevelDb, "_open", {})
    with pytest.raises(LayerError, match="backend LEVELDB needs plyvel.*pip install plyvel"):
        net("Data", f"data_param {{ source: '{tmp_path}' batch_size: 2 }}")


# --- other layers ------------------------------------------------------------------------------

def test_memory_data_serves_the_arrays_round_and_round():
    n = net("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 6 width: 7 }")
    layer = n.layer_dict["d"]
    with pytest.raises(LayerError, match="set_input_arrays"):
        n.forward()
    layer.reset(IMAGES[:4].astype(np.float32), np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1))
    assert labels(n, 3) == [0, 1, 2, 3, 0, 1]
    np.testing.assert_array_equal(n.blobs["data"].data, IMAGES[:2])
    state = layer.snapshot_state()
    wanted = labels(n, 1)
    layer.reset(IMAGES[:4].astype(np.float32), np.arange(4.0))
    layer.restore_state(state)
    assert labels(n, 1) == wanted == [2, 3]


@pytest.mark.parametrize("data, wrong", (
    (IMAGES[:3], "multiple of batch_size 2, got 3"), (IMAGES[:4, :2], r"\(n, 3, 6, 7\), got"),
    (IMAGES[:0], "multiple of batch_size")))
def test_memory_data_refuses_arrays_that_do_not_fit(data, wrong):
    n = net("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 6 width: 7 }")
    with pytest.raises(LayerError, match=wrong):
        n.layer_dict["d"].reset(data, np.zeros(len(data)))


def test_dummy_data_draws_anew_but_keeps_constants():
    n = net("DummyData", "dummy_data_param { data_filler { type: 'gaussian' } "
            "data_filler { value: 2 } shape { dim: 2 dim: 3 } shape { dim: 1 } }")
    n.blobs["label"].data[...] = 5
    (one, kept), (two, _) = batches(n, 2)
    assert (one != two).all() and kept == 5


def test_hdf5_output_appends_each_batch(folder, tmp_path):
    n = Net.from_proto(read_net(
        f"layer {{ name: 'd' type: 'HDF5Data' top: 'data' top: 'label' {hdf5_options(folder)} }} "
        f"layer {{ name: 'o' type: 'HDF5Output' bottom: 'data' bottom: 'label' "
        f"hdf5_output_param {{ file_name: '{tmp_path}/out.h5' }} }}"), caffe.TEST)
    batches(n, 2)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["data"], IMAGES[:4] / 8)
        np.testing.assert_array_equal(file["label"], np.arange(4).reshape(4, 1, 1, 1))


def test_hdf5_output_keeps_what_it_has_where_a_batch_does_not_fit(tmp_path):
    """Under a limit of file sizes, as on a full disk; the HDF5 library would end the process."""
    path = tmp_path / "out.h5"
    n = net("DummyData", f"""dummy_data_param {{ shape {{ dim: 64 dim: 1000 }} shape {{ dim: 64 }} }} }}
        layer {{ name: "o" type: "HDF5Output" bottom: "data" bottom: "label"
        hdf5_output_param {{ file_name: "{path}" }}""")
    n.forward()
    before, limit = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limit[1]))
    try:
        with pytest.raises(LayerError, match=r'layer "o".*File too large.*out.h5'):
            n.forward()
        assert path.read_bytes() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    n.forward()
    with h5py.File(path) as file:
        assert file["data"].shape == (128, 1000, 1, 1)
    assert path.stat().st_size < 2.1 * 64 * 1000 * 4        # no room is left over


def test_window_data_takes_background_first_and_warps_the_windows(folder):
    n = net("WindowData", window_options(folder, "fg_threshold: 0.7"))
    image = IMAGES[0]
    # The window with overlap 0.6 is neither: it is below fg_threshold, but above bg_threshold.
    background = cv2.resize(image[:, :5, 2:].transpose(1, 2, 0), (4, 4)).transpose(2, 0, 1)
    for windows, label in batches(n, 3):
        assert label.tolist() == [0, 0, 0, 2]       # fg_fraction 0.25
        np.testing.assert_array_equal(windows, [background] * 3 + [image[:, 1:5, 1:5]])


def test_window_data_leaves_what_is_outside_the_image_free(folder):
    """Window (1, 1, 4, 4) with 2 of 8 pixels of context on each side: from -1 to 7 of 7 x 6."""
    n = net("WindowData", window_options(folder, "fg_threshold: 0.9 fg_fraction: 1 context_pad: 2",
                                         "crop_size: 8 mean_value: 9 scale: 2"))
    window = batches(n, 1)[0][0][0]
    assert not window[:, 0].any() and not window[:, :, 0].any()
    inside = cv2.resize(IMAGES[0].transpose(1, 2, 0), (6, 5)).transpose(2, 0, 1)
    np.testing.assert_array_equal(window[:, 1:6, 1:7], (inside.astype(np.float32) - 9) * 2)
    assert not window[:, 6:].any() and not window[:, :, 7].any()


# --- going on ----------------------------------------------------------------------------------

@pytest.mark.parametrize("kind, options", (
    ("Data", lambda f: data_options(f, "rand_skip: 4", "crop_size: 3 mirror: true")),
    ("ImageData", lambda f: image_options(f, "shuffle: true", "crop_size: 3 mirror: true")),
    ("HDF5Data", lambda f: hdf5_options(f, "shuffle: true")),
    ("WindowData", lambda f: window_options(f, "fg_fraction: 0.5", "crop_size: 4 mirror: true"))))
def test_goes_on_exactly_where_the_state_was_taken(folder, kind, options):
    n = net(kind, options(folder))
    batches(n, 4)
    state = n.layer_dict["d"].snapshot_state()
    wanted = batches(n, 7)
    other = net(kind, options(folder), seed=99)
    batches(other, 2)
    for went_on in (other, n):
        went_on.layer_dict["d"].restore_state(state)
        for got, want in zip(batches(went_on, 7), wanted):
            for a, b in zip(got, want):
                np.testing.assert_array_equal(a, b)
    with pytest.raises(LayerError, match='"d".*saved place'):
        n.layer_dict["d"].restore_state(b'{"batch": "x"}')


def test_a_solver_resumes_to_the_same_weights(folder, tmp_path):
    (tmp_path / "net.prototxt").write_text(
        f"layer {{ name: 'd' type: 'ImageData' top: 'data' top: 'label' "
        f"{image_options(folder, 'shuffle: true', 'crop_size: 4 mirror: true scale: 0.01')} }} "
        "layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' inner_product_param { "
        "num_output: 5 weight_filler { type: 'xavier' } } } "
        "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss' }")
    (tmp_path / "solver.prototxt").write_text(
        f"net: '{tmp_path}/net.prototxt' base_lr: 0.1 momentum: 0.9 lr_policy: 'fixed' "
        f"snapshot_prefix: '{tmp_path}/s' random_seed: 3")
    solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    solver.step(4)
    solver.snapshot()
    solver.step(5)
    resumed = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    resumed.restore(str(tmp_path / "s_iter_4.solverstate"))
    resumed.step(5)
    np.testing.assert_array_equal(resumed.net.params["ip"][0].data, solver.net.params["ip"][0].data)


def reading():
    """The threads that read ahead; some of them may be of earlier tests, and just about to end."""
    return {thread for thread in threading.enumerate() if thread.name == "reading ahead"}


def test_threads_begin_with_the_first_forward_and_end_with_the_net(folder):
    before = reading()
    n = net("Data", data_options(folder))
    assert not reading() - before
    n.forward()
    thread, = reading() - before
    n.layer_dict["d"].close()
    assert not thread.is_alive()
    assert labels(n, 1) == [2, 3]       # a closed layer goes on
    thread, = reading() - before
    del n
    gc.collect()
    thread.join(300)
    assert not thread.is_alive(), "the thread outlived its net"


# --- bad sources -------------------------------------------------------------------------------

def test_error_comes_again_in_each_forward(tmp_path):
    write_lmdb(tmp_path / "lmdb", [datum(IMAGES[0], 0), b"\xff\xff\xff"])
    n = net("Data", data_options(tmp_path))
    for _ in range(2):
        with pytest.raises(LayerError, match=r'layer "d" \(Data\): .*lmdb: record 1: not a Datum'):
            n.forward()


def broken_hdf5(path, write):
    with h5py.File(path / "x.h5", "w") as file:
        write(file)
    (path / "h5.txt").write_text(f"{path}/x.h5")


@pytest.mark.parametrize("write, wrong", (
    (lambda f: f.create_dataset("label", data=[1]), 'has no data set "data".*it has label'),
    (lambda f: f.update(data=np.zeros(3), label=np.zeros(2)), "data: 3, label: 2"),
    (lambda f: f.update(data=np.array([b"x"]), label=[1]), "must be an array of numbers"),
    (lambda f: [f.create_dataset("data", (2**40,), "f4", chunks=(2**20,)), f.update(label=[1])],
     "was never written"),
))
def test_hdf5_files_that_do_not_fit(tmp_path, write, wrong):
    broken_hdf5(tmp_path, write)
    with pytest.raises(LayerError, match=rf'layer "d" \(HDF5Data\): .*x\.h5: .*{wrong}'):
        net("HDF5Data", hdf5_options(tmp_path))


def test_truncated_hdf5(tmp_path, folder):
    (tmp_path / "x.h5").write_bytes((folder / "1.h5").read_bytes()[:-500])
    (tmp_path / "h5.txt").write_text(f"{tmp_path}/x.h5")
    with pytest.raises(LayerError, match=r'layer "d" \(HDF5Data\): .*x\.h5: not an HDF5 file'):
        net("HDF5Data", hdf5_options(tmp_path))


def test_truncated_lmdb(tmp_path, folder):
    whole = (folder / "lmdb" / "data.mdb").read_bytes()
    (tmp_path / "lmdb").write_bytes(whole[:9000])
    with pytest.raises(LayerError, match=r'layer "d" \(Data\): .*lmdb: damaged or truncated LMDB'):
        net("Data", data_options(tmp_path))


@pytest.mark.parametrize("content", (b"", b"no image", png(IMAGES[0])[:60]))
def test_damaged_images(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    (tmp_path / "list.txt").write_text("x.png 3\n")
    with pytest.raises(LayerError, match=r'layer "d" \(ImageData\): .*x\.png: not a decodable image'):
        net("ImageData", image_options(tmp_path))


@pytest.mark.parametrize("kind, options, wrong", (
    ("Data", "data_param { source: '/absent' batch_size: 1 backend: LMDB }", 'base at "/absent"'),
    ("Data", "data_param { source: '/absent' batch_size: 1 }", 'database at "/absent"'),
    ("ImageData", "image_data_param { source: '/absent' }", "/absent"),
    ("ImageData", "image_data_param { source: '/absent' new_height: 3 }", "given together"),
    ("HDF5Data", "hdf5_data_param { source: '/absent' batch_size: 1 }", "/absent"),
    ("WindowData", "window_data_param { source: '/absent' batch_size: 1 }", "crop_size is missing"),
    ("MemoryData", "memory_data_param { batch_size: 2 }", r"cannot have the shape \(2, 0"),
    ("MemoryData", "memory_data_param { batch_size: 9999 channels: 9999 height: 9999 width: 9 }",
     "cannot have the shape"),
))
def test_options_that_cannot_be(kind, options, wrong):
    with pytest.raises(LayerError, match=rf'layer "d" \({kind}\).*{wrong}'):
        net(kind, options)


@pytest.mark.parametrize("transform, wrong", (
    ("crop_size: 7", "crop_size 7 is larger than an image of 6 x 7"),
    ("mean_value: 1 mean_value: 2", "2 mean_value for an image of 3 channels"),
    ("mean_value: 1 mean_file: 'x'", "exclude each other"),
    ("mean_file: '/absent'", "/absent"),
    ("force_color: true force_gray: true", "exclude each other"),
))
def test_transformations_that_cannot_be(folder, transform, wrong):
    with pytest.raises(LayerError, match=rf'layer "d" \(Data\): .*{wrong}'):
        net("Data", data_options(folder, "", transform))


@pytest.mark.parametrize("text, wrong", (
    ("# 0\nx.png\n3\n6\n7\n2\n1 0.9 0 0 1 1\n", "near its end"),
    ("x.png\n3\n", "near line 1"),
    ("# 0\nx.png\n3\n6\n7\n-9\n", "near its end"),
    ("# 0\nscene.png\n3\n6\n7\n1\n0 0.9 0 0 1 1\n", "need a label above 0"),
    ("# 0\nscene.png\n3\n6\n7\n1\n1 0.9 0 0 1 1\n", "holds no background windows"),
))
def test_window_files_that_cannot_be(tmp_path, text, wrong):
    (tmp_path / "windows.txt").write_text(text)
    with pytest.raises(LayerError, match=rf'layer "d" \(WindowData\): .*windows\.txt.*{wrong}'):
        net("WindowData", window_options(tmp_path))


def test_image_list_names_the_line(tmp_path):
    (tmp_path / "list.txt").write_text("a.png 1\n\nb.png\n")
    with pytest.raises(LayerError, match=r'list\.txt, line 3: expected "image label"'):
        net("ImageData", image_options(tmp_path))
