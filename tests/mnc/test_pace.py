"""Images a second, in lines of the log: when all are done, now and then before, and where it ends early."""

from __future__ import annotations

import re

import pytest

from mnc.inference import pace
from mnc.inference.pace import in_all, paced


class Clock:
    """Seconds that pass only when work is done, or the caller takes its time."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(pace, "time", self)

    def monotonic(self):
        return self.now

    def work(self, number, seconds):
        for i in range(number):
            self.now += seconds
            yield i


@pytest.fixture
def clock(monkeypatch, caplog):
    caplog.set_level("INFO", "mnc")
    return Clock(monkeypatch)


def test_results_pass_and_the_last_line_counts_work_alone(clock, caplog):
    for i, result in enumerate(paced(clock.work(4, 0.5), 4)):
        assert result == i
        clock.now += 7                      # the caller's
    assert caplog.messages == ["4 images in 2.0 s, 2.00 images a second"]


def test_long_work_says_how_far_it_is(clock, caplog):
    list(paced(clock.work(5, 20.0), 5))
    assert caplog.messages[:-1] == ["2 images of 5, 0.05 images a second",
                                    "4 images of 5, 0.05 images a second"]


def test_a_number_that_is_not_known_is_left_out(clock, caplog):
    list(paced(clock.work(1, 40.0), unit="frame"))
    assert caplog.messages == ["1 frame, 0.03 frames a second", "1 frame in 40.0 s, 0.03 frames a second"]


def test_what_was_done_before_an_error_or_a_break_is_said(clock, caplog):
    def failing():
        yield from clock.work(2, 1.0)
        raise OSError("disk")
    with pytest.raises(OSError, match="disk"):
        list(paced(failing(), 9))
    left = paced(clock.work(9, 1.0), 9)
    next(left)
    left.close()
    assert caplog.messages == ["2 images in 2.0 s, 1.00 images a second",
                               "1 image in 1.0 s, 1.00 images a second"]


def test_of_nothing_there_is_nothing_to_say(clock, caplog):
    assert list(paced([], 0)) == [] and not caplog.messages


def test_no_time_is_no_error():
    assert re.match(r"3 images in 0\.0 s, \d+\.00 images a second", in_all(3, 0.0))
