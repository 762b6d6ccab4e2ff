"""Token vectors of an encoded corpus on disk: shards beside those of the means.

A shard of an embeddings artifact of a late-interaction retriever has, besides what every shard has
(dprkit.embeddings.shards; the vector of a passage is there the mean of its token vectors):

    tokens-00000.npy      (T, D) float16, float32 or int8, passage after passage
    lengths-00000.npy     (N,) int32, the token vectors of each passage
    scales-00000.npy      (T,) float32, for int8 alone: a vector is its numbers times its scale
    cut-00000.npy         (N,) bool, whether a passage was longer than what the retriever reads;
                          like the digests no part of the artifact's identity
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from dprkit.data.npy import mapped, write_header
from dprkit.embeddings.shards import Embeddings, growing_shard, shard_names
from dprkit.embeddings.vector_blocks import widen
from dprkit.errors import InputError, reading, writing
from dprkit.models.token_vectors import Int8Tokens, TokenVectors, bounds_of, places
from dprkit.store.atomic_files import TEMPORARY
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest

TOKENS = "tokens"
"""What the counts of the manifest call the kind of such an artifact."""
MEANS = "float16"
"""The number type of the means."""
BLOCK_BYTES = 4 << 20
"""Of the token vectors of a block as float32."""
AnyTokens = TokenVectors | Int8Tokens


def is_tokens(manifest: Manifest) -> bool:
    """Whether an embeddings artifact has token vectors."""
    return dict(manifest.counts).get("kind") == TOKENS


def token_names(number: int, dtype: str) -> tuple[str, ...]:
    """The files of a shard of token vectors: tokens, lengths, cut, and scales for int8."""
    kinds = ("tokens", "lengths", "cut", "scales")[: 4 if dtype == "int8" else 3]
    return tuple(f"{kind}-{number:05d}.npy" for kind in kinds)


def all_names(number: int, dtype: str) -> tuple[str, ...]:
    """All files of a shard: vectors, ids, digests, and those of token vectors."""
    return (*shard_names(number), *token_names(number, dtype))


# --- writing --------------------------------------------------------------------------------------


class PassageTokens(NamedTuple):
    """What is kept of N passages."""

    means: np.ndarray
    """(N, D)."""
    tokens: AnyTokens
    cut: np.ndarray
    """(N,) bool."""

    @classmethod
    def joined(cls, parts: Sequence[PassageTokens]) -> PassageTokens:
        """Those of all parts, one behind the other; there must be a part."""
        tokens = [part.tokens for part in parts]
        values = np.concatenate([part.values for part in tokens])
        bounds = bounds_of(np.concatenate([np.diff(part.bounds) for part in tokens]))
        joined: AnyTokens = TokenVectors(values, bounds)
        if scales := [part.scales for part in tokens if isinstance(part, Int8Tokens)]:
            joined = Int8Tokens(values, np.concatenate(scales), bounds)
        means = np.concatenate([part.means for part in parts])
        return cls(means, joined, np.concatenate([part.cut for part in parts]))

    def take(self, rows: np.ndarray) -> PassageTokens:
        """Those of passages `rows` (R,), in that order, copied."""
        here = places(self.tokens.bounds, rows)
        values, bounds = self.tokens.values[here], bounds_of(np.diff(self.tokens.bounds)[rows])
        taken: AnyTokens = TokenVectors(values, bounds)
        if isinstance(self.tokens, Int8Tokens):
            taken = Int8Tokens(values, self.tokens.scales[here], bounds)
        return PassageTokens(self.means[rows], taken, self.cut[rows])


WriteTokens = Callable[[PassageTokens, list[str], np.ndarray], None]
"""Adds n passages to a shard, with their n ids and (n,) digests."""


@contextmanager
def growing_token_shard(
    work: Draft, number: int, rows: int, dim: int, dtype: str
) -> Iterator[WriteTokens]:
    """Write shard `number` of `rows` passages; it appears when the block ends without an error.

    `dtype`: float16, float32 or int8; for int8 what is written must be Int8Tokens.
    """
    tokens_name, lengths_name, cut_name, *scales_name = token_names(number, dtype)
    with ExitStack() as files:
        # The tokens are counted while they are written, so these files get their heads last.
        tokens = files.enter_context(_counted(work, tokens_name, dtype, dim))
        scales = [files.enter_context(_counted(work, name, "<f4")) for name in scales_name]
        lengths = files.enter_context(work.file(lengths_name))
        cut = files.enter_context(work.file(cut_name, content=False))
        write_header(lengths, (rows,), "<i4")
        write_header(cut, (rows,), "?")
        write_rows = files.enter_context(growing_shard(work, number, rows, dim, MEANS))

        def write(kept: PassageTokens, ids: list[str], digests: np.ndarray) -> None:
            tokens(kept.tokens.values)
            for write_scales in scales:
                write_scales(cast(Int8Tokens, kept.tokens).scales)
            lengths.write(np.ascontiguousarray(np.diff(kept.tokens.bounds), "<i4").data)
            cut.write(np.ascontiguousarray(kept.cut, "?").data)
            write_rows((kept.means,), ids, digests)

        yield write


@contextmanager
def _counted(
    work: Draft, name: str, dtype: str, *width: int
) -> Iterator[Callable[[np.ndarray], None]]:
    """A file of the draft with an array (T, *width), to which rows (n, *width) are added."""
    work.claim(name)
    count = 0
    with writing(work.directory / name):
        handle, path = tempfile.mkstemp(prefix=f"{TEMPORARY}{name}-", dir=work.directory)
        try:
            with os.fdopen(handle, "wb", buffering=1 << 20) as file:
                write_header(file, (0, *width), dtype)
                begin = file.tell()

                def write(rows: np.ndarray) -> None:
                    nonlocal count
                    count += len(rows)
                    file.write(np.ascontiguousarray(rows, dtype).data)

                yield write
                file.seek(0)
                write_header(file, (count, *width), dtype)
                if file.tell() != begin:
                    raise AssertionError("numpy keeps no room for a larger count in a header")
            work.move_in(name, Path(path))
        finally:
            with suppress(OSError):
                os.unlink(path)


def shard_in(directory: Path, number: int, dtype: str) -> PassageTokens:
    """What shard `number` in a folder keeps of its passages, read as it is touched."""
    means, values, lengths, cut, *scales = (
        mapped(directory / name) for name in (shard_names(number)[0], *token_names(number, dtype))
    )
    bounds = bounds_of(lengths)
    tokens: AnyTokens = TokenVectors(values, bounds)
    if scales:
        tokens = Int8Tokens(values, scales[0], bounds)
    return PassageTokens(means, tokens, cut)


# --- reading --------------------------------------------------------------------------------------


class _Shard(NamedTuple):
    path: Path
    start: int
    """Its first passage in the corpus."""
    first: int
    """Its first token vector in the corpus."""
    values: np.ndarray
    """(T, D), mapped."""
    scales: np.ndarray | None
    """(T,), mapped, for int8."""
    offset: int
    """Bytes of the file before the first vector."""


class TokenShards:
    """The token vectors of an encoded corpus. Memory: 8 bytes a passage, and what is asked for."""

    def __init__(self, embeddings: Embeddings) -> None:
        """Raises InputError for embeddings without token vectors, or with a shard cut short."""
        if not is_tokens(embeddings.manifest):
            raise InputError(
                f"{embeddings.directory}: holds one vector a passage and no token vectors; encode "
                "the corpus with a ColBERT retriever"
            )
        self.embeddings = embeddings
        self.count, self.dim = embeddings.count, embeddings.dim
        self.dtype = str(embeddings.manifest.settings["dtype"])
        lengths = [self._map(token_names(n, self.dtype)[1]) for n in range(embeddings.shards)]
        self._shards = list(self._opened(lengths))
        self._starts = np.array([shard.start for shard in self._shards], np.int64)
        self.bounds = bounds_of(np.concatenate([np.empty(0, np.int64), *lengths]))
        """(N + 1,) int64: where the token vectors of each passage begin and end in the corpus."""

    @property
    def tokens(self) -> int:
        """T, the token vectors of all passages."""
        return int(self.bounds[-1])

    @property
    def token_bytes(self) -> int:
        """Bytes of a token vector on disk."""
        return self.dim * np.dtype(self.dtype).itemsize + 4 * (self.dtype == "int8")

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """(start, stop) of the passages of each block, in the corpus's order.

        A block lies in one shard, and holds as many passages as BLOCK_BYTES let it, or one.
        """
        tokens = max(1, BLOCK_BYTES // (4 * max(1, self.dim)))
        ends = [*self._starts[1:].tolist(), self.count]
        found: list[tuple[int, int]] = []
        for start, end in zip(self._starts.tolist(), ends, strict=True):
            while start < end:
                limit = self.bounds[start] + tokens
                stop = int(np.searchsorted(self.bounds, limit, side="right")) - 1
                stop = min(max(stop, start + 1), end)
                found.append((start, stop))
                start = stop
        return found

    def reader(self, resident_bytes: int = 0) -> TokenReader:
        """What one thread reads blocks with. The first `resident_bytes` are read from the map."""
        return TokenReader(self, resident_bytes)

    def blocks(self, resident_bytes: int = 0) -> Iterator[tuple[int, AnyTokens]]:
        """(first row, token vectors) of all passages, block after block in the corpus's order.

        A block is there until the next one is asked for. int8 stays int8, all else is float32.
        `resident_bytes`: of the shards, from the first on, what may stay mapped; the rest is read
        into memory that is used again.
        """
        reader = self.reader(resident_bytes)
        for start, stop in self.spans:
            yield start, reader.read(start, stop)

    def take(self, rows: np.ndarray) -> AnyTokens:
        """The token vectors of passages `rows` (R,), in that order, as they are kept, copied.

        A passage may come several times. int8 gives Int8Tokens.
        """
        rows = np.asarray(rows, np.int64)
        bounds = bounds_of(self.bounds[rows + 1] - self.bounds[rows])
        values = np.empty((int(bounds[-1]), self.dim), self.dtype)
        scales = np.empty(len(values), np.float32) if self.dtype == "int8" else None
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        begins = self.bounds[rows] - self._first[shards]
        for shard, begin, into, end in zip(
            shards.tolist(), begins.tolist(), bounds.tolist(), bounds[1:].tolist(), strict=False
        ):
            here = self._shards[shard]
            values[into:end] = here.values[begin : begin + end - into]
            if scales is not None and here.scales is not None:
                scales[into:end] = here.scales[begin : begin + end - into]
        return (
            TokenVectors(values, bounds) if scales is None else Int8Tokens(values, scales, bounds)
        )

    def take_float(self, rows: np.ndarray) -> TokenVectors:
        """The token vectors of passages `rows` (R,), in that order, as float32, copied."""
        return as_float(self.take(rows))

    @cached_property
    def _first(self) -> np.ndarray:
        """(shards,): the first token vector of each."""
        return np.array([shard.first for shard in self._shards], np.int64)

    def _opened(self, lengths: list[np.ndarray]) -> Iterator[_Shard]:
        start = first = 0
        for number, counts in enumerate(lengths):
            name, _, _, *scales_name = token_names(number, self.dtype)
            values, path = self._map(name), self.embeddings.directory / name
            scales = self._map(scales_name[0]) if scales_name else None
            total = int(counts.sum(dtype=np.int64))
            if values.shape != (total, self.dim) or (scales is not None and len(scales) != total):
                raise InputError(
                    f"{path}: its shape is {values.shape} where the lengths of its passages make "
                    f"({total}, {self.dim}); encode again with --repair"
                )
            offset = path.stat().st_size - values.nbytes
            yield _Shard(path, start, first, values, scales, offset)
            start, first = start + len(counts), first + total

    def _map(self, name: str) -> np.ndarray:
        path, record = self.embeddings.directory / name, self.embeddings.manifest.files[name]
        with reading(path):
            size = path.stat().st_size
        if size != record.bytes:
            raise InputError(
                f"{path}: {size} bytes where the manifest has {record.bytes}; encode again with "
                "--repair"
            )
        return mapped(path)


class TokenReader:
    """Reads blocks of token vectors into the same memory, one after the other."""

    def __init__(self, shards: TokenShards, resident_bytes: int) -> None:
        self._of = shards
        self._resident = resident_bytes // max(1, shards.token_bytes)
        self._raw = np.empty((0, shards.dim), shards.dtype)
        self._floats = np.empty((0, shards.dim), np.float32)

    def read(self, start: int, stop: int) -> AnyTokens:
        """The token vectors of passages `start` to `stop`, of one shard, until the next ones.

        int8 stays int8, all else is float32.
        """
        of, number = self._of, int(np.searchsorted(self._of._starts, start, side="right")) - 1
        shard = of._shards[number]
        bounds = of.bounds[start : stop + 1]
        begin, end = int(bounds[0]) - shard.first, int(bounds[-1]) - shard.first
        values = self._values(shard, begin, end)
        if shard.scales is not None:
            return Int8Tokens(values, shard.scales[begin:end], bounds - bounds[0])
        return TokenVectors(self._widened(values), bounds - bounds[0])

    def _values(self, shard: _Shard, begin: int, end: int) -> np.ndarray:
        if shard.first + end <= self._resident:
            return shard.values[begin:end]
        if len(self._raw) < end - begin:
            self._raw = np.empty((end - begin, self._of.dim), self._of.dtype)
        into = self._raw[: end - begin]
        row_bytes = into.shape[1] * into.itemsize
        with reading(shard.path), shard.path.open("rb", buffering=0) as file:
            file.seek(shard.offset + begin * row_bytes)
            _fill(file, into, shard.path)
        return into

    def _widened(self, values: np.ndarray) -> np.ndarray:
        if values.dtype == np.float32:
            return values
        if len(self._floats) < len(values):
            self._floats = np.empty((len(values), self._of.dim), np.float32)
        return widen(values, self._floats[: len(values)])


def _fill(file: BinaryIO, into: np.ndarray, path: Path) -> None:
    """Read the numbers of `into`. The system gives at most 2 GB at a time."""
    left = into.reshape(-1).view(np.uint8).data
    while len(left):
        got = file.readinto(left)  # type: ignore[attr-defined]
        if not got:
            raise InputError(f"{path}: was cut short while it was read; encode again with --repair")
        left = left[got:]


def as_float(tokens: AnyTokens) -> TokenVectors:
    """The same token vectors with values (T, D) as float32."""
    if isinstance(tokens, Int8Tokens):
        return tokens.floats()
    if tokens.values.dtype == np.float32:
        return tokens
    widened = widen(tokens.values, np.empty(tokens.values.shape, np.float32))
    return TokenVectors(widened, tokens.bounds)
