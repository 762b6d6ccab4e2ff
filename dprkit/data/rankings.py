"""Rankings read and written: results.jsonl, DPR's JSON array, Pyserini's DPR run, TREC runs.

DPR's array has scores as strings and ids with "wiki:". Pyserini's form of it is one object:
{question id: {question, answers, contexts}}. TREC runs are in trec.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec

from dprkit.data.formats import Format, is_any, is_json, read_records
from dprkit.data.ids import DPR_WIKI_PREFIX, first_id
from dprkit.data.json_decoding import decoder, finite_score, json_lines
from dprkit.data.json_rows import is_keyed, keyed_rows, read_json_rows
from dprkit.data.questions import named, tags_of
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

    def title_and_text(self) -> tuple[str, str]:
        return self.title or "", self.text or ""


class _ForeignRanking(msgspec.Struct, frozen=True):
    question: str
    ctxs: Sequence[_ForeignHit]
    answers: list[str] = []
    id: str | int | None = None
    gold: list[str | int] = []
    dataset: str | None = None
    tags: list[str] | str | None = None


class _PyseriniHit(_ForeignHit, frozen=True, kw_only=True, rename={"id": "docid"}):
    id: str | int

    def title_and_text(self) -> tuple[str, str]:
        """The title is the first line of the text, in quotes or without."""
        title, line_end, text = (self.text or "").partition("\n")
        return (title.strip('"'), text) if line_end else ("", title)


class _PyseriniRanking(_ForeignRanking, frozen=True, kw_only=True, rename={"ctxs": "contexts"}):
    ctxs: Sequence[_PyseriniHit]


PlacedRanking = tuple[Ranking, int | str]
"""A ranking and its place for a message: its line, or "byte N"."""


def read_results(path: Path | str) -> Iterator[Ranking]:
    """The rankings of a file, or of a results artifact, in the file's order.

    A TREC run is ordered as trec_eval orders it. In other files scores must not rise. Raises
    FormatError for that, for a score that is missing or not finite, and for a question or, in a
    ranking, a passage that occurs twice.
    """
    if Path(path).is_dir() and (Path(path) / RESULTS).exists():
        path = Path(path) / RESULTS
    seen: set[str] = set()
    for ranking, where in read_records(open_stream(path), FORMATS):
        if problem := _problem(ranking, seen):
            raise FormatError(path, where, problem)
        yield ranking


def _problem(ranking: Ranking, seen: set[str]) -> str:
    """What is wrong with a ranking, or ""; `seen` are the ids of the questions before it."""
    id_, hits = ranking.question.id, ranking.hits
    if id_ in seen:
        return f"the question id {id_!r} is that of another ranking too; ids must differ"
    seen.add(id_)
    (passage, times), *_ = Counter(hit.id for hit in hits).most_common(1) or [("", 0)]
    if times > 1:
        return f"the passage {passage!r} is {times} times in the ranking of question {id_!r}"
    for rank, (hit, after) in enumerate(pairwise(hits), start=1):
        if after.score > hit.score:
            return (
                f"the ranking of question {id_!r} is not in the order of its scores: "
                f"{after.score:g} at rank {rank + 1} follows {hit.score:g}; sort it by them"
            )
    return ""


def _rankings(stream: Stream) -> Iterator[PlacedRanking]:
    decode_ranking = decoder(_ForeignRanking)
    for number, row in enumerate(read_json_rows(stream)):
        foreign = decode_ranking(row, stream.path)
        yield _ranking(first_id(foreign.id) or str(number), foreign, row, stream.path), row.where


def _pyserini_rankings(stream: Stream) -> Iterator[PlacedRanking]:
    decode_ranking = decoder(_PyseriniRanking)
    for id_, row in keyed_rows(stream):
        yield _ranking(id_, decode_ranking(row, stream.path), row, stream.path), row.where


def _ranking(id_: str, foreign: _ForeignRanking, row: RawRow, path: Path | str) -> Ranking:
    gold = tuple(map(_passage_id, foreign.gold))
    more = foreign.dataset or "", tags_of(foreign.tags)
    question = Question(id_, foreign.question, tuple(foreign.answers), gold, *more)
    hits = []
    for rank, hit in enumerate(foreign.ctxs, start=1):
        if hit.score is None:
            problem = f"the passage at rank {rank} has no score; give each passage one"
            raise FormatError(path, row.where, problem)
        score = finite_score(hit.score, row, path, f" at rank {rank}")
        hits.append(Hit(_passage_id(hit.id), score, *hit.title_and_text(), hit.has_answer))
    return Ranking(question, tuple(hits))


def _passage_id(foreign: str | int) -> str:
    return str(foreign).removeprefix(DPR_WIKI_PREFIX)


FORMATS = (
    Format("Pyserini's DPR run", is_keyed, _pyserini_rankings),
    Format("results.jsonl, DPR's JSON array", is_json, _rankings),
    Format("a TREC run", is_any, read_trec),
)


# --- written --------------------------------------------------------------------------------------


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
