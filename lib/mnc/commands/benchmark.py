"""`mnc benchmark`: a net beside its convolutions and matrix products alone, or the kernels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mnc.commands.registration import count
from mnc.config import PRECISIONS, ConfigError, cfg, cfg_from_file

RETRIES = 4         # of what seems slower than it was
SUITE, SUITE_END = "<!-- suite -->", "<!-- end of suite -->"      # what `--into` fills


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.set_defaults(own_settings=take_settings)
    p.add_argument("--net", default="VGG16", help="default %(default)s")
    p.add_argument("--task", default="mnc_5stage", help="default %(default)s")
    p.add_argument("--phase", dest="measured", choices=("test", "train"), default="test")
    p.add_argument("--device", choices=("cpu", "cuda"),
                   help="default: the GPU if there is one; --gpu ID chooses among several")
    p.add_argument("--size", default="600x1000", metavar="HxW", help="of the image")
    p.add_argument("--weights", metavar="FILE", help="default: drawn at random")
    p.add_argument("--image", metavar="FILE", help="default: noise")
    p.add_argument("--repeat", type=count, help="runs to take the median of (CPU 3, GPU 10)")
    p.add_argument("--reference", action="store_true",
                   help="also the net as it is without net.optimize and native kernels")
    p.add_argument("--kernels", action="store_true",
                   help="instead of a net: the region operators, each beside a copy and its "
                        "reference")
    p.add_argument("--peers", action="store_true",
                   help="a net's part before the proposals in this engine and in OpenVINO and ONNX "
                        "Runtime, where they are installed; the whole beside the best of them")
    p.add_argument("--suite", action="store_true",
                   help="instead: small nets, and training steps of LeNet, beside torch modules")
    p.add_argument("--against", metavar="FILE",
                   help="with --suite: figures of an earlier --out; status 1 where a ratio is more "
                        "than a tenth above its")
    p.add_argument("--into", metavar="FILE",
                   help="with --suite: put the table into this page, between its two marks")
    p.add_argument("--compress", choices=("", "bf16"), default="",
                   help="with --workers: gradients go in half the bytes")
    p.add_argument("--batch", type=count, metavar="N",
                   help="with --workers: images of an update, which they share (default: one each)")
    p.add_argument("--out", metavar="FILE", help="write the figures as JSON, too")


def take_settings(args: argparse.Namespace) -> None:
    """cfg becomes that of the net."""
    from mnc.nets.settings import settings_of_net
    from mnc.project import project_file

    own = settings_of_net(project_file("models", args.net, args.task, "test.prototxt"))
    if own:
        cfg_from_file(own)


def run(args: argparse.Namespace) -> int:
    import logging

    import torch

    import caffe
    from caffe.extend import current_device
    from mnc.benchmarks.kernels import as_json, kernel_report, measure_kernels
    from mnc.benchmarks.machine import machine

    if args.calibrate:
        raise ConfigError("a benchmark calibrates with the image it runs on: leave --calibrate out")
    logging.getLogger("caffe").setLevel(logging.WARNING)
    if args.device:
        (caffe.set_mode_cpu if args.device == "cpu" else caffe.set_mode_gpu)()
    if args.kernels:
        timings = measure_kernels(current_device())
        text = kernel_report(timings)
        found: dict[str, object] = {"machine": machine(), "kernels": as_json(timings)}
    elif args.peers:
        text, found = _of_peers(args, args.repeat or 4)
    elif args.suite:
        return _of_the_suite(args, args.repeat or 40)
    else:
        text, found = _of_a_net(args, args.repeat or (10 if torch.cuda.is_available() else 3))
    if args.team.rank:
        return 0
    print(text)
    _write(args.out, found)
    return 0


def _write(file: str | None, found: dict[str, object]) -> None:
    if file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(json.dumps(found, indent=1) + "\n")


def _of_the_suite(args: argparse.Namespace, repeat: int) -> int:
    """Measure, say, compare, write; the exit status."""
    from mnc.benchmarks.suite import (
        elsewhere,
        measure_suite,
        suite_report,
        with_more_turns,
        worse_than,
    )

    stored = json.loads(Path(args.against).read_text()) if args.against else {"suite": []}
    found = measure_suite(repeat)
    for _ in range(RETRIES):    # other programs may have been at work: more turns settle it
        if worse := worse_than(found, stored):
            found = with_more_turns(found, {work for work, _ in worse})
    worse = worse_than(found, stored)
    print(suite_report(found))
    for line in elsewhere(found, stored):
        print(f"not the same machine: {line}")
    for _, line in worse:
        print(f"slower: {line}")
    if args.into:
        page = Path(args.into)
        page.write_text(with_table(page.read_text(), suite_report(found)))
    _write(args.out, found)
    return 1 if worse else 0


def with_table(page: str, table: str) -> str:
    """The page with the table in place of what lies between SUITE and SUITE_END.

    Raises ConfigError for a page without these marks.
    """
    before, mark, rest = page.partition(SUITE)
    _, end, behind = rest.partition(SUITE_END)
    if not mark or not end:
        raise ConfigError(f"--into: the page has no lines {SUITE} and {SUITE_END}")
    return f"{before}{SUITE}\n\n{table}\n\n{SUITE_END}{behind}"


def _of_a_net(args: argparse.Namespace, repeat: int) -> tuple[str, dict[str, object]]:
    """(the report, the figures)"""
    from caffe.extend import Sharing
    from mnc.benchmarks import together
    from mnc.benchmarks.nets import measure, report
    from mnc.benchmarks.subjects import Plan, noise_image
    from mnc.data.images import read_image

    image = read_image(args.image) if args.image else noise_image(*size_of(args.size))
    plan = Plan(args.net, args.task, args.weights, args.reference)
    if args.measured == "train" and cfg.TEST.PRECISION not in PRECISIONS:
        raise ConfigError(f"--precision {cfg.TEST.PRECISION} is for tests; training computes in "
                          f"{', '.join(PRECISIONS)}")
    if args.team.count > 1:
        if args.measured != "train":
            raise ConfigError("--workers is for --phase train: how well they train together")
        sharing = Sharing(compress=args.compress)
        if (args.batch or 0) % args.team.count:
            raise ConfigError(f"--batch {args.batch} is no multiple of {args.team.count} workers")
        shared = together.measure_together(plan, image, args.team, repeat, sharing, args.batch)
        return together.report(shared), shared
    found = measure(plan, image, train=args.measured == "train", repeat=repeat)
    return report(found), found


def _of_peers(args: argparse.Namespace, repeat: int) -> tuple[str, dict[str, object]]:
    """(the report, the figures)"""
    import tempfile

    from mnc.benchmarks.peers import measure_peers, peer_report
    from mnc.benchmarks.subjects import noise_image

    with tempfile.TemporaryDirectory() as folder:
        found = measure_peers(args.net, args.task, noise_image(*size_of(args.size)), Path(folder),
                              precision=cfg.TEST.PRECISION, repeat=repeat)
    return peer_report(found), found


def size_of(text: str) -> tuple[int, int]:
    """(height, width) of HxW; ConfigError if it is none."""
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise ConfigError(f"--size takes HxW in pixels, such as 600x1000; got {text!r}")
    return int(parts[0]), int(parts[1])
