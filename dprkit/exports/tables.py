"""What an export is made of: tables of rows, each a file or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

Row = dict[str, Any]
Kind = Literal["text", "texts", "sets", "number", "passages"]
"""What a column holds: a text, a list of texts, lists of texts, a whole number, or passages."""


class Table(NamedTuple):
    """Rows that are made of the records of dprkit's data, a record at a time, in their order."""

    name: str
    """Of its file, without the ending; it may name a folder: qrels/test."""
    form: Literal["jsonl", "tsv", "parquet"]
    columns: Mapping[str, Kind]
    records: Callable[[], Iterator[Any]]
    rows: Callable[[Any, Counter[str]], Iterable[Row]]
    """The rows of a record; what is left out is counted by its reason."""
    needed: bool = True
    """Whether there is a file even without rows."""
