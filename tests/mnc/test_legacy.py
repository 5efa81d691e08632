"""What scripts of the public MNC code import, after `import mnc.legacy`."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import caffe
import mnc.legacy  # noqa: F401
from golden_mnc import GOLDEN, load
from mnc.config import cfg
from mnc.legacy import MODULES

LIB = Path(__file__).resolve().parents[2] / "lib"


@pytest.mark.parametrize("module", MODULES)
def test_every_name_is_there(module):
    found = importlib.import_module(module)
    for name in MODULES[module]:
        assert getattr(found, name) is not None
    with pytest.raises(ImportError):
        exec(f"from {module} import no_such_name")


def test_it_is_the_very_cfg():
    from mnc_config import cfg as old

    assert old is cfg


def test_an_old_script_in_a_fresh_process(tmp_path):
    (tmp_path / "old.py").write_text(textwrap.dedent("""
        import mnc.legacy
        import sys
        from mnc_config import cfg
        from transform.anchors import generate_anchors
        from nms.nms_wrapper import apply_nms_mask_single
        import utils.timer, datasets.factory as factory
        from utils.timer import *
        print(generate_anchors()[0].tolist(), cfg.MASK_SIZE, Timer is utils.timer.Timer)
    """))
    done = subprocess.run([sys.executable, str(tmp_path / "old.py")], capture_output=True,
                          text=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stderr == "" and done.stdout == "[-84.0, -40.0, 99.0, 55.0] 21 True\n"


def test_modules_of_ones_own_go_first(tmp_path):
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils/__init__.py").write_text("")
    (tmp_path / "utils/mine.py").write_text("x = 7")
    (tmp_path / "old.py").write_text("import mnc.legacy\nfrom utils.mine import x\n"
                                     "from utils.timer import Timer\nprint(x, Timer().calls)\n")
    done = subprocess.run([sys.executable, str(tmp_path / "old.py")], capture_output=True,
                          text=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stdout == "7 0\n", done.stderr


def test_installed_libraries_that_probe_find_nothing(tmp_path):
    """Some look whether there is a `datasets` or a `utils`, and take it for the one they know."""
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "probing.py").write_text(textwrap.dedent("""
        import importlib, importlib.util
        found = [name for name in ("datasets", "nms", "utils") if importlib.util.find_spec(name)]
        try:
            import datasets
            found.append(datasets)
        except ImportError:
            pass
        try:
            importlib.import_module("utils.timer")
            found.append("utils.timer")
        except ImportError:
            pass
    """))
    (tmp_path / "old.py").write_text(textwrap.dedent("""
        import mnc.legacy, probing, importlib
        print(probing.found)
        from datasets.factory import get_imdb
        print(importlib.import_module("utils.timer").Timer.__name__, get_imdb.__name__)
    """))
    path = ":".join([str(library), *sys.path])
    done = subprocess.run([sys.executable, str(tmp_path / "old.py")], capture_output=True,
                          text=True, env={"PYTHONPATH": path})
    assert done.stdout == "[]\nTimer get_imdb\n", done.stderr


def test_installed_as_a_library_it_still_answers(tmp_path):
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "mnc").symlink_to(LIB / "mnc")
    (tmp_path / "old.py").write_text("import mnc.legacy\nfrom nms.nms_wrapper import nms\n"
                                     "print(mnc.legacy.__file__, nms([], 0.3))\n")
    others = [place for place in sys.path if place != str(LIB)]
    done = subprocess.run([sys.executable, str(tmp_path / "old.py")], capture_output=True,
                          text=True, env={"PYTHONPATH": ":".join([str(site), *others])})
    assert done.stdout == f"{site}/mnc/legacy/__init__.py []\n", done.stderr


def test_without_it_nothing_is_in_the_way():
    done = subprocess.run([sys.executable, "-c", "import mnc, nms"], capture_output=True, text=True,
                          env={"PYTHONPATH": ":".join(sys.path)})
    assert "No module named 'nms'" in done.stderr


def test_voting_in_both_orders():
    from transform.mask_transform import cpu_mask_voting, gpu_mask_voting

    golden = load("mask_voting_small")
    arguments = [golden["masks"], golden["boxes"], golden["scores"],
                 *(int(golden[k]) for k in ("num_classes", "max_per_image", "im_width",
                                            "im_height"))]
    masks, boxes = gpu_mask_voting(*arguments)
    assert len(masks) == len(boxes) == 2
    for c in (1, 2):
        np.testing.assert_array_equal(boxes[c - 1], golden[f"gpu_box_{c}"])
        np.testing.assert_allclose(masks[c - 1], golden[f"gpu_mask_{c}"], atol=1e-5)
    boxes, masks = cpu_mask_voting(*arguments)
    np.testing.assert_array_equal(boxes[1], golden["cpu_box_2"])
    np.testing.assert_allclose(masks[1], golden["cpu_mask_2"], atol=1e-5)


def test_targets():
    from transform.bbox_transform import bbox_compute_targets, get_bbox_regression_label

    golden = load("bbox_transform")
    cfg.TRAIN.BBOX_NORMALIZE_TARGETS_PRECOMPUTED = True
    for normalize, name in ((True, "normalized"), (False, "plain")):
        np.testing.assert_allclose(bbox_compute_targets(golden["ex"], golden["gt"], normalize),
                                   golden[name], rtol=1e-5, atol=1e-6)
    golden = load("bbox_regression_label")
    targets, weights = get_bbox_regression_label(golden["data"], int(golden["num_class"]))
    np.testing.assert_array_equal(targets, golden["targets"])
    np.testing.assert_array_equal(weights, golden["inside_weights"])


def test_nms():
    from nms.cpu_nms import cpu_nms
    from nms.gpu_nms import gpu_nms
    from nms.nms_wrapper import apply_nms, apply_nms_mask, nms

    # IoU of rows 0 and 1: 50 / 100 exactly
    dets = np.array([[0, 0, 9, 9, 0.9], [0, 0, 9, 4, 0.8], [50, 50, 59, 59, 0.7]], np.float32)
    assert gpu_nms(dets, 0.5) == nms(dets, 0.5) == [0, 1, 2] and cpu_nms(dets, 0.5) == [0, 2]
    cfg.USE_GPU_NMS = False
    assert nms(dets, 0.5) == [0, 2] and nms([], 0.5) == []
    boxes = apply_nms([[dets, []]], 0.5)
    assert boxes[0][0].shape == (2, 5) and boxes[0][1] == []
    boxes, masks = apply_nms_mask([[dets]], [[np.arange(3)]], 0.5)
    assert masks[0][0].tolist() == [0, 2] and len(boxes[0][0]) == 2


def test_pictures_of_an_old_demo():
    from utils.vis_seg import _convert_pred_to_image, _get_voc_color_map

    golden = np.load(GOLDEN / "vis_image.npz")
    inst, cls = _convert_pred_to_image(int(golden["img_width"]), int(golden["img_height"]), {
        "boxes": golden["boxes"], "masks": golden["masks"], "cls_name": golden["classes"]})
    np.testing.assert_array_equal(inst, golden["inst_img"])
    np.testing.assert_array_equal(cls, golden["cls_img"])
    np.testing.assert_array_equal(_get_voc_color_map(), golden["color_map"])


def test_the_kernel_of_mask_voting():
    from nms.mv import mv

    with np.load(GOLDEN / "mask_voting_kernel.npz") as file:
        golden = {key.split("/")[1]: file[key] for key in file if "empty" not in key}
    arrays = [golden[key] for key in ("boxes", "masks", "candidate_inds", "candidate_ends",
                                      "candidate_weights")]
    masks, boxes = mv(*arrays, int(golden["im_height"]), int(golden["im_width"]), 0)
    np.testing.assert_array_equal(boxes, golden["out_box"])
    np.testing.assert_allclose(masks, golden["out_mask"], atol=1e-5)


def test_folders_of_results(tmp_path):
    from types import SimpleNamespace

    from mnc_config import get_output_dir

    cfg.ROOT_DIR, imdb = str(tmp_path), SimpleNamespace(name="voc_2007_test")
    folder = tmp_path / "output/default/voc_2007_test"
    assert get_output_dir(imdb, None) == get_output_dir("voc_2007_test") == str(folder)
    assert get_output_dir(imdb, SimpleNamespace(name="vgg16")) == str(folder / "vgg16")


def test_images_and_time():
    from utils.blob import im_list_to_blob, prep_im_for_blob, prep_im_for_blob_cfm
    from utils.timer import Timer
    from utils.voc_eval import voc_ap

    image = np.full((20, 30, 3), 100, np.uint8)
    scaled, factor = prep_im_for_blob(image, cfg.PIXEL_MEANS, 40, 1000)
    assert factor == 2 and im_list_to_blob([scaled]).shape == (1, 3, 40, 60)
    blob, factors = prep_im_for_blob_cfm(image, [20, 40])
    assert blob.shape == (2, 3, 40, 60) and factors.tolist() == [1, 2]
    timer = Timer()
    timer.tic()
    assert timer.toc() == timer.average_time >= 0 and timer.calls == 1
    assert voc_ap(np.array([1.0]), np.array([1.0])) == 1


def test_an_old_training_and_testing_script(tiny_model, tiny_scenes, tmp_path, mini_cfg, capsys):
    from caffeWrapper.SolverWrapper import SolverWrapper
    from caffeWrapper.TesterWrapper import TesterWrapper
    from db.imdb import get_imdb
    from db.maskdb import attach_maskdb
    from db.roidb import attach_roidb

    name = f"sbd:{tiny_scenes}:val"
    imdb, roidb = attach_roidb(name)
    imdb, maskdb = attach_maskdb(name)
    assert imdb.name == name and len(roidb) == len(maskdb) == 2 * len(imdb)
    caffe.set_random_seed(3)
    solver = SolverWrapper(str(tiny_model / "solver.prototxt"), roidb, maskdb,
                           str(tmp_path / "out"), imdb, pretrained_model=None)
    solver.train_model(1)
    weights, = (tmp_path / "out").glob("*.caffemodel.h5")
    cfg.ROOT_DIR = str(tmp_path)
    TesterWrapper(str(tiny_model / "test.prototxt"), get_imdb(name), str(weights),
                  "seg").get_result()
    assert "AP^r@0.5" in capsys.readouterr().out
    assert list(tmp_path.glob("output/*/*/*/detections_seg.npz"))
