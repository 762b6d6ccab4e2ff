"""index: an encoded corpus (or, for bm25, a corpus) -> an index of any type."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.errors import DprkitError, InputError, MismatchError, need_extra
from dprkit.indexes.lineage import here_now, input_path
from dprkit.progress import Run
from dprkit.settings import IndexSettings, record_of, required, unused_of
from dprkit.store.artifacts import draft
from dprkit.store.drafts import Draft
from dprkit.store.locks import lock
from dprkit.store.manifests import Input, Manifest, is_artifact, read_manifest, write_manifest
from dprkit.store.stage_files import StageFiles

if TYPE_CHECKING:
    from dprkit.data.passage_file import PassageFile
    from dprkit.embeddings.shards import Embeddings

WORTH_A_COPY = 10_000
"""Passages from which on an index takes longer than the ONNX copy of a question encoder."""
GROUND = "ground.json"
FOR_RESUMING = ("trained.", "growing.", "part-")


class IndexReport(msgspec.Struct):
    """What was indexed."""

    type: str
    passages: int
    dim: int
    outputs: list[str]
    notes: list[str] = []


def index(settings: IndexSettings, run: Run = Run()) -> IndexReport:
    """Build the index artifact that `settings.type` names.

    Raises SettingsError for a type that nobody knows, and InputError where the corpus is too
    small for it.
    """
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    unused = unused_of(settings)
    with draft(directory, "index", settings, _inputs(settings), run, unused=unused) as work:
        manifest = _searched_as(work, settings) if work.done else _build(work, settings)
    counts = manifest.counts
    if not work.done and counts["passages"] >= WORTH_A_COPY and "retriever" in manifest.inputs:
        _keep_onnx_copy(manifest.inputs["retriever"].path, run)
    notes = [counts["reason"]] if counts.get("reason") else []
    notes += counts.get("notes", [])
    return IndexReport(
        counts["type"], counts["passages"], counts.get("dim", 0), [str(directory)], notes
    )


def _searched_as(work: Draft, settings: IndexSettings) -> Manifest:
    """The manifest of an index that is up to date, with the depths that are wanted now.

    How far a search looks changes no file of the index, so nothing is built for it.
    """
    from dprkit.indexes.faiss_types import depths, depths_of

    assert work.done
    before = work.done
    if not depths_of(before.counts):
        return before
    counts = {**before.counts, **depths(settings, before.counts["lists"])}
    if depths_of(counts) == depths_of(before.counts):
        return before
    manifest = msgspec.structs.replace(
        before, counts=counts, settings=record_of(settings, unused_of(settings))
    )
    with lock(work.directory):
        write_manifest(work.directory, manifest)
    told = ", ".join(f"{name} {value}" for name, value in depths_of(counts).items())
    work.run.progress.note(f"{work.directory}: searched with {told} from now on")
    return manifest


def files_of(settings: IndexSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for a type that nobody knows, MissingExtra."""
    directory = required(settings.output_dir, "--output-dir", "output")
    check_type(settings)
    if settings.type == "bm25" and settings.passages:
        return StageFiles({"passages": [settings.passages]}, directory)
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    return StageFiles({"embeddings": [embeddings]}, directory, kinds={"embeddings": "embeddings"})


def check_type(settings: IndexSettings) -> None:
    """Refuse a type, and what belongs to it, before any vector is there."""
    from dprkit.indexes import faiss_types

    if settings.type == "auto":
        faiss_types.size_of(settings.max_ram, "--max-ram")
    elif settings.type == "milvus":
        need_extra("milvus", "pymilvus", *([] if settings.uri else ["milvus_lite"]))
        from dprkit.indexes.milvus import check_uri

        check_uri(settings.uri)
    elif settings.type == "bm25":
        from dprkit.indexes.bm25_words import analyzer_for

        analyzer_for(settings.stemmer)
    elif settings.type not in ("exact", *faiss_types.NAMED):
        faiss_types.check_word(settings.type)


def _inputs(settings: IndexSettings) -> dict[str, str | Input]:
    """What the index is made from; what made the embeddings is named too, for the search."""
    if settings.type == "bm25" and settings.passages:
        return {"passages": settings.passages}
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    made_from = here_now(embeddings, read_manifest(embeddings, "embeddings").inputs)
    if settings.type == "bm25":
        return {"passages": str(input_path(embeddings, made_from["passages"], None, "--passages"))}
    return {"embeddings": embeddings, **made_from}


def _build(work: Draft, settings: IndexSettings) -> Manifest:
    if settings.type == "bm25":
        from dprkit.data.passage_file import PassageFile
        from dprkit.indexes import bm25

        path = settings.passages or work.record.inputs["passages"].path
        corpus = PassageFile(path, work.run.progress.note)
        counts = bm25.build(work, corpus.passages(), settings)
        return work.finish({"type": "bm25", **counts, "notes": _wordless(corpus, counts, work.run)})
    from dprkit.embeddings.shards import Embeddings

    embeddings = Embeddings(str(settings.embeddings))
    if not embeddings.count:
        raise InputError(f"{settings.embeddings}: holds no vector; there is nothing to index")
    match settings.type:
        case "exact":  # a search reads the embeddings that the manifest names
            from dprkit.indexes import exact_sketch

            tell_ground(work)
            exact_sketch.build(work, embeddings)
            counts = {"passages": embeddings.count, "dim": embeddings.dim}
        case "milvus":
            from dprkit.indexes import milvus

            counts = milvus.build(work, embeddings, settings)
        case _:
            from dprkit.indexes import faiss_index

            counts = faiss_index.build(work, embeddings, settings)
    _refuse_changed(work, embeddings)
    return work.finish({"type": settings.type, **counts}, drop=FOR_RESUMING)


def _wordless(corpus: PassageFile, counts: dict[str, Any], run: Run) -> list[str]:
    """What is to be told of passages in which bm25 counts no word."""
    if not counts["wordless"]:
        return []
    place = f"{corpus.path}:{corpus.where(counts['first_wordless'])}"
    passages = "1 passage" if counts["wordless"] == 1 else f"{counts['wordless']:,} passages"
    note = (
        f"{passages} without a word that BM25 can find (empty, stop words, single letters), "
        f"such as the one at {place}"
    )
    run.progress.warn(note)
    return [note]


def tell_ground(work: Draft) -> None:
    """Write down what an index stands on that copies nothing of it: its identity then tells."""
    ground = {name: known.identity for name, known in work.record.inputs.items()}
    with work.file(GROUND) as file:
        file.write(msgspec.json.encode(ground))


def _refuse_changed(work: Draft, embeddings: Embeddings) -> None:
    """Raises MismatchError where the embeddings were made anew while they were read."""
    wanted = work.record.inputs["embeddings"].identity
    if read_manifest(embeddings.directory, "embeddings").identity != wanted:
        raise MismatchError(
            f"{embeddings.directory}: was made anew while it was indexed; "
            "run the command again with --restart"
        )


def _keep_onnx_copy(retriever: str, run: Run) -> None:
    """Keep the ONNX copy of the question encoder with the retriever, where that can be made.

    It spares a search the import of torch and transformers.
    """
    if not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))) or not is_artifact(retriever):
        return
    from dprkit.models.onnx_copies import keep_copy

    try:
        keep_copy(retriever, "question", run=run)
    except (DprkitError, RuntimeError) as error:  # searches go by torch then
        run.progress.note(f"{retriever}: no ONNX copy of its question encoder: {error}")
