"""The data layer: the reference's draws and blobs, and its errors."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import caffe
from caffe.engine.blob import Blob
from caffe.engine.errors import LayerError
from caffe.proto import caffe_pb2
from mnc.augmentations import settings_of
from mnc.config import cfg, cfg_from_dict
from mnc.data import Annotation, DataError
from mnc.data.images import read_image
from mnc.data.minibatch import minibatch
from mnc.data.roidb import prepare
from pylayer.mnc_data_layer import MNCDataLayer, paired_permutation

GOLDEN = Path(__file__).parent.parent / "golden" / "mnc_data.npz"
BLOBS = ("data", "im_info", "gt_boxes", "gt_masks", "mask_info")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as archive:
        return {key.partition("/")[2]: archive[key] for key in archive
                if key.startswith("mnc_data_layer/")}


class Images:
    """The six images of the golden case."""

    name, classes = "golden", ("__background__", "1", "2", "3", "4")

    def __init__(self, golden, folder):
        self.golden, self.folder, self.names = golden, folder, list("012345")
        for i in range(6):
            (folder / f"{i}.png").write_bytes(golden[f"png_{i}"].tobytes())

    def __len__(self):
        return 6

    def image_path(self, i):
        return str(self.folder / f"{i}.png")

    def image(self, i):
        return read_image(self.image_path(i))

    def annotation(self, i):
        labels = self.golden[f"classes_{i}"]
        return Annotation(self.golden[f"boxes_{i}_0"].astype(np.float32), labels,
                          [self.golden[f"mask_{i}_0_{j}"] for j in range(len(labels))])


@pytest.fixture
def databases(golden, tmp_path):
    return prepare(Images(golden, tmp_path), use_flipped=True)


def data_layer(num_tops=5, num_classes=5):
    cfg.TRAIN.SCALES, cfg.TRAIN.MAX_SIZE = (48,), 80
    param = caffe_pb2.LayerParameter(name="input-data", type="Python")
    param.python_param.param_str = f"'num_classes': {num_classes}"
    layer, top = MNCDataLayer(param), [Blob() for _ in range(num_tops)]
    layer.setup([], top)
    return layer, top


def test_draws_and_blobs_of_the_reference(golden, databases):
    layer, top = data_layer()
    np.random.seed(3)
    layer.set_roidb(databases[0])
    assert layer._perm.tolist() == golden["perm_after_set_roidb"].tolist()
    layer.set_maskdb(databases[1])
    assert layer._perm.tolist() == golden["perm"].tolist()
    used = []
    for k in range(14):
        layer.forward([], top)
        used.append(int(layer._perm[layer._cur - 1]))
        for name, blob in zip(BLOBS, top):
            want = golden.get(f"{name}:{k}")
            if want is not None:
                assert blob.shape == want.shape, f"{name}:{k}"
                np.testing.assert_allclose(blob.data, want, atol=1e-5 * np.abs(want).max())
    assert used == golden["used_index"].tolist()


def test_mirrored_boxes_and_masks_of_the_reference(golden, databases):
    roidb, maskdb = databases
    for i in range(6):
        assert roidb[6 + i]["boxes"].tolist() == golden[f"boxes_{i}_1"].tolist()
        for j, mask in enumerate(maskdb[6 + i]["gt_masks"]):
            assert (mask == golden[f"mask_{i}_1_{j}"]).all()


@pytest.mark.parametrize("counts", [(6, 4), (3, 3), (5, 4), (4, 1), (1, 0), (0, 1), (2, 0)])
def test_a_permutation_has_every_index_once(counts):
    wide, tall = np.split(np.arange(sum(counts)), [counts[0]])
    order = paired_permutation(wide, tall)
    assert sorted(order) == list(range(sum(counts)))
    for a, b in order[len(order) % 2:].reshape(-1, 2) if counts[0] % 2 == 0 else ():
        assert (a < counts[0]) == (b < counts[0])             # pairs are of one kind


@pytest.mark.parametrize(("count", "grouping"), [(1, True), (1, False), (3, True), (5, True),
                                                 (5, False)])
def test_odd_counts(databases, count, grouping):
    cfg.TRAIN.ASPECT_GROUPING = grouping
    layer, top = data_layer()
    layer.set_roidb(databases[0][:count])
    layer.set_maskdb(databases[1][:count])
    used = set()
    for _ in range(20 * count):
        layer.forward([], top)
        used.add(int(layer._perm[layer._cur - 1]))
    assert used == set(range(count))


def test_scales_are_drawn_after_the_shuffle(databases):
    layer, top = data_layer()
    layer._train = replace(layer._train, scales=(48, 40, 32))
    layer.set_roidb(databases[0])
    layer.set_maskdb(databases[1])
    np.random.seed(7)
    want = [(48, 40, 32)[np.random.randint(0, high=3, size=1)[0]] for _ in range(5)]
    np.random.seed(7)
    got = []
    for _ in range(5):
        layer.forward([], top)
        got.append(min(top[0].shape[2:]))
    assert all(short <= scale for short, scale in zip(got, want)) and len(set(want)) > 1
    assert sum(short == scale for short, scale in zip(got, want)) >= 3      # others: MAX_SIZE


def test_the_next_image_is_read_while_the_solver_works(databases, monkeypatch):
    readers = []

    def read(*args, **options):
        readers.append(threading.current_thread().name)
        return minibatch(*args, **options)
    monkeypatch.setattr("pylayer.mnc_data_layer.minibatch", read)
    layer, top = data_layer()
    layer.set_roidb(databases[0])
    layer.set_maskdb(databases[1])
    for _ in range(3):
        layer.forward([], top)
    layer._ahead[1].result()
    assert readers == ["reading ahead"] * 4            # three images, and the next


def augmented_layer(databases, seed):
    cfg_from_dict(settings_of("strong"), "test")
    layer, top = data_layer()
    np.random.seed(seed)
    layer.set_roidb(databases[0])
    layer.set_maskdb(databases[1])

    def images(count):
        taken = []
        for _ in range(count):
            layer.forward([], top)
            taken.append([blob.data.copy() for blob in top])
        return taken
    return layer, images


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_augmented_images_go_on_from_a_state(databases):
    first, images = augmented_layer(databases, 3)
    images(4)
    state, expected = first.snapshot_state(), images(5)
    second, images = augmented_layer(databases, 8)
    images(2)
    second.restore_state(state)
    assert_same(expected, images(5))
    assert first.snapshot_state() == second.snapshot_state()


def test_reading_ahead_draws_nothing_else(databases, monkeypatch):
    ahead = augmented_layer(databases, 3)[1](9)
    monkeypatch.setattr(MNCDataLayer, "_read_ahead", lambda self: None)
    assert_same(ahead, augmented_layer(databases, 3)[1](9))
    other = augmented_layer(databases, 4)[1](9)
    assert any(a[0].shape != b[0].shape for a, b in zip(ahead, other))


def test_the_order_that_workers_share_is_not_of_the_augmentation(databases):
    layer, images = augmented_layer(databases, 3)
    np.random.seed(11)
    other, _ = data_layer()                     # its order's seed is 11
    other.set_roidb(databases[0])
    before = json.loads(other.snapshot_state())["seed"]
    other.set_maskdb(databases[1])
    assert json.loads(other.snapshot_state())["seed"] == before
    images(1)
    other.restore_state(layer.snapshot_state())
    assert other.snapshot_state() == layer.snapshot_state()


def test_states_of_earlier_versions_are_taken(databases):
    layer, images = augmented_layer(databases, 3)
    old = {key: value for key, value in json.loads(layer.snapshot_state()).items()
           if key != "augmentation"}
    layer.restore_state(json.dumps(old).encode())
    assert len(images(1)) == 1


def test_without_masks(databases):
    cfg.MNC_MODE = False
    layer, top = data_layer(num_tops=3)
    layer.set_roidb(databases[0])
    layer.forward([], top)
    assert [blob.shape[-1] for blob in top[1:]] == [3, 5]


def test_in_a_net(databases, tmp_path):
    cfg.TRAIN.SCALES, cfg.TRAIN.MAX_SIZE = (48,), 80
    (tmp_path / "net.prototxt").write_text("""
        layer { name: "input-data" type: "Python"
          top: "data" top: "im_info" top: "gt_boxes" top: "gt_masks" top: "mask_info"
          python_param { module: "pylayer.mnc_data_layer" layer: "MNCDataLayer"
                         param_str: "'num_classes': 5" } }
        layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
          pooling_param { pool: MAX kernel_size: 2 stride: 2 } }""")
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    net.layers[0].set_roidb(databases[0])
    net.layers[0].set_maskdb(databases[1])
    for _ in range(3):
        net.forward()
        shape = net.blobs["data"].data.shape
        assert net.blobs["im_info"].data[0, :2].tolist() == list(shape[2:])
        assert net.blobs["pool"].data.shape == (1, 3, -(-shape[2] // 2), -(-shape[3] // 2))
        assert len(net.blobs["gt_boxes"].data) == len(net.blobs["gt_masks"].data)


def test_errors(databases):
    layer, top = data_layer()
    with pytest.raises(LayerError, match='layer "input-data".*call set_roidb and set_maskdb'):
        layer.forward([], top)
    with pytest.raises(DataError, match="the maskdb has 12 entries, the roidb 0"):
        layer.set_maskdb(databases[1])
    with pytest.raises(DataError, match="the roidb is empty"):
        layer.set_roidb([])
    with pytest.raises(LayerError, match="has 5 tops .*, got 3"):
        data_layer(num_tops=3)
    with pytest.raises(LayerError, match="the data has class 4, but num_classes is 3"):
        data_layer(num_classes=3)[0].set_roidb(databases[0])
    cfg.TRAIN.IMS_PER_BATCH = 2
    with pytest.raises(LayerError, match="IMS_PER_BATCH is 2"):
        data_layer()
