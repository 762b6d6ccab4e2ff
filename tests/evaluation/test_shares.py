"""Large files are judged by processes: the same comes out, errors and warnings too."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dprkit.ahead import Ahead
from dprkit.errors import DprkitError, ProcessError
from dprkit.evaluation import shares
from dprkit.evaluation.asked import Asked
from dprkit.evaluation.evaluate import evaluate
from dprkit.evaluation.judging import Judging
from dprkit.progress import Progress, Run
from dprkit.settings import EvaluateSettings
from tests.conftest import environment

FILES = ("results.jsonl", "run.trec", "per_question.jsonl", "metrics.json")


def rows(count: int = 40) -> list[dict[str, Any]]:
    """Rankings of which some hold their answer, with ids or without, gold or none, ties."""
    return [
        {
            **({"id": f"q{n}"} if n % 3 else {}),
            "question": f"question {n}",
            "answers": [f"answer {n % 5}", "42"] if n % 7 else [],
            **({"gold": [f"p{n % 4}", "elsewhere"]} if n % 2 else {}),
            **({"dataset": "even"} if n % 2 == 0 else {}),
            "ctxs": [
                {"id": f"p{k}", "text": f"The text {k}: answer {k}, née 4{k}.", "score": -(k // 2)}
                for k in range(n % 6)
            ],
        }
        for n in range(count)
    ]


def lines(found: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in found)


class Told(Progress):
    def __init__(self) -> None:
        self.told: list[str] = []

    def warn(self, message: str) -> None:
        self.told.append(message)

    note = warn


def outcome(path: Path, folder: Path, **more: Any) -> tuple[Any, ...]:
    """What evaluate says and writes of a file, or how it fails."""
    told = Told()
    settings = EvaluateSettings(results=str(path), output_dir=str(folder), topk=(1, 2), **more)
    try:
        report = evaluate(settings, Run(told))
    except DprkitError as error:
        assert not (folder / "results.jsonl").exists()
        return type(error), str(error), told.told
    assert report.outputs
    return told.told, report.metrics, *((folder / name).read_bytes() for name in FILES)


@pytest.fixture
def make_ahead(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every file is large, its rows judged some at once, by `workers` processes or a thread."""

    def chosen(workers: int = 2) -> list[int]:
        shares_given: list[int] = []

        class Noted(Ahead[Any]):
            def __init__(self, items: Any, source: Any, _: int, **more: Any) -> None:
                super().__init__(items, source, workers, **more)

            def __next__(self) -> Any:
                shares_given.append(1)
                return super().__next__()

        monkeypatch.setattr(shares, "LARGE", 0)
        monkeypatch.setattr(shares, "SHARE", 2000)
        monkeypatch.setattr(shares, "thread_count", lambda: 2)
        monkeypatch.setattr(shares, "Ahead", Noted)
        return shares_given

    return chosen


@pytest.mark.parametrize(
    ("name", "content", "workers"),
    [
        ("lines.jsonl", lines(rows()), 2),
        ("array.json", json.dumps(rows(), indent=1).encode(), 0),
        ("packed.jsonl.gz", gzip.compress(lines(rows())), 0),
        ("blank.jsonl", lines(rows()).replace(b"\n", b"\r\n\n"), 0),
    ],
)
def test_processes_write_what_this_one_does(
    name: str, content: bytes, workers: int, tmp_path: Path, make_ahead: Any
) -> None:
    (tmp_path / name).write_bytes(content)
    here = outcome(tmp_path / name, tmp_path / "here")
    given = make_ahead(workers)
    assert outcome(tmp_path / name, tmp_path / "there") == here
    assert len(given) > 4
    _, metrics, results, trec, *_ = here
    assert 0 < metrics["answer_recall"]["1"] < 1
    assert (results.count(b"\n"), trec.count(b"\n")) == (40, 6 * 15 + 6)


def test_questions_and_measures_are_told_to_processes(tmp_path: Path, make_ahead: Any) -> None:
    found = [{**row, "id": f"q{n}"} for n, row in enumerate(rows())]
    (tmp_path / "r.jsonl").write_bytes(lines(found))
    asked = [{"id": f"q{n}", "question": f"question {n}", "answers": ["text"]} for n in range(38)]
    (tmp_path / "q.jsonl").write_bytes(lines([*asked, {**asked[0], "id": "more"}]))
    (tmp_path / "qrels.tsv").write_text("".join(f"q{n}\t0\tp1\t2\n" for n in range(30)))
    more = {"questions": str(tmp_path / "q.jsonl"), "qrels": str(tmp_path / "qrels.tsv")}
    told, *rest = outcome(tmp_path / "r.jsonl", tmp_path / "here", **more)
    make_ahead()
    assert outcome(tmp_path / "r.jsonl", tmp_path / "there", **more) == (told, *rest)
    assert any(text.startswith("2 rankings of ") for text in told)


def changed(row: int, **more: Any) -> bytes:
    found = rows()
    found[row] |= more
    return lines(found)


TWICE = [{"id": "a", "text": "x", "score": 1}, {"id": "a", "text": "x", "score": 1}]
RISING = [{"id": "a", "text": "x", "score": 1}, {"id": "b", "text": "x", "score": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(30, ctxs=TWICE), "r.jsonl:31: the passage 'a' is 2 times"),
        (changed(30, ctxs=RISING), "r.jsonl:31: the ranking of question '30' is not in the order"),
        (changed(30, id="q1"), "r.jsonl:31: the question id 'q1' is that of another"),
        (changed(5, id="q1") + b"{broken", "r.jsonl:6: the question id 'q1'"),
        (lines(rows()) + b"{broken", "r.jsonl:41: not JSON"),
        (changed(30, ctxs="none"), "r.jsonl:31: the field ctxs is text"),
        (changed(30, answers=[" "]), "question 'question 30': an answer is empty"),
        (gzip.compress(lines(rows()))[:-30], "the gzip file is cut off"),
        (json.dumps(rows()).encode()[:-1], "the JSON array is cut off here"),
        (b"[]", "holds no ranking"),
    ],
)
def test_what_is_wrong_is_said_of_the_right_place(
    content: bytes, message: str, tmp_path: Path, make_ahead: Any
) -> None:
    (tmp_path / "r.jsonl").write_bytes(content)
    here = outcome(tmp_path / "r.jsonl", tmp_path / "out")
    make_ahead(0)
    assert outcome(tmp_path / "r.jsonl", tmp_path / "out") == here
    assert message in here[1]


def test_a_passage_with_another_text_is_told_of_once(tmp_path: Path, make_ahead: Any) -> None:
    other = [{"id": "p0", "text": "another text", "score": 1}]
    found = rows()
    found[20] |= {"ctxs": other}
    found[30] |= {"ctxs": other}
    (tmp_path / "r.jsonl").write_bytes(lines(found))
    make_ahead(0)
    told, *_ = outcome(tmp_path / "r.jsonl", tmp_path / "out")
    assert [text for text in told if "'p0' has another text" in text and ":21:" in text]


def test_a_trec_run_is_judged_here(tmp_path: Path, make_ahead: Any) -> None:
    (tmp_path / "run").write_text("1 Q0 a 1 2 x\n")
    (tmp_path / "qrels").write_text("1 0 a 1\n")
    given = make_ahead()
    _, metrics, *_ = outcome(tmp_path / "run", tmp_path / "out", qrels=str(tmp_path / "qrels"))
    assert metrics["Success"]["1"] == 1
    assert not given


class Deadly(dict[str, Any]):
    """Questions whose reader is killed."""

    def get(self, key: str, default: Any = None) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_ends_it_in_a_line(tmp_path: Path, make_ahead: Any) -> None:
    (tmp_path / "r.jsonl").write_bytes(lines(rows()))
    make_ahead()
    settings = EvaluateSettings(results=str(tmp_path / "r.jsonl"))
    judge = shares.Judge(Judging(), Asked(Deadly(a=1), None), settings, False)
    with pytest.raises(ProcessError, match=r"a worker process died .*set OMP_NUM_THREADS=1$"):
        list(shares.shares_of_file(judge, Run()))


UNGUARDED = """
import sys
from dprkit.evaluation.evaluate import evaluate
from dprkit.settings import EvaluateSettings
from dprkit.evaluation import shares
shares.LARGE, shares.thread_count = 0, lambda: 2
print("once")
print(evaluate(EvaluateSettings(results=sys.argv[1], topk=(1,))).questions)
"""


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(lines(rows()))
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "r.jsonl")]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert (ran.stdout, ran.stderr) == ("once\n40\n", "")


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_an_interrupt_ends_the_processes_and_leaves_nothing(tmp_path: Path) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 2000
    with (tmp_path / "large.jsonl").open("w") as file:
        for n in range(3 * shares.LARGE // len(text)):
            ctxs = [{"id": "a", "text": text, "score": 1}]
            file.write(json.dumps({"question": f"{n}", "answers": ["cat"], "ctxs": ctxs}) + "\n")
    command = [sys.executable, "-m", "dprkit", "evaluate", "--results", "large.jsonl"]
    command += ["--output-dir", "out"]
    env = environment(OMP_NUM_THREADS="2")
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers: list[int] = []
        while len(workers) < 3:  # two, and multiprocessing's own
            time.sleep(0.01)
            workers = [int(pid) for pid in children.read_text().split()]
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert "Traceback" not in said
    ends = time.monotonic() + 10
    while any(map(alive, workers)):
        assert time.monotonic() < ends, "workers outlive their parent"
        time.sleep(0.05)
    assert not [path for path in (tmp_path / "out").rglob("*") if "results" in path.name]
