"""Rankings: results.jsonl, DPR's JSON array (scores as strings, ids with "wiki:"), Pyserini's form
of it ({question id: {question, answers, contexts}}), TREC runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from dprkit.data.json_decoding import DPR_WIKI_PREFIX, decoder, finite_score, first_id, json_lines
from dprkit.data.json_rows import is_keyed, keyed_rows, read_json_rows
from dprkit.data.questions import named
from dprkit.data.streams import RawRow, Stream, open_stream
from dprkit.data.trec import read_trec
from dprkit.errors import FormatError
from dprkit.records import Hit, Question, Ranking

RESULTS = "results.jsonl"
"""The file of rankings in a results artifact."""


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


class _PyseriniHit(msgspec.Struct, frozen=True):
    docid: str | int
    score: float | str | None = None
    text: str | None = None
    has_answer: bool | None = None


class _PyseriniRanking(msgspec.Struct, frozen=True):
    question: str
    contexts: list[_PyseriniHit]
    answers: list[str] = []


class _Placed(NamedTuple):
    ranking: Ranking
    where: int | str


def read_results(path: Path | str) -> Iterator[Ranking]:
    """The rankings of a file, or of a results artifact, in the file's order.

    A TREC run is ordered as trec_eval orders it. In other files scores must not rise. Raises
    FormatError for that, for a score that is missing or not finite, and for a question or, in a
    ranking, a passage that occurs twice.
    """
    if Path(path).is_dir() and (Path(path) / RESULTS).exists():
        path = Path(path) / RESULTS
    seen: set[str] = set()
    for ranking, where in _placed(open_stream(path)):
        if problem := _problem(ranking, seen):
            raise FormatError(path, where, problem)
        yield ranking


def _placed(stream: Stream) -> Iterator[_Placed]:
    if stream.first not in (b"[", b"{"):
        return (_Placed(ranking, line) for ranking, line in read_trec(stream))
    keyed, stream = is_keyed(stream)
    return _pyserini_rankings(stream) if keyed else _rankings(stream)


def _problem(ranking: Ranking, seen: set[str]) -> str:
    """What is wrong with a ranking, or ""; `seen` are the ids of the questions before it."""
    id_, hits = ranking.question.id, ranking.hits
    if id_ in seen:
        return f"the question id {id_!r} is that of another ranking too; ids must differ"
    seen.add(id_)
    (passage, times), *_ = Counter(hit.id for hit in hits).most_common(1) or [("", 0)]
    if times > 1:
        return f"the passage {passage!r} is {times} times in the ranking of question {id_!r}"
    for rank, (one, after) in enumerate(pairwise(hits), start=1):
        if after.score > one.score:
            return (
                f"the ranking of question {id_!r} is not in the order of its scores: "
                f"{after.score:g} at rank {rank + 1} follows {one.score:g}; sort it by them"
            )
    return ""


def _rankings(stream: Stream) -> Iterator[_Placed]:
    decode_ranking = decoder(_ForeignRanking)
    for number, row in enumerate(read_json_rows(stream)):
        foreign = decode_ranking(row, stream.path)
        question = Question(
            first_id(foreign.id) or str(number),
            foreign.question,
            tuple(foreign.answers),
            tuple(str(one).removeprefix(DPR_WIKI_PREFIX) for one in foreign.gold),
        )
        hits = (
            Hit(
                str(hit.id).removeprefix(DPR_WIKI_PREFIX),
                _score(hit.score, rank, row, stream),
                hit.title or "",
                hit.text or "",
                hit.has_answer,
            )
            for rank, hit in enumerate(foreign.ctxs, start=1)
        )
        yield _Placed(Ranking(question, tuple(hits)), row.where)


def _pyserini_rankings(stream: Stream) -> Iterator[_Placed]:
    """The title of a passage is the first line of its text, in quotes or without."""
    decode_ranking = decoder(_PyseriniRanking)
    for id_, row in keyed_rows(stream):
        foreign = decode_ranking(row, stream.path)
        hits = []
        for rank, hit in enumerate(foreign.contexts, start=1):
            title, line_end, text = (hit.text or "").partition("\n")
            if not line_end:
                title, text = "", title
            score = _score(hit.score, rank, row, stream)
            hits.append(Hit(str(hit.docid), score, title.strip('"'), text, hit.has_answer))
        question = Question(id_, foreign.question, tuple(foreign.answers))
        yield _Placed(Ranking(question, tuple(hits)), row.where)


def _score(score: float | str | None, rank: int, row: RawRow, stream: Stream) -> float:
    if score is None:
        raise FormatError(stream.path, row.where, f"the passage at rank {rank} has no score")
    return finite_score(score, row, stream.path, f" at rank {rank}")


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
