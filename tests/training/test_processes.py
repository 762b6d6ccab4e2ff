"""Several processes: what they share, and how they end when one of them does."""

import os
import signal
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
import torch

from dprkit.errors import FormatError, ProcessError
from dprkit.interrupts import held
from dprkit.progress import Progress, Run
from dprkit.training.processes import ALONE, join, launch


class Task(msgspec.Struct):
    what: str
    rank: int = 0


def work(task: Task, run: Run):
    """A stage that does what the test asks of one of its processes."""
    group = join()
    if task.what == "sum":
        total = group.sum(torch.tensor([float(group.rank + 1)]))
        run.progress.note(f"{group.size} processes")
        return float(total), group.agree(f"rank {group.rank}")
    if group.rank == task.rank:
        if task.what == "fail":
            raise FormatError("train.jsonl", 3, "lacks the field question")
        if task.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
    group.sum(torch.zeros(1))
    return None


class Notes(Progress):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def test_processes_sum_and_agree_and_the_first_tells():
    notes = Notes()
    assert launch(work, Task("sum"), Run(notes), 2) == (3.0, "rank 0")
    assert notes.notes == ["2 processes"]


def test_an_error_of_the_first_process_comes_through_as_itself():
    with pytest.raises(FormatError, match=r"train.jsonl:3: lacks the field question") as raised:
        launch(work, Task("fail"), Run(), 2)
    assert raised.value.where == 3


@pytest.mark.parametrize("rank", [0, 1])
def test_a_dead_process_ends_all(rank):
    begin = time.monotonic()
    with pytest.raises(ProcessError, match=rf"process {rank + 1} of 2 was killed by signal 9"):
        launch(work, Task("die", rank), Run(), 2)
    assert time.monotonic() - begin < 60


LEAVES = """
import atexit, sys
atexit.register(print, "the interpreter's own end")
from dprkit.training.processes import leave
sys.stdout.write("told")
leave(3)
"""


def test_a_process_of_a_group_leaves_past_the_interpreters_end():
    """There gloo's threads abort a process that has done all its work (seen with torchrun)."""
    words = [sys.executable, "-c", LEAVES]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "told")


def test_one_process_alone_needs_no_group():
    one = torch.ones(3)
    assert ALONE.sum(one) is one
    assert ALONE.agree("x") == "x"
    assert join() == ALONE


def test_a_held_signal_is_heeded_when_the_block_ends():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with held():
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen == []
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_held_interrupt_is_raised_after_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), held():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(np.zeros(1))
    assert done
