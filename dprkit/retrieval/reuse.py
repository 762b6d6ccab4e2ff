"""What an earlier embeddings artifact spares: vectors of the same passages, and whole shards.

Beside its vectors and ids a shard has digests-00000.npy, (N,) uint64, a hash of each passage. They
are no part of the artifact's identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from dprkit.artifacts import PIECES, PREVIOUS, Draft, differs
from dprkit.errors import InputError, MismatchError
from dprkit.files import appearing, delete, lock
from dprkit.manifests import (
    MANIFEST,
    PROGRESS,
    Input,
    ProgressRecord,
    identify,
    is_artifact,
    is_whole,
    read_manifest,
)
from dprkit.pieces import record_piece
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.retrieval.vectors import KIND, shard_names
from dprkit.settings import EncodeSettings


def digests(passages: Sequence[Passage]) -> np.ndarray:
    """(N,) uint64: equal where id, title and text are."""
    raw = b"".join(
        hashlib.blake2b(f"{p.id}\n{p.title}\n{p.text}".encode(), digest_size=8).digest()
        for p in passages
    )
    return np.frombuffer(raw, "<u8")


class Former:
    """A shard of the artifact that was there before."""

    def __init__(self, directory: Path, number: int) -> None:
        vectors, _, digests = (directory / name for name in shard_names(number))
        self.vectors = np.load(vectors, mmap_mode="r", allow_pickle=False)
        self.digests = np.load(digests, allow_pickle=False)

    def fill(self, vectors: np.ndarray, wanted: np.ndarray, begin: int) -> np.ndarray:
        """Fill in the (N, D) `vectors` of passages with digests `wanted` (N,), from row `begin`.

        Returns (N,) bool: where the passage is the one that was there.
        """
        there = self.digests[begin : begin + len(wanted)]
        same = np.zeros(len(wanted), bool)
        same[: len(there)] = there == wanted[: len(there)]
        rows = np.flatnonzero(same)
        vectors[rows] = self.vectors[begin + rows]
        return same


def former(work: Draft, number: int) -> Former | None:
    """Shard `number` of the artifact that was there before `work`, if it had one that is whole."""
    before = work.directory / PREVIOUS
    if not is_artifact(before):
        return None
    found = read_manifest(before, KIND)
    if number >= found.counts["shards"]:
        return None
    vectors, _, digests = shard_names(number)
    for name in (vectors, digests):
        if not is_whole(before, found, name):
            work.run.progress.note(f"{before / name}: damaged; its passages are encoded again")
            return None
    return Former(before, number)


def check(directory: Path, settings: EncodeSettings) -> None:
    """Refuse to append to embeddings whose vectors would not be those made now."""
    before = directory if is_artifact(directory) else directory / PREVIOUS
    if not is_artifact(before):
        return
    found = read_manifest(before, KIND)
    now = identify(str(settings.retriever), found.inputs["retriever"]).identity
    for name, was, wanted in (
        ("retriever", found.inputs["retriever"].identity, now),
        ("dtype", found.settings.get("dtype"), settings.dtype),
        ("precision", found.settings.get("precision", "fp32"), settings.precision),
        ("backend", found.settings.get("backend", "torch"), settings.backend),
        ("int8", found.settings.get("int8", False), settings.int8),
        ("shard size", found.settings.get("shard_size"), settings.shard_size),
    ):
        if was != wanted:
            raise MismatchError(
                f"{directory}: its {name} was {was} and is {wanted}; appended vectors would not "
                "belong to the others; encode into another folder"
            )
    if missing := [
        n for n in range(found.counts["shards"]) if shard_names(n)[2] not in found.files
    ]:
        raise InputError(
            f"{directory}: has no {shard_names(missing[0])[2]}, so what changed cannot be told; "
            "encode it without --append"
        )


def repair(
    directory: Path, settings: EncodeSettings, inputs: Mapping[str, str | Input], run: Run
) -> None:
    """Make an artifact with damaged shards an unfinished one that lacks these and no others.

    Raises MismatchError, and leaves it alone, where it was made otherwise than it would be now.
    """
    if not is_artifact(directory):
        return
    if difference := differs(directory, KIND, settings, inputs):
        raise MismatchError(
            f"{directory}: cannot be repaired with other settings or inputs: {difference}"
        )
    with lock(directory):
        found = read_manifest(directory, KIND)
        bad = {name for name in found.files if not is_whole(directory, found, name)}
        if not bad:
            return run.progress.note(f"{directory}: all {len(found.files)} files are whole")
        for name in sorted(bad):
            run.progress.note(f"{directory / name}: damaged; making its shard again")
        delete(directory / PIECES)  # of an earlier making
        claimed = [PIECES, *found.files]
        state = {"pieces": found.counts["shards"]}
        record = ProgressRecord(KIND, found.settings, found.inputs, {}, state, claimed)
        with appearing(directory / PROGRESS) as file:
            file.write(msgspec.json.encode(record))
        for number in range(found.counts["shards"]):
            names = [name for name in shard_names(number) if name in found.files]
            if not bad.intersection(names):
                record_piece(directory, number, {name: found.files[name] for name in names})
        (directory / MANIFEST).unlink()
