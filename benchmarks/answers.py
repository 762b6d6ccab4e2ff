"""How much faster dprkit finds answers than tokenizing every passage does.

    python benchmarks/answers.py [--squad DIR] [--wiki FILE]

Both ways judge the same pairs in one run, taking turns; shown are medians of 5. dprkit begins each
time with nothing remembered. The reference, slow as it is, judges every 20th question.

    repeated   1,000 SQuAD questions, 100 passages each (the gold one and 99 at random) of 1,509
    again      the same, each time a new string, as a search gives them
    distinct   the same questions, 100 passages each out of 100,000 that occur once, each a new
               string, as when they come from a file
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import statistics
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import regex

from dprkit.data import answer_matching as matcher
from dprkit.data.answer_matching import answer_flags, has_answer

DATA = Path(__file__).resolve().parents[2] / "shared/data"
QUESTIONS, PASSAGES, RUNS, SUBSAMPLE = 1000, 100, 5, 20
TOKEN = regex.compile(
    r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]", regex.IGNORECASE | regex.UNICODE | regex.MULTILINE
)


class Task(NamedTuple):
    """One question's answers and the passages to judge."""

    answers: list[str]
    texts: list[str]


Judge = Callable[[list[str], list[str]], list[bool]]


def tokens(text: str) -> list[str]:
    return [match.group().lower() for match in TOKEN.finditer(unicodedata.normalize("NFD", text))]


def reference(answers: Sequence[str], text: str) -> bool:
    """What DPR does for each pair: tokenize the passage and the answers, compare token lists."""
    words = tokens(text)
    for answer in map(tokens, answers):
        for i in range(len(words) - len(answer) + 1):
            if words[i : i + len(answer)] == answer:
                return True
    return False


JUDGES: dict[str, Judge] = {
    "reference": lambda answers, texts: [reference(answers, text) for text in texts],
    "answer_flags": answer_flags,
    "has_answer in a loop": lambda answers, texts: [has_answer(answers, text) for text in texts],
}


def read_passages(path: Path, count: int | None = None) -> dict[str, str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        next(rows)  # the header
        return {row[0]: row[1] for row in islice(rows, count)}


def repeated_tasks(folder: Path) -> list[Task]:
    passages = read_passages(folder / "passages.tsv.gz")
    texts = list(passages.values())
    draw = random.Random(0)
    with gzip.open(folder / "dev.questions.jsonl.gz", "rt", encoding="utf-8") as file:
        questions = [json.loads(line) for line in islice(file, QUESTIONS)]
    return [
        Task(
            question["answers"],
            [passages[question["passage_id"]], *draw.sample(texts, PASSAGES - 1)],
        )
        for question in questions
    ]


def distinct_tasks(path: Path, like: Sequence[Task]) -> list[Task]:
    texts = iter(dict.fromkeys(read_passages(path, QUESTIONS * PASSAGES + 1000).values()))
    return [Task(task.answers, list(islice(texts, PASSAGES))) for task in like]


def seconds(judge: Judge, tasks: Sequence[Task]) -> float:
    matcher._ready.cache_clear()
    start = time.perf_counter()
    for task in tasks:
        judge(task.answers, task.texts)
    return time.perf_counter() - start


def new_strings(tasks: Sequence[Task]) -> list[Task]:
    """The tasks with copies of their texts, whose hashes are not known yet."""
    return [Task(answers, [f"{text} "[:-1] for text in texts]) for answers, texts in tasks]


def measure(tasks: Sequence[Task], fresh: bool) -> dict[str, float]:
    """Microseconds a pair, by judge."""
    runs: dict[str, list[float]] = {name: [] for name in JUDGES}
    for _ in range(RUNS):
        for name, judge in JUDGES.items():
            chosen = tasks[::SUBSAMPLE] if name == "reference" else tasks
            chosen = new_strings(chosen) if fresh else chosen
            runs[name].append(seconds(judge, chosen) / sum(len(task.texts) for task in chosen))
    return {name: statistics.median(run) * 1e6 for name, run in runs.items()}


def disagreements(tasks: Sequence[Task]) -> int:
    """How many questions of the subsample are judged differently by the reference."""
    judged = [[judge(*task) for task in tasks[::SUBSAMPLE]] for judge in JUDGES.values()]
    return sum(any(flags != rows[0] for flags in rows) for rows in zip(*judged, strict=True))


def report(name: str, tasks: Sequence[Task], fresh: bool) -> str:
    times = measure(tasks, fresh)
    hits = sum(sum(answer_flags(*task)) for task in tasks)
    lines = [f"{name}: {sum(len(task.texts) for task in tasks):,} pairs, {hits:,} hits"]
    for judge, microseconds in times.items():
        faster = times["reference"] / microseconds
        lines.append(f"    {judge:<22}{microseconds:>9.2f} us a pair{faster:>8.0f} x")
    lines.append(f"    questions judged differently: {disagreements(tasks)}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--squad", type=Path, default=DATA / "squad", metavar="DIR")
    wiki = DATA / "wiki/psgs_w100.slice.tsv.gz"
    parser.add_argument("--wiki", type=Path, default=wiki, metavar="FILE")
    options = parser.parse_args()
    if not options.squad.is_dir():
        parser.error(f"{options.squad}: no such folder; name one with --squad")
    tasks = repeated_tasks(options.squad)
    sys.stdout.write(report("repeated", tasks, fresh=False))
    sys.stdout.write(report("again", tasks, fresh=True))
    if options.wiki.is_file():
        distinct = distinct_tasks(options.wiki, like=tasks)
        sys.stdout.write(report("distinct", distinct, fresh=True))
    else:
        sys.stdout.write(f"distinct: left out, there is no {options.wiki}\n")
    sys.stdout.write(
        "The reference is leaner than DPR's own code, which also keeps the span and the spacing\n"
        "of each token and takes nearly twice as long: against DPR the ratios are higher.\n"
    )


if __name__ == "__main__":
    main()
