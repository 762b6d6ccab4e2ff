"""Files of torch.save, read without running anything that is in them.

Beside tensors, dicts, lists, text and numbers they hold objects that DPR and Lightning put there,
such as omegaconf's. These become stand-ins, which only keep what they are given; every other name
is refused. Both forms are read: the zip file that torch has written since 1.6, and the row of
pickles before it, in which DPR's checkpoints were published.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from dprkit.data.unpickling import (
    OBJECT_OPERATIONS,
    OPERATIONS,
    HarmfulName,
    Made,
    Maker,
    Unpickler,
    old_torch_file,
)
from dprkit.errors import InputError, reading

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
STAND_INS = {
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


NewStorage = Callable[[torch.dtype, str, int], Tensor]
"""Makes a storage: the kind of its numbers, its key, their count."""


class StandIn(Made):
    """What stands for an object: its state and its items, and no behaviour."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = {}
        self.items: dict[Any, Any] = {}
        self.parts: list[Any] = []

    def build(self, state: Any) -> None:
        self.state = state

    def update(self, items: Any) -> None:
        self.items.update(items)

    def extend(self, items: list[Any]) -> None:
        self.parts += items


def plain(value: Any) -> Any:
    """A value with omegaconf's containers as the dicts and lists that they hold."""
    if isinstance(value, StandIn):
        state = value.state if isinstance(value.state, dict) else {}
        inner = [state[key] for key in ("_content", "_val") if key in state]
        return plain(inner[0] if inner else value.items or value.parts or None)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def read_torch_file(path: Path, names_only: bool = False) -> dict[str, Any]:
    """The dict that torch.save wrote to `path`; tensors are on the CPU.

    `names_only`: the tensors' numbers are not read, only what there is.

    Raises InputError where the file is no such file, is damaged, or names anything that would
    have to be run to be read.
    """
    with reading(path), path.open("rb") as file:
        try:
            read = _read_zip if zipfile.is_zipfile(file) else _read_row
            value = read(path, file, names_only)
        except HarmfulName as name:
            raise InputError(
                f"{path}: reading it would run {name}, which is refused; "
                "it is no checkpoint of weights, or a harmful one"
            ) from None
        except OSError:
            raise
        except Exception as error:  # a damaged pickle fails in any way there is
            problem = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: not a file of torch.save, or damaged: {problem}") from None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: holds {type(value).__name__}, not a dict of weights; name another"
        )
    return value


def _read_zip(path: Path, _: BinaryIO, names_only: bool) -> Any:
    with zipfile.ZipFile(path) as archive:
        (top,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        root = top.removesuffix("data.pkl")

        def storage(dtype: torch.dtype, key: str, numel: int) -> Tensor:
            if names_only:
                return torch.empty(numel, dtype=dtype, device="meta")
            data = bytearray(archive.read(f"{root}data/{key}"))
            return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)

        with archive.open(top) as file:
            size = archive.getinfo(top).file_size
            return next(_TorchUnpickler(file, size, storage, {}).values())


def _read_row(path: Path, file: BinaryIO, names_only: bool) -> Any:
    """The pickles of a file before torch 1.6, and then each storage's numbers."""
    file.seek(0)
    size = path.stat().st_size

    def storage(dtype: torch.dtype, key: str, numel: int) -> Tensor:
        if not 0 <= numel * dtype.itemsize <= size:
            raise ValueError(f"a storage of {numel} numbers in a file of {size} bytes")
        return torch.empty(numel, dtype=dtype, device="meta" if names_only else "cpu")

    storages: dict[str, Tensor] = {}
    value, keys = old_torch_file(lambda: _TorchUnpickler(file, size, storage, storages))
    for key in () if names_only else keys:
        _fill(storages[key], file)
    return value


def _fill(storage: Tensor, file: BinaryIO) -> None:
    count = int.from_bytes(file.read(8), "little")
    if count != storage.numel():
        raise ValueError(f"a storage has {count} numbers, not {storage.numel()}")
    raw: Any = storage.view(torch.uint8).numpy()
    if count and cast(io.BufferedReader, file).readinto(memoryview(raw)) != len(raw):
        raise ValueError("it ends too early")


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": dict,
    "collections.defaultdict": lambda *_: {},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.Size": tuple,
    "torch.device": lambda *_: None,
    "operator.getitem": lambda *_: None,  # Dict[str, Any], as typing pickles it
    "_operator.getitem": lambda *_: None,
    "types.GenericAlias": lambda *_: None,  # dict[str, Any]
}
PLAIN: dict[str, type] = {
    kind.__name__: kind for kind in (int, float, str, bool, list, dict, set, tuple, complex)
}
PLAIN |= {"unicode": str, "long": int}  # as pickles of protocol 2 call them


class _TorchUnpickler(Unpickler):
    """Makes tensors, containers, numbers and stand-ins."""

    operations = OPERATIONS | OBJECT_OPERATIONS

    def __init__(
        self, file: IO[bytes], size: int, storage: NewStorage, storages: dict[str, Tensor]
    ) -> None:
        """`storages`: those that were made, by their keys."""
        super().__init__(file, size)
        self.new_storage, self.storages = storage, storages

    def stored(self, key: Any) -> Tensor:
        """A tensor of a storage: ("storage", type, key, place, count, part of another)."""
        _, dtype, name, _, count, *view = key
        if name not in self.storages:
            self.storages[name] = self.new_storage(dtype, name, count)
        if view and view[0]:
            _, offset, size = view[0]
            return self.storages[name][offset : offset + size]
        return self.storages[name]

    def find(self, module: str, name: str) -> Any:
        if make := MAKERS.get(f"{module}.{name}"):
            return Maker(make)
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        if module in ("builtins", "__builtin__") and name in PLAIN:
            return Maker(PLAIN[name])
        if module.partition(".")[0] in STAND_INS:
            return Maker(StandIn)
        return super().find(module, name)

    def build(self, state: Any) -> None:
        if not isinstance(self.stack[-1], dict):  # a state_dict's has notes of torch's own
            super().build(state)
