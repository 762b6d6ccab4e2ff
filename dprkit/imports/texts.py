"""The kind `texts`: a folder of .txt, .md, .html and .jsonl, or one such file -> passages.

A passage's id is the path of its file below the source, the heading that it stands below and its
number there: docs/guide.md#install:2. So an id depends on its file alone, and a change in a section
leaves the passages of other sections as they were. Its title is that of the page, and the headings
above it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from dprkit.data.csv_tables import first_line
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import head, read_json_rows
from dprkit.data.streams import RawRow, open_stream
from dprkit.errors import FormatError, InputError
from dprkit.imports.columns import NAMES
from dprkit.imports.dialect import dialect
from dprkit.imports.items import Item, Tally
from dprkit.imports.row_folder import is_rows
from dprkit.imports.sections import Page, Part, html_page, markdown_page, text_parts
from dprkit.imports.splitting import WORDS, Cut, cut_by
from dprkit.imports.text_files import (
    OTHER,
    READ,
    TextFile,
    Unreadable,
    files_in,
    kind_of,
    lines,
    nothing_in,
    page,
)
from dprkit.records import Passage
from dprkit.settings import ImportSettings

LOOKED_AT = 10_000
"""Files that are looked at for a text among them."""
ROWS = "a file of rows among texts"
NOT_ROWS = "rows that cannot all be read"
BETWEEN = " > "
"""Between the headings of a title."""
_HEADING = re.compile(rb"\s*\S[^\n]*\n[^\S\n]*\n")
"""A first line with a blank one behind it: a text begins so, and no table."""


def fits(path: Path) -> bool:
    """Whether it is a text and no table, or a folder with one."""
    if not path.is_dir():
        kind = kind_of(path.name)
        return kind in ("markdown", "html") or (kind == "text" and not _is_table(path))
    files = files_in(path, lambda reason, where: None)
    return any(file.kind for file in islice(files, LOOKED_AT))


def _is_table(path: Path) -> bool:
    """Whether a text file has tabs in its first line, or a header with rows right below it."""
    try:
        stream = open_stream(path, markup=True)
        if "\t" in first_line(stream):
            return True
        return dialect(stream).header and not _HEADING.match(head(stream))
    except FormatError:
        return False


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The passages of the texts in `path`, in the order of the files' names.

    Raises InputError where there is no text.
    """
    cut = cut_by(settings.split_passages, settings.overlap, settings.tokenizer)
    tally.understand(path, f"split by {settings.split_passages or f'words={WORDS}'}")
    found = False
    for file in _wanted(path, settings, tally):
        try:
            for passage in _passages(file, cut, tally):
                found = True
                tally.at = (file.path, passage.id.rpartition("#")[2])
                yield passage
        except Unreadable as unreadable:
            tally.drop(unreadable.reason, unreadable.where)
    if not found:
        raise InputError(f"{path}: {_no_text(path, tally)}")


def _no_text(path: Path, tally: Tally) -> str:
    if path.is_dir() and (nothing := nothing_in(path)):
        return nothing
    told = "; ".join(
        f"{one.count:,} {why}, first {one.first}" for why, one in tally.dropped.items()
    )
    return f"no text in it{f' ({told})' if told else ''}; {READ} count"


def _wanted(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[TextFile]:
    """The files to read. Those of rows in a folder are not, unless --kind says so."""
    rows, first = 0, path
    named = set(map(Path, settings.sources))
    for file in files_in(path, tally.drop):
        if not path.is_dir() or settings.kind or not is_rows(file.path):
            if file.kind:
                yield file
            else:
                tally.drop(OTHER, str(file.path))
        elif file.path not in named:
            rows, first = rows + 1, first if rows else file.path
            tally.drop(ROWS, str(file.path))
    if rows:
        tally.note(
            f"{path}: a folder of texts, whose files of rows are not read: {rows:,} (the first: "
            f"{first}); name them beside it, as in dprkit import-data {path} {first}"
        )


def _passages(file: TextFile, cut: Cut, tally: Tally) -> Iterator[Passage]:
    if file.kind == "rows":
        return _of_rows(file, cut, tally)
    if file.kind == "text":
        paged = Page("", text_parts(lines(file.path)))
    else:
        of = html_page if file.kind == "html" else markdown_page
        paged = of(page(file.path, html=file.kind == "html"))
    return _of_page(file, paged, cut, tally)


def _of_page(file: TextFile, paged: Page, cut: Cut, tally: Tally) -> Iterator[Passage]:
    """The passages of a page, section by section."""
    numbers: Counter[str] = Counter()
    for title, place, paragraphs in _sections(paged, _by_name(file.path)):
        for text in cut(title, paragraphs):
            numbers[place] += 1
            where = f"{place}:{numbers[place]}" if place else f"{numbers[place]}"
            yield Passage(f"{file.name}#{where}", text, title)
    if not numbers:
        tally.drop("a file without text", str(file.path))


def _by_name(path: Path) -> str:
    """The title that the name of a file stands for."""
    name = path.name.encode(errors="replace").decode()
    while kind_of(name) or kind_of(os.path.splitext(name)[0]):
        name = os.path.splitext(name)[0]
    return " ".join(name.replace("_", " ").replace("-", " ").split()) or path.name


def _sections(paged: Page, by_name: str) -> Iterator[tuple[str, str, Iterator[str]]]:
    """The title, the place and the paragraphs of each section of a page.

    The page's title is its first heading if that is of the first level, else what the page calls
    itself, else the name of the file.
    """
    above: list[tuple[int, str]] = []
    """The headings that a section stands below, with their levels."""
    title, place = paged.title, ""
    places: Counter[str] = Counter()
    for is_heading, parts in groupby(paged.parts, lambda part: part.level > 0):
        if not is_heading:
            headings = [title or by_name, *(heading for _, heading in above)]
            yield BETWEEN.join(dict.fromkeys(headings)), place, (part.text for part in parts)
            continue
        for heading in parts:
            above = [one for one in above if one[0] < heading.level]
            if heading.level == 1 and not places:
                title = heading.text
            else:
                above.append((heading.level, heading.text))
            place = _place(heading, places)


def _place(heading: Part, places: Counter[str]) -> str:
    """What an id says of a heading: a name that no heading before it in the page has."""
    name = "".join(heading.anchor.split()).replace("#", "") or "section"
    places[name] += 1
    while places[name] > 1:
        again = f"{name}-{places[name] - 1}"
        places[again] += 1
        if places[again] == 1:
            return again
        places[name] += 1
    return name


# --- rows -----------------------------------------------------------------------------------------

_decode_row = decoder(dict[str, Any])


def _of_rows(file: TextFile, cut: Cut, tally: Tally) -> Iterator[Passage]:
    """The passages of JSON rows, each of which is a text with a title and an id, if it has them.

    Raises Unreadable for a file with a row that is none, before the first passage.
    """
    try:
        for _ in _rows(file.path):
            pass
    except FormatError as error:
        raise Unreadable(NOT_ROWS, str(error)) from None
    for row, fields in _rows(file.path):
        text, title, id_ = (_field(fields, NAMES[name]) for name in ("text", "title", "id"))
        if not text.strip():
            tally.drop("a row without text", f"{file.path}:{row.where}")
            continue
        place = "".join(id_.split()) or str(row.where).replace(" ", "")
        for number, piece in enumerate(cut(title, _paragraphs(text)), start=1):
            yield Passage(f"{file.name}#{place}:{number}", piece, title)


def _rows(path: Path) -> Iterator[tuple[RawRow, dict[str, Any]]]:
    for row in read_json_rows(open_stream(path)):
        yield row, _decode_row(row, path)


def _paragraphs(text: str) -> Iterable[str]:
    return (part.text for part in text_parts(text.split("\n")))


def _field(fields: dict[str, Any], names: Iterable[str]) -> str:
    """The first of the fields that is there, if it is a text or a number."""
    value = next((fields[name] for name in names if fields.get(name) is not None), "")
    return str(value) if isinstance(value, str | int) else ""
