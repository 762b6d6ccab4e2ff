"""The kind `table`: csv and tsv of any dialect, and JSON rows, with named columns.

Everything that a row may be is told by the columns (imports/columns.py). A row that makes no item
is counted with its reason; what breaks the form of the file is a FormatError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dprkit.data.csv_tables import Form, Table
from dprkit.data.formats import is_json
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import RawRow, Stream, open_stream
from dprkit.imports.columns import Understood, understand
from dprkit.imports.dialect import by_content, dialect
from dprkit.imports.items import Item, Tally, fault_of
from dprkit.imports.values import Unusable
from dprkit.settings import ImportSettings

LOOKED_AT = 50
"""JSON rows whose names are looked at."""


def fits(path: Path) -> bool:
    """Whether it is a file: this kind is the last one, and tells what is wrong with a file."""
    return path.is_file()


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The items of a table's rows, in its order."""
    stream = open_stream(path)
    if is_json(stream):
        return _of_json(stream, settings, tally)
    return _of_table(stream, settings, tally)


def _of_table(stream: Stream, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    form = dialect(stream, settings.columns)
    asked: Mapping[Any, str | int] | None = settings.columns
    if not form.header and not asked:
        asked = {**by_content(_first_cells(stream, form), stream.path)}
    understood = understand(form.columns, asked, stream.path)
    tally.understand(stream.path, understood.sentence)
    make = understood.maker(form.columns)
    for place, cells in Table(stream, _checkable(form, understood)).rows():
        if item := _made(make, cells, stream.path, place.line, tally):
            yield item


def _checkable(form: Form, understood: Understood) -> Form:
    """The form with the column of ids under the name by which Table knows it."""
    ids = next(
        (understood.columns[h][0] for h in ("id", "question_id") if h in understood.columns), ""
    )
    columns = tuple("id" if name == ids else name for name in form.columns)
    text = columns[form.columns.index(form.text)]
    return form._replace(columns=columns, text=text)


def _first_cells(stream: Stream, form: Form) -> list[str]:
    return next(cells for _, cells in Table(stream.ahead(), form).rows())


def _of_json(stream: Stream, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    decode = decoder(dict[str, Any])
    understood = understand(_names(stream), settings.columns, stream.path)
    tally.understand(stream.path, understood.sentence)
    for row in read_json_rows(stream):
        if item := _made(understood.item, decode(row, stream.path), stream.path, row.where, tally):
            yield item


def _names(stream: Stream) -> list[str]:
    """The names in the first rows, which need not have all of them; the stream stays unread."""
    decode, names = decoder(dict[str, Any]), dict[str, None]()
    for row in first_rows(stream):
        names |= dict.fromkeys(decode(row, stream.path))
    return list(names)


def first_rows(stream: Stream, count: int = LOOKED_AT) -> list[RawRow]:
    """The first JSON rows of `stream`, which stays unread; few where they are long."""
    rows: list[RawRow] = []
    size = 0
    for row in read_json_rows(stream.ahead()):
        rows.append(row)
        size += len(row.raw)
        if len(rows) == count or size > 1 << 20:
            break
    return rows


def _made(
    make: Callable[[Any], Item], row: Any, path: Path | str, where: int | str, tally: Tally
) -> Item | None:
    """The item of a row, or None where it is counted among the dropped."""
    try:
        item = make(row)
        problem = fault_of(item)
    except Unusable as error:
        problem = str(error)
    if problem:
        tally.drop(problem, f"{path}:{where}")
        return None
    tally.at = (path, where)
    return item
