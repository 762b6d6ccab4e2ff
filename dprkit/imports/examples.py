"""Training examples of questions, judgements and passages that were imported.

questions, BATCH together -> their judgements, or the gold passages that they name -> the passages,
one question after another -> examples

Positives are the passages with a grade of --min-grade or more, the highest grade first. Passages
that were judged to be none (a grade of 0 or less) are hard negatives; mine-negatives finds more.
Memory is that of a batch of questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.judgements_by_question import Judged, JudgementFile
from dprkit.data.questions import read_questions
from dprkit.errors import InputError
from dprkit.imports.items import Dropped, Tally
from dprkit.records import Candidate, Example, Question

BATCH = 4096
"""Questions whose passages are looked up in one pass over the keys of all."""
UNKNOWN_PASSAGE = "judgements of passages that are not there"
UNKNOWN_GOLD = "gold passages that are not there"
UNKNOWN_QUESTION = "judgements for questions that are not there"
NO_POSITIVE = "question without a passage that answers it (no example)"


class _Chosen(NamedTuple):
    """The ids of a question's passages."""

    positives: list[str]
    hard_negatives: list[str]


class JudgedFile(NamedTuple):
    """A file of judgements that was written, and the places that its rows had in the sources."""

    file: JudgementFile
    place: Callable[[int], str]

    def place_of(self, line: int) -> str:
        """Where the judgement in a line of the file comes from."""
        return self.place(line - 2)  # a line is counted from 1, and the first is the header


class ExampleMaker:
    """Makes the examples of files of questions, and knows which ids are named and not there.

    What names such an id stays in its file, as in the source; no example has it.
    """

    def __init__(self, passages: PassageFile, min_grade: int, tally: Tally) -> None:
        self._passages, self._min_grade, self._tally = passages, min_grade, tally
        self._missing: dict[str, Dropped] = {}
        self._made = 0

    def of(
        self, questions: Path, judged: JudgedFile | None, judged_only: bool = False
    ) -> Iterator[Example]:
        """An example for each question of a file that has a positive, in the file's order.

        A question without a judgement has the gold passages that it names as its positives, or is
        passed over with `judged_only`.
        """
        left = read_questions(questions)
        while batch := list(islice(left, BATCH)):
            judgements = judged.file.of(question.id for question in batch) if judged else {}
            ids = {id_ for question in batch for id_ in question.gold}
            ids |= {passage.passage_id for of in judgements.values() for passage in of}
            rows = self._passages.rows_of(ids)
            for question in batch:
                own = judgements.get(question.id)
                if own is None and judged_only:
                    continue
                if own is None or judged is None:
                    chosen = self._gold(question, rows, questions)
                else:
                    chosen = self._graded(own, rows, judged)
                if chosen.positives:
                    self._made += 1
                    yield _example(question, chosen, rows, self._passages)
                elif own or question.gold or judged:
                    self._tally.drop(NO_POSITIVE, f"{questions.name} (question {question.id})")

    def _gold(self, question: Question, rows: dict[str, int], path: Path) -> _Chosen:
        known = [id_ for id_ in question.gold if id_ in rows]
        for id_ in question.gold:
            if id_ not in rows:
                where = f"{path.name} (question {question.id}, passage {id_})"
                self._miss(UNKNOWN_GOLD, where)
        return _Chosen(known, [])

    def _graded(
        self, judgements: Sequence[Judged], rows: dict[str, int], judged: JudgedFile
    ) -> _Chosen:
        for one in judgements:
            if one.passage_id not in rows:
                where = f"{judged.place_of(one.line)} (passage {one.passage_id})"
                self._miss(UNKNOWN_PASSAGE, where)
        best_first = sorted(judgements, key=lambda one: -one.grade)  # equal grades stay in order
        known = [one for one in best_first if one.passage_id in rows]
        return _Chosen(
            [one.passage_id for one in known if one.grade >= self._min_grade],
            [one.passage_id for one in known if one.grade < min(1, self._min_grade)],
        )

    def _miss(self, what: str, where: str) -> None:
        self._missing.setdefault(what, Dropped(0, where)).count += 1

    def see_unasked(self, judged: JudgedFile) -> None:
        """Count the judgements of questions that no file of questions had, when all were read."""
        for question, line in judged.file.unasked():
            self._miss(UNKNOWN_QUESTION, f"{judged.place_of(line)} (question {question})")

    def check(self, judgements: int) -> None:
        """Raise InputError where there are `judgements` and each names an id that is not there."""
        unknown = (self._missing.get(what) for what in (UNKNOWN_PASSAGE, UNKNOWN_QUESTION))
        if judgements and not self._made and sum(o.count for o in unknown if o) >= judgements:
            raise InputError(
                f"no judgement names a question and a passage that are there ({self._told()}); "
                "import files that belong together"
            )

    def notes(self) -> list[str]:
        """What to tell of ids that are not there."""
        if not self._missing:
            return []
        return [
            f"{self._told()}; they are kept, and examples are made without them: if these ids "
            "should be there, import the files that have them too"
        ]

    def _told(self) -> str:
        return ", ".join(
            f"{what}: {one.count:,}, the first at {one.first}"
            for what, one in self._missing.items()
        )


def _example(
    question: Question, chosen: _Chosen, rows: dict[str, int], passages: PassageFile
) -> Example:
    ids = [*chosen.positives, *chosen.hard_negatives]
    found = passages.at([rows[id_] for id_ in ids])
    candidates = tuple(Candidate(passage.id, passage.text, passage.title) for passage in found)
    split = len(chosen.positives)
    return Example(question.question, question.answers, candidates[:split], candidates[split:])


def examples_file(questions: str) -> str:
    """The file of the examples that are made of a file of questions.

    Of test.questions.jsonl it is test.jsonl, of questions.jsonl train.jsonl.
    """
    return f"{questions.removesuffix('questions.jsonl').removesuffix('.') or 'train'}.jsonl"
