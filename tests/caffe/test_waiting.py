"""No wait is endless: it is said, it ends where nobody works any more, a stop interrupts it."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

import pytest

import caffe
from caffe.data.prefetch import Job, Prefetch
from caffe.engine import waiting
from caffe.engine.errors import CaffeError


@pytest.fixture(autouse=True)
def no_stop():
    yield
    waiting.stop_requested.clear()


HUNG = 300      # seconds after which something has not been slow, but hangs


class Hung:
    """A source that gives one item and then nothing, until the test ends."""

    def __init__(self):
        self.begun, self.end, self.asked = threading.Event(), threading.Event(), 0

    def source(self):
        yield "first"
        self.begun.set()
        self.end.wait()

    def name(self):
        """What it is where it is said; the second time somebody asks for a stop."""
        self.asked += 1
        if self.asked == 2:
            waiting.stop_requested.set()
        return "disk.lmdb"


@pytest.fixture
def hung():
    found = Hung()
    yield found
    found.end.set()


def test_a_hung_source_is_named_again_and_again(hung, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "REPORT_AFTER", 0.05)
    monkeypatch.setattr(waiting, "PIECE", 0.02)
    monkeypatch.setattr(waiting, "GRACE", 0)
    prefetch = Prefetch(hung.source(), 2, hung.name)
    assert prefetch.next() == "first"
    with pytest.raises(waiting.Interrupted, match="while waiting for disk.lmdb"):
        prefetch.next()
    assert capsys.readouterr().err.count("Waiting for disk.lmdb since") == 2


def test_a_stop_waits_for_what_is_nearly_there(monkeypatch):
    monkeypatch.setattr(waiting, "PIECE", 0.02)
    monkeypatch.setattr(waiting, "GRACE", HUNG)
    waiting.stop_requested.set()
    assert Job(lambda: time.sleep(0.2) or "image", lambda: "a.jpg").result() == "image"


def test_closing_does_not_wait_for_a_hung_thread(hung, monkeypatch, capsys):
    monkeypatch.setattr("caffe.data.prefetch.TO_END", 0.05)
    prefetch = Prefetch(hung.source(), 2, hung.name)
    assert prefetch.next() == "first" and hung.begun.wait(HUNG)
    prefetch.close()
    assert "Reading disk.lmdb hangs: its thread is left behind" in capsys.readouterr().err


def test_errors_of_a_job_are_its_callers():
    with pytest.raises(ZeroDivisionError):
        Job(lambda: 1 / 0, lambda: "sum").result()


def in_a_child(work) -> str:
    """What `work` returns in a forked process; one that hangs is ended, and has said nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read() if select.select([file], [], [], HUNG)[0] else ""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_that_the_thread_is_gone_and_may_begin_anew(tmp_path):
    import cv2
    import numpy as np

    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((2, 2, 3), i, np.uint8))
    (tmp_path / "list").write_text("".join(f"{tmp_path}/{i}.png {i}\n" for i in range(3)))
    net = caffe.Net(f"""layer {{ name: "d" type: "ImageData" top: "x" top: "y"
        image_data_param {{ source: "{tmp_path}/list" batch_size: 1 }}
        data_param {{ prefetch: 1 }} }}""", caffe.TRAIN)
    net.forward()

    def work():
        try:
            for _ in range(5):
                net.forward()
        except CaffeError as error:
            said = str(error)
            net.layers[0].close()
            net.forward()
            return f"{said} {net.blobs['y'].data[0]:g}"
        return "no error"

    said = in_a_child(work)
    assert 'layer "d" (ImageData): ' in said and "the thread that read it is gone" in said
    net.forward()
    net.layers[0].close()
    assert net.blobs["y"].data[0] == 1 and net.layers[0].batch_items() == [f"{tmp_path}/1.png"]
