"""`mnc test` beyond one net, and `mnc evaluate`: files written, read again, and not mixed up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import caffe
from conftest import ROOT
from mnc import cli
from mnc.config import cfg
from mnc.results import detections as results

CFG = str(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
QUICK = ["--cfg", CFG, "--set", "TEST.RPN_POST_NMS_TOP_N", "12"]


@pytest.fixture(scope="module")
def weights(tiny_model, tmp_path_factory):
    caffe.set_random_seed(3)
    path = tmp_path_factory.mktemp("weights") / "tiny_iter_5.caffemodel.h5"
    caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN).save_hdf5(str(path))
    return path


@pytest.fixture
def imdb(tiny_scenes):
    return f"sbd:{tiny_scenes}:val"


@pytest.fixture
def tester(tiny_model, weights, imdb, tmp_path):
    def test(*more, quick=QUICK):
        return cli.main(["test", "--cpu", "--def", str(tiny_model / "test.prototxt"), "--net",
                         str(weights), "--imdb", imdb, "--out", str(tmp_path / "out"), *more,
                         *quick])
    return test


def figures(path):
    return {name: value for name, value in json.loads(path.read_text()).items() if "AP" in name}


def test_every_form_is_written_and_measures_the_same_again(tester, imdb, tmp_path, capsys):
    pytest.importorskip("pycocotools")
    assert tester("--write", "coco", "voc", "seginst", "curves", "--metrics", "voc", "coco") == 0
    out = tmp_path / "out"
    written = {path.relative_to(out).parts[0] for path in out.rglob("*")}
    assert written == {"detections_seg.npz", "metrics_seg.json", "coco_seg.json", "voc_det",
                       "SegInst", "curves_r.png", "curves_b.png"}
    assert len(list((out / "voc_det").iterdir())) == 5
    assert len(list((out / "SegInst/inst").iterdir())) == 3
    assert "COCO AP^r@[.5:.95]" in capsys.readouterr().out
    want = figures(out / "metrics_seg.json")
    assert {"mAP^r@0.5", "mAP^r_vol", "mAP^b@0.5", "COCO mAP^b@.75"} <= set(want)
    for name in ("detections_seg.npz", "coco_seg.json"):
        assert cli.main(["evaluate", str(out / name), "--imdb", imdb, "--metrics", "voc",
                         "coco", "--cfg", CFG, "--out", str(tmp_path / name)]) == 0
        again = figures(tmp_path / name / "metrics_seg.json")
        assert set(again) == set(want)
        for key in want:
            for one, other in ([(want[key], again[key])] if not isinstance(want[key], dict) else
                               zip(want[key].values(), again[key].values())):
                assert one is other or one == pytest.approx(other, abs=1e-6), (name, key)


def test_results_are_not_written_over_by_what_is_said_of_them(tester, imdb, tmp_path, capsys):
    assert tester("--write", "coco") == 0
    path = tmp_path / "out/coco_seg.json"
    before = path.read_bytes()
    assert cli.main(["evaluate", str(path), "--imdb", imdb, "--write", "coco", "--out",
                     str(tmp_path / "out")]) == 1
    assert "lies there under a name that this command writes" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_evaluate_knows_the_data_set_and_the_threshold_of_masks(tester, imdb, tmp_path, capsys):
    """As they are in the file; --set and --imdb go first."""
    assert tester(quick=[*QUICK, "BINARIZE_THRESH", "0.2"]) == 0
    cfg.BINARIZE_THRESH, path = 0.4, str(tmp_path / "out/detections_seg.npz")
    assert cli.main(["evaluate", path]) == 0 and cfg.BINARIZE_THRESH == 0.2
    again = tmp_path / "out/detections_seg_evaluated/metrics_seg.json"
    assert json.loads(again.read_text())["imdb"] == imdb
    assert figures(again) == figures(tmp_path / "out/metrics_seg.json")
    assert cli.main(["evaluate", path, "--set", "BINARIZE_THRESH", "0.3"]) == 0
    assert cfg.BINARIZE_THRESH == 0.3


def test_a_data_set_of_another_name_is_told(tester, tiny_scenes, tmp_path, caplog):
    assert tester() == 0
    path = str(tmp_path / "out/detections_seg.npz")
    (tmp_path / "link").symlink_to(tiny_scenes)
    assert cli.main(["evaluate", path, "--imdb", f"sbd:{tmp_path / 'link'}:val"]) == 0
    assert f"are measured on sbd:{tmp_path / 'link'}:val now" in caplog.text


def test_a_data_set_that_is_gone_is_told(tester, tiny_model, weights, tiny_scenes, tmp_path,
                                         capsys):
    (tmp_path / "link").symlink_to(tiny_scenes)
    assert tester("--imdb", f"sbd:{tmp_path / 'link'}:val") == 0
    (tmp_path / "link").unlink()
    assert cli.main(["evaluate", str(tmp_path / "out/detections_seg.npz")]) == 1
    said = capsys.readouterr().err
    assert "these are results on sbd:" in said and "--imdb names the data set" in said


def test_results_that_name_no_data_set_need_one(tmp_path, capsys):
    (tmp_path / "a.json").write_text("[]")
    assert cli.main(["evaluate", str(tmp_path / "a.json")]) == 1
    assert "name that by --imdb" in capsys.readouterr().err


def test_area_under_the_curve(tester, tmp_path):
    assert tester("--area") == 0
    assert json.loads((tmp_path / "out/metrics_seg.json").read_text())["ap"] == "area"


def test_evaluate_writes_beside_the_results(tester, imdb, tmp_path):
    assert tester("--task", "det", "--write", "voc", "coco") == 0
    path = tmp_path / "out/detections_det.npz"
    assert cli.main(["evaluate", str(path), "--imdb", imdb]) == 0
    again = json.loads((tmp_path / "out/detections_det_evaluated/metrics_det.json").read_text())
    assert again["task"] == "det" and again["origin"]["settings"]["TEST"]["SCALES"] == [200]


def test_boxes_of_every_form_measure_the_same(tester, imdb, tmp_path, capsys):
    pytest.importorskip("pycocotools")
    assert tester("--task", "det", "--write", "voc", "coco") == 0
    out, want = tmp_path / "out", figures(tmp_path / "out/metrics_det.json")
    for name in ("detections_det.npz", "coco_det.json", "voc_det"):
        assert cli.main(["evaluate", str(out / name), "--imdb", imdb, "--out",
                         str(tmp_path / name)]) == 0
        got = figures(tmp_path / name / "metrics_det.json")
        assert got["mAP^b@0.5"] == pytest.approx(want["mAP^b@0.5"], abs=0.01)
    assert cli.main(["evaluate", str(out / "voc_det"), "--imdb", imdb, "--write",
                     "coco"]) == 0
    assert len(json.loads((out / "voc_det_evaluated/coco_det.json").read_text())) == len(
        json.loads((out / "coco_det.json").read_text()))
    assert cli.main(["evaluate", str(out / "voc_det"), "--imdb", imdb, "--task", "seg"]) == 1
    assert "boxes without masks" in capsys.readouterr().err


def test_pictures_of_boxes_are_refused_at_once(tester, capsys):
    assert tester("--task", "det", "--write", "seginst") == 1
    assert "seginst needs masks" in capsys.readouterr().err


def test_results_say_what_made_them(tester, imdb, weights, tmp_path):
    assert tester() == 0
    about = results.about_detections(tmp_path / "out/detections_seg.npz")
    assert about["imdb"] == imdb and about["images"] == 3 and about["task"] == "seg"
    assert about["models"][0]["weights"] == str(weights)
    assert len(about["models"][0]["weights_sha256"]) == 64
    assert about["settings"]["TEST"]["RPN_POST_NMS_TOP_N"] == 12
    assert json.loads((tmp_path / "out/metrics_seg.json").read_text())["origin"] == about


def test_results_are_reused_on_request_and_only_for_the_same(tester, weights, tmp_path, capsys):
    path = tmp_path / "out/detections_seg.npz"
    assert tester("--reuse") == 0
    first = path.stat().st_mtime_ns
    assert tester("--reuse") == 0 and "is reused: same nets" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == first
    other = [*QUICK[:-1], "8"]
    assert tester("--reuse", quick=other) == 0
    said = capsys.readouterr().out
    assert "is not reused" in said
    assert "settings.TEST.RPN_POST_NMS_TOP_N: 12 there, 8 here" in said
    assert path.stat().st_mtime_ns != first
    second = path.stat().st_mtime_ns
    assert tester(quick=other) == 0 and path.stat().st_mtime_ns != second      # never unasked
    path.write_bytes(path.read_bytes()[:200])
    assert tester("--reuse", quick=other) == 0
    assert "a torn one" in capsys.readouterr().out and path.stat().st_size > 200


def test_other_weights_under_the_same_name_are_other_results(tester, tiny_model, weights, imdb,
                                                             tmp_path, capsys):
    copy = tmp_path / weights.name
    copy.write_bytes(weights.read_bytes())
    arguments = ["test", "--cpu", "--def", str(tiny_model / "test.prototxt"), "--net", str(copy),
                 "--imdb", imdb, "--out", str(tmp_path / "out"), "--reuse", *QUICK]
    assert tester() == 0 and cli.main(arguments) == 0
    assert "is reused" in capsys.readouterr().out                        # the same bytes elsewhere
    caffe.set_random_seed(4)
    caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN).save_hdf5(str(copy))
    assert cli.main(arguments) == 0
    assert "models[1].weights_sha256" in capsys.readouterr().out


def test_several_models_and_views(tester, weights, tmp_path, capsys):
    assert tester("--net", str(weights), quick=[*QUICK, "TEST.SCALES", "[200, 160]",
                                                "TEST.USE_FLIPPED", "True"]) == 0
    about = results.about_detections(tmp_path / "out/detections_seg.npz")
    assert len(about["models"]) == 2
    assert tester("--net", str(weights), "--def", "a", "--def", "b") == 1
    assert "2 weight files (--weights) need one --def or as many, got 3" in capsys.readouterr().err


def test_the_folder_of_an_ensemble_names_its_members(tester, tiny_model, weights, imdb, tmp_path):
    assert cli.main(["test", "--cpu", "--def", str(tiny_model / "test.prototxt"), "--net",
                     str(weights), "--net", str(weights), "--imdb", imdb, *QUICK, "ROOT_DIR",
                     str(tmp_path)]) == 0
    assert list(tmp_path.glob("output/*/*/tiny_iter_5+tiny_iter_5/metrics_seg.json"))


def test_results_of_other_images_are_refused(tester, tiny_scenes, tmp_path, capsys):
    assert tester() == 0
    path = str(tmp_path / "out/detections_seg.npz")
    assert cli.main(["evaluate", path, "--imdb", f"sbd:{tiny_scenes}:train"]) == 1
    said = capsys.readouterr().err
    assert "val (3 images, 5 classes), not on sbd" in said


def test_results_of_other_files_of_the_same_names_are_refused(tester, tiny_scenes, tmp_path,
                                                             capsys):
    import shutil

    assert tester() == 0
    shutil.copytree(tiny_scenes, tmp_path / "copy")
    min((tmp_path / "copy/img").glob("val*.jpg")).write_bytes(b"another")
    path = str(tmp_path / "out/detections_seg.npz")
    assert cli.main(["evaluate", path, "--imdb", f"sbd:{tmp_path / 'copy'}:val"]) == 1
    assert "images of the same names, but other files" in capsys.readouterr().err


def test_results_without_an_origin_are_told_by_names(tester, imdb, tmp_path):
    from mnc.data import get_dataset

    data = get_dataset(imdb)
    none = [[(np.zeros((0, 5)), np.zeros((0, 21, 21)))] * 3 for _ in data.classes]
    results.save_detections(tmp_path / "d.npz", data, none)
    assert results.about_detections(tmp_path / "d.npz") == {}
    assert cli.main(["evaluate", str(tmp_path / "d.npz"), "--imdb", imdb]) == 0


@pytest.mark.parametrize("name, complaint", [("none.npz", "no such results file"),
                                             ("d.pkl", "results are read from")])
def test_what_is_no_results_file(imdb, tmp_path, name, complaint, capsys):
    (tmp_path / "d.pkl").write_text("")
    assert cli.main(["evaluate", str(tmp_path / name), "--imdb", imdb]) == 1
    assert complaint in capsys.readouterr().err


def test_other_images_or_proposals_of_the_same_names_are_told(tiny_scenes, imdb, tmp_path):
    import shutil

    from mnc.data import get_dataset
    from mnc.results.origin import data_origin, differences, origin

    shutil.copytree(tiny_scenes, tmp_path / "copy")
    other = get_dataset(f"sbd:{tmp_path / 'copy'}:val")
    assert data_origin(other)["images_sha256"] == data_origin(get_dataset(imdb))["images_sha256"]
    proposals = tmp_path / f"{other.names[0]}.mat"
    proposals.write_text("one")
    before = origin([], [], cfg, other, "cfm", tmp_path)
    proposals.write_text("others")
    with open(other.image_path(1), "ab") as file:
        file.write(b" ")
    now = origin([], [], cfg, other, "cfm", tmp_path)
    assert [line.partition(":")[0] for line in differences(before, now)] == [
        "images_changed_sha256", "images_sha256", "proposals_sha256"]
    path = Path(other.image_path(0))
    path.write_bytes(path.read_bytes()[:-1] + b"x")         # another image of the same size
    (found,) = differences(now, origin([], [], cfg, other, "cfm", tmp_path))
    assert found.startswith("images_changed_sha256")


def test_pictures_over_the_images_are_refused_before_the_test(tester, tiny_scenes, tmp_path,
                                                              capsys):
    """vis_seg draws OUT/pictures/NAME.png; here the images of the data set are those files."""
    import cv2

    (tmp_path / "out/pictures").mkdir(parents=True)
    photo = tmp_path / "out/pictures/mine.png"
    cv2.imwrite(str(photo), np.full((60, 80, 3), 90, np.uint8))
    before = photo.read_bytes()
    content = {"images": [{"id": 1, "file_name": "mine.png", "height": 60, "width": 80}],
               "annotations": [], "categories": [{"id": n, "name": f"c{n}"} for n in range(1, 6)]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert tester("--imdb", f"coco:{tmp_path / 'a.json'}:{photo.parent}", "--task",
                  "vis_seg") == 1
    assert "mine.png is an image of coco:" in capsys.readouterr().err
    assert photo.read_bytes() == before and not (tmp_path / "out/detections_vis_seg.npz").exists()


def test_cfm_needs_proposals(tester, tiny_scenes, tmp_path, capsys):
    assert tester("--task", "cfm", "--proposals", str(tmp_path / "none")) == 1
    assert "prepare_mcg_maskdb.py makes them" in capsys.readouterr().err
