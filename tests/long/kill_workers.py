"""Two workers under torchrun that are killed at random and begin again: python tests/long/kill.py workers"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TRAIN = ["-m", "caffe", "train", "--solver=solver.prototxt", "--cpu", "--snapshot=auto"]


def killed(command: Sequence[str], folder: Path, kills: int, rng: random.Random,
           most: int = 2) -> tuple[int, int]:
    """Run the command in `folder` and kill -9 one of its workers so often, each time up to `most`
    snapshots after they began; (exit status, kills). What it says goes to kill.log."""
    with open(folder / "kill.log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    done, seen = 0, set[int]()
    while process.poll() is None:
        workers = [pid for pid in children(process.pid) if b"caffe" in command_line(pid)]
        if done < kills and len(workers) == 2 and not seen & set(workers):
            end = len(snapshots(folder)) + rng.randrange(most + 1)
            while len(snapshots(folder)) < end and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 1 if end else 5))
            victim = rng.choice(workers)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGSTOP)             # one that has ended already does not stop
                seen, done = set(workers), done + stops(victim)
                os.kill(victim, signal.SIGKILL)
        time.sleep(0.05)
    return process.returncode, done


def stops(process: int) -> bool:
    """Whether the process, which SIGSTOP was sent to, is still there and stops."""
    while True:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state in "TZX":
            return state == "T"


def snapshots(folder: Path) -> list[Path]:
    return list(folder.glob("*.solverstate"))


def children(process: int) -> list[int]:
    with suppress(OSError):
        return [int(pid) for pid in
                Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def command_line(process: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""
