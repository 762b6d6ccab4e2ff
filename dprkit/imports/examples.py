"""Training examples of questions, judgements and passages that were imported.

questions, BATCH together -> their judgements, or the gold passages that they name -> the passages,
one question after another -> examples

Positives are the passages with a grade of --min-grade or more, the highest grade first. Passages
that were judged to be none (a grade of 0 or less) are hard negatives; mine-negatives finds more.
Memory is that of a batch of questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.judgements_by_question import Judged, JudgementFile
from dprkit.data.questions import read_questions
from dprkit.imports.items import Tally
from dprkit.records import Candidate, Example, Question

BATCH = 4096
"""Questions whose passages are looked up in one pass over the keys of all."""
UNKNOWN_PASSAGE = "judgement of a passage that is not there"
UNKNOWN_GOLD = "gold passage that is not there"
UNKNOWN_QUESTION = "judgement for a question that is not there"
NO_POSITIVE = "question without a passage that answers it (no example)"


class _Chosen(NamedTuple):
    """The ids of a question's passages."""

    positives: list[str]
    hard_negatives: list[str]


def made_examples(
    questions: Path,
    passages: PassageFile,
    judgements: JudgementFile | None,
    min_grade: int,
    tally: Tally,
) -> Iterator[Example]:
    """An example for each question of a file that has a positive, in the file's order.

    A question without a judgement has the gold passages that it names as its positives. Passages
    that are not there are counted and left out.
    """
    left = read_questions(questions)
    while batch := list(islice(left, BATCH)):
        judged = judgements.of(question.id for question in batch) if judgements else {}
        ids = {id_ for question in batch for id_ in question.gold}
        ids |= {passage.passage_id for of in judged.values() for passage in of}
        rows = passages.rows_of(ids)
        for question in batch:
            own = judged.get(question.id)
            if own is None or judgements is None:
                chosen = _gold(question, rows, questions, tally)
            else:
                chosen = _graded(own, rows, min_grade, judgements.path, tally)
            if chosen.positives:
                yield _example(question, chosen, rows, passages)
            elif own or question.gold or judgements:
                tally.drop(NO_POSITIVE, f"{questions.name} (question {question.id})")


def _gold(question: Question, rows: dict[str, int], path: Path, tally: Tally) -> _Chosen:
    known = [id_ for id_ in question.gold if id_ in rows]
    for id_ in question.gold:
        if id_ not in rows:
            tally.drop(UNKNOWN_GOLD, f"{path.name} (question {question.id}, passage {id_})")
    return _Chosen(known, [])


def _graded(
    judged: Sequence[Judged], rows: dict[str, int], min_grade: int, path: Path, tally: Tally
) -> _Chosen:
    for unknown in (one for one in judged if one.passage_id not in rows):
        tally.drop(UNKNOWN_PASSAGE, f"{path.name}:{unknown.line} (passage {unknown.passage_id})")
    best_first = sorted(judged, key=lambda one: -one.grade)  # equal grades stay in order
    known = [one for one in best_first if one.passage_id in rows]
    return _Chosen(
        [one.passage_id for one in known if one.grade >= min_grade],
        [one.passage_id for one in known if one.grade < min(1, min_grade)],
    )


def _example(
    question: Question, chosen: _Chosen, rows: dict[str, int], passages: PassageFile
) -> Example:
    ids = [*chosen.positives, *chosen.hard_negatives]
    found = passages.at([rows[id_] for id_ in ids])
    candidates = tuple(Candidate(passage.id, passage.text, passage.title) for passage in found)
    split = len(chosen.positives)
    return Example(question.question, question.answers, candidates[:split], candidates[split:])


def tell_unasked(judgements: JudgementFile, tally: Tally) -> None:
    """Count the judgements of questions that no file of questions had, when all were read."""
    for question, line in judgements.unasked():
        where = f"{Path(judgements.path).name}:{line} (question {question})"
        tally.drop(UNKNOWN_QUESTION, where)


def examples_file(questions: str) -> str:
    """The file of the examples that are made of a file of questions.

    Of test.questions.jsonl it is test.jsonl, of questions.jsonl train.jsonl.
    """
    return f"{questions.removesuffix('questions.jsonl').removesuffix('.') or 'train'}.jsonl"
