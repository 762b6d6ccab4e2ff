"""index: an encoded corpus (or, for bm25, a corpus) -> an index of any kind."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dprkit.errors import DprkitError, InputError, MismatchError
from dprkit.indexes.find_inputs import input_path, moved_inputs
from dprkit.indexes.kinds import DEFAULTS, first_kinds, kind_of, unused_settings
from dprkit.progress import Run
from dprkit.settings import IndexSettings, record_of, required
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier
from dprkit.store.locks import lock
from dprkit.store.manifests import Input, Manifest, is_artifact, read_manifest, write_manifest
from dprkit.store.stage_files import StageFiles

if TYPE_CHECKING:
    from dprkit.data.corpus_by_row import PassageFile
    from dprkit.embeddings.shards import Embeddings
    from dprkit.indexes import (
        binary,
        binary_settings,
        bm25,
        exact,
        faiss_index,
        faiss_types,
        late,
        late_exact,
        late_settings,
        milvus,
    )
    from dprkit.indexes.kinds import DepthsModule, KindModule, SettingsModule

    # mypy compares the modules with what the table of kinds promises of them.
    _MODULES: tuple[KindModule, ...] = (
        binary,
        bm25,
        exact,
        faiss_index,
        late,
        late_exact,
        milvus,
    )
    _SETTINGS: tuple[SettingsModule, ...] = (bm25, faiss_types, milvus)
    _DEPTHS: tuple[DepthsModule, ...] = (binary_settings, faiss_types, late_settings)

DEPTHS = {"nprobe", "ef_search", "candidates"}
"""Settings of how far a search looks, which some types of index have."""
WORTH_A_COPY = 10_000
"""Passages from which on indexing takes longer than an ONNX copy of the question encoder."""


class IndexReport(msgspec.Struct):
    """What was indexed."""

    type: str
    passages: int
    dim: int
    outputs: list[str]
    notes: list[str] = []


def index(settings: IndexSettings, run: Run = Run()) -> IndexReport:
    """Build the index artifact of the kind that `settings.type` names.

    Raises SettingsError for a type that nobody knows, and InputError where the corpus is too
    small for it.
    """
    directory = Path(required(settings.output_dir, "--output-dir", "output"))
    settings = _with_type(settings)
    unused = _unused(settings)
    with draft(directory, "index", settings, _inputs(settings), run, unused=unused) as work:
        manifest = _with_new_depths(work, settings) if work.done else _build(work, settings)
    counts = manifest.counts
    _tell_idle(settings, counts, run)
    worth = kind_of(settings.type).reads == "vectors" and counts["passages"] >= WORTH_A_COPY
    if not work.done and worth and "retriever" in manifest.inputs:
        _keep_onnx_copy(manifest.inputs["retriever"].path, run)
    notes = [counts["reason"]] if counts.get("reason") else []
    notes += counts.get("notes", [])
    return IndexReport(
        counts["type"], counts["passages"], counts.get("dim", 0), [str(directory)], notes
    )


def _tell_idle(settings: IndexSettings, counts: dict[str, Any], run: Run) -> None:
    """Say which settings were given that change nothing in an index of this type."""
    depths = kind_of(settings.type).depths_of(counts)
    idle = (_unused(settings) | DEPTHS) - depths.keys()
    idle -= {"target_recall"} if depths else set()  # it chooses them
    given = [
        f"--{name.replace('_', '-')}"
        for name in settings.__struct_fields__
        if name in idle and getattr(settings, name) != getattr(IndexSettings(), name)
    ]
    if given:
        told = ", ".join(given)
        run.progress.note(f"{told}: without effect on an index of type {counts['type']}")


def _with_new_depths(work: Draft, settings: IndexSettings) -> Manifest:
    """The manifest of an index that is up to date, with the depths that are wanted now.

    How far a search looks changes no file of the index, so nothing is built for it.
    """
    assert work.done
    before, kind = work.done, kind_of(settings.type)
    depths = kind.depths_of(before.counts)
    if not depths:
        return before
    counts = {**before.counts, **kind.load_rules().depths_for(settings, before.counts)}
    if kind.depths_of(counts) == depths:
        return before
    record = record_of(settings, _unused(settings))
    manifest = msgspec.structs.replace(before, counts=counts, settings=record)
    with lock(work.directory):
        write_manifest(work.directory, manifest)
    told = ", ".join(f"{name} {value}" for name, value in kind.depths_of(counts).items())
    work.run.progress.note(f"{work.directory}: searched with {told} from now on")
    return manifest


def files_of(settings: IndexSettings) -> StageFiles:
    """What is read and written. Raises SettingsError for a type that nobody knows, MissingExtra."""
    directory = required(settings.output_dir, "--output-dir", "output")
    _check(settings)
    if path := _given_corpus(settings):
        return StageFiles({"passages": [path]}, directory)
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    return StageFiles({"embeddings": [embeddings]}, directory, kinds={"embeddings": "embeddings"})


def _with_type(settings: IndexSettings) -> IndexSettings:
    """The settings with the type that they leave to what the embeddings hold."""
    if settings.type:
        return settings
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    holds = read_manifest(embeddings, "embeddings").counts.get("kind", "vectors")
    return msgspec.structs.replace(settings, type=DEFAULTS[holds])


def _unused(settings: IndexSettings) -> set[str]:
    return unused_settings(settings.type, *first_kinds(settings))


def _check(settings: IndexSettings) -> None:
    kind = kind_of(settings.type)
    if kind.checked:
        kind.load_rules().check_settings(settings)


def _given_corpus(settings: IndexSettings) -> str | None:
    """The corpus that the user names for a kind that reads passages."""
    return settings.passages if kind_of(settings.type).reads == "passages" else None


def _inputs(settings: IndexSettings) -> dict[str, str | Input]:
    """What the index is made from; what made the embeddings is named too, for the search."""
    if path := _given_corpus(settings):
        return {"passages": path}
    embeddings = required(settings.embeddings, "--embeddings", "encoded corpus")
    manifest = read_manifest(embeddings, "embeddings")
    _refuse_misfit(settings, manifest)
    made_from = moved_inputs(embeddings, manifest.inputs)
    if kind_of(settings.type).reads == "passages":
        corpus = input_path(embeddings, "passages", made_from["passages"], Verifier())
        return {"passages": str(corpus)}
    return {"embeddings": embeddings, **made_from}


def _refuse_misfit(settings: IndexSettings, manifest: Manifest) -> None:
    """Raises MismatchError for embeddings that do not hold what the type compares."""
    holds, reads = manifest.counts.get("kind", "vectors"), kind_of(settings.type).reads
    if reads == "passages" or reads == holds:
        return
    if holds == "tokens":
        raise MismatchError(
            f"--type {settings.type}: {settings.embeddings} holds token vectors of a ColBERT "
            "retriever, several a passage; give --type late or late-exact"
        )
    raise MismatchError(
        f"--type {settings.type}: {settings.embeddings} holds one vector a passage and no token "
        "vectors; give another --type, or encode the corpus with a ColBERT retriever"
    )


def _build(work: Draft, settings: IndexSettings) -> Manifest:
    _check(settings)
    kind, source = kind_of(settings.type), _source(work, settings)
    counts = kind.load().build(work, source, settings)
    if kind.reads != "passages":
        _refuse_changed(work)
    size = getattr(source, "truncate_dim", None)
    cut = {"truncate_dim": size} if size and kind.reads == "vectors" else {}
    return work.finish({"type": settings.type, **counts, **cut}, drop=kind.leftovers)


def _source(work: Draft, settings: IndexSettings) -> Embeddings | PassageFile:
    """What the index is built of."""
    if kind_of(settings.type).reads == "passages":
        from dprkit.data.corpus_by_row import PassageFile

        path = settings.passages or work.record.inputs["passages"].path
        return PassageFile(path, work.run.progress.note)
    from dprkit.embeddings.shards import Embeddings

    embeddings = Embeddings(str(settings.embeddings))
    if not embeddings.count:
        raise InputError(f"{settings.embeddings}: holds no vector; there is nothing to index")
    return embeddings


def _refuse_changed(work: Draft) -> None:
    """Raises MismatchError where the embeddings were made again while they were read."""
    wanted = work.record.inputs["embeddings"]
    if read_manifest(wanted.path, "embeddings").identity != wanted.identity:
        raise MismatchError(
            f"{wanted.path}: was made again while it was indexed; "
            "run the command again with --restart"
        )


def _keep_onnx_copy(retriever: str, run: Run) -> None:
    """Keep an ONNX copy of the question encoder with the retriever, where one can be made.

    It spares a search the import of torch and transformers.
    """
    if not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))) or not is_artifact(retriever):
        return
    from dprkit.models.onnx_copies import keep_copy

    try:
        keep_copy(retriever, "question", run=run)
    except (DprkitError, RuntimeError) as error:  # searches go by torch then
        run.progress.note(f"{retriever}: no ONNX copy of its question encoder: {error}")
