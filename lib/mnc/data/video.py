"""Videos and cameras, frame by frame, as OpenCV reads and writes them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from mnc.data.dataset import DataError

# what a file of this ending is encoded with; of pip's OpenCV
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG",
          ".webm": "VP80"}
# what is read as a video, by its ending or by where it comes from
READ = {*CODECS, ".3gp", ".3g2", ".asf", ".divx", ".f4v", ".flv", ".m2ts", ".m2v", ".mjpeg",
        ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".wmv", ".y4m"}
STREAMS = ("rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://", "srt://")
RATE = 25.0                 # frames a second of what does not say


def is_video(source: str | os.PathLike) -> bool:
    """Whether this names a video (by its ending), a stream, or a camera (a number)."""
    return (Path(source).suffix.lower() in READ or str(source).isdecimal()
            or str(source).startswith(STREAMS))


def open_video(source: str | os.PathLike | int) -> cv2.VideoCapture:
    """A video file, or the camera of this number. Raises DataError if it cannot be opened."""
    capture = _opened(source if isinstance(source, int) else str(source))
    if capture.isOpened():
        return capture
    capture.release()
    if isinstance(source, int):
        there = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
        raise DataError(f"camera {source} cannot be opened: is it plugged in, and does no other "
                        f"program use it? Video devices of this machine: {there}")
    if "://" not in str(source) and not os.path.exists(source):
        raise DataError(f"no such file: {source}")
    raise DataError(f"{source}: OpenCV cannot open this video")


def _opened(source: str | int) -> cv2.VideoCapture:
    """What OpenCV makes of it, without its own lines on stderr where that fails."""
    logging = getattr(getattr(cv2, "utils", None), "logging", None)     # since OpenCV 4.9
    if logging is None:
        return cv2.VideoCapture(source)
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(source)
    finally:
        logging.setLogLevel(before)


def frames(capture: cv2.VideoCapture, source: object,
           every: int) -> Iterator[tuple[int, np.ndarray]]:
    """(number, (H, W, 3) BGR) of every so many frames; releases the capture at the end.

    Raises DataError for a frame that cannot be read, and for a video without any.
    """
    number = 0
    try:
        while capture.grab():
            if number % every == 0:
                read, frame = capture.retrieve()
                if not read or frame is None:
                    raise DataError(f"{source}: frame {number} cannot be read; the frames before "
                                    "it were; encode the video again, or cut it there")
                yield number, frame
            number += 1
    finally:
        capture.release()
    if not number:
        raise DataError(f"{source}: OpenCV opens it, but finds no frame in it")


def rate_of(capture: cv2.VideoCapture) -> float:
    """Frames a second; RATE where the video does not say."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate < 1000 else RATE


def length_of(capture: cv2.VideoCapture) -> int | None:
    """The number of frames, if the video says; a camera does not."""
    number = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return number if number > 0 else None


class VideoFile:
    """A video being written: `with VideoFile(path, rate) as video: video.add(frame)`.

    path: its ending says how it is encoded (CODECS). rate: frames a second. What was added is
    complete and can be played also where the block ends by an error or Ctrl-C.
    """

    def __init__(self, path: Path, rate: float) -> None:
        if path.suffix.lower() not in CODECS:
            raise DataError(f"{path}: a video ends in {', '.join(CODECS)}")
        self.path = path
        self.rate = rate
        self._writer: cv2.VideoWriter | None = None

    def add(self, frame: np.ndarray) -> None:
        """Append (H, W, 3) uint8 BGR, all of one size. Raises DataError where it cannot."""
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self.path), code, self.rate, frame.shape[1::-1])
            if not self._writer.isOpened():
                raise DataError(f"{self.path}: OpenCV cannot write this video here; try another "
                                f"ending of {', '.join(CODECS)}")
        self._writer.write(frame)

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.release()
