#!/usr/bin/env python3
"""Fuzz the readers: python tests/fuzz/fuzz.py [--seconds 60] [--seed N] [TARGET ...]

Each target runs in a child process that may take 1 GB of memory more than it has and 5 seconds an
input, of the processor; a minute where it waits. What ends a child, hangs, takes more, or raises an exception that is not one of ours is written
to --found with its reason; the exit status is 1 then. FILES with a target's name are run once each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for place in (HERE, ROOT / "lib", ROOT / "caffe-mnc/python"):
    sys.path.insert(0, str(place))

os.environ["GLOG_minloglevel"] = "3"       # noqa: SIM112

import cv2  # noqa: E402
import torch  # noqa: E402

import caffe  # noqa: E402
from fuzz_targets import TARGETS  # noqa: E402

PATIENCE = 5.0                  # seconds of the processor an input may take
WAITING = 12                    # so many times that by the clock: others may have the processor
MEMORY = 1 << 30                # bytes a child may take beyond what it starts with
LIFE = 20000                    # inputs a child runs before a fresh one follows
LARGEST = 1 << 20
OURS = (str(ROOT / "caffe-mnc/python/caffe") + os.sep, str(ROOT / "lib") + os.sep)


def is_ours(error: BaseException) -> bool:
    """An error for the user: of our classes, of the file system, or a ValueError that we raise."""
    if type(error).__module__.partition(".")[0] in ("caffe", "mnc"):
        return True
    raised = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, OSError):
        return error.errno is not None and not type(error).__module__.startswith("h5py")
    by_us = raised.filename.startswith(OURS) and (raised.line or "").startswith("raise ")
    return isinstance(error, ValueError) and by_us


def place_of(error: BaseException) -> str:
    """Where in our code it came from: one finding a place."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(OURS)]
    return f"{frames[-1].filename.removeprefix(str(ROOT) + os.sep)}:{frames[-1].lineno}" if frames else "?"


class Board:
    """Memory that parent and child share: how many inputs were begun, and the one that runs."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 16 + LARGEST)
        self.numbers = memoryview(self.memory)[:16].cast("Q")

    def write(self, count: int, data: bytes) -> None:
        self.memory[16:16 + len(data)] = data
        self.numbers[1] = len(data)
        self.numbers[0] = count

    @property
    def count(self) -> int:
        return self.numbers[0]

    def data(self) -> bytes:
        return bytes(self.memory[16:16 + self.numbers[1]])


@dataclass
class Findings:
    """One input for each reason, in files TARGET_HASH.bin; the reasons in reasons.jsonl."""

    folder: Path
    reasons: Counter = field(default_factory=Counter)

    def add(self, name: str, reason: str, data: bytes) -> None:
        kind = reason.partition(": ")[0]
        self.reasons[name, kind] += 1
        if self.reasons[name, kind] > 1:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        file = f"{name}_{hashlib.sha1(data).hexdigest()[:8]}.bin"
        (self.folder / file).write_bytes(data)
        with open(self.folder / "reasons.jsonl", "a") as out:
            out.write(json.dumps({"file": file, "reason": reason}) + "\n")
        print(f"  {file}: {reason}", flush=True)


def corpus(name: str, archive: Path = HERE / "corpus.zip") -> list[bytes]:
    """What once broke this target."""
    with zipfile.ZipFile(archive) as file:
        return [file.read(member) for member in sorted(file.namelist())
                if member.rpartition("/")[2].rsplit("_", 1)[0].split("_crash")[0] == name]


@cache
def beginnings(name: str) -> list[bytes]:
    """What the target begins with, read once in this process so that children have it ready."""
    seeds = TARGETS[name].seeds()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"seed{TARGETS[name].suffix}"
        for seed in seeds:
            path.write_bytes(seed)
            with suppress(ValueError, OSError, caffe.CaffeError):
                TARGETS[name].run(path)
    return [data for data in (*seeds, *corpus(name)) if data]


def inputs(name: str, seed: int) -> Iterator[bytes]:
    """The beginnings, in the first turn, then mutations of them."""
    known = beginnings(name)
    if seed % LIFE == 0:
        yield from known
    rng = random.Random(f"{name} {seed}")
    while True:
        data = rng.choice(known)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data = rng.choice(TARGETS[name].mutations)(rng, data, known) or b"\0"
        yield data[:LARGEST]


def child(name: str, source: Iterator[bytes], board: Board, pipe: int, path: Path) -> None:
    """Runs inputs until it has run LIFE of them, or is ended; what is not ours goes into the pipe."""
    own_memory = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own_memory + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    os.chdir(path.parent)
    if hasattr(caffe, "set_memory_limit"):
        caffe.set_memory_limit(MEMORY // 8)     # of a net; it has its gradients, too
    run, said = TARGETS[name].run, set()
    for count, data in enumerate(source, 1):
        board.write(count, data)
        path.write_bytes(data)
        try:
            run(path)
        except Exception as error:
            kind = f"{type(error).__name__} at {place_of(error)}"
            if kind not in said and not is_ours(error):
                said.add(kind)
                reason = f"{kind}: {str(error)[:150]}"
                os.write(pipe, json.dumps([reason, data.hex()]).encode() + b"\n")
        if count >= LIFE:
            break


def watch(name: str, source: Iterator[bytes], until: float, found: Findings) -> int:
    """One child, until the time is over or it ends; returns how many inputs it ran."""
    with tempfile.TemporaryDirectory(prefix="fuzz", dir=shared_memory()) as folder:
        board, (out, into) = Board(), os.pipe()
        board.write(0, b"")
        process = os.fork()
        if process == 0:
            os.setsid()
            status = 1
            try:
                child(name, source, board, into, Path(folder) / f"input{TARGETS[name].suffix}")
                status = 0
            except BaseException:               # the fuzzer's own mistake, or no memory at all
                os.write(into, json.dumps([f"child: {traceback.format_exc()}", ""]).encode() + b"\n")
            finally:
                os._exit(status)
        os.close(into)
        ended = _wait(name, process, board, until, found, out)
        if ended:
            found.add(name, ended, board.data())
        return board.count


def shared_memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _wait(name: str, process: int, board: Board, until: float, found: Findings,
          out: int) -> str | None:
    os.set_blocking(out, False)
    rest, count, since = b"", -1, (0.0, 0.0)
    try:
        while True:
            done, status = os.waitpid(process, os.WNOHANG)
            rest = _collect(name, out, rest, found)     # after the child ended: all that it said
            if done:
                code = os.waitstatus_to_exitcode(status)
                return f"ended by {signal.Signals(-code).name}" if code < 0 else None
            worked, now = _seconds_of(process), time.monotonic()
            if board.count != count:
                count, since = board.count, (worked, now)
            hung = worked - since[0] > PATIENCE or now - since[1] > WAITING * PATIENCE
            if hung or now > until:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                return f"hung for {PATIENCE:g} s" if hung else None
            time.sleep(0.01)
    finally:
        os.close(out)


def _seconds_of(process: int) -> float:
    """That this process has had of the processor."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _collect(name: str, out: int, rest: bytes, found: Findings) -> bytes:
    try:
        while piece := os.read(out, 1 << 20):
            rest += piece
    except BlockingIOError:
        pass
    *lines, rest = rest.split(b"\n")
    for line in lines:
        reason, data = json.loads(line)
        found.add(name, reason, bytes.fromhex(data))
    return rest


def fuzz(names: Sequence[str], seconds: float, seed: int, found: Findings) -> Counter:
    """Each target for its share of the time; returns how many inputs each ran."""
    shares = sum(TARGETS[name].share for name in names)
    counts: Counter = Counter()
    for name in names:
        beginnings(name)
        began, turn = time.monotonic(), 0
        until = began + seconds * TARGETS[name].share / shares
        while time.monotonic() < until:
            counts[name] += watch(name, inputs(name, seed * LIFE + turn), until, found)
            turn += 1
        print(f"{name:12}{counts[name]:9} inputs in {time.monotonic() - began:6.1f} s", flush=True)
    return counts


def replay(files: Sequence[Path], found: Findings) -> int:
    for file in files:
        name = file.stem.rsplit("_", 1)[0].split("_crash")[0]
        watch(name, iter([file.read_bytes()]), time.monotonic() + 60, found)
    return len(files)


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("names", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; or files")
    p.add_argument("--seconds", type=float, default=60, help="in all (default %(default)s)")
    p.add_argument("--seed", type=int, default=int(time.time()), help="default: the clock's")
    p.add_argument("--found", type=Path, default=ROOT / "output/fuzz", help="default %(default)s")
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)            # each thread's stack counts as memory
    warnings.simplefilter("ignore")
    found = Findings(args.found)
    files = [Path(name) for name in args.names if name not in TARGETS]
    if files:
        total = replay(files, found)
    else:
        total = fuzz(args.names or list(TARGETS), args.seconds, args.seed, found).total()
    print(f"{total} inputs, {len(found.reasons)} findings (seed {args.seed})", flush=True)
    return 1 if found.reasons else 0


if __name__ == "__main__":
    sys.exit(main())
