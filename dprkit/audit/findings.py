"""What an audit has found, as figures with examples, as tags of questions, as repeated passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from dprkit.audit.answer_search import AnswerNumbers
from dprkit.audit.corpus_scan import CorpusFacts
from dprkit.audit.duplicates import Repeat
from dprkit.audit.figures import OF_ANSWERS, QUESTIONS, Figure
from dprkit.audit.question_findings import Findings
from dprkit.audit.question_overlap import Twin
from dprkit.data.corpus_by_row import PassageFile
from dprkit.data.json_decoding import json_lines
from dprkit.records import Question

EXAMPLES = 3
"""Examples that a figure shows."""
CHUNK = 1000
"""Repeated passages that are read together."""


@dataclass(frozen=True)
class Found:
    """All that an audit has found out."""

    questions: Sequence[Question]
    findings: Findings
    twins: dict[int, Twin]
    """Number of a question -> the training question that is most like it."""
    answers: AnswerNumbers
    facts: CorpusFacts
    corpus: PassageFile

    def knows(self, name: str) -> bool:
        """Whether a figure was looked for: some are of one way to match answers alone."""
        return name not in QUESTIONS or name in self.findings

    def figure(self, name: str) -> Figure:
        """How many of the questions, or of the passages, a figure counts."""
        if name not in QUESTIONS:
            return self._of_passages(name)
        numbers = self.findings[name]
        return _figure(len(numbers), self._concerned(name), self._examples(name, numbers))

    def _concerned(self, name: str) -> int:
        """How many questions a figure could count."""
        if name in OF_ANSWERS:
            return sum(bool(question.answers) for question in self.questions)
        if name == "gold_missing":
            return sum(bool(question.gold) for question in self.questions)
        return len(self.questions)

    def _of_passages(self, name: str) -> Figure:
        facts = self.facts
        repeats = {
            "duplicate_passage": facts.repeats,
            "near_duplicate_passage": facts.near_repeats,
        }.get(name)
        if repeats is None:
            count = facts.empty if name == "empty_passage" else facts.cut
            return _figure(count, facts.passages, [])
        return _figure(
            len(repeats), facts.passages, list(map(_pair, self._named(repeats[:EXAMPLES])))
        )

    # --- examples ---------------------------------------------------------------------------------

    def _examples(self, name: str, numbers: Sequence[int]) -> list[str]:
        if name == "common_answer":
            return self._commonest()
        return [self._example(name, number) for number in numbers[:EXAMPLES]]

    def _example(self, name: str, number: int) -> str:
        question = self.questions[number]
        if name in ("in_train", "near_train"):
            return f"{question.question} = {self.twins[number].question}"
        if name in OF_ANSWERS:
            return f"{question.question} {list(question.answers[:EXAMPLES])}"
        return question.question

    def _commonest(self) -> list[str]:
        """The answers that most passages hold."""
        shares = self.facts.shares.tolist()
        answers = {number: answer for mine in self.answers.of for answer, number in mine.items()}
        best = sorted(answers, key=shares.__getitem__, reverse=True)[:EXAMPLES]
        return [f"{answers[number]!r} in {shares[number]:.1%} of the passages" for number in best]

    # --- files ------------------------------------------------------------------------------------

    def write_tags(self, file: BinaryIO) -> None:
        """Write a line for each question, in order, with its tags."""
        tags: list[list[str]] = [[] for _ in self.questions]
        for name, about in QUESTIONS.items():
            for number in self.findings.get(name, ()):
                tags[number].append(about.tag)
        lines = json_lines(file)
        for number, question in enumerate(self.questions):
            line: dict[str, Any] = {"id": question.id, "tags": tags[number]}
            if twin := self.twins.get(number):
                line["train_question"] = twin.question
                line["similarity"] = round(twin.similarity, 4)
            lines.write(line)

    def write_repeats(self, file: BinaryIO) -> None:
        """Write a line for each passage that an earlier one has the text of, or nearly."""
        lines = json_lines(file)
        repeats = sorted([*self.facts.repeats, *self.facts.near_repeats])
        for begin in range(0, len(repeats), CHUNK):
            for line in self._named(repeats[begin : begin + CHUNK]):
                lines.write(line)

    def _named(self, repeats: Sequence[Repeat]) -> list[dict[str, Any]]:
        """Repeated passages by their ids."""
        rows = self.corpus.at([row for repeat in repeats for row in (repeat.row, repeat.earlier)])
        return [
            {"id": one.id, "repeats": other.id, "similarity": round(repeat.similarity, 4)}
            for repeat, one, other in zip(repeats, rows[::2], rows[1::2], strict=True)
        ]


def _figure(count: int, of: int, examples: list[str]) -> Figure:
    return Figure(count, of, count / of if of else None, examples)


def _pair(line: dict[str, Any]) -> str:
    return f"{line['id']} repeats {line['repeats']} ({line['similarity']:g})"
