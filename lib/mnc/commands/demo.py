"""`mnc demo`: instances drawn into any images; with --scenes, the whole job on generated scenes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnc.commands.model_flags import add_model_arguments, check_alone, named_files, the_model
from mnc.commands.registration import count
from mnc.config import ConfigError, cfg, cfg_from_file
from mnc.project import project_file

if TYPE_CHECKING:
    from mnc.commands.demo_images import Finder


@dataclass(frozen=True)
class Model:
    """Where a net and its settings lie; paths relative to the checkout."""

    net: str
    weights: str

    def path(self, name: str) -> Path:
        return project_file("models", self.net, "mnc_5stage", name)

    @property
    def weight_file(self) -> Path:
        return project_file(*self.weights.split("/"))


MINI = Model("Mini", "models/Mini/mnc_5stage/mini_mnc_5stage.caffemodel.h5")
VGG16 = Model("VGG16", "data/mnc_model/mnc_model.caffemodel.h5")


def default_model() -> Model:
    """VGG16 where the user has its published weights, else the small net of the project."""
    return VGG16 if VGG16.weight_file.exists() else MINI


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_settings)
    p.add_argument("image", nargs="*", metavar="IMG",
                   help="image files, folders, patterns such as 'a/**/*.jpg', - for names from the "
                        "standard input, a line each; or one video, or the number of a camera "
                        "(default: data/demo)")
    p.add_argument("--out", default="output/demo", metavar="DIR",
                   help="for pictures and index.html, or NAME.mp4 of a video, which may also be "
                        "named as a file (default %(default)s)")
    p.add_argument("--recursive", "-r", action="store_true", help="folders with all below them")
    p.add_argument("--every", type=count, default=1, metavar="N",
                   help="of a video: one of so many frames")
    p.add_argument("--frames", type=count, metavar="N", help="of a video: the first so many only")
    add_model_arguments(p, " (default: VGG16 if data/mnc_model has its weights, else Mini)")
    p.add_argument("--classes", metavar="FILE",
                   help="names of the classes, one a line, without the background, or a COCO .json "
                        "(default: those that the net was trained with)")
    p.add_argument("--score", type=float, default=0.5,
                   help="least score drawn (default %(default)s)")
    p.add_argument("--scenes", action="store_true",
                   help="draw scenes, train Mini on them a little, test it, draw the results")
    p.add_argument("--iters", type=count, default=300,
                   help="with --scenes: training iterations (default %(default)s)")
    p.add_argument("--images", type=count, default=100,
                   help="with --scenes: images to test on (default %(default)s)")


def take_settings(args: argparse.Namespace) -> None:
    """cfg becomes that of the net."""
    from mnc.nets.settings import find_settings

    if is_onnx(args):
        check_alone(args.model, *named_files(args))
        return
    prototxt, weights = model_files(args)
    own = find_settings([prototxt], [weights])
    if own:
        cfg_from_file(own)


def is_onnx(args: argparse.Namespace) -> bool:
    """Whether --model names a file of `mnc export`."""
    return bool(args.model) and args.model[0].endswith(".onnx")


def model_files(args: argparse.Namespace) -> tuple[Path, Path]:
    """(prototxt, weights): those named, else those of the model that is there."""
    model = MINI if args.scenes else default_model()
    prototxt, weights = the_model(args, args.model or [],
                                  (str(model.path("test.prototxt")), str(model.weight_file)))
    return Path(prototxt), Path(weights)


def run(args: argparse.Namespace) -> int:
    if args.scenes:
        from mnc.commands.demo_scenes import scenes_demo

        scenes_demo(Path(args.out), args.iters, args.images)
        return 0
    return _draw_images(args)


def _draw_images(args: argparse.Namespace) -> int:
    from mnc.commands.demo_images import checked_out, draw_files
    from mnc.commands.demo_video import clip_of, draw_video
    from mnc.data.folders import image_files
    from mnc.inference.pace import per_second

    given = named_images(args.image)
    out = Path(args.out)
    clip = clip_of(given, out, args.every, args.frames)
    paths = [] if clip else image_files(given or [default_images()], deep=args.recursive)
    if not clip:
        checked_out(out, paths)
    finder = _finder_of_file(args) if is_onnx(args) else _finder_of_net(args)
    if given and not is_onnx(args) and model_files(args)[1] == MINI.weight_file:
        print("Mini's own weights know the shapes of the drawn scenes, nothing of photographs; "
              "others: --model, or --def and --weights", flush=True)
    if clip:
        return 0 if draw_video(finder, clip, args.score) else 1
    began = time.monotonic()
    wrong = draw_files(finder, paths, out, args.score)
    drawn = len(paths) - len(wrong)
    print(f"{drawn} picture{'s' * (drawn != 1)} and index.html in {args.out}, "
          f"{per_second(drawn, time.monotonic() - began)}", flush=True)
    for problem in wrong:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if wrong else 0


def _finder_of_net(args: argparse.Namespace) -> Finder:
    from mnc.commands.demo_images import Finder
    from mnc.data.classes import class_names
    from mnc.inference.calibration import arithmetic
    from mnc.inference.networks import blob_of, load_net
    from mnc.nets.settings import known_classes

    prototxt, weights = model_files(args)
    net = load_net(prototxt, weights, **arithmetic(cfg))
    number = blob_of(net, "cls_prob").shape[1]
    return Finder.of(net, class_names(number, args.classes, known_classes(weights)))


def _finder_of_file(args: argparse.Namespace) -> Finder:
    from mnc.commands.demo_images import Finder
    from mnc.data.classes import class_names
    from mnc.inference.onnx_model import OnnxModel

    model = OnnxModel(args.model[0])
    known = model.facts.classes
    classes = class_names(len(known), args.classes, known[1:])
    return Finder(model.instances, classes, model.facts.binarize)


def named_images(words: Sequence[str]) -> list[str]:
    """The names given; for - those on the standard input, a line each.

    Raises ConfigError where no name is there.
    """
    names: list[str] = []
    for word in words:
        names += [line for line in sys.stdin.read().splitlines() if line] if word == "-" else [word]
    if words and not names:
        raise ConfigError("- : no name of an image came from the standard input")
    return names


def default_images() -> str:
    """data/demo, or the held-out scenes where that is not there."""
    from mnc.data import get_dataset

    folder = project_file("data", "demo")
    return str(folder if folder.is_dir() else Path(get_dataset("scenes_val").image_path(0)).parent)
