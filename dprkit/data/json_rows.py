"""The rows of JSON files: an object a line, or the objects of an array, found and not decoded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from dprkit.data import streams
from dprkit.data.streams import LONGEST, SPACE, RawRow, Stream, read_lines, too_long
from dprkit.errors import FormatError

_WINDOW = 3 << 15  # bytes; numpy gets larger arrays as fresh pages each time, at half the speed
_LONGEST_KEYED = 1 << 28
"""Bytes of an object in an object: it may be the whole run of a system."""
_MOST = 1 << 24
"""Bytes that are added at once to a row that is not whole."""


def read_json_rows(stream: Stream) -> Iterator[RawRow]:
    """The rows of a JSON array of objects, or of a file with one object a line.

    Rows are found, not decoded: a caller that wants few of many decodes few. Reading stops when
    the caller does. An array that is cut off anywhere is a FormatError.
    """
    if stream.first == b"[":
        return _array_rows(stream)
    if stream.first == b"{":
        return read_lines(stream)
    problem = "not JSON: expected an array of objects or one object a line"
    raise FormatError(stream.path, 1, problem)


def _objects(stream: Stream, opening: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The objects behind `opening`: the bytes before each, where these begin, and the object.

    Also, with an empty object, what has been read and belongs to none, before more is read.
    """
    chunks, offset = stream.chunks, stream.begin  # offset: of the buffer's first byte
    longest = LONGEST if opening == b"[" else _LONGEST_KEYED
    while not (fresh := next(chunks)).strip(SPACE):
        offset += len(fresh)
    begin = fresh.index(opening) + 1
    buffer = fresh = fresh[begin:]
    offset += begin
    finder = ObjectFinder(offset)
    while True:
        done = 0
        for start, end in finder.feed(fresh):
            start, end = start - offset, end - offset
            yield buffer[done:start], offset + done, buffer[start:end]
            done = end
        buffer, offset = buffer[done:], offset + done
        yield buffer, offset, b""
        if len(buffer) > longest:
            raise too_long(stream.path, f"byte {offset}", "an object", longest)
        # A row longer than a chunk is copied again with as much again, so the work stays linear.
        fresh = b"".join(_take(chunks, min(max(streams.CHUNK, len(buffer)), _MOST)))
        if not fresh:
            return
        buffer += fresh


def _take(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := next(chunks, b"")):
        size -= len(chunk)
        yield chunk


def _row(raw: bytes, start: int) -> RawRow:
    return RawRow(raw, f"byte {start}", start)


# --- an array of objects --------------------------------------------------------------------------

_GAP = re.compile(rb"[ \t\r\n]*(,?)[ \t\r\n]*")


def _array_rows(stream: Stream, whole: bool = True) -> Iterator[RawRow]:
    """Split `[{...}, {...}]` into its objects. Not `whole`: it is a part of a larger value."""
    path, end, comma_due = stream.path, 0, False
    for before, offset, raw in _objects(stream, b"["):
        if raw:
            _check_gap(before, comma_due, path, offset)
            yield _row(raw, offset + len(before))
            comma_due = True
            continue
        gap = _GAP.match(before)
        rest = before[gap.end() :] if gap else before
        end = offset + len(before)
        if rest[:1] == b"]":
            _check_gap(before[: gap.end() if gap else 0], None, path, offset)
            if whole:
                _check_end(rest[1:], stream.chunks, path, end - len(rest) + 1)
            return
        if rest and rest[:1] != b"{":
            raise _no_object(path, end - len(rest), rest)
    raise FormatError(path, f"byte {end}", "the JSON array is cut off here")


def _check_gap(gap: bytes, comma_due: bool | None, path: Path | str, offset: int) -> None:
    """Between objects stands one comma, before the first none, before `]` none (None)."""
    rest = gap.lstrip(SPACE)
    comma_lacks = comma_due and rest[:1] != b","
    if comma_due and not comma_lacks:
        rest = rest[1:].lstrip(SPACE)
    if not rest and not comma_lacks:
        return
    where = offset + len(gap) - len(rest)
    if rest[:1] == b"]":
        _check_end(rest[1:] + b"{", (), path, where + 1)  # the object that ends the gap
    if rest and not comma_lacks and comma_due is not None:
        raise _no_object(path, where, rest)
    expected = "a comma" if comma_lacks else "]" if comma_due is None else "an object"
    problem = f"expected {expected}, found {(rest[:20] or b'{').decode(errors='replace')!r}"
    raise FormatError(path, f"byte {where}", f"not JSON: {problem}")


_VALUE = re.compile(rb'(\[)|(")|(-?\d)|(null\b)|(?:true|false)\b')
_VALUES = ("true or false", "a list", "a text", "a number", "null")


def _no_object(path: Path | str, offset: int, rest: bytes) -> FormatError:
    """The error of what stands in an array, from `offset` on, in the place of an object."""
    value = _VALUE.match(rest)
    if not value:
        found = rest[:20].decode(errors="replace")
        return FormatError(path, f"byte {offset}", f"not JSON: expected an object, found {found!r}")
    problem = f"expected an object with named fields, found {_VALUES[value.lastindex or 0]}"
    line = _line_at(path, offset)
    if line is None:
        return FormatError(path, f"byte {offset}", problem)
    return FormatError(path, line, f"{problem} (byte {offset})")


def _line_at(path: Path | str, offset: int) -> int | None:
    """The line of a byte of an unpacked file, which is read again; None where it cannot be."""
    if not Path(path).is_file():
        return None
    line = 1
    for chunk in streams.opened_chunks(path):
        line += chunk[:offset].count(b"\n")
        offset -= len(chunk)
        if offset <= 0:
            break
    return line


def _check_end(rest: bytes, chunks: Iterable[bytes], path: Path | str, offset: int) -> None:
    for chunk in (rest, *chunks):
        if more := chunk.lstrip(SPACE):
            where = f"byte {offset + len(chunk) - len(more)}"
            raise FormatError(path, where, "not JSON: there is more after the array's closing ]")
        offset += len(chunk)


# --- an object of objects -------------------------------------------------------------------------

STRING = rb'"(?:[^"\\]|\\.)*"'
"""A pattern of JSON's text."""
_FIRST_VALUE = re.compile(rb"\s*\{\s*" + STRING + rb"\s*:\s*(\S)", re.DOTALL)
_KEY = re.compile(rb"\s*(,?)\s*(" + STRING + rb")\s*:\s*", re.DOTALL)
_LOOKED_AT = 1 << 16


def is_keyed(stream: Stream) -> bool:
    """Whether `stream` is an object whose first value is one too."""
    match = _FIRST_VALUE.match(head(stream)) if stream.first == b"{" else None
    return match is not None and match[1] == b"{"


def head(stream: Stream) -> bytes:
    """The beginning of `stream`, which stays unread: at least _LOOKED_AT bytes, or all."""
    begin = b""
    for chunk in stream.ahead().chunks:
        begin += chunk
        if len(begin) >= _LOOKED_AT:
            break
    return begin


def keyed_rows(stream: Stream) -> Iterator[tuple[str, RawRow]]:
    """The objects in `{"key": {...}, ...}` with their keys. Memory is a chunk and an object."""
    path, first, before, offset = stream.path, True, b"", 0
    for before, offset, raw in _objects(stream, b"{"):
        if not raw:
            continue
        key = _KEY.fullmatch(before)
        if not key or bool(key[1]) == first:
            raise FormatError(path, f"byte {offset}", "not JSON: a key is expected")
        yield _text(key[2], path, offset), _row(raw, offset + len(before))
        first = False
    if before.strip(SPACE) != b"}":
        raise FormatError(path, f"byte {offset}", "not JSON: an object or the end is expected")


def rows_within(stream: Stream, key: str) -> Iterator[RawRow]:
    """The objects of the array that an object has under `key`: `{"key": [{...}, ...], ...}`.

    What else the object has is not read. Raises FormatError where the array is not there.
    """
    start = _array_under(key).search(head(stream))
    if not start:
        raise FormatError(stream.path, 1, f"not JSON with a list {key!r}")
    skipped, left = start.end() - 1, stream.chunks

    def behind() -> Iterator[bytes]:
        begin = b""
        while len(begin) <= skipped:
            begin += next(left)
        yield begin[skipped:]
        yield from left

    array = replace(stream, first=b"[", chunks=behind(), begin=stream.begin + skipped)
    return _array_rows(array, whole=False)


def has_list(stream: Stream, key: str) -> bool:
    """Whether `stream` is an object that has a list of objects under `key`, near its beginning."""
    return stream.first == b"{" and _array_under(key).search(head(stream)) is not None


def _array_under(key: str) -> re.Pattern[bytes]:
    return re.compile(rb'"' + key.encode() + rb'"\s*:\s*\[')


def _text(raw: bytes, path: Path | str, start: int) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise FormatError(path, f"byte {start}", "not JSON: a broken key") from None


# --- finding objects ------------------------------------------------------------------------------


class ObjectFinder:
    """Where the outermost objects of a stream start and end, found as its bytes come in.

    Vectorised: quotes that no backslash escapes tell what is inside a string, braces outside of
    strings tell the depth. No byte is looked at twice: what a piece leaves open is kept for the
    next one. About 1 ns a byte, a tenth of what decoding costs.
    """

    def __init__(self, offset: int) -> None:
        self.offset = offset  # of the next byte
        self.start = 0  # of the object that is open where depth > 0
        self.depth = 0
        self.in_string = self.escaped = False

    def feed(self, data: bytes) -> Iterator[tuple[int, int]]:
        """The (start, end) of each object that ends in `data`, counted from the first offset."""
        import numpy as np

        view: Any = np.frombuffer(data, np.uint8)
        for first in range(0, len(view), _WINDOW):
            yield from self._look(view[first : first + _WINDOW])

    def _look(self, data: Any) -> Iterator[tuple[int, int]]:
        import numpy as np

        if self.escaped:  # the last chunk ended in a backslash: this byte is no syntax
            data, self.offset = data[1:], self.offset + 1
        quotes = _unescaped(data, np.flatnonzero(data == ord('"')))
        braces = np.flatnonzero(data - np.uint8(ord("{")) < 3)  # { | }
        braces = braces[np.searchsorted(quotes, braces) % 2 == self.in_string]
        step = ord("|") - data[braces].astype(np.int64)  # 1, 0, -1
        depth = np.cumsum(step) + self.depth
        if len(depth) and depth.min() < 0:  # a } too many: the JSON is broken from here on
            cut = int(np.argmax(depth < 0))
            braces, step, depth = braces[:cut], step[:cut], depth[:cut]
        starts = (braces[(depth == 1) & (step == 1)] + self.offset).tolist()
        ends = (braces[(depth == 0) & (step == -1)] + self.offset + 1).tolist()
        if self.depth:
            starts.insert(0, self.start)
        self.offset += len(data)
        self.start = starts[-1] if starts else 0
        self.depth = int(depth[-1]) if len(depth) else self.depth
        self.in_string ^= len(quotes) % 2 == 1
        end = data.tobytes()
        self.escaped = (len(end) - len(end.rstrip(b"\\"))) % 2 == 1
        yield from zip(starts, ends, strict=False)


def _unescaped(data: Any, quotes: Any) -> Any:
    """Those `quotes` (positions in `data`) before which an even number of backslashes stands."""
    import numpy as np

    escaped = data[np.maximum(quotes - 1, 0)] == ord("\\")  # at 0 stands the quote itself
    left, distance = np.flatnonzero(escaped), 2
    while len(left):
        before = quotes[left] - distance
        left = left[(before >= 0) & (data[before] == ord("\\"))]
        escaped[left] ^= True
        distance += 1
    return quotes[~escaped]
