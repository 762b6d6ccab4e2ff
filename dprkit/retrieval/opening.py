"""Opening what `index` and `update-index` made: the one place that knows the kinds of index.

open_index     an index with its retriever and its passages: questions in, rankings out
open_dense     an index of vectors alone
open_corpus    the passages that an index finds
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dprkit.data.passage_file import PassageFile
from dprkit.errors import InputError, MismatchError
from dprkit.manifests import (
    Input,
    Manifest,
    identify,
    is_artifact,
    is_whole,
    read_manifest,
)
from dprkit.progress import Note, silent
from dprkit.retrieval.corpus import NO_ROWS, Corpus
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

    Raises InputError where one is missing and MismatchError where it is not the one the index was
    made from.
    """
    corpus = open_corpus(index, passages, note)
    engine: Engine = _engine(index, retriever, nprobe, ef_search)
    if hybrid is not None:
        from dprkit.retrieval.fusion import Fusion

        ours, theirs = parts_of(index), parts_of(hybrid)
        same = [part.identity for part in ours.files] == [part.identity for part in theirs.files]
        if not same or ours.removed.tolist() != theirs.removed.tolist():
            raise MismatchError(
                f"{hybrid}: is an index of {theirs}, but {index} is one of {ours}; "
                "only indexes of the same corpus can be put together"
            )
        engine = Hybrid(
            [engine, _engine(hybrid, retriever, nprobe, ef_search)], Fusion(method="weighted")
        )
    return Searcher(engine, corpus)


def _engine(
    index: Path | str, retriever: Path | str | None, nprobe: int | None, ef_search: int | None
) -> Engine:
    manifest = read_manifest(index, "index")
    if manifest.counts["type"] == "bm25":
        from dprkit.retrieval.bm25 import Bm25Index

        return Bm25Index(index)
    found = input_path(index, manifest.inputs["retriever"], retriever, "--retriever")
    return Dense(open_dense(index, nprobe, ef_search), found)


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

    base = _base_manifest(directory, manifest)
    added = exact_base = None
    removed = _removed_rows(directory, manifest)
    opened = open_dense(manifest.inputs["index"].path, nprobe, ef_search)
    if "added" in manifest.inputs:
        added = ExactIndex(_named_embeddings(directory, manifest.inputs["added"]))
        if "PQ" in base.counts.get("factory", ""):
            exact_base = _named_embeddings(directory, base.inputs["embeddings"])
    return UpdatedIndex(opened, row_count(base), removed, added, exact_base)


def _named_embeddings(directory: Path | str, wanted: Input) -> Embeddings:
    """Embeddings that the index in `directory` names, which must hold what they held."""
    from dprkit.retrieval.vectors import Embeddings

    found = Embeddings(wanted.path)
    if found.manifest.identity != wanted.identity:
        raise MismatchError(
            f"{directory}: was made of the embeddings {wanted.identity[:23]}, but {wanted.path} "
            f"holds {found.manifest.identity[:23]}; make the index again"
        )
    return found


def row_count(index: Manifest) -> int:
    """The rows of an index, those included that were removed."""
    return int(index.counts.get("rows", index.counts["passages"]))


# --- the passages of an index ---------------------------------------------------------------------


class Parts(NamedTuple):
    """What makes up the passages of an index."""

    files: list[Input]
    """The corpora, one after the other."""
    removed: np.ndarray
    """(R,) int64 rows that count no more, ascending."""

    def __str__(self) -> str:
        less = f" less {len(self.removed):,} passages" if len(self.removed) else ""
        return " and ".join(part.path for part in self.files) + less


def parts_of(index: Path | str) -> Parts:
    """What the passages of an index are made of.

    Raises InputError where an index below is gone, MismatchError where it was made anew.
    """
    manifest = read_manifest(index, "index")
    if "index" not in manifest.inputs:
        return Parts([manifest.inputs["passages"]], NO_ROWS)
    _base_manifest(index, manifest)
    files, removed = parts_of(manifest.inputs["index"].path)
    if "added" in manifest.inputs:
        files = [*files, manifest.inputs["added_passages"]]
    return Parts(files, np.union1d(removed, _removed_rows(index, manifest)))


def _base_manifest(index: Path | str, manifest: Manifest) -> Manifest:
    """The manifest of the index that an updated one stands on.

    Raises InputError where that is gone and MismatchError where it was made anew.
    """
    known = manifest.inputs["index"]
    if not is_artifact(known.path):
        raise InputError(
            f"{index}: stands on {known.path}, which is gone; put it back, or say where it lies: "
            "dprkit update-index --index"
        )
    found = read_manifest(known.path, "index")
    if found.identity != known.identity:
        raise MismatchError(
            f"{index}: stands on {known.path}, which was made anew; run dprkit update-index again"
        )
    return found


def _removed_rows(index: Path | str, manifest: Manifest) -> np.ndarray:
    """(R,) int64, ascending: rows of the index below an updated one that count no more."""
    if not is_whole(Path(index), manifest, REMOVED):
        raise InputError(
            f"{Path(index) / REMOVED}: missing or damaged; run dprkit update-index again"
        )
    rows: np.ndarray = np.load(Path(index) / REMOVED, allow_pickle=False)
    return rows


def open_corpus(
    index: Path | str, passages: Path | str | None = None, note: Note = silent
) -> Corpus:
    """The passages that an index finds; `passages` says where its (first) corpus lies now.

    Raises InputError where a file is missing, MismatchError where it is another.
    """
    (first, *added), removed = parts_of(index)
    paths = [input_path(index, first, passages, "--passages")]
    paths += [input_path(index, part, None) for part in added]
    return Corpus(paths, removed, note)


def input_path(
    index: Path | str, wanted: Input, path: Path | str | None, flag: str | None = None
) -> Path:
    """The path of an input of an index or of embeddings, which must hold what it held then.

    `flag`: where the user can say that it was moved.
    """
    here = Path(path or wanted.path)
    what = flag.removeprefix("--") if flag else "corpus"
    way_out = f"say where it lies with {flag}" if flag else "put it back, or update the index again"
    if not here.exists():
        raise InputError(f"{index}: its {what} {here} is gone; {way_out}")
    if wanted.identity.startswith("retriever:") and not is_artifact(here):
        read_manifest(here, "retriever")
    found = _identity(here, wanted)
    if found != wanted.identity:
        raise MismatchError(
            f"{index}: was made with the {what} {wanted.path} ({wanted.identity[:23]}), "
            f"but {here} holds {found[:23]}; make the embeddings and the index again"
        )
    return here


def _identity(here: Path, wanted: Input) -> str:
    """The identity of what lies there. A corpus that was moved is hashed once, for its index."""
    if wanted.identity.startswith("sha256:") and os.path.realpath(here) != wanted.path:
        return f"sha256:{PassageFile(here).sha256}"
    return identify(here, wanted).identity
