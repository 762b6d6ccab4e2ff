"""What the shards of an encoded corpus hold of each passage, and how it is made.

SingleVectors     a vector, by a bi-encoder                        shards.py
TokenContents     token vectors and their mean, by a ColBERT model token_shards.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dprkit.data.npy import mapped
from dprkit.embeddings.append_and_repair import Found
from dprkit.embeddings.quantized import (
    Columns,
    bytes_a_vector,
    column_names,
    columns_of,
    largest,
    scale_of,
)
from dprkit.embeddings.shards import growing_shard, shard_names
from dprkit.embeddings.token_bytes import bytes_a_passage
from dprkit.embeddings.token_pooling import pooled
from dprkit.embeddings.token_shards import (
    TOKENS,
    AnyTokens,
    PassageTokens,
    all_names,
    growing_token_shard,
    shard_in,
    token_names,
)
from dprkit.models.config import ColbertConfig, load_config
from dprkit.models.retriever import Retriever, load_bi_encoder_retriever, load_late_retriever
from dprkit.models.token_vectors import TokenVectors, quantized
from dprkit.models.tokens import Ids
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.settings import EncodeSettings
from dprkit.store.drafts import Draft

if TYPE_CHECKING:
    from dprkit.models.late_retriever import LateRetriever

Write = Callable[[Any, list[str], np.ndarray], None]
"""Adds what is kept of n passages to a shard, with their n ids and (n,) digests."""


class Contents(Protocol):
    """What is kept of passages. What `encode`, `taken_over` and `whole` give is its own affair."""

    window: int
    """Passages that are encoded together: it bounds memory and leaves little padding."""
    large: bool
    """Whether so much is kept that the disk is asked for room first."""

    @property
    def retriever(self) -> Retriever | LateRetriever:
        """The retriever, loaded when it is first needed."""

    def files(self, number: int) -> tuple[str, ...]:
        """The files of a shard."""

    def growing(self, work: Draft, number: int, rows: int) -> AbstractContextManager[Write]:
        """Write shard `number` of `rows` passages."""

    def bytes_a_passage(self, passages: Sequence[Passage]) -> float:
        """Bytes that a passage takes on disk, on average, by a sample of passages."""

    def taken_over(self, directory: Path, parts: Sequence[Found]) -> Any:
        """What is kept of the passages in `parts`, in the order of their places."""

    def encode(self, ids: Ids) -> Any:
        """What the retriever makes of N passages."""

    def unfit(self, made: Any) -> tuple[int, str] | None:
        """The first of the passages in `made` that cannot be kept, and why."""

    def whole(self, known: np.ndarray, before: Any, made: Any, cut: Sequence[bool]) -> Any:
        """What is kept of N passages: `before` of those that are `known` (N,), else `made`.

        `before` may be None where none is known.
        `cut`: for each passage that was made, whether it was longer than what is read.
        """

    def counts(self, directory: Path, numbers: Sequence[int]) -> dict[str, Any]:
        """What the manifest counts besides passages and shards, of shards that are whole."""


def contents_of(settings: EncodeSettings, run: Run) -> Contents:
    """What the shards will hold by these settings, which are resolved."""
    late = isinstance(load_config(str(settings.retriever)), ColbertConfig)
    return TokenContents(settings) if late else SingleVectors(settings, run)


class SingleVectors:
    """A vector a passage, by a bi-encoder."""

    window, large = 1024, False

    def __init__(self, settings: EncodeSettings, run: Run) -> None:
        self.settings, self.run, self.dtype = settings, run, str(settings.dtype)

    @cached_property
    def retriever(self) -> Retriever:
        """The bi-encoder, loaded when it is first needed."""
        s = self.settings
        path = str(s.retriever)
        return load_bi_encoder_retriever(
            path, s.backend, s.int8, s.precision, self.run, s.truncate_dim
        )

    def files(self, number: int) -> tuple[str, ...]:
        """Vectors, ids, digests, and what belongs to the vectors."""
        return (*shard_names(number), *column_names(number, self.dtype)[1:])

    def growing(self, work: Draft, number: int, rows: int) -> AbstractContextManager[Write]:
        """Write shard `number` of `rows` passages, some at a time."""
        return growing_shard(work, number, rows, self.retriever.dim, self.dtype)

    def bytes_a_passage(self, passages: Sequence[Passage]) -> float:
        """Bytes of a vector, an id and a digest, on average."""
        ids = sum(len(p.id.encode()) + 1 for p in passages) / len(passages)
        return bytes_a_vector(self.dtype, self.retriever.dim) + ids + 8

    def taken_over(self, directory: Path, parts: Sequence[Found]) -> Columns:
        """The columns of the passages in `parts`, K lines each, in the order of their places."""
        each = zip(*(column_names(part.number, self.dtype) for part in parts), strict=True)
        return tuple(_taken(directory, names, parts) for names in each)

    def encode(self, ids: Ids) -> np.ndarray:
        """The vectors (N, D) of N passages."""
        return self.retriever.encode("passage", ids, self.settings.batch_tokens)

    def unfit(self, made: np.ndarray) -> tuple[int, str] | None:
        """The first vector of (N, D) that is no number, or too large to be kept, and why."""
        fit = (np.abs(made) <= largest(self.dtype)).all(axis=1)  # a NaN is not
        if fit.all():
            return None
        bad = int(fit.argmin())
        if np.isfinite(found := np.abs(made[bad]).max()):
            return bad, f"holds {found:.3g}, too large for float16; use --dtype float32"
        return bad, NO_NUMBER

    def whole(
        self, known: np.ndarray, before: Columns | None, made: np.ndarray, cut: Sequence[bool]
    ) -> Columns:
        """N lines of each column: of `before` where a passage is known (N,), else of `made`."""
        columns = columns_of(made, self.dtype)
        if before is None:
            return columns
        order = np.argsort(np.concatenate([np.flatnonzero(known), np.flatnonzero(~known)]))
        return tuple(np.concatenate(both)[order] for both in zip(before, columns, strict=True))

    def counts(self, directory: Path, numbers: Sequence[int]) -> dict[str, Any]:
        """The width of the vectors, whether they were cut to it, and what scales their numbers."""
        size = self.settings.truncate_dim
        counts = scale_of(self.dtype) | ({"truncate_dim": size} if size else {})
        if self.dtype == "binary" and numbers:  # the file has bytes, of 8 numbers
            return {"dim": self.retriever.dim, **counts}
        return {"dim": _dim(directory, numbers), **counts}


def _taken(directory: Path, names: Sequence[str], parts: Sequence[Found]) -> np.ndarray:
    """The rows of `parts` in their files `names`, in the order of their places."""
    kept = [mapped(directory / n)[part.rows] for n, part in zip(names, parts, strict=True)]
    taken: np.ndarray = np.concatenate(kept)[_order(parts)]
    return taken


NO_NUMBER = "is no number (NaN or infinite)"


class TokenContents:
    """Token vectors of each passage and their mean, by a ColBERT model."""

    window, large = 256, True
    """A window of passages has some hundred times the numbers that it has for a bi-encoder."""

    def __init__(self, settings: EncodeSettings) -> None:
        self.settings, self.dtype = settings, str(settings.dtype)

    @cached_property
    def retriever(self) -> LateRetriever:
        """The ColBERT model, loaded when it is first needed."""
        return load_late_retriever(str(self.settings.retriever), self.settings.precision)

    def files(self, number: int) -> tuple[str, ...]:
        """Means, ids, digests, token vectors and what belongs to them."""
        return all_names(number, self.dtype)

    def growing(self, work: Draft, number: int, rows: int) -> AbstractContextManager[Write]:
        """Write shard `number` of `rows` passages."""
        return growing_token_shard(work, number, rows, self.retriever.dim, self.dtype)

    def bytes_a_passage(self, passages: Sequence[Passage]) -> float:
        """Bytes of all that is kept of a passage, on average."""
        return bytes_a_passage(passages, self.retriever.tokens, self.settings)

    def taken_over(self, directory: Path, parts: Sequence[Found]) -> PassageTokens:
        """What is kept of the passages in `parts`, in the order of their places."""
        kept = [shard_in(directory, part.number, self.dtype).take(part.rows) for part in parts]
        return PassageTokens.joined(kept).take(_order(parts))

    def encode(self, ids: Ids) -> TokenVectors:
        """The token vectors of N passages."""
        return self.retriever.encode_ids("passage", ids, self.settings.batch_tokens)

    def unfit(self, made: TokenVectors) -> tuple[int, str] | None:
        """The first passage with a token vector that is no number, and why."""
        fit = np.isfinite(made.values).all(axis=1)
        if fit.all():
            return None
        return int(np.searchsorted(made.bounds, fit.argmin(), side="right")) - 1, NO_NUMBER

    def whole(
        self,
        known: np.ndarray,
        before: PassageTokens | None,
        made: TokenVectors,
        cut: Sequence[bool],
    ) -> PassageTokens:
        """What is kept of N passages: `before` where one is known (N,), else of `made`.

        The mean is that of all token vectors, before they are pooled.
        """
        means, tokens = made.means(), pooled(made, self.settings.pool_factor)
        kept = PassageTokens(means, self._as_kept(tokens), np.array(cut, bool))
        if before is None:
            return kept
        order = np.argsort(np.concatenate([np.flatnonzero(known), np.flatnonzero(~known)]))
        return PassageTokens.joined([before, kept]).take(order)

    def counts(self, directory: Path, numbers: Sequence[int]) -> dict[str, Any]:
        """The width of the vectors, the token vectors, and the passages that were cut."""
        names = [token_names(number, self.dtype) for number in numbers]
        tokens = sum(int(mapped(directory / name[1]).sum(dtype=np.int64)) for name in names)
        cut = sum(int(mapped(directory / name[2]).sum()) for name in names)
        return {"dim": _dim(directory, numbers), "kind": TOKENS, "tokens": tokens, "cut": cut}

    def _as_kept(self, tokens: TokenVectors) -> AnyTokens:
        if self.dtype == "int8":
            return quantized(tokens)
        return TokenVectors(tokens.values.astype(self.dtype, copy=False), tokens.bounds)


def _order(parts: Sequence[Found]) -> np.ndarray:
    """(K,): what puts the passages of all parts in the order of their places."""
    return np.argsort(np.concatenate([part.places for part in parts]))


def _dim(directory: Path, numbers: Sequence[int]) -> int:
    """The width of the vectors of shards; 0 where there is none yet."""
    if not numbers:
        return 0
    return int(mapped(directory / shard_names(numbers[0])[0]).shape[1])
