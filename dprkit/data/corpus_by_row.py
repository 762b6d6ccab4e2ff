"""Random access to the passages of a corpus, by an index of where they lie (data/row_index.py).

Ids are checked when the index is made: each is on one line and names one passage. So an index that
is found needs no second look. Memory is the same for any number of passages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, tee
from pathlib import Path
from typing import TYPE_CHECKING

from dprkit.data.ids import text_key
from dprkit.data.passages import passage_form, placed_passages
from dprkit.data.row_index import IndexedFile, RowKind, RowTable, blocks, changed
from dprkit.data.streams import CHUNK, Place, Stream, open_stream
from dprkit.errors import FormatError
from dprkit.progress import Note, silent
from dprkit.records import Passage

if TYPE_CHECKING:
    import numpy as np

SORTED = 1 << 21
"""Keys that are sorted in memory together, about."""
SUSPECTS = 1000
"""Keys of several rows whose ids are compared together."""


class PassageFile:
    """The passages of a DPR tsv, a jsonl or a BEIR corpus, plain or compressed."""

    def __init__(self, path: Path | str, note: Note = silent) -> None:
        """Open `path`, making its index if there is none; `note` is told what takes long.

        Raises InputError for what cannot be read at random (a pipe) and FormatError, with line or
        passage, for a broken row, an id that is empty, on two lines or not the only one of its
        name, and a file without passages.
        """
        self._file = IndexedFile(path, PASSAGES, note)
        self.path = self._file.path
        self.sha256 = self._file.sha256
        """Of the file as it lies there, compressed or not."""
        stream = open_stream(self._file.data)
        self._first, self._form = stream.first, passage_form(stream)
        if self._form:
            quoted = self._file.traits.get("quoted", self._form.quoted)
            self._form = self._form._replace(quoted=bool(quoted), checked=True, header=False)

    def __len__(self) -> int:
        return len(self._file)

    def where(self, row: int) -> int | str:
        """Where the passage at `row` begins for a message: its line, or "byte N" in an array."""
        return self._file.place(row).where

    def passages(self, start: int = 0, stop: int | None = None) -> Iterator[Passage]:
        """The passages from row `start` up to `stop`, as a slice has them.

        Nothing before `start` is read. Raises InputError where the file was changed meanwhile.
        """
        first, last, _ = slice(start, stop).indices(len(self))
        if first < last:
            begin, end = self._file.place(first), self._file.place(last - 1)
            yield from self._parsed(self._chunks(begin.start, end.start + end.length))

    def at(self, rows: Sequence[int]) -> list[Passage]:
        """The passages at `rows`, in that order. A row that is named again is read once."""
        passages = dict(self._pairs(sorted(set(rows))))
        return [passages[row] for row in rows]

    def spread(self, count: int) -> list[Passage]:
        """`count` passages from all over the corpus, in its order; all of one that has fewer."""
        return self.at(sorted({len(self) * i // count for i in range(count)}))

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The row of each of `ids`; those that no passage has are left out.

        Looks through the keys of all rows: about 10 ns a passage.
        """
        import numpy as np

        wanted = set(ids)
        keys = np.sort(np.fromiter(map(text_key, wanted), np.uint64, len(wanted)))
        rows: dict[str, int] = {}
        for row, passage in self._pairs(self._rows_with(keys) if wanted else ()):
            if passage.id in wanted:  # another id may have the same key
                rows[passage.id] = row
            if len(rows) == len(wanted):
                break
        return rows

    def _rows_with(self, keys: np.ndarray) -> Iterator[int]:
        """The rows that have one of `keys`, which are in order."""
        import numpy as np

        first = 0
        for block in blocks(self._file.table):
            nearest = keys[np.searchsorted(keys[1:], block["key"], side="right")]
            yield from (np.flatnonzero(nearest == block["key"]) + first).tolist()
            first += len(block)

    def _pairs(self, rows: Iterable[int]) -> Iterator[tuple[int, Passage]]:
        """Each of `rows`, none of them twice, with its passage."""
        rows, wanted = tee(rows)
        try:
            yield from zip(rows, self._parsed(self._lines(wanted)), strict=True)
        except ValueError:  # a row was parsed as none or as a part of the one before
            raise changed(self.path) from None

    def _lines(self, rows: Iterable[int]) -> Iterator[bytes]:
        """The bytes of `rows` as they would stand in a file of them alone, in pieces."""
        between = b",\n" if self._first == b"[" else b"\n"
        for number, row in enumerate(rows):
            yield (between if number else b"") + self._file.row(row).raw

    def _chunks(self, begin: int, end: int) -> Iterator[bytes]:
        for start in range(begin, end, CHUNK):
            yield self._file.read(start, min(CHUNK, end - start))

    def _parsed(self, chunks: Iterator[bytes]) -> Iterator[Passage]:
        """The passages in whole rows, which were found in order when the index was made."""
        if self._first == b"[":
            chunks = chain((b"[",), chunks, (b"]",))
        stream = Stream(self.path, self._first, chunks)
        try:
            for _, passage in placed_passages(stream, self._form):
                yield passage
        except FormatError:
            raise changed(self.path) from None


# --- making the index -----------------------------------------------------------------------------


def _passage_rows(stream: Stream) -> Iterator[tuple[Place, int]]:
    """Where each passage lies, with the key of its id."""
    place = None
    for place, passage in placed_passages(stream):
        if "\n" in passage.id or "\r" in passage.id:
            problem = f"the id {passage.id!r} holds a line break"
            raise FormatError(stream.path, place.where, problem)
        yield place, text_key(passage.id)
    if place is None:
        raise FormatError(stream.path, 1, "holds no passage; name the file of the corpus")


def _refuse_duplicates(path: Path, table: RowTable) -> None:
    """Raise a FormatError for an id that occurs twice."""
    repeated = _repeated(table)
    while suspects := set(islice(repeated, SUSPECTS)):
        _compare(path, suspects)


PASSAGES = RowKind("passages", _passage_rows, _refuse_duplicates)


def _compare(path: Path, suspects: set[int]) -> None:
    """Two ids of one key may still differ: compare the ids themselves."""
    seen: dict[str, int] = {}
    for number, (place, passage) in enumerate(placed_passages(open_stream(path)), start=1):
        if text_key(passage.id) in suspects and seen.setdefault(passage.id, number) != number:
            problem = (
                f"the id {passage.id!r} is that of passage {seen[passage.id]} too; "
                "an id names one passage"
            )
            raise FormatError(path, place.where, problem)


def _repeated(table: RowTable) -> Iterator[int]:
    """The keys that several rows have."""
    import numpy as np

    for keys in _shares(table):
        keys.sort()
        yield from np.unique(keys[1:][keys[1:] == keys[:-1]]).tolist()


def _shares(table: RowTable) -> Iterator[np.ndarray]:
    """The keys in shares of SORTED at most, equal keys in the same share.

    Each share is a pass over the table: 0.1 s for 20 million rows.
    """
    import numpy as np

    shares = 1 << ((len(table) - 1) // SORTED).bit_length()
    for share in range(shares):
        keys, count = [], 0
        for block in blocks(table):
            keys.append(block["key"][block["key"] & np.uint64(shares - 1) == share])
            count += len(keys[-1])
            if (
                count > 4 * SORTED
            ):  # different keys would be fewer: some repeat, and that is seen by now
                break
        yield np.concatenate(keys)
