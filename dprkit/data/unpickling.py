"""Reading pickles without running any code in them.

A pickle is a program for a stack machine. `Unpickler` is that machine, with the operations that
data needs: it makes lists, tuples, dicts, text and numbers. A name in the file (`numpy.dtype`) is
a piece of text here, for which a subclass gives what it knows; any other name ends the reading.
Nothing is imported, and no object of the file's choice is ever called. Python's pickletools
documents the operations.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, ClassVar, NamedTuple

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a file that torch wrote before 1.6 (torch/serialization.py)."""
INLINE = 1 << 16
"""Bytes; longer data are left in the file."""
DEPTH = 1 << 16
"""Values on the stack; no file of data wants more."""
GAPS = 1 << 10
"""Notes that a pickle may leave out in so many places."""


CUT = "the file is cut short; fetch it again"
DAMAGED = "a damaged pickle"


class Refused(Exception):
    """The file asks for what its reader does not do; the message says what."""


class HarmfulName(Refused):
    """The file names what would have to be run; the message is the name."""


class Span(NamedTuple):
    """Data that were left in the file at byte `start`."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Maker:
    """What a pickle may call by a name; nothing else is ever called."""

    make: Callable[..., Any]


class Made:
    """What a maker makes that takes the state it was pickled with."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        raise NotImplementedError


def _push(value: Callable[[Any], Any]) -> Callable[[Any], None]:
    return lambda m: m.stack.append(value(m))


Operations = dict[bytes, Callable[[Any], Any]]
OPERATIONS: Operations = {
    pickle.PROTO: lambda m: m.take(1),
    pickle.FRAME: lambda m: m.expect(m.number(8)),
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
    pickle.BUILD: lambda m: m.build(m.stack.pop()),
    pickle.BINPERSID: _push(lambda m: m.stored(m.stack.pop())),
}
"""What files of vectors need."""

OBJECT_OPERATIONS: Operations = {
    pickle.BINSTRING: _push(lambda m: m.take(m.number(4)).decode()),
    pickle.SHORT_BINSTRING: _push(lambda m: m.take(m.number(1)).decode()),
    pickle.LONG4: _push(lambda m: int.from_bytes(m.take(m.number(4)), "little", signed=True)),
    pickle.EMPTY_SET: _push(lambda m: set()),
    pickle.ADDITEMS: lambda m: m.stack[-1].update(m.since_mark()),
    pickle.FROZENSET: _push(lambda m: frozenset(m.since_mark())),
    pickle.NEWOBJ: lambda m: m.reduce(),
}
"""What pickled objects of other classes need beside."""


class Unpickler:
    """The stack machine, on a `file` of `size` bytes. Subclasses say what it may make."""

    operations: ClassVar[Operations] = OPERATIONS

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.noted = 0
        self.gaps: list[range] = []
        self.ready: list[Any] = []

    # --- what a subclass says ---

    def find(self, module: str, name: str) -> Any:
        """What a name stands for; what the pickle may call is a Maker. Raises HarmfulName."""
        raise HarmfulName(f"{module}.{name}"[:80])

    def stored(self, key: Any) -> Any:
        """What the key of something outside of the pickle stands for: torch's storages."""
        raise Refused(DAMAGED)

    def note(self, index: int) -> None:
        """Remember the top of the stack, which the pickle may refer back to."""
        self.count_note(index)
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        """Push what was remembered."""
        self.stack.append(self.memo[index])

    def check_items(self, items: list[Any]) -> None:
        """Raises Refused for items that an inner list may not have."""

    # --- running ---

    def values(self) -> Iterator[Any]:
        """Each item of the outermost list, as soon as it is read, or else the one value.

        Raises Refused, and anything at all for a damaged pickle.
        """
        read = self.file.read
        while (code := read(1)) != pickle.STOP:
            self._step(code)
            if self.ready:
                yield from self.ready
                self.ready = []
        outer = self.stack[0] if len(self.stack) == 1 else None
        if not self.stack:
            raise Refused("it holds nothing")
        if outer != []:
            yield self.stack[-1]

    def _step(self, code: bytes) -> None:
        if not code:
            raise Refused(CUT)
        if not (run := self.operations.get(code)):
            raise Refused(f"the operation {code!r} has no place in a file of data")
        run(self)
        if len(self.stack) > DEPTH or len(self.marks) > DEPTH:
            raise Refused("nested too deep for a file of data")

    # --- reading ---

    def take(self, length: int) -> bytes:
        """The next `length` bytes, of which there must be so many."""
        if length > INLINE:
            self.expect(length)
        data = self.file.read(length)
        if len(data) != length:
            raise Refused(CUT)
        return data

    def expect(self, length: int) -> None:
        """Raises Refused unless `length` more bytes follow, as a frame says too where it begins."""
        if length > self.size - self.file.tell():
            raise Refused(CUT)

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def data(self, length: int) -> None:
        """Push the next `length` bytes, or where they lie."""
        if length <= INLINE:
            self.stack.append(self.take(length))
            return
        self.expect(length)
        self.stack.append(Span(self.file.tell(), length))
        self.file.seek(length, io.SEEK_CUR)

    def line(self) -> str:
        return self.file.readline(200).removesuffix(b"\n").decode()

    # --- the stack ---

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def tuple(self, length: int) -> None:
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def add(self, items: list[Any]) -> None:
        """Put `items` on the list at the top: the outermost hands them out instead."""
        target = self.stack[-1]
        if len(self.stack) == 1 and isinstance(target, list):
            self.ready += items
            return
        self.check_items(items)
        target.extend(items)

    def fill(self, items: list[Any]) -> None:
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def count_note(self, index: int) -> None:
        """Keep which notes were written, without their values: few ranges that were not."""
        if (
            index < self.noted or len(self.gaps) > GAPS
        ):  # pickle numbers its memo in ascending order
            raise Refused(DAMAGED)
        if index > self.noted:  # pickletools.optimize leaves unused numbers out
            self.gaps.append(range(self.noted, index))
        self.noted = index + 1

    def was_noted(self, index: int) -> bool:
        return index < self.noted and not any(index in gap for gap in self.gaps)

    # --- names ---

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused(DAMAGED)
        self.stack.append(self.find(module, name))

    def reduce(self) -> None:
        args, maker = self.stack.pop(), self.stack.pop()
        if not isinstance(maker, Maker) or not isinstance(args, tuple):
            raise Refused(DAMAGED)
        self.stack.append(maker.make(*args))

    def build(self, state: Any) -> None:
        target = self.stack[-1]
        if not isinstance(target, Made):
            raise Refused(DAMAGED)
        target.build(state)


def old_torch_file(unpickler: Callable[[], Unpickler]) -> tuple[Any, list[Any]]:
    """The value and the keys of its storages in a file as torch wrote it before 1.6.

    It is a row of pickles: magic number, version, sizes of the writer's types, the value and the
    keys. Each `unpickler` goes on where the one before it ended. The storages' numbers follow.
    """
    magic, _, _, value = (next(unpickler().values()) for _ in range(4))
    if magic != TORCH_MAGIC:
        raise Refused("torch did not write it")
    return value, list(unpickler().values())
