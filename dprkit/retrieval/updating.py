"""update-index: passages added to an index, replaced and removed, without building it again.

    manifest.json   names the index that it stands on, and the embeddings that were added
    removed.npy     (R,) int64, ascending: rows of that index which are not found any more

Nothing is copied, so it takes no longer than what it adds, for an index of any size and type. The
rows of what was added follow those of the index; they are compared one by one (dprkit.retrieval.
exact) until the whole is worth building anew. An updated index can be updated in its turn.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from dprkit.artifacts import Draft, draft
from dprkit.data.streams import open_source, read_text_lines
from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.manifests import Input, Manifest, read_manifest
from dprkit.progress import Run
from dprkit.retrieval.corpus import REMOVED
from dprkit.retrieval.exact import ExactIndex
from dprkit.retrieval.found import DenseIndex, Found, best
from dprkit.retrieval.indexing import named_embeddings, open_dense, tell_ground
from dprkit.retrieval.searcher import open_corpus
from dprkit.retrieval.vectors import Embeddings
from dprkit.settings import UpdateSettings, required

SPARE = 256
"""Removed rows up to which so many more are asked for; to leave more out, the rest is named."""
WORTH_BUILDING = 0.2
"""Share of an index that was added or removed from which on building it anew pays."""


class UpdateReport(msgspec.Struct):
    """What an updated index holds. `removed` counts the passages that were replaced too."""

    passages: int
    added: int
    removed: int
    outputs: list[str]
    notes: list[str] = []


def update_index(settings: UpdateSettings, run: Run = Run()) -> UpdateReport:
    """Make an index that stands on `settings.index`, with passages added and removed.

    A passage whose id the index has takes that one's place. Raises MismatchError for embeddings of
    another retriever, and InputError where nothing would be left.
    """
    path = required(settings.index, "--index", "index")
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    if not settings.add and not settings.remove:
        raise SettingsError("--add and --remove: give at least one; there is nothing to update")
    inputs = _inputs(settings, path)
    report = UpdateReport(0, 0, 0, [str(directory)])
    with draft(directory, "index", settings, inputs, run) as work:
        manifest = work.done or _make(work, settings, path, report)
    counts = manifest.counts
    report.passages, report.added, report.removed = (
        counts[name] for name in ("passages", "added", "removed")
    )
    if counts["added"] + counts["removed"] > WORTH_BUILDING * counts["rows"]:
        report.notes.append("much of it was added or removed; an index built anew searches faster")
    return report


def _inputs(settings: UpdateSettings, path: str) -> dict[str, str | Input]:
    base = read_manifest(path, "index")
    if base.counts["type"] == "bm25":
        raise SettingsError(
            f"--index: {path} is of bm25, which weighs every word over the whole corpus; "
            "make it again with dprkit index --type bm25"
        )
    inputs: dict[str, str | Input] = {"index": path, **base.inputs}
    for name in ("index", "added", "added_passages", "remove"):  # of an update below this one
        inputs.pop(name, None)
    inputs["index"] = path
    if settings.add:
        added = read_manifest(settings.add, "embeddings")
        for what, was, now in (
            ("retriever", base.inputs.get("retriever"), added.inputs.get("retriever")),
            ("number of dimensions", base.counts["dim"], added.counts["dim"]),
        ):
            if getattr(was, "identity", was) != getattr(now, "identity", now):
                raise MismatchError(
                    f"{settings.add}: was not made with the {what} of {path}; "
                    "encode the new passages with the retriever of the index"
                )
        inputs |= {"added": settings.add, "added_passages": added.inputs["passages"]}
    if settings.remove:
        inputs["remove"] = settings.remove
    return inputs


def _make(work: Draft, settings: UpdateSettings, path: str, report: UpdateReport) -> Manifest:
    base = read_manifest(path, "index")
    corpus = open_corpus(path, note=work.run.progress.note)
    gone: dict[str, int] = {}
    if settings.remove:
        lines = read_text_lines(open_source(settings.remove))
        ids = {line.strip() for _, line in lines} - {""}
        gone = corpus.rows_of(ids)
        if absent := ids - gone.keys():
            what = f"{len(absent):,} ids of {settings.remove} are not in the index"
            report.notes.append(f"{what}, such as {min(absent)}")
    added = 0
    if settings.add:
        embeddings = Embeddings(settings.add)
        added = embeddings.count
        for number in range(embeddings.shards):
            embeddings.check(number)
            gone |= corpus.rows_of(embeddings.ids_of(number))
    left = base.counts["passages"] - len(gone) + added
    if not left:
        raise InputError(f"{path}: nothing of it would be left; remove fewer passages")
    with work.file(REMOVED) as file:
        np.save(file, np.sort(np.fromiter(gone.values(), np.int64, len(gone))))
    tell_ground(work)
    counts = {"added": added, "removed": len(gone), "rows": rows_of(base) + added}
    return work.finish({"type": "updated", "passages": left, "dim": base.counts["dim"], **counts})


def rows_of(index: Manifest) -> int:
    """The rows of an index, those included that were removed."""
    return int(index.counts.get("rows", index.counts["passages"]))


class UpdatedIndex:
    """An index with what was added to it and removed since. Inner product."""

    def __init__(
        self, directory: Path | str, nprobe: int | None = None, ef_search: int | None = None
    ) -> None:
        """Raises MismatchError where the index below, or the added embeddings, were made anew."""
        self.manifest = read_manifest(directory, "index")
        inputs = self.manifest.inputs
        below = read_manifest(inputs["index"].path, "index")
        if below.identity != inputs["index"].identity:
            raise MismatchError(
                f"{directory}: stands on {inputs['index'].path}, which was made anew; "
                "run dprkit update-index again"
            )
        self.count = int(self.manifest.counts["passages"])
        self.base: DenseIndex = open_dense(inputs["index"].path, nprobe, ef_search)
        self.base_rows = rows_of(below)
        self.removed = np.load(Path(directory) / REMOVED, allow_pickle=False)
        self.added: ExactIndex | None = None
        if "added" in inputs:
            self.added = ExactIndex(named_embeddings(directory, inputs["added"]))

    def search(self, vectors: np.ndarray, topk: int, allowed: np.ndarray | None = None) -> Found:
        """The best K = min(topk, count) rows by inner product with (Q, D) question vectors.

        `allowed`: (A,) int64, ascending; no other rows are looked for, and K is at most A.
        """
        below = above = None
        depth = min(topk, self.count)
        if allowed is not None:
            allowed = np.setdiff1d(allowed, self.removed, assume_unique=True)
            depth = min(topk, len(allowed))
            below, above = np.split(allowed, [np.searchsorted(allowed, self.base_rows)])
            above = above - self.base_rows
        rows, scores = self._in_base(vectors, depth, below)
        if self.added:
            new = self.added.search(vectors, depth, above)
            rows = np.hstack([rows, new.rows + self.base_rows])
            scores = np.hstack([scores, new.scores])
        return best(rows, scores, depth)

    def _in_base(self, vectors: np.ndarray, depth: int, allowed: np.ndarray | None) -> Found:
        if allowed is not None:
            return self.base.search(vectors, depth, allowed)
        if len(self.removed) > SPARE:
            return self.base.search(vectors, depth, self._left)
        found = self.base.search(vectors, depth + len(self.removed))
        gone = np.isin(found.rows, self.removed)
        found.rows[gone], found.scores[gone] = -1, -np.inf
        return found

    @cached_property
    def _left(self) -> np.ndarray:
        """Rows of the index below that were not removed."""
        return np.delete(np.arange(self.base_rows), self.removed)
