"""Published regions, and the files made of them."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mnc.data import Annotation, DataError
from mnc.data.mcg import Settings, load_regions, prepare, raw_regions, with_truth
from mnc.data.sbd import SBD, write_sample
from small_data import write_mcg

ROOT = Path(__file__).resolve().parents[2]
SMALL = Settings(mask_size=2)

# 8 x 4 pixels: four squares above, one strip below
SUPERPIXELS = np.array([[1, 1, 2, 2, 3, 3, 4, 4]] * 2 + [[5] * 8] * 2)
LISTS = [[1, 2], [4], [1, 5], [2, 3]]


@pytest.fixture
def raw(tmp_path):
    for name in ("a", "b"):
        write_mcg(tmp_path / "raw" / f"{name}.mat", SUPERPIXELS, LISTS)
    return tmp_path / "raw"


@pytest.fixture
def dataset(tmp_path):
    """Two images with an instance of class 3 on superpixel 1, one of class 1 on 3 and 4."""
    owner = np.zeros((4, 8), np.uint8)
    owner[:2, :2], owner[:2, 4:] = 1, 2
    for name in ("a", "b"):
        write_sample(tmp_path, name, np.zeros((4, 8, 3), np.uint8), owner, np.array([3, 1]), 4)
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "classes.txt").write_text("kite\nboat\nmill\n")
    return SBD(tmp_path, "train")


def test_regions_are_unions_of_superpixels(raw):
    boxes, masks = raw_regions(raw / "a.mat", SMALL)
    assert boxes.tolist() == [[0, 0, 3, 1], [6, 0, 7, 1], [0, 0, 7, 3], [2, 0, 5, 1]]
    assert masks.dtype == bool and masks[0].all() and masks[1].all()
    assert masks[2].tolist() == [[True, False], [True, True]]
    assert len(raw_regions(raw / "a.mat", Settings(2, top_k=3))[0]) == 3


def test_the_published_files_are_not_taken_for_prepared_ones(raw, dataset, tmp_path):
    with pytest.raises(DataError, match="the published files lie there"):
        prepare(dataset, raw, tmp_path / "raw/../raw", SMALL, train=True)
    assert sorted(path.name for path in raw.iterdir()) == ["a.mat", "b.mat"]


def test_names_of_images_lead_nowhere_else(raw, dataset, tmp_path):
    """Names that are paths, as those of COCO files may be."""
    out, image = tmp_path / "out", dataset.image_path(0)
    dataset.names = [str(tmp_path / "img/a"), "../raw/b"]
    dataset.image_path = lambda i: image
    dataset.annotation = SBD(tmp_path, "train").annotation
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.mat")}
    write_mcg(raw / str(tmp_path / "img/a.mat").lstrip("/"), SUPERPIXELS, LISTS)
    write_mcg(raw / "raw/b.mat", SUPERPIXELS, LISTS)
    assert prepare(dataset, raw, out, SMALL, train=False) == []
    assert len(list(out.rglob("*.mat"))) == 2
    assert not (tmp_path / "img/a.mat").exists()
    assert {path: path.read_bytes() for path in before} == before


def test_two_images_do_not_share_a_file(raw, dataset, tmp_path):
    dataset.names = ["a", "a"]
    dataset.image_path = lambda i: f"img/a.{'jpg' if i else 'png'}"
    with pytest.raises(DataError, match=r"img/a.png and img/a.jpg would share the file .*a.mat"):
        prepare(dataset, raw, tmp_path / "out", SMALL, train=False)


def test_by_hand():
    truth = Annotation(np.array([[0, 0, 1, 1], [4, 0, 7, 1]], np.float32), np.array([3, 1]),
                       [np.ones((2, 2), bool), np.ones((2, 4), bool)])
    boxes = np.array([[0, 0, 3, 1], [6, 0, 7, 1], [0, 3, 7, 3]], np.float32)
    found = with_truth(boxes, np.ones((3, 2, 2), bool), truth, SMALL)
    assert found["boxes"].tolist() == [[0, 0, 1, 1], [4, 0, 7, 1], *boxes.astype(int).tolist()]
    assert found["det_overlap"].ravel().tolist() == [1, 1, 0.5, 0.5, 0]
    assert found["gt_assignment"].ravel().tolist() == [0, 1, 0, 1, -1]
    assert found["output_label"].ravel().tolist() == [3, 1, 3, 1, 0]
    assert found["seg_overlap"].ravel().tolist() == [1, 1, 0.5, 0.5, 0]
    assert found["mask_targets"][2].tolist() == [[True, False]] * 2
    assert found["mask_targets"][3].all() and not found["mask_targets"][4].any()
    assert found["gt_classes"].tolist() == [[3], [1]]


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_of_a_data_set(raw, dataset, tmp_path, jobs, caplog):
    out = tmp_path / "out"
    assert prepare(dataset, raw, out, SMALL, train=True, jobs=jobs) == []
    regions, mirrored = load_regions(out / "b.mat")
    assert not mirrored and regions.boxes.shape == (6, 4) and regions.masks.shape == (6, 2, 2)
    assert regions.det_overlap[:3].tolist() == [1, 1, 0.5]
    assert set(scipy.io.loadmat(out / "a.mat")) >= {
        "boxes", "masks", "mask_targets", "det_overlap", "seg_overlap", "output_label",
        "gt_classes", "gt_assignment", "Flip"}
    back = regions.mirrored(8).mirrored(8)
    assert (back.boxes == regions.boxes).all() and (back.masks == regions.masks).all()
    assert regions.mirrored(8).boxes[1].tolist() == [0, 0, 3, 1]


def test_a_run_goes_on_where_it_stopped(raw, dataset, tmp_path, caplog):
    out = tmp_path / "out"
    (raw / "b.mat").rename(raw / "elsewhere.mat")
    with caplog.at_level(logging.INFO, "mnc"):
        (fault,) = prepare(dataset, raw, out, SMALL, train=False)
        assert "b.mat: no such file of regions" in fault and fault in caplog.text
        assert set(scipy.io.loadmat(out / "a.mat")) >= {"boxes", "masks"}
        before = (out / "a.mat").stat().st_mtime_ns
        (raw / "elsewhere.mat").rename(raw / "b.mat")
        assert prepare(dataset, raw, out, SMALL, train=False) == []
    assert "1 of 2 images are done already" in caplog.text
    assert (out / "a.mat").stat().st_mtime_ns == before and (out / "b.mat").exists()
    with pytest.raises(DataError, match="were made with .*'mask_size': 2.*another folder"):
        prepare(dataset, raw, out, Settings(21), train=False)
    with pytest.raises(DataError, match="a.mat: lacks mask_targets, .*--db train"):
        load_regions(out / "a.mat")


def test_bad_files_are_named(tmp_path, raw):
    scipy.io.savemat(tmp_path / "a.mat", {"superpixels": SUPERPIXELS})
    with pytest.raises(DataError, match="a.mat: lacks labels"):
        raw_regions(tmp_path / "a.mat", SMALL)
    write_mcg(tmp_path / "a.mat", SUPERPIXELS, [[1, 9]])
    with pytest.raises(DataError, match="labels name superpixel 9, superpixels count to 5"):
        raw_regions(tmp_path / "a.mat", SMALL)
    content = {"boxes": np.zeros((2, 4)), "masks": np.zeros((2, 3, 3)), "gt_classes": [[1]],
               "mask_targets": np.zeros((2, 3, 3)), "Flip": [[0]],
               **{key: np.zeros((2, 1)) for key in ("det_overlap", "seg_overlap", "output_label",
                                                    "gt_assignment")}}
    for key, value, message in (("boxes", np.zeros((2, 5)), r"boxes must be \(N, 4\)"),
                                ("gt_assignment", np.array([[0], [7]]), "rows of the 2 boxes"),
                                ("Flip", np.zeros((0, 0)), "Flip one value")):
        scipy.io.savemat(tmp_path / "a.mat", content | {key: value})
        with pytest.raises(DataError, match=f"a.mat: .*{message}"):
            load_regions(tmp_path / "a.mat")
    (tmp_path / "a.mat").write_bytes(b"no MATLAB file")
    with pytest.raises(DataError, match="a.mat: not a readable MATLAB file"):
        raw_regions(tmp_path / "a.mat", SMALL)


def test_cfm_needs_masks(raw, dataset, tmp_path, monkeypatch):
    boxes = Annotation(np.array([[0, 0, 1, 1]], np.float32), np.array([1]), None, (4, 8))
    monkeypatch.setattr(dataset, "annotation", lambda i: boxes)
    wrong = prepare(dataset, raw, tmp_path / "out", SMALL, train=True)
    assert len(wrong) == 2 and "a: CFM needs a mask of every instance" in wrong[0]


def test_the_command(raw, dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools/prepare_mcg_maskdb.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    words = ["--input", str(raw), "--output", str(tmp_path / "out"), "--gt_roi", "x", "-mask_sz",
             "7", "--top_k", "2", "--imdb", f"sbd:{tmp_path}:train"]
    assert tool.main(words) == 0
    assert "2 of 2 images are prepared" in capsys.readouterr().out
    assert load_regions(tmp_path / "out" / "a.mat")[0].masks.shape == (4, 7, 7)
    assert tool.main(["--imdb", "nowhere"]) == 1
    assert 'error: unknown data set "nowhere"' in capsys.readouterr().err
