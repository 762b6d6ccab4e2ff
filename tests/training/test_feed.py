"""Batches made ahead: in order, the same whoever makes them, and no process is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dprkit.data.examples_by_row import ExampleFile
from dprkit.errors import FormatError, InputError, ProcessError
from dprkit.models.config import RetrieverConfig
from dprkit.models.tokens import Tokens
from dprkit.training.batches import BatchPlan, Draw, Mixture, Preparation
from dprkit.training.feed import Batch, Feed


class Probe(NamedTuple):
    """A source that does what it is told at one step."""

    what: str = ""
    at: int = 5

    def describe(self) -> Callable[[], Callable[[int], Any]]:
        return self.open

    def open(self) -> Callable[[int], Any]:
        if self.what == "refuse to open":
            raise InputError("train.jsonl: changed while it was read; run again")
        return self

    def __call__(self, step: int) -> Any:
        if step == self.at and self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.at and self.what == "fail":
            raise FormatError("train.jsonl", 17, "not JSON")
        if self.what == "be slow":
            time.sleep(0.01 * (step % 3))
        return step, os.getpid()


def preparation(folder: Path, by_answers: bool = False) -> Preparation:
    from dprkit.models.from_scratch import (
        learn_tokenizer,  # with torch, for which workers would wait
    )

    path = folder / "train.jsonl"
    rows = [
        {
            "question": f"question {i}",
            "answers": [f"{i}"],
            "positive_ctxs": [{"text": f"passage {i // 2}", "title": "a title"}],
            "hard_negative_ctxs": [{"text": f"passage {j}"} for j in range(i)],
        }
        for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = learn_tokenizer([f"question passage a title {i}" for i in range(30)], 120)
    plan = BatchPlan(Mixture([ExampleFile(path)], [1.5]), 7, 3)
    config = RetrieverConfig(question_max_length=8, passage_max_length=16)
    return Preparation(plan, Draw(2, 0, 3), Tokens((tokenizer, {}), config), by_answers)


def plain(prepared: Batch) -> list[Any]:
    targets = {name: array.tolist() for name, array in prepared.targets.items()}
    return [*prepared._replace(targets={}), targets]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_feed_gives_what_preparing_each_step_gives(tmp_path: Path, workers: int) -> None:
    source = preparation(tmp_path, by_answers=True)
    steps = range(3, 2 * source.plan.batches_per_epoch)
    with Feed(source, steps.start, steps.stop, workers) as feed:
        found = [plain(prepared) for prepared in feed]
    assert found == [plain(source(step)) for step in steps]


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_come_in_order_made_elsewhere(workers: int) -> None:
    with Feed(Probe("be slow"), 2, 20, workers) as feed:
        steps, makers = zip(*feed, strict=True)
    assert steps == tuple(range(2, 20))
    assert (set(makers) == {os.getpid()}) == (workers == 0)
    assert feed.waited > 0


def test_no_more_is_made_than_there_is_room_for() -> None:
    made: list[int] = []

    class Counted(Probe):
        def __call__(self, step: int) -> Any:
            made.append(step)
            return step

    with Feed(Counted(), 0, 100, 0, ahead=2) as feed:
        assert next(feed) == 0
        time.sleep(0.1)
        assert len(made) <= 4
    assert len(made) <= 4


def test_nothing_to_do_is_done_at_once() -> None:
    with Feed(Probe(), 4, 4, 2) as feed:
        assert list(feed) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_through_as_itself_at_its_step(workers: int) -> None:
    with Feed(Probe("fail"), 0, 10, workers) as feed:
        assert [next(feed)[0] for _ in range(5)] == list(range(5))
        with pytest.raises(FormatError, match=r"^train.jsonl:17: not JSON$") as caught:
            next(feed)
    assert caught.value.where == 17


def test_a_worker_that_cannot_open_the_files_says_why() -> None:
    with (
        Feed(Probe("refuse to open"), 0, 10, 2) as feed,
        pytest.raises(InputError, match="changed while it was read"),
    ):
        next(feed)


def test_a_worker_does_not_train_on_another_file_than_its_parent(tmp_path: Path) -> None:
    source = preparation(tmp_path)
    path = tmp_path / "train.jsonl"
    path.write_text(path.read_text().replace("passage", "package"))
    with Feed(source, 0, 10, 1) as feed, pytest.raises(InputError, match="changed while"):
        next(feed)


def test_a_killed_worker_ends_the_run_in_a_line_and_at_once() -> None:
    taken: list[int] = []
    with Feed(Probe("die"), 0, 100, 2) as feed:
        with pytest.raises(ProcessError, match=r"^a worker process died .*--num-workers$"):
            taken.extend(step for step, _ in feed)
        with pytest.raises(ProcessError):  # and stays ended
            next(feed)
    assert taken == list(range(len(taken)))
    assert len(taken) <= 5  # the step at which it died is waited for in vain


@pytest.mark.parametrize("workers", [0, 2])
def test_a_feed_that_is_left_early_is_closed(workers: int) -> None:
    """One that went on would be busy for months."""
    with Feed(Probe("be slow"), 0, 10**9, workers) as feed:
        pids = {next(feed)[1] for _ in range(6)} - {os.getpid()}
    assert not any(map(alive, pids))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


ORPHANS = """
import time
from test_feed import Probe
from dprkit.training.feed import Batch, Feed

if __name__ == "__main__":
    with Feed(Probe("be slow"), 0, 10**9, 2) as feed:
        print(*{next(feed)[1] for _ in range(40)}, flush=True)
        time.sleep(60)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    here = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": here},
    )
    with parent:
        assert parent.stdout
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers
        assert all(map(alive, workers))
        parent.kill()
    ends = time.monotonic() + 10
    while any(map(alive, workers)):
        assert time.monotonic() < ends, "workers outlive their parent"
        time.sleep(0.05)


def test_workers_load_no_torch() -> None:
    program = "import sys, dprkit.training.feed; print({'torch', 'transformers'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("set()\n", "")
