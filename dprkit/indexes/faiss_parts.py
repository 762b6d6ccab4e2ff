"""Building a FAISS index block by block, in a memory that does not grow with the corpus.

    trained.faiss    the trained and still empty index
    part-00000       a block of coded vectors; a finished one is never made again
    index.faiss      the parts in one file, just as FAISS itself writes it

FAISS's file of an index ends with its codes (flat, scalar and product quantisers) or with its
inverted lists, one after the other. So the file can be written from parts without ever holding
it: an empty index that says how many vectors it has, then the codes. faiss.contrib.ondisk does
the like for lists, but maps all of its parts at once and leaves a second file whose name is
written into the first.

FAISS documents no such format. So before a file is joined, FAISS itself writes a tiny index, and
what it writes is compared (`_around_codes`, `_lists_are_known`). A format that differs, and an
index of another form (graphs, refinement, packed codes), grow in memory and FAISS writes the file.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from dprkit.embeddings.shards import Embeddings
from dprkit.indexes.faiss_inner_products import transforms
from dprkit.store.drafts import Draft

INDEX, TRAINED, GROWING = "index.faiss", "trained.faiss", "growing.faiss"
PART = "part-"
BLOCK_BYTES = 32 << 20
"""Bytes of float32 vectors in a block."""
LISTS_BYTES = 16 << 20
"""Bytes of inverted lists that are joined at a time; four copies of them are in memory."""
SHARE_OF_SAVING = 0.1
"""A graph that grows is saved so often that saving takes at most this share of the time."""
EMPTY_LISTS = 32
"""Bytes at the end of FAISS's file of an index with empty inverted lists."""


def write(work: Draft, index: Any, embeddings: Embeddings) -> None:
    """Fill the trained `index` with all vectors, as the file INDEX of the artifact."""
    block = max(1, BLOCK_BYTES // (4 * embeddings.dim))
    blocks = [(at, min(at + block, embeddings.count)) for at in range(0, embeddings.count, block)]
    work.run.progress.start("indexing", embeddings.count, "passages")
    form = _form(index)
    if form == "codes" and (around := _around_codes(index, embeddings.count)):
        _write_codes(work, index, embeddings, blocks, around)
    elif form == "lists" and _lists_are_known():
        names = _make_parts(work, index, embeddings, blocks, _code_in_lists)
        _write_lists(work, index, embeddings.count, [work.directory / name for name in names])
    else:
        if form:
            _tell_unknown(work, index)
        _grow(work, index, embeddings, blocks)
    work.run.progress.finish()


def _tell_unknown(work: Draft, index: Any) -> None:
    work.run.progress.warn(
        f"FAISS {faiss.__version__} writes {type(inner(index)).__name__} in a format that dprkit "
        "does not know; the index is built in memory and FAISS writes the file"
    )


# --- what an index is made of -------------------------------------------------------------------


def inner(index: Any) -> Any:
    """The index behind the transforms (OPQ, PCA, ...)."""
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    return index


def transformed(index: Any, vectors: np.ndarray) -> np.ndarray:
    """What the transforms make of (N, D) vectors."""
    for transform in transforms(index):
        vectors = transform.apply(vectors)
    return vectors


def _form(index: Any) -> str:
    """What FAISS's file of an index ends with: "lists", "codes", or "" for anything else."""
    lists = faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ
    codes = faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexScalarQuantizer, faiss.IndexPQ
    kind = type(inner(index))  # exactly: a class derived from one of these has a form of its own
    return "lists" if kind in lists else "codes" if kind in codes else ""


# --- parts --------------------------------------------------------------------------------------


def _make_parts(
    work: Draft, index: Any, embeddings: Embeddings, blocks: list[tuple[int, int]], code: Any
) -> list[str]:
    """Code each block that is not there yet into a file; their names."""
    names = [f"{PART}{number:05d}" for number in range(len(blocks))]
    done = work.state.get("parts", 0)
    for number, (begin, end) in enumerate(blocks):
        if number >= done:
            vectors = transformed(index, embeddings.read(begin, end))
            with work.file(names[number]) as file:
                for piece in code(inner(index), vectors, begin):
                    file.write(np.ascontiguousarray(piece).data)
            work.state["parts"] = number + 1
            work.save()
        work.run.progress.advance(end - begin)
    return names


def _code_in_lists(ivf: Any, vectors: np.ndarray, begin: int) -> Iterator[np.ndarray]:
    """A part of inverted lists: (lists,) sizes, (N,) rows, (N, bytes) codes, by list and row."""
    _, nearest = ivf.quantizer.search(vectors, 1)
    lists = nearest.ravel()
    codes = np.empty((len(vectors), int(ivf.code_size)), np.uint8)
    ivf.encode_vectors(
        len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(lists), faiss.swig_ptr(codes)
    )
    order = np.argsort(lists, kind="stable")
    yield np.bincount(lists, minlength=int(ivf.nlist)).astype(np.int64)
    yield order + begin
    yield codes[order]


def _code(index: Any, vectors: np.ndarray, begin: int) -> Iterator[np.ndarray]:
    """A part of codes: (N, bytes), in the order of the rows."""
    yield index.sa_encode(vectors)


# --- codes --------------------------------------------------------------------------------------


def _write_codes(
    work: Draft,
    index: Any,
    embeddings: Embeddings,
    blocks: list[tuple[int, int]],
    around: tuple[bytes, bytes],
) -> None:
    """INDEX of codes; they are written straight where nothing had to be learnt to make them."""
    head, tail = around
    names = (
        []
        if TRAINED not in work.record.files
        else _make_parts(work, index, embeddings, blocks, _code)
    )
    with work.file(INDEX) as file:
        file.write(head)
        for name in names:
            with (work.directory / name).open("rb") as part:
                shutil.copyfileobj(part, file)
        for begin, end in blocks if not names else ():
            vectors = transformed(index, embeddings.read(begin, end))
            file.write(inner(index).sa_encode(vectors).data)
            work.run.progress.advance(end - begin)
        file.write(tail)


def _around_codes(index: Any, count: int) -> tuple[bytes, bytes] | None:
    """What FAISS writes before and after the codes of `count` vectors; None where that is unknown.

    Both files say that they have `count` vectors, but one is empty and one has a single vector. So
    they first differ within the 8 bytes before the codes, which count bytes or floats; and without
    the codes of that vector the rest of both is the same, or the format is another.
    """
    codes = inner(index)
    size = int(codes.code_size)
    empty = _file_of(index, count)
    index.ntotal = codes.ntotal = 0
    codes.add(np.zeros((1, codes.d), np.float32))
    single = _file_of(index, count)
    index.reset()
    first = next(at for at, (a, b) in enumerate(zip(empty, single, strict=False)) if a != b)
    for at in range(first, first - 8, -1):
        number = int.from_bytes(single[at : at + 8], "little")
        if number in (size, size // 4) and single[at + 8 + size :] == empty[at + 8 :]:
            total = count * number
            return empty[:at] + total.to_bytes(8, "little"), empty[at + 8 :]
    return None


def _file_of(index: Any, count: int) -> bytes:
    """FAISS's file of an index that says it has `count` vectors."""
    index.ntotal = inner(index).ntotal = count
    return bytes(faiss.serialize_index(index).tobytes())


# --- inverted lists -----------------------------------------------------------------------------


def _lists_are_known() -> bool:
    """Whether this FAISS writes inverted lists as `_write_lists` does: two lists, three vectors."""
    vectors = np.array([[1], [-1], [2]], np.float32)
    quantizer = faiss.IndexFlatIP(1)
    quantizer.add(vectors[:2])
    ivf = faiss.IndexIVFFlat(quantizer, 1, 2, faiss.METRIC_INNER_PRODUCT)
    ivf.is_trained = True
    head = _file_of(ivf, 3)[:-EMPTY_LISTS]
    ivf.ntotal = 0
    ivf.add(vectors)
    lists = b"".join(vectors[rows].tobytes() + np.array(rows).tobytes() for rows in ([0, 2], [1]))
    return _file_of(ivf, 3) == head + _heading_of_lists(np.array([2, 1]), 4) + lists


def _write_lists(work: Draft, index: Any, count: int, parts: list[Path]) -> None:
    """INDEX of inverted lists: those of all parts, list after list; in each codes, then rows.

    Parts follow the order of the corpus and each is sorted by row within a list, so the rows of a
    joined list ascend, as when FAISS adds vectors one after the other.
    """
    ivf = inner(index)
    width, lists = int(ivf.code_size), int(ivf.nlist)
    sizes = np.zeros(lists, np.int64)
    for part in parts:
        sizes += np.fromfile(part, np.int64, lists)
    head = _file_of(index, count)[:-EMPTY_LISTS]
    taken = np.zeros(len(parts), np.int64)
    with work.file(INDEX) as file:
        file.write(head + _heading_of_lists(sizes, width))
        for begin, end in _runs(sizes * (width + 8)):
            rows, codes = _gather(parts, taken, lists, (begin, end), width)
            bounds = np.cumsum([0, *sizes[begin:end].tolist()])
            for at, to in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                file.write(codes[at:to].data)
                file.write(rows[at:to].data)


def _heading_of_lists(sizes: np.ndarray, width: int) -> bytes:
    """What FAISS writes before the lists themselves (write_InvertedLists in index_write.cpp)."""
    numbers = np.array([len(sizes), width], np.int64)
    length = np.array([len(sizes)], np.int64)
    return b"ilar" + numbers.tobytes() + b"full" + length.tobytes() + sizes.tobytes()


def _runs(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs of lists of about LISTS_BYTES together, at least one list each."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        before = ends[begin] - sizes[begin]
        end = int(np.searchsorted(ends, before + LISTS_BYTES, side="right"))
        yield begin, (end := max(end, begin + 1))
        begin = end


def _gather(
    parts: list[Path], taken: np.ndarray, lists: int, run: tuple[int, int], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) rows and (N, width) codes of a run of lists, by list and then by row.

    `taken`: (parts,) vectors that earlier runs took from each part; it goes on with this run's.
    """
    begin, end = run
    rows, codes, where = [], [], []
    for number, part in enumerate(parts):
        sizes = np.fromfile(part, np.int64, end - begin, offset=8 * begin)
        # A part holds its sizes (lists), then all its rows (held), then their codes, by list and
        # row: what the next lists have starts where the lists before them ended.
        count, at = int(sizes.sum()), int(taken[number])
        held = (part.stat().st_size - 8 * lists) // (8 + width)
        rows.append(np.fromfile(part, np.int64, count, offset=8 * (lists + at)))
        start = 8 * (lists + held) + width * at
        codes.append(np.fromfile(part, np.uint8, count * width, offset=start).reshape(-1, width))
        where.append(np.repeat(np.arange(end - begin, dtype=np.int32), sizes))
        taken[number] += count
    order = np.argsort(np.concatenate(where), kind="stable")
    return np.concatenate(rows)[order], np.concatenate(codes)[order]


# --- in memory ----------------------------------------------------------------------------------


def _grow(work: Draft, index: Any, embeddings: Embeddings, blocks: list[tuple[int, int]]) -> None:
    """Add the blocks to an index in memory, which is saved now and then on the way."""
    if GROWING in work.record.files:
        index = faiss.read_index(str(work.directory / GROWING))
    saved, cost = time.monotonic(), 1.0
    for begin, end in blocks:
        if begin >= index.ntotal:
            with reproducible(index):
                _add(index, embeddings.read(begin, end), end)
        if end < embeddings.count and time.monotonic() - saved > cost / SHARE_OF_SAVING:
            cost = -time.monotonic()
            save_index(work, GROWING, index)
            work.state["growing"] = end
            work.save()
            cost, saved = cost + time.monotonic(), time.monotonic()
        work.run.progress.advance(end - begin)
    save_index(work, INDEX, index)


def _add(index: Any, vectors: np.ndarray, end: int) -> None:
    """Add vectors, whose levels in a graph come from their rows: FAISS's file forgets its dice."""
    graph = inner(index)
    if isinstance(graph, faiss.IndexHNSW):
        faiss.copy_array_to_vector(_levels(graph.hnsw, end), graph.hnsw.levels)
    index.add(vectors)


def _levels(hnsw: Any, count: int) -> np.ndarray:
    """(count,) levels of the first nodes of a graph, 1 being the ground (Malkov & Yashunin)."""
    upward = np.cumsum(faiss.vector_to_array(hnsw.assign_probas))
    thrown = np.random.default_rng(0).random(count)
    level = np.searchsorted(upward, thrown, side="right")
    return np.minimum(level, len(upward) - 1).astype(np.int32) + 1


@contextmanager
def reproducible(index: Any) -> Iterator[None]:
    """Threads that build the same graph every time: one, before FAISS 1.15."""
    threads = faiss.omp_get_max_threads()
    new = tuple(int(n) for n in faiss.__version__.split(".")[:2]) >= (1, 15)
    if isinstance(inner(index), faiss.IndexHNSW) and not new:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def save_index(work: Draft, name: str, index: Any) -> None:
    """Write an index through Python's file: FAISS's own does not notice a disk that is full."""
    with work.file(name) as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
