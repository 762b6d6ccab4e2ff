"""The encoded corpus on disk: shards of vectors with the ids of their passages.

    vectors-00000.npy     (N, D) float32 or float16, memory-mappable; in 8 bits or 1 bit a number,
                          with scales-00000.npy, as dprkit.embeddings.quantized says
    ids-00000.txt         N lines, the id of each row's passage
    digests-00000.npy     (N,) uint64, a hash of each passage (dprkit.embeddings.append_and_repair)

Row r of the corpus is row r - (the shards before) of its shard, in the corpus file's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np

from dprkit.data.npy import mapped, write_header
from dprkit.embeddings.quantized import (
    Columns,
    Quantized,
    Vectors,
    column_names,
    column_types,
)
from dprkit.errors import InputError, reading
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest, read_manifest

KIND = "embeddings"


def shard_names(number: int) -> tuple[str, str, str]:
    """The files of a shard: vectors, ids, digests."""
    return f"vectors-{number:05d}.npy", f"ids-{number:05d}.txt", f"digests-{number:05d}.npy"


def id_lines(ids: Iterable[str]) -> bytes:
    """Ids as their file has them, one a line."""
    return "".join(f"{id_}\n" for id_ in ids).encode()


def write_shard(work: Draft, number: int, vectors: np.ndarray, ids: list[str]) -> None:
    """Write shard `number`: (N, D) vectors and their N ids, of passages nobody has seen."""
    vectors_name, ids_name, _ = shard_names(number)
    with work.file(vectors_name) as file:
        np.save(file, np.ascontiguousarray(vectors), allow_pickle=False)
    with work.file(ids_name) as file:
        file.write(id_lines(ids))


WriteRows = Callable[[Columns, list[str], np.ndarray], None]
"""Adds n rows to a shard: its columns, their n ids and (n,) digests of their passages."""


@contextmanager
def growing_shard(work: Draft, number: int, rows: int, dim: int, dtype: str) -> Iterator[WriteRows]:
    """Write shard `number` of `rows` passages; it appears when the block ends without an error."""
    _, ids_name, digests_name = shard_names(number)
    types = column_types(dtype, dim)
    with ExitStack() as files:
        columns = [files.enter_context(work.file(name)) for name in column_names(number, dtype)]
        ids_file = files.enter_context(work.file(ids_name))
        digests_file = files.enter_context(work.file(digests_name, content=False))
        for file, (kind, shape) in zip(columns, types, strict=True):
            write_header(file, (rows, *shape), kind)
        write_header(digests_file, (rows,), "<u8")

        def write_rows(kept: Columns, ids: list[str], digests: np.ndarray) -> None:
            for file, column, (kind, _) in zip(columns, kept, types, strict=True):
                file.write(np.ascontiguousarray(column, kind).data)
            ids_file.write(id_lines(ids))
            digests_file.write(np.ascontiguousarray(digests, "<u8").data)

        yield write_rows


class Embeddings:
    """The encoded corpus in a folder, shard by shard, memory-mapped."""

    def __init__(self, directory: Path | str, manifest: Manifest | None = None) -> None:
        """`manifest`: that of the folder, where it was read before."""
        self.directory = Path(directory)
        self.manifest: Manifest = manifest or read_manifest(directory, KIND)
        self.count = int(self.manifest.counts["passages"])
        self.dim = int(self.manifest.counts["dim"])
        self.shards = int(self.manifest.counts["shards"])
        self.truncate_dim: int | None = self.manifest.counts.get("truncate_dim")
        """What the vectors of the retriever were cut to; None: they are whole."""

    def vectors(self) -> Iterator[Vectors]:
        """The vectors (N, D) of each shard, read as they are touched.

        Raises InputError for a shard that is not as long as the manifest says.
        """
        for number in range(self.shards):
            yield self._vectors_of(number)

    def _vectors_of(self, number: int) -> Vectors:
        kept = self.mapped(shard_names(number)[0])
        if kept.dtype.kind == "f":
            return kept
        scales = [self.mapped(name) for name in column_names(number, str(kept.dtype))[1:]]
        return Quantized((kept, *scales), self.dim)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from `start` up to `stop`, (N, D) float32, copied: no page stays mapped."""
        return self.take(np.arange(start, min(stop, self.count)))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors (N, D) of `rows`, (N,) ascending, as float32, copied."""
        taken = np.empty((len(rows), self.dim), np.float32)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(shards).tolist():
            here = np.flatnonzero(shards == number)
            begin, end = int(here[0]), int(here[-1]) + 1
            local = rows[begin:end] - self._starts[number]
            consecutive = local[-1] - local[0] + 1 == len(local)
            vectors = self._vectors_of(number)
            taken[begin:end] = vectors[local[0] : local[-1] + 1] if consecutive else vectors[local]
        return taken

    @cached_property
    def _starts(self) -> np.ndarray:
        """(shards + 1,): the row that each shard begins with, and the count."""
        return np.cumsum([0, *(len(shard) for shard in self.vectors())])

    def mapped(self, name: str) -> np.ndarray:
        """A file, an array of any shape, read as it is touched, which has its right length."""
        path, record = self.directory / name, self.manifest.files[name]
        with reading(path):
            size = path.stat().st_size
        if size != record.bytes:
            raise InputError(
                f"{path}: {size} bytes where the manifest has {record.bytes}; encode again"
            )
        return mapped(path)

    def left_of(self, work: Draft) -> Iterator[tuple[int, int, Vectors]]:
        """(number, first row, vectors (N, D)) of the shards that `work` has not taken over yet.

        A shard counts as taken over, and is noted in `work`, when the next one is asked for. What
        an earlier run noted is told to its progress.
        """
        start = 0
        for number, vectors in enumerate(self.vectors()):
            key = f"shard {number}"
            if key in work.state:
                work.run.progress.advance(len(vectors))
            else:
                yield number, start, vectors
                work.state[key] = len(vectors)
                work.save()
            start += len(vectors)

    def ids(self) -> list[str]:
        """The ids of all passages, in the corpus's order."""
        ids: list[str] = []
        for number in range(self.shards):
            ids += self.ids_of(number)
        return ids

    def ids_of(self, number: int) -> list[str]:
        """The ids of the passages of shard `number`."""
        path = self.directory / shard_names(number)[1]
        with reading(path):
            return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
