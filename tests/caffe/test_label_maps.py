"""Data layers of segmentation: what they read, that image and labels are cut alike; MatWrite."""

from __future__ import annotations

import resource

import cv2
import numpy as np
import pytest
import scipy.io

from caffe.engine.errors import LayerError
from test_data_layers import batches, net

RANDOM = np.random.default_rng(5)
LABELS = RANDOM.integers(0, 9, (6, 8)).astype(np.uint8)
IMAGE = LABELS[..., None] * np.uint8(10) + np.arange(3, dtype=np.uint8)    # tells its label


@pytest.fixture
def source(tmp_path):
    """A list of two equal pairs; the image of a pixel is 10 * label + channel."""
    cv2.imwrite(str(tmp_path / "image.png"), IMAGE)
    cv2.imwrite(str(tmp_path / "labels.png"), LABELS)
    cv2.imwrite(str(tmp_path / "edges.png"), np.where(LABELS > 4, 200, 100).astype(np.uint8))
    (tmp_path / "list.txt").write_text("image.png labels.png\nimage.png labels.png\n")
    (tmp_path / "edges.txt").write_text("image.png edges.png\n")
    (tmp_path / "tags.txt").write_text("image.png 7\n")
    return tmp_path


def options(source, name, text=""):
    return f"source: '{source / name}' root_folder: '{source}/' batch_size: 2 {text}"


def test_dense_image_data_cuts_image_and_labels_alike(source):
    text = options(source, "list.txt", "crop_height: 4 crop_width: 5 mirror: true shuffle: true")
    n = net("DenseImageData", f"dense_image_data_param {{ {text} }} transform_param {{ scale: 2 }}")
    assert n.blobs["data"].shape == (2, 3, 4, 5) and n.blobs["label"].shape == (2, 1, 4, 5)
    seen = set()
    for image, labels in batches(n, 8):
        np.testing.assert_array_equal(image, 2 * (10 * labels + np.arange(3)[:, None, None]))
        seen.add(labels.tobytes())
    assert len(seen) > 4


def test_dense_labels_take_the_nearest_and_their_own_size(source):
    text = options(source, "list.txt", "new_height: 12 new_width: 16 label_divide_factor: 2")
    n = net("DenseImageData", f"dense_image_data_param {{ {text} }}")
    n.forward()
    assert n.blobs["data"].shape == (2, 3, 12, 16)
    np.testing.assert_array_equal(n.blobs["label"].data[1, 0], LABELS)


def test_labelmaps_are_edges(source):
    n = net("ImageLabelmapData", f"image_data_param {{ {options(source, 'edges.txt')} }} "
            "transform_param { crop_size: 5 mirror: true mean_value: 1 }")
    for image, edges in batches(n, 4):
        assert edges.shape == (2, 1, 5, 5)
        np.testing.assert_array_equal(edges[:, 0] == 1, image[:, 0] + 1 > 40)


def test_segmentations_are_padded_with_the_mean_and_ignored_labels(source):
    n = net("ImageSegData", f"image_data_param {{ {options(source, 'list.txt')} label_type: PIXEL }}"
            " transform_param { crop_size: 8 mean_value: 3 }", ("data", "label", "size"))
    n.forward()
    assert not n.blobs["data"].data[:, :, 6:].any()
    assert (n.blobs["label"].data[:, :, 6:] == 255).all()
    np.testing.assert_array_equal(n.blobs["label"].data[0, 0, :6], LABELS)
    np.testing.assert_array_equal(n.blobs["data"].data[0, 0, :6] + 3, IMAGE[..., 0])
    np.testing.assert_array_equal(n.blobs["size"].data[1, 0, 0], (6, 8))


@pytest.mark.parametrize("kind, wanted", [("IMAGE", 7), ("NONE", 255)])
def test_one_label_for_a_whole_image(source, kind, wanted):
    n = net("ImageSegData", f"image_data_param {{ {options(source, 'tags.txt')} "
            f"label_type: {kind} }}")
    n.forward()
    assert (n.blobs["label"].data == wanted).all()


def test_labels_of_another_size_are_said_with_their_file(source):
    cv2.imwrite(str(source / "labels.png"), LABELS[:3])
    with pytest.raises(LayerError, match=r"labels.png: labels of \(3, 8\) for an image"):
        net("ImageSegData", f"image_data_param {{ {options(source, 'list.txt')} "
            "label_type: PIXEL }")
    with pytest.raises(LayerError, match='expected "image labels", got "image.png"'):
        (source / "list.txt").write_text("image.png\n")
        net("DenseImageData", f"dense_image_data_param {{ {options(source, 'list.txt')} }}")


def test_mat_write_names_files_by_its_list(tmp_path):
    (tmp_path / "list.txt").write_text("a/one.jpg 3\ntwo.jpg\n")
    n = net("DummyData", "dummy_data_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 } "
            "data_filler { type: 'gaussian' } } } layer { name: 'w' type: 'MatWrite' "
            f"bottom: 'data' mat_write_param {{ prefix: '{tmp_path}/out/' strip: 4 "
            f"source: '{tmp_path}/list.txt' }}", ("data",))
    for name in ("a/one", "two"):
        n.forward()
        stored = scipy.io.loadmat(tmp_path / "out" / f"{name}_blob_0.mat")["data"]
        np.testing.assert_array_equal(stored.squeeze(), n.blobs["data"].data[0].T)
    with pytest.raises(LayerError, match="has 2 lines, this is forward 3"):
        n.forward()


@pytest.mark.parametrize("prefix, name", [("out/", "../up"), ("out/fc8_", "../../../up"),
                                          ("", "../up"), ("", "/up")])
def test_mat_write_stays_in_the_folder_of_its_prefix(tmp_path, monkeypatch, prefix, name):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    (tmp_path / "list.txt").write_text(f"one\n{name}\n")
    with pytest.raises(LayerError, match=f'layer "w".*"{name}_blob_0.mat"'):
        net("DummyData", "dummy_data_param { shape { dim: 1 } } } layer { name: 'w' "
            f"type: 'MatWrite' bottom: 'data' mat_write_param {{ prefix: '{prefix}' "
            f"source: '{tmp_path}/list.txt' }}", ("data",))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "list.txt"]


def test_mat_write_leaves_no_half_a_file(tmp_path):
    path = tmp_path / "iter_0_blob_0.mat"
    path.write_bytes(b"of before")
    n = net("DummyData", "dummy_data_param { shape { dim: 9999 } } } layer { name: 'w' "
            f"type: 'MatWrite' bottom: 'data' mat_write_param {{ prefix: '{tmp_path}/' }}",
            ("data",))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(LayerError, match=r'layer "w".*File too large.*iter_0_blob_0.mat'):
            n.forward()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == b"of before" and len(list(tmp_path.iterdir())) == 1
