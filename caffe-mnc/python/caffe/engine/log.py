"""Log lines in glog's form, `I1122 10:47:41.123456  4711 solver.py:42] text`, on stdlib logging.

They go to stderr through the logger "caffe". The environment decides as it does for glog:
GLOG_minloglevel (0 info, 1 warning, 2 error, 3 fatal) drops lesser lines; GLOG_log_dir adds a file
`PROGRAM.INFO` in that folder, unless GLOG_logtostderr is true.
"""

from __future__ import annotations

import datetime
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

# The lines that scripts parse (Caffe's parse_log, grep in shell scripts). Change none of them.
SOLVING = "Solving %s"
POLICY = "Learning Rate Policy: %s"
LOSS = "Iteration %d, loss = %g"
LOSS_WITH_SPEED = "Iteration %d (%g iter/s, %gs/%d iters), loss = %g"
LEARNING_RATE = "Iteration %d, lr = %g"
TRAIN_OUTPUT = "    Train net output #%d: %s = %g%s"
TEST_OUTPUT = "    Test net output #%d: %s = %g%s"
CLASS_OUTPUT = "class%d: %g"
WEIGHTED = " (* %g = %g loss)"
TESTING = "Iteration %d, Testing net (#%d)"
TEST_LOSS = "Test loss: %g"
SNAPSHOT_BINARY = "Snapshotting to binary proto file %s"
SNAPSHOT_HDF5 = "Snapshotting to HDF5 file %s"
STATE_BINARY = "Snapshotting solver state to binary proto file %s"
STATE_HDF5 = "Snapshotting solver state to HDF5 file %s"
RESTORING = "Restoring previous solver status from %s"
TEST_STOPPED = "Test interrupted."
STOPPED = "Optimization stopped early."
DONE = "Optimization Done."

KEPT = 10_000           # lines that wait for a file
_logger = logging.getLogger("caffe")
_worker = ""
_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def of_worker(rank: int, whole: bool) -> None:
    """This process is worker `rank` of several: 0 alone logs more than warnings, unless `whole`.

    Lines of the others begin with their name.
    """
    global _worker
    _worker = f"worker {rank}: " if rank else ""
    if rank and not whole:
        _logger.setLevel(max(_logger.level, logging.WARNING))


def info(message: str, *args: object, depth: int = 0) -> None:
    """Write a line; it names the place of the call, or of the caller `depth` calls further out."""
    _logger.info(message, *args, stacklevel=2 + depth)


def warning(message: str, *args: object) -> None:
    _logger.warning(message, *args, stacklevel=2)


def error(message: str, *args: object) -> None:
    _logger.error(message, *args, stacklevel=2)


class GlogFormatter(logging.Formatter):
    """Level, month and day, time to the microsecond, process, place] text"""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created)
        text = (f"{record.levelname[0].replace('C', 'F')}{when:%m%d %H:%M:%S.%f} "
                f"{record.process:5d} {record.filename}:{record.lineno}] {_worker}"
                f"{record.getMessage()}")
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class StderrHandler(logging.StreamHandler):
    """Writes to whatever sys.stderr is at the time: it may be redirected after import."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stderr


def configure(min_level: int | None = None, log_to_stderr: bool | None = None,
              log_dir: str | None = None) -> None:
    """Set up the logger "caffe"; what is not given comes from the GLOG_* variables.

    Lines do not go on to the root logger: a script that calls logging.basicConfig would get every
    line twice, and log parsers would stumble over the second form.
    """
    env = os.environ
    if min_level is None:
        level = env.get("GLOG_minloglevel", "0")
        min_level = int(level) if level.isdigit() else 0
    if log_to_stderr is None:
        log_to_stderr = env.get("GLOG_logtostderr", "").lower() in ("1", "t", "true", "y", "yes")
    log_dir = log_dir or env.get("GLOG_log_dir")
    for old in list(_logger.handlers):
        _logger.removeHandler(old)
        old.close()
    _logger.setLevel(_LEVELS[min(max(min_level, 0), 3)])
    _logger.propagate = False
    _add(StderrHandler())
    if log_dir and not log_to_stderr and env.get("RANK", "0") == "0":     # one file for all workers
        try:
            _add(_file_handler(Path(log_dir)))
        except OSError as problem:
            warning("No log file in %s: %s", log_dir, problem)


def _add(handler: logging.Handler) -> None:
    handler.setFormatter(GlogFormatter())
    _logger.addHandler(handler)


def _file_handler(folder: Path) -> logging.Handler:
    """Writes PROGRAM.HOST.USER.log.INFO.DATE-TIME.PID, with a link PROGRAM.INFO to the newest."""
    program = Path(sys.argv[0] or "python").stem or "python"
    user = os.environ.get("USER", "unknown")
    name = (f"{program}.{socket.gethostname()}.{user}.log.INFO."
            f"{datetime.datetime.now():%Y%m%d-%H%M%S}.{os.getpid()}")
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / f"{program}.INFO"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    return logging.FileHandler(folder / name, delay=True)


class Record:
    """Lines of the log, and of the loggers of these names, from now to the end of a `with` block.

    They are kept in memory, and written in glog's form behind what a file holds once `to` names it.
    """

    def __init__(self, *names: str) -> None:
        self._loggers = [_logger, *map(logging.getLogger, names)]
        self._handler: logging.Handler = MemoryHandler(KEPT, logging.CRITICAL + 1,
                                                       flushOnClose=False)
        self._attach(self._handler)

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *error: object) -> None:
        for logger in self._loggers:
            logger.removeHandler(self._handler)
        self._handler.close()

    def _attach(self, handler: logging.Handler) -> None:
        for logger in self._loggers:
            logger.addHandler(handler)

    def to(self, path: str | os.PathLike[str]) -> None:
        """Write to this file what was kept and what comes; a warning where that fails."""
        kept = self._handler
        try:
            file = _LogFile(path)
        except OSError as problem:
            warning("%s: no log is written: %s", os.fspath(path), problem)
            return
        file.setFormatter(GlogFormatter())
        for record in getattr(kept, "buffer", ()):
            file.handle(record)
        self.__exit__()
        self._handler = file
        self._attach(file)


class _LogFile(logging.FileHandler):
    """A full disk costs the lines, and a single word on it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        if self.level < logging.CRITICAL:
            self.setLevel(logging.CRITICAL + 1)
            sys.stderr.write(f"{self.baseFilename}: lines of the log are lost: "
                             f"{sys.exc_info()[1]}\n")


@contextmanager
def beneath(clear: Callable[[], object]) -> Iterator[None]:
    """On stderr stands something else meanwhile, a bar: warnings and errors alone come between.

    clear: called before each, to take that something away.
    """
    def passes(record: logging.LogRecord) -> bool:
        if record.name == _logger.name and record.levelno < logging.WARNING:
            return False
        clear()
        return True

    handlers = [handler for logger in (_logger, logging.getLogger()) for handler in logger.handlers
                if isinstance(handler, logging.StreamHandler)
                and not isinstance(handler, logging.FileHandler)]
    for handler in handlers:
        handler.addFilter(passes)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(passes)


# As glog does, before anybody asks: lines of an `import caffe` without set-up reach stderr.
configure()
