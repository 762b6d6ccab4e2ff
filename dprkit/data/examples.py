"""Training examples in DPR's bi-encoder files: a JSON array, or an object a line.

An example is a question with answers, positive_ctxs, negative_ctxs and hard_negative_ctxs; a
passage's id is passage_id (NQ) or psg_id (SQuAD). `teacher_score` is a field of dprkit's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from dprkit.data.ids import content_id, first_id, text_key
from dprkit.data.json_decoding import decoder, finite_score
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import RawRow, open_stream
from dprkit.records import Candidate, Example, Passage, same_question

TEXT_BITS = 40
"""Of the first of `example_keys`, those that stand for the text; the others are the title's."""


class Context(msgspec.Struct, frozen=True):
    """A passage as DPR's files spell it."""

    text: str
    title: str | None = None
    passage_id: str | int | None = None
    psg_id: str | int | None = None
    id: str | int | None = None
    score: float | str | None = None
    teacher_score: float | None = None


class _ForeignExample(msgspec.Struct, frozen=True):
    question: str
    positive_ctxs: list[Context]
    hard_negative_ctxs: list[Context] = []
    negative_ctxs: list[Context] = []
    answers: list[str] = []


def read_examples(path: Path | str) -> Iterator[Example]:
    """The training examples of a DPR file, a JSON array or jsonl, in the file's order."""
    for row in read_json_rows(open_stream(path)):
        yield parse_example(row, path)


_decode_example = decoder(_ForeignExample)


def parse_example(row: RawRow, path: Path | str) -> Example:
    """The example that a row of a DPR file holds."""
    foreign = _decode_example(row, path)
    return Example(
        foreign.question,
        tuple(foreign.answers),
        _candidates(foreign.positive_ctxs, row, path),
        _candidates(foreign.hard_negative_ctxs, row, path),
        _candidates(foreign.negative_ctxs, row, path),
    )


def _candidates(contexts: list[Context], row: RawRow, path: Path | str) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            context_id(context),
            context.text,
            context.title or "",
            _score(context.score, row, path),
            context.teacher_score,
        )
        for context in contexts
    )


class _Written(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A passage as it is written."""

    title: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    score: float | UnsetType = UNSET
    teacher_score: float | UnsetType = UNSET
    passage_id: str | UnsetType = UNSET


def context_of(passage: Passage) -> msgspec.Struct:
    """A passage as DPR's files spell it, to be encoded; of a Candidate with the scores it has."""
    scores = (
        (passage.score, passage.teacher_score) if isinstance(passage, Candidate) else (None, None)
    )
    score, teacher_score = scores
    return _Written(
        passage.title,
        passage.text,
        UNSET if score is None else score,
        UNSET if teacher_score is None else teacher_score,
        passage.id,
    )


def context_id(context: Context) -> str:
    """The id of a passage: its own, or one that is made from its content."""
    own_id = first_id(context.passage_id, context.psg_id, context.id)
    return own_id or content_id(context.title or "", context.text)


def _score(score: float | str | None, row: RawRow, path: Path | str) -> float | None:
    """Some files have scores as texts; an empty one counts as 0."""
    if not isinstance(score, str):
        return score
    return finite_score(score or "0", row, path)


def example_keys(row: RawRow, path: Path | str) -> tuple[int, int]:
    """Numbers of 64 bits that stand for the row's first positive and for its question.

    The positive's upper 24 bits stand for its title, the others for its text; 0 says that no
    positive has a text. The row is checked as `parse_example` checks it, at half the cost.
    """
    foreign = _decode_example(row, path)
    for contexts in (foreign.positive_ctxs, foreign.hard_negative_ctxs, foreign.negative_ctxs):
        for context in contexts:
            _score(context.score, row, path)
    question = text_key(same_question(foreign.question))
    first = next((context for context in foreign.positive_ctxs if context.text.strip()), None)
    if first is None:
        return 0, question
    title, text = text_key((first.title or "").strip()), text_key(first.text.strip())
    return title >> TEXT_BITS << TEXT_BITS | text & (1 << TEXT_BITS) - 1 or 1, question
