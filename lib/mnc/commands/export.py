"""`mnc export`: a trained net, from the image to what is found in it, as one file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnc.commands.model_flags import add_model_arguments, the_model
from mnc.config import ConfigError, cfg, cfg_from_file

TARGETS = ("onnx", "pt2", "torchscript", "code")
HOW = {"seg": {True: "mask voting is in it", False: "suppression (TEST.NMS) is in it"},
       "det": dict.fromkeys((True, False), "suppression (TEST.NMS) is in it")}
GIVEN_REGIONS = (
    "{prototxt} is for regions that another program proposes, of which `mnc test --task cfm` shows "
    "each to the net at the scale that suits it: no file goes from the image alone to what is in "
    "it. The net itself goes: caffe export {prototxt} {weights} --to {target} -o {output} "
    "--dynamic data:2,3 --dynamic rois:0 --dynamic masks:0")


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_settings)
    p.add_argument("folder", nargs="?", metavar="FOLDER",
                   help="what a training wrote: the same as --model FOLDER")
    add_model_arguments(p)
    p.add_argument("--to", default="onnx", choices=TARGETS,
                   help="onnx: for onnxruntime and others; pt2: torch.export's; torchscript; code: "
                        "a .py of plain torch (default onnx)")
    p.add_argument("--task", choices=("seg", "det"),
                   help="seg: instances; det: boxes (default: seg for a cascade, det for a Faster "
                        "R-CNN)")
    p.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    p.add_argument("--classes", metavar="FILE",
                   help="names of the classes, one a line, without the background "
                        "(default: those that the net was trained with)")
    p.add_argument("--check", nargs="+", metavar="IMG",
                   help="images to run the file on and compare (default: data/demo)")


def model_files(args: argparse.Namespace) -> tuple[str, str]:
    """(prototxt, weights): those named, or those in the folder."""
    return the_model(args, [*([args.folder] if args.folder else []), *(args.model or [])])


def take_settings(args: argparse.Namespace) -> None:
    """cfg becomes that of the net."""
    from mnc.nets.settings import find_settings

    prototxt, weights = model_files(args)
    own = find_settings([prototxt], [weights])
    if own:
        cfg_from_file(own)


def run(args: argparse.Namespace) -> int:
    from mnc.commands.demo import default_images
    from mnc.data.classes import class_names
    from mnc.data.folders import image_files
    from mnc.inference.networks import blob_of, load_net
    from mnc.inference.settings import TestSettings
    from mnc.inference.whole import FOUND, left_out, task_of
    from mnc.nets.settings import known_classes

    prototxt, weights = model_files(args)
    net = load_net(prototxt, weights)
    task = args.task or task_of(net)
    if task == "cfm":
        raise ConfigError(GIVEN_REGIONS.format(prototxt=prototxt, weights=weights, target=args.to,
                                               output=args.output))
    number = blob_of(net, "cls_prob").shape[1]
    classes = class_names(number, args.classes, known_classes(weights))
    settings = TestSettings.of(cfg)
    images = image_files(args.check or [default_images()])
    said = write(net, settings, classes, images, Target(task, args.to, Path(args.output)))
    print(f"Wrote {args.output}: data, im_info, image_size -> {', '.join(FOUND[task])}; "
          f"{HOW[task][settings.voting is not None]}")
    for line in said:
        print(line)
    for what in left_out(settings):
        print(f"Not in it: {what}")
    return 0


@dataclass(frozen=True)
class Target:
    """What is to be written."""

    task: str
    kind: str
    path: Path


def write(net, settings, classes: Sequence[str], images: Sequence[Path],
          to: Target) -> list[str]:
    """Write the file, hold it against the net on the images; what to say of it."""
    import torch

    from caffe.export import Form, write_file
    from mnc.data.images import read_image
    from mnc.inference.agreement import Agreement
    from mnc.inference.onnx_model import Facts, prepared
    from mnc.inference.whole import WholeNet, described

    whole = WholeNet(net, settings, to.task)
    facts = Facts(tuple(classes), tuple(settings.pixel_means.ravel()), settings.scales[0],
                  settings.max_size, settings.mask.threshold)
    pictures = [read_image(image) for image in images]
    agreement = Agreement(net, settings, pictures, facts, to.task)
    given = {name: torch.from_numpy(value) for name, value in
             prepared(pictures[0], facts).items()}
    form = Form(dynamic={"data": (2, 3)}, about=described(settings, classes))
    written = write_file(whole, to.path, to.kind, given, agreement.hold, form=form)
    foreign = [f"It needs `import caffe.ops` where it is loaded, for {', '.join(written.foreign)}"]
    return [agreement.said, *(foreign if written.foreign else [])]
