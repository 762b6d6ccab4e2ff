"""encode-corpus: passages -> shards of vectors."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.artifacts import Draft, draft
from dprkit.data.formats import read_passages
from dprkit.errors import FormatError, InputError, SettingsError
from dprkit.manifests import Manifest, read_manifest
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.settings import EncodeSettings, required

if TYPE_CHECKING:
    from dprkit.models.retriever import Retriever

WINDOW = 1024
"""Passages that are ordered by length together: it bounds memory and leaves little padding."""


class EncodeReport(msgspec.Struct):
    """What was encoded: how many passages of what width, in how many shards."""

    passages: int
    dim: int
    shards: int
    outputs: list[str]
    notes: list[str] = []


def encode_corpus(settings: EncodeSettings, run: Run = Run()) -> EncodeReport:
    """Encode `settings.passages` with `settings.retriever` into an embeddings artifact.

    A shard is the unit of resuming: a run that was killed goes on after its last whole shard.
    Memory is a shard and a window of passages. Raises FormatError for a duplicate or empty id.
    """
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    retriever = required(settings.retriever, "--retriever", "retriever")
    passages = required(settings.passages, "--passages", "corpus")
    if passages == "-":
        raise SettingsError("--passages: a corpus is read again at search; it cannot be stdin")
    read_manifest(retriever, "retriever")
    inputs = {"retriever": retriever, "passages": passages}
    with draft(directory, "embeddings", settings, inputs, run) as work:
        manifest = work.done or _encode(work, settings)
    return _report(directory, manifest)


def _report(directory: Path, manifest: Manifest) -> EncodeReport:
    counts = manifest.counts
    return EncodeReport(counts["passages"], counts["dim"], counts["shards"], [str(directory)])


def _encode(work: Draft, settings: EncodeSettings) -> Manifest:
    from dprkit.models.retriever import load_retriever

    path = str(settings.passages)
    total = check_ids(path)
    retriever = load_retriever(str(settings.retriever))
    progress = work.run.progress
    progress.start("encoding", total, "passages")
    count = number = 0
    for number, shard in enumerate(_shards(path, settings.shard_size), start=1):
        count += len(shard)
        if f"shard {number}" not in work.state:
            _encode_shard(work, number - 1, shard, retriever, settings)
            work.state[f"shard {number}"] = len(shard)
            work.save()
        else:
            progress.advance(len(shard))
    progress.finish()
    return work.finish({"passages": count, "dim": retriever.dim, "shards": number})


def _shards(path: str, size: int) -> Iterator[list[Passage]]:
    """The corpus in pieces of `size` passages."""
    passages = read_passages(path)
    while shard := list(islice(passages, size)):
        yield shard


def check_ids(path: str) -> int:
    """Read the corpus through once: how many passages it has, all their ids being different.

    Memory is 8 bytes a passage. Raises FormatError for an id that occurs twice or cannot stand
    on a line of its own.
    """
    import numpy as np

    hashes = array("q", (hash(_one_line(p.id, path)) for p in read_passages(path)))
    if not hashes:
        raise FormatError(path, 1, "holds no passage; there is nothing to encode")
    values, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    if suspects := set(values[counts > 1].tolist()):
        _refuse_duplicates(path, suspects)
    return len(hashes)


def _one_line(id_: str, path: str) -> str:
    if "\n" in id_ or "\r" in id_:
        raise FormatError(path, f"passage {id_!r}", "the id holds a line break")
    return id_


def _refuse_duplicates(path: str, suspects: set[int]) -> None:
    """Two ids of one hash may still differ: compare the ids themselves."""
    seen: dict[str, int] = {}
    for number, passage in enumerate(read_passages(path), start=1):
        if hash(passage.id) in suspects and seen.setdefault(passage.id, number) != number:
            problem = (
                f"the id {passage.id!r} is that of passage {seen[passage.id]} too; "
                "an id names one passage"
            )
            raise FormatError(path, f"passage {number}", problem)


def _encode_shard(
    work: Draft, number: int, shard: list[Passage], retriever: Retriever, settings: EncodeSettings
) -> None:
    import numpy as np

    from dprkit.retrieval.vectors import write_shard

    vectors: Any = np.empty((len(shard), retriever.dim), settings.dtype)
    for begin in range(0, len(shard), WINDOW):
        window = shard[begin : begin + WINDOW]
        encoded = retriever.encode_passages(window, settings.batch_tokens)
        if not np.isfinite(encoded).all():
            raise InputError(f"{settings.retriever}: gives vectors that are no numbers (NaN)")
        vectors[begin : begin + len(window)] = encoded
        work.run.progress.advance(len(window))
    write_shard(work, number, vectors, [passage.id for passage in shard])
