"""The kind `table`: csv and tsv of any dialect, and JSON rows, with named columns.

Everything that a row may be is told by the columns (imports/columns.py). A row that makes no item
is counted with its reason; what breaks the form of the file is a FormatError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from dprkit.data.csv_tables import Form, Table
from dprkit.data.formats import is_json
from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import RawRow, Stream, open_stream
from dprkit.errors import FormatError
from dprkit.imports.columns import Asked, Understood, asked_of, understand
from dprkit.imports.dialect import ALIKE, by_content, dialect, named
from dprkit.imports.items import Item, Tally
from dprkit.imports.values import Unusable
from dprkit.records import Example, Question
from dprkit.settings import ImportSettings

LOOKED_AT = 50
"""JSON rows whose names are looked at, and answers whose lengths are."""
LONG_ANSWER = 150
"""Letters that the middle one of answers may have without a note."""


def fits(path: Path) -> bool:
    """Whether it is a file: this kind is the last one, and tells what is wrong with a file."""
    return path.is_file()


def items(path: Path, settings: ImportSettings, tally: Tally) -> Iterator[Item]:
    """The items of a table's rows, in its order."""
    stream = open_stream(path)
    read = _of_json if is_json(stream) else _of_table
    understood, made = read(stream, settings, tally)
    tally.understand(path, understood.sentence)
    if understood.form.name == "labelled pairs":
        return grouped(made, tally)
    return _watched(made, understood, tally) if understood.form.name == "questions" else made


def _of_table(
    stream: Stream, settings: ImportSettings, tally: Tally
) -> tuple[Understood, Iterator[Item]]:
    form = dialect(stream, settings.columns)
    asked = named(form, asked_of(form.columns, settings))
    if not form.header and not _by_number(asked):
        asked = by_content(_first_rows(stream, form), asked, stream.path)
    understood = understand(form.columns, asked, stream.path)
    make = understood.maker(form.columns)
    rows = ((p.line, cells) for p, cells in Table(stream, _checkable(form, understood)).rows())
    return understood, made_of(make, rows, stream.path, tally)


def _checkable(form: Form, understood: Understood) -> Form:
    """The form with the column of ids under the name by which Table knows it."""
    ids = next(
        (understood.columns[h][0] for h in ("id", "question_id") if h in understood.columns), ""
    )
    columns = tuple("id" if name == ids else name for name in form.columns)
    text = columns[form.columns.index(form.text)]
    return form._replace(columns=columns, text=text)


def _first_rows(stream: Stream, form: Form) -> list[list[str]]:
    return [cells for _, cells in islice(Table(stream.ahead(), form).rows(), ALIKE)]


def _by_number(asked: Asked) -> bool:
    return bool(asked) and all(isinstance(name, int) for name in (asked or {}).values())


def _of_json(
    stream: Stream, settings: ImportSettings, tally: Tally
) -> tuple[Understood, Iterator[Item]]:
    decode = decoder(dict[str, Any])
    names = _names(stream)
    if not names:
        raise FormatError(stream.path, 1, "there is no row in it")
    understood = understand(names, asked_of(names, settings), stream.path)
    rows = ((row.where, decode(row, stream.path)) for row in read_json_rows(stream))
    late = _Late(understood, names, settings, tally)
    watched = ((where, late.seen(row, f"{stream.path}:{where}")) for where, row in rows)
    return understood, made_of(lambda row: late.understood.item(row), watched, stream.path, tally)


class _Late:
    """Watches JSON rows for columns that the first rows lack, and reads them from there on."""

    def __init__(
        self, understood: Understood, names: list[str], settings: ImportSettings, tally: Tally
    ) -> None:
        self.understood, self.names, self.settings, self.tally = understood, names, settings, tally
        self._known = set(names)

    def seen(self, row: dict[str, Any], place: str) -> dict[str, Any]:
        """The row, after what is new in it is understood, or is told not to be read."""
        if row.keys() <= self._known:
            return row
        fresh = [name for name in row if name not in self._known]
        self._known |= row.keys()
        before, names = self.understood, [*self.names, *fresh]
        again = understand(names, asked_of(names, self.settings), place.rpartition(":")[0])
        told = f"{', '.join(fresh)} first at {place}"
        self.names = names
        if again.form is before.form and before.columns.items() < again.columns.items():
            self.understood = again
            self.tally.note(f"columns that the first rows lack: {told}; {again.sentence}")
        elif again.columns != before.columns:
            self.tally.note(
                f"columns that the first rows lack are not read: {told}, by which the rows would "
                f"be {again.form.name}; put such a row first"
            )
        return row


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


def made_of(
    make: Callable[[Any], Item],
    rows: Iterable[tuple[int | str, Any]],
    path: Path | str,
    tally: Tally,
) -> Iterator[Item]:
    """The items of rows, which come with their lines; a row that makes none is counted."""
    for where, row in rows:
        try:
            item = make(row)
        except Unusable as error:
            tally.drop(str(error), f"{path}:{where}")
            continue
        tally.at = (path, where)
        yield item


def _watched(items: Iterable[Item], understood: Understood, tally: Tally) -> Iterator[Item]:
    """Questions, with a note where what is called an answer seems to be a passage."""
    lengths: list[int] = []
    for item in items:
        yield item
        if isinstance(item, Question) and item.answers and len(lengths) < LOOKED_AT:
            lengths.append(len(item.answers[0]))
            if len(lengths) == LOOKED_AT and median(lengths) > LONG_ANSWER:
                question, answers = (understood.columns[h][0] for h in ("question", "answers"))
                tally.note(
                    f"the answers in {answers} are long; if they are passages that answer the "
                    f"questions, give --columns question={question},positive={answers}"
                )


def grouped(items: Iterable[Item], tally: Tally) -> Iterator[Item]:
    """The examples of pairs, those of one question that stand together as one."""
    begun: Example | None = None
    place = None
    for item in items:
        assert isinstance(item, Example)
        here = tally.at
        if begun and begun.question == item.question:
            begun = msgspec.structs.replace(
                begun,
                positives=begun.positives + item.positives,
                hard_negatives=begun.hard_negatives + item.hard_negatives,
            )
            continue
        if begun:
            tally.at = place
            yield begun
        begun, place = item, here
    if begun:
        tally.at = place
        yield begun
