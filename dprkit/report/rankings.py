"""Rankings and texts of a report, packed question by question for all systems at once.

The files of rankings are read once, side by side. Where one has its questions in another order,
rankings that come before their turn wait in a file. Memory is one ranking of each system, a few
blocks, and for each passage its id and a hash of its text: some 250 bytes.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, Any

import msgspec
from msgspec import UNSET

from dprkit.data.answer_matching import answer_spans
from dprkit.data.rankings import read_results
from dprkit.evaluation.systems import JudgedQuestion
from dprkit.records import Hit, Ranking
from dprkit.report.spool import Blocks

DIGITS = 5
"""Of a score."""


class InTurn:
    """The rankings of a file, asked for by the ids of their questions in any order, each once."""

    def __init__(self, rankings: Iterator[Ranking]) -> None:
        self._rankings = rankings
        self._early: dict[str, tuple[int, int]] = {}
        """Question -> where its ranking waits in the file, and how long it is."""
        self._file: IO[bytes] | None = None

    def of(self, question: str) -> Ranking | None:
        """The ranking of a question; None: there is none."""
        if question in self._early and self._file:
            offset, size = self._early.pop(question)
            self._file.seek(offset)
            return msgspec.msgpack.decode(self._file.read(size), type=Ranking)
        for ranking in self._rankings:
            if ranking.question.id == question:
                return ranking
            self._keep(ranking)
        return None

    def _keep(self, ranking: Ranking) -> None:
        self._file = self._file or tempfile.TemporaryFile()
        offset, data = self._file.seek(0, 2), msgspec.msgpack.encode(ranking)
        self._file.write(data)
        self._early[ranking.question.id] = offset, len(data)


class Texts:
    """Passages, numbered in order of first appearance, whose texts fill blocks.

    Two texts of one id, of systems that search different corpora, are two passages. A hit without
    a text is a passage of its id that has one, if any came before.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._numbers: dict[str, int] = {}
        """id -> number of the passage of that id that came last."""
        self._others: dict[tuple[str, int], int] = {}
        """id and hash of the text -> number, where an id has several texts."""
        self._hashes = array("q")
        self.with_text = 0

    def number(self, hit: Hit) -> int:
        """The number of the passage."""
        number = self._numbers.get(hit.id)
        if number is not None and not hit.text:
            return number
        known = hash((hit.title, hit.text)) if hit.text else 0
        if number is not None and self._hashes[number] == known:
            return number
        if number is not None:
            self._others[hit.id, self._hashes[number]] = number
            if (other := self._others.get((hit.id, known))) is not None:
                return other
        self._hashes.append(known)
        self.with_text += bool(hit.text)
        self._numbers[hit.id] = number = self._blocks.append((hit.id, hit.title, hit.text))
        return number


def packed(
    ranking: Ranking, judged: JudgedQuestion, texts: Texts, depth: int | None, match: str
) -> dict[str, Any]:
    """A ranking as the page reads it: its best `depth` passages, and those below that matter.

    These are the first with an answer, and the gold passages.
    """
    hits = ranking.hits
    ranks: Sequence[int] = range(1, len(hits) + 1)
    if depth is not None and len(hits) > depth:
        first = () if judged.answer_rank is UNSET else (judged.answer_rank,)
        lower = {rank for rank in (*first, *judged.gold_ranks) if rank and rank > depth}
        ranks = [*range(1, depth + 1), *sorted(lower)]
        hits = tuple(hits[rank - 1] for rank in ranks)
    number = texts.number
    found: dict[str, Any] = {
        "n": [number(hit) for hit in hits],
        "s": [float(f"{hit.score:.{DIGITS}g}") for hit in hits],
    }
    if ranks and ranks[-1] != len(ranks):
        found["r"] = ranks
    answers = ranking.question.answers
    if marks := {
        str(at): spans_in_utf16(answers, hit.text, match)
        for at, hit in enumerate(hits)
        if hit.has_answer
    }:
        found["m"] = marks
    if judged.gold_ranks:
        found["g"] = judged.gold_ranks
    return found


def spans_in_utf16(answers: Sequence[str], text: str, match: str) -> list[tuple[int, int]]:
    """Where answers stand in a text, in the units that JavaScript counts in."""
    spans = answer_spans(answers, text, match) if text else []
    if text.isascii() or max(text) < "\U00010000":
        return spans
    return [(utf16_length(text[:start]), utf16_length(text[:end])) for start, end in spans]


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def rankings_of(path: str) -> InTurn:
    """The rankings of a results artifact, or of a file."""
    return InTurn(read_results(path))
