"""Random access to the rows of any file, by an index of where they lie.

The index is made in one pass, which checks every row, and kept beside the data:

    train.jsonl             the data: examples (examples_by_row.py) or passages (corpus_by_row.py)
    train.jsonl.rows        one line of JSON (what file it is the index of), then for each row its
                            first byte (64 bits), length, line (32 each) and keys (64 each):
                            one for passages, two for examples
    train.jsonl.gz.rows-data   a compressed file cannot be read at random: its bytes, unpacked once

They lie beside the data where its folder is the user's own. Where it is somebody else's, such as a
folder that many share, or cannot be written, they lie in the cache folder under a hash of the
file's real path: $XDG_CACHE_HOME/dprkit (~/.cache/dprkit). $DPRKIT_CACHE names a folder for all of
them. Wherever one lies already, it is used.

Files below WORTH bytes are indexed anew each time, in milliseconds. An index counts if its file has
the same inode, size and times (dprkit.store.checksums); else the hash of the content decides.
zstandard can be written in frames that are unpacked apart, but its own tool and everybody's files
have one frame, so they are unpacked as gzip files are.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from dprkit.data.streams import CHUNK, STDIN, Place, RawRow, Stream, is_compressed, stream_of
from dprkit.errors import InputError, OutputError, reading, writing
from dprkit.progress import Note, silent
from dprkit.store.atomic_files import CACHE_ADVICE, atomic_write, cache_folder
from dprkit.store.checksums import Stamp, remember, sha256, stamp, stamp_of

if TYPE_CHECKING:
    import numpy as np

WORTH = 1 << 20
INDEX, DATA = ".rows", ".rows-data"
BLOCK = 1 << 16
"""Rows of a table that are in memory together."""
_VERSION = 6
Fields = list[tuple[str, str]]
FIELDS: Fields = [("start", "<u8"), ("length", "<u4"), ("line", "<u4"), ("key", "<u8")]
_LARGE = 1 << 30


class _Unpacked(msgspec.Struct, frozen=True):
    """The bytes of a compressed file, in a file of their own."""

    stamp: Stamp
    sha256: str


class _Header(msgspec.Struct, frozen=True):
    """The first line of an index: the state of the file that it is the index of."""

    version: int
    holds: str
    """What the rows are, as `RowKind.name` has it; they were checked to be it."""
    stamp: Stamp | None
    """Of the file; None: it was changed so shortly before that its stamp proves nothing."""
    sha256: str
    rows: int
    unpacked: _Unpacked | None
    """None: the file is not compressed."""
    traits: dict[str, bool] = {}
    """Those of `Stream.traits` when all was read."""


class _TableOnDisk:
    """Where N rows lie, in a file: slices are read as those of a numpy array of `fields` are."""

    def __init__(self, handle: int, begin: int, count: int, fields: Fields) -> None:
        """The table at byte `begin` of an open file, whose `handle` is closed with the table."""
        self._handle, self._begin, self._count, self._fields = handle, begin, count, fields
        weakref.finalize(self, os.close, handle)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: slice) -> np.ndarray:
        import numpy as np

        first, stop, _ = rows.indices(self._count)
        part: np.ndarray = np.empty(max(stop - first, 0), self._fields)
        left = part.view(np.uint8).data
        place = self._begin + first * part.itemsize
        while left:  # one call reads at most 2 GB
            count = os.preadv(self._handle, [left], place)
            if not count:
                raise InputError("an index of rows was cut short while it was read; run again")
            left, place = left[count:], place + count
        return part


RowTable: TypeAlias = "np.ndarray | _TableOnDisk"
"""(N,) of fields, of which only slices are asked for."""


def blocks(table: RowTable) -> Iterator[np.ndarray]:
    """The table in pieces of BLOCK rows."""
    return (table[first : first + BLOCK] for first in range(0, len(table), BLOCK))


class RowKind(NamedTuple):
    """What the rows of a file are.

    `find` yields each row's place and its keys, numbers of 64 bits; it raises FormatError for what
    is no such row. `check` looks at all rows together: it gets the file's path, the table of the
    rows. `fields` names the keys behind a row's place.
    """

    name: str
    find: Callable[[Stream], Iterable[tuple[Place, *tuple[int, ...]]]]
    check: Callable[[Path, RowTable], None] | None = None
    fields: Fields = FIELDS

    @property
    def row_bytes(self) -> int:
        return sum(int(kind[-1]) for _, kind in self.fields)


class _Index(NamedTuple):
    header: _Header
    data: Path
    """The file that rows are read from."""
    table: RowTable


class IndexedFile:
    """A file with the index of its rows, which is made if there is none. Memory is constant."""

    def __init__(self, path: Path | str, kind: RowKind, note: Note = silent) -> None:
        """Open `path`, which holds rows of a `kind`; `note` is told what takes long.

        Raises InputError for what cannot be read at random (a pipe), and what `kind` raises.
        """
        self.path, self.kind = Path(path), kind
        index = _index(self.path, kind, note)
        self.sha256 = index.header.sha256
        """Of the file as it lies there, compressed or not."""
        self.data = index.data
        """The unpacked file, to which places refer."""
        self.table = index.table
        self.traits = index.header.traits
        with reading(index.data):
            self._handle = os.open(index.data, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)
        self._state = _state(self._handle)
        # Another file may have taken the name since the index was found; its rows lie elsewhere.
        indexed = index.header.unpacked.stamp if index.header.unpacked else index.header.stamp
        if indexed and indexed.size != self._state[1]:
            raise changed(self.path)

    def __len__(self) -> int:
        return len(self.table)

    def place(self, row: int) -> Place:
        """Where row `row` lies, counted from 0."""
        if not 0 <= row < len(self):
            raise IndexError(f"{self.path}: row {row} of {len(self)} {self.kind.name}")
        start, length, line, *_ = self.table[row : row + 1][0].item()
        return Place(start, length, line)

    def row(self, row: int) -> RawRow:
        """Row `row` as it lies there. Raises InputError where the file was changed meanwhile."""
        place = self.place(row)
        return RawRow(self.read(place.start, place.length), place.where, place.start)

    def read(self, start: int, length: int) -> bytes:
        """Bytes of the unpacked file. Raises InputError where it is not what was indexed."""
        raw = os.pread(self._handle, length, start)
        if len(raw) != length or _state(self._handle) != self._state:
            raise changed(self.path)
        return raw


def changed(path: Path | str) -> InputError:
    """The error of a file that another program writes to."""
    return InputError(f"{path}: changed while it was read; run again")


def _state(handle: int) -> tuple[int, int, int]:
    """What changes when an open file is written to, but not when another one takes its name."""
    return stamp(handle)[:3]


# --- finding an index -----------------------------------------------------------------------------


def _index(path: Path, kind: RowKind, note: Note) -> _Index:
    with reading(path):
        info = os.stat(path) if str(path) != STDIN else None
    if info is None or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
        raise InputError(f"{path}: rows are read at random; save the stream to a file first")
    bases = _bases(path)
    loaded = (_load(base, path, kind, stamp_of(info)) for base in bases)
    return next(filter(None, loaded), None) or _built(bases, path, kind, note)


def _bases(path: Path) -> list[Path]:
    """Where the index may lie (but for its suffix), the best place first."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]
    cached = cache_folder() / name
    elsewhere = os.environ.get("DPRKIT_CACHE") or not _is_own(path.absolute().parent)
    return [cached, path] if elsewhere else [path, cached]


def _is_own(folder: Path) -> bool:
    with reading(folder):
        return folder.stat().st_uid == os.geteuid() and os.access(folder, os.W_OK)


def _built(bases: list[Path], path: Path, kind: RowKind, note: Note) -> _Index:
    """Make the index at the first of the `bases` that can be written."""
    if bases[0] != path and not os.environ.get("DPRKIT_CACHE"):
        note(
            f"{path}: its folder is not yours or cannot be written, "
            f"so the index of its rows is {bases[0]}{INDEX}"
        )
    problems = []
    for base in bases:
        try:
            return _build(base, path, kind, note)
        except OutputError as error:
            problems.append(str(error).partition(";")[0])
    raise OutputError(f"{path}: no place for its rows ({', '.join(problems)}); {CACHE_ADVICE}")


def _beside(base: Path, suffix: str) -> Path:
    return base.with_name(base.name + suffix)


def _load(base: Path, path: Path, kind: RowKind, now: Stamp) -> _Index | None:
    """The index at `base` if it is whole and that of `path` as it is."""
    index = _opened(base, path, kind)
    if index is None:
        return None
    return index if index.header.stamp == now else _renewed(index, base, path)


def _opened(base: Path, path: Path, kind: RowKind) -> _Index | None:
    """The index of `rows` at `base` if it and its data are whole."""
    try:
        with open(_beside(base, INDEX), "rb") as file:
            header = msgspec.json.decode(file.readline(1000), type=_Header)
            begin, size = file.tell(), os.fstat(file.fileno()).st_size
            table = _TableOnDisk(os.dup(file.fileno()), begin, header.rows, kind.fields)
        data = path if header.unpacked is None else _beside(base, DATA)
        whole = header.unpacked is None or _is_same(data, header.unpacked)
    except (OSError, msgspec.DecodeError):
        return None
    # An index of another version, kind or length is none: a killed copy of it is cut off.
    if not whole or (header.version, header.holds) != (_VERSION, kind.name):
        return None
    if size != begin + header.rows * kind.row_bytes:
        return None
    return _Index(header, data, table)


def _is_same(data: Path, unpacked: _Unpacked) -> bool:
    now = stamp(data)
    return now == unpacked.stamp or (
        now.size == unpacked.stamp.size and sha256(data) == unpacked.sha256
    )  # a copy


def _renewed(index: _Index, base: Path, path: Path) -> _Index | None:
    """The index with the present stamp of `path`, if the content of `path` is what it was."""
    with reading(path):
        now = stamp(path)
        if sha256(path) != index.header.sha256:
            return None
    if now.settled():
        index = index._replace(header=msgspec.structs.replace(index.header, stamp=now))
        with suppress(OutputError):
            _save(index, base)
    return index


def _save(index: _Index, base: Path) -> None:
    with atomic_write(_beside(base, INDEX)) as file:
        file.write(msgspec.json.encode(index.header) + b"\n")
        for block in blocks(index.table):
            file.write(block.tobytes())


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


def _build(base: Path, path: Path, kind: RowKind, note: Note) -> _Index:
    """Make the index of `path` in one pass and save it, with the unpacked data, at `base`."""
    with reading(path), open(path, "rb", buffering=0) as file:
        before = stamp(file.fileno())
        hashed = _Hashed(file)
        with io.BufferedReader(hashed, CHUNK) as reader:
            data = _beside(base, DATA) if is_compressed(reader) else path
            _announce(path, data, before.size, note)
            stream = stream_of(reader, path)
            with nullcontext(stream) if data == path else _unpacked(stream, data) as stream:
                table = _table(kind, stream, base.parent)
                if kind.check:
                    kind.check(path, table)
                # Rows found while another program wrote may be halves of two states.
                if stamp(file.fileno()) != before:
                    raise changed(path)
    digest, settled = hashed.digest.hexdigest(), before if before.settled() else None
    if settled:
        remember(path, settled, digest)
    unpacked = None if data == path else _Unpacked(stamp(data), sha256(data))
    header = _Header(_VERSION, kind.name, settled, digest, len(table), unpacked, stream.traits)
    index = _Index(header, data, table)
    if before.size < WORTH and unpacked is None:
        return index
    try:
        _save(index, base)
    except OutputError as error:
        note(f"the index of {path} is not kept: {error}")
        return index
    return _opened(base, path, kind) or index


def _announce(path: Path, data: Path, size: int, note: Note) -> None:
    if data != path:
        note(f"{path}: unpacking it once to {data}, since rows are read at random")
    elif size >= _LARGE:
        note(f"{path}: reading it once to find its rows ({size / 1e9:.1f} GB)")


@contextmanager
def _unpacked(stream: Stream, data: Path) -> Iterator[Stream]:
    """`stream`, whose bytes are in the file `data` when the block ends without an error."""
    with atomic_write(data) as file:
        file.write(b" " * stream.begin)  # for the byte-order mark: places stay what they are
        yield replace(stream, chunks=_copied(stream.chunks, file))


def _copied(chunks: Iterator[bytes], file: IO[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        file.write(chunk)
        yield chunk


def _table(kind: RowKind, stream: Stream, folder: Path) -> RowTable:
    """The table of `rows`: an array if they are few, else in a file that ends with the process.

    It lies in `folder` or, where that cannot be written, among the system's temporary files.
    Raises OutputError where there is no space.
    """
    pieces = _packed(kind, stream)
    first = next(pieces)
    if len(first) < BLOCK:
        return first
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    where = folder if os.access(folder, os.W_OK) else None
    with writing(folder), tempfile.TemporaryFile(dir=where) as file:
        for piece in chain([first], pieces):
            file.write(piece.tobytes())
        file.flush()
        count = file.tell() // kind.row_bytes
        return _TableOnDisk(os.dup(file.fileno()), 0, count, kind.fields)


def _packed(kind: RowKind, stream: Stream) -> Iterator[np.ndarray]:
    """`rows` in tables of BLOCK of them; the last one is shorter, maybe empty."""
    import numpy as np

    rows = ((*place, *keys) for place, *keys in kind.find(stream))
    full = True
    while full:
        yield (block := np.fromiter(islice(rows, BLOCK), kind.fields))
        full = len(block) == BLOCK
