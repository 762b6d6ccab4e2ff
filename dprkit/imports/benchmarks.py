"""Folders and zips of BEIR, NanoBEIR and MS MARCO as they are downloaded.

    corpus.jsonl, queries.jsonl, qrels/train.tsv, qrels/test.tsv           BEIR
    corpus/train.jsonl, queries/train.jsonl, qrels/train.jsonl             NanoBEIR, in jsonl
    collection.tsv, queries.train.tsv, qrels.train.tsv, queries.dev.tsv    MS MARCO

In a zip they may lie in a folder. A question belongs to the splits whose judgements name it, so
judgements come first; of them the ids of questions are kept, in 8 bytes each.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dprkit.data import questions
from dprkit.data.formats import read_records
from dprkit.data.ids import text_key
from dprkit.errors import InputError
from dprkit.imports.field_files import judgements_of, passages_of
from dprkit.imports.items import Item, Judgement, Tally, in_split
from dprkit.imports.names import split_names
from dprkit.imports.trees import Tree, is_zip
from dprkit.settings import ImportSettings

if TYPE_CHECKING:
    import numpy as np

_FILE = re.compile(
    r"(?P<root>(?:.*/)?)(?P<role>corpus|collection|queries|qrels)"
    r"(?:[/.](?P<part>[\w.-]+?)(?:-\d+-of-\d+)?)?\.(?:jsonl|tsv|json)(?:\.gz|\.zst|\.bz2|\.xz)?"
)
_ROLES = {"collection": "corpus"}
UNJUDGED = "question that no judgement names"


class _File(NamedTuple):
    root: str
    role: str
    part: str
    """The split or data set that the name says, or `""`."""
    name: str


class _DataSet(NamedTuple):
    """The files of a data set; those of judgements and questions with the split they are of."""

    corpus: list[_File]
    queries: list[_File]
    qrels: list[_File]


def fits(path: Path) -> bool:
    """Whether a folder or zip has a corpus and queries under their usual names.

    A zip that cannot be read is of this kind too, whose reader tells what is wrong with it.
    """
    if not path.is_dir() and not (path.is_file() and is_zip(path)):
        return False
    try:
        return len({file.role for file in _files(Tree(path))} & {"corpus", "queries"}) == 2
    except InputError:
        return path.is_file()


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The judgements of all splits, the questions that they name, the passages."""
    tree = Tree(path)
    found = _data_set(tree)
    tally.understand(path, _sentence(found))
    judged: dict[str, _Named] = {}
    for file in found.qrels:
        split = _split(file, found)
        yield from _judgements(tree, file, split, judged.setdefault(split, _Named()), tally)
    for file in found.queries:
        yield from _questions(tree, file, _split(file, found), judged, tally)
    for file in found.corpus:
        with tree.open(file.name) as stream:
            yield from passages_of(stream, tally)


def _judgements(
    tree: Tree, file: _File, split: str, named: _Named, tally: Tally
) -> Iterator[Judgement]:
    """The judgements of a split; the ids of its questions are added to those `named`."""
    with tree.open(file.name) as stream:
        for judgement in judgements_of(stream, tally):
            named.add(judgement.question_id)
            yield judgement._replace(split=split)


def _questions(
    tree: Tree, file: _File, own: str, judged: dict[str, _Named], tally: Tally
) -> Iterator[Item]:
    """Each question once for every split that it is of; without judgements, all of them.

    `own`: the split that the file's name says, or `""`.
    """
    if own and judged and own not in judged:
        tally.note(f"{tree.path}/{file.name}: has no judgements beside it and is not read")
        return
    splits = {own: judged[own]} if own and judged else judged
    with tree.open(file.name) as stream:
        for number, question in enumerate(read_records(stream, questions.FORMATS), start=1):
            where = f"question {number}"
            tally.at = (stream.path, where)
            of = [split for split, named in splits.items() if question.id in named]
            if judged and not of:
                tally.drop(UNJUDGED, f"{stream.path}:{where}")
            for split in of if judged else [""]:
                yield in_split(question, split)


class _Named:
    """The questions that the judgements of a split name, by their keys."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._sorted: np.ndarray | None = None

    def add(self, question: str) -> None:
        key = text_key(question)
        if not self._keys or self._keys[-1] != key:  # most files have those of a question together
            self._keys.append(key)

    def __contains__(self, question: str) -> bool:
        import numpy as np

        if self._sorted is None:
            self._sorted = np.unique(np.frombuffer(self._keys, np.uint64))
        key = np.uint64(text_key(question))
        place = int(self._sorted.searchsorted(key))
        return place < len(self._sorted) and bool(self._sorted[place] == key)


# --- which files ----------------------------------------------------------------------------------


def _files(tree: Tree) -> list[_File]:
    matches = [(name, _FILE.fullmatch(name)) for name in tree.names]
    return [
        _File(match["root"], _ROLES.get(match["role"], match["role"]), _part(match["part"]), name)
        for name, match in matches
        if match
    ]


def _part(part: str | None) -> str:
    """corpus/corpus.jsonl is a corpus like corpus.jsonl."""
    return "" if part in (None, "corpus", "queries", "qrels", "default") else str(part)


def _data_set(tree: Tree) -> _DataSet:
    """The one data set there is. Raises InputError where there are none or several."""
    files = _files(tree)
    roots = sorted({file.root for file in files if file.role == "corpus"})
    if not tree.path.is_file() and roots and "" not in roots:
        more = f"did you mean {tree.path / roots[0]}?"
        raise InputError(f"{tree.path}: the data set lies in a folder below; {more}")
    if len(roots) > 1 and "" not in roots:
        raise InputError(
            f"{tree.path}: {len(roots)} data sets ({_some(roots)}); unpack it and name one"
        )
    root = roots[0] if roots else ""
    here = [file for file in files if file.root == root]
    found = _DataSet(*([f for f in here if f.role == role] for role in _DataSet._fields))
    if missing := [role for role in ("corpus", "queries") if not getattr(found, role)]:
        raise InputError(
            f"{tree.path}: no {' and no '.join(missing)} there; a folder or zip has corpus.jsonl, "
            "queries.jsonl and qrels/ (BEIR), or collection.tsv, queries.*.tsv and qrels.*.tsv"
        )
    parts = sorted({file.part for file in found.corpus})
    if len(parts) > 1:
        raise InputError(f"{tree.path}: {len(parts)} data sets ({_some(parts)}); name their files")
    return found


def _sentence(found: _DataSet) -> str:
    """Which files hold what, and the splits that they are of."""
    of = {"passages": found.corpus, "questions": found.queries, "judgements": found.qrels}
    return "; ".join(
        f"{held} of {', '.join(_with_split(file, found) for file in files)}"
        for held, files in of.items()
        if files
    )


def _with_split(file: _File, found: _DataSet) -> str:
    split = _split(file, found)
    return f"{file.name} ({split})" if split else file.name


def _some(names: list[str]) -> str:
    shown = ", ".join(name.rstrip("/") for name in names[:3])
    return f"{shown}, ..." if len(names) > 3 else shown


def _split(file: _File, found: _DataSet) -> str:
    """The split of a file; none where the corpus has the same, as all files of NanoBEIR do."""
    alone = found.corpus[0].part
    others = {other.part for other in (*found.queries, *found.qrels)} - {alone}
    return "" if file.part == alone else split_names(others)[file.part]
