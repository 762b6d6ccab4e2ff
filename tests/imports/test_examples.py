"""Training examples of questions, judgements and passages."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.judgements_by_question import JudgementFile
from dprkit.imports import examples
from dprkit.imports.examples import made_examples, tell_unasked
from dprkit.imports.items import Tally
from dprkit.records import Candidate, Example


def files(folder: Path, passages: list[str], questions: str, judged: str) -> tuple[Path, ...]:
    rows = "".join(f'{{"id": "{p}", "title": "T{p}", "text": "text {p}"}}\n' for p in passages)
    (folder / "passages.jsonl").write_text(rows)
    (folder / "questions.jsonl").write_text(questions)
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return tuple(folder / n for n in ("questions.jsonl", "passages.jsonl", "qrels.tsv"))


def candidates(*ids: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(id_, f"text {id_}", f"T{id_}") for id_ in ids)


QUESTIONS = """{"id": "q1", "question": "one", "answers": ["x"], "passage_ids": ["a"]}
{"id": "q2", "question": "two", "answers": [], "passage_ids": ["d", "z", "b"]}
{"id": "q3", "question": "three", "answers": []}
"""
JUDGED = "q1\tb\t1\nq9\ta\t1\nq1\tc\t0\nq1\tx\t3\nq1\td\t2\nq1\ta\t1\nq1\te\t-1\n"


@pytest.mark.parametrize(
    ("min_grade", "positives", "negatives"),
    [(1, "dba", "ce"), (2, "d", "ce"), (0, "dbac", "e")],
)
def test_positives_are_those_of_the_grades_best_first_or_else_the_gold_passages(
    tmp_path: Path, min_grade: int, positives: str, negatives: str
) -> None:
    questions, passages, judged = files(tmp_path, [*"abcde"], QUESTIONS, JUDGED)
    tally, judgements = Tally(), JudgementFile(judged)
    made = made_examples(questions, PassageFile(passages), judgements, min_grade, tally)
    assert [*made] == [
        Example("one", ("x",), candidates(*positives), candidates(*negatives)),
        Example("two", (), candidates("d", "b")),
    ]
    tell_unasked(judgements, tally)
    assert {reason: (d.count, d.first) for reason, d in tally.dropped.items()} == {
        "judgement of a passage that is not there": (1, "qrels.tsv:5 (passage x)"),
        "gold passage that is not there": (1, "questions.jsonl (question q2, passage z)"),
        "question without a passage that answers it (no example)": (
            1,
            "questions.jsonl (question q3)",
        ),
        "judgement for a question that is not there": (1, "qrels.tsv:3 (question q9)"),
    }


def test_batches_of_questions_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "BATCH", 7)
    draw = random.Random(0)
    ids = [f"p{n}" for n in range(50)]
    pairs = [(f"q{n}", draw.choice(ids), draw.randint(0, 3)) for n in range(60) for _ in range(4)]
    once = {(q, p): grade for q, p, grade in pairs}
    shuffled = draw.sample([*once.items()], len(once))
    judged = "".join(f"{q}\t{p}\t{grade}\n" for (q, p), grade in shuffled)
    asked = "".join(f'{{"id": "q{n}", "question": "{n}", "answers": []}}\n' for n in range(60))
    questions, passages, qrels = files(tmp_path, ids, asked, judged)
    wanted = []
    for n in range(60):
        own = [(p, grade) for (q, p), grade in shuffled if q == f"q{n}"]
        best = [p for grade in (3, 2, 1) for p, found in own if found == grade]
        worst = [p for p, found in own if found == 0]
        if best:
            wanted.append(Example(str(n), (), candidates(*best), candidates(*worst)))
    made = made_examples(questions, PassageFile(passages), JudgementFile(qrels), 1, Tally())
    assert [*made] == wanted
