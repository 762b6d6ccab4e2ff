"""encode-corpus --append and --repair: vectors of an earlier artifact that are used again.

--append takes over the vectors of passages that are the same, --repair keeps shards that are whole.

Beside its vectors and ids a shard has digests-00000.npy, (N,) uint64, a hash of each passage's
title and text. So a passage is known whatever its id and its row are now, as in a corpus that is
numbered and had passages inserted. Digests are no part of the artifact's identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dprkit.data.npy import mapped
from dprkit.embeddings.shards import KIND, shard_names
from dprkit.errors import InputError, MismatchError
from dprkit.records import Passage
from dprkit.settings import EncodeSettings
from dprkit.store.drafts import Draft
from dprkit.store.integrity import input_of, is_whole
from dprkit.store.manifests import (
    PREVIOUS,
    Manifest,
    is_artifact,
    passage_sides,
    read_manifest,
)
from dprkit.store.shared_work import reopen_damaged


def digests(passages: Sequence[Passage]) -> np.ndarray:
    """(N,) uint64: equal where title and text are, which is all that a vector depends on."""
    return _hashed(f"{p.title}\n{p.text}" for p in passages)


def _digests_with_ids(passages: Sequence[Passage]) -> np.ndarray:
    """(N,) uint64: as embeddings had them at first, equal where the id is equal too."""
    return _hashed(f"{p.id}\n{p.title}\n{p.text}" for p in passages)


def _hashed(texts: Iterable[str]) -> np.ndarray:
    raw = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(raw, "<u8")


class KnownPassages:
    """Passages that were encoded, found by their digests, wherever they are in another corpus.

    Memory: 16 bytes a passage.
    """

    def __init__(self, known: np.ndarray) -> None:
        """`known`: (N,) uint64, the digests of N rows."""
        self._order = np.argsort(known, kind="stable")
        self._digests = known[self._order]

    def rows_of(self, passages: Sequence[Passage]) -> np.ndarray:
        """(N,) int64: the row of each of N passages; -1 where it is not there."""
        rows = self._rows(digests(passages))
        lacking = np.flatnonzero(rows < 0)
        rows[lacking] = self._rows(_digests_with_ids([passages[at] for at in lacking.tolist()]))
        return rows

    def _rows(self, wanted: np.ndarray) -> np.ndarray:
        if not len(self._digests):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(self._digests, wanted), len(self._digests) - 1)
        return np.where(self._digests[at] == wanted, self._order[at], -1)


class Found(NamedTuple):
    """Passages that a shard of the earlier artifact has."""

    number: int
    """The shard."""
    places: np.ndarray
    """(K,): where they are among the passages that are wanted."""
    rows: np.ndarray
    """(K,): their rows in the shard."""


class PreviousVectors:
    """The vectors of the artifact that was there before `work`, found by their passages.

    Memory: 16 bytes a passage of it.
    """

    def __init__(self, work: Draft) -> None:
        self.directory, self.note = work.directory / PREVIOUS, work.run.progress.note
        self.manifest = read_manifest(self.directory, KIND)
        self._good: dict[str, bool] = {}
        """Which files were looked at, and are whole."""
        shards = [self._digests_of(number) for number in range(self.manifest.counts["shards"])]
        self._begins = np.cumsum([0, *map(len, shards)])
        self._known = KnownPassages(np.concatenate([np.empty(0, "<u8"), *shards]))

    def found(
        self, wanted: Sequence[Passage], names: Callable[[int], Iterable[str]]
    ) -> tuple[np.ndarray, list[Found]]:
        """Which of the N passages that are `wanted` were there, (N,) bool, and where.

        `names`: the files of a shard; all must be whole.
        """
        known: np.ndarray = np.zeros(len(wanted), bool)
        rows = self._known.rows_of(wanted)
        shards = np.searchsorted(self._begins, rows, side="right") - 1  # -1 where it was not there
        parts = []
        for number in np.unique(shards[rows >= 0]).tolist():
            here = np.flatnonzero(shards == number)
            if all([self._is_good(name) for name in names(number)]):
                known[here] = True
                parts.append(Found(number, here, rows[here] - self._begins[number]))
        return known, parts

    def _digests_of(self, number: int) -> np.ndarray:
        """(N,) uint64 of a shard; (0,) where they are damaged."""
        name = shard_names(number)[2]
        if not self._is_good(name):
            return np.empty(0, "<u8")
        return mapped(self.directory / name)

    def _is_good(self, name: str) -> bool:
        if name not in self._good:
            self._good[name] = is_whole(self.directory, self.manifest, name)
            if not self._good[name]:
                self.note(f"{self.directory / name}: damaged; its passages are encoded again")
        return self._good[name]


def previous_vectors(work: Draft) -> PreviousVectors | None:
    """The artifact that was there before `work`, if there was one."""
    return PreviousVectors(work) if is_artifact(work.directory / PREVIOUS) else None


def check(directory: Path, settings: EncodeSettings) -> None:
    """Refuse to append to embeddings whose vectors would not be those made now."""
    before = directory if is_artifact(directory) else directory / PREVIOUS
    if not is_artifact(before):
        return
    manifest = read_manifest(before, KIND)
    made_by = manifest.inputs["retriever"].identity
    for name, was, expected in (
        ("retriever", made_by, _same_vectors(made_by, str(settings.retriever))),
        ("dtype", manifest.settings.get("dtype"), settings.dtype),
        ("precision", manifest.settings.get("precision", "fp32"), settings.precision),
        ("backend", manifest.settings.get("backend", "torch"), settings.backend),
        ("int8", manifest.settings.get("int8", False), settings.int8),
        ("pool_factor", manifest.settings.get("pool_factor", 1), settings.pool_factor),
        ("truncate_dim", manifest.settings.get("truncate_dim"), settings.truncate_dim),
    ):
        if was != expected:
            flag = f"--{name.replace('_', '-')}"
            again = f"--no-{flag[2:]}" if was is False else flag if was is True else f"{flag} {was}"
            remedy = "" if name == "retriever" else f"give {again}, or "
            remedy = f"leave {flag} out, or " if was is None else remedy
            raise MismatchError(
                f"{directory}: its {name} was {was} and is {expected}; appended vectors would not "
                f"belong to the others; {remedy}encode into another folder"
            )
    if missing := [
        n for n in range(manifest.counts["shards"]) if shard_names(n)[2] not in manifest.files
    ]:
        raise InputError(
            f"{directory}: has no {shard_names(missing[0])[2]}, so what changed cannot be told; "
            "encode it without --append"
        )


def _same_vectors(made_by: str, retriever: str) -> str:
    """The identity of a retriever; that of the one before, if their vectors of passages are one."""
    now = input_of(retriever).identity
    sides = passage_sides(read_manifest(retriever)) if is_artifact(retriever) else []
    return made_by if made_by in sides else now


def repair(work: Draft, names: Callable[[int], Collection[str]]) -> None:
    """Make an artifact with damaged shards an unfinished one that lacks these and no others.

    `work`: what is wanted; `names`: the files of a shard.
    """

    def shards(manifest: Manifest) -> list[list[str]]:
        numbers = range(manifest.counts["shards"])
        return [[name for name in names(n) if name in manifest.files] for n in numbers]

    reopen_damaged(work, shards)
