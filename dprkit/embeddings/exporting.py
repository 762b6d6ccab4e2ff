"""export-embeddings: an embeddings artifact -> files for other systems."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.data.npy import write_header
from dprkit.errors import MismatchError, need_extra
from dprkit.progress import Run
from dprkit.settings import ExportEmbeddingsSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.disk_room import check_room
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest, read_manifest

if TYPE_CHECKING:
    from dprkit.embeddings.shards import Embeddings

ROW_GROUP = 10_000
"""Rows of a row group of parquet, which a reader holds in memory."""
ROWS = 1000
"""Rows of a vector's array that are written at once."""


class ExportReport(msgspec.Struct):
    """What was written in which form."""

    passages: int
    dim: int
    to: str
    files: list[str]
    outputs: list[str]
    tokens: int | None = None
    """Vectors, where they are those of tokens."""
    notes: list[str] = []


def export_embeddings(settings: ExportEmbeddingsSettings, run: Run = Run()) -> ExportReport:
    """Write the vectors of `settings.embeddings` in the form `settings.to`.

    Memory is a part of a shard. What has a file a shard goes on after a kill with the next shard.
    Raises MissingExtra where pyarrow is wanted and absent, MismatchError where token vectors are
    wanted in a form that has one vector a passage.
    """
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    counts = read_manifest(embeddings, "embeddings").counts
    if "tokens" in counts and settings.to != "npy":
        raise MismatchError(
            f"{embeddings}: holds token vectors, many for each passage; {settings.to} has one for "
            "each; give --to npy"
        )
    with draft(directory, "export", settings, {"embeddings": embeddings}, run) as work:
        manifest = work.done or _export(work, settings)
    counts = manifest.counts
    made = (counts["passages"], counts["dim"], counts["to"], list(manifest.files))
    return ExportReport(*made, [str(directory)], tokens=dict(counts).get("tokens"))


def _export(work: Draft, settings: ExportEmbeddingsSettings) -> Manifest:
    from dprkit.embeddings.shards import Embeddings

    embeddings = Embeddings(str(settings.embeddings))
    tokens = dict(embeddings.manifest.counts).get("tokens")
    work.run.progress.start("writing", tokens or embeddings.count, "vectors")
    if tokens is None:
        FORMS[settings.to](work, embeddings)
    else:
        _tokens_to_npy(work, embeddings, tokens)
    work.run.progress.finish()
    counts = {"passages": embeddings.count, "dim": embeddings.dim, "to": settings.to}
    return work.finish(counts if tokens is None else counts | {"tokens": tokens})


def _parts(work: Draft, shard: Any) -> Iterator[Any]:
    """A shard a few rows at a time."""
    for begin in range(0, len(shard), ROWS):
        part = shard[begin : begin + ROWS]
        yield part
        work.run.progress.advance(len(part))


def _write_vectors(work: Draft, file: Any, embeddings: Embeddings, dtype: Any) -> None:
    import numpy as np

    for shard in embeddings.vectors():
        for part in _parts(work, shard):
            file.write(np.ascontiguousarray(part, dtype).data)


def _write_ids(work: Draft, name: str, embeddings: Embeddings) -> None:
    from dprkit.embeddings.shards import id_lines

    with work.file(name) as file:
        for number in range(embeddings.shards):
            file.write(id_lines(embeddings.ids_of(number)))


# --- one file -------------------------------------------------------------------------------------


def _to_npy(work: Draft, embeddings: Embeddings) -> None:
    """vectors.npy, (N, D) of the artifact's own kind of numbers, and ids.txt.

    Vectors that are kept in 8 bits or 1 bit a number become float32, here and in other forms.
    """
    _write_ids(work, "ids.txt", embeddings)
    kind = next(embeddings.vectors()).dtype
    with work.file("vectors.npy") as file:
        write_header(file, (embeddings.count, embeddings.dim), kind)
        _write_vectors(work, file, embeddings, kind)


def _tokens_to_npy(work: Draft, embeddings: Embeddings, count: int) -> None:
    """tokens.npy (T, D), lengths.npy (N,) int32, the token vectors of each passage, and ids.txt.

    Vectors that are kept in 8 bits become float32; others stay as they are.
    """
    import numpy as np

    from dprkit.embeddings.token_shards import TokenShards, as_float

    shards = TokenShards(embeddings)
    width = 4 if shards.dtype == "int8" else np.dtype(shards.dtype).itemsize
    check_room(work.directory, count * embeddings.dim * width)
    _write_ids(work, "ids.txt", embeddings)
    with work.file("lengths.npy") as file:
        np.save(file, np.diff(shards.bounds).astype("<i4"))
    kind = "<f4" if shards.dtype == "int8" else np.dtype(shards.dtype)
    with work.file("tokens.npy") as file:
        write_header(file, (count, embeddings.dim), kind)
        for _, tokens in shards.blocks():
            floats = as_float(tokens).values
            file.write(np.ascontiguousarray(floats, kind).data)
            work.run.progress.advance(len(floats))


def _to_pyserini(work: Draft, embeddings: Embeddings) -> None:
    """`index`, a FAISS IndexFlatIP, and `docid`, an id a line.

    FAISS itself could write it only from memory. Its file is a head and the vectors
    (faiss/impl/index_write.cpp): mark, width, count, two unused numbers, trained, metric (0 is
    inner product), and the count of the floats that follow.
    """
    _write_ids(work, "docid", embeddings)
    count, dim = embeddings.count, embeddings.dim
    unused = 1 << 20
    with work.file("index") as file:
        head = struct.pack("<4siqqq?iQ", b"IxFI", dim, count, unused, unused, True, 0, count * dim)
        file.write(head)
        _write_vectors(work, file, embeddings, "<f4")


# --- a file a shard -------------------------------------------------------------------------------


def _to_shards(work: Draft, embeddings: Embeddings, name: str, write: Callable[..., None]) -> None:
    """A file a shard, called `name` with the shard's number; those that are there stay."""
    for number, _, shard in embeddings.left_of(work):
        with work.file(name.format(number)) as file:
            write(work, file, embeddings.ids_of(number), shard)


def _to_parquet(work: Draft, embeddings: Embeddings) -> None:
    need_extra("parquet", "pyarrow")
    _to_shards(work, embeddings, "vectors-{:05d}.parquet", _parquet)


def _parquet(work: Draft, file: Any, ids: list[str], shard: Any) -> None:
    """Columns id: string and vector: fixed_size_list<float or halffloat>[D]."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    width = shard.shape[1]
    kind = pa.list_(pa.from_numpy_dtype(shard.dtype), width)
    schema = pa.schema([("id", pa.string()), ("vector", kind)])
    sink = pa.PythonFile(file, mode="w")
    with pq.ParquetWriter(sink, schema, compression="none", use_dictionary=False) as writer:
        for begin in range(0, len(shard), ROW_GROUP):
            rows = shard[begin : begin + ROW_GROUP]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), width)
            names = pa.array(ids[begin : begin + ROW_GROUP], pa.string())
            writer.write_table(pa.Table.from_arrays([names, vectors], schema=schema))
            work.run.progress.advance(len(rows))


def _to_dpr(work: Draft, embeddings: Embeddings) -> None:
    _to_shards(work, embeddings, "passages_{}.pkl", _pickled)


def _pickled(work: Draft, file: Any, ids: list[str], shard: Any) -> None:
    """A pickle (protocol 3) of the list of (id, float32 vector) that DPR's indexers load.

    Written by hand, a part after the other. The names are those of numpy before 2, which later
    ones know too: notes 0 to 2 are numpy's maker of arrays, its array, and the kind of number.
    """
    import numpy as np

    width = shard.shape[1]
    file.write(
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nq\x000cnumpy\nndarray\nq\x010"
        b"cnumpy\ndtype\nX\x02\0\0\0f4K\0K\1\x87R(K\3X\1\0\0\0<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\0tbq\x020]"
    )
    empty = b"h\0h\1K\0\x85C\1b\x87R"
    state = b"(K\1J" + struct.pack("<i", width) + b"\x85h\2\x89B" + struct.pack("<I", 4 * width)
    names = iter(ids)
    for part in _parts(work, shard):
        file.write(b"(")
        for vector in np.ascontiguousarray(part, "<f4"):
            name = next(names).encode()
            head = b"X" + struct.pack("<I", len(name)) + name
            file.write(head + empty + state + vector.tobytes() + b"tb\x86")
        file.write(b"e")
    file.write(b".")


FORMS: dict[str, Callable[[Draft, Embeddings], None]] = {
    "npy": _to_npy,
    "parquet": _to_parquet,
    "pyserini": _to_pyserini,
    "dpr": _to_dpr,
}
