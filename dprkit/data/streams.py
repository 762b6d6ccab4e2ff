"""Files and pipes opened: decompressed by content (.gz, .zst, .bz2, .xz), split into lines.

Everything is read in chunks of CHUNK bytes, so memory is a chunk and a row, whatever the size of
the file. How a file is compressed is decided by its first bytes, not by its name; what it is, where
it is no text, data/signatures.py tells. Every fault ends in a FormatError with the line or byte
where it lies.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from dprkit.data.signatures import HEAD, foreign_kind
from dprkit.errors import FormatError, reading

CHUNK = 1 << 18
LONGEST = 1 << 26
"""Bytes of a line: longer ones are of no file of rows, and would fill the memory."""
STDIN = "-"
PACKED = (".gz", ".zst", ".bz2", ".xz")
"""Endings of the names of compressed files."""

_BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r\n"


class Place(NamedTuple):
    """Where a row lies in the unpacked file: its first byte, its bytes, its line."""

    start: int
    length: int
    line: int
    """0 for an object of an array."""

    @property
    def where(self) -> int | str:
        """The place for a message: a line, or "byte N"."""
        return self.line or f"byte {self.start}"


class RawRow(NamedTuple):
    """One line or JSON value of a file: its bytes, its place for a message, its first byte.

    `start` counts from 0 in the unpacked file (0 where a row did not come straight from a file).
    """

    raw: bytes
    where: int | str
    start: int = 0

    @property
    def place(self) -> Place:
        """Where the row lies."""
        line = self.where if isinstance(self.where, int) else 0
        return Place(self.start, len(self.raw), line)


@dataclass
class Stream:
    """A file or pipe that was opened: its name, its first byte that is no space, its bytes.

    `begin` is where the bytes begin: behind a byte-order mark. `traits` are what is found out about
    the whole while it is read, and is needed where it is read again from the middle.
    """

    path: Path | str
    first: bytes
    chunks: Iterator[bytes]
    begin: int = 0
    traits: dict[str, bool] = field(default_factory=dict)

    def ahead(self) -> Stream:
        """The same bytes once more, to look ahead before this stream is read.

        What is read ahead stays in memory until it is read here too. (itertools.tee would hold
        up to 57 chunks that were read everywhere.)
        """
        chunks, seen = self.chunks, deque[bytes]()

        def noting() -> Iterator[bytes]:
            for chunk in chunks:
                seen.append(chunk)
                yield chunk

        def again() -> Iterator[bytes]:
            while seen:
                yield seen.popleft()
            yield from chunks

        self.chunks = again()
        return replace(self, chunks=noting())


def open_stream(path: Path | str, markup: bool = False) -> Stream:
    """Open `path` (`-`: stdin) as far as it takes to tell what kind of file it is.

    Raises InputError where it cannot be read and FormatError where it is empty or of a kind that
    is not read here, as `markup` such as HTML and XML is unless it is wanted.
    """
    return _stream(path, opened_chunks(path), markup)


def stream_of(file: IO[bytes], path: Path | str) -> Stream:
    """As `open_stream`, of a file that is open already and stays so; `path` is for messages."""
    return _stream(path, _read_chunks(file, path))


def _stream(path: Path | str, chunks: Iterator[bytes], markup: bool = False) -> Stream:
    head = _head(chunks)
    if kind := foreign_kind(head, path, markup):
        raise FormatError(path, 1, kind)
    seen = [head.removeprefix(_BOM)]
    begin = len(head) - len(seen[0])
    while not (stripped := seen[-1].lstrip(SPACE)):
        if not (chunk := next(chunks, b"")):
            raise FormatError(path, 1, "the file is empty")
        seen.append(chunk)
    return Stream(path, stripped[:1], chain(seen, chunks), begin)


def _head(chunks: Iterator[bytes]) -> bytes:
    """The first bytes: HEAD of them or, from a pipe that waits for an answer, a line."""
    head = b""
    while len(head) < HEAD and b"\n" not in head and (chunk := next(chunks, b"")):
        head += chunk
    return head


def opened_chunks(path: Path | str) -> Iterator[bytes]:
    """The bytes of `path` (`-`: stdin), decompressed."""
    with reading(path):
        opened: Any = nullcontext(sys.stdin.buffer) if str(path) == STDIN else open(path, "rb")  # noqa: SIM115
        with opened as file:
            yield from _decompressed(file, path)


def _read_chunks(file: IO[bytes], path: Path | str) -> Iterator[bytes]:
    with reading(path):
        yield from _decompressed(file, path)


# --- compression ----------------------------------------------------------------------------------


class _Packing(NamedTuple):
    """A compression. A file of it may have several parts, each of which is whole by itself."""

    name: str
    magic: tuple[bytes, ...]
    """What its files may begin with."""
    decoder: Callable[[], Any]
    """Makes what unpacks one part."""
    unpack: Callable[[Any, bytes], Iterator[bytes]]
    step: int
    """Bytes given to a decoder at once."""
    padded: bool = False
    """Zeros may stand between its parts and behind them."""


def _zstandard() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _unpack_zstandard(decoder: Any, packed: bytes) -> Iterator[bytes]:
    """It unpacks all it is given at once, at worst to 10,000 times its size."""
    yield decoder.decompress(packed)


def _gzip() -> Any:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _unpack_gzip(decoder: Any, packed: bytes) -> Iterator[bytes]:
    full = True
    while packed or full:  # what does not fit in a chunk waits in the decoder
        yield (chunk := decoder.decompress(packed, CHUNK))
        packed, full = decoder.unconsumed_tail, len(chunk) == CHUNK


def _unpack_limited(decoder: Any, packed: bytes) -> Iterator[bytes]:
    """As the decompressors of bz2 and lzma do it."""
    yield decoder.decompress(packed, CHUNK)
    while not (decoder.eof or decoder.needs_input):
        yield decoder.decompress(b"", CHUNK)


_BZIP2 = tuple(
    b"BZh%d%b" % (level, start)
    for level in range(1, 10)
    for start in (b"1AY&SY", b"\x17rE8P\x90")  # begins a block; ends an empty file
)
_PACKINGS = (
    _Packing("gzip", (b"\x1f\x8b",), _gzip, _unpack_gzip, 1 << 14, padded=True),
    _Packing("zstandard", (b"\x28\xb5\x2f\xfd",), _zstandard, _unpack_zstandard, 256),
    _Packing("bzip2", _BZIP2, bz2.BZ2Decompressor, _unpack_limited, 1 << 14),
    _Packing(
        "xz", (b"\xfd7zXZ\x00",), lzma.LZMADecompressor, _unpack_limited, 1 << 14, padded=True
    ),
)
_MAGIC = tuple(magic for packing in _PACKINGS for magic in packing.magic)


def is_compressed(file: Any) -> bool:
    """Whether the file, of which nothing was read yet, is read through a decompressor."""
    return _packing(file.peek(CHUNK)) is not None


def _packing(head: bytes) -> _Packing | None:
    return next((packing for packing in _PACKINGS if head.startswith(packing.magic)), None)


def _decompressed(file: Any, path: Path | str) -> Iterator[bytes]:
    """The bytes of `file`, unpacked, as they come: read1 waits for no more than there is."""
    head = b""
    while _may_be_packed(head) and (piece := file.read1(CHUNK)):
        head += piece
    pieces = chain((head,), iter(lambda: file.read1(CHUNK), b""))
    packing = _packing(head)
    return filter(None, _unpacked(pieces, packing, path) if packing else pieces)


def _may_be_packed(head: bytes) -> bool:
    """Whether `head` is the beginning of a compressed file's first bytes and no more."""
    return any(len(head) < len(magic) and magic.startswith(head) for magic in _MAGIC)


def _unpacked(pieces: Iterable[bytes], packing: _Packing, path: Path | str) -> Iterator[bytes]:
    decoder, done = packing.decoder(), 0
    steps = (p[i : i + packing.step] for p in pieces for i in range(0, len(p), packing.step))
    for packed in steps:
        try:
            while packed:
                if decoder.eof:
                    packed = packed.lstrip(b"\0") if packing.padded else packed
                    if not packed:
                        break
                    decoder = packing.decoder()
                for chunk in packing.unpack(decoder, packed):
                    yield chunk
                    done += len(chunk)
                packed = decoder.unused_data
        except MemoryError:
            raise
        except Exception as error:  # each library has its own
            problem = f"a corrupt {packing.name} file ({error})"
            raise FormatError(path, f"byte {done}", problem) from None
    if not decoder.eof:
        problem = f"the {packing.name} file is cut off; fetch it again"
        raise FormatError(path, f"byte {done}", problem)


# --- lines ----------------------------------------------------------------------------------------


def read_lines(stream: Stream) -> Iterator[RawRow]:
    """The lines of `stream` without their ends, numbered from 1; blank lines are passed over."""
    for row in read_all_lines(stream):
        if row.raw and not row.raw.isspace():
            yield row._replace(raw=row.raw[:-1]) if row.raw.endswith(b"\r") else row


def read_all_lines(stream: Stream) -> Iterator[RawRow]:
    """The lines of `stream` up to their b"\\n", blank ones too."""
    pending: list[bytes] = []
    number, start, held = 1, stream.begin, 0
    for chunk in stream.chunks:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            if pending:
                line = b"".join([*pending, line])
                pending.clear()
            yield RawRow(line, number, start)
            number, start = number + 1, start + len(line) + 1
        pending.append(rest)
        held = held + len(rest) if not lines else len(rest)
        if held > LONGEST:
            raise too_long(stream.path, number)
    if any(pending):
        yield RawRow(b"".join(pending), number, start)


def too_long(
    path: Path | str, where: int | str, what: str = "a line", most: int = LONGEST
) -> FormatError:
    """The error of a row that no memory should have to hold."""
    return FormatError(path, where, f"{what} of more than {most >> 20} MB; no row is that long")


def read_text_lines(stream: Stream) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers."""
    for raw, number, _ in read_lines(stream):
        yield cast(int, number), decode(raw, stream.path, number)


def decode(raw: bytes, path: Path | str, where: int | str) -> str:
    """`raw` as UTF-8 text, or a FormatError that names the byte that is none."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        problem = (
            f"not UTF-8 (byte 0x{raw[error.start]:02x}); convert it: iconv -f latin1 -t utf-8 "
            "(only such lines, if others are UTF-8)"
        )
        if b"\0" in raw:
            problem = "a binary file; text is needed"
        raise FormatError(path, where, problem) from None
