"""Opening what `index` and `update-index` made: the one place that knows the kinds of index.

open_index     an index with its retriever and its passages: questions in, rankings out
open_dense     an index of vectors alone
open_corpus    the passages that an index finds
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dprkit.errors import InputError, MismatchError
from dprkit.integrity import SEARCH_LIMIT, Check, is_whole
from dprkit.manifests import Input, Manifest, is_artifact, read_manifest
from dprkit.progress import Note, silent
from dprkit.retrieval.corpus import NO_ROWS, Corpus
from dprkit.retrieval.lineage import check_index, input_path, places
from dprkit.retrieval.searcher import Dense, Engine, Hybrid, Searcher

if TYPE_CHECKING:
    from dprkit.retrieval.found import DenseIndex
    from dprkit.retrieval.vectors import Embeddings

REMOVED = "removed.npy"
"""In an updated index: (R,) int64 rows of the index below it that count no more, ascending."""


def open_index(
    index: Path | str,
    retriever: Path | str | None = None,
    passages: Path | str | None = None,
    *,
    hybrid: Path | str | None = None,
    nprobe: int | None = None,
    ef_search: int | None = None,
    note: Note = silent,
) -> Searcher:
    """The index in a folder, with the retriever and the corpus that its manifest names.

    `retriever` and `passages` say where those lie now, if they were moved. `hybrid`: another index
    of the same corpus, whose findings are fused with those of the first, by their scores.
    `nprobe` and `ef_search`: how thoroughly a FAISS index looks. `note` is told what takes long.

    Raises InputError where one is missing, MismatchError where it is not the one the index was
    made from, and DamagedError where it was changed. To see that nothing was, it reads at most
    SEARCH_LIMIT bytes; of what is larger and was never read, it compares the sizes and says so.
    """
    check = Check(note, SEARCH_LIMIT)
    for one in (index, hybrid):
        if one is not None:
            check_index(one, check, retriever, passages)
    corpus = open_corpus(index, passages, note, check)
    engine: Engine = _engine(index, retriever, nprobe, ef_search, check)
    if hybrid is not None:
        from dprkit.retrieval.fusion import Fusion

        ours, theirs = parts_of(index), parts_of(hybrid)
        same = ours.identities == theirs.identities
        if not same or ours.removed.tolist() != theirs.removed.tolist():
            raise MismatchError(
                f"{hybrid}: is an index of {theirs}, but {index} is one of {ours}; "
                "only indexes of the same corpus can be put together"
            )
        engine = Hybrid(
            [engine, _engine(hybrid, retriever, nprobe, ef_search, check)],
            Fusion(method="weighted"),
        )
    check.tell()
    return Searcher(engine, corpus)


def _engine(
    index: Path | str,
    retriever: Path | str | None,
    nprobe: int | None,
    ef_search: int | None,
    check: Check,
) -> Engine:
    manifest = read_manifest(index, "index")
    if manifest.counts["type"] == "bm25":
        from dprkit.retrieval.bm25 import Bm25Index

        return Bm25Index(index)
    found = input_path(index, manifest.inputs["retriever"], retriever, "--retriever", check)
    return Dense(open_dense(index, nprobe, ef_search), found, check)


def open_dense(
    directory: Path | str, nprobe: int | None = None, ef_search: int | None = None
) -> DenseIndex:
    """The index of vectors in `directory`, of whatever type its manifest says.

    `nprobe` and `ef_search` stand instead of those it was built with, where its type has them.
    """
    manifest = read_manifest(directory, "index")
    match manifest.counts["type"]:
        case "bm25":
            raise InputError(f"{directory}: is a bm25 index, which compares words and no vectors")
        case "exact":
            from dprkit.retrieval.exact import ExactIndex
            from dprkit.retrieval.sketch import open_sketch

            embeddings = _named_embeddings(directory, manifest.inputs["embeddings"])
            return ExactIndex(embeddings, sketch=open_sketch(directory, manifest))
        case "updated":
            return _open_updated(directory, manifest, nprobe, ef_search)
        case "milvus":
            from dprkit.retrieval.milvus import MilvusIndex

            return MilvusIndex(directory)
        case _:
            from dprkit.retrieval.faiss_index import FaissIndex

            return FaissIndex(directory, nprobe, ef_search)


def _open_updated(
    directory: Path | str, manifest: Manifest, nprobe: int | None, ef_search: int | None
) -> DenseIndex:
    from dprkit.retrieval.exact import ExactIndex
    from dprkit.retrieval.updated_index import UpdatedIndex

    path, base = _base_of(directory, manifest)
    added = exact_base = None
    removed = _removed_rows(directory, manifest)
    opened = open_dense(path, nprobe, ef_search)
    if "added" in manifest.inputs:
        added = ExactIndex(_named_embeddings(directory, manifest.inputs["added"]))
        if "PQ" in base.counts.get("factory", ""):
            exact_base = _named_embeddings(path, base.inputs["embeddings"])
    return UpdatedIndex(opened, row_count(base), removed, added, exact_base)


def _named_embeddings(directory: Path | str, wanted: Input) -> Embeddings:
    """Embeddings that the index in `directory` names, which must hold what they held."""
    from dprkit.retrieval.vectors import Embeddings

    there = list(places(directory, wanted)) or [Path(wanted.path)]
    for here in there:
        found = Embeddings(here)
        if found.manifest.identity == wanted.identity:
            return found
    raise MismatchError(
        f"{directory}: was made of the embeddings {wanted.identity[:23]}, but {there[-1]} "
        f"holds {found.manifest.identity[:23]}; make the index again"
    )


def row_count(index: Manifest) -> int:
    """The rows of an index, those included that were removed."""
    return int(index.counts.get("rows", index.counts["passages"]))


# --- the passages of an index ---------------------------------------------------------------------


class Part(NamedTuple):
    """A corpus, and the index that names it."""

    home: Path | str
    file: Input


class Parts(NamedTuple):
    """What makes up the passages of an index."""

    files: list[Part]
    """The corpora, one after the other."""
    removed: np.ndarray
    """(R,) int64 rows that count no more, ascending."""

    @property
    def identities(self) -> list[str]:
        """Of the corpora."""
        return [part.file.identity for part in self.files]

    def __str__(self) -> str:
        less = f" less {len(self.removed):,} passages" if len(self.removed) else ""
        return " and ".join(part.file.path for part in self.files) + less


def parts_of(index: Path | str) -> Parts:
    """What the passages of an index are made of.

    Raises InputError where an index below is gone, MismatchError where it was made anew.
    """
    manifest = read_manifest(index, "index")
    if "index" not in manifest.inputs:
        return Parts([Part(index, manifest.inputs["passages"])], NO_ROWS)
    files, removed = parts_of(_base_of(index, manifest)[0])
    if "added" in manifest.inputs:
        files = [*files, Part(index, manifest.inputs["added_passages"])]
    return Parts(files, np.union1d(removed, _removed_rows(index, manifest)))


def _base_of(index: Path | str, manifest: Manifest) -> tuple[Path, Manifest]:
    """The index that an updated one stands on, and its manifest.

    Raises InputError where that is gone and MismatchError where it was made anew.
    """
    known = manifest.inputs["index"]
    there = [here for here in places(index, known) if is_artifact(here)]
    if not there:
        raise InputError(
            f"{index}: stands on {known.path}, which is gone; put it back, or say where it lies: "
            "dprkit update-index --index"
        )
    for here in there:
        found = read_manifest(here, "index")
        if found.identity == known.identity:
            return here, found
    raise MismatchError(
        f"{index}: stands on {known.path}, which was made anew; run dprkit update-index again"
    )


def _removed_rows(index: Path | str, manifest: Manifest) -> np.ndarray:
    """(R,) int64, ascending: rows of the index below an updated one that count no more."""
    if not is_whole(Path(index), manifest, REMOVED):
        raise InputError(
            f"{Path(index) / REMOVED}: missing or damaged; run dprkit update-index again"
        )
    rows: np.ndarray = np.load(Path(index) / REMOVED, allow_pickle=False)
    return rows


def open_corpus(
    index: Path | str,
    passages: Path | str | None = None,
    note: Note = silent,
    check: Check | None = None,
) -> Corpus:
    """The passages that an index finds; `passages` says where its (first) corpus lies now.

    Raises InputError where a file is missing, MismatchError where it is another.
    """
    (first, *added), removed = parts_of(index)
    paths = [input_path(first.home, first.file, passages, "--passages", check)]
    paths += [input_path(part.home, part.file, None, None, check) for part in added]
    return Corpus(paths, removed, note)
