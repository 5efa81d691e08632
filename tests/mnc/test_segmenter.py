"""The Python interface: from an image, a folder or a video to instances."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from contextlib import nullcontext

import cv2
import numpy as np
import pytest

import caffe
import mnc
from mnc import Instance, Segmenter
from mnc.config import cfg, changes_in_file, overridden
from mnc.data import DataError
from mnc.data.images import read_image
from mnc.inference import segment_image
from mnc.masks import run_lengths
from mnc.nets import NetError
from mnc.nets.settings import save_settings
from mnc.results.coco import to_xywh
from mnc.segmenter import model_files

SETTINGS = {"TEST.RPN_POST_NMS_TOP_N": 12}


@pytest.fixture(scope="module")
def weights(tiny_model, tmp_path_factory):
    caffe.set_random_seed(3)
    path = tmp_path_factory.mktemp("weights") / "tiny_iter_5.caffemodel.h5"
    caffe.Net(str(tiny_model / "train.prototxt"), caffe.TRAIN).save_hdf5(str(path))
    return path


@pytest.fixture
def segmenter(tiny_model, weights, mini_yml):
    return Segmenter(tiny_model / "test.prototxt", weights, config=mini_yml, settings=SETTINGS,
                     score=0.0)


@pytest.fixture(scope="session")
def mini_yml():
    from conftest import ROOT

    return ROOT / "experiments/cfgs/Mini/mnc_5stage.yml"


def image_of(folder, n=0):
    return sorted((folder / "img").glob("*.jpg"))[n]


def test_instances_of_an_image(segmenter, tiny_scenes):
    path = image_of(tiny_scenes)
    pixels = read_image(path)
    found = segmenter(path)
    assert found and all(isinstance(each, Instance) for each in found)
    for each in found:
        assert each.mask.shape == pixels.shape[:2] and each.mask.dtype == bool
        assert each.box.shape == (4,) and 1 <= each.label <= 5 and 0 <= each.score <= 1
        assert each.name == segmenter.classes[each.label]
        ys, xs = np.nonzero(each.mask)
        x1, y1, x2, y2 = np.round(each.box)
        assert not len(xs) or (xs.min() >= x1 and xs.max() <= x2
                               and ys.min() >= y1 and ys.max() <= y2)
    assert [each.score for each in found] == sorted((e.score for e in found), reverse=True)
    assert [e.score for e in segmenter(pixels)] == [e.score for e in found]   # array as the file


def test_the_same_as_entries_of_cocos_files(segmenter, tiny_scenes):
    path = image_of(tiny_scenes)
    entries, found = segmenter.coco(path), segmenter(path)
    assert len(entries) == len(found) > 0
    for entry, each in zip(entries, found):
        assert (run_lengths.decode(entry["segmentation"]) == each.mask).all()
        assert (entry["category_id"], entry["category_name"], entry["score"]) == (each.label, each.name, each.score)
        assert entry["bbox"] == to_xywh(each.box)


def test_a_mask_takes_a_byte_a_pixel(segmenter):
    """Of 12 megapixels two planes of whole numbers would be 192 MB for each instance."""
    size = 1500, 2000
    tracemalloc.start()
    mask = segmenter._mask(np.array([10, 20, 900, 700, 1]), np.ones((21, 21), np.float32), size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask.sum() == 891 * 681 and peak < 2.5 * mask.nbytes


def test_settings_are_its_own(segmenter, tiny_scenes):
    assert segmenter.cfg.TEST.RPN_POST_NMS_TOP_N == 12 and segmenter.cfg.TEST.SCALES == (200,)
    assert cfg.TEST.RPN_POST_NMS_TOP_N == 300 and cfg.TEST.SCALES == (600,)
    pixels = read_image(image_of(tiny_scenes))
    direct = segment_image(segmenter.nets, pixels, segmenter.cfg)
    assert len(segmenter.instances(pixels)) == sum(len(boxes) for boxes, _ in direct)


def test_the_least_score(segmenter, tiny_scenes):
    everything = segmenter(image_of(tiny_scenes))
    segmenter.score = everything[1].score
    assert len(segmenter(image_of(tiny_scenes))) < len(everything) or len(everything) == 2


def test_many_images_say_how_many_a_second_in_the_log(segmenter, tiny_scenes, caplog, capsys):
    caplog.set_level("INFO", "mnc")
    segmenter.batch([image_of(tiny_scenes)])
    segmenter.batch(image_of(tiny_scenes, n) for n in (0, 1))
    list(segmenter.folder(tiny_scenes / "img"))
    one, two, all_of_them = caplog.messages
    assert re.fullmatch(r"1 image in [0-9.]+ s, [0-9.]+ images a second", one)
    assert two.startswith("2 images in") and all_of_them.startswith("9 images in")
    assert not any(capsys.readouterr())


def test_batch_and_folder(segmenter, tiny_scenes, tmp_path):
    paths = [image_of(tiny_scenes, n) for n in (0, 1)]
    found = segmenter.batch(paths)
    for path in paths:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "notes.txt").write_text("not an image")
    listed = list(segmenter.folder(tmp_path))
    assert [path.name for path, _ in listed] == [path.name for path in paths]
    assert [[e.score for e in each] for _, each in listed] == [[e.score for e in each]
                                                               for each in found]
    with pytest.raises(DataError, match="no image in"):
        segmenter.folder(tiny_scenes / "inst")


def test_video(segmenter, tiny_scenes, tmp_path):
    frames = [cv2.resize(read_image(image_of(tiny_scenes, n)), (160, 120)) for n in range(3)]
    path = tmp_path / "scenes.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (160, 120))
    for frame in frames:
        writer.write(frame)
    writer.release()
    seen = list(segmenter.video(path, every=2))
    assert [number for number, _, _ in seen] == [0, 2]
    assert all(frame.shape == (120, 160, 3) for _, frame, _ in seen)
    with pytest.raises(DataError, match="no such file"):
        segmenter.video(tmp_path / "none.avi")


@pytest.mark.parametrize("every", [0, -1, 2.5])
def test_frames_are_counted_from_one(segmenter, every):
    with pytest.raises(ValueError, match="every must be a whole number from 1"):
        segmenter.video("scenes.avi", every=every)


class Tape:
    """A capture whose frames are given; None is one that does not decode."""

    def __init__(self, *frames):
        self.frames, self.place, self.released = frames, -1, False

    def isOpened(self):
        return True

    def grab(self):
        self.place += 1
        return self.place < len(self.frames)

    def retrieve(self):
        frame = self.frames[self.place]
        return frame is not None, frame

    def release(self):
        self.released = True


def test_a_frame_that_cannot_be_read_is_named(segmenter, monkeypatch):
    grey = np.full((60, 80, 3), 90, np.uint8)
    for frames, every, seen, said in [((grey, None, grey), 1, [0], "tape: frame 1 cannot be read"),
                                      ((grey, None, grey), 2, [0, 2], None),
                                      ((), 1, [], "tape: OpenCV opens it, but finds no frame")]:
        tape, numbers = Tape(*frames), []
        monkeypatch.setattr(cv2, "VideoCapture", lambda source, tape=tape: tape)
        with pytest.raises(DataError, match=said) if said else nullcontext():
            for number, _, _ in segmenter.video("tape", every=every):
                numbers.append(number)
        assert numbers == seen and tape.released


def test_an_ensemble(tiny_model, weights, mini_yml, tiny_scenes):
    alone = Segmenter(tiny_model / "test.prototxt", weights, config=mini_yml, settings=SETTINGS,
                      score=0.0)
    twice = Segmenter(tiny_model / "test.prototxt", [weights, weights], config=mini_yml,
                      settings=SETTINGS, score=0.0)
    one, two = alone(image_of(tiny_scenes)), twice(image_of(tiny_scenes))
    assert [e.score for e in one] == [e.score for e in two]         # the same votes, twice
    np.testing.assert_allclose(one[0].box, two[0].box)
    with pytest.raises(ValueError, match="2 weight files need one net or as many, got 3"):
        Segmenter([tiny_model / "test.prototxt"] * 3, [weights] * 2)


@pytest.mark.parametrize("net, files, said", [
    (None, "w.h5", "net must be a path or a list of paths, got None"),
    ("Mini", 3, "weights must be a path or a list of paths, got 3"),
    (["Mini", 3], None, r"net must be .*, got \['Mini', 3\]"),
    ("Mini", [], r"weights must be .*, got \[\]"),
    (["Mini", 3], "w.h5", r"net must be .*, got \['Mini', 3\]")])
def test_what_is_no_path_is_named(net, files, said):
    with pytest.raises(TypeError, match=said):
        Segmenter(net, files)


def test_notebooks_show_instances_and_segmenters(segmenter, tiny_scenes):
    mask = np.zeros((20, 30), bool)
    mask[5:10, 6:16] = True
    found = Instance(mask, np.array([6.0, 5, 15, 9]), 1, 0.75, "<cat>")
    assert repr(found) == "Instance('<cat>', score 0.750, box (6, 5, 15, 9), 50 of 30 x 20 pixels)"
    picture = cv2.imdecode(np.frombuffer(found._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (20, 30, 3) and (picture[7, 10] == 255).all() and (picture[0, 0] == 60).all()
    page = segmenter._repr_html_()
    assert segmenter.nets[0].name in page and "SCALES" in page and str(segmenter.classes[1]) in page


def test_a_net_by_its_name_has_the_weights_that_come_with_it():
    assert Segmenter("Mini").classes[1] == "agate"
    with pytest.raises(DataError, match="VGG16: no weights come with this net"):
        Segmenter("VGG16")


def test_the_folder_that_training_wrote(tiny_model, weights, mini_yml, tmp_path):
    """Its net, weights, settings; a file in it; several; with other weights its net alone."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/test.prototxt").write_bytes((tiny_model / "test.prototxt").read_bytes())
    with pytest.raises(NetError, match=r"no snapshot NAME_iter_N"):
        Segmenter(tmp_path)
    copies = [tmp_path / "tiny_iter_4.caffemodel.h5", tmp_path / "tiny_iter_5.caffemodel.h5"]
    for copy in copies:
        copy.write_bytes(weights.read_bytes())
    with overridden({**changes_in_file(mini_yml), "TEST.NMS": 0.25}):
        save_settings(copies[1])
    assert model_files(str(tmp_path), None) == ([tmp_path / "net/test.prototxt"], [copies[1]])
    assert model_files([tmp_path, copies[0]], None) == (
        [tmp_path / "net/test.prototxt"] * 2, copies[::-1])
    assert model_files(tmp_path, weights) == ([tmp_path / "net/test.prototxt"], [weights])
    assert Segmenter(tmp_path).cfg.TEST.NMS == 0.25
    (tmp_path / "x").mkdir()
    with pytest.raises(NetError, match=r"x: no net/test.prototxt in it; name the folder"):
        Segmenter(tmp_path / "x")
    with pytest.raises(DataError, match=r"iter_6.caffemodel.h5: no such file or folder"):
        Segmenter(tmp_path / "tiny_iter_6.caffemodel.h5")


def test_settings_come_from_beside_the_weights(tiny_model, weights, mini_yml, tiny_scenes,
                                               tmp_path, caplog):
    """As training wrote them; what is said in `config` and `settings` goes first."""
    caplog.set_level("INFO", "mnc")
    copy = tmp_path / weights.name
    copy.write_bytes(weights.read_bytes())
    with_none = Segmenter(tiny_model / "test.prototxt", copy)
    assert with_none.cfg.TEST.SCALES == (600,) and "the defaults hold" in caplog.text
    with overridden({**changes_in_file(mini_yml), "TEST.NMS": 0.25}):
        save_settings(copy)
    own = Segmenter(tiny_model / "test.prototxt", copy, settings=SETTINGS)
    assert own.cfg.TEST.NMS == 0.25 and own.cfg.TEST.SCALES == (200,)
    assert own.cfg.TEST.RPN_POST_NMS_TOP_N == 12 and cfg.TEST.NMS == 0.3
    assert f"settings: {tmp_path / 'tiny_iter_5.yml'}" in caplog.text
    given = Segmenter(tiny_model / "test.prototxt", copy, config=mini_yml)
    assert given.cfg.TEST.NMS == 0.3


def test_grey_images_and_wrong_ones(segmenter):
    grey = np.full((60, 80), 90, np.uint8)
    assert all(each.mask.shape == (60, 80) for each in segmenter(grey))
    with pytest.raises(ValueError, match=r"uint8; got \(60, 80\) float64"):
        segmenter(grey / 255)
    with pytest.raises(ValueError, match=r"uint8; got \(0, 80\) uint8"):
        segmenter(grey[:0])
    with pytest.raises(DataError, match="no such image"):
        segmenter("none.jpg")


def test_class_names(tiny_model, weights, mini_yml):
    names = ["a", "b", "c", "d", "e"]
    given = Segmenter(tiny_model / "test.prototxt", weights, config=mini_yml, classes=names)
    assert given.classes == ("__background__", *names)
    with pytest.raises(ValueError, match="1 class names for a net of 5"):
        Segmenter(tiny_model / "test.prototxt", weights, config=mini_yml, classes=["a"])


def test_nets_by_name():
    from mnc.segmenter import prototxt_of

    path = prototxt_of("Mini")
    assert path.parts[-4:] == ("models", "Mini", "mnc_5stage", "test.prototxt")
    with pytest.raises(DataError, match="nor a net of that name"):
        prototxt_of("Maxi")


def test_a_drawn_picture(segmenter, tiny_scenes):
    assert segmenter.draw(image_of(tiny_scenes)).shape[2] == 3


def test_importing_mnc_is_light():
    code = "import sys, mnc; print('torch' in sys.modules, 'cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": str(next(iter(mnc.__path__)) + "/..")})
    assert done.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="has no attribute 'Segmentor'"):
        mnc.Segmentor


def test_what_is_public_is_documented():
    from conftest import ROOT

    text = (ROOT / "docs/python_api.md").read_text()
    public = [name for name in vars(Segmenter) if not name.startswith("_")]
    assert all(f"s.{name}(" in text for name in public), public
    assert all(f"| `{name}` |" in text for name in Instance.__dataclass_fields__)
    assert all(name.lower() in text.lower() for name in mnc.__all__)
