"""import-embeddings: vectors that another system made -> an embeddings artifact."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dprkit.errors import FormatError, InputError, MismatchError, SettingsError
from dprkit.models.config import bi_encoder_config
from dprkit.progress import Run
from dprkit.settings import ImportEmbeddingsSettings, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.manifests import Manifest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from dprkit.embeddings.foreign_files import ForeignBlock
    from dprkit.embeddings.foreign_rows import CorpusRows, FilledShards


class ImportReport(msgspec.Struct):
    """What was taken over."""

    passages: int
    dim: int
    shards: int
    files: int
    kinds: list[str]
    cosine: float | None
    """The smallest cosine of a sampled vector and the retriever's own; None: not looked."""
    outputs: list[str]
    notes: list[str] = []


def import_embeddings(settings: ImportEmbeddingsSettings, run: Run = Run()) -> ImportReport:
    """Make an embeddings artifact of the vectors in `settings.sources`.

    Vectors come in any order and are put at the rows of their passages. A run that was killed
    begins anew. Memory is 17 bytes a passage and a block of vectors. Raises FormatError with file
    and row for a source that is damaged or does not fit the corpus, and MismatchError for vectors
    that the retriever does not give.
    """
    from dprkit.embeddings.foreign_files import source_files

    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    retriever = required(settings.retriever, "--retriever", "retriever")
    passages = required(settings.passages, "--passages", "corpus")
    if passages == "-":
        raise SettingsError("--passages: a corpus is read again at search; it cannot be stdin")
    if not settings.sources:
        raise SettingsError("no sources given; name the files of vectors")
    read_manifest(retriever, "retriever")
    bi_encoder_config(retriever, "import-embeddings")
    files = source_files(settings.sources)
    if settings.ids and len(settings.ids) != len(files):
        raise SettingsError(
            f"--ids: {len(settings.ids)} files of ids for {len(files)} sources; give one each"
        )
    inputs = {"retriever": retriever, "passages": passages}
    inputs |= {f"source {i}": str(path) for i, path in enumerate(files)}
    inputs |= {f"ids {i}": path for i, path in enumerate(settings.ids)}
    with draft(directory, "embeddings", settings, inputs, run) as work:
        manifest = work.done or _import(work, settings, files)
    counts = {name: manifest.counts[name] for name in ImportReport.__struct_fields__[:6]}
    return ImportReport(**counts, outputs=[str(directory)])


def _import(work: Draft, settings: ImportEmbeddingsSettings, files: list[Path]) -> Manifest:
    from dprkit.data.corpus_by_row import PassageFile
    from dprkit.embeddings.foreign_check import VectorSample
    from dprkit.embeddings.foreign_rows import CorpusRows, FilledShards, refuse_missing, write_ids
    from dprkit.embeddings.quantized import scale_of
    from dprkit.models.nested_sizes import width_of

    path = str(settings.passages)
    total = len(PassageFile(path, work.run.progress.note))
    begun = _begun(settings, files)
    sample = VectorSample(begun)
    rows = CorpusRows(path, sample.see)
    cosine = sample.check(str(settings.retriever)) if settings.check else None
    dim = begun[0][1].vectors.shape[1]
    if (width := width_of(str(settings.retriever))) not in (None, dim):
        raise MismatchError(
            f"{files[0]}: vectors of {dim} dimensions, but {settings.retriever} gives {width}; "
            "name the retriever that made the vectors"
        )
    progress = work.run.progress
    with closing(FilledShards(work, total, dim, settings.shard_size, settings.dtype)) as placed:
        write_ids(work, path, settings.shard_size)
        progress.start("placing", total, "vectors")
        kinds = _place(work, settings, files, placed, rows)
        progress.finish()
        refuse_missing(placed, path)
        progress.start("reading back for checksums", total, "vectors")
        placed.finish()
        progress.finish()
    counts = {"passages": total, "dim": dim, "shards": placed.shards, **scale_of(settings.dtype)}
    return work.finish(counts | {"files": len(files), "kinds": kinds, "cosine": cosine})


def _blocks(
    settings: ImportEmbeddingsSettings, files: list[Path], number: int
) -> Iterator[ForeignBlock]:
    """The blocks of source `number`, of the kind that was asked for."""
    from dprkit.embeddings.foreign_files import blocks, natural

    ids = sorted(map(Path, settings.ids), key=natural)[number] if settings.ids else None
    return blocks(files[number], ids, settings.in_order, settings.kind)


def _begun(
    settings: ImportEmbeddingsSettings, files: list[Path]
) -> list[tuple[Path, ForeignBlock]]:
    """Some of the files with their first blocks: only the first file where rows have no ids."""
    import numpy as np

    from dprkit.embeddings.foreign_check import SIZE

    chosen = sorted({*np.linspace(0, len(files) - 1, SIZE).astype(int).tolist()})
    begun: list[tuple[Path, ForeignBlock]] = []
    for number in chosen:
        if block := next(_blocks(settings, files, number), None):
            begun.append((files[number], block))
            if block.ids is None:
                break
    if not begun:
        raise InputError(f"{files[0]}: holds no vector; name files of vectors")
    return begun


def _place(
    work: Draft,
    settings: ImportEmbeddingsSettings,
    files: list[Path],
    placed: FilledShards,
    rows: CorpusRows,
) -> list[str]:
    """Put every vector of every file at its row; the kinds of files that there were."""
    kinds: set[str] = set()
    nameless = 0  # rows without ids so far
    for number, path in enumerate(files):
        for block in _blocks(settings, files, number):
            vectors = _fitting(path, block, placed)
            at = _rows_of(path, block, rows, nameless, placed.passages)
            _refuse_doubled(path, block, at, placed.there)
            placed.put(at, vectors)
            kinds.add(block.kind)
            nameless += len(at) if block.ids is None else 0
            work.run.progress.advance(len(at))
    return sorted(kinds)


def _rows_of(
    path: Path, block: ForeignBlock, rows: CorpusRows, begin: int, total: int
) -> np.ndarray:
    """The corpus's rows (N,) of a block: by its ids, or from row `begin` on."""
    import numpy as np

    if block.ids is None:
        if begin + len(block.vectors) > total:
            row = block.first + total - begin
            problem = f"more vectors than the corpus's {total} passages; is it another one?"
            raise FormatError(path, f"row {row}", problem)
        return np.arange(begin, begin + len(block.vectors))
    at = rows.of(block.ids)
    if (at < 0).any():
        i = int((at < 0).argmax())
        problem = f"the id {block.ids[i]!r} is not in the corpus; is it another one?"
        raise FormatError(path, f"row {block.first + i}", problem)
    return at


def _refuse_doubled(path: Path, block: ForeignBlock, rows: np.ndarray, there: np.ndarray) -> None:
    import numpy as np

    again = there[rows]
    repeated = np.ones(len(rows), bool)
    repeated[np.unique(rows, return_index=True)[1]] = False
    if (again | repeated).any():
        i = int((again | repeated).argmax())
        what = f"the id {block.ids[i]!r}" if block.ids else f"passage {rows[i] + 1}"
        raise FormatError(path, f"row {block.first + i}", f"{what} has a vector already")


def _fitting(path: Path, block: ForeignBlock, placed: FilledShards) -> np.ndarray:
    """The vectors (N, D) of a block, as wide as the others, float32 or as the file has them."""
    import numpy as np

    from dprkit.embeddings.quantized import largest

    vectors = block.vectors
    if vectors.shape[1] != placed.dim:
        problem = (
            f"{vectors.shape[1]} dimensions where other files have {placed.dim}; "
            "name the files of one model"
        )
        raise FormatError(path, f"row {block.first}", problem)
    too_large = np.abs(vectors).max(axis=1, initial=0) > largest(placed.dtype)
    if too_large.any():
        row = block.first + int(too_large.argmax())
        raise FormatError(path, f"row {row}", f"has a number too large for {placed.dtype}")
    return vectors
