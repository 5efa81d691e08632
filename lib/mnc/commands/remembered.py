"""The arguments of a training, kept in its folder: `mnc train --resume FOLDER` needs no others.

Without torch: they are read before the command line is.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from mnc.config import ConfigError

NAME = "arguments.json"
NOT_KEPT = {"command", "resume", "overwrite", "out", "gpu", "cpu", "workers",
            "team"}      # of this run alone
AUTO = "auto"


def keep(folder: Path, args: argparse.Namespace) -> None:
    """Write the arguments, and the working directory that their paths are named from."""
    kept = {key: value for key, value in vars(args).items()
            if key not in NOT_KEPT and not callable(value)}
    text = json.dumps({"directory": os.getcwd(), "arguments": kept}, indent=1)
    (folder / NAME).write_text(text + "\n")


def going_on(args: argparse.Namespace) -> dict[str, Any]:
    """What the training to go on with was begun with, where the command line says nothing of it.

    Raises ConfigError where its folder does not say.
    """
    if args.resume is None or args.net or args.solver:
        return {}
    place = args.out if args.resume == AUTO else args.resume
    if place is None or (args.resume == AUTO and not Path(place).exists()):
        return {}
    named = Path(place)
    if not named.exists():
        raise ConfigError(f"--resume {named}: no such folder or snapshot")
    folder = named if named.is_dir() else named.parent
    path = folder / NAME
    try:
        content = json.loads(path.read_text())
        kept, directory = dict(content["arguments"]), str(content["directory"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--resume {folder}: {path} does not say how that training began "
                          f"({type(error).__name__}); name --net or --solver, --imdb and --out as "
                          "when it did") from error
    if directory != os.getcwd():
        print(f"warning: {folder} was begun in {directory}, from where its files are named: cd "
              "there if they are not found", file=sys.stderr)
    for one, other in (("iters", "epochs"), ("epochs", "iters")):
        if getattr(args, one) is not None:
            kept[other] = None
    return kept


def command(folder: Path) -> str:
    """What goes on with the training in this folder."""
    tool = Path(sys.argv[0]).resolve().parent / "command.py"
    start = [sys.executable, str(tool)] if tool.is_file() else ["mnc"]
    return shlex.join([*start, "train", "--resume", str(folder)])
