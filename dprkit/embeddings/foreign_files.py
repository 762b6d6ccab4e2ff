"""import-embeddings: the files of other systems -> blocks of vectors with their ids.

    dpr         a pickled list of (id, vector) pairs (generate_dense_embeddings.py)
    tevatron    a pickled pair of an array (N, D) and the list of its ids; contriever's, which has
                the ids first, is read too
    dpr-scale   a pickled tensor (N, D) a process, reps_0000.pkl; row r is the corpus's row r
    npy         an array (N, D), with a file of N ids beside it

What a file is, it says itself. Memory is a block, and the ids of one file for Tevatron.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dprkit.data.npy import MAGIC, mapped
from dprkit.embeddings.foreign_pickles import Array, values
from dprkit.errors import DprkitError, FormatError, InputError, MismatchError, reading

ROWS = 4096
"""Rows of a block."""
QUERIES = "query_reps.pkl"
"""dpr-scale puts the questions' vectors beside the passages'."""
DIGESTS = "digests-"
"""dprkit puts hashes of the passages there."""


class ForeignBlock(NamedTuple):
    """Rows of a file: `first` is the number of the first one there, from 0.

    `vectors`: (N, D) of any kind of float; `ids` N ids, or None where the file has none.
    """

    kind: str
    first: int
    vectors: np.ndarray
    ids: list[str] | None


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Order names as people do: part_2 before part_10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def source_files(sources: Sequence[str]) -> list[Path]:
    """The files that `sources` name, those of a folder included, in the order of their numbers."""
    files: list[Path] = []
    for source in map(Path, sources):
        files += _files_in(source) if source.is_dir() else [source]
    if doubled := {path for path in files if files.count(path) > 1}:
        raise InputError(f"{min(doubled)}: named twice; each source once")
    return sorted(files, key=lambda path: (natural(path), str(path)))


def _files_in(folder: Path) -> list[Path]:
    """The files of vectors in a folder: its npy files, or those that begin as a pickle."""
    with reading(folder):
        files = [
            path
            for path in folder.iterdir()
            if path.is_file() and path.name != QUERIES and not path.name.startswith(DIGESTS)
        ]
    heads = {path: _head(path) for path in files}
    for magic in (MAGIC, b"\x80"):
        if vectors_files := [path for path, head in heads.items() if head.startswith(magic)]:
            return vectors_files
    raise InputError(f"{folder}: holds no npy file and no pickle; name the files of vectors")


def _head(path: Path) -> bytes:
    with reading(path), path.open("rb") as file:
        return file.read(len(MAGIC))


def blocks(
    path: Path, ids: Path | None = None, in_order: bool = False, kind: str = "auto"
) -> Iterator[ForeignBlock]:
    """The vectors in `path`, a block after the other.

    `ids`: the file with an npy file's ids, where it does not lie beside it; `in_order`: an npy file
    needs none. Raises FormatError for what is damaged, InputError for what is
    no file of vectors, MismatchError where it is not of the `kind` that was asked for.
    """
    head = _head(path)
    if head.startswith(MAGIC):
        read = _of_npy(path, None if in_order else ids or _ids_beside(path))
    elif head.startswith(b"\x80"):
        read = _of_pickle(path)
    else:
        raise InputError(f"{path}: neither an npy file nor a pickle; name files of vectors")
    for block in read:
        _check(path, block, kind)
        yield block


def _check(path: Path, block: ForeignBlock, kind: str) -> None:
    """The file must be of the kind that was asked for, and every number must be one."""
    if kind not in ("auto", block.kind):
        raise MismatchError(
            f"{path}: holds vectors in the form of {block.kind}, not {kind}; leave --kind away"
        )
    if block.vectors.dtype.kind != "f":
        raise FormatError(
            path, f"row {block.first}", "holds no floating-point numbers; name files of vectors"
        )
    bad = ~np.isfinite(block.vectors).all(axis=1)
    if bad.any():
        row = block.first + int(bad.argmax())
        raise FormatError(path, f"row {row}", "the vector holds NaN or infinity; encode again")


# --- npy ------------------------------------------------------------------------------------------


def _of_npy(path: Path, ids: Path | None) -> Iterator[ForeignBlock]:
    try:
        with reading(path):
            shape = mapped(path).shape
    except DprkitError:
        raise
    except Exception as error:  # numpy parses the header as Python, which fails in many ways
        problem = "cut short, or no array of numbers"
        raise FormatError(path, 1, f"{problem} ({type(error).__name__})") from None
    if len(shape) != 2:
        raise FormatError(path, 1, f"an array of shape {shape}; expected (rows, dimensions)")
    names = _lines(ids) if ids else iter(())
    for first in range(0, shape[0], ROWS):
        # Mapped anew for each block: what was touched of the one before no longer counts.
        rows = mapped(path)[first : first + ROWS]
        ids_of_rows = list(islice(names, len(rows))) if ids else None
        if ids_of_rows is not None and len(ids_of_rows) != len(rows):
            _refuse_ids(ids, first + len(ids_of_rows), shape[0])
        yield ForeignBlock("npy", first, np.array(rows), ids_of_rows)
    if ids and (more := sum(1 for _ in names)):
        _refuse_ids(ids, shape[0] + more, shape[0])


def _refuse_ids(ids: Path | None, count: int, rows: int) -> None:
    raise FormatError(str(ids), count, f"{count} ids for an array of {rows} rows; give one each")


def _lines(path: Path) -> Iterator[str]:
    with reading(path), path.open(encoding="utf-8-sig", newline="\n") as file:
        try:
            for line in file:
                yield line.removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise FormatError(path, 1, "not UTF-8; convert it: iconv -f latin1 -t utf-8") from None


def _ids_beside(path: Path) -> Path:
    """The file of ids that belongs to an npy file, by its name.

    `x.npy` has x.ids.txt, x.ids or x.txt; `vectors-3.npy` has ids-3.txt; else the only ids.txt.
    """
    stem = path.stem
    named = re.sub("vectors|embeddings|embs?|reps", "ids", stem)
    for name in (f"{stem}.ids.txt", f"{stem}.ids", f"{stem}.txt", f"{named}.txt", "ids.txt"):
        if (ids := path.with_name(name)).is_file() and (name != "ids.txt" or _alone(path)):
            return ids
    raise InputError(
        f"{path}: has no file of ids beside it ({stem}.ids.txt, {named}.txt); name it with --ids, "
        "or say with --in-order that its rows are the corpus's"
    )


def _alone(path: Path) -> bool:
    return sum(1 for _ in path.parent.glob("*.npy")) == 1


# --- pickles --------------------------------------------------------------------------------------


def _of_pickle(path: Path) -> Iterator[ForeignBlock]:
    """The blocks of a pickle, by what its values are."""
    pairs: list[tuple[Any, Array]] = []
    ids: list[Any] = []
    first = 0
    for value in values(path):
        if _is_pair(value):
            pairs.append(value)
            if len(pairs) == ROWS:
                yield _of_pairs(path, first, pairs)
                first, pairs = first + ROWS, []
        elif isinstance(value, str | int):
            ids.append(value)  # contriever's come before the array
        else:
            yield from _of_table(path, value, ids)
    if pairs:
        yield _of_pairs(path, first, pairs)


def _is_pair(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) < 2 or isinstance(value[0], Array | list):
        return False
    return isinstance(value[1], Array) and len(value[1].shape) == 1


def _of_pairs(path: Path, first: int, pairs: list[tuple[Any, Array]]) -> ForeignBlock:
    """DPR's (id, vector) pairs, with more in them or not, as one array."""
    like = pairs[0][1]
    for row, pair in enumerate(pairs, start=first):
        if (shape := pair[1].shape) != like.shape:
            raise FormatError(
                path, f"row {row}", f"{shape[0]} dimensions where others have {like.shape[0]}"
            )
    width = like.shape[0]
    raw = [a.raw for _, a, *_ in pairs if isinstance(a.raw, bytes) and a.kind == like.kind]
    numbers: Any
    if len(raw) == len(pairs):
        numbers = np.frombuffer(b"".join(raw), like.kind.numpy)
    else:
        numbers = np.concatenate([array.rows(0, width) for _, array, *_ in pairs])
    ids = [_id(path, row, pair[0]) for row, pair in enumerate(pairs, start=first)]
    return ForeignBlock("dpr", first, numbers.reshape(len(pairs), width), ids)


def _of_table(path: Path, value: Any, before: list[Any]) -> Iterator[ForeignBlock]:
    """A whole array: Tevatron's with its ids behind it, contriever's, or dpr-scale's alone."""
    if _is_table(value):
        kind, table, ids = "dpr-scale", value, None
    elif isinstance(value, tuple) and len(value) == 2 and any(map(_is_table, value)):
        table, ids = value if _is_table(value[0]) else value[::-1]
        kind, ids = "tevatron", _names(ids) or before
    else:
        what = type(value).__name__.strip("_").lower()
        raise FormatError(path, 1, f"holds {what}, not vectors; name files of vectors")
    if ids is not None and len(ids) != table.shape[0]:
        raise FormatError(path, 1, f"{len(ids)} ids for {table.shape[0]} rows; write it again")
    for first in range(0, table.shape[0], ROWS):
        rows = table.rows(first, first + ROWS)
        names = ids and [
            _id(path, first + i, name) for i, name in enumerate(ids[first : first + ROWS])
        ]
        yield ForeignBlock(kind, first, rows, names)


def _is_table(value: Any) -> bool:
    return isinstance(value, Array) and len(value.shape) == 2


def _names(ids: Any) -> list[Any]:
    """Tevatron's ids: a list or tuple, or an array of text or numbers."""
    if isinstance(ids, Array):
        return ids.rows(0, ids.shape[0]).tolist()  # type: ignore[no-any-return]
    return list(ids) if isinstance(ids, list | tuple) else []


def _id(path: Path, row: int, value: Any) -> str:
    if isinstance(value, str | int):
        return str(value)
    raise FormatError(path, f"row {row}", "its id is no text or number, or is there twice")
