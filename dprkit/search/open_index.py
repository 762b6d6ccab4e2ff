"""open_index: the folder of an index in, a Searcher out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dprkit.errors import MismatchError
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Note, silent
from dprkit.search.engine import DenseEngine, Engine, HybridEngine
from dprkit.search.fusion import Fusion
from dprkit.search.searcher import Searcher
from dprkit.store.integrity import SEARCH_LIMIT, Verifier


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
    of the same corpus, whose hits are fused with those of the first, by their scores. `nprobe` and
    `ef_search`: how thoroughly a FAISS index looks. `note` is told what takes long.

    Raises InputError where one is missing, MismatchError where it is not the one the index was
    made from, and DamagedError where it was changed. To see that nothing was, it reads at most
    SEARCH_LIMIT bytes; of what is larger and was never read, it compares the sizes and says so.
    """
    check = Verifier(note, SEARCH_LIMIT)
    moved = {"retriever": retriever, "passages": passages}
    depths = {"nprobe": nprobe, "ef_search": ef_search}
    folder, *others = [IndexFolder(p, check, moved) for p in (index, hybrid) if p is not None]
    for opened in (folder, *others):
        opened.verify()
    searched = folder.passages(note)
    engine = _engine(folder, depths)
    if others:
        for other in others:
            if not folder.finds_the_same_passages(other):
                raise MismatchError(
                    f"{other.path}: is an index of {other.describe_passages()}, but {folder.path} "
                    f"is one of {folder.describe_passages()}; only indexes of the same corpus can "
                    "be put together"
                )
        engines = [engine, *(_engine(other, depths) for other in others)]
        engine = HybridEngine(engines, Fusion(method="weighted"))
    check.tell()
    return Searcher(engine, searched)


def _engine(folder: IndexFolder, depths: Mapping[str, int | None]) -> Engine:
    if folder.kind.reads == "passages":
        engine: Engine = folder.open(depths)
        return engine
    retriever = folder.input("retriever")
    return DenseEngine(folder.open_dense(depths), retriever, folder.check)
