"""An index of vectors alone, of whatever type its manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dprkit.errors import InputError, MismatchError
from dprkit.indexes.corpus_parts import base_of, removed_rows, row_count
from dprkit.indexes.lineage import places
from dprkit.store.manifests import Input, Manifest, read_manifest

if TYPE_CHECKING:
    from dprkit.embeddings.shards import Embeddings
    from dprkit.indexes.hits import DenseIndex


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
            from dprkit.indexes.exact import ExactIndex
            from dprkit.indexes.exact_sketch import open_sketch

            embeddings = _named_embeddings(directory, manifest.inputs["embeddings"])
            return ExactIndex(embeddings, sketch=open_sketch(directory, manifest))
        case "updated":
            return _open_updated(directory, manifest, nprobe, ef_search)
        case "milvus":
            from dprkit.indexes.milvus import MilvusIndex

            return MilvusIndex(directory)
        case _:
            from dprkit.indexes.faiss_index import FaissIndex

            return FaissIndex(directory, nprobe, ef_search)


def _open_updated(
    directory: Path | str, manifest: Manifest, nprobe: int | None, ef_search: int | None
) -> DenseIndex:
    from dprkit.indexes.exact import ExactIndex
    from dprkit.indexes.updated import UpdatedIndex

    path, base = base_of(directory, manifest)
    added = exact_base = None
    removed = removed_rows(directory, manifest)
    opened = open_dense(path, nprobe, ef_search)
    if "added" in manifest.inputs:
        added = ExactIndex(_named_embeddings(directory, manifest.inputs["added"]))
        if "PQ" in base.counts.get("factory", ""):
            exact_base = _named_embeddings(path, base.inputs["embeddings"])
    return UpdatedIndex(opened, row_count(base), removed, added, exact_base)


def _named_embeddings(directory: Path | str, wanted: Input) -> Embeddings:
    """Embeddings that the index in `directory` names, which must hold what they held."""
    from dprkit.embeddings.shards import Embeddings

    there = list(places(directory, wanted)) or [Path(wanted.path)]
    for here in there:
        found = Embeddings(here)
        if found.manifest.identity == wanted.identity:
            return found
    raise MismatchError(
        f"{directory}: was made of the embeddings {wanted.identity[:23]}, but {there[-1]} "
        f"holds {found.manifest.identity[:23]}; make the index again"
    )
