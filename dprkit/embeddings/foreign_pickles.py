"""Pickled embeddings, read without unpickling them.

A pickle is a program for a stack machine. `values` runs the part of that machine that files of
vectors need, and makes nothing but lists, tuples, dicts, text, numbers and arrays: a name in the
file (`numpy.dtype`) is a piece of text here, looked up in the table MAKERS, and any other name ends
the reading. Nothing is imported and no object of the file's choice is ever called.

What is on the outermost list is handed out as it is read, and large arrays are left where they lie
and read by the row, so memory does not grow with the file. Read are DPR's (numpy of any version,
protocols 2 to 5), Tevatron's, and dpr-scale's, a torch tensor whose storage is an old torch.save
file inside the pickle (torch/serialization.py, `_legacy_save`). The opcodes are documented in
Python's pickletools.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dprkit.errors import FormatError, reading

INLINE = 1 << 16
"""Bytes; a longer piece of data is left in the file."""
DEPTH = 1 << 16
"""Values on the stack; what wants more is no file of vectors."""
KEPT = 1 << 10
"""Values that the file may refer back to: names and kinds of numbers, not the vectors."""
TORCH_MAGIC = 0x1950A86A20F9469CFC6C

TORCH_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
}


class _Refused(Exception):
    """The file asks for what this reader does not do; the message says what."""


class Name(NamedTuple):
    """What the file calls by name; only a key of a table."""

    module: str
    name: str


class Span(NamedTuple):
    """Data that was left in the file at byte `start`."""

    start: int
    length: int


@dataclass
class Kind:
    """What an array's numbers are: numpy's code, or bfloat16, which numpy has not."""

    code: str

    def __post_init__(self) -> None:
        """Raises _Refused for what holds no numbers or text: Python objects, records."""
        if not re.fullmatch(r"[<>]?[fiu][1248]|[<>]?U\d{1,4}|bfloat16", self.code):
            raise _Refused(f"numbers of the kind {self.code[:20]!r}, which are no vectors")

    def build(self, state: Any) -> None:
        """Take the byte order, and nothing else, from numpy's state of a dtype."""
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise _Refused("numbers of a compound kind, which are no vectors")
        self.code = state[1] + self.code.lstrip("<>")

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.code == "bfloat16" else self.code)


class Array:
    """An array of a pickle. Its numbers are read when they are asked for."""

    __slots__ = ("fortran", "kind", "path", "raw", "shape")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shape: tuple[int, ...] = (0,)
        self.raw: bytes | Span = b""
        self.fortran = False

    def build(self, state: Any) -> None:
        """Take numpy's state of an array: (version,) shape, dtype, Fortran's order?, data."""
        shape, kind, fortran, raw = state[-4:]
        if state[:-4] not in ((), (1,)):
            raise _Refused("an array of a version that numpy does not have")
        if not isinstance(kind, Kind) or not isinstance(raw, bytes | Span):
            raise _Refused("an array of something else than numbers")
        if not all(type(one) is int and one >= 0 for one in shape):
            raise _Refused("an array without a proper shape")
        length = raw.length if isinstance(raw, Span) else len(raw)
        if math.prod(shape) * kind.numpy.itemsize != length:
            raise _Refused(f"an array of shape {shape} in {length} bytes")
        self.shape, self.kind, self.fortran, self.raw = shape, kind, bool(fortran), raw

    def rows(self, begin: int, end: int) -> np.ndarray:
        """Rows `begin` to `end` (N, *shape[1:]), a copy."""
        kind, order = self.kind.numpy, "F" if self.fortran else "C"
        found: Any
        if isinstance(self.raw, Span):
            found = np.memmap(self.path, kind, "r", self.raw.start, self.shape, order)  # type: ignore[call-overload]
        else:
            found = np.frombuffer(self.raw, kind).reshape(self.shape, order=order)  # type: ignore[call-overload]
        rows: Any = np.array(found[begin:end])
        if self.kind.code == "bfloat16":
            rows = (rows.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(rows)


def values(path: Path) -> Iterator[Any]:
    """What the pickle in `path` holds: each item of its outermost list, or else its one value.

    Raises FormatError with the byte for what is damaged, cut short, or asks for anything else than
    lists, tuples, dicts, text, numbers and arrays.
    """
    with reading(path), path.open("rb", buffering=1 << 18) as file:
        yield from _Machine(file, path, path.stat().st_size).values()


class _Forgotten:
    """What stands for a value that was handed out and is referred back to."""


FORGOTTEN = _Forgotten()


class _Machine:
    """The stack machine. `base` is where `file` begins in `path`, if that is not at byte 0."""

    def __init__(self, file: IO[bytes], path: Path, size: int, base: int = 0) -> None:
        self.file, self.path, self.size, self.base = file, path, size, base
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.noted = 0
        self.gaps: list[range] = []
        self.ready: list[Any] = []

    def values(self) -> Iterator[Any]:
        read = self.file.read
        while (code := read(1)) != pickle.STOP:
            self._step(code)
            if self.ready:
                yield from self.ready
                self.ready = []
        outer = self.stack[0] if len(self.stack) == 1 else None
        if not self.stack:
            raise self._fault("it holds nothing")
        if outer != []:
            yield self.stack[-1]

    def _step(self, code: bytes) -> None:
        if not (run := OPCODES.get(code)):
            raise self._fault(
                f"the operation {code!r} has no place in a list of vectors" if code else CUT
            )
        try:
            run(self)
        except FormatError:
            raise
        except _Refused as refused:
            raise self._fault(str(refused)) from None
        except EOFError:
            raise self._fault(CUT) from None
        except Exception:  # a damaged pickle fails in any way there is
            raise self._fault("a damaged pickle") from None
        if len(self.stack) > DEPTH or len(self.marks) > DEPTH:
            raise self._fault("nested too deep for a list of vectors")

    def _fault(self, problem: str) -> FormatError:
        return FormatError(self.path, f"byte {self.base + self.file.tell()}", problem)

    # --- reading ---

    def take(self, length: int) -> bytes:
        """The next `length` bytes, of which there must be so many."""
        if length > INLINE and length > self.size - self.file.tell():
            raise EOFError
        data = self.file.read(length)
        if len(data) != length:
            raise EOFError
        return data

    def frame(self, length: int) -> None:
        """A frame begins: so many bytes of the pickle must follow."""
        if length > self.size - self.file.tell():
            raise EOFError

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def data(self, length: int) -> None:
        """Push the next `length` bytes, or where they lie."""
        if length <= INLINE:
            self.stack.append(self.take(length))
            return
        start = self.file.tell()
        if length > self.size - start:
            raise EOFError
        self.stack.append(Span(self.base + start, length))
        self.file.seek(length, io.SEEK_CUR)

    def line(self) -> str:
        return self.file.readline(200).removesuffix(b"\n").decode()

    # --- the stack ---

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        found = self.stack[mark:]
        del self.stack[mark:]
        return found

    def tuple(self, length: int) -> None:
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def add(self, items: list[Any]) -> None:
        """Put `items` on the list at the top: the outermost hands them out instead."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _Refused("a damaged pickle")
        if len(self.stack) == 1:
            self.ready += items
            return
        if not all(isinstance(item, str | int | _Forgotten) for item in items):
            raise _Refused("a list of something else than ids; is it of chunks of passages?")
        target += items

    def fill(self, items: list[Any]) -> None:
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def note(self, index: int) -> None:
        """Remember the top, where it is something that is referred back to."""
        top = self.stack[-1]
        named = isinstance(top, Name | Kind) or (isinstance(top, str | bytes) and top in TEXTS)
        if named and len(self.memo) < KEPT:
            self.memo[index] = top
        if index < self.noted or len(self.gaps) > KEPT:  # pickles number what they note upwards
            raise _Refused("a damaged pickle")
        if index > self.noted:  # pickletools.optimize leaves out what nobody refers back to
            self.gaps.append(range(self.noted, index))
        self.noted = index + 1

    def recall(self, index: int) -> None:
        if index >= self.noted or any(index in gap for gap in self.gaps):
            raise _Refused("a damaged pickle")
        self.stack.append(self.memo.get(index, FORGOTTEN))

    # --- names ---

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Refused("a damaged pickle")
        known = Name(module.replace("numpy.core.", "numpy._core."), name)
        if known not in MAKERS and known not in NAMES:
            shown = f"{module}.{name}"[:80]
            raise _Refused(f"reading it would run {shown!r}, which is refused")
        self.stack.append(known)

    def reduce(self) -> None:
        args = self.stack.pop()
        make = MAKERS.get(self.stack.pop())
        if make is None or not isinstance(args, tuple):
            raise _Refused("a damaged pickle")
        self.stack.append(make(self, *args))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Array | Kind) or not isinstance(state, tuple):
            raise _Refused("a damaged pickle")
        target.build(state)

    def storage(self) -> None:
        """A torch storage by its mark: ("storage", type, key, place, numbers, view)."""
        pid = self.stack.pop()
        self.stack.append((Kind(TORCH_TYPES[pid[1].name]), pid[4]))


CUT = "the file is cut short; fetch it again"


# --- what the names make --------------------------------------------------------------------------


def _array(machine: _Machine, *_: Any) -> Array:
    return Array(machine.path)


def _from_buffer(machine: _Machine, raw: Any, kind: Any, shape: Any, order: Any) -> Array:
    made = Array(machine.path)
    made.build((shape, kind, order == "F", raw))
    return made


def _scalar(machine: _Machine, kind: Any, raw: Any) -> Any:
    made = Array(machine.path)
    made.build(((1,), kind, False, raw))
    return made.rows(0, 1)[0].item()


def _torch_storage(machine: _Machine, raw: Any) -> Any:
    """The storage in what torch.save wrote into the pickle: its kind and its raw numbers."""
    inner: IO[bytes]
    if isinstance(raw, Span):
        with machine.path.open("rb") as inner:
            inner.seek(raw.start)
            kind, length = _storage_head(machine, inner, raw.start + raw.length, 0)
            return kind, Span(inner.tell(), length)
    with io.BytesIO(raw) as inner:
        kind, length = _storage_head(machine, inner, len(raw), machine.base)
        return kind, inner.read(length)


def _storage_head(machine: _Machine, file: IO[bytes], size: int, base: int) -> tuple[Kind, int]:
    """Magic number, version, system, storage and keys, each a pickle; then the count."""
    magic, _, _, (kind, count) = (
        next(_Machine(file, machine.path, size, base).values()) for _ in range(4)
    )
    list(_Machine(file, machine.path, size, base).values())
    if magic != TORCH_MAGIC or int.from_bytes(file.read(8), "little") != count:
        raise _Refused("a storage that torch did not write")
    length = count * kind.numpy.itemsize
    if length > size - file.tell():
        raise EOFError
    return kind, length


def _tensor(machine: _Machine, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Any:
    """A tensor of a storage: all of it, in its order."""
    kind, raw = storage
    dense = tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
    if offset != 0 or tuple(strides) != dense:
        raise _Refused("a tensor that is a view of another; write it with .contiguous()")
    made = Array(machine.path)
    made.build((shape, kind, False, raw))
    return made


MAKERS: dict[Any, Callable[..., Any]] = {
    Name("numpy._core.multiarray", "_reconstruct"): _array,
    Name("numpy._core.multiarray", "scalar"): _scalar,
    Name("numpy._core.numeric", "_frombuffer"): _from_buffer,
    Name("numpy", "dtype"): lambda machine, code, *_: Kind(code),
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch.storage", "_load_from_bytes"): _torch_storage,
    Name("collections", "OrderedDict"): lambda machine: {},
    Name("_codecs", "encode"): lambda machine, text, _: text.encode("latin-1"),
}
"""What a pickle may call, and what that makes here."""
NAMES = {Name("numpy", "ndarray"), *(Name("torch", name) for name in TORCH_TYPES)}
"""What it may also name."""
TEXTS = {
    *(part for name in (*MAKERS, *NAMES) for part in name),
    *("numpy.core.multiarray", "numpy.core.numeric", "latin1", "C", "F", "<", b"b"),
}
"""Text that pickles write once and refer back to."""


# --- the operations -------------------------------------------------------------------------------


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(value(m))


OPCODES: dict[bytes, Callable[[_Machine], Any]] = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: lambda m: m.frame(m.number(8)),
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.POP: lambda m: m.stack.pop(),
    pickle.NONE: _push(lambda m: None),
    pickle.NEWTRUE: _push(lambda m: True),
    pickle.NEWFALSE: _push(lambda m: False),
    pickle.BININT: _push(lambda m: struct.unpack("<i", m.take(4))[0]),
    pickle.BININT1: _push(lambda m: m.number(1)),
    pickle.BININT2: _push(lambda m: m.number(2)),
    pickle.LONG1: _push(lambda m: int.from_bytes(m.take(m.number(1)), "little", signed=True)),
    pickle.BINFLOAT: _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    pickle.SHORT_BINUNICODE: _push(lambda m: m.take(m.number(1)).decode()),
    pickle.BINUNICODE: _push(lambda m: m.take(m.number(4)).decode()),
    pickle.SHORT_BINBYTES: lambda m: m.data(m.number(1)),
    pickle.BINBYTES: lambda m: m.data(m.number(4)),
    pickle.BINBYTES8: lambda m: m.data(m.number(8)),
    pickle.BYTEARRAY8: lambda m: m.data(m.number(8)),
    pickle.EMPTY_LIST: _push(lambda m: []),
    pickle.EMPTY_DICT: _push(lambda m: {}),
    pickle.EMPTY_TUPLE: _push(lambda m: ()),
    pickle.TUPLE: lambda m: m.stack.append(tuple(m.since_mark())),
    pickle.TUPLE1: lambda m: m.tuple(1),
    pickle.TUPLE2: lambda m: m.tuple(2),
    pickle.TUPLE3: lambda m: m.tuple(3),
    pickle.APPEND: lambda m: m.add([m.stack.pop()]),
    pickle.APPENDS: lambda m: m.add(m.since_mark()),
    pickle.SETITEM: lambda m: m.fill([m.stack.pop(-2), m.stack.pop()]),
    pickle.SETITEMS: lambda m: m.fill(m.since_mark()),
    pickle.BINPUT: lambda m: m.note(m.number(1)),
    pickle.LONG_BINPUT: lambda m: m.note(m.number(4)),
    pickle.MEMOIZE: lambda m: m.note(m.noted),
    pickle.BINGET: lambda m: m.recall(m.number(1)),
    pickle.LONG_BINGET: lambda m: m.recall(m.number(4)),
    pickle.GLOBAL: lambda m: m.name(m.line(), m.line()),
    pickle.STACK_GLOBAL: lambda m: m.name(m.stack.pop(-2), m.stack.pop()),
    pickle.REDUCE: lambda m: m.reduce(),
    pickle.BUILD: lambda m: m.build(),
    pickle.BINPERSID: lambda m: m.storage(),
}
