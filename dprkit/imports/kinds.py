"""The kinds of foreign data that import-data reads: KINDS, whose first line that fits counts.

A new kind is a module beside this one with two functions and a line in KINDS, and its name in
KindName (settings/import_data.py):

    fits(path) -> bool                               by content; `path` may be a folder
    items(path, settings, tally) -> Iterator[Item]   in the source's order, in constant memory

Modules are imported when they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from dprkit.errors import InputError, SettingsError
from dprkit.imports.dataset_folder import sets_by_names
from dprkit.imports.items import Item, Tally, in_split
from dprkit.imports.text_files import READ, files_in, nothing_in
from dprkit.settings import ImportSettings


class ImportKind(NamedTuple):
    """A kind of foreign data."""

    name: str
    """What --kind says."""
    sentence: str
    """What it is, for --dry-run and messages."""
    fits: Callable[[Path], bool]
    """Whether a file or folder is of this kind, if it is of none before it in the table."""
    items: Callable[[Path, ImportSettings, Tally], Iterator[Item]]


def _kind(
    name: str, sentence: str, module: str, fits_name: str = "fits", items_name: str = "items"
) -> ImportKind:
    """The kind whose functions are in `module` of this room."""

    def fits(path: Path) -> bool:
        return bool(getattr(import_module(f"dprkit.imports.{module}"), fits_name)(path))

    def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
        reader = getattr(import_module(f"dprkit.imports.{module}"), items_name)
        read: Iterator[Item] = reader(path, settings, tally)
        return read

    return ImportKind(name, sentence, fits, items)


_FILES = "field_files"
TEXTS = "texts"
KINDS: tuple[ImportKind, ...] = (
    _kind("beir", "a data set of BEIR, NanoBEIR or MS MARCO, a folder or a zip", "benchmarks"),
    _kind("parquet", "parquet or Arrow files, or a folder of Hugging Face's datasets", "parquet"),
    _kind("squad", "SQuAD's JSON: a paragraph is a passage", "squad"),
    _kind("kilt", "KILT's questions or its pages: a paragraph is a passage", "kilt"),
    _kind("trec-topics", "TREC's topics: the title is the question", "trec_topics"),
    _kind("examples", "DPR's training examples", _FILES, "is_examples", "example_items"),
    _kind("rows", "training rows of sentence-transformers or Tevatron", "rows"),
    _kind("triples", "triples of MS MARCO, of ids or of texts", "triples"),
    _kind("qrels", "judgements of TREC's or BEIR's", _FILES, "is_qrels", "qrels_items"),
    _kind(
        "passages",
        "passages with ids, as DPR and MS MARCO have them",
        _FILES,
        "is_passages",
        "passage_items",
    ),
    _kind(
        "questions", "questions with ids or with answers", _FILES, "is_questions", "question_items"
    ),
    _kind("folder", "a folder of files with rows, each told by its content", "row_folder"),
    _kind(TEXTS, "texts, .txt, .md, .html, .jsonl, in a folder or one by one", TEXTS),
    _kind("table", "a table, or JSON rows with named columns", "table"),
)


_ROWS = ("examples", "rows", "triples", "qrels", "passages", "questions")
"""Kinds of rows that --columns makes a table of."""


def kinds_of(settings: ImportSettings) -> list[ImportKind]:
    """The kind of each source: what --kind says, for all or one after another, else what fits.

    Where the names of files tell several sets (train.jsonl, dev.jsonl), the items are of them.
    Raises SettingsError for settings of texts where no source is one.
    """
    kinds = _kinds_of(settings)
    given = (settings.split_passages, settings.overlap, settings.tokenizer)
    if any(given) and not any(kind.name == TEXTS for kind in kinds):
        flag = ("--split-passages", "--overlap", "--tokenizer")[[*map(bool, given)].index(True)]
        told = " and ".join(dict.fromkeys(kind.name for kind in kinds))
        raise SettingsError(
            f"{flag}: is for splitting texts, and the sources are {told}; leave it out, or give "
            f"--kind {TEXTS} for JSON rows of texts"
        )
    return [_of_set(kind, name) for kind, name in zip(kinds, _sets(settings), strict=True)]


def _sets(settings: ImportSettings) -> list[str]:
    """The set that each source is of by its name, or ""; --split shares out all of them."""
    sources = [Path(source) for source in settings.sources]
    names = sets_by_names([source.name if source.is_file() else "" for source in sources])
    return [""] * len(names) if settings.split else names


def _of_set(kind: ImportKind, name: str) -> ImportKind:
    """The kind for a source whose questions and examples are of the set `name`."""
    if not name:
        return kind

    def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
        return (in_split(item, name) for item in kind.items(path, settings, tally))

    return kind._replace(items=items)


def _kinds_of(settings: ImportSettings) -> list[ImportKind]:
    named = settings.kind
    if not named:
        return [kind_of_file(Path(source), settings) for source in settings.sources]
    if len(named) not in (1, len(settings.sources)):
        raise SettingsError(
            f"--kind: {len(named)} kinds for {len(settings.sources)} sources; give one for all, "
            "or one for each"
        )
    by_name = {kind.name: kind for kind in KINDS}
    return [by_name[name] for name in _spread(named, len(settings.sources))]


def _spread(named: Sequence[str], count: int) -> Sequence[str]:
    return named if len(named) == count else tuple(named) * count


def kind_of_file(path: Path, settings: ImportSettings) -> ImportKind:
    """The first kind that a file or folder fits. Raises InputError where there is none."""
    if not path.exists():
        raise InputError(f"{path}: is not there; check the path")
    kinds = (kind for kind in KINDS if not (settings.columns and kind.name in _ROWS))
    kind = next((kind for kind in kinds if kind.fits(path)), None)
    if kind is None:
        raise InputError(f"{path}: {_nothing(path)}")
    return kind


def _nothing(path: Path) -> str:
    """What to tell of a source that fits no kind."""
    if path.is_dir() and (nothing := nothing_in(path)):
        return nothing
    first = ""
    if path.is_dir():
        file = next(files_in(path, lambda reason, where: None))
        first = f" in it (the first file: {file.path})"
    return (
        f"nothing that import-data knows{first}; it reads {READ}, .csv, .tsv, .json, .parquet and "
        f"more; name its kind with --kind, one of {', '.join(kind.name for kind in KINDS)}"
    )
