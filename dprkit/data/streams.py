"""Opening files and streams: decompress by content, split into lines or JSON rows.

Everything is read in chunks of CHUNK bytes, so memory is a chunk and a row, whatever the size of
the file. What a file is (gzip, zstandard, array, lines) is decided by its first bytes, not by its
name. Every fault ends in a FormatError with the line or byte where it lies.
"""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from dprkit.errors import FormatError, reading

CHUNK = 1 << 18
STDIN = "-"

_GZIP, _ZSTD, _BOM = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SPACE = b" \t\r\n"
_PACKED = 256  # bytes; zstandard unpacks all it is given at once, at worst to 10,000 times its size
_WINDOW = 3 << 15  # bytes; numpy gets larger arrays as fresh pages each time, at half the speed


class Row(NamedTuple):
    """One line or JSON value of a file: its bytes, its place for a message, its first byte.

    `start` counts from 0 in the unpacked file (0 where a row did not come straight from a file).
    """

    raw: bytes
    where: int | str
    start: int = 0


class Source(NamedTuple):
    """A file or stream that was opened: its name, its first byte that is no space, its bytes.

    `begin` is where the bytes begin: behind a byte-order mark.
    """

    path: Path | str
    first: bytes
    chunks: Iterator[bytes]
    begin: int = 0


def open_source(path: Path | str) -> Source:
    """Open `path` (`-`: stdin) as far as it takes to tell what kind of file it is.

    Raises InputError where it cannot be read and FormatError where it is empty.
    """
    return _source(path, _opened_chunks(path))


def source_of(file: IO[bytes], path: Path | str) -> Source:
    """As `open_source`, of a file that is open already and stays so; `path` is for messages."""
    return _source(path, _read_chunks(file, path))


def _source(path: Path | str, chunks: Iterator[bytes]) -> Source:
    chunk = next(chunks, b"")
    seen = [_without_mark(chunk, path)]
    begin = len(chunk) - len(seen[0])
    while not (stripped := seen[-1].lstrip(_SPACE)):
        if not (chunk := next(chunks, b"")):
            raise FormatError(path, 1, "the file is empty")
        seen.append(chunk)
    return Source(path, stripped[:1], _chain(seen, chunks), begin)


def _chain(seen: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from seen
    yield from rest


def _opened_chunks(path: Path | str) -> Iterator[bytes]:
    """The bytes of `path` (`-`: stdin), decompressed."""
    with reading(path):
        file: IO[bytes] = sys.stdin.buffer if str(path) == STDIN else open(path, "rb")  # noqa: SIM115
    try:
        yield from _read_chunks(file, path)
    finally:
        if file is not sys.stdin.buffer:
            file.close()


def _read_chunks(file: IO[bytes], path: Path | str) -> Iterator[bytes]:
    with reading(path):
        yield from _decompressed(file, path)


def _without_mark(chunk: bytes, path: Path | str) -> bytes:
    if chunk.startswith(_UTF16):
        raise FormatError(path, 1, "UTF-16 text; convert it: iconv -f utf-16 -t utf-8")
    return chunk.removeprefix(_BOM)


def is_compressed(file: IO[bytes]) -> bool:
    """Whether the file, of which nothing was read yet, is read through a decompressor."""
    return _first_bytes(file).startswith((_GZIP, _ZSTD))


def _first_bytes(file: IO[bytes]) -> bytes:
    return file.peek(4) if hasattr(file, "peek") else b""


def _decompressed(file: IO[bytes], path: Path | str) -> Iterator[bytes]:
    head = _first_bytes(file)
    if head.startswith(_GZIP):
        yield from _gunzipped(file, path)
    elif head.startswith(_ZSTD):
        yield from _unzstandarded(file, path)
    else:
        while chunk := file.read(CHUNK):
            yield chunk


def _gunzipped(file: IO[bytes], path: Path | str) -> Iterator[bytes]:
    done = 0
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            while chunk := unpacked.read(CHUNK):
                yield chunk
                done += len(chunk)
    except EOFError:
        raise FormatError(
            path, f"byte {done}", "the gzip file is cut off; fetch it again"
        ) from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(path, f"byte {done}", f"a corrupt gzip file ({error})") from None


def _unzstandarded(file: IO[bytes], path: Path | str) -> Iterator[bytes]:
    import zstandard

    decoder = zstandard.ZstdDecompressor().decompressobj()
    done = 0
    try:
        while packed := file.read(_PACKED):
            while packed:
                if decoder.eof:  # files may hold several frames
                    decoder = zstandard.ZstdDecompressor().decompressobj()
                if chunk := decoder.decompress(packed):
                    yield chunk
                    done += len(chunk)
                packed = decoder.unused_data
    except zstandard.ZstdError as error:
        raise FormatError(path, f"byte {done}", f"a corrupt zstandard file ({error})") from None
    if not decoder.eof:
        raise FormatError(path, f"byte {done}", "the zstandard file is cut off; fetch it again")


# --- lines ----------------------------------------------------------------------------------------


def read_lines(source: Source) -> Iterator[Row]:
    """The lines of `source` without their ends, numbered from 1; blank lines are passed over."""
    for row in read_all_lines(source):
        if row.raw and not row.raw.isspace():
            yield row._replace(raw=row.raw[:-1]) if row.raw.endswith(b"\r") else row


def read_all_lines(source: Source) -> Iterator[Row]:
    """The lines of `source` up to their b"\\n", blank ones too."""
    pending: list[bytes] = []
    number, start = 1, source.begin
    for chunk in source.chunks:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            if pending:
                line = b"".join([*pending, line])
                pending.clear()
            yield Row(line, number, start)
            number, start = number + 1, start + len(line) + 1
        pending.append(rest)
    if any(pending):
        yield Row(b"".join(pending), number, start)


def read_text_lines(source: Source) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers."""
    for raw, number, _ in read_lines(source):
        yield cast(int, number), decode(raw, source.path, number)


def decode(raw: bytes, path: Path | str, where: int | str) -> str:
    """`raw` as UTF-8 text, or a FormatError that names the byte that is none."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise FormatError(
            path, where, f"not UTF-8 (byte 0x{byte:02x}); convert it: iconv -f latin1 -t utf-8"
        ) from None


# --- JSON rows ------------------------------------------------------------------------------------


def read_json_rows(source: Source) -> Iterator[Row]:
    """The rows of a JSON array of objects, or of a file with one object a line.

    Rows are found, not decoded: a caller that wants few of many decodes few. Reading stops when
    the caller does. An array that is cut off anywhere is a FormatError.
    """
    if source.first == b"[":
        return _array_rows(source)
    if source.first == b"{":
        return read_lines(source)
    problem = "not JSON: expected an array of objects or one object a line"
    raise FormatError(source.path, 1, problem)


_GAP = re.compile(rb"[ \t\r\n]*(,?)[ \t\r\n]*")


def _array_rows(source: Source) -> Iterator[Row]:
    """Split `[{...}, {...}]` into its objects.

    `buffer` starts between two objects; `offset` is its place in the file, `fresh` its new end.
    """
    path, chunks, offset = source.path, source.chunks, source.begin
    while not (fresh := next(chunks)).strip(_SPACE):
        offset += len(fresh)
    begin = fresh.index(b"[") + 1
    buffer = fresh = fresh[begin:]
    offset, comma_due = offset + begin, False
    finder = ObjectFinder(offset)
    while True:
        done = 0
        for start, end in finder.feed(fresh):
            start, end = start - offset, end - offset
            _check_gap(buffer[done:start], comma_due, path, offset + done)
            yield Row(buffer[start:end], f"byte {offset + start}", offset + start)
            done, comma_due = end, True
        buffer, offset = buffer[done:], offset + done
        gap = _GAP.match(buffer)
        rest = buffer[gap.end() :] if gap else buffer
        if rest[:1] == b"]":
            _check_gap(buffer[: gap.end() if gap else 0], None, path, offset)
            _check_end(rest[1:], chunks, path, offset + len(buffer) - len(rest) + 1)
            return
        if rest and rest[:1] != b"{":
            where = f"byte {offset + len(buffer) - len(rest)}"
            raise FormatError(path, where, f"not JSON: expected an object, found {rest[:1]!r}")
        # A row longer than a chunk is copied again with as much again, so the work stays linear.
        fresh = b"".join(_take(chunks, max(CHUNK, len(buffer))))
        if not fresh:
            raise FormatError(
                path, f"byte {offset + len(buffer)}", "the JSON array is cut off here"
            )
        buffer += fresh


def _take(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := next(chunks, b"")):
        size -= len(chunk)
        yield chunk


def _check_gap(gap: bytes, comma_due: bool | None, path: Path | str, offset: int) -> None:
    """Between objects stands one comma, before the first none, before `]` none (None)."""
    found = gap.lstrip(_SPACE)
    comma_lacks = comma_due and found[:1] != b","
    if comma_due and not comma_lacks:
        found = found[1:].lstrip(_SPACE)
    if not found and not comma_lacks:
        return
    where = offset + len(gap) - len(found)
    if found[:1] == b"]":
        _check_end(found[1:] + b"{", (), path, where + 1)  # the object that ends the gap
    expected = "a comma" if comma_lacks else "]" if comma_due is None else "an object"
    problem = f"expected {expected}, found {(found[:20] or b'{').decode(errors='replace')!r}"
    raise FormatError(path, f"byte {where}", f"not JSON: {problem}")


def _check_end(rest: bytes, chunks: Iterable[bytes], path: Path | str, offset: int) -> None:
    for chunk in (rest, *chunks):
        if more := chunk.lstrip(_SPACE):
            where = f"byte {offset + len(chunk) - len(more)}"
            raise FormatError(path, where, "not JSON: there is more after the array's closing ]")
        offset += len(chunk)


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

        if self.escaped:  # it stands for itself
            data, self.offset = data[1:], self.offset + 1
        quotes = _unescaped(data, np.flatnonzero(data == ord('"')))
        braces = np.flatnonzero(data - np.uint8(ord("{")) < 3)  # { | }
        braces = braces[np.searchsorted(quotes, braces) % 2 == self.in_string]
        step = ord("|") - data[braces].astype(np.int64)  # 1, 0, -1
        depth = np.cumsum(step) + self.depth
        if len(depth) and depth.min() < 0:  # a stray }: what comes after it means nothing
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
        self.escaped = _trailing_backslashes(data) % 2 == 1
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


def _trailing_backslashes(data: Any) -> int:
    found = 0
    while found < len(data) and data[-1 - found] == ord("\\"):
        found += 1
    return found
