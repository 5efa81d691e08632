"""The `mnc` command; tools/*.py are its parts under their old names.

Each command is a function of the parsed arguments that returns the exit status.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import caffe
from caffe.extend import keep_freed_memory
from mnc.benchmarks.nets import add_benchmark_arguments, run_benchmark
from mnc.commands import demo as demos
from mnc.commands.ablation import add_ablation_arguments, run_ablation
from mnc.commands.compare import add_compare_arguments, run_compare
from mnc.commands.test import (
    add_evaluate_arguments,
    add_test_arguments,
    folder_name,
    run_evaluate,
    run_test,
)
from mnc.config import ConfigError, cfg, cfg_from_file, cfg_from_list, get_output_dir
from mnc.data import DataError, get_dataset
from mnc.data.classes import class_names
from mnc.data.folders import image_files
from mnc.inference import workers
from mnc.inference.cascade import PRECISIONS, load_net
from mnc.instances import InferenceError
from mnc.nets import NETS, NetError, generate
from mnc.nets.fit import TrainingError
from mnc.nets.settings import find_settings
from mnc.training.loop import train

USER_ERRORS = (caffe.CaffeError, ConfigError, DataError, InferenceError, NetError, TrainingError,
               ImportError, OSError)


def main(argv: list[str] | None = None) -> int:
    """Run `mnc COMMAND …`; what a user can put right ends with a line on stderr and status 1."""
    keep_freed_memory()
    args = parser().parse_args(argv)
    level = logging.INFO if workers.rank() == 0 else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s")
    try:
        if workers.count() > 1 and args.command != "test":
            raise ConfigError(f"mnc {args.command} is work for one process: start it without "
                              "torchrun")
        configure(args)
        return args.run(args)
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mnc", description="Multi-task Network Cascades")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, add_arguments) in COMMANDS.items():
        sub = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        sub.set_defaults(run=run, own_settings=lambda args: None)
        add_arguments(sub)
        sub.add_argument("--gpu", default=None, metavar="ID",
                         help="GPU to use, or `cpu` (default: GPU 0 if there is one)")
        sub.add_argument("--cpu", action="store_true", help="compute on the CPU")
        sub.add_argument("--precision", choices=PRECISIONS,
                         help="of convolutions and matrix products: tf32 rounds their inputs on a "
                              "GPU, bf16 (tests only) computes in bfloat16 (default: "
                              "TEST.PRECISION, fp32)")
        sub.add_argument("--cfg", dest="cfg_file", metavar="FILE",
                         help="configuration laid over the defaults; without it test and demo "
                              "take the net's own")
        sub.add_argument("--set", dest="set_cfgs", nargs=argparse.REMAINDER, default=[],
                         metavar="KEY VALUE",
                         help="single configuration keys; all that follows is read as such pairs")
    return top


def configure(args: argparse.Namespace) -> None:
    """Configuration and device, as the arguments say; without --cfg the command finds its own."""
    if args.cfg_file:
        cfg_from_file(args.cfg_file)
    else:
        args.own_settings(args)
    if args.set_cfgs:
        cfg_from_list(args.set_cfgs)
    if args.precision:
        cfg.TEST.PRECISION = args.precision
    choose_device(args.gpu, args.cpu)
    tf32 = cfg.TEST.PRECISION == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def choose_device(gpu: str | None, cpu: bool) -> None:
    if cpu or gpu == "cpu" or (gpu is None and not torch.cuda.is_available()):
        caffe.set_mode_cpu()
        return
    if gpu is not None and not gpu.isdigit():
        raise ConfigError(f"--gpu takes a number or `cpu`, got {gpu!r}")
    cfg.GPU_ID = cfg.GPU_ID + workers.local_rank() if gpu is None else int(gpu)
    caffe.set_mode_gpu()
    caffe.set_device(cfg.GPU_ID)


# --- train ---------------------------------------------------------------------------------------

def run_train(args: argparse.Namespace) -> int:
    """train a net"""
    if args.precision == "bf16":
        raise ConfigError("--precision bf16 is for tests; training takes fp32 or tf32")
    if not args.rand:
        np.random.seed(cfg.RNG_SEED)
        caffe.set_random_seed(cfg.RNG_SEED)
    if args.weights and not Path(args.weights).is_file():
        raise TrainingError(f"{args.weights}: no such weight file; {_origin_of(args.weights)}")
    dataset = get_dataset(args.imdb)
    output = Path(args.out or get_output_dir(folder_name(args.imdb)))
    solver = args.solver or _generated(args.net, args.task, dataset, output)
    print(f"Output will be saved to `{output}`", flush=True)
    train(solver, dataset, output, args.weights, args.iters, resume=args.resume)
    return 0


def _origin_of(weights: str) -> str:
    if weights.endswith(".mask.caffemodel"):
        return "tools/make_mask_init.py makes it from an ImageNet model (models/README.md)"
    return "models/README.md says where initial weights come from"


def _generated(net: str | None, task: str, dataset, output: Path) -> Path:
    """The solver of a net made for this data set, in the output folder."""
    if net is None:
        raise TrainingError("name a solver file (--solver), or a net to generate "
                            f"(--net {' or '.join(NETS)})")
    anchors = len(cfg.ANCHOR_SCALES) * len(cfg.ANCHOR_RATIOS)
    return generate(net, task, output / "net", classes=len(dataset.classes), anchors=anchors)[-1]


def _train_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--solver", metavar="FILE", help="solver.prototxt")
    p.add_argument("--net", choices=NETS,
                   help="instead of --solver: generate this net for the data set")
    p.add_argument("--task", default="mnc_5stage", help="with --net (default %(default)s)")
    p.add_argument("--iters", type=int, default=40000,
                   help="iterations in all (default %(default)s)")
    p.add_argument("--weights", metavar="FILE", help="initial weights (.caffemodel or .h5)")
    p.add_argument("--resume", metavar="FILE", help="go on from this .solverstate.h5")
    p.add_argument("--imdb", default="voc_2012_seg_train", help="data set (default %(default)s)")
    p.add_argument("--rand", action="store_true", help="seed from the clock, not from cfg.RNG_SEED")
    p.add_argument("--out", metavar="DIR", help="default: output/EXP_DIR/IMDB")


# --- demo ----------------------------------------------------------------------------------------

def run_demo(args: argparse.Namespace) -> int:
    """draw the instances in images; with --scenes, the whole job on generated scenes"""
    if args.scenes:
        demos.scenes_demo(Path(args.out), args.iters, args.images)
        return 0
    prototxt, weights = demo_model(args)
    net = load_net(prototxt, weights, cfg.TEST.PRECISION)
    classes = class_names(net.blobs["cls_prob"].shape[1], args.classes)
    paths = image_files(args.image or [default_images()])
    if args.image and weights == demos.MINI.weight_file:
        print("Mini's own weights know the shapes of the drawn scenes, nothing of photographs; "
              "others: --def, --net, --cfg", flush=True)
    wrong = demos.draw_files(net, paths, Path(args.out), classes, args.score)
    print(f"{len(paths) - len(wrong)} pictures and index.html in {args.out}", flush=True)
    for problem in wrong:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if wrong else 0


def demo_model(args: argparse.Namespace) -> tuple[Path, Path]:
    """(prototxt, weights): those named, else those of the model that is there."""
    model = demos.MINI if args.scenes else demos.default_model()
    return (Path(args.prototxt or model.path("test.prototxt")),
            Path(args.caffemodel or model.weight_file))


def take_demo_settings(args: argparse.Namespace) -> None:
    prototxt, weights = demo_model(args)
    own = find_settings([prototxt], [weights])
    if own:
        cfg_from_file(own)


def default_images() -> str:
    """data/demo, or the held-out scenes where that is not there."""
    folder = Path(cfg.DATA_DIR) / "demo"
    return str(folder if folder.is_dir() else Path(get_dataset("scenes_val").image_path(0)).parent)


def _demo_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_demo_settings)
    p.add_argument("image", nargs="*", metavar="IMG",
                   help="image files or folders (default: data/demo)")
    p.add_argument("--out", default="output/demo", metavar="DIR",
                   help="for pictures and index.html (default %(default)s)")
    p.add_argument("--def", dest="prototxt", metavar="FILE",
                   help="test.prototxt (default: VGG16's if data/mnc_model has its weights, "
                        "else Mini's)")
    p.add_argument("--net", dest="caffemodel", metavar="FILE", help="weights (default: likewise)")
    p.add_argument("--classes", metavar="FILE",
                   help="names of the classes, one a line, without the background")
    p.add_argument("--score", type=float, default=0.5,
                   help="least score drawn (default %(default)s)")
    p.add_argument("--scenes", action="store_true",
                   help="draw scenes, train Mini on them a little, test it, draw the results")
    p.add_argument("--iters", type=int, default=300,
                   help="with --scenes: training iterations (default %(default)s)")
    p.add_argument("--images", type=int, default=100,
                   help="with --scenes: images to test on (default %(default)s)")


Run = Callable[[argparse.Namespace], int]
AddArguments = Callable[[argparse.ArgumentParser], None]
COMMANDS: dict[str, tuple[Run, AddArguments]] = {
    "train": (run_train, _train_arguments),
    "test": (run_test, add_test_arguments),
    "evaluate": (run_evaluate, add_evaluate_arguments),
    "compare": (run_compare, add_compare_arguments),
    "ablation": (run_ablation, add_ablation_arguments),
    "benchmark": (run_benchmark, add_benchmark_arguments),
    "demo": (run_demo, _demo_arguments),
}


if __name__ == "__main__":
    sys.exit(main())
