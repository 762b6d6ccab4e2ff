"""Arrays in .npy files: how a file begins, and arrays that are read as they are touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"\x93NUMPY"


def write_header(file: BinaryIO, shape: tuple[int, ...], dtype: Any) -> None:
    """Begin a file of an array, whose numbers the caller writes in C's order."""
    import numpy as np

    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def mapped(path: Path) -> np.ndarray:
    """The array of a file, (N, D) or (N,); a page of it takes memory once it was touched."""
    import numpy as np

    array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.asarray(array)
