"""open_index: the folder of an index in, a Searcher out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dprkit.errors import MismatchError
from dprkit.indexes.index_folder import IndexFolder
from dprkit.models.config import ColbertConfig, is_retriever, load_config, with_prompt
from dprkit.models.reader_config import is_reader
from dprkit.progress import Note, silent
from dprkit.search.engine import DenseEngine, Engine, HybridEngine
from dprkit.search.fusion import Fusion
from dprkit.search.late_engine import LateEngine
from dprkit.search.searcher import Searcher
from dprkit.store.integrity import SEARCH_LIMIT, Verifier

if TYPE_CHECKING:
    from dprkit.indexes.indexed_passages import IndexedPassages


def open_index(
    index: Path | str,
    retriever: Path | str | None = None,
    passages: Path | str | None = None,
    *,
    hybrid: Path | str | None = None,
    nprobe: int | None = None,
    ef_search: int | None = None,
    candidates: int | None = None,
    note: Note = silent,
) -> Searcher:
    """The index in a folder, with the retriever and the corpus that its manifest names.

    `retriever` and `passages` say where those lie now, if they were moved. `hybrid`: another index
    of the same corpus, whose hits are fused with those of the first, by their scores. `nprobe` and
    `ef_search`: how thoroughly a FAISS index looks; `candidates`: how many passages a late index
    compares by their token vectors, or a binary index by their vectors. `note` is told what takes
    long.

    Raises InputError where one is missing, MismatchError where it is not the one the index was
    made from, and DamagedError where it was changed. To see that nothing was, it reads at most
    SEARCH_LIMIT bytes; of what is larger and was never read, it compares the sizes and says so.
    """
    moved = {"retriever": retriever, "passages": passages}
    paths = [index] if hybrid is None else [index, hybrid]
    folders = open_folders(paths, moved, note)
    depths = {"nprobe": nprobe, "ef_search": ef_search, "candidates": candidates}
    engines, searched = open_engines(folders, depths, note)
    if hybrid is None:
        return Searcher(engines[0], searched)
    return Searcher(HybridEngine(engines, Fusion(method="weighted")), searched)


def open_folders(
    paths: Sequence[Path | str],
    moved: Mapping[str, Path | str | None],
    note: Note,
) -> list[IndexFolder]:
    """The folders of indexes of one corpus, verified by reading SEARCH_LIMIT bytes at most."""
    check = Verifier(note, SEARCH_LIMIT)
    first, *others = folders = [IndexFolder(path, check, moved) for path in paths]
    for folder in folders:
        folder.verify()
    for other in others:
        if not first.finds_the_same_passages(other):
            raise MismatchError(
                f"{other.path}: is an index of {other.describe_passages()}, but {first.path} is "
                f"one of {first.describe_passages()}; only indexes of the same corpus can be put "
                "together"
            )
    return folders


def open_engines(
    folders: Sequence[IndexFolder],
    depths: Mapping[str, int | None],
    note: Note,
    prompt: str | None = None,
) -> tuple[list[Engine], IndexedPassages]:
    """The engine of each index, and the passages that all of them find.

    `depths`: how far a search looks, by name. One that no index has is told to `note`. `prompt`:
    the retrievers' prompt before questions. Raises MismatchError where there is none of that name.
    """
    passages = folders[0].passages(note)
    if prompt is not None and all(folder.reads == "passages" for folder in folders):
        raise MismatchError(
            f"--prompt {prompt}: {folders[0].path} is an index of words, which needs no retriever; "
            "leave it out"
        )
    engines = [_engine(folder, depths, note, prompt) for folder in folders]
    types = " or ".join(folder.type for folder in folders)
    for name, depth in depths.items():
        if depth and not any(name in folder.depths for folder in folders):
            flag = name.replace("_", "-")
            note(f"--{flag} {depth}: without effect on an index of type {types}")
    folders[0].check.tell()
    return engines, passages


def _engine(
    folder: IndexFolder, depths: Mapping[str, int | None], note: Note, prompt: str | None
) -> Engine:
    if folder.reads == "passages":
        engine: Engine = folder.open(depths)
        return engine
    _refuse_other_kind(folder)
    retriever = folder.input("retriever")
    if prompt is not None:
        with_prompt(load_config(retriever), prompt, retriever)  # raises before it is loaded
    if folder.reads == "tokens":
        return LateEngine(folder.open(depths), retriever, note, prompt)
    index = folder.open_dense(depths)
    return DenseEngine(index, retriever, folder.check, folder.truncate_dim, prompt)


def _refuse_other_kind(folder: IndexFolder) -> None:
    """Raise MismatchError where the user names a retriever of another kind, or a reader."""
    given = folder.moved.get("retriever")
    if given is None or not (is_retriever(given) or is_reader(given)):
        return
    late = isinstance(load_config(given), ColbertConfig)
    if late != (folder.reads == "tokens"):
        kinds = "a bi-encoder", "a ColBERT retriever"
        raise MismatchError(
            f"{given}: is {kinds[late]}, but {folder.path} is a {folder.type} index of the vectors "
            f"of {kinds[not late]}; name that one with --retriever, or index what this one encodes"
        )
