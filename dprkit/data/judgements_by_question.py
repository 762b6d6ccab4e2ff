"""Random access to judgements by their questions: a tsv of question, passage and grade.

The judgements of a question may lie anywhere in the file. An index of it (data/row_index.py) has
the key of each line's question; questions are looked up many together, in one pass over the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dprkit.data.ids import text_key
from dprkit.data.row_index import IndexedFile, RowKind, blocks
from dprkit.data.streams import Place, Stream, read_lines
from dprkit.errors import FormatError
from dprkit.progress import Note, silent

HEADER = b"query-id\tcorpus-id\tscore"


class Judged(NamedTuple):
    """A passage that was judged for a question, and the line that says so."""

    passage_id: str
    grade: int
    line: int


class JudgementFile:
    """The judgements of a tsv with HEADER."""

    def __init__(self, path: Path | str, note: Note = silent) -> None:
        """Open `path`, making its index if there is none. Raises what IndexedFile raises."""
        import numpy as np

        self._file = IndexedFile(path, JUDGEMENTS, note)
        self.path = self._file.path
        self._asked = np.zeros(len(self._file), bool)

    def of(self, questions: Iterable[str]) -> dict[str, list[Judged]]:
        """The judgements of each of `questions` that has some, in the file's order."""
        found: dict[str, list[Judged]] = {question: [] for question in questions}
        for row in self._rows_of(found):
            question, passage, grade = _cells(self._file.row(row).raw)
            if question in found:  # another id may have the same key
                self._asked[row] = True
                found[question].append(Judged(passage, int(grade), self._line(row)))
        return {question: judged for question, judged in found.items() if judged}

    def unasked(self) -> Iterator[tuple[str, int]]:
        """The question and line of each judgement whose question nobody asked for."""
        import numpy as np

        for row in np.flatnonzero(~self._asked).tolist():
            yield _cells(self._file.row(row).raw)[0], self._line(row)

    def _line(self, row: int) -> int:
        return self._file.place(row).line

    def _rows_of(self, questions: Iterable[str]) -> Iterator[int]:
        import numpy as np

        keys = np.sort(np.array([text_key(question) for question in questions], np.uint64))
        first = 0
        for block in blocks(self._file.table):
            nearest = keys[np.searchsorted(keys[1:], block["key"], side="right")]
            yield from (np.flatnonzero(nearest == block["key"]) + first).tolist()
            first += len(block)


def _cells(raw: bytes) -> list[str]:
    return raw.decode().split("\t")


def _judgement_rows(stream: Stream) -> Iterator[tuple[Place, int]]:
    for row in read_lines(stream):
        if row.raw == HEADER:
            continue
        cells = _cells(row.raw)
        if len(cells) != 3:
            raise FormatError(
                stream.path, row.where, "three columns, separated by tabs, are needed"
            )
        yield row.place, text_key(cells[0])


JUDGEMENTS = RowKind("judgements", _judgement_rows)
