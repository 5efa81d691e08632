"""The runs of `mnc ablation`: a scheme and a seed each, kept as files."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
import yaml

from caffe.extend import atomic_path, current_device
from mnc import results
from mnc.commands.ablation_table import MEASURES, Run
from mnc.config import ConfigError, cfg
from mnc.data import get_dataset
from mnc.data.hashes import file_hash, value_hash
from mnc.inference import load_net, test_dataset
from mnc.inference.calibration import arithmetic
from mnc.project import project_file
from mnc.schemes import ITERATIONS, SCHEMES
from mnc.training.schemes import DECAY, Places, seed, train_scheme


def finished(name: str, number: int, folder: Path, args: argparse.Namespace) -> Run:
    """The result of a run: from its file, else by running it and writing the file."""
    path = folder / f"{args.net}_{name}_seed{number}.json"
    wanted = description(name, number, args)
    if path.exists():
        found = json.loads(path.read_text())
        different = [key for key, value in wanted.items() if found.get(key) != value]
        if different:
            raise ConfigError(f"{path}: this run was made with other settings "
                              f"({', '.join(different)}); move it away or name another --results")
        print(f"{path} is there: not run again", flush=True)
        return found
    print(f"scheme {name}, seed {number}: {SCHEMES[name].title}", flush=True)
    found = {**wanted, **one_run(name, number, args)}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n")
    return found


def description(name: str, number: int, args: argparse.Namespace) -> Run:
    """What a run is, known before it is run."""
    train, test = imdbs(args)
    return {"net": args.net, "scheme": name, "title": SCHEMES[name].title, "seed": number,
            "iterations": iterations(args), "imdb": train, "test_imdb": test,
            "settings_sha256": settings_hash(name, args)}


def settings_hash(name: str, args: argparse.Namespace) -> str:
    """Of the steps, their nets, solvers, configurations and initial weights, by content."""
    scheme, where = SCHEMES[name], places(args)
    content = [repr(scheme), DECAY, file_hash(args.weights) if args.weights else None]
    for task in dict.fromkeys([*(step.task for step in scheme.steps), scheme.test]):
        content += [where.prototxt(task, phase).read_text() for phase in ("train", "test")]
        solver = where.prototxt(task, "solver").read_text().splitlines()
        content += [line for line in solver if not line.startswith(("train_net", "#"))]
        content.append(yaml.safe_load((where.cfgs / f"{task}.yml").read_text()))
    content.append(list(args.set_cfgs))
    return value_hash(content)


def one_run(name: str, number: int, args: argparse.Namespace) -> Run:
    """Train and test; figures from 0 to 1, times in seconds."""
    train, test = map(get_dataset, imdbs(args))
    scheme, where, began = SCHEMES[name], places(args), time.monotonic()
    seed(number)
    weights = train_scheme(scheme, where, train, Path(args.out, args.net, f"{name}_seed{number}"),
                           iterations(args), args.weights)
    trained = time.monotonic()
    with where.configuration(scheme.test):
        net = load_net(where.prototxt(scheme.test, "test"), weights, **arithmetic(cfg))
        found = test_dataset(net, test, cfg)
        figures = results.measure(test, found, "seg", cfg.BINARIZE_THRESH)
    return {**{key: round(figures[key], 5) for key in (*MEASURES, "mAP^r_vol")},
            "train_seconds": round(trained - began, 1),
            "test_seconds": round(time.monotonic() - trained, 1),
            "device": device(), "torch": torch.__version__}


def device() -> str:
    if current_device().type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name(cfg.GPU_ID)


def places(args: argparse.Namespace) -> Places:
    return Places(Path(args.models or project_file("models", args.net)),
                  Path(args.cfgs or project_file("experiments", "cfgs", args.net)),
                  args.set_cfgs[::2])


def imdbs(args: argparse.Namespace) -> tuple[str, str]:
    """To train on, to test on."""
    default = "scenes" if args.net == "Mini" else "voc_2012_seg"
    return args.imdb or f"{default}_train", args.test_imdb or f"{default}_val"


def iterations(args: argparse.Namespace) -> int:
    return args.iters or ITERATIONS.get(args.net, 25000)
