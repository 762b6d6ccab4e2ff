"""Rows of passages beside a question, read to be scored and written again with a teacher's scores.

    examples    the rows of DPR's files: positives, hard negatives, negatives    -> train.jsonl
    results     rankings in any form that data/rankings.py reads                 -> results.jsonl

What a row of examples has beside the scores stays as it is, also what dprkit does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from dprkit.data.examples import parse_example
from dprkit.data.formats import read_records
from dprkit.data.json_rows import read_json_rows
from dprkit.data.rankings import (
    FORMATS,
    Seen,
    check,
    is_results,
    passages_of,
    results_file,
    write_ranking,
)
from dprkit.data.streams import RawRow, open_stream
from dprkit.errors import FormatError
from dprkit.records import Candidate, Hit, Passage, Ranking

EXAMPLES = "train.jsonl"
"""The file of examples in an artifact."""
POOLS = ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs")
Scores = Sequence[float | None]


class CandidateRow(NamedTuple):
    """A question with its passages, C of them."""

    question: str
    passages: Sequence[Candidate | Passage]
    gold: frozenset[int]
    """Which of the passages are positives; of a ranking, those that are gold or hold an answer."""
    teacher_scores: Scores
    """(C,): those that the row has already."""
    where: int | str
    """The place of the row for a message: its line, or "byte N"."""
    written: Callable[[Scores], bytes]
    """The row as a line with (C,) other scores."""


def candidate_rows(path: Path | str, results: bool) -> Iterator[CandidateRow]:
    """The rows of a file of examples, or of `results`, in the file's order.

    Raises FormatError for what breaks the format, and for a ranking without texts.
    """
    return _of_results(path) if results else _of_examples(path)


def count_rows(path: Path | str, results: bool) -> int | None:
    """How many rows there are, found without decoding them; None where only reading tells."""
    stream = open_stream(results_file(path) if results else path)
    if results and not is_results(stream):
        return None
    return sum(1 for _ in read_json_rows(stream))


# --- examples -------------------------------------------------------------------------------------


def _of_examples(path: Path | str) -> Iterator[CandidateRow]:
    for row in read_json_rows(open_stream(path)):
        yield example_row(row, path)


def example_row(row: RawRow, path: Path | str) -> CandidateRow:
    """The passages of a row of DPR's files, pool after pool."""
    example = parse_example(row, path)
    passages = (*example.positives, *example.hard_negatives, *example.negatives)
    return CandidateRow(
        example.question,
        passages,
        frozenset(range(len(example.positives))),
        [passage.teacher_score for passage in passages],
        row.where,
        lambda scores: _with_scores(row, scores),
    )


def _with_scores(row: RawRow, scores: Scores) -> bytes:
    fields = msgspec.json.decode(row.raw, type=dict[str, msgspec.Raw])
    left = iter(scores)
    for pool in POOLS:
        if pool in fields:
            contexts = msgspec.json.decode(fields[pool], type=list[dict[str, msgspec.Raw]])
            for context in contexts:
                context.pop("teacher_score", None)
                if (score := next(left)) is not None:
                    context["teacher_score"] = msgspec.Raw(msgspec.json.encode(score))
            fields[pool] = msgspec.Raw(msgspec.json.encode(contexts))
    raw = msgspec.json.encode(fields)
    return (msgspec.json.format(raw, indent=-1) if b"\n" in raw or b"\r" in raw else raw) + b"\n"


# --- results --------------------------------------------------------------------------------------


def _of_results(path: Path | str) -> Iterator[CandidateRow]:
    path = results_file(path)
    seen = Seen(path, lambda _: None)
    for ranking, where in read_records(open_stream(path), FORMATS):
        seen.add(ranking.question.id, passages_of(ranking), where)
        check(ranking, path, where)
        yield _ranking_row(ranking, path, where)
    seen.finish()


def _ranking_row(ranking: Ranking, path: Path | str, where: int | str) -> CandidateRow:
    question, hits = ranking.question, ranking.hits
    if not question.question.strip():
        problem = f"the ranking {question.id!r} has no text of its question; {_GIVE_TEXTS}"
        raise FormatError(path, where, problem)
    if hits and not any(hit.text.strip() for hit in hits):
        problem = f"the passages of {question.id!r} have no texts for a teacher to read"
        raise FormatError(path, where, f"{problem}; {_GIVE_TEXTS}")
    return CandidateRow(
        question.question,
        [Passage(hit.id, hit.text, hit.title) for hit in hits],
        frozenset(n for n, hit in enumerate(hits) if hit.id in question.gold or hit.has_answer),
        [hit.teacher_score for hit in hits],
        where,
        lambda scores: _ranking_line(ranking, scores),
    )


_GIVE_TEXTS = "dprkit convert-results gives rankings their texts (--passages, --questions)"


def _ranking_line(ranking: Ranking, scores: Scores) -> bytes:
    hits = map(_with_score, ranking.hits, scores)
    line = BytesIO()
    write_ranking(replace(ranking, hits=tuple(hits)), line)
    return line.getvalue()


def _with_score(hit: Hit, score: float | None) -> Hit:
    return replace(hit, teacher_score=score)
