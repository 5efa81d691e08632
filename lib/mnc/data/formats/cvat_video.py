"""CVAT: "CVAT for video 1.1", tracks over the frames of a video, as images with shapes.

    <annotations> <meta> <task> <start_frame> <stop_frame> <original_size> <width> <height> ...
    <track label> <polygon frame="7" outside="0" keyframe="1" points="x,y;x,y">...

The frames are images called frame_000007.png, as CVAT exports them. A track has a shape on every
frame that it is seen on, those between key frames too; the one with outside="1" ends it. A frame
between two shapes of a track, or behind its last that is not outside, is left out where it has none
itself: what is on it is not known. So are frames before start_frame and behind stop_frame.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from mnc.data.dataset import DataError
from mnc.data.folders import images_below
from mnc.data.images import size_of
from mnc.data.labelled import Faults

FRAME = re.compile(r"frame_(\d+)$", re.IGNORECASE)
Element = ElementTree.Element


def images(root: Element, folder: Path, faults: Faults) -> list[Element]:
    """An <image name width height> of each frame, its shapes in it, as CVAT for images has them.

    Raises DataError where the frames are no images below the folder.
    """
    tracks = root.findall("track")
    if len({track.get("task_id") for track in tracks}) > 1:
        raise DataError("tracks of several tasks, whose frames have the same numbers; export each "
                        "task by itself")
    paths = _frames(folder)
    shown = {number: _image(root, path, folder) for number, path in paths.items()
             if _is_in_task(root, number)}
    unknown: set[int] = set()
    for track in tracks:
        for shape, number in _seen(track):
            if number in shown:
                shown[number].append(shape)
            else:
                faults.setdefault(f"shapes on frames that are not in {folder}", []).append(
                    f"frame {number}")
        unknown |= _gaps(track, sorted(shown))
    for number in sorted(unknown):
        faults.setdefault("frames between key frames, of which the file does not say what is on "
                          "them; CVAT exports a shape on each", []).append(paths[number].name)
    return [image for number, image in sorted(shown.items()) if number not in unknown]


def _frames(folder: Path) -> dict[int, Path]:
    """By their numbers."""
    found: dict[int, Path] = {}
    for path in images_below(folder):
        match = FRAME.match(path.stem)
        if match and found.setdefault(int(match[1]), path) != path:
            raise DataError(f"frame {int(match[1])} is in {folder} twice: "
                            f"{found[int(match[1])]} and {path}")
    if not found:
        raise DataError(
            f"tracks over the frames of a video, which are not in {folder} as frame_000000.png, "
            "…; export the task with its images, or write them: ffmpeg -i VIDEO -start_number 0 "
            'FOLDER/frame_%06d.png; or export it as "CVAT for images 1.1"')
    return found


def _is_in_task(root: Element, number: int) -> bool:
    first, last = (root.findtext(f"./meta/*/{key}") for key in ("start_frame", "stop_frame"))
    return (not first or number >= int(first)) and (not last or number <= int(last))


def _image(root: Element, path: Path, folder: Path) -> Element:
    size = [root.findtext(f"./meta//original_size/{key}") for key in ("height", "width")]
    if not all(size):
        size = [str(side) for side in size_of(path)]
    return Element("image", {"name": path.relative_to(folder).as_posix(),
                             "height": str(size[0]), "width": str(size[1])})


def _seen(track: Element) -> Iterator[tuple[Element, int]]:
    """(shape, frame) where it is not outside, with the track's label and group."""
    of_all = {key: value for key in ("label", "group_id") if (value := track.get(key)) is not None}
    for shape in track:
        number = _number(shape)
        if number is not None and shape.get("outside") != "1":
            shape.attrib.update(of_all)
            yield shape, number


def _gaps(track: Element, frames: Sequence[int]) -> set[int]:
    """Of these, in order, those behind a shape that is not outside, up to the next one."""
    ends = sorted((number, shape.get("outside") == "1") for shape in track
                  if (number := _number(shape)) is not None)
    return {frame
            for (start, outside), (end, _) in zip(ends, [*ends[1:], (sys.maxsize, True)])
            for frame in frames[bisect_right(frames, start):bisect_left(frames, end)]
            if not outside}


def _number(shape: Element) -> int | None:
    text = shape.get("frame", "")
    return int(text) if text.isdecimal() else None
