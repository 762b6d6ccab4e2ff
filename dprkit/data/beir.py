"""A folder of BEIR: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, each plain or compressed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dprkit.data.streams import PACKED
from dprkit.errors import InputError


class BeirFolder(NamedTuple):
    """The files of a data set of BEIR: queries are those of all splits, qrels those of one."""

    corpus: Path
    queries: Path
    qrels: Path


def beir_folder(path: Path | str, split: str = "test") -> BeirFolder:
    """The files in a folder of BEIR. Raises InputError that names what is missing there."""
    folder = Path(path)
    if not folder.is_dir():
        packed = folder.suffix == ".zip" and folder.is_file()
        advice = f"unpack it: unzip {folder}" if packed else "a folder of BEIR is needed"
        raise InputError(f"{path}: no folder; {advice}")
    files = {name: _file(folder / name) for name in ("corpus.jsonl", "queries.jsonl")}
    qrels = _file(folder / "qrels" / f"{split}.tsv")
    if missing := [name for name, file in files.items() if file is None]:
        more = _whole_folder_below(folder)
        raise InputError(f"{path}: no folder of BEIR: {' and '.join(missing)} not there{more}")
    if qrels is None:
        raise InputError(f"{path}: no qrels/{split}.tsv there; {_splits(folder)}")
    corpus, queries = files.values()
    assert corpus and queries
    return BeirFolder(corpus, queries, qrels)


def _file(path: Path) -> Path | None:
    """The file as it is or compressed; None: it is not there."""
    candidates = (path.with_name(path.name + ending) for ending in ("", *PACKED))
    return next((file for file in candidates if file.is_file()), None)


def _whole_folder_below(folder: Path) -> str:
    """A hint at the folder that was meant, where an archive was unpacked into one of its own."""
    below = next((f for f in sorted(folder.iterdir()) if _file(f / "corpus.jsonl")), None)
    return f"; did you mean {below}?" if below else ""


def _splits(folder: Path) -> str:
    names = sorted({file.name.partition(".tsv")[0] for file in (folder / "qrels").glob("*.tsv*")})
    return f"give --split one of {', '.join(names)}" if names else "the folder has no judgements"
