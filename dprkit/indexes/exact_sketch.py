"""A corpus in 8 bits a number, which tells exact search the few vectors that it must compare.

    sketch-00000.faiss   pieces of shard 0, each one a FAISS index by itself (IndexScalarQuantizer)
    sketch.json          where each piece lies, and how far off its vectors are at most

One question is answered as fast as memory is read, so a quarter of the bytes is a quarter of the
time. For every piece the largest distance between a vector and what its codes stand for is known;
times the question's length it bounds what a score can be off (Cauchy-Schwarz). So whatever could
be among the best is laid aside and compared by its true vector, as in VA-files (Weber, Schek and
Blott, 1998): the result is the exact one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from dprkit.errors import InputError, reading
from dprkit.indexes.hits import Hits
from dprkit.store.drafts import Draft
from dprkit.store.integrity import is_whole
from dprkit.store.manifests import Manifest

if TYPE_CHECKING:
    from dprkit.embeddings.shards import Embeddings

CONTENTS = "sketch.json"
_AGAIN = "run dprkit index --restart"
PIECE_BYTES = 8 << 20
"""Bytes of codes in a piece: small enough to share pieces out, and for all to be worth a step."""
WORTH_BYTES = 32 << 20
"""Bytes of float32 vectors up to which reading them takes no time that anyone would notice."""
SPARE = 64
"""Besides twice the best K so many are asked of each piece: by 8 bits their order is not sure."""
SHARE = 16
"""Only one in so many rows of a piece may be asked for: to sort out more takes longer."""
RESIDENT = 80 << 20
"""Bytes of the sketch that stay mapped: a quarter of what exact search keeps of the vectors."""
BITE = 1024
"""Vectors that are decoded at a time."""


class Piece(msgspec.Struct, frozen=True):
    """Rows `start` to `stop` of the corpus, and where their codes lie."""

    start: int
    stop: int
    file: str
    offset: int
    bytes: int
    error: float | None
    """How far off a score can be, for a question of norm 1; None where the codes mean nothing."""


def build(work: Draft, embeddings: Embeddings) -> None:
    """Write the sketch of a corpus that is worth one.

    Shard by shard: a killed run goes on after its last one. What is found does not depend on the
    sketch, so it is no part of the artifact's identity.
    """
    if 4 * embeddings.count * embeddings.dim < WORTH_BYTES:
        return
    rows = max(1, PIECE_BYTES // embeddings.dim)
    pieces = msgspec.convert(work.state.get("pieces", []), list[Piece])
    work.run.progress.start("sketching", embeddings.count, "passages")
    start = 0
    for number, vectors in enumerate(embeddings.vectors()):
        name = f"sketch-{number:05d}.faiss"
        if name not in work.record.files:
            with work.file(name, content=False) as file:
                at = 0
                for begin in range(0, len(vectors), rows):
                    part = np.array(vectors[begin : begin + rows], np.float32)
                    codes, error = _coded(part, embeddings.directory)
                    file.write(codes.data)
                    first = start + begin
                    pieces.append(Piece(first, first + len(part), name, at, len(codes), error))
                    at += len(codes)
            work.state["pieces"] = msgspec.to_builtins(pieces)
            work.save()
        work.run.progress.advance(len(vectors))
        start += len(vectors)
    work.run.progress.finish()
    with work.file(CONTENTS, content=False) as file:
        file.write(msgspec.json.encode(pieces))


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
    # What float32 can be off, as in dprkit.indexes.exact; decoding takes a few terms more.
    ranges = np.abs(faiss.vector_to_array(index.sq.trained)).astype(np.float64)
    largest = np.linalg.norm(ranges[:dim] + ranges[dim:])
    error += (dim + 16) * 2.0**-24 * float(largest)
    return faiss.serialize_index(index), error if math.isfinite(error) else None


# --- looking --------------------------------------------------------------------------------------


def open_sketch(
    directory: Path | str, manifest: Manifest, resident_bytes: int = RESIDENT
) -> Sketch | None:
    """The sketch in the folder of an index, if it has one that says something."""
    if CONTENTS not in manifest.files:
        return None
    sketch = Sketch(directory, manifest, resident_bytes)
    return None if any(piece.error is None for piece in sketch.pieces) else sketch


class Sketch:
    """The sketch in the folder of an index, of which `resident_bytes` stay mapped."""

    def __init__(self, directory: Path | str, manifest: Manifest, resident_bytes: int) -> None:
        """Raises InputError for a file that is not what the manifest says, by its length."""
        self.directory = Path(directory)
        if not is_whole(self.directory, manifest, CONTENTS):
            raise InputError(f"{self.directory / CONTENTS}: missing or damaged; {_AGAIN}")
        content = (self.directory / CONTENTS).read_bytes()
        self.pieces = msgspec.json.decode(content, type=list[Piece])
        for name in {piece.file for piece in self.pieces}:
            path, wanted = self.directory / name, manifest.files[name].bytes
            if not path.is_file() or path.stat().st_size != wanted:
                raise InputError(f"{path}: missing or cut short; {_AGAIN}")
        ends = np.cumsum([piece.bytes for piece in self.pieces])
        resident = self.pieces[: int(np.searchsorted(ends, resident_bytes, side="right"))]
        maps = {
            name: np.memmap(self.directory / name, np.uint8, "r")
            for name in {piece.file for piece in resident}
        }
        self._mapped = {p: maps[p.file][p.offset : p.offset + p.bytes] for p in resident}
        self._longest = max(piece.stop - piece.start for piece in self.pieces)
        self._largest = max(piece.bytes for piece in self.pieces)

    def helps(self, topk: int) -> bool:
        """Whether so few passages are looked for that most of a piece is left out."""
        return SHARE * _asked_of_a_piece(topk) <= self._longest

    @contextmanager
    def lens(self) -> Iterator[Lens]:
        """What one thread looks through. Within it FAISS starts no threads of its own there."""
        import faiss

        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            yield Lens(self.directory, self._mapped, np.empty(self._largest, np.uint8))
        finally:
            faiss.omp_set_num_threads(threads)


class Lens:
    """Looks at pieces, one after the other."""

    def __init__(
        self, directory: Path, mapped: dict[Piece, np.ndarray], memory: np.ndarray
    ) -> None:
        """`memory`: bytes to read pieces into that are not among the `mapped`."""
        self.directory, self.mapped, self.memory = directory, mapped, memory

    def near(self, piece: Piece, questions: np.ndarray, topk: int) -> Hits:
        """The rows (Q, K') that score best by their codes, and these scores.

        K' is enough for the best `topk`, nearly always; at most the rows of the piece.
        """
        import faiss

        content = self._read(piece)
        try:
            index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(content), piece.bytes))
        except (RuntimeError, MemoryError):
            raise InputError(f"{self.directory / piece.file}: damaged; {_AGAIN}") from None
        depth = min(_asked_of_a_piece(topk), piece.stop - piece.start)
        scores, rows = index.search(questions, depth)
        return Hits(rows + piece.start, scores)

    def _read(self, piece: Piece) -> np.ndarray:
        if piece in self.mapped:
            return self.mapped[piece]
        path, into = self.directory / piece.file, self.memory[: piece.bytes]
        with reading(path), path.open("rb", buffering=0) as file:
            file.seek(piece.offset)
            if file.readinto(into.data) != piece.bytes:
                raise InputError(f"{path}: was cut short while it was searched; {_AGAIN}")
        return into


def _asked_of_a_piece(topk: int) -> int:
    return 2 * topk + SPARE
