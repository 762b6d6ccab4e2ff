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
from dprkit.training.processes import ALONE, _free_port, join, launch


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
import atexit, os, torch
threads = lambda: len(os.listdir("/proc/self/task"))
atexit.register(lambda: print(threads() - before))
from dprkit.training.processes import join
torch.set_num_threads(1)
before = threads()
join().sum(torch.ones(3))
assert threads() > before
"""


def test_no_thread_of_the_group_outlives_the_interpreter():
    """Such a thread aborts a process that has done all its work (seen once, with torchrun)."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "2"}
    place |= {"GLOO_SOCKET_IFNAME": "lo"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LEAVES],
            env=os.environ | place | {"RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    assert [one.communicate(timeout=60)[0] for one in both] == ["0\n", "0\n"]


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
