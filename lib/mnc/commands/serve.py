"""`mnc serve`: a page where pictures are dropped and their instances seen, and a JSON interface."""

from __future__ import annotations

import argparse

from mnc.commands.demo import model_files, take_settings
from mnc.commands.model_flags import add_model_arguments
from mnc.commands.registration import count
from mnc.config import value_of


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_settings, scenes=False)
    add_model_arguments(p, " (default: VGG16 if data/mnc_model has its weights, else Mini)")
    p.add_argument("--classes", metavar="FILE",
                   help="names of the classes, one a line, without the background, or a COCO .json "
                        "(default: those that the net was trained with)")
    p.add_argument("--host", default="127.0.0.1",
                   help="address to listen on (default %(default)s: this machine alone; 0.0.0.0: "
                        "whoever reaches it, there is no password)")
    p.add_argument("--port", type=count, default=8000, help="default %(default)s")
    p.add_argument("--waiting", type=count, default=32, metavar="N",
                   help="images that may wait; more are told to come later (default %(default)s)")
    p.add_argument("--megabytes", type=count, default=20, metavar="N",
                   help="the most of a request (default %(default)s)")
    p.add_argument("--megapixels", type=count, default=50, metavar="N",
                   help="the most of an image (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    from caffe.extend import need

    for module in ("fastapi", "uvicorn", "python_multipart"):
        need(module, package="'mnc-caffe[serve]'", feature="mnc serve")
    import uvicorn

    from mnc.data.classes import read_classes
    from mnc.segmenter import Segmenter
    from mnc.serving.app import Limits, create_app

    prototxt, weights = model_files(args)
    classes = read_classes(args.classes)[1:] if args.classes else None
    own = {key: value_of(key) for key in args.set_cfgs[::2]}
    if args.precision:
        own["TEST.PRECISION"] = args.precision
    if args.backend:
        own["TEST.BACKEND"] = args.backend
    segmenter = Segmenter(prototxt, weights, config=args.cfg_file, settings=own, classes=classes)
    limits = Limits(args.waiting, args.megabytes, args.megapixels)
    print(f"{weights} at http://{args.host}:{args.port}/ (Ctrl-C ends it)", flush=True)
    uvicorn.run(create_app(segmenter, limits), host=args.host, port=args.port, log_level="warning")
    return 0
