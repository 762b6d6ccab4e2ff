"""Formats of files: which one a file of records has is told by its content, never by its name.

data/passages.py, data/questions.py and data/rankings.py each have a table FORMATS. The first line
of it that fits counts. A new format of passages is a function from a Stream to passages and a line
in the table of data/passages.py. Examples have one format, DPR's JSON (data/examples.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from dprkit.data.streams import Stream

Record_co = TypeVar("Record_co", covariant=True)


class Format(NamedTuple, Generic[Record_co]):
    """A format of files that hold records of one kind."""

    name: str
    fits: Callable[[Stream], object]
    """Whether a file has this format, if it has none of those before it in the table. It reads
    `stream.ahead()`, so that nothing is taken from the stream."""
    read: Callable[[Stream], Iterator[Record_co]]


def read_records(stream: Stream, formats: Sequence[Format[Record_co]]) -> Iterator[Record_co]:
    """The records of `stream`, by the first of `formats` that fits; the last one always does."""
    return next(format_.read(stream) for format_ in formats if format_.fits(stream))


def is_json(stream: Stream) -> bool:
    """Whether the stream begins as an array or an object does."""
    return stream.first in (b"[", b"{")


def is_any(stream: Stream) -> bool:
    """True: for the last format of a table, which reports what is wrong with all other files."""
    return True
