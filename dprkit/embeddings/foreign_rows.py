"""import-embeddings: vectors in any order, written at the rows of their passages.

The corpus is read once for its ids, of which 16 bytes a passage are kept. Each shard of the
artifact is a file of its final size from its first row on; it gets its name when all its rows are
there.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable, Sequence
from itertools import count, groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dprkit.data.ids import DPR_WIKI_PREFIX
from dprkit.data.npy import write_header
from dprkit.data.passages import read_passages
from dprkit.embeddings.quantized import column_names, column_types, columns_of
from dprkit.embeddings.shards import id_lines, shard_names
from dprkit.errors import FormatError, writing
from dprkit.records import Passage
from dprkit.store.atomic_files import TEMPORARY
from dprkit.store.drafts import Draft


class CorpusRows:
    """Passage ids -> rows of the corpus, by hashes of 64 bits."""

    def __init__(self, path: str, see: Callable[[int, Passage], None]) -> None:
        """Read the corpus at `path`, whose ids all differ; each passage is shown to `see` too."""
        for self.salt in count():
            keys = array("q")
            for row, passage in enumerate(read_passages(path)):
                see(row, passage)
                keys.append(hash((self.salt, passage.id)))
            hashes: Any = np.frombuffer(keys, np.int64)
            self.order = np.argsort(hashes, kind="stable")
            self.keys = hashes[self.order]
            if not (self.keys[1:] == self.keys[:-1]).any():
                return  # else two ids of one hash: one time in 80,000 for 21 million passages

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """The rows (N,) of N ids, -1 for those that the corpus has not.

        DPR's files write an id now with "wiki:" before it and now without; either is found.
        """
        rows = self._find(ids)
        if (absent := np.flatnonzero(rows < 0)).size:
            rows[absent] = self._find([other_spelling(ids[i]) for i in absent.tolist()])
        return rows

    def _find(self, ids: Sequence[str]) -> np.ndarray:
        wanted = np.fromiter((hash((self.salt, id_)) for id_ in ids), np.int64, len(ids))
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[places] == wanted, self.order[places], -1)


def other_spelling(id_: str) -> str:
    """The id with DPR's prefix where it has none, and without it where it has."""
    bare = id_.removeprefix(DPR_WIKI_PREFIX)
    return bare if bare != id_ else DPR_WIKI_PREFIX + id_


class FilledShards:
    """The shards of an embeddings artifact, filled row by row; to be closed."""

    def __init__(self, work: Draft, passages: int, dim: int, size: int, dtype: str) -> None:
        self.work, self.passages, self.dim, self.size = work, passages, dim, size
        self.dtype, self.types = dtype, column_types(dtype, dim)
        self.shards = -(-passages // size)
        self.there = np.zeros(passages, bool)
        for number in range(self.shards):
            for name in column_names(number, dtype):
                work.claim(name)

    def close(self) -> None:
        """Leave nothing behind of shards that got no name."""
        for kind in ("vectors", "scales"):
            for left in self.work.directory.glob(f"{TEMPORARY}{kind}-*.npy"):
                left.unlink(missing_ok=True)

    def put(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Write (N, D) vectors at N rows, all different and none of them there yet."""
        order = np.argsort(rows, kind="stable")
        rows, kept = rows[order], columns_of(vectors[order], self.dtype)
        # Cut where a row does not follow the one before it, or begins a shard.
        new = (np.diff(rows) != 1) | (rows[1:] % self.size == 0)
        edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(rows)]
        for number, runs in groupby(pairwise(edges), lambda run: int(rows[run[0]]) // self.size):
            spans = [(int(rows[begin]) % self.size, begin, end) for begin, end in runs]
            for column, (kind, shape) in enumerate(self.types):
                lines = np.ascontiguousarray(kept[column], kind)
                self._write(number, column, spans, lines, shape)
        self.there[rows] = True

    def _write(
        self,
        number: int,
        column: int,
        spans: list[tuple[int, int, int]],
        lines: np.ndarray,
        shape: tuple[int, ...],
    ) -> None:
        """Write `lines` (N, *shape) to a column; `spans`: first row in the shard, from, to."""
        path, header = self._path(number, column), self._header(number, lines.dtype, shape)
        width = lines.itemsize * int(np.prod(shape))
        with writing(path):
            if not path.exists():
                path.write_bytes(header)
            with path.open("r+b") as file:
                for row, begin, end in spans:
                    file.seek(len(header) + row * width)
                    file.write(lines[begin:end].data)

    def _path(self, number: int, column: int) -> Path:
        name = column_names(number, self.dtype)[column]
        return self.work.directory / f"{TEMPORARY}{name}"

    def _header(self, number: int, kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
        rows = min(self.size, self.passages - number * self.size)
        head = io.BytesIO()
        write_header(head, (rows, *shape), kind)
        return head.getvalue()

    def finish(self) -> None:
        """Give the shards their names; every row must be there."""
        for number in range(self.shards):
            for column, name in enumerate(column_names(number, self.dtype)):
                self.work.move_in(name, self._path(number, column))
            self.work.run.progress.advance(min(self.size, self.passages - number * self.size))


def write_ids(work: Draft, path: str, size: int) -> None:
    """Write the ids of the corpus at `path`, `size` a shard."""
    ids = (passage.id for passage in read_passages(path))
    number = 0
    while shard := list(islice(ids, size)):
        with work.file(shard_names(number)[1]) as file:
            file.write(id_lines(shard))
        number += 1


def refuse_missing(placed: FilledShards, path: str) -> None:
    """Raises FormatError where a passage of the corpus at `path` got no vector."""
    if placed.there.all():
        return
    missing = int(np.flatnonzero(~placed.there)[0])
    passage = next(islice(read_passages(path), missing, None))
    others = int((~placed.there).sum()) - 1
    more = f", nor have {others:,} more" if others else ""
    raise FormatError(
        path, f"passage {missing + 1}", f"the id {passage.id!r} has no vector in the sources{more}"
    )
