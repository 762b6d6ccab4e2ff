"""Rankings read: results.jsonl and the forms that DPR, Pyserini and sentence-transformers write.

DPR's array has scores as strings and ids with "wiki:". Pyserini's form of it is one object:
{question id: {question, answers, contexts}}. sentence-transformers has lines of query_id, query and
results. TREC runs are in trec.py, run dicts in run_dicts.py, other forms written in
ranking_forms.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec

from dprkit.data.formats import Format, is_any, is_json, read_records
from dprkit.data.ids import DPR_WIKI_PREFIX, first_id
from dprkit.data.json_decoding import decoder, finite_score, json_lines
from dprkit.data.json_rows import head, is_keyed, keyed_rows, read_json_rows
from dprkit.data.questions import named, tags_of
from dprkit.data.run_dicts import is_run_dict, read_run_dict
from dprkit.data.streams import RawRow, Stream, open_stream
from dprkit.data.trec import read_trec
from dprkit.errors import FormatError
from dprkit.progress import Note, silent
from dprkit.records import Hit, Question, Ranking

RESULTS = "results.jsonl"
"""The file of rankings in a results artifact."""
WATCHED = 1 << 20
"""Passages whose texts are compared with the texts that the same ids have later: 100 MB."""


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
        quoted = len(title) > 1 and title[0] == title[-1] == '"'
        return (title[1:-1] if quoted else title, text) if line_end else ("", title)


class _PyseriniRanking(_ForeignRanking, frozen=True, kw_only=True, rename={"ctxs": "contexts"}):
    ctxs: Sequence[_PyseriniHit]


class _PredictedHit(_ForeignHit, frozen=True, kw_only=True, rename={"id": "corpus_id"}):
    id: str | int


_PREDICTED = {"id": "query_id", "question": "query", "ctxs": "results"}


class _PredictedRanking(_ForeignRanking, frozen=True, kw_only=True, rename=_PREDICTED):
    id: str | int
    question: str
    ctxs: Sequence[_PredictedHit]


PlacedRanking = tuple[Ranking, int | str]
"""A ranking and its place for a message: its line, or "byte N"."""


def read_results(path: Path | str, warn: Note = silent) -> Iterator[Ranking]:
    """The rankings of a file, or of a results artifact, in the file's order.

    A TREC run and a run dict are ordered as trec_eval orders them. In other files scores must not
    rise. Raises FormatError for that, for a score that is missing or not finite, for a question or,
    in a ranking, a passage that occurs twice, and for a file without rankings. `warn` is told of
    the first passage that has another text in another ranking.
    """
    if Path(path).is_dir() and (Path(path) / RESULTS).exists():
        path = Path(path) / RESULTS
    asked: set[str] = set()
    texts: dict[int, int] | None = {}
    for ranking, where in read_records(open_stream(path), FORMATS):
        if problem := _problem(ranking, asked):
            raise FormatError(path, where, problem)
        if texts is not None and (another := _with_another_text(ranking.hits, texts)):
            warn(
                f"{path}:{where}: the passage {another!r} has another text than in a ranking "
                "before; what goes by ids, such as gold passages, takes both for one"
            )
            texts = None
        yield ranking
    if not asked:
        raise FormatError(path, 1, "holds no ranking; name the file of the results")


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


def _with_another_text(hits: Sequence[Hit], texts: dict[int, int]) -> str:
    """The id of a passage that has another text than before, or "".

    `texts` has hashes of the first WATCHED passages: of the id and of the text.
    """
    for hit in hits:
        if not hit.text:
            continue
        key, text = hash(hit.id), hash(hit.text)
        known = texts.setdefault(key, text) if len(texts) < WATCHED else texts.get(key, text)
        if known != text:
            return hit.id
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


def _predicted_rankings(stream: Stream) -> Iterator[PlacedRanking]:
    decode_ranking = decoder(_PredictedRanking)
    for row in read_json_rows(stream):
        foreign = decode_ranking(row, stream.path)
        yield _ranking(str(foreign.id), foreign, row, stream.path), row.where


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


_PREDICTION = re.compile(rb'\s*\[?\s*\{\s*"query_id"\s*:')


def _is_pyserinis(stream: Stream) -> bool:
    return is_keyed(stream) and b'"contexts"' in head(stream)


def _is_predicted(stream: Stream) -> bool:
    return _PREDICTION.match(head(stream)) is not None


FORMATS = (
    Format("Pyserini's DPR run", _is_pyserinis, _pyserini_rankings),
    Format("a run dict, MTEB's predictions", is_run_dict, read_run_dict),
    Format("predictions of sentence-transformers", _is_predicted, _predicted_rankings),
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
