"""Which rows of a file a reader can learn from, and what to say of the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dprkit.data.reader_rows import ReaderFile, ReaderRow
from dprkit.errors import InputError
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.progress import Progress
from dprkit.training.reader_batches import Draw, drawn

NAMED = 5
"""Places named in a message about rows that are left out."""
CUT = "have one only where the length cuts the text off"
NO_ANSWERS, NOT_FOUND = "name no answer", "have no passage with one of their answers"


class Usable(NamedTuple):
    """The rows of a file whose questions have a passage with an answer, and why others have not."""

    rows: np.ndarray
    """(N,) int64."""
    dropped: dict[str, int]
    """reason -> how many rows."""
    places: list[str]
    """The first rows that are left out, for a message."""
    lonely: int
    """How many of the rows have no passage without an answer."""


def usable_rows(file: ReaderFile, tokens: ReaderTokens, progress: Progress) -> Usable:
    """Looks at every row. Raises InputError where none can be learned from."""
    rows: list[int] = []
    dropped: dict[str, int] = {}
    places: list[str] = []
    lonely = 0
    progress.start("looking for answers", len(file), "questions")
    for number, row in enumerate(file):
        if reason := _reason(row, tokens):
            dropped[reason] = dropped.get(reason, 0) + 1
            places += [file.where(number)] * (len(places) < NAMED)
        else:
            rows.append(number)
            lonely += not row.negatives
        progress.advance(1)
    progress.finish()
    if not rows:
        why = _told(dropped) or "it holds no question"
        raise InputError(
            f"{file.path}: no question has a passage with an answer to be learned ({why}); name a "
            "file whose passages hold the answers of their questions"
        )
    return Usable(np.array(rows, np.int64), dropped, places, lonely)


def _reason(row: ReaderRow, tokens: ReaderTokens) -> str:
    """Why a row is left out, or ""."""
    if not row.answers:
        return NO_ANSWERS
    if not row.positives:
        return NOT_FOUND
    return "" if drawn(row, Draw(1, None), tokens, ()) else CUT


def _told(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))


def notes_about(file: ReaderFile, usable: Usable, passages: int) -> Iterator[str]:
    """What is worth keeping about a file."""
    if file.left_out:
        of_all = f"{file.left_out} of {file.left_out + len(file)} questions"
        yield f"{file.path}: fold {file.leave_out} is left out: {of_all} are not trained on"
    if usable.dropped:
        count = sum(usable.dropped.values())
        places = ", ".join(usable.places) + (", ..." if count > NAMED else "")
        yield (
            f"{file.path}: {count} of {len(file)} questions are left out: "
            f"{_told(usable.dropped)} ({places})"
        )
    if usable.lonely and passages > 1:
        yield (
            f"{file.path}: {usable.lonely} of {len(usable.rows)} questions have no passage without "
            "an answer: they teach where answers stand, not which passage has one"
        )
