"""The commands: flags, devices, files written, one line on stderr for a user's mistake."""

from __future__ import annotations

import copy
import importlib
import io
import json
import logging
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import caffe
import caffe.extend
from mnc import cli
from mnc.commands import demo, demo_scenes
from mnc.commands.registration import COMMANDS
from mnc.config import DEFAULTS, cfg, changes_in_file, overridden
from mnc.data import DataError, get_dataset
from mnc.data.video import VideoFile, frames, is_video, open_video
from mnc.nets.settings import save_settings
from mnc.results import detections as results

ROOT = Path(__file__).resolve().parents[2]
CFG = str(ROOT / "experiments/cfgs/Mini/mnc_5stage.yml")
QUICK = ["--set", "TRAIN.RPN_POST_NMS_TOP_N", "20", "TEST.RPN_POST_NMS_TOP_N", "20"]


@pytest.fixture
def weights(tiny_model, tmp_path) -> Path:
    caffe.set_random_seed(3)
    path = tmp_path / "tiny_iter_5.caffemodel.h5"
    caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN).save_hdf5(str(path))
    return path


@pytest.fixture
def tester(tiny_model, tiny_scenes, weights, tmp_path):
    """Arguments of `mnc test` without its last ones."""
    return ["test", "--cpu", "--def", str(tiny_model / "test.prototxt"), "--net", str(weights),
            "--imdb", f"sbd:{tiny_scenes}:val", "--cfg", CFG, "--out", str(tmp_path / "test")]


def test_train_writes_into_the_place_the_configuration_says(tiny_model, tiny_scenes, tmp_path,
                                                            capsys):
    status = cli.main(["train", "--gpu", "cpu", "--solver", str(tiny_model / "solver.prototxt"),
                       "--iters", "1",
                       "--imdb", f"sbd:{tiny_scenes}:train", "--cfg", CFG, *QUICK, "ROOT_DIR",
                       str(tmp_path)])
    assert status == 0
    out = capsys.readouterr().out
    snapshot, = tmp_path.glob("output/mini_mnc_5stage/sbd_*_tiny_train/*_iter_1.caffemodel.h5")
    assert f"Wrote snapshot to: {snapshot}\ndone solving\n" in out


def test_the_same_seed_gives_the_same_weights(tiny_model, tiny_scenes, tmp_path):
    for name in ("a", "b"):
        np.random.rand()
        assert cli.main(["train", "--cpu", "--solver", str(tiny_model / "solver.prototxt"),
                         "--iters", "2",
                         "--imdb", f"sbd:{tiny_scenes}:train", "--cfg", CFG,
                         "--out", str(tmp_path / name), *QUICK]) == 0
    nets = [caffe.Net(str(tiny_model / "train.prototxt"),
                      str(next((tmp_path / name).glob("*.caffemodel.h5"))), caffe.TRAIN)
            for name in ("a", "b")]
    for blob, other in zip(*(net.learnable_params for net in nets)):
        np.testing.assert_array_equal(blob.data, other.data)


def test_train_generates_the_net_a_data_set_needs(tiny_scenes, tmp_path):
    assert cli.main(["train", "--cpu", "--net", "Mini", "--iters", "0", "--imdb",
                     f"sbd:{tiny_scenes}:train",
                     "--cfg", CFG, "--out", str(tmp_path)]) == 0
    assert "'num_classes': 6" in (tmp_path / "net/train.prototxt").read_text()


def test_a_trained_net_is_tested_with_its_own_settings(tiny_model, tiny_scenes, tmp_path, caplog):
    """Without a word; --set goes over them, --cfg takes their place."""
    caplog.set_level("INFO", "mnc")
    out = tmp_path / "out"
    assert cli.main(["train", "--cpu", "--solver", str(tiny_model / "solver.prototxt"), "--iters",
                     "1", "--imdb", f"sbd:{tiny_scenes}:train", "--cfg", CFG, "--out", str(out),
                     *QUICK, "TEST.NMS", "0.25"]) == 0
    weights = next(out.glob("*.caffemodel.h5"))

    def settings_of_test(*more):
        forget_settings()
        caplog.clear()
        assert cli.main(["test", "--cpu", "--def", str(tiny_model / "test.prototxt"), "--net",
                         str(weights), "--imdb", f"sbd:{tiny_scenes}:val", "--out",
                         str(tmp_path / "test"), *more]) == 0
        return results.about_detections(tmp_path / "test/detections_seg.npz")["settings"]["TEST"]

    found = settings_of_test()
    assert (found["NMS"], found["SCALES"], found["RPN_POST_NMS_TOP_N"]) == (0.25, [200], 20)
    assert f"settings: {out / 'mini_mnc_5stage_iter_1.yml'}" in caplog.messages
    found = settings_of_test("--set", "TEST.NMS", "0.5")
    assert (found["NMS"], found["SCALES"]) == (0.5, [200])
    found = settings_of_test("--cfg", CFG, *QUICK)
    assert (found["NMS"], found["SCALES"]) == (0.3, [200]) and "settings:" not in caplog.text
    forget_settings()
    assert cli.main(["demo", "--cpu", str(min((tiny_scenes / "img").glob("*.jpg"))), "--def",
                     str(tiny_model / "test.prototxt"), "--net", str(weights), "--out",
                     str(tmp_path / "demo"), "--set", "TEST.RPN_POST_NMS_TOP_N", "5"]) == 0
    assert (cfg.TEST.NMS, cfg.TEST.SCALES, cfg.TEST.RPN_POST_NMS_TOP_N) == (0.25, (200,), 5)


def forget_settings():
    """cfg as in a new process."""
    for section in ("TRAIN", "TEST", "COMPAT"):
        cfg[section].update(copy.deepcopy(DEFAULTS[section]))
    cfg.update({key: copy.deepcopy(value) for key, value in DEFAULTS.items()
                if not isinstance(value, dict)})


def test_bundled_nets_are_tested_with_their_configuration(tiny_scenes, tmp_path, caplog):
    caplog.set_level("INFO", "mnc")
    assert cli.main(["test", "--cpu", "--def", str(demo.MINI.path("test.prototxt")), "--net",
                     str(demo.MINI.weight_file), "--imdb", f"sbd:{tiny_scenes}:val", "--out",
                     str(tmp_path)]) == 0
    assert f"settings: {CFG}" in caplog.messages
    assert json.loads((tmp_path / "metrics_seg.json").read_text())["mAP^r@0.5"] > 0.5


def test_waiting_for_weights_waits_for_their_settings(tester, weights, tmp_path, monkeypatch):
    """The settings are written first."""
    copied = tmp_path / "later.caffemodel.h5"

    def arrive(seconds):
        with overridden({**changes_in_file(CFG), "TEST.RPN_POST_NMS_TOP_N": 7}):
            save_settings(copied)
        copied.write_bytes(weights.read_bytes())

    monkeypatch.setattr("mnc.commands.test.time.sleep", arrive)
    tester[tester.index(str(weights))] = str(copied)
    place = tester.index("--cfg")
    del tester[place:place + 2]
    assert cli.main([*tester, "--wait"]) == 0
    assert cfg.TEST.RPN_POST_NMS_TOP_N == 7 and (tmp_path / "test/metrics_seg.json").exists()


def test_test_writes_detections_and_figures(tester, tmp_path, capsys):
    assert cli.main([*tester, *QUICK]) == 0
    found = json.loads((tmp_path / "test/metrics_seg.json").read_text())
    assert found["images"] == 3 and set(found) >= {"mAP^r@0.5", "AP^r@0.7", "weights", "imdb"}
    assert (tmp_path / "test/detections_seg.npz").exists()
    assert "AP^r@0.5  AP^r@0.7" in capsys.readouterr().out


def test_results_go_under_the_name_of_the_net(tester, tmp_path):
    del tester[-2:]
    assert cli.main([*tester, *QUICK, "ROOT_DIR", str(tmp_path)]) == 0
    assert list(tmp_path.glob("output/mini_mnc_5stage/sbd_*_tiny_val/tiny_iter_5/metrics_seg.json"))


@pytest.mark.parametrize("task, figure", [("det", "mAP^b@0.5"), ("vis_seg", "mAP^r@0.5")])
def test_other_tasks(tester, tmp_path, task, figure):
    assert cli.main([*tester, "--task", task, *QUICK]) == 0
    assert figure in json.loads((tmp_path / f"test/metrics_{task}.json").read_text())
    assert len(list((tmp_path / "test").glob("pictures/*.png"))) == (3 if task == "vis_seg" else 0)


def test_demo_draws_files_and_folders(tiny_model, tiny_scenes, weights, tmp_path, capsys):
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"not an image")
    status = cli.main(["demo", "--cpu", str(tiny_scenes / "img"), str(bad), "--def",
                       str(tiny_model / "test.prototxt"),
                       "--net", str(weights), "--cfg", CFG, "--out", str(tmp_path / "out"), *QUICK])
    printed = capsys.readouterr()
    assert status == 1 and "broken.jpg: not a decodable image" in printed.err
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 9         # the others are drawn
    assert "broken.jpg" in (tmp_path / "out/index.html").read_text()


def test_demo_takes_the_configuration_of_a_net_of_the_project(tmp_path):
    assert cli.main(["demo", "--cpu", str(ROOT / "data/demo/scene_5.jpg"), "--def",
                     str(demo.MINI.path("test.prototxt")), "--net", str(demo.MINI.weight_file),
                     "--out", str(tmp_path)]) == 0
    assert "scene_5.jpg: 1 garnet, 3 opal" in (tmp_path / "index.html").read_text()
    assert cfg.EXP_DIR == "mini_mnc_5stage"


def test_demo_on_photographs(real_material, tiny_model, weights, tmp_path):
    photographs = sorted((real_material / "data").glob("*.jpg"))
    assert cli.main(["demo", "--cpu", *map(str, photographs), "--def",
                     str(tiny_model / "test.prototxt"),
                     "--net", str(weights), "--cfg", CFG, "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.jpg"))) == len(photographs)


def test_real_sbd_samples_train_mini_and_are_evaluated(real_material, tmp_path):
    folder = real_material / "data/sbd"  # its train.txt is empty, both images are in val.txt
    assert cli.main(["train", "--cpu", "--net", "Mini", "--iters", "20", "--imdb",
                     f"sbd:{folder}:val", "--cfg", CFG,
                     "--out", str(tmp_path)]) == 0
    assert cli.main(["test", "--cpu", "--def", str(tmp_path / "net/test.prototxt"), "--net",
                     str(tmp_path / "mini_mnc_5stage_iter_20.caffemodel.h5"),
                     "--imdb", f"sbd:{folder}:val",
                     "--cfg", CFG, "--out", str(tmp_path / "test")]) == 0
    figures = json.loads((tmp_path / "test/metrics_seg.json").read_text())
    assert 0 <= figures["mAP^r@0.5"] <= 1


@pytest.mark.parametrize("arguments, complaint", [
    (["train", "--cpu", "--imdb", "scenes_trian"], 'did you mean "scenes_train"'),
    (["train", "--cpu", "--cfg", "no.yml"], "cannot read the configuration file no.yml"),
    (["train", "--gpu", "one"], "--gpu takes numbers with commas between, all or `cpu`, got 'one'"),
    (["train", "--cpu", "--set", "TRAIN.SCALE", "[1]"],
     'unknown key "TRAIN.SCALE"; did you mean TRAIN.SCALES'),
    (["demo", "--cpu", "no_such.jpg", "--net", "no.h5"], "no such file: no_such.jpg"),
    (["demo", "--cpu", "--net", "no.h5"], "no.h5: no such weight file"),
    (["demo", "--cpu", "--net", "ZF"], "--net ZF: no weights of it come with the project"),
    (["train", "--cpu", "--resume", "no_such_folder"], "no such folder or snapshot"),
    (["train", "--cpu", "--net", "Mini", "--patience", "3"], "name images by --val"),
    (["train", "--cpu", "--net", "VGG16", "--weights", "no.caffemodel"],
     "no.caffemodel: no such weight file; models/README.md"),
    (["train", "--cpu", "--net", "VGG16", "--weights", "no.mask.caffemodel"],
     "no.mask.caffemodel: no such weight file; tools/make_mask_init.py makes it"),
    (["train", "--cpu", "--set", "TRAIN.BATCH_SIZE"], "; TRAIN.BATCH_SIZE has no value"),
    (["train", "--cpu", "--set", "TRAIN.BATCH_SIZE", "8", "--iters", "3"],
     "--iters too: put --set and its KEY VALUE pairs last"),
])
def test_mistakes_end_with_one_line(arguments, complaint, capsys):
    assert cli.main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert complaint in lines[-1] and lines[-1].startswith("error: ")


def test_a_damaged_configuration_is_said_in_one_line(tmp_path, capsys):
    (tmp_path / "cut.yml").write_text("TEST:\n  SCALES: [1")
    assert cli.main(["train", "--cpu", "--cfg", str(tmp_path / "cut.yml")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path}/cut.yml: not valid YAML: line 2, column 13: while parsing a flow "
        "sequence, expected ',' or ']', but got '<stream end>'"]


def test_a_net_for_other_classes_stops_with_the_command(tiny_scenes, capsys):
    assert cli.main(["train", "--cpu", "--solver",
                     str(ROOT / "models/VGG16/mnc_5stage/solver.prototxt"),
                     "--imdb", f"sbd:{tiny_scenes}:train"]) == 1
    command = "models/generate.py --net VGG16 --task mnc_5stage --classes 6 --anchors 9"
    assert command in capsys.readouterr().err


def test_a_train_run_needs_a_net(tiny_scenes, capsys):
    assert cli.main(["train", "--cpu", "--imdb", f"sbd:{tiny_scenes}:train"]) == 1
    assert "--net VGG16 or " in capsys.readouterr().err


@pytest.mark.parametrize("gpu", ("0", "0,1", "all"))
def test_gpu_where_there_is_none(gpu, monkeypatch, capsys):
    """Said once, before any worker starts; never another device in silence."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("mnc.commands.session.start_workers", None)
    assert cli.main(["train", "--gpu", gpu]) == 1
    said = capsys.readouterr().err
    assert f"--gpu {gpu}: PyTorch finds no CUDA device here; say --cpu or --workers N" in said
    assert cfg.GPU_ID == 0


def test_pictures_of_equal_names_do_not_overwrite_each_other(tiny_model, weights, tmp_path):
    given = ["a/x.jpg", "b/x.png", "b/x_2.jpg", "c/X.jpg"]
    for n, name in enumerate(given):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((40, 50, 3), 60 * n, np.uint8))
    assert cli.main(["demo", "--cpu", *(str(tmp_path / name) for name in given), "--out",
                     str(tmp_path / "out"), "--def", str(tiny_model / "test.prototxt"), "--net",
                     str(weights), "--score", "2"]) == 0
    pictures = sorted((tmp_path / "out").glob("*.jpg"))
    assert len({path.name.casefold() for path in pictures}) == 4
    assert sorted(int(cv2.imread(str(path)).mean()) for path in pictures) == [0, 60, 120, 180]


@pytest.fixture
def demo_of_tiny(tiny_model, weights, tmp_path) -> list[str]:
    return ["demo", "--cpu", "--def", str(tiny_model / "test.prototxt"), "--net", str(weights), "--cfg",
            CFG, "--out", str(tmp_path / "out")]


def test_demo_of_names_from_the_standard_input(demo_of_tiny, tiny_scenes, tmp_path, monkeypatch, capsys):
    images = sorted((tiny_scenes / "img").glob("*.jpg"))[:2]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{path}\n" for path in images)))
    assert cli.main([*demo_of_tiny, "-", *QUICK]) == 0
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 2
    assert float(re.search(r"2 pictures .*, ([0-9.]+) images a second\n", capsys.readouterr().out)[1]) > 0


def test_a_missing_file_is_said_before_anything_is_done(demo_of_tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mnc.inference.networks.load_net", None)        # it would be called
    (tmp_path / "out").mkdir()
    (tmp_path / "out/index.html").write_text("an earlier page")
    assert cli.main([*demo_of_tiny, str(tmp_path / "gone.jpg")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert cli.main([*demo_of_tiny, str(tmp_path / "gone.mp4")]) == 1
    assert "no such file: " in capsys.readouterr().err
    (tmp_path / "text.mp4").write_text("no video")
    assert cli.main([*demo_of_tiny, str(tmp_path / "text.mp4")]) == 1
    assert "text.mp4: OpenCV cannot open this video" in capsys.readouterr().err
    assert (tmp_path / "out/index.html").read_text() == "an earlier page"


@pytest.fixture
def clip(tmp_path) -> Path:
    path = tmp_path / "clip.avi"
    with VideoFile(path, 10) as video:
        for n in range(5):
            video.add(np.full((48, 64, 3), 40 * n, np.uint8))
    return path


@pytest.mark.parametrize("out, written", [("out", "out/clip.mp4"), ("out/new.webm", "out/new.webm")])
def test_demo_of_a_video(demo_of_tiny, clip, tmp_path, capsys, out, written):
    assert cli.main([*demo_of_tiny, str(clip), "--every", "2", "--frames", "2", "--out",
                     str(tmp_path / out), *QUICK]) == 0
    assert "2 frames in" in capsys.readouterr().out
    video = cv2.VideoCapture(str(tmp_path / written))
    assert video.get(cv2.CAP_PROP_FPS) == 5
    seen = [frame for _, frame in frames(video, written, 1)]
    assert len(seen) == 2 and seen[0].shape[0] == 480 and seen[1].mean() > seen[0].mean()


@pytest.mark.parametrize("name", ["a.mpg", "b.MTS", "c.wmv", "rtsp://there/stream", "0"])
def test_what_is_a_video(name):
    assert is_video(name) and not is_video("a.jpg") and not is_video("http://there/a.jpg")


class Camera:
    """A stand-in for cv2.VideoCapture: frames that get brighter, without an end."""

    def __init__(self, source):
        self.source, self.number = source, 0

    def isOpened(self):
        return self.source == 1

    def get(self, what):
        return 0.0                              # neither its rate nor a length

    def grab(self):
        self.number += 1
        return True

    def retrieve(self):
        return True, np.full((48, 64, 3), min(40 * self.number, 255), np.uint8)

    def release(self):
        pass


def test_demo_of_a_camera(demo_of_tiny, tmp_path, capsys, monkeypatch):
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert cli.main([*demo_of_tiny, "1", "--frames", "3", "--every", "2", *QUICK]) == 0
    monkeypatch.setattr(cv2, "VideoCapture", opened)
    seen = [frame.mean() for _, frame in frames(opened(str(tmp_path / "out/camera1.mp4")), "it", 1)]
    assert len(seen) == 3 and seen == sorted(seen)
    assert "3 frames in" in capsys.readouterr().out


def test_a_camera_that_is_not_there_is_said_before_the_net_is_loaded(demo_of_tiny, capfd, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr("mnc.inference.networks.load_net", None)        # it would be called
    assert cli.main([*demo_of_tiny, "0"]) == 1
    assert "camera 0 cannot be opened: is it plugged in" in capfd.readouterr().err


def test_opencv_says_nothing_of_its_own_about_a_camera(capfd):
    if list(Path("/dev").glob("video*")):
        pytest.skip("there is a camera here")
    with pytest.raises(DataError, match="camera 7 cannot be opened.*Video devices of this machine: none"):
        open_video(7)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("arguments, said", [(["clip.avi", "a.jpg"], "is a video: name it alone"),
                                             (["clip.avi", "--out", "clip.avi"], "is the video itself"),
                                             (["clip.avi", "--out", "new.gif"], "written as one of .mp4"),
                                             (["a.jpg", "--out", "clip.avi"], "a file; pictures are written"),
                                             (["a.jpg", "--out", "new.mp4"], "name a folder for the pictures"),
                                             (["-"], "no name of an image came from the standard input")])
def test_what_does_not_go_with_a_video(demo_of_tiny, clip, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(clip.parent)
    monkeypatch.setattr("mnc.inference.networks.load_net", None)        # it would be called
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    cv2.imwrite("a.jpg", np.zeros((4, 4, 3), np.uint8))
    before = clip.read_bytes()
    assert cli.main([*demo_of_tiny, *arguments]) == 1
    assert said in capsys.readouterr().err and clip.read_bytes() == before


def test_an_interrupted_video_is_whole(demo_of_tiny, clip, tmp_path, monkeypatch):
    from mnc.commands import demo_images

    whole, calls = demo_images.segment_image, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*args)

    monkeypatch.setattr(demo_images, "segment_image", interrupted)
    assert cli.main([*demo_of_tiny, str(clip), *QUICK]) == 0
    assert len(list(frames(cv2.VideoCapture(str(tmp_path / "out/clip.mp4")), "it", 1))) == 2


@pytest.mark.parametrize("out", ["photos", "photos/../photos", "link"])
def test_pictures_are_not_written_over_photographs(tiny_model, weights, tmp_path, capsys, out):
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(str(photos / name), np.full((40, 50, 3), 90, np.uint8))
    (photos / "index.html").write_text("my own page")
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    assert cli.main(["demo", "--cpu", str(photos), "--out", str(tmp_path / out), "--def",
                     str(tiny_model / "test.prototxt"), "--net", str(weights)]) == 1
    assert "name another folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before


@pytest.mark.parametrize("command, without", [
    ("evaluate", "gpu cpu backend precision workers"), ("compare", "gpu cpu backend precision"),
    ("analyse", "gpu cpu backend precision"), ("export", "backend precision"),
    ("data", "gpu backend set"), ("doctor", "gpu set"), ("test", "")])
def test_flags_that_would_have_no_effect_are_not_offered(command, without, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    offered = set(re.findall(r"--([a-z]+)", capsys.readouterr().out))
    assert not offered & set(without.split())
    assert command in ("data", "doctor") or "set" in offered


def test_the_nets_name_is_asked_back(capsys):
    for name, said in (("Minni", "no net 'Minni'; did you mean Mini?"), ("vgg16", "mean VGG16?"),
                       ("yolo", "no net 'yolo'; there are VGG16, ")):
        with pytest.raises(SystemExit):
            cli.main(["demo", "--net", name])
        assert said in capsys.readouterr().err


def test_what_the_user_mistypes_needs_no_torch():
    """Loading it takes seconds."""
    for arguments in (["--help"], ["tarin"], ["--versoin"], ["test", "--imdb", "scenes_val+scene_train"],
                      ["train", "--val", "scene_val"], ["train", "--net", "Vgg"], ["demo", "--precision", "8"],
                      ["demo", "--net", "Minni"],
                      ["benchmark", "--help"], ["test", "--imbd", "x"], ["evaluate"],
                      ["compare", "--metrics", "x"], ["ablation", "--help"], ["generate", "--task", "x"], []):
        code = ("import sys\nfrom mnc.cli import main\ntry: main(sys.argv[1:])\n"
                "except SystemExit: pass\nfinally: print(sorted({'torch', 'caffe', 'cv2'} & set(sys.modules)))")
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True,
                              text=True, env={"PYTHONPATH": ":".join(sys.path)})
        assert done.stdout.endswith("[]\n"), (arguments, done.stdout[-500:], done.stderr[-500:])


@pytest.mark.parametrize("arguments", [["demo", "--scenes", "--iters", "0"],
                                       ["demo", "--scenes", "--images", "-1"],
                                       ["benchmark", "--repeat", "0"]])
def test_counts_start_at_one(arguments, capsys):
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert f"a whole number from 1, not '{arguments[-1]}'" in capsys.readouterr().err


def test_every_command_is_a_module():
    for name, known in COMMANDS.items():
        module = importlib.import_module(f"mnc.commands.{name}")
        assert callable(module.run) and callable(module.add_arguments), name
        assert known.summary.split(",")[0] in " ".join(cli.parsers()[0].format_help().split())


def test_the_log_of_other_libraries_stays_as_it_is(capsys):
    root = logging.getLogger()
    before = root.level
    assert cli.main(["make_mask_init", "no.caffemodel"]) == 1
    assert root.level == before and not logging.getLogger("matplotlib").isEnabledFor(logging.INFO)
    assert logging.getLogger("mnc").isEnabledFor(logging.INFO)


@pytest.mark.parametrize("tool", ["train_net", "test_net", "evaluate", "compare", "ablation",
                                  "demo"])
def test_tools_run_from_a_plain_checkout(tool, tmp_path):
    """tools/_init_paths.py finds the packages, from any working directory."""
    done = subprocess.run([sys.executable, str(ROOT / f"tools/{tool}.py"), "--help"], cwd=tmp_path,
                          capture_output=True,
                          text=True, check=True)
    assert "--set" in done.stdout


@pytest.mark.parametrize("tool, arguments, split", [
    ("train_net", ["--net", "Mini"], "trainval"),
    ("test_net", ["--def", "a", "--net", "b.caffemodel"], "test")])
def test_tools_have_the_old_data_sets_by_default(tool, arguments, split, tmp_path, monkeypatch,
                                                 capsys):
    (tmp_path / "VOCdevkit2007/VOC2007/ImageSets/Main").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    for named, wanted in ([], f"Main/{split}.txt: no such list"), (["--imdb", "x"], '"x"'):
        monkeypatch.setattr("sys.argv", [tool, "--cpu", *arguments, *named, "--set", "DATA_DIR",
                                         str(tmp_path)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / f"tools/{tool}.py"), run_name="__main__")
        assert end.value.code == 1 and wanted in capsys.readouterr().err


def test_the_old_build_step_is_no_error():
    done = subprocess.run(["make", "-C", str(ROOT / "lib")], capture_output=True, text=True)
    assert done.returncode == 0 and "`make build` in the folder above" in done.stdout


@pytest.fixture
def small_checkout(tiny_model, tiny_scenes, tmp_path, monkeypatch) -> Path:
    """A ROOT_DIR where Mini is the tiny net and the scenes are few."""
    model = tmp_path / "models/Mini/mnc_5stage"
    shutil.copytree(tiny_model, model)
    (tmp_path / "experiments/cfgs/Mini").mkdir(parents=True)
    shutil.copy(CFG, tmp_path / "experiments/cfgs/Mini/mnc_5stage.yml")
    monkeypatch.setattr(cfg, "ROOT_DIR", str(tmp_path))
    monkeypatch.setattr(demo_scenes, "get_dataset",
                        lambda name: get_dataset(f"sbd:{tiny_scenes}:{name.rpartition('_')[2]}"))
    return tmp_path


def test_the_whole_job_on_scenes(small_checkout, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["demo", "--cpu", "--scenes", "--iters", "2", "--images", "2",
                     "--out", str(out), "--set", "TEST.NMS", "0.25"]) == 0
    assert (cfg.TEST.NMS, cfg.TEST.SCALES) == (0.25, (200,))        # over Mini's own settings
    figures = json.loads((out / "metrics.json").read_text())
    assert figures["images"] == 2 and "mAP^r@0.7" in figures
    assert len(list(out.glob("*.png"))) == 2
    page = (out / "index.html").read_text()
    assert "random weights" in page and "<th>class</th><th>AP^r@0.5</th>" in page
    assert "mAP" not in capsys.readouterr().err


def test_the_whole_job_starts_from_bundled_weights(small_checkout, weights, tmp_path):
    shutil.copy(weights, small_checkout / demo.MINI.weights)
    out = tmp_path / "out"
    assert cli.main(["demo", "--cpu", "--scenes", "--iters", "1", "--images", "1",
                     "--out", str(out)]) == 0
    assert "the bundled weights" in (out / "index.html").read_text()


def test_sigterm_ends_a_command_as_ctrl_c_does(monkeypatch, capsys):
    import os
    import signal

    from mnc.commands import compare

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(compare, "run", lambda args: os.kill(os.getpid(), signal.SIGTERM))
    try:
        assert cli.main(["compare", "x.json", "--imdb", "scenes_val"]) == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err.splitlines()[-1] == "terminated"


def test_layer_types_of_a_plugin_are_known(tmp_path, capsys):
    (tmp_path / "own_layers.py").write_text(
        "import caffe, caffe.extend\n"
        "@caffe.register_layer('OfAPlugin')\n"
        "class Own(caffe.extend.TorchLayer):\n"
        "    def compute(self, x):\n"
        "        return x\n")
    missing = ["demo", "--cpu", str(tmp_path / "none.jpg")]
    cli.main([*missing, "--plugin", str(tmp_path / "own_layers.py")])
    assert "OfAPlugin" in caffe.layer_type_list()
    assert cli.main([*missing, "--plugin", "no_such_plugin"]) == 1
    assert "plugin no_such_plugin" in capsys.readouterr().err
    caffe.extend.LAYERS.remove("OfAPlugin")


@pytest.mark.parametrize("words, hint", [
    (["trian"], "no command 'trian'; did you mean train?"),
    (["test", "--imbd", "x"], "unrecognized arguments: --imbd x; did you mean --imdb?"),
    (["evaluate", "x", "--cpu"], "unrecognized arguments: --cpu\n"),
    (["train", "--net", "Mni"], "; did you mean Mini?"),
    (["data", "shwo", "x"], "; did you mean show?"),
    (["--versoin"], "unrecognized arguments: --versoin; did you mean --version?"),
    (["nothinglike"], "no command 'nothinglike'\n")])
def test_a_word_that_is_not_known_is_answered_with_one_like_it(words, hint, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2 and hint in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out.startswith("mnc ")


def test_doctor(capsys, monkeypatch, tmp_path):
    # one for CUDA beside a torch for the CPU cannot be imported, and is put right by its user
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "C++ kernels:" in said and "Mini" in said and "all that is needed is here" in said
    monkeypatch.setattr("caffe.ops.native", None)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "!!  C++ kernels: not built" in said and "install a C++ compiler" in said
    assert "1 to put right" in said
