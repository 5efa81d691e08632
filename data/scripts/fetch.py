#!/usr/bin/env python3
"""Fetches public data into data/: python data/scripts/fetch.py GROUP [PART ...]; see --help.

A download that was broken off goes on where it stopped. Known checksums are verified; of a file
without one the SHA-256 is shown. If an address is dead, the file can be put where the message says.
Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from remotes import GROUPS, NEXT, SHORT, Remote

DATA = Path(__file__).resolve().parent.parent
DOWNLOADS = "downloads"                 # folder in data/ where archives are kept
BLOCK = 1 << 20


class FetchError(Exception):
    """A file that could not be had; the message says where to put it."""


# --- one file ------------------------------------------------------------------------------------

def fetch(remote: Remote, data: Path) -> Path:
    """Download, verify and unpack; returns the folder or file. What is there already stays."""
    place = data / remote.into
    if remote.name:
        place /= remote.name
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            download(remote, place)
        return place
    mark = place / f".{remote.file}.unpacked"
    if not mark.is_file():
        archive = data / DOWNLOADS / remote.file
        archive.parent.mkdir(parents=True, exist_ok=True)
        if archive.is_file():
            verify(archive, remote.checksum)
        else:
            download(remote, archive)
        unpack(archive, place, remote)
        mark.touch()
    return place


def fetch_or_instead(name: str, parts: dict[str, Remote], data: Path) -> tuple[str, Path]:
    """The part that could be had, and its place: `name`, or what stands in for it."""
    try:
        return name, fetch(parts[name], data)
    except (FetchError, OSError) as error:
        instead = parts[name].instead
        if not instead:
            raise
        print(f"{name}: {error}\nfetching {instead} instead", file=sys.stderr, flush=True)
        return fetch_or_instead(instead, parts, data)


def download(remote: Remote, target: Path) -> None:
    """The file at `target`, whole and verified; from the first address that has it."""
    partial, reasons = target.with_name(f"{target.name}.part"), []
    for url in remote.urls:
        try:
            _receive(url, partial)
        except OSError as error:                        # URLError, timeouts, broken connections
            reasons.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        verify(partial, remote.checksum)
        os.replace(partial, target)
        return
    told = "\n  ".join(reasons) or "it is not published at a fixed address any more"
    look = f"\nLook for it at {remote.note}" if remote.note else ""
    raise FetchError(f"{remote.file or target.name} cannot be fetched:\n  {told}{look}\n"
                     f"Wherever you get it from, put it at {target} and run this again.")


def _receive(url: str, partial: Path) -> None:
    """Append what is missing to the partial file."""
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "mnc-fetch"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        with error:
            if have and error.code == 416:              # nothing is missing
                return
            raise
    with answer:
        resumed = answer.status == 206
        total = int(answer.headers.get("Content-Length") or 0) + (have if resumed else 0)
        with open(partial, "ab" if resumed else "wb") as file:
            for block in _with_progress(answer, partial.name[:-len(".part")],
                                        have if resumed else 0, total):
                file.write(block)
    size = partial.stat().st_size
    if total and size < total:
        raise OSError(f"broken off after {size} of {total} bytes; run this again to go on")


def _with_progress(answer, name: str, done: int, total: int) -> Iterator[bytes]:
    shown = 0.0
    while block := answer.read(BLOCK):
        yield block
        done += len(block)
        if sys.stderr.isatty() and time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            share = f" of {total >> 20} MB ({100 * done / total:.0f} %)" if total else ""
            print(f"\r{name}: {done >> 20} MB{share}  ", end="", file=sys.stderr, flush=True)
    if shown:
        print(file=sys.stderr)


def verify(path: Path, checksum: str | None) -> None:
    """FetchError, and the file set aside, unless it has this checksum; without one show its own."""
    kind, _, wanted = (checksum or "sha256:").partition(":")
    digest = hashlib.new(kind)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if not wanted:
        print(f"{path.name}: no checksum is known to compare with; its SHA-256 is "
              f"{digest.hexdigest()}")
    elif not digest.hexdigest().startswith(wanted):
        aside = path.with_name(f"{path.name}.wrong")
        os.replace(path, aside)
        raise FetchError(f"{path.name}: {kind} {digest.hexdigest()}, but it should be {wanted}. "
                         f"The file is now {aside}; run this again to fetch it anew.")


def unpack(archive: Path, into: Path, remote: Remote) -> None:
    """Files of a tar or zip archive into a folder, which only whole ones ever reach."""
    into.mkdir(parents=True, exist_ok=True)
    print(f"unpacking {archive.name} to {into}", flush=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=into) as folder:
        temporary = Path(folder)
        try:
            _extract(archive, temporary)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise FetchError(f"{archive}: not a whole archive ({error}); remove it and run this "
                             "again") from error
        moved = 0
        for path in sorted(p for p in temporary.rglob("*") if p.is_file()):
            inside = path.relative_to(temporary)
            if not inside.as_posix().startswith(remote.only) or len(inside.parts) <= remote.strip:
                continue
            target = into.joinpath(*inside.parts[remote.strip:])
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            moved += 1
    if not moved:
        raise FetchError(f"{archive}: holds nothing below {remote.only or '/'}")


def _extract(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        return
    with tarfile.open(archive) as file:
        if hasattr(tarfile, "data_filter"):
            file.extractall(folder, filter="data")
        else:
            file.extractall(folder, [m for m in file if m.isdir() or _harmless(m)])


def _harmless(member: tarfile.TarInfo) -> bool:
    parts = member.name.split("/")
    return member.isfile() and parts[0] != "" and ".." not in parts


# --- what SBD needs besides ----------------------------------------------------------------------

def split_as_voc_2012(data: Path) -> str:
    """train.txt and val.txt of the SBD as MNC uses them: its images by VOC 2012's train and val.

    The SBD's own lists stay as train_sbd.txt and val_sbd.txt. Returns what was done.
    """
    folder, lists = data / "VOCdevkitSDS", data / "VOCdevkit2012/VOC2012/ImageSets/Main"
    if not (folder / "train.txt").is_file():
        return ""
    if not (lists / "val.txt").is_file():
        return ("VOCdevkitSDS/train.txt and val.txt are the SBD's own (8498 and 2857 images). The "
                "paper's are those of VOC 2012 (5623 and 5732): data/scripts/fetch_voc.sh 2012 "
                "fetches VOC 2012 and puts them in place.")
    have = {path.stem for path in (folder / "inst").glob("*.mat")}
    counts = []
    for split in ("train", "val"):
        own = folder / f"{split}_sbd.txt"
        if not own.is_file():
            shutil.copyfile(folder / f"{split}.txt", own)
        names = [name for name in (lists / f"{split}.txt").read_text().split() if name in have]
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        counts.append(len(names))
    return (f"VOCdevkitSDS/train.txt and val.txt are now those of VOC 2012: {counts[0]} and "
            f"{counts[1]} images (the SBD's own: train_sbd.txt, val_sbd.txt)")


# --- the command ---------------------------------------------------------------------------------

def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    parts = GROUPS[args.group]
    if args.list:
        for name, remote in parts.items():
            print(f"{name}: {' or '.join(remote.urls) or 'no address; see ' + remote.note} -> "
                  f"{Path(args.data) / remote.into}")
        return 0
    try:
        wanted = _wanted(args.group, args.parts)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed, fetched = 0, []
    for name in wanted:
        try:
            found, place = fetch_or_instead(name, parts, Path(args.data))
        except (FetchError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"{found}: {place}", flush=True)
        fetched.append(parts[found].next or NEXT.get(args.group, ""))
    if args.group in ("sbd_data", "voc"):
        told = split_as_voc_2012(Path(args.data))
        print(told, end="\n" if told else "")
    for told in dict.fromkeys(filter(None, fetched)):
        print(f"Next: {told}")
    return 1 if failed else 0


def _wanted(group: str, given: list[str]) -> list[str]:
    """Names of parts, each once."""
    short = {name: (name,) for name in GROUPS[group]} | SHORT.get(group, {})
    for part in given:
        if part not in short:
            raise FetchError(f"{group} has no part {part!r}; there are: {', '.join(short)}")
    if not given:
        return list(short.get("", GROUPS[group]))
    return list(dict.fromkeys(name for part in given for name in short[part]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, prog="fetch",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help="some of what --list shows; a year stands for all of it but the "
                             "test images of COCO")
    parser.add_argument("--data", default=str(DATA), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--list", action="store_true", help="show parts, addresses and places")
    return parser


if __name__ == "__main__":
    sys.exit(main())
