"""Rankings read: results.jsonl and the forms that DPR, Pyserini and sentence-transformers write.

DPR's array has scores as strings and ids with "wiki:". Pyserini's form of it is one object:
{question id: {question, answers, contexts}}. sentence-transformers has lines of query_id, query and
results. TREC runs are in trec.py, run dicts in run_dicts.py, other forms written in
ranking_forms.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

import msgspec
from msgspec import UNSET, UnsetType

from dprkit.data.formats import Format, is_any, is_json, read_records
from dprkit.data.ids import DPR_WIKI_PREFIX, first_id
from dprkit.data.json_decoding import decoder, finite_score
from dprkit.data.json_rows import head, is_keyed, keyed_rows, read_json_rows
from dprkit.data.questions import named, tags_of
from dprkit.data.run_dicts import is_run_dict, read_run_dict
from dprkit.data.streams import RawRow, Stream, open_stream
from dprkit.data.trec import read_trec
from dprkit.errors import DprkitError, FormatError, InputError
from dprkit.progress import Note, silent
from dprkit.records import Hit, Question, Ranking
from dprkit.store.manifests import MANIFEST

RESULTS = "results.jsonl"
"""The file of rankings in a results artifact."""
WATCHED = 1 << 20
"""Passages whose texts are compared with the texts that the same ids have later: 100 MB."""


class _ForeignHit(msgspec.Struct, frozen=True, gc=False):
    id: str | int
    score: float | str | None = None
    title: str | None = None
    text: str | None = None
    has_answer: bool | None = None
    teacher_score: float | None = None

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
    return (ranking for ranking, _ in placed_results(path, warn))


def placed_results(path: Path | str, warn: Note = silent) -> Iterator[PlacedRanking]:
    """As `read_results`, each ranking with its place; raises what that raises."""
    path = results_file(path)
    seen = Seen(path, warn)
    for ranking, where in read_records(open_stream(path), FORMATS):
        seen.add(ranking.question.id, passages_of(ranking), where)
        check(ranking, path, where)
        yield ranking, where
    seen.finish()


def results_file(path: Path | str) -> Path | str:
    """The file of rankings, which may be given by the results artifact that it is in."""
    inside = Path(path) / RESULTS
    if (Path(path) / MANIFEST).exists() and not inside.exists():
        raise InputError(f"{path}: holds no rankings ({RESULTS}); name another folder, or a file")
    return inside if inside.exists() else path


def check(ranking: Ranking, path: Path | str, where: int | str) -> None:
    """Raise FormatError for a passage that occurs twice, and for scores that rise."""
    id_, hits = ranking.question.id, ranking.hits
    (passage, times), *_ = Counter(hit.id for hit in hits).most_common(1) or [("", 0)]
    if times > 1:
        problem = f"the passage {passage!r} is {times} times in the ranking of question {id_!r}"
        raise FormatError(path, where, problem)
    for rank, (hit, after) in enumerate(pairwise(hits), start=1):
        if after.score > hit.score:
            raise FormatError(
                path,
                where,
                f"the ranking of question {id_!r} is not in the order of its scores: "
                f"{after.score:g} at rank {rank + 1} follows {hit.score:g}; sort it by them",
            )


def passages_of(ranking: Ranking) -> dict[str, int]:
    """The passages of a ranking that have texts: id -> a checksum of the text."""
    with_text = [hit for hit in ranking.hits if hit.text]
    return {hit.id: crc32(hit.text.encode("utf-8", "surrogatepass")) for hit in with_text}


class Seen:
    """What the rankings of a file have in common: ids that must differ, texts that must not."""

    def __init__(self, path: Path | str, warn: Note) -> None:
        self._path, self._warn = path, warn
        self._questions: set[str] = set()
        self._texts: dict[int, int] | None = {}
        """Hash of a passage's id -> checksum of its text, of the first WATCHED passages."""

    def add(self, id_: str, passages: Mapping[str, int], where: int | str) -> None:
        """Note a ranking. Raises FormatError where there was one with this id."""
        if id_ in self._questions:
            problem = f"the question id {id_!r} is that of another ranking too; ids must differ"
            raise FormatError(self._path, where, problem)
        self._questions.add(id_)
        if self._texts is not None and (another := _with_another_text(passages, self._texts)):
            self._warn(
                f"{self._path}:{where}: the passage {another!r} has another text than in a ranking "
                "before; what goes by ids, such as gold passages, takes both for one"
            )
            self._texts = None

    def finish(self) -> None:
        """Raise FormatError for a file without rankings."""
        if not self._questions:
            raise FormatError(self._path, 1, "holds no ranking; name the file of the results")


def _with_another_text(passages: Mapping[str, int], texts: dict[int, int]) -> str:
    """The id of a passage that has another text than before, or ""."""
    known_or_new = texts.setdefault if len(texts) < WATCHED else texts.get
    known = list(map(known_or_new, map(hash, passages), passages.values()))
    if known != list(passages.values()):
        pairs = zip(passages.items(), known, strict=True)
        return next(id_ for (id_, text), before in pairs if text != before)
    return ""


def _rankings(stream: Stream) -> Iterator[PlacedRanking]:
    return _of_rows(enumerate(read_json_rows(stream)), stream.path)


def _of_rows(rows: Iterable[tuple[int, RawRow]], path: Path | str) -> Iterator[PlacedRanking]:
    """The rankings of rows of results.jsonl or DPR's array, numbered from 0."""
    return ((parse_ranking(row, number, path), row.where) for number, row in rows)


_decode_ranking = decoder(_ForeignRanking)


def parse_ranking(row: RawRow, number: int, path: Path | str) -> Ranking:
    """The ranking of a row of results.jsonl or DPR's array, numbered from 0."""
    foreign = _decode_ranking(row, path)
    return _ranking(first_id(foreign.id) or str(number), foreign, row, path)


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
        own = hit.has_answer, hit.teacher_score
        hits.append(Hit(_passage_id(hit.id), score, *hit.title_and_text(), *own))
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


def is_results(stream: Stream) -> bool:
    """Whether a stream has rows, each a ranking: results.jsonl or DPR's array."""
    return next(format_ for format_ in FORMATS if format_.fits(stream)).read is _rankings


# --- many rows at once ----------------------------------------------------------------------------


class Rows(NamedTuple):
    """Rows of a file of rankings that follow one another, not decoded."""

    path: Path | str
    first: int
    """How many rows stand before them."""
    raw: list[RawRow]
    error: DprkitError | None = None
    """Why there are no more."""

    def rankings(self) -> Iterator[PlacedRanking]:
        """The rankings, checked one by one. Raises FormatError for what is wrong with one."""
        for ranking, where in _of_rows(enumerate(self.raw, self.first), self.path):
            check(ranking, self.path, where)
            yield ranking, where
        if self.error is not None:
            raise self.error


def read_rows(path: Path | str, size: int) -> Iterator[Rows] | None:
    """The rows of a file of rankings, some `size` bytes at once; None where it has no rows.

    In results.jsonl and DPR's array a row is a ranking. What is wrong with the file is raised by
    the rows that it concerns.
    """
    stream = open_stream(path)
    return _cut(stream, size) if is_results(stream) else None


def _cut(stream: Stream, size: int) -> Iterator[Rows]:
    rows = read_json_rows(stream)
    first, raw, left, error = 0, list[RawRow](), size, None
    while error is None:
        try:
            row = next(rows, None)
        except DprkitError as found:
            row, error = None, found
        if row is not None:
            raw.append(row)
            left -= len(row.raw)
        if left <= 0 or row is None:
            yield Rows(stream.path, first, raw, error)
            first, raw, left = first + len(raw), [], size
        if row is None:
            return


# --- written --------------------------------------------------------------------------------------


class _Written(msgspec.Struct, frozen=True, gc=False):
    """A passage in results.jsonl."""

    id: str
    title: str
    text: str | UnsetType
    score: float
    has_answer: bool | UnsetType
    teacher_score: float | UnsetType


def write_ranking(ranking: Ranking, file: BinaryIO, texts: bool = True) -> None:
    """Write a ranking as a line of results.jsonl, with or without the texts of its passages."""
    ctxs = [
        _Written(
            hit.id,
            hit.title,
            hit.text if texts else UNSET,
            hit.score,
            UNSET if hit.has_answer is None else hit.has_answer,
            UNSET if hit.teacher_score is None else hit.teacher_score,
        )
        for hit in ranking.hits
    ]
    question = ranking.question
    gold = {"gold": question.gold} if question.gold else {}
    file.write(msgspec.json.encode(named(question) | gold | {"ctxs": ctxs}) + b"\n")
