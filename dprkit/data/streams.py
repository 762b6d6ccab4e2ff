"""Opening files and streams: decompress by content, split into lines or JSON rows.

Everything is read in chunks of CHUNK bytes, so memory is a chunk and a row, whatever the size of
the file. What a file is (gzip, zstandard, array, lines) is decided by its first bytes, not by its
name. Every fault ends in a FormatError with the line or byte where it lies.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from dprkit.errors import FormatError, reading

CHUNK = 1 << 18
STDIN = "-"

_GZIP, _ZSTD, _BOM = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
SPACE = b" \t\r\n"
_PACKED = 256  # bytes; zstandard unpacks all it is given at once, at worst to 10,000 times its size


class Row(NamedTuple):
    """One line or JSON value of a file: its bytes, its place for a message, its first byte.

    `start` counts from 0 in the unpacked file (0 where a row did not come straight from a file).
    """

    raw: bytes
    where: int | str
    start: int = 0


class Place(NamedTuple):
    """Where a row lies in the unpacked file: its first byte, its bytes, its line."""

    start: int
    length: int
    line: int


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
    while not (stripped := seen[-1].lstrip(SPACE)):
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
