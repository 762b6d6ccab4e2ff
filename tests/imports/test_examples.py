"""Training examples of questions, judgements and passages."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.judgements_by_question import JudgementFile
from dprkit.errors import InputError
from dprkit.imports import examples
from dprkit.imports.examples import ExampleMaker, JudgedFile
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
    tally = Tally()
    maker, file = ExampleMaker(PassageFile(passages), min_grade, tally), judged_file(judged)
    assert [*maker.of(questions, file)] == [
        Example("one", ("x",), candidates(*positives), candidates(*negatives)),
        Example("two", (), candidates("d", "b")),
    ]
    maker.see_unasked(file)
    assert {reason: (d.count, d.first) for reason, d in tally.dropped.items()} == {
        "question without a passage that answers it (no example)": (
            1,
            "questions.jsonl (question q3)",
        ),
    }
    assert maker.notes() == [
        "judgements of passages that are not there: 1, the first at row 3 (passage x), "
        "gold passages that are not there: 1, the first at questions.jsonl (question q2, passage "
        "z), judgements for questions that are not there: 1, the first at row 1 (question q9); "
        "they are kept, and examples are made without them: if these ids should be there, import "
        "the files that have them too"
    ]
    maker.check(7)


def judged_file(path: Path) -> JudgedFile:
    return JudgedFile(JudgementFile(path), lambda row: f"row {row}")


def test_questions_of_all_splits_have_examples_in_the_split_that_judges_them(
    tmp_path: Path,
) -> None:
    questions, passages, judged = files(tmp_path, [*"abcde"], QUESTIONS, JUDGED)
    tally = Tally()
    maker = ExampleMaker(PassageFile(passages), 1, tally)
    made = maker.of(questions, judged_file(judged), judged_only=True)
    assert [example.question for example in made] == ["one"] and not tally.dropped


def test_judgements_that_all_name_what_is_not_there_are_refused(tmp_path: Path) -> None:
    questions, passages, judged = files(tmp_path, ["a"], QUESTIONS, "q9\ta\t1\nq2\tx\t1\n")
    maker, file = ExampleMaker(PassageFile(passages), 1, Tally()), judged_file(judged)
    assert not [*maker.of(questions, file, judged_only=True)]
    maker.see_unasked(file)
    maker.check(3)
    with pytest.raises(InputError, match=r"not there: 1, the first at row 1 \(passage x\), "):
        maker.check(2)


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
    maker = ExampleMaker(PassageFile(passages), 1, Tally())
    assert [*maker.of(questions, judged_file(qrels))] == wanted
