"""Opening an index of any type with its retriever and its passages: questions in, rankings out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dprkit.errors import MismatchError
from dprkit.indexes.corpus_parts import open_corpus, parts_of
from dprkit.indexes.lineage import check_index, input_path
from dprkit.indexes.open_dense import open_dense
from dprkit.progress import Note, silent
from dprkit.search.engines import Dense, Engine, Hybrid, Searcher
from dprkit.store.integrity import SEARCH_LIMIT, Verifier
from dprkit.store.manifests import read_manifest

if TYPE_CHECKING:
    pass


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
    check = Verifier(note, SEARCH_LIMIT)
    for one in (index, hybrid):
        if one is not None:
            check_index(one, check, retriever, passages)
    corpus = open_corpus(index, passages, note, check)
    engine: Engine = _engine(index, retriever, nprobe, ef_search, check)
    if hybrid is not None:
        from dprkit.search.fusion import Fusion

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
    check: Verifier,
) -> Engine:
    manifest = read_manifest(index, "index")
    if manifest.counts["type"] == "bm25":
        from dprkit.indexes.bm25 import Bm25Index

        return Bm25Index(index)
    found = input_path(index, manifest.inputs["retriever"], retriever, "--retriever", check)
    return Dense(open_dense(index, nprobe, ef_search), found, check)
