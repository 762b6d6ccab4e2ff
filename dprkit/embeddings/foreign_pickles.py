"""import-embeddings: lists, ids and arrays of pickled embeddings, by dprkit.data.unpickling.

What is on the outermost list is handed out as it is read, and large arrays are left where they lie
and read by the row, so memory does not grow with the file. Read are DPR's (numpy of any version,
protocols 2 to 5), Tevatron's, and dpr-scale's, a torch tensor whose storage is an old torch.save
file inside the pickle (torch/serialization.py, `_legacy_save`).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from dprkit.data.unpickling import (
    CUT,
    DAMAGED,
    HarmfulName,
    Made,
    Maker,
    Refused,
    Span,
    Unpickler,
    old_torch_file,
)
from dprkit.errors import FormatError, reading

KEPT = 1 << 10
"""Values that the file may refer back to: names and kinds of numbers, not the vectors."""

TORCH_TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
}


class Kind(Made):
    """What an array's numbers are: numpy's code, or bfloat16, which numpy has not."""

    def __init__(self, code: str) -> None:
        """Raises Refused for what holds no numbers or text: Python objects, records."""
        self.code = code
        if not re.fullmatch(r"[<>]?[fiu][1248]|[<>]?U\d{1,4}|bfloat16", code):
            raise Refused(f"numbers of the kind {code[:20]!r}, which are no vectors")

    def build(self, state: Any) -> None:
        """Take the byte order, and nothing else, from numpy's state of a dtype."""
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise Refused("numbers of a compound kind, which are no vectors")
        self.code = state[1] + self.code.lstrip("<>")

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype("<u2" if self.code == "bfloat16" else self.code)


class Array(Made):
    """An array of a pickle. Its numbers are read when they are asked for."""

    __slots__ = ("fortran", "kind", "path", "raw", "shape")  # there is one for each passage

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shape: tuple[int, ...] = (0,)
        self.raw: bytes | Span = b""
        self.fortran = False

    def build(self, state: Any) -> None:
        """Take numpy's state of an array: (version,) shape, dtype, Fortran's order?, data."""
        shape, kind, fortran, raw = state[-4:]
        if state[:-4] not in ((), (1,)):
            raise Refused("an array of a version that numpy does not have")
        if not isinstance(kind, Kind) or not isinstance(raw, bytes | Span):
            raise Refused("an array of something else than numbers")
        if not all(type(one) is int and one >= 0 for one in shape):
            raise Refused("an array without a proper shape")
        length = raw.length if isinstance(raw, Span) else len(raw)
        if math.prod(shape) * kind.numpy.itemsize != length:
            raise Refused(f"an array of shape {shape} in {length} bytes")
        self.shape, self.kind, self.fortran, self.raw = shape, kind, bool(fortran), raw

    def rows(self, begin: int, end: int) -> np.ndarray:
        """Rows `begin` to `end` (N, *shape[1:]), a copy."""
        kind, order = self.kind.numpy, "F" if self.fortran else "C"
        array: Any
        if isinstance(self.raw, Span):
            array = np.memmap(self.path, kind, "r", self.raw.start, self.shape, order)  # type: ignore[call-overload]
        else:
            array = np.frombuffer(self.raw, kind).reshape(self.shape, order=order)  # type: ignore[call-overload]
        rows: Any = np.array(array[begin:end])
        if self.kind.code == "bfloat16":
            rows = (rows.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(rows)


def values(path: Path) -> Iterator[Any]:
    """What the pickle in `path` holds: each item of its outermost list, or else its one value.

    Raises FormatError with the byte for what is damaged, cut short, or asks for anything else than
    lists, tuples, dicts, text, numbers and arrays.
    """
    with reading(path), path.open("rb", buffering=1 << 18) as file:
        try:
            yield from _VectorUnpickler(file, path.stat().st_size, path).values()
        except OSError:
            raise
        except HarmfulName as name:
            problem = f"reading it would run {str(name)!r}, which is refused"
        except Refused as refused:
            problem = str(refused)
        except Exception:  # a damaged pickle fails in any way there is
            problem = DAMAGED
        else:
            return
        raise FormatError(path, f"byte {file.tell()}", problem)


class _Forgotten:
    """What stands for a value that was handed out and is referred back to."""


FORGOTTEN = _Forgotten()


class _VectorUnpickler(Unpickler):
    """Makes arrays beside lists, tuples, dicts, text and numbers."""

    def __init__(self, file: IO[bytes], size: int, path: Path) -> None:
        super().__init__(file, size)
        self.path = path

    def find(self, module: str, name: str) -> Any:
        full_name = f"{module.replace('numpy.core.', 'numpy._core.')}.{name}"
        if make := MAKERS.get(full_name):
            return Maker(partial(make, self.path))
        return full_name if full_name in NAMES else super().find(module, name)

    def stored(self, key: Any) -> tuple[Kind, int]:
        """A torch storage by its mark: ("storage", type, key, place, numbers, view)."""
        return Kind(TORCH_TYPES[key[1].removeprefix("torch.")]), key[4]

    def check_items(self, items: list[Any]) -> None:
        if not all(isinstance(item, str | int | _Forgotten) for item in items):
            raise Refused("a list of something else than ids; is it of chunks of passages?")

    def note(self, index: int) -> None:
        """Keep the top only where it is a name or a kind of number, so memory does not grow."""
        self.count_note(index)
        top = self.stack[-1]
        named = isinstance(top, Maker | Kind) or (isinstance(top, str | bytes) and top in TEXTS)
        if named and len(self.memo) < KEPT:
            self.memo[index] = top

    def recall(self, index: int) -> None:
        if not self.was_noted(index):
            raise Refused(DAMAGED)
        self.stack.append(self.memo.get(index, FORGOTTEN))


# --- what the names make --------------------------------------------------------------------------


def _array(path: Path, shape: Any, kind: Any, fortran: bool, raw: Any) -> Array:
    array = Array(path)
    array.build((shape, kind, fortran, raw))
    return array


def _from_buffer(path: Path, raw: Any, kind: Any, shape: Any, order: Any) -> Array:
    return _array(path, shape, kind, order == "F", raw)


def _scalar(path: Path, kind: Any, raw: Any) -> Any:
    return _array(path, (1,), kind, False, raw).rows(0, 1)[0].item()


def _tensor(path: Path, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Any:
    """A tensor of a storage: all of it, in its order."""
    kind, raw = storage
    dense = tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
    if offset != 0 or tuple(strides) != dense:
        raise Refused("a tensor that is a view of another; write it with .contiguous()")
    return _array(path, shape, kind, False, raw)


def _torch_storage(path: Path, raw: Any) -> Any:
    """The storage in what torch.save wrote into the pickle: its kind and its raw numbers."""
    if isinstance(raw, Span):
        with path.open("rb") as file:
            file.seek(raw.start)
            kind, length = _storage_head(path, file, raw.start + raw.length)
            return kind, Span(file.tell(), length)
    with io.BytesIO(raw) as data:
        kind, length = _storage_head(path, data, len(raw))
        return kind, data.read(length)


def _storage_head(path: Path, file: IO[bytes], size: int) -> tuple[Kind, int]:
    """The kind of a storage and the bytes of its numbers, which follow in the file."""
    (kind, count), _ = old_torch_file(lambda: _VectorUnpickler(file, size, path))
    if int.from_bytes(file.read(8), "little") != count:
        raise Refused("a storage that torch did not write")
    length = count * kind.numpy.itemsize
    if length > size - file.tell():
        raise Refused(CUT)
    return kind, length


MAKERS: dict[str, Callable[..., Any]] = {
    "numpy._core.multiarray._reconstruct": lambda path, *_: Array(path),
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": lambda path, code, *_: Kind(code),
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _torch_storage,
    "collections.OrderedDict": lambda path: {},
    "_codecs.encode": lambda path, text, _: text.encode("latin-1"),
}
"""What a pickle may call, and what that makes here."""
NAMES = {"numpy.ndarray", *(f"torch.{name}" for name in TORCH_TYPES)}
"""What it may also name."""
TEXTS = {
    *NAMES,
    *(part for name in (*MAKERS, *NAMES) for part in name.rpartition(".")[::2]),
    *("numpy.core.multiarray", "numpy.core.numeric", "latin1", "C", "F", "<", b"b"),
}
"""Text that pickles write once and refer back to."""
