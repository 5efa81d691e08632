"""What a command runs in: log, configuration, device, and errors that end with one line.

mnc.cli imports it when it knows the command: it loads torch.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

import torch

import caffe
from caffe.extend import keep_freed_memory, load_plugin, start_workers, together, workers
from mnc.commands.registration import COMMANDS
from mnc.config import ConfigError, cfg, cfg_from_file, cfg_from_list
from mnc.data import DataError
from mnc.data.classes import read_classes
from mnc.instances import InferenceError
from mnc.nets import NetError

USER_ERRORS = (caffe.CaffeError, ConfigError, DataError, InferenceError, NetError, ImportError,
               OSError, SyntaxError)


def run(args: argparse.Namespace) -> int:
    """Run the command of the parsed arguments; returns its exit status.

    What a user can put right ends with a line on stderr and status 1.
    """
    keep_freed_memory()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)       # training has its own meanwhile
    show_log(logging.INFO if workers.rank() == 0 else logging.WARNING)
    try:
        for plugin in getattr(args, "plugin", None) or ():
            load_plugin(plugin)
        wanted = wanted_workers(args)
        if wanted > 1 and workers.count() == 1:
            return start_workers(wanted)
        with together(getattr(args, "log_all_workers", False)) as args.team:
            if COMMANDS[args.command].settings:
                configure(args)
            if COMMANDS[args.command].device:
                compute_on_device(args)
            return args.run(args)
    except USER_ERRORS as error:
        # with what was noted on it: the layer of a user's module, what is Python 2 there
        print("error:", ", ".join((str(error), *getattr(error, "__notes__", ()))), file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        terminated = isinstance(error, Terminated)
        print("terminated" if terminated else "interrupted", file=sys.stderr)
        return 128 + (signal.SIGTERM if terminated else signal.SIGINT)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what Ctrl-C would keep is kept."""


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def show_log(level: int) -> None:
    """Lines of mnc from this level on go to stderr; other libraries' from warnings on."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("mnc").setLevel(level)


def wanted_workers(args: argparse.Namespace) -> int:
    """How many are to work on the command: a process a GPU that --gpu names, or --workers.

    Raises ConfigError where several cannot.
    """
    gpus, asked = _listed(getattr(args, "gpu", None)), getattr(args, "workers", None)
    _check_gpus(args)
    if asked and gpus:
        raise ConfigError("give --gpu 0,1, which starts a worker on each of these GPUs, or "
                          "--workers 2, two on CPUs; not both")
    wanted = asked or max(1, len(gpus))
    if max(wanted, workers.count()) > 1 and not COMMANDS[args.command].shared:
        raise ConfigError(f"mnc {args.command} is work for one process: start it without "
                          "torchrun, on one GPU")
    if asked and workers.count() > 1 and asked != workers.count():
        raise ConfigError(f"--workers {asked}, but torchrun has started {workers.count()}")
    return wanted


def _check_gpus(args: argparse.Namespace) -> None:
    """ConfigError, before any worker starts, where GPUs are named and there are none."""
    gpu = getattr(args, "gpu", None)
    if gpu in (None, "cpu") or getattr(args, "cpu", False) or torch.cuda.is_available():
        return
    if COMMANDS[args.command].device:
        several = " or --workers N" if COMMANDS[args.command].shared else ""
        raise ConfigError(f"--gpu {gpu}: PyTorch finds no CUDA device here; say --cpu{several} to "
                          "compute on the CPU, or install a CUDA build of PyTorch")


def _listed(gpu: str | None) -> list[int]:
    """The GPUs in the text of --gpu; none for `cpu`."""
    if gpu in (None, "cpu"):
        return []
    if gpu == "all":
        return list(range(torch.cuda.device_count()))
    if not all(each.isdigit() for each in str(gpu).split(",")):
        raise ConfigError(f"--gpu takes numbers with commas between, all or `cpu`, got {gpu!r}")
    return [int(each) for each in str(gpu).split(",")]


def configure(args: argparse.Namespace) -> None:
    """cfg, as the arguments say; without --cfg the command finds its own."""
    if args.cfg_file:
        cfg_from_file(args.cfg_file)
    else:
        args.own_settings(args)
    if args.set_cfgs:
        cfg_from_list(args.set_cfgs)
    take_classes(args)
    if getattr(args, "precision", None):
        cfg[args.phase].PRECISION = args.precision
    if getattr(args, "backend", None):
        cfg.TEST.BACKEND = args.backend
    if getattr(args, "calibrate", None):
        if cfg.TEST.PRECISION != "int8":
            raise ConfigError("--calibrate is for --precision int8")
        cfg.TEST.CALIBRATE = args.calibrate


def compute_on_device(args: argparse.Namespace) -> None:
    """The device that the arguments name, with the precision that cfg has."""
    choose_device(args.gpu, args.cpu or bool(getattr(args, "workers", None)))
    tf32 = cfg[args.phase].PRECISION == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def take_classes(args: argparse.Namespace) -> None:
    """cfg.CLASSES become those of --classes, for data whose files have no list of them."""
    if getattr(args, "class_file", None):
        cfg.CLASSES = list(read_classes(args.class_file)[1:])


def choose_device(gpu: str | None, cpu: bool) -> None:
    """Compute on this GPU or the CPU; without either word, on a GPU where there is one."""
    gpus = _listed(gpu)
    if cpu or gpu == "cpu" or (not gpus and not torch.cuda.is_available()):
        caffe.set_mode_cpu()
        return
    number = workers.local_rank()
    if len(gpus) > 1 and number >= len(gpus):
        raise ConfigError(f"--gpu {gpu}: worker {number} of this machine has no GPU of its own")
    cfg.GPU_ID = cfg.GPU_ID + number if not gpus else gpus[number if len(gpus) > 1 else 0]
    caffe.set_mode_gpu()
    caffe.set_device(cfg.GPU_ID)
