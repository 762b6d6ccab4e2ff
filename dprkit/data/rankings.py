"""Rankings: results.jsonl, DPR's JSON array (scores as strings, ids with "wiki:")."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from dprkit.data.decoding import DPR_WIKI_PREFIX, decoder, first_id, json_lines
from dprkit.data.json_array import read_json_rows
from dprkit.data.questions import named
from dprkit.data.streams import open_source
from dprkit.errors import FormatError
from dprkit.records import Hit, Question, Ranking


class _ForeignHit(msgspec.Struct, frozen=True):
    id: str | int
    score: float | str | None = None
    title: str | None = None
    text: str | None = None
    has_answer: bool | None = None


class _ForeignRanking(msgspec.Struct, frozen=True):
    question: str
    ctxs: list[_ForeignHit]
    answers: list[str] = []
    id: str | int | None = None
    gold: list[str | int] = []


def read_results(path: Path | str) -> Iterator[Ranking]:
    """The rankings of a results.jsonl, or of DPR's JSON array, in the file's order."""
    source = open_source(path)
    decode_ranking = decoder(_ForeignRanking)
    for number, row in enumerate(read_json_rows(source)):
        foreign = decode_ranking(row, path)
        question = Question(
            first_id(foreign.id) or str(number),
            foreign.question,
            tuple(foreign.answers),
            tuple(str(one).removeprefix(DPR_WIKI_PREFIX) for one in foreign.gold),
        )
        try:
            yield Ranking(question, tuple(map(_hit, foreign.ctxs)))
        except ValueError as error:
            raise FormatError(path, row.where, f"a score is no number: {error}") from None


def _hit(foreign: _ForeignHit) -> Hit:
    """DPR writes scores as strings and puts a prefix before the ids of Wikipedia passages."""
    return Hit(
        str(foreign.id).removeprefix(DPR_WIKI_PREFIX),
        float(foreign.score) if foreign.score is not None else 0.0,
        foreign.title or "",
        foreign.text or "",
        foreign.has_answer,
    )


def write_ranking(ranking: Ranking, file: BinaryIO, texts: bool = True) -> None:
    """Write a ranking as a line of results.jsonl, with or without the texts of its passages."""
    ctxs = [
        {"id": h.id, "title": h.title}
        | ({"text": h.text} if texts else {})
        | {"score": h.score}
        | ({} if h.has_answer is None else {"has_answer": h.has_answer})
        for h in ranking.hits
    ]
    question = ranking.question
    gold = {"gold": question.gold} if question.gold else {}
    json_lines(file).write(named(question) | gold | {"ctxs": ctxs})
