"""answers.jsonl: what a reader answers to each question, written and read.

A line a question, in the order of the rankings that were read. DPR's own file of predictions is
read too: an array with `gold_answers`, and `top_k` and `prediction` for each depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from dprkit.data.ids import first_id
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.questions import named, tags_of
from dprkit.data.streams import open_stream
from dprkit.errors import FormatError, InputError
from dprkit.records import Question

ANSWERS = "answers.jsonl"
"""The file of answers in an answers artifact."""


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """The answer to a question from its best `depth` passages; no text: none was found."""

    depth: int
    text: str = ""
    start: int | None = None
    """Where it begins in the text of its passage, in characters."""
    end: int | None = None
    passage_id: str = ""
    title: str = ""
    rank: int | None = None
    """Of its passage, from 1."""
    relevance: float | None = None
    """The reader's logit for the passage."""
    span_score: float | None = None
    """The logits of its first and last token together."""
    score: float | None = None
    """What it was chosen by."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A text that may be the answer, and what it was chosen by."""

    text: str
    score: float


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A question with an answer from each depth, and its best distinct ones from the deepest."""

    question: Question
    predictions: tuple[Prediction, ...]
    best: tuple[Answer, ...] = ()


def write_answered(answered: Answered, file: BinaryIO) -> None:
    """Write a line of answers.jsonl."""
    found = {"predictions": answered.predictions, "best": answered.best}
    file.write(msgspec.json.encode(named(answered.question) | found) + b"\n")


def answers_file(path: Path | str) -> Path | str:
    """The file of answers, which may be given by the artifact that it is in."""
    inside = Path(path) / ANSWERS
    if Path(path).is_dir() and not inside.exists():
        raise InputError(
            f"{path}: holds no answers ({ANSWERS}); name a folder that dprkit read made, or a file"
        )
    return inside if inside.exists() else path


class _ForeignText(msgspec.Struct, frozen=True):
    text: str


class _ForeignPrediction(msgspec.Struct, frozen=True):
    depth: int | None = None
    text: str | None = None
    top_k: int | None = None
    prediction: _ForeignText | None = None


class _ForeignAnswered(msgspec.Struct, frozen=True):
    question: str
    predictions: Sequence[_ForeignPrediction]
    answers: list[str] = []
    gold_answers: list[str] = []
    id: str | int | None = None
    dataset: str | None = None
    tags: list[str] | str | None = None


def read_answers(path: Path | str) -> Iterator[tuple[Answered, int | str]]:
    """The answers of a file, or of an artifact, and the place of each: its line, or "byte N".

    Only depths and texts of predictions are read. Raises FormatError for a file of another kind.
    """
    path = answers_file(path)
    decode = decoder(_ForeignAnswered)
    for number, row in enumerate(read_json_rows(open_stream(path))):
        foreign = decode(row, path)
        question = Question(
            first_id(foreign.id) or str(number),
            foreign.question,
            tuple(foreign.answers or foreign.gold_answers),
            dataset=foreign.dataset or "",
            tags=tags_of(foreign.tags),
        )
        predictions = tuple(map(_prediction, foreign.predictions))
        if not predictions or any(one is None for one in predictions):
            problem = "a prediction lacks its depth or its text; read writes both"
            raise FormatError(path, row.where, problem)
        yield Answered(question, tuple(filter(None, predictions))), row.where


def _prediction(foreign: _ForeignPrediction) -> Prediction | None:
    """A prediction with its depth and text; None where it lacks one of them."""
    depth = foreign.top_k if foreign.depth is None else foreign.depth
    text = foreign.prediction.text if foreign.prediction else foreign.text
    return None if depth is None or text is None else Prediction(depth, text)
