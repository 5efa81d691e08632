"""`mnc serve`: a page where pictures are dropped and their instances seen, and a JSON interface."""

from __future__ import annotations

import argparse
import socket

from mnc.commands.demo import model_files
from mnc.commands.model_flags import add_model_arguments
from mnc.commands.registration import count
from mnc.config import ConfigError, value_of


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(scenes=False)          # the Segmenter takes the net's own settings
    add_model_arguments(p, " (default: VGG16 if data/mnc_model has its weights, else Mini)")
    p.add_argument("--classes", metavar="FILE",
                   help="names of the classes, one a line, without the background, or a COCO .json "
                        "(default: those that the net was trained with)")
    p.add_argument("--host", default="127.0.0.1",
                   help="address to listen on (default %(default)s: this machine alone; 0.0.0.0: "
                        "whoever reaches it, there is no password)")
    p.add_argument("--port", type=port, default=8000,
                   help="default %(default)s; 0: any free one")
    p.add_argument("--waiting", type=count, default=32, metavar="N",
                   help="images that may wait; more are told to come later (default %(default)s)")
    p.add_argument("--megabytes", type=count, default=20, metavar="N",
                   help="the most of a request (default %(default)s)")
    p.add_argument("--megapixels", type=count, default=50, metavar="N",
                   help="the most of an image (default %(default)s)")


def port(text: str) -> int:
    """The type of --port."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port from 0 to 65535, not {text!r}")
    return int(text)


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
    own |= {f"TEST.{key}": getattr(args, key.lower()) for key in (
        "PRECISION", "BACKEND", "CALIBRATE") if getattr(args, key.lower())}
    with listen(args.host, args.port) as listening:     # a taken port is said before the net loads
        segmenter = Segmenter(prototxt, weights, config=args.cfg_file, settings=own,
                              classes=classes)
        limits = Limits(args.waiting, args.megabytes, args.megapixels)
        where = listening.getsockname()[1]
        print(f"{weights} at http://{args.host}:{where}/ (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(uvicorn.Config(create_app(segmenter, limits), log_level="warning"))
        server.run(sockets=[listening])
    return 0


def listen(host: str, number: int) -> socket.socket:
    """The socket to serve on; ConfigError where it cannot be had: before the net is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, number), family=family)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}, port {number}: {error.strerror or error}; "
                          "--port 0 takes any free port") from error
