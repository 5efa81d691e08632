"""Instances of images in a few lines of Python.

    from mnc import Segmenter

    segment = Segmenter("output/mine")              # what `mnc train --out output/mine` wrote
    for instance in segment("street.jpg"):
        print(instance.name, instance.score, instance.box, instance.mask.sum())
"""

from __future__ import annotations

import copy
import html
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from caffe.extend import nearest
from mnc.config import cfg, changes_in_file, overridden
from mnc.data.classes import BACKGROUND, class_names
from mnc.data.dataset import DataError
from mnc.data.folders import images_in
from mnc.data.given_images import Image, as_bgr
from mnc.data.video import frames, open_video
from mnc.drawing.instances import covered, draw_instances
from mnc.inference import Instances, load_net, segment_image
from mnc.inference.calibration import arithmetic
from mnc.inference.networks import blob_of
from mnc.inference.pace import paced
from mnc.masks import run_lengths
from mnc.masks.rendering import pasted
from mnc.nets.backbones import NETS
from mnc.nets.settings import find_settings, known_classes
from mnc.nets.trained import model_in, prototxt_in
from mnc.project import project_file
from mnc.results.coco import to_xywh


@dataclass(frozen=True, eq=False)
class Instance:
    """One object seen in an image of H x W pixels."""

    mask: np.ndarray        # (H, W) bool: the pixels it covers
    box: np.ndarray         # (4,) float: x1, y1, x2, y2 in pixels, inclusive, from 0
    label: int              # 1..K-1
    score: float            # 0..1
    name: str               # of the label

    def __repr__(self) -> str:
        """Without the pixels of the mask."""
        x1, y1, x2, y2 = np.round(self.box, 1).tolist()
        return (f"Instance({self.name!r}, score {self.score:.3f}, box ({x1:g}, {y1:g}, {x2:g}, "
                f"{y2:g}), {int(self.mask.sum())} of {self.mask.shape[1]} x {self.mask.shape[0]} "
                "pixels)")

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the mask, white, in its box on the image's plane."""
        plane = np.full((*self.mask.shape, 3), 60, np.uint8)
        plane[self.mask] = 255
        x1, y1, x2, y2 = np.round(self.box).astype(int).tolist()
        line = max(1, round(min(self.mask.shape) / 240))
        cv2.rectangle(plane, (x1, y1), (x2, y2), (60, 180, 255), line)
        return cv2.imencode(".png", plane)[1].tobytes()


class Segmenter:
    """A test net with its weights and settings, as a function from an image to its instances.

    net: the folder that a training wrote (its best weights, else its last), a weight file in it, a
    name such as "Mini" for models/NAME/mnc_5stage with the weights that come with it, or, with
    weights, a test.prototxt or a name.
    weights: the net's weight file. Several of both (lists; one net may serve several files) make an
    ensemble: its members' results are voted on together.
    config: a configuration file, by default the one that training wrote beside the weights, else
    experiments/cfgs/NET/TASK.yml for models/NET/TASK/test.prototxt. settings: single keys over
    that, such as {"TEST.SCALES": (480, 600), "TEST.USE_FLIPPED": True}. Both are this object's own:
    the global cfg stays as it is, and segmenters of different settings work side by side.
    classes: names of the classes without the background; by default those that training kept in
    the weights or the settings, else "class 1" and so on.
    score: least score of an instance that is returned.

    Computes where caffe.set_mode_cpu / set_mode_gpu say at its making. One thread at a time.
    """

    def __init__(self, net: str | os.PathLike | Sequence,
                 weights: str | os.PathLike | Sequence | None = None, *,
                 config: str | os.PathLike | None = None,
                 settings: Mapping[str, object] | None = None,
                 classes: Sequence[str] | None = None, score: float = 0.5) -> None:
        nets, files = model_files(net, weights)
        config = config or find_settings(nets, files)
        changes = {**(changes_in_file(config) if config else {}), **(settings or {})}
        with overridden(changes):
            self.nets = [load_net(path, file, **arithmetic(cfg))
                         for path, file in zip(nets, files)]
            self.cfg = copy.deepcopy(cfg)
            known = known_classes(files[0])
        self.score = score
        number = blob_of(self.nets[0], "seg_cls_prob").shape[1]
        self.classes = names_for(number, classes, known)

    def __repr__(self) -> str:
        names = ", ".join(net.name for net in self.nets)
        return f"Segmenter({names}: {', '.join(self.classes[1:])})"

    def _repr_html_(self) -> str:
        """What a notebook shows: nets, classes, the settings that tests are made with."""
        test = ", ".join(f"{key} {value}" for key, value in self.cfg.TEST.items())
        rows = (("net", ", ".join(net.name for net in self.nets)),
                ("classes", ", ".join(map(str, self.classes[1:]))),
                ("score", f"{self.score:g} and more"), ("TEST", test))
        return "<table>" + "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>"
                                   for name, text in rows) + "</table>"

    def __call__(self, image: Image) -> list[Instance]:
        """Instances of one image, best score first.

        image: the path or the bytes of a file, (H, W, 3) uint8 in BGR order as OpenCV gives it,
        (H, W) grey, a PIL image, a torch tensor (3, H, W) in RGB order, uint8 or 0 to 1
        (mnc.data.given_images says it all).
        """
        pixels = as_bgr(image)
        found = self.instances(pixels)
        return [Instance(self._mask(box, mask, pixels.shape[:2]), box[:4].astype(float),
                         int(label), float(box[4]), self.classes[label])
                for box, mask, label in zip(found.boxes, found.masks, found.labels)]

    def instances(self, image: Image) -> Instances:
        """The same as arrays: boxes (N, 5), masks (N, S, S) over the boxes, labels (N,)."""
        detections = segment_image(self.nets, as_bgr(image), self.cfg)
        return Instances.from_detections(detections, self.score)

    def coco(self, image: Image) -> list[dict[str, object]]:
        """The same as entries of COCO's result files, without "image_id", with "category_name".

        Masks are run-length codes, (category_id - 1) is the place in `classes[1:]`. Of large
        photographs with many instances this takes the least memory: no mask is as large as they.
        """
        pixels = as_bgr(image)
        found, size = self.instances(pixels), pixels.shape[:2]
        return [self._entry(box, mask, int(label), size)
                for box, mask, label in zip(found.boxes, found.masks, found.labels)]

    def batch(self, images: Iterable[Image]) -> list[list[Instance]]:
        """Instances of each of several images, of any sizes.

        The logger `mnc` says (INFO) how many a second, as for `folder` and `video`.
        """
        total = len(images) if isinstance(images, Sized) else None
        return list(paced(map(self, images), total))

    def folder(self, folder: str | os.PathLike) -> Iterator[tuple[Path, list[Instance]]]:
        """(file, instances) of each image in a folder, by name, as they are found.

        Raises DataError where there is none.
        """
        paths = images_in(Path(folder))
        if not paths:
            raise DataError(f"no image in {folder}")
        return paced(((path, self(path)) for path in paths), len(paths))

    def video(self, source: str | os.PathLike | int, *,
              every: int = 1) -> Iterator[tuple[int, np.ndarray, list[Instance]]]:
        """(number, frame (H, W, 3) BGR, instances) of every so many frames, from frame 0.

        source: a video file that OpenCV can read, or the number of a camera. Raises ValueError if
        `every` is no whole number from 1; DataError if the video cannot be opened, or, when it is
        reached, for a frame that cannot be read.
        """
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be a whole number from 1 (1: every frame), got {every!r}")
        capture = open_video(source)
        seen = ((number, frame, self(frame)) for number, frame in frames(capture, source, every))
        return paced(seen, unit="frame")

    def draw(self, image: Image) -> np.ndarray:
        """The image (BGR, enlarged if small) with masks, boxes, names and scores."""
        pixels = as_bgr(image)
        return draw_instances(pixels, self.instances(pixels), self.classes,
                              self.cfg.BINARIZE_THRESH)

    def _mask(self, box: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool"""
        corner, inside = covered(box, mask, size, self.cfg.BINARIZE_THRESH)
        return pasted(np.array(corner), inside, size)

    def _entry(self, box: np.ndarray, mask: np.ndarray, label: int,
               size: tuple[int, int]) -> dict[str, object]:
        corner, inside = covered(box, mask, size, self.cfg.BINARIZE_THRESH)
        return {"category_id": label, "category_name": self.classes[label],
                "score": float(box[4]), "bbox": to_xywh(box),
                "segmentation": run_lengths.placed(inside, corner[:2], size)}


def as_paths(name: str, given: object) -> list[str | os.PathLike]:
    """One path or several as a list; TypeError that names the argument for anything else."""
    paths: list = ([*given] if isinstance(given, Sequence) and not isinstance(given, str)
                   else [given])
    if not paths or not all(isinstance(path, (str, os.PathLike)) for path in paths):
        raise TypeError(f"{name} must be a path or a list of paths, got {given!r}")
    return paths


def prototxt_of(net: str | os.PathLike) -> Path:
    """The path itself, the net of a trained folder, or models/NAME/mnc_5stage/test.prototxt.

    Raises DataError where there is none of these.
    """
    path = Path(net)
    if path.is_dir():
        return Path(prototxt_in(path))
    if path.suffix or path.exists():
        return path
    named = project_file("models", str(path), "mnc_5stage", "test.prototxt")
    if not named.exists():
        raise DataError(f"{net}: no such folder or prototxt, nor a net of that name at {named}"
                        f"{nearest(str(net), NETS)}")
    return named


def model_files(net: object, weights: object) -> tuple[list[Path], list[str | os.PathLike]]:
    """The prototxts of the models that Segmenter was given, and as many weight files.

    Raises ValueError where their numbers do not go together, and what the parts of it raise.
    """
    nets = as_paths("net", net)
    if weights is None:
        models = [_model_of(each) for each in nets]
        return [Path(prototxt) for prototxt, _ in models], [Path(file) for _, file in models]
    files = as_paths("weights", weights)
    prototxts = [prototxt_of(each) for each in (nets * len(files) if len(nets) == 1 else nets)]
    if len(prototxts) != len(files):
        raise ValueError(f"{len(files)} weight files need one net or as many, got {len(nets)}")
    return prototxts, files


def _model_of(net: str | os.PathLike) -> tuple[str, str]:
    """The prototxt and the weights of a model that is named without weights."""
    place = Path(net)
    if place.is_dir() or (place.is_file() and place.suffix != ".prototxt"):
        return model_in(place)
    if place.suffix and not place.exists():
        raise DataError(f"{net}: no such file or folder")
    found = sorted(prototxt_of(net).parent.glob("*.caffemodel.h5"))
    if len(found) != 1:
        raise DataError(f"{net}: no weights come with this net; name a file of them (weights=…)")
    return str(prototxt_of(net)), str(found[0])


def names_for(number: int, classes: Sequence[str] | None,
              known: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of so many classes, the background's first.

    Raises ValueError for another number of names.
    """
    if classes is None:
        return class_names(number, known=known)
    if len(classes) != number - 1:
        raise ValueError(f"{len(classes)} class names for a net of {number - 1} classes besides "
                         "the background")
    return (BACKGROUND, *classes)
