"""Instances drawn into a video or a camera's pictures, for `mnc demo`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from mnc.config import ConfigError
from mnc.data.folders import ENDINGS
from mnc.data.video import (
    CODECS,
    READ,
    VideoFile,
    frames,
    is_video,
    length_of,
    open_video,
    rate_of,
)
from mnc.drawing.instances import draw_instances
from mnc.inference.pace import per_second

if TYPE_CHECKING:
    from mnc.commands.demo_images import Finder


@dataclass(frozen=True)
class Clip:
    """What to read and where the result goes."""

    source: str                 # a file, or the number of a camera
    out: Path
    every: int = 1              # of so many frames one is taken
    most: int | None = None     # frames to take


def clip_of(sources: Sequence[str], out: Path, every: int, most: int | None) -> Clip | None:
    """The video among what was named; None if there is none.

    out: a video file, or a folder for NAME.mp4. Raises ConfigError for a video among other things,
    and DataError for one that cannot be opened: before the net is loaded.
    """
    videos = [source for source in sources if is_video(source)]
    if not videos:
        return None
    if len(sources) > 1:
        raise ConfigError(f"{videos[0]} is a video: name it alone, one a command")
    source = videos[0]
    name = f"camera{source}" if source.isdecimal() else Path(source).stem
    ending = out.suffix.lower()
    if ending in {*READ, *ENDINGS} - {*CODECS} and not out.is_dir():
        raise ConfigError(f"--out {out}: a video is written as one of {' '.join(CODECS)}, or into "
                          "a folder")
    path = out if ending in CODECS and not out.is_dir() else out / f"{name}.mp4"
    if path.exists() and path.samefile(source if Path(source).exists() else path.parent):
        raise ConfigError(f"--out {out}: that is the video itself; name another file")
    open_video(_place(source)).release()
    return Clip(source, path, every, most)


def draw_video(finder: Finder, clip: Clip, score: float) -> int:
    """Write CLIP.out with the instances of at least this score; returns the frames written.

    Ctrl-C ends it: what was written so far is a whole video.
    """
    capture = open_video(_place(clip.source))
    length, rate = length_of(capture), rate_of(capture) / clip.every
    total = min((n for n in (clip.most, length and -(-length // clip.every)) if n), default=None)
    written, began = 0, time.monotonic()
    with VideoFile(clip.out, rate) as video:
        taken = islice(frames(capture, clip.source, clip.every), clip.most)
        try:
            for _, frame in tqdm(taken, total=total, unit="frame", disable=None):
                found = finder.find(frame, score)
                video.add(draw_instances(frame, found, finder.classes, finder.binarize))
                written += 1
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
    speed = per_second(written, time.monotonic() - began, "frame")
    print(f"{written} frames in {clip.out}, {speed}", flush=True)
    return written


def _place(source: str) -> str | int:
    return int(source) if source.isdecimal() else source
