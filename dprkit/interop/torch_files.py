"""Files of torch.save, read without running anything that is in them.

A pickle is a program: it may name any function and call it. This reader knows a handful of names
(tensors, their storages, dicts) and puts inert stand-ins, which only keep what they are given,
in the place of objects that DPR's and Lightning's checkpoints hold beside their weights, such as
omegaconf's. Every other name is refused. Both forms are read: the zip file that torch has
written since 1.6, and the row of pickles before it, in which DPR's checkpoints were published.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from dprkit.errors import InputError, reading

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a file that torch wrote before 1.6 (torch/serialization.py)."""

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
INERT = {
    "_codecs",
    "argparse",
    "fz_openqa",
    "hydra",
    "lightning",
    "lightning_fabric",
    "numpy",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "tokenizers",
    "torchmetrics",
    "transformers",
    "typing",
}
"""Packages whose objects become stand-ins; none of them is imported."""


class Refused(Exception):
    """A pickle names something that this reader does not make."""


class Inert:
    """What stands in for an object: its arguments, state and items, and no behaviour."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        made = object.__new__(cls)
        made.__dict__.update(args=args, state={}, items={}, parts=[])
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__["items"][key] = value

    def append(self, value: Any) -> None:
        self.__dict__["parts"].append(value)

    def extend(self, values: Any) -> None:
        self.__dict__["parts"].extend(values)


def plain(value: Any) -> Any:
    """A value with omegaconf's containers as the dicts and lists that they hold."""
    if isinstance(value, Inert):
        held = value.__dict__
        state = held["state"] if isinstance(held["state"], dict) else {}
        inner = [state[key] for key in ("_content", "_val") if key in state]
        return plain(inner[0] if inner else held["items"] or held["parts"] or None)
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def read_torch_file(path: Path) -> dict[str, Any]:
    """The dict that torch.save wrote to `path`; tensors are on the CPU.

    Raises InputError where the file is no such file, is damaged, or names anything that would
    have to be run to be read.
    """
    with reading(path), path.open("rb") as file:
        try:
            value = _read_zip(path) if zipfile.is_zipfile(file) else _read_row(path, file)
        except Refused as refused:
            raise InputError(
                f"{path}: reading it would run {refused}, which is refused; "
                "it is no checkpoint of weights, or a harmful one"
            ) from None
        except OSError:
            raise
        except Exception as error:  # a damaged pickle fails in any way there is
            problem = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: not a file of torch.save, or damaged: {problem}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds {type(value).__name__}, not a dict of weights")
    return value


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        (top,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        root = top.removesuffix("data.pkl")

        def storage(dtype: torch.dtype, key: str, numel: int) -> Tensor:
            data = bytearray(archive.read(f"{root}data/{key}"))
            return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)

        with archive.open(top) as file:
            return _Unpickler(file, storage).load()


def _read_row(path: Path, file: BinaryIO) -> Any:
    """Magic number, version, system, object, storage keys, and then each storage's numbers."""
    file.seek(0)
    room = path.stat().st_size

    def storage(dtype: torch.dtype, key: str, numel: int) -> Tensor:
        if not 0 <= numel * dtype.itemsize <= room:
            raise ValueError(f"a storage of {numel} numbers in a file of {room} bytes")
        return torch.empty(numel, dtype=dtype)

    if _Unpickler(file, storage).load() != MAGIC:
        raise ValueError("it does not begin as one")
    _Unpickler(file, storage).load()  # version
    _Unpickler(file, storage).load()  # sizes of the writer's types
    reader = _Unpickler(file, storage)
    value = reader.load()
    for key in _Unpickler(file, storage).load():
        _fill(reader.storages[key], file)
    return value


def _fill(storage: Tensor, file: BinaryIO) -> None:
    count = int.from_bytes(file.read(8), "little")
    if count != storage.numel():
        raise ValueError(f"a storage has {count} numbers, not {storage.numel()}")
    raw: Any = storage.view(torch.uint8).numpy()
    if count and cast(io.BufferedReader, file).readinto(memoryview(raw)) != len(raw):
        raise ValueError("it ends too early")


class _Call:
    """A function that a pickle may call; without attributes, so a pickle cannot change it."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise Refused(f"a change of {name}")

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _Call(lambda *_: {}),
    ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(lambda data, *_: data),
    ("torch", "Size"): _Call(tuple),
    ("torch", "device"): _Call(lambda *_: None),
    ("operator", "getitem"): _Call(lambda *_: None),  # Dict[str, Any], as typing pickles it
    ("_operator", "getitem"): _Call(lambda *_: None),
    ("types", "GenericAlias"): _Call(lambda *_: None),  # dict[str, Any]
}
PLAIN: dict[str, Any] = {
    one.__name__: one for one in (int, float, str, bool, list, dict, set, tuple, complex)
}
PLAIN |= {"unicode": str, "long": int}  # as pickles of protocol 2 call them


class _Unpickler(pickle.Unpickler):
    """Unpickles to tensors, containers, numbers and stand-ins, and refuses the rest."""

    def __init__(self, file: Any, storage: Callable[[torch.dtype, str, int], Tensor]) -> None:
        super().__init__(file)
        self._make = storage
        self.storages: dict[str, Tensor] = {}
        self._stand_ins: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module in ("builtins", "__builtin__") and name in PLAIN:
            return PLAIN[name]
        if module.partition(".")[0] in INERT:
            return self._stand_ins.setdefault((module, name), type("Inert", (Inert,), {}))
        raise Refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, numel, *view = pid
        if key not in self.storages:
            self.storages[key] = self._make(dtype, key, numel)
        whole = self.storages[key]
        if view and view[0]:
            _, offset, size = view[0]
            return whole[offset : offset + size]
        return whole
