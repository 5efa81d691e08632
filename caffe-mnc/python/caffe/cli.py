# PYTHON_ARGCOMPLETE_OK
"""The `caffe` command: `caffe train|test|time|device_query FLAGS`, and every tool by its name.

The flags are read here, without torch: help and mistakes in them answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from caffe.commands.flags import Flag, help_text, parse
from caffe.commands.registration import ACTIONS, TOOLS, UsageError, entry
from caffe.engine.allocator import keep_freed_memory
from caffe.engine.registry import nearest
from caffe.engine.version import VERSION

FLAGS = (
    Flag("gpu", str, "", "GPUs to compute on: numbers separated by commas, or all; without it, the "
                         "CPU (train: what the solver file says). train: a worker for each"),
    Flag("cpu", bool, False, "train: compute on the CPU, whatever the solver file says"),
    Flag("solver", str, "", "train: the solver file"),
    Flag("model", str, "", "test, time: the file of the net"),
    Flag("phase", str, "", "time: TRAIN or TEST (default TRAIN)"),
    Flag("level", int, 0, "level of the net, for include and exclude rules"),
    Flag("stage", str, "", "stages of the net, for include and exclude rules, separated by commas"),
    Flag("snapshot", str, "", "train: solver state to go on from, a folder of them, or auto: the "
                              "newest good one of this solver, if there is any"),
    Flag("weights", str, "", "train: weights to start from, test: weights; several files separated "
                             "by commas"),
    Flag("iterations", int, 50, "test, time: number of passes"),
    Flag("ap_version", str, "", "test: of a net that ends in DetectionEvaluate, its average "
                                "precisions: 11point, MaxIntegral or Integral"),
    Flag("sigint_effect", str, "stop", "train: what SIGINT (Ctrl-C) does: snapshot, stop or none"),
    Flag("sighup_effect", str, "snapshot", "train: what SIGHUP does: snapshot, stop or none"),
    Flag("precision", str, "fp32", "train: of convolutions and matrix products, fp32 or bf16; "
                                   "weights and all else stay float32"),
    Flag("ema", float, 0.0, "train: keep a moving average of the weights with this decay, such as "
                            "0.999; tests and snapshots are of it"),
    Flag("keep", int, 0, "train: leave the newest so many snapshots on disk (default: all)"),
    Flag("lock", bool, True, "train: refuse to write snapshots that another training writes"),
    Flag("check_data", bool, False, "train: decode every image of the data layers first"),
    Flag("metrics", bool, False, "train: write the losses, outputs of tests, rate and speed as "
                                 "PREFIX_metrics.jsonl beside the snapshots; caffe watch shows "
                                 "them"),
    Flag("tensorboard", bool, False, "train: the same for TensorBoard, in PREFIX_tensorboard"),
    Flag("workers", int, 0, "train: so many workers on CPUs, which train together"),
    Flag("compress", str, "", "train by several workers: bf16 sends gradients in half the bytes"),
    Flag("sync_bn", bool, False, "train by several workers: BatchNorm and BN take the statistics "
                                 "of all of them"),
    Flag("worker_limit", float, 300.0, "train by several workers: seconds until one that does not "
                                       "come counts as hanging"),
    Flag("log_all_workers", bool, False, "train: lines of every worker, not of worker 0 alone"),
    Flag("on_nan", str, "stop", "train: where the loss is not finite: stop, skip the update, or "
                                "ignore it"),
)


@entry("caffe")
def main(argv: Sequence[str]) -> int:
    """Run `caffe COMMAND FLAGS`; returns the exit status."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
    keep_freed_memory()
    if argv and argv[0] in TOOLS:
        return TOOLS.get(argv[0])(argv[1:])
    flags, words = parse(argv, FLAGS, usage(), f"caffe version {VERSION}")
    if not words:
        print(help_text(FLAGS, usage()), file=sys.stderr)
        return 1
    if words[0] not in ACTIONS:
        known = [*ACTIONS.names(), *TOOLS.names()]
        raise UsageError(f'unknown command "{words[0]}"'
                         f"{nearest(words[0], known, 'caffe --help lists them')}")
    if len(words) > 1:
        raise UsageError(f"{words[0]} takes flags only; what is {words[1]!r}?")
    return ACTIONS.get(words[0])(flags)


def usage() -> str:
    actions = "".join(f"\n  {name:16}{ACTIONS.summary(name)}" for name in ACTIONS.names())
    tools = "".join(f"\n  {name:28}{TOOLS.summary(name)}" for name in TOOLS.names())
    return (f"usage: caffe COMMAND FLAGS\n\ncommands:{actions}\n\n"
            f"tools, also commands of their own; --help after the name tells more:{tools}")


def complete() -> None:
    """Answer the shell's Tab, where the package argcomplete is installed; else do nothing."""
    try:
        import argcomplete
    except ImportError:
        return
    p = argparse.ArgumentParser(prog="caffe")
    p.add_argument("command", choices=(*ACTIONS.names(), *TOOLS.names()))
    p.add_argument("files", nargs="*")
    typed = os.environ.get("COMP_LINE", "").split()
    for flag in () if typed[1:] and typed[1] in TOOLS else FLAGS:       # theirs would load torch
        p.add_argument(f"--{flag.name}", nargs="?" if flag.kind is bool else None)
    argcomplete.autocomplete(p)


if __name__ == "__main__":
    sys.exit(main())
