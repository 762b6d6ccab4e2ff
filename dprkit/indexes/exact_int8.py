"""The 8-bit copy of the vectors, which tells exact search the few rows that it must compare.

    int8-00000.faiss   parts of shard 0, each a FAISS index by itself (IndexScalarQuantizer)
    int8.json          where each part lies, and how far off its vectors are at most

One question is answered as fast as memory is read, so a quarter of the bytes takes a quarter of the
time. For every part the largest distance between a vector and its codes is known; times the norm
of the question it bounds the error of a score (Cauchy-Schwarz). So every row that could be among
the best is kept and compared by its true vector, as in VA-files (Weber, Schek and Blott, 1998): the
result is the exact one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from dprkit.embeddings.shards import Embeddings
from dprkit.errors import InputError, reading
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.indexes.index_folder import IndexFolder
from dprkit.store.drafts import Draft

CONTENTS, EARLIER = "int8.json", "sketch.json"
"""What the parts are, and the name of that file in indexes of earlier versions."""
_AGAIN = "run dprkit index --restart"
PART_BYTES = 8 << 20
"""Bytes of codes in a part: few enough that all threads get parts, enough to be worth a step."""
WORTH_BYTES = 32 << 20
"""Bytes of float32 vectors up to which reading them takes no time that anyone would notice."""
SPARE = 64
"""Besides twice the best K so many are asked of each part: by 8 bits their order is not sure."""
SHARE = 16
"""Only one in so many rows of a part may be asked for: to sort out more takes longer."""
RESIDENT = 80 << 20
"""Bytes of the copy that stay mapped: a quarter of what exact search keeps of the vectors."""
BITE = 1024
"""Vectors that are decoded at a time."""


class Part(msgspec.Struct, frozen=True):
    """Rows `start` to `stop` of the corpus, and where their codes lie."""

    start: int
    stop: int
    file: str
    offset: int
    bytes: int
    error: float | None
    """How far off a score can be, for a question of norm 1; None where the codes mean nothing."""


def worth_a_copy(embeddings: Embeddings) -> bool:
    """Whether there are so many vectors that an 8-bit copy saves time."""
    return 4 * embeddings.count * embeddings.dim >= WORTH_BYTES


def write_int8(work: Draft, embeddings: Embeddings) -> None:
    """Write the 8-bit copy shard by shard; a killed run goes on after its last one.

    Hits do not depend on it, so it is no part of the artifact's identity.
    """
    rows = max(1, PART_BYTES // embeddings.dim)
    parts = msgspec.convert(work.state.get("int8 parts", []), list[Part])
    work.run.progress.start("copying in 8 bits", embeddings.count, "passages")
    for number, start, vectors in embeddings.left_of(work):
        name, at = f"int8-{number:05d}.faiss", 0
        with work.file(name, content=False) as file:
            for first in range(0, len(vectors), rows):
                block = np.array(vectors[first : first + rows], np.float32)
                codes, error = _coded(block, embeddings.directory)
                file.write(codes.data)
                begin = start + first
                parts.append(Part(begin, begin + len(block), name, at, len(codes), error))
                at += len(codes)
        work.state["int8 parts"] = msgspec.to_builtins(parts)
        work.run.progress.advance(len(vectors))
    work.run.progress.finish()
    with work.file(CONTENTS, content=False) as file:
        file.write(msgspec.json.encode(parts))


def _coded(vectors: np.ndarray, where: Path) -> tuple[np.ndarray, float | None]:
    """The vectors (N, D) as bytes of a FAISS index, and how far a score can be off.

    None: numbers near float32's end have no codes.
    """
    import faiss

    if not np.isfinite(vectors).all():
        raise InputError(f"{where}: holds NaN or infinity; encode again")
    count, dim = vectors.shape
    kind = faiss.ScalarQuantizer.QT_8bit
    index = faiss.IndexScalarQuantizer(dim, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    error = 0.0
    for begin in range(0, count, BITE):
        part = vectors[begin : begin + BITE].astype(np.float64)
        part -= index.reconstruct_n(begin, len(part))
        error = max(error, float(np.linalg.norm(part, axis=1).max()))
    # A code is a step of its dimension's range, so no decoded number is beyond the two ends of the
    # range: `largest` bounds the norm of every decoded vector. FAISS sums in float32, which is off
    # as in dprkit.indexes.exact; decoding takes a few roundings more.
    ranges = np.abs(faiss.vector_to_array(index.sq.trained)).astype(np.float64)
    largest = np.linalg.norm(ranges[:dim] + ranges[dim:])
    error += (dim + 16) * 2.0**-24 * float(largest)
    return faiss.serialize_index(index), error if math.isfinite(error) else None


# --- looking --------------------------------------------------------------------------------------


def open_int8(folder: IndexFolder, resident_bytes: int = RESIDENT) -> Int8Copy | None:
    """The 8-bit copy in the folder of an index; None if it has none, or one without bounds."""
    for name in {CONTENTS, EARLIER} & folder.manifest.files.keys():
        int8 = Int8Copy(folder, name, resident_bytes)
        return None if any(part.error is None for part in int8.parts) else int8
    return None


class Int8Copy:
    """The 8-bit copy of the vectors of an index, of which `resident_bytes` stay mapped."""

    def __init__(self, folder: IndexFolder, contents: str, resident_bytes: int) -> None:
        """Raises InputError for a file that is not what the manifest says, by its length."""
        content = folder.file(contents, every_bit=True).read_bytes()
        self.parts = msgspec.json.decode(content, type=list[Part])
        self.paths = {name: folder.file(name) for name in {part.file for part in self.parts}}
        ends = np.cumsum([part.bytes for part in self.parts])
        resident = self.parts[: int(np.searchsorted(ends, resident_bytes, side="right"))]
        self._mapped = {
            part: np.memmap(self.paths[part.file], np.uint8, "r", part.offset, part.bytes)
            for part in resident
        }
        self._longest = max(part.stop - part.start for part in self.parts)
        self._largest = max(part.bytes for part in self.parts)

    def helps(self, topk: int) -> bool:
        """Whether so few passages are looked for that most of a part is left out."""
        return SHARE * _asked_of_a_part(topk) <= self._longest

    @contextmanager
    def memory(self) -> Iterator[np.ndarray]:
        """Memory for `nearest` in one thread, within which FAISS starts no threads of its own."""
        import faiss

        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            yield np.empty(self._largest, np.uint8)
        finally:
            faiss.omp_set_num_threads(threads)

    def nearest(self, part: Part, questions: np.ndarray, topk: int, memory: np.ndarray) -> Hits:
        """The rows (Q, K') that score best by their codes, and these scores.

        K' is enough for the best `topk`, nearly always; at most the rows of the part. `memory`:
        a part that is not mapped is read into it.
        """
        import faiss

        content = self._read(part, memory)
        try:
            index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(content), part.bytes))
        except (RuntimeError, MemoryError):
            raise InputError(f"{self.paths[part.file]}: damaged; {_AGAIN}") from None
        depth = min(_asked_of_a_part(topk), part.stop - part.start)
        scores, rows = index.search(questions, depth)
        return Hits(rows + part.start, scores)

    def _read(self, part: Part, memory: np.ndarray) -> np.ndarray:
        if part in self._mapped:
            return self._mapped[part]
        path, into = self.paths[part.file], memory[: part.bytes]
        with reading(path), path.open("rb", buffering=0) as file:
            file.seek(part.offset)
            if file.readinto(into.data) != part.bytes:
                raise InputError(f"{path}: was cut short while it was searched; {_AGAIN}")
        return into


def _asked_of_a_part(topk: int) -> int:
    return 2 * topk + SPARE
