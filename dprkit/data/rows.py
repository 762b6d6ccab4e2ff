"""Random access to the rows of a training file, by an index of where they lie.

The index is made in one pass, which checks every row, and kept beside the data:

    train.jsonl             the data: a JSON array of examples or one example a line
    train.jsonl.rows        one line of JSON (what file it is the index of), then for each row its
                            first byte (64 bits), length, line (32 each) and key (64 bits)
    train.jsonl.gz.rows-data   a compressed file cannot be read at random: its bytes, unpacked once

Where the folder cannot be written, both lie in $XDG_CACHE_HOME/dprkit (~/.cache/dprkit) under a
hash of the file's real path. Files below WORTH bytes are indexed anew each time, in milliseconds.
An index counts if its file has the same size and time of change; if only the time differs, the
hash of the content decides.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import weakref
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec

from dprkit.data.formats import example_key
from dprkit.data.streams import CHUNK, STDIN, Row, Source, is_compressed, read_json_rows, source_of
from dprkit.errors import InputError, OutputError, reading
from dprkit.files import appearing

if TYPE_CHECKING:
    import numpy as np

WORTH = 1 << 20
INDEX, DATA = ".rows", ".rows-data"
_VERSION = 1
_FIELDS = [("start", "<u8"), ("length", "<u4"), ("line", "<u4"), ("key", "<u8")]
_LARGE = 1 << 30

Note = Callable[[str], None]


def silent(_: str) -> None:
    pass


class _Header(msgspec.Struct, frozen=True):
    """The first line of an index: the state of the file that it is the index of."""

    version: int
    size: int
    mtime_ns: int
    sha256: str
    rows: int
    unpacked: int | None
    """Bytes of the unpacked data; None: the file is not compressed."""


class _Index(NamedTuple):
    header: _Header
    data: Path
    """The file that rows are read from."""
    table: Any
    """numpy, (N,) of _FIELDS."""


class RowFile:
    """The rows of a DPR examples file, read when they are asked for.

    Memory is 24 bytes a row: rows are read with pread, not from a memory map, since the pages of
    a map that were touched count as resident memory, and a shuffled epoch touches all of them.
    """

    def __init__(self, path: Path | str, note: Note = silent) -> None:
        """Open `path`, making its index if there is none; `note` is told what takes long.

        Raises InputError for what cannot be read at random (a pipe) and FormatError, with line
        or byte, for the first row that is no example.
        """
        self.path = Path(path)
        index = _index(self.path, note)
        self.sha256 = index.header.sha256
        """Of the file as it lies there, compressed or not."""
        self.keys: np.ndarray = index.table["key"]
        """(N,) uint64: equal where first positives have equal texts; 0: no positive has a text."""
        self._table = index.table
        with reading(index.data):
            self._handle = os.open(index.data, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)
        self._stamp = _stamp(os.fstat(self._handle))
        header = index.header
        if self._stamp[0] != (header.size if header.unpacked is None else header.unpacked):
            raise changed(self.path)

    def __len__(self) -> int:
        return len(self._table)

    def row(self, i: int) -> Row:
        """Row `i`, counted from 0. Raises InputError where the file is not what was indexed."""
        start, length, _, _ = self._table[i].item()
        raw = os.pread(self._handle, length, start)
        if len(raw) != length or _stamp(os.fstat(self._handle)) != self._stamp:
            raise changed(self.path)
        return Row(raw, self.where(i), start)

    def where(self, i: int) -> int | str:
        """The place of row `i` for a message: its line, or "byte N" in an array."""
        start, _, line, _ = self._table[i].item()
        return int(line) or f"byte {start}"


def changed(path: Path | str) -> InputError:
    """The error of a file that another program writes to."""
    return InputError(f"{path}: changed while it was read; run again")


def _stamp(info: os.stat_result) -> tuple[int, int]:
    return info.st_size, info.st_mtime_ns


# --- finding an index -----------------------------------------------------------------------------


def _index(path: Path, note: Note) -> _Index:
    with reading(path):
        info = os.stat(path) if str(path) != STDIN else None
    if info is None or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
        raise InputError(f"{path}: rows are read at random; save the stream to a file first")
    bases = [path, _cached(path)]
    if not os.access(path.absolute().parent, os.W_OK):
        note(f"{path}: its folder cannot be written, so its index is {bases[1]}{INDEX}")
        bases.reverse()
    found = (_load(base, path, info) for base in bases)
    return next(filter(None, found), None) or _build(bases[0], path, note)


def _cached(path: Path) -> Path:
    """Where the index lies (but for its suffix) if it cannot lie beside `path`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]
    return Path(home) / "dprkit" / name


def _beside(base: Path, suffix: str) -> Path:
    return base.with_name(base.name + suffix)


def _load(base: Path, path: Path, info: os.stat_result) -> _Index | None:
    """The index at `base` if it is whole and that of `path` as it is."""
    import numpy as np

    try:
        with open(_beside(base, INDEX), "rb") as file:
            header = msgspec.json.decode(file.readline(1000), type=_Header)
            table = np.fromfile(file, _FIELDS)
    except (OSError, msgspec.DecodeError):
        return None
    data = path if header.unpacked is None else _beside(base, DATA)
    if header.version != _VERSION or header.size != info.st_size or header.rows != len(table):
        return None
    if header.unpacked is not None and not (
        data.is_file() and data.stat().st_size == header.unpacked
    ):
        return None
    index = _Index(header, data, table)
    return index if header.mtime_ns == info.st_mtime_ns else _renewed(index, base, path, info)


def _renewed(index: _Index, base: Path, path: Path, info: os.stat_result) -> _Index | None:
    """The index with the time of `path`, if the content of `path` is what it was."""
    with reading(path), open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != index.header.sha256:
            return None
    header = msgspec.structs.replace(index.header, mtime_ns=info.st_mtime_ns)
    index = index._replace(header=header)
    with suppress(OutputError):
        _save(index, base)
    return index


def _save(index: _Index, base: Path) -> None:
    with appearing(_beside(base, INDEX)) as file:
        file.write(msgspec.json.encode(index.header) + b"\n")
        file.write(index.table.view("<u8").data)


# --- making an index ------------------------------------------------------------------------------


class _Hashed(io.RawIOBase):
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self.file.readinto(buffer)  # type: ignore[attr-defined]
        self.digest.update(memoryview(buffer)[:count])
        return count


def _build(base: Path, path: Path, note: Note) -> _Index:
    """Make the index of `path` in one pass and save it, with the unpacked data, at `base`."""
    with reading(path), open(path, "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        hashed = _Hashed(file)
        with io.BufferedReader(hashed, CHUNK) as reader:
            data = _beside(base, DATA) if is_compressed(reader) else path
            _announce(path, data, before.st_size, note)
            source = source_of(reader, path)
            with nullcontext(source) if data == path else _unpacked(source, data) as source:
                table = _table(source)
                if _stamp(os.fstat(file.fileno())) != _stamp(before):
                    raise changed(path)
    unpacked = None if data == path else data.stat().st_size
    digest = hashed.digest.hexdigest()
    index = _Index(_Header(_VERSION, *_stamp(before), digest, len(table), unpacked), data, table)
    if before.st_size >= WORTH or unpacked is not None:
        try:
            _save(index, base)
        except OutputError as error:
            note(f"the index of {path} is not kept: {error}")
    return index


def _announce(path: Path, data: Path, size: int, note: Note) -> None:
    if data != path:
        note(f"{path}: unpacking it once to {data}, since rows are read at random")
    elif size >= _LARGE:
        note(f"{path}: looking once for where its rows lie ({size / 1e9:.1f} GB)")


@contextmanager
def _unpacked(source: Source, data: Path) -> Iterator[Source]:
    """`source`, whose bytes are in the file `data` when the block ends without an error."""
    with appearing(data) as file:
        file.write(b" " * source.begin)  # for the byte-order mark: places stay what they are
        yield source._replace(chunks=_copied(source.chunks, file))


def _copied(chunks: Iterator[bytes], file: IO[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        file.write(chunk)
        yield chunk


def _table(source: Source) -> Any:
    """Where the rows of `source` lie (N,), with their keys; checks each row."""
    import numpy as np

    numbers = array("Q")
    for row in read_json_rows(source):
        line = row.where if isinstance(row.where, int) else 0
        numbers.extend((row.start, line << 32 | len(row.raw), example_key(row, source.path)))
    return np.frombuffer(numbers, np.uint64).astype("<u8", copy=False).view(_FIELDS)
