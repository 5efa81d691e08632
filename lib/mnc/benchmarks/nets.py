"""How long a net takes, beside the least its convolutions and matrix products could take.

The floor is these products alone, called bare through torch on inputs that exist beforehand:
planes channels-last, inference mode, the same threads, precision and allocator. Net and floor take
turns in one run, so that their ratio survives a machine whose speed drifts.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import caffe
from caffe import ops
from caffe.extend import current_device, keep_freed_memory
from caffe.layer_types import convolution
from mnc.benchmarks.kernels import as_json, kernel_report, measure_kernels
from mnc.benchmarks.timing import seconds, take_turns, wait
from mnc.config import cfg, cfg_from_file
from mnc.data import get_dataset
from mnc.inference.cascade import optimize, run_net, segment_image
from mnc.nets import generate
from mnc.nets.settings import settings_of_net
from mnc.training.loop import SolverWrapper, prepare

GROUPS = ("conv", "stage 1", "stage 2", "stage 3", "stage 4", "stage 5", "others")
CLASSES = 21


# --- the floor -----------------------------------------------------------------------------------

@dataclass(frozen=True)
class Product:
    """A convolution or matrix product, or a gradient of one."""

    layer: str
    what: str               # forward, d input, d weight
    input: tuple[int, ...]
    weight: tuple[int, ...]
    gflop: float
    seconds: float = 0.0


def products(net, train: bool) -> Iterator[tuple[Product, Callable[[], object]]]:
    """Every product of the last pass of `net`, described and ready to be called."""
    for layer in net.layers:
        if layer.type in ("Convolution", "InnerProduct"):
            for shape in layer.seen_shapes:
                yield from _products_of(layer, shape, train, _precision(net))


def _precision(net) -> torch.dtype:
    return torch.bfloat16 if cfg.TEST.PRECISION == "bf16" else net.dtype


def _products_of(layer, shape: tuple[int, ...], train: bool, dtype: torch.dtype):
    weight, *bias = (blob.tensor.detach().to(dtype) for blob in layer.blobs)
    d_input = train and layer.bottom_needs_gradient[0]
    d_weight = train and layer.blob_needs_gradient[0]
    if layer.type == "Convolution":
        x = _last(torch.randn(shape, device=weight.device, dtype=dtype))
        weight, window = _last(weight), layer.window
        places = (window.stride, window.pad, window.dilation)
        y = F.conv2d(x, weight, None, *places, layer.group)
        forward = lambda: F.conv2d(x, weight, *(bias or [None]), *places, layer.group)  # noqa: E731

        def backward(mask):
            return lambda: torch.ops.aten.convolution_backward(
                y, x, weight, None, *places, False, (0, 0), layer.group, (*mask, False))
        to_input, to_weight = backward((True, False)), backward((False, True))
    else:
        x = torch.randn(shape[0], layer.inputs, device=weight.device, dtype=dtype)
        y = torch.randn(shape[0], layer.outputs, device=weight.device, dtype=dtype)
        forward = lambda: F.linear(x, weight, *(bias or [None]))    # noqa: E731
        to_input, to_weight = (lambda: y @ weight), (lambda: y.T @ x)
    gflop = 2e-9 * y.numel() * weight[0].numel()
    for what, call, wanted in (("forward", forward, True), ("d input", to_input, d_input),
                               ("d weight", to_weight, d_weight)):
        if wanted:
            yield Product(layer.name, what, tuple(x.shape), tuple(weight.shape), gflop), call


def _last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


# --- the parts of the net ------------------------------------------------------------------------

class Stopwatch:
    """Adds up the seconds of the layers of a net, by part of the cascade."""

    def __init__(self, net) -> None:
        self.net, self.took = net, dict.fromkeys(GROUPS, 0.0)
        names, backbone_ends = list(net.layer_dict), _first(net, "rpn_conv_3x3")
        self.group = [_group(name, i < backbone_ends) for i, name in enumerate(names)]
        for direction in ("forward", "backward"):
            getattr(net, f"before_{direction}")(self._start)
            getattr(net, f"after_{direction}")(self._stop)

    def _start(self, layer: int) -> None:
        wait()
        self.started = time.perf_counter()

    def _stop(self, layer: int) -> None:
        wait()
        self.took[self.group[layer]] += time.perf_counter() - self.started

    def run(self, work: Callable[[], object]) -> dict[str, float]:
        """Seconds of each part in one run of `work`; what lies between the layers is "others"."""
        self.took = dict.fromkeys(GROUPS, 0.0)
        whole = seconds(work)
        self.took["others"] += whole - sum(self.took.values())
        return self.took


def _first(net, layer: str) -> int:
    names = list(net.layer_dict)
    return names.index(layer) if layer in names else len(names)


def _group(layer: str, backbone: bool) -> str:
    """The part of the cascade that a layer belongs to, as in the paper's Table 3."""
    if backbone:
        return "conv" if layer.startswith(("conv", "relu", "pool", "res", "bn", "scale")) \
            else "others"
    second_pass = "_ext" in layer
    if layer.startswith(("rpn", "proposal")):
        return "stage 1"
    if layer.startswith(("roi_interpolate", "fc6_maskest", "relu6_maskest", "mask_pred",
                         "mask_output", "mask_proposal")) and "box" not in layer \
            and not layer.startswith("roi_interpolate_conv5_mask"):
        return "stage 4" if second_pass else "stage 2"
    return "stage 5" if second_pass else "stage 3"


# --- what is timed -------------------------------------------------------------------------------

def fill_blank(net) -> None:
    """Draw the parameters that are all zero, so that activations keep their size (He et al.), which
    is about 1 after the first layer and smaller in predictions: then RoIs are spread over the
    image, as in a trained net.
    """
    generator = torch.Generator().manual_seed(0)
    for name, blobs in net.params.items():
        weight = blobs[0].tensor
        if weight.dim() > 1 and not weight.any():
            first = weight.shape[1] == 3
            size = 0.01 if first else 0.1 if "pred" in name or "score" in name else 1.0
            deviation = size * (2 / weight[0].numel()) ** 0.5
            weight.normal_(0, deviation, generator=generator)


def noise_image(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: smooth random blobs, which survive JPEG and resizing."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def one_image_data(folder: Path, image: np.ndarray):
    """A data set of this image with eight rectangles to learn."""
    height, width = image.shape[:2]
    cv2.imwrite(str(folder / "image.png"), image)
    boxes = [(x * width // 4 + 10, y * height // 2 + 10, width // 5, height // 3)
             for x in range(4) for y in range(2)]
    found = [{"id": i + 1, "image_id": 1, "category_id": i + 1, "iscrowd": 0, "area": w * h,
              "bbox": [x, y, w, h],
              "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
             for i, (x, y, w, h) in enumerate(boxes)]
    content = {"images": [{"id": 1, "file_name": "image.png", "height": height, "width": width}],
               "annotations": found,
               "categories": [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES)]}
    (folder / "image.json").write_text(json.dumps(content))
    return get_dataset(f"coco:{folder / 'image.json'}:{folder}")


@dataclass
class Subject:
    """A net, what one run of it is, and the same on the straightforward port."""

    net: object
    works: dict[str, Callable[[], object]]
    reference: Callable[[], object] | None


@contextmanager
def straightforward() -> Iterator[None]:
    """Layers one by one, planes in Caffe's order, region layers by their vectorised references."""
    convolution.CHANNELS_LAST = False
    try:
        with ops.references():
            yield
    finally:
        convolution.CHANNELS_LAST = True


def testing(args, image: np.ndarray, folder: Path) -> Subject:
    prototxt = next(p for p in generate(args.net, args.task, folder, classes=CLASSES)
                    if p.name == "test.prototxt")
    nets = [caffe.Net(str(prototxt), caffe.TEST) for _ in range(1 + args.reference)]
    net = nets[0]
    if args.weights:
        net.copy_from(args.weights, required=True)
    fill_blank(net)
    optimize(net, cfg.TEST.PRECISION)
    works = {"net": lambda: run_net(net, image, cfg, min(image.shape[:2])),
             "image to masks": lambda: segment_image(net, image, cfg)}
    cfg.TEST.SCALES = (min(image.shape[:2]),)
    reference = None
    if args.reference:
        plain = nets[1]
        plain.share_with(net)

        def reference():
            with straightforward():
                run_net(plain, image, cfg, min(image.shape[:2]))
    return Subject(net, works, reference)


def training(args, image: np.ndarray, folder: Path) -> Subject:
    cfg.TRAIN.SCALES = (min(image.shape[:2]),)
    cfg.TRAIN.USE_FLIPPED = False
    dataset = one_image_data(folder, image)
    solver_file = generate(args.net, args.task, folder / "net", classes=CLASSES)[-1]
    wrapper = SolverWrapper(solver_file, *prepare(dataset, False), folder, args.weights)
    fill_blank(wrapper.solver.net)
    solver = wrapper.solver
    solver.param.iter_size = 1          # an iteration is one image here

    def reference():
        with straightforward():
            solver.step(1)
    return Subject(solver.net, {"net": lambda: solver.step(1)},
                   reference if args.reference else None)


# --- the report ----------------------------------------------------------------------------------

def peak_memory() -> float:
    """GB this process has held at most: of the GPU if it computes there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def machine() -> dict[str, object]:
    """What the figures depend on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines()
                    if line.startswith("model name")), cpu)
    return {"cpu": cpu, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "keeps freed memory": keep_freed_memory(),
            "allocator": {k: v for k, v in os.environ.items()
                          if k.startswith(("MALLOC_", "LD_PRELOAD"))}}


def sizes_of(net) -> dict[str, float]:
    """GB of the weights and of the three largest blobs of the last pass."""
    item = torch.finfo(net.dtype).bits / 8e9
    largest = sorted({id(blob): blob.count for blob in net.blobs.values()}.values())[-3:]
    return {"weights": item * sum(blob.count for blob in net.learnable_params),
            "three largest blobs": item * sum(largest)}


def measure(args: argparse.Namespace) -> dict:
    """Everything the report says."""
    height, width = (int(n) for n in args.size.split("x"))
    image = cv2.imread(args.image) if args.image else noise_image(height, width)
    train = args.phase == "train"
    with tempfile.TemporaryDirectory() as folder:
        before = peak_memory()
        subject = (training if train else testing)(args, image, Path(folder))
        take_turns(subject.works, 1)
        peak = peak_memory()
        floor = list(products(subject.net, train))
        calls = [call for _, call in floor]

        def bare():
            with torch.inference_mode():
                for call in calls:
                    call()
        works = {**subject.works, "floor": bare}
        if subject.reference:
            works["reference"] = subject.reference
        times = take_turns(works, args.repeat)
        with torch.inference_mode():
            alone = [seconds(call) for call in calls]
        watch = Stopwatch(subject.net)      # last: on a GPU it makes every layer wait
        parts = [watch.run(subject.works["net"]) for _ in range(3)]
    ratios = [net / least for net, least in zip(times["net"], times["floor"])]
    return {"net": args.net, "task": args.task, "phase": args.phase, "size": [height, width],
            "precision": cfg.TEST.PRECISION, "machine": machine(), "repeat": args.repeat,
            "seconds": {name: median(t) for name, t in times.items()},
            "ratio to floor": median(ratios),
            "parts": {g: median(p[g] for p in parts) for g in GROUPS},
            "memory GB": {"peak": peak, "before the net": before, **sizes_of(subject.net)},
            "floor": [asdict(replace(product, seconds=took))
                      for (product, _), took in zip(floor, alone)]}


def report(found: dict) -> str:
    """The measurements as text."""
    lines = [f"{'layer':28}{'product':10}{'input':24}{'weight':22}{'GFLOP':>8}{'ms':>9}"]
    for p in found["floor"]:
        lines.append(f"{p['layer']:28}{p['what']:10}{_by(p['input']):24}{_by(p['weight']):22}"
                     f"{p['gflop']:8.2f}{1000 * p['seconds']:9.2f}")
    lines += ["", f"{found['net']} {found['task']}, {found['phase']}, {_by(found['size'])}, "
              f"{found['precision']}; {found['machine']}", ""]
    lines += [f"{name:24}{1000 * t:10.1f} ms" for name, t in found["seconds"].items()]
    lines += [f"{'net / floor':24}{found['ratio to floor']:10.2f}", "", "parts of the net:"]
    lines += [f"  {name:22}{1000 * t:10.1f} ms" for name, t in found["parts"].items()]
    lines += ["", "memory, GB:"]
    lines += [f"  {name:22}{gb:10.2f}" for name, gb in found["memory GB"].items()]
    return "\n".join(lines)


def _by(shape) -> str:
    return "x".join(map(str, shape))


# --- command -------------------------------------------------------------------------------------

def add_benchmark_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=_take_settings)
    p.add_argument("--net", default="VGG16", help="default %(default)s")
    p.add_argument("--task", default="mnc_5stage", help="default %(default)s")
    p.add_argument("--phase", choices=("test", "train"), default="test")
    p.add_argument("--device", choices=("cpu", "cuda"),
                   help="default: the GPU if there is one; --gpu ID chooses among several")
    p.add_argument("--size", default="600x1000", metavar="HxW", help="of the image")
    p.add_argument("--weights", metavar="FILE", help="default: drawn at random")
    p.add_argument("--image", metavar="FILE", help="default: noise")
    p.add_argument("--repeat", type=int, help="runs to take the median of (CPU 3, GPU 10)")
    p.add_argument("--reference", action="store_true",
                   help="also the net as it is without net.optimize and native kernels")
    p.add_argument("--kernels", action="store_true",
                   help="instead of a net: the region operators, each beside a copy and its "
                        "reference")
    p.add_argument("--out", metavar="FILE", help="write the figures as JSON, too")


def _take_settings(args: argparse.Namespace) -> None:
    own = settings_of_net(Path(cfg.ROOT_DIR) / "models" / args.net / args.task / "test.prototxt")
    if own:
        cfg_from_file(own)


def run_benchmark(args: argparse.Namespace) -> int:
    """time a net, beside its convolutions and matrix products alone"""
    logging.getLogger("caffe").setLevel(logging.WARNING)
    if args.device:
        (caffe.set_mode_cpu if args.device == "cpu" else caffe.set_mode_gpu)()
    args.repeat = args.repeat or (10 if torch.cuda.is_available() else 3)
    if args.kernels:
        timings = measure_kernels(current_device())
        text, found = kernel_report(timings), {"machine": machine(), "kernels": as_json(timings)}
    else:
        found = measure(args)
        text = report(found)
    print(text)
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps(found, indent=1) + "\n")
    return 0
