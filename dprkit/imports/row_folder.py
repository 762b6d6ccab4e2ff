"""The kind `folder`: a folder of files with rows, each read as if it were named by itself.

    pairs/train.jsonl, pairs/dev.jsonl                  rows of any kind, sets by their names
    README.md, data/train-00000-of-00002.csv, ...       a data set as it lies on a hub

Where one of the files is a text, it is a folder of texts (imports/texts.py). So is a folder of
JSON rows that are nothing but texts, as they are to be split.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from dprkit.data.json_decoding import decoder
from dprkit.data.streams import PACKED, open_stream
from dprkit.errors import DprkitError, FormatError, InputError
from dprkit.imports.columns import understand
from dprkit.imports.dataset_folder import sets_by_names
from dprkit.imports.items import Item, Tally, in_split
from dprkit.imports.kinds import KINDS, TEXTS, kind_of_file
from dprkit.imports.table import first_rows
from dprkit.imports.text_files import TextFile, files_in
from dprkit.settings import ImportSettings

LOOKED_AT = 1000
"""Files whose beginnings are looked at."""
BESIDE = {"readme.md", "readme.txt", "license", "license.md", "license.txt"}
BESIDE |= {"dataset_infos.json", "dataset_info.json"}
"""What lies beside the files of a data set and is none of them."""
OTHER = "a file of another kind (read: .csv, .tsv, .json, .jsonl)"
_TABLES = (".csv", ".tsv")
_JSON_LINES = (".jsonl", ".ndjson")
_JSON_KINDS = ("squad", "kilt", "examples", "rows")
"""The kinds of JSON rows that are told by more than the names of their columns."""


def fits(path: Path) -> bool:
    """Whether it is a folder with files of rows and without a text."""
    if not path.is_dir():
        return False
    try:
        files = list(islice(_beside_none(files_in(path, lambda reason, where: None)), LOOKED_AT))
    except InputError:  # what is wrong with it is told where it is read
        return False
    return not any(map(_is_text, files)) and any(_has_rows(file) for file in files)


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The items of the files, one file after another; those of sets that are named, as sets.

    Raises InputError where no file has rows, and what the readers of the files raise.
    """
    files = []
    for file in _beside_none(files_in(path, tally.drop)):
        if file.kind == "rows" or _has_rows(file):
            files.append(file.path)
        else:
            tally.drop(OTHER, str(file.path))
    if not files:
        raise InputError(f"{path}: no file of rows in it; name its files, or see --kind texts")
    names = [file.relative_to(path).as_posix() for file in files]
    sets = [""] * len(files) if settings.split else sets_by_names(names)
    return _items(path, files, sets, settings, tally)


def _items(
    path: Path, files: Sequence[Path], sets: Sequence[str], settings: ImportSettings, tally: Tally
) -> Iterator[Item]:
    """The items of `files` below `path`. How they are read is told once where it is the same."""
    told: dict[str, list[str]] = {}
    settings = replace(settings, sources=tuple(map(str, files)))
    for file, set_ in zip(files, sets, strict=True):
        kind = kind_of_file(file, settings)
        items = kind.items(file, settings, tally)
        first = list(islice(items, 1))  # then the reader has told how it understands the file
        name = f"{file.relative_to(path)}{f' ({set_})' if set_ else ''}"
        told.setdefault(tally.understood.pop(str(file), kind.sentence), []).append(name)
        tally.understand(path, "; ".join(f"{_some(names)}: {how}" for how, names in told.items()))
        for item in first:
            yield in_split(item, set_)
        for item in items:
            yield in_split(item, set_)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _beside_none(files: Iterator[TextFile]) -> Iterator[TextFile]:
    return (file for file in files if file.path.name.lower() not in BESIDE)


# --- what a file holds ----------------------------------------------------------------------------


def _is_text(file: TextFile) -> bool:
    return file.kind in ("markdown", "html") or (file.kind == "text" and not _has_rows(file))


def _has_rows(file: TextFile) -> bool:
    """As `is_rows`; a .txt may hold topics, judgements and the like, but no table."""
    if file.kind != "text":
        return is_rows(file.path)
    return kind_of_file(file.path, ImportSettings()).name not in (TEXTS, "table")


def is_rows(path: Path) -> bool:
    """Whether a file holds rows that are no mere texts: a table, or JSON that its fields tell.

    A file of a JSON row a line whose fields tell nothing is one, too.
    """
    name = path.name.lower()
    base, ending = os.path.splitext(name)
    ending = os.path.splitext(base)[1] if ending in PACKED else ending
    if ending not in (*_JSON_LINES, ".json"):
        return ending in _TABLES
    try:
        if any(kind.fits(path) for kind in KINDS if kind.name in _JSON_KINDS):
            return True
        names = _names(path)
    except DprkitError:  # told where it is read
        return False
    try:
        is_passages = understand(names, None, path).form.name == "passages"
    except FormatError:
        return ending in _JSON_LINES
    return not is_passages or ending == ".json"


_decode = decoder(dict[str, Any])


def _names(path: Path) -> list[str]:
    """The names of the fields in the first rows."""
    rows = first_rows(open_stream(path))
    return list({name: None for row in rows for name in _decode(row, path)})
