"""TREC runs: rankings as trec_eval and the tools built on it read and order them."""

from __future__ import annotations

import math
import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, cast

from msgspec.structs import replace

from dprkit.data.streams import Stream, read_text_lines
from dprkit.errors import FormatError
from dprkit.records import Hit, Question, Ranking

if TYPE_CHECKING:
    import numpy as np


HELD = 1 << 20
"""Lines of a run that are put together by their questions at once: some 100 MB."""


class _Lines:
    """The lines of a question: the passage, score and line number of each."""

    def __init__(self) -> None:
        self.passages: list[str] = []
        self.scores = array("f")
        self.numbers = array("q")


def read_trec(stream: Stream) -> Iterator[tuple[Ranking, int]]:
    """The rankings of a TREC run with the line that each begins on; questions have no text.

    Ordered as trec_eval does it: by scores, which it reads as float32, falling, and equal ones by
    the passages' ids, falling. The lines of a question may lie apart, though no more than HELD
    lines; memory is that many. Raises FormatError for a passage that a question has twice.
    """
    done: set[str] = set()
    held: dict[str, _Lines] = {}
    last, count = "", 0
    for number, line in read_text_lines(stream):
        question, passage, score = _line(line, number, stream)
        if question != last and count >= HELD:
            yield from _rankings(held, stream)
            done |= held.keys()
            held, count = {}, 0
        if question in done:
            raise FormatError(stream.path, number, _apart(question))
        lines = held.setdefault(question, _Lines())
        lines.passages.append(passage)
        lines.scores.append(score)
        lines.numbers.append(number)
        last, count = question, count + 1
    yield from _rankings(held, stream)


def _apart(question: str) -> str:
    return (
        f"a line of question {question!r}, whose other lines are too far away to be put together "
        "in memory; sort the run: LC_ALL=C sort -s -k1,1 RUN > sorted.trec"
    )


def _rankings(held: dict[str, _Lines], stream: Stream) -> Iterator[tuple[Ranking, int]]:
    for question, lines in held.items():
        _refuse_duplicates(question, lines, stream)
        hits = list(map(Hit, lines.passages, lines.scores))
        yield Ranking(Question(question, ""), in_trec_order(hits)), lines.numbers[0]


def in_trec_order(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The passages of a ranking as trec_eval orders them.

    By their scores as float32, falling, and equal ones by the passages' ids, falling. The scores
    stay as they are, but where they would rise then, in a digit that float32 lacks, all become
    float32.
    """
    scores = _as_float32([hit.score for hit in hits]).tolist()
    pairs = sorted(zip(scores, hits, strict=True), key=_trec_key, reverse=True)
    best = tuple(hit for _, hit in pairs)
    if all(hit.score >= after.score for hit, after in pairwise(best)):
        return best
    return tuple(replace(hit, score=score) for score, hit in pairs)


def _trec_key(pair: tuple[float, Hit]) -> tuple[float, bytes]:
    return pair[0], pair[1].id.encode()


def _as_float32(scores: Sequence[float]) -> np.ndarray:
    """(K,) the scores, those that are too large for float32 as its largest."""
    import numpy as np

    largest = np.finfo(np.float32).max
    return np.asarray(scores, np.float64).clip(-largest, largest).astype("<f4")


def _refuse_duplicates(question: str, lines: _Lines, stream: Stream) -> None:
    """Raise a FormatError at the line of a passage that a line before it has too."""
    if len(set(lines.passages)) == len(lines.passages):
        return
    first: dict[str, int] = {}
    for passage, number in zip(lines.passages, lines.numbers, strict=True):
        if (earlier := first.setdefault(passage, number)) != number:
            problem = (
                f"the passage {passage!r} of question {question!r} is on line {earlier} too; "
                "a ranking has a passage once"
            )
            raise FormatError(stream.path, number, problem)


def _line(line: str, number: int, stream: Stream) -> tuple[str, str, float]:
    """The question, passage and score of a line. Ids may hold spaces where tabs part columns."""
    columns = [*map(str.strip, line.split("\t"))] if line.count("\t") == 5 else line.split()
    question, _, passage, _, text, _ = columns if len(columns) == 6 else [""] * 6
    if not (question and passage):
        raise FormatError(stream.path, number, _wrong_columns(len(columns)))
    try:
        score = cast(float, struct.unpack("<f", struct.pack("<f", float(text)))[0])
    except (ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise FormatError(stream.path, number, f"the score {text!r} is not a finite number")
    return question, passage, score


def _wrong_columns(count: int) -> str:
    known = {3: " (MS MARCO's form has no scores)", 4: " (judgements go to --qrels)"}
    return (
        f"{count} columns{known.get(count, '')}: neither JSON nor a TREC run, whose lines have "
        "six: question, Q0, passage, rank, score, name of the run"
    )


def write_trec(ranking: Ranking, file: BinaryIO, tag: str = "dprkit") -> None:
    """Write a ranking as lines of a TREC run: question, Q0, passage, rank from 1, score, tag.

    A space in an id is written %20. trec_eval orders a run by its scores, which it reads as
    float32, and equal ones by the passages' ids: so scores are written that fall strictly.
    """
    question, passages = _column(ranking.question.id), [hit.id for hit in ranking.hits]
    if len(" ".join(passages).split()) != len(passages):  # an id has a space
        passages = list(map(_column, passages))
    scores = falling([hit.score for hit in ranking.hits])
    ranked = enumerate(zip(passages, scores, strict=True), start=1)
    lines = [f"{question} Q0 {id_} {rank} {score:.9g} {tag}\n" for rank, (id_, score) in ranked]
    file.write("".join(lines).encode())


def falling(scores: Sequence[float]) -> list[float]:
    """`scores` as float32, each one that is not below the one before it lowered to just below."""
    import numpy as np

    # Bits of float32 read as whole numbers grow with the number, if those of a negative one are
    # turned round; neighbours differ by 1.
    bits = _as_float32(scores).view("<i4")
    places = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits).astype(np.int64)
    ranks = np.arange(len(places))
    lowest = ranks[::-1] - np.finfo("<f4").max.view("<i4").item()  # room for those that follow
    places = np.minimum.accumulate(np.maximum(places, lowest) + ranks) - ranks
    bits = np.where(places < 0, -places | 0x80000000, places).astype("<u4")
    lowered: list[float] = bits.view("<f4").tolist()
    return lowered


def _column(id_: str) -> str:
    return re.sub(r"\s", lambda space: f"%{ord(space[0]):02X}", id_)
