"""Processes beside this one: how they start together, and what is known of those that fail."""

from __future__ import annotations

import os
import signal
import time

import pytest

from dprkit.embeddings.local_processes import helpers, together
from dprkit.errors import InputError, ProcessError


def times(ready):
    ready()
    begin = time.monotonic()
    time.sleep(0.5)
    return os.getpid(), begin, time.monotonic()


def fail(ready=None):
    raise InputError("p.tsv: is gone")


def stumble(ready=None):
    return [][1]


def take_long():
    time.sleep(60)


def die(ready=None):
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_begin_together_when_all_are_ready():
    found = together(times, 2)
    pids, begins, ends = zip(*found, strict=True)
    assert len(set(pids)) == 2 and pids[0] == os.getpid()
    assert max(begins) < min(ends)


def test_one_process_needs_no_other():
    assert [pid for pid, *_ in together(times, 1)] == [os.getpid()]


class Differing:
    """Waits to be ready here, and does something else in another process."""

    def __init__(self, other):
        self.other, self.home = other, os.getpid()

    def __call__(self, ready):
        return ready() if os.getpid() == self.home else self.other(ready)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (fail, "process 2 of 2: p.tsv: is gone"),
        (stumble, r"process 2 of 2: IndexError: list index out of range \(.*processes.py:\d+\)"),
        (die, "process 2 of 2 was killed by signal 9"),
    ],
)
def test_one_that_fails_or_dies_is_an_error_of_this_one(other, problem):
    with pytest.raises(ProcessError, match=problem):
        together(Differing(other), 2)


@pytest.mark.parametrize(
    ("other", "problem"),
    [(fail, "p.tsv: is gone"), (stumble, "IndexError: list"), (die, "signal 9")],
)
def test_a_helper_that_fails_is_told_and_the_work_goes_on(other, problem, capfd):
    told = []
    with helpers(other, 2, told.append):
        deadline = time.monotonic() + 60
        while not os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    (line,) = told
    assert line.startswith("process 2 of 2") and problem in line
    assert line.endswith("the other processes did its share")
    assert capfd.readouterr().err == ""


def test_a_helper_that_is_not_done_is_ended_without_a_word():
    told = []
    with helpers(take_long, 2, told.append):
        pass
    assert told == []
