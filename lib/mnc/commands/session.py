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
from caffe.extend import keep_freed_memory, load_plugin
from mnc.commands.registration import COMMANDS
from mnc.config import ConfigError, cfg, cfg_from_file, cfg_from_list
from mnc.data import DataError
from mnc.data.classes import read_classes
from mnc.inference import workers
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
        if workers.count() > 1 and args.command != "test":
            raise ConfigError(f"mnc {args.command} is work for one process: start it without "
                              "torchrun")
        if COMMANDS[args.command].runs_nets:
            configure(args)
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


def configure(args: argparse.Namespace) -> None:
    """Configuration and device, as the arguments say; without --cfg the command finds its own."""
    if args.cfg_file:
        cfg_from_file(args.cfg_file)
    else:
        args.own_settings(args)
    if args.set_cfgs:
        cfg_from_list(args.set_cfgs)
    take_classes(args)
    if args.precision:
        cfg[args.phase].PRECISION = args.precision
    if args.backend:
        cfg.TEST.BACKEND = args.backend
    choose_device(args.gpu, args.cpu)
    tf32 = cfg[args.phase].PRECISION == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def take_classes(args: argparse.Namespace) -> None:
    """cfg.CLASSES become those of --classes, for data whose files have no list of them."""
    if getattr(args, "class_file", None):
        cfg.CLASSES = list(read_classes(args.class_file)[1:])


def choose_device(gpu: str | None, cpu: bool) -> None:
    """Compute on this GPU or the CPU; without either word, on a GPU where there is one."""
    if cpu or gpu == "cpu" or (gpu is None and not torch.cuda.is_available()):
        caffe.set_mode_cpu()
        return
    if gpu is not None and not gpu.isdigit():
        raise ConfigError(f"--gpu takes a number or `cpu`, got {gpu!r}")
    cfg.GPU_ID = cfg.GPU_ID + workers.local_rank() if gpu is None else int(gpu)
    caffe.set_mode_gpu()
    caffe.set_device(cfg.GPU_ID)
