"""TREC runs: rankings as trec_eval and the tools built on it read and order them."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import BinaryIO, cast

from dprkit.data.streams import Stream, read_text_lines
from dprkit.errors import FormatError
from dprkit.records import Hit, Question, Ranking


def read_trec(stream: Stream) -> Iterator[tuple[Ranking, int]]:
    """The rankings of a TREC run with the line that each begins on; questions have no text.

    Ordered as trec_eval does it: by scores, which it reads as float32, falling, and equal ones by
    the passages' ids, falling. The lines of a question must follow one another.
    """
    lines = (_line(line, number, stream) for number, line in read_text_lines(stream))
    for question, group in groupby(lines, key=itemgetter(0)):
        _, hits, numbers = zip(*group, strict=True)
        best = sorted(hits, key=lambda hit: (hit.score, hit.id.encode()), reverse=True)
        yield Ranking(Question(question, ""), tuple(best)), numbers[0]


def _line(line: str, number: int, stream: Stream) -> tuple[str, Hit, int]:
    """The question that a line is about, its passage, and the line's number."""
    columns = line.split()
    if len(columns) != 6:
        problem = (
            f"{len(columns)} columns: neither JSON nor a TREC run, whose lines have six: question, "
            "Q0, passage, rank, score, name of the run"
        )
        raise FormatError(stream.path, number, problem)
    try:
        score = cast(float, struct.unpack("<f", struct.pack("<f", float(columns[4])))[0])
    except (ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise FormatError(stream.path, number, f"the score {columns[4]!r} is not a finite number")
    return columns[0], Hit(columns[2], score), number


def write_trec(ranking: Ranking, file: BinaryIO, tag: str = "dprkit") -> None:
    """Write a ranking as lines of a TREC run: question, Q0, passage, rank from 1, score, tag.

    A space in an id is written %20. trec_eval orders a run by its scores, which it reads as
    float32, and equal ones by the passages' ids: so scores are written that fall strictly.
    """
    question = _column(ranking.question.id)
    scores = falling([hit.score for hit in ranking.hits])
    for rank, (hit, score) in enumerate(zip(ranking.hits, scores, strict=True), start=1):
        passage = _column(hit.id)
        file.write(f"{question} Q0 {passage} {rank} {score:.9g} {tag}\n".encode())


def falling(scores: Sequence[float]) -> list[float]:
    """`scores` as float32, each one that is not below the one before it lowered to just below."""
    import numpy as np

    largest = float(np.finfo(np.float32).max)
    # Bits of float32 read as whole numbers grow with the number, if those of a negative one are
    # turned round; neighbours differ by 1.
    bits = np.clip(np.asarray(scores, np.float64), -largest, largest).astype("<f4").view("<i4")
    places = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits).astype(np.int64)
    ranks = np.arange(len(places))
    lowest = ranks[::-1] - np.float32(largest).view("<i4").item()  # room for those that follow
    places = np.minimum.accumulate(np.maximum(places, lowest) + ranks) - ranks
    bits = np.where(places < 0, -places | 0x80000000, places).astype("<u4")
    lowered: list[float] = bits.view("<f4").tolist()
    return lowered


def _column(id_: str) -> str:
    return re.sub(r"\s", lambda space: f"%{ord(space[0]):02X}", id_)
