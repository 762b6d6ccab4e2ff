"""The model that --rerank names, put over an engine: which kind it is, and whether it fits.

retriever.yaml     a bi-encoder or a late-interaction retriever, by its vectors
reader.yaml        a reader, by the relevance that it gives, or by its answers
config.json        a cross-encoder
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.indexes.index_folder import IndexFolder
from dprkit.models.config import CONFIG, READER, is_retriever
from dprkit.models.reader_config import is_reader
from dprkit.progress import Note
from dprkit.settings import EvaluateSettings, SearchSettings
from dprkit.store.manifests import passage_sides

if TYPE_CHECKING:
    from dprkit.embeddings.shards import Embeddings
    from dprkit.indexes.indexed_passages import IndexedPassages
    from dprkit.models.reading import Reader
    from dprkit.search.engine import Engine
    from dprkit.search.rerank import PairModel, Reranker

HF_CONFIG = "config.json"
READ_TOGETHER = 8
"""Questions whose pairs with passages a model reads together: some 1,600, which takes half a minute
on two cores, and then there is something to show."""
Settings = SearchSettings | EvaluateSettings


def reranked(
    engine: Engine, settings: Settings, index: IndexFolder, passages: IndexedPassages, note: Note
) -> Engine:
    """`engine`, reranked as the settings say; as it is where they name no model.

    `index`: whose passages it finds. Raises InputError, DamagedError, and MismatchError for
    embeddings of another corpus or retriever.
    """
    if settings.rerank is None:
        return engine
    from dprkit.search.rerank import RerankedEngine

    if settings.rerank_by == "answers":
        return _by_answers(engine, settings, index, passages, note)
    reranker = open_scorer(
        settings.rerank, settings.rerank_embeddings, index, passages, note, settings.precision
    )
    return RerankedEngine(engine, reranker, settings.rerank_depth, settings.rerank_weight)


def batch_size(settings: Settings, batch: int) -> int:
    """Questions to search with together: `batch`, or fewer where a model reads each pair.

    A retriever encodes each passage once for a batch, so that a smaller one would cost it more.
    """
    reads_pairs = settings.rerank is not None and not is_retriever(settings.rerank)
    return min(batch, READ_TOGETHER) if reads_pairs else batch


def open_scorer(
    model: str,
    embeddings: str | None,
    index: IndexFolder,
    passages: IndexedPassages,
    note: Note,
    precision: str = "fp32",
) -> Reranker:
    """The model of a folder or hub name, which scores passages of the index by their rows.

    `embeddings`: the corpus as the model has encoded it. `precision`: fp32, bf16 or fp16, of the
    model's products. Raises what `reranked` raises.
    """
    from dprkit.interop.hub import local

    return _opened(local(model, note), embeddings, index, passages, precision)


def refuse_rerank_settings(settings: Settings) -> None:
    """Raises SettingsError where there is no model that they would be for."""
    default = SearchSettings().rerank_answers
    encodes = isinstance(settings, EvaluateSettings) and (
        settings.corpus or (settings.beir and not settings.index)
    )
    for flag, given in (
        ("--rerank-depth", settings.rerank_depth is not None),
        ("--rerank-weight", settings.rerank_weight != 1),
        ("--rerank-embeddings", settings.rerank_embeddings is not None),
        ("--rerank-by", settings.rerank_by != "relevance"),
        ("--rerank-answers", settings.rerank_answers != default),
        ("--precision", settings.precision != "fp32" and not encodes),
    ):
        if given and settings.rerank is None:
            raise SettingsError(f"{flag}: nothing is reranked; name a model with --rerank")
    if settings.rerank_by != "answers" and settings.rerank_answers != default:
        raise SettingsError("--rerank-answers: is for --rerank-by answers; give both, or leave it")
    if settings.rerank_by == "answers" and settings.rerank_weight != 1:
        raise SettingsError(
            "--rerank-weight: --rerank-by answers gives no scores to weigh; leave it out"
        )


def _opened(
    path: Path,
    embeddings: str | None,
    index: IndexFolder,
    passages: IndexedPassages,
    precision: str,
) -> Reranker:
    if is_retriever(path):
        return _retriever(path, embeddings, index, passages, precision)
    if path.is_file():
        raise InputError(
            f"{path}: is a file, not the folder of a model; read it with dprkit convert {path} "
            "--output-dir MODEL, and name MODEL"
        )
    kind = "reader" if is_reader(path) else "cross-encoder"
    if kind == "cross-encoder" and not (path / HF_CONFIG).is_file():
        raise InputError(
            f"{path}: holds neither {CONFIG} nor {READER} nor {HF_CONFIG}; name a retriever, a "
            "reader or a cross-encoder with --rerank"
        )
    if embeddings is not None:
        raise SettingsError(
            f"--rerank-embeddings: {path} is a {kind}, which reads the texts of passages; "
            "leave it out"
        )
    from dprkit.search.rerank import PairReranker

    return PairReranker(_of_pairs(path, kind, index, precision), passages)


def _of_pairs(path: Path, kind: str, index: IndexFolder, precision: str) -> PairModel:
    """A model that reads a question and a passage together."""
    if kind == "reader":
        return _reader(path, index, precision)
    from dprkit.models.cross_encoder import load_cross_encoder

    return load_cross_encoder(path, precision)


def _reader(path: Path, index: IndexFolder, precision: str) -> Reader:
    from dprkit.models.reading import load_reader

    index.check.artifact(path, "reader")
    return load_reader(path, precision)


def _by_answers(
    engine: Engine, settings: Settings, index: IndexFolder, passages: IndexedPassages, note: Note
) -> Engine:
    """`engine` with the passages first that hold an answer of a reader."""
    from dprkit.interop.hub import local
    from dprkit.search.rerank_by_answers import AnswersFirst

    path = local(str(settings.rerank), note)
    if not is_reader(path):
        raise InputError(
            f"{path}: is no reader, and only a reader has answers; name a reader with --rerank, or "
            "leave --rerank-by answers out"
        )
    if settings.rerank_embeddings is not None:
        raise SettingsError(
            f"--rerank-embeddings: {path} is a reader, which reads the texts of passages; "
            "leave it out"
        )
    reader = _reader(path, index, settings.precision)
    return AnswersFirst(engine, reader, passages, settings.rerank_depth, settings.rerank_answers)


def _retriever(
    path: Path,
    embeddings: str | None,
    index: IndexFolder,
    passages: IndexedPassages,
    precision: str,
) -> Reranker:
    import numpy as np

    from dprkit.embeddings.token_shards import TokenShards
    from dprkit.models.late_retriever import LateRetriever
    from dprkit.models.retriever import load_retriever
    from dprkit.models.token_vectors import TokenVectors
    from dprkit.search.rerank import DenseReranker, Kept, LateReranker

    index.check.artifact(path, "retriever")
    encoded = _encoded(embeddings, path, index) if embeddings is not None else None
    size = encoded.truncate_dim if encoded else None
    retriever = load_retriever(path, precision=precision, truncate_dim=size)
    if isinstance(retriever, LateRetriever):
        late = retriever
        if encoded:
            return LateReranker(late, TokenShards(encoded).take_float)
        tokens = Kept(lambda rows: late.passage_vectors(passages.at(rows)))
        return LateReranker(late, lambda rows: TokenVectors.of(tokens(rows)))
    dense = retriever
    if encoded:
        return DenseReranker(dense, encoded.take)
    vectors = Kept(lambda rows: dense.encode_passages(passages.at(rows)))
    return DenseReranker(dense, lambda rows: np.stack(vectors(rows)))


def _encoded(path: str, retriever: Path, index: IndexFolder) -> Embeddings:
    """Embeddings that are of the passages of the index, by the retriever."""
    from dprkit.embeddings.shards import Embeddings

    manifest = index.check.artifact(path, "embeddings")
    sides = passage_sides(index.check.manifest(retriever))
    made_by, read = manifest.inputs.get("retriever"), manifest.inputs["passages"]
    if made_by is None or made_by.identity not in sides:
        named = f"{made_by.path} ({made_by.identity[:23]})" if made_by else "no retriever"
        raise MismatchError(
            f"{path}: was made with {named}, but --rerank names {retriever} ({sides[0][:23]}); "
            "encode the corpus with that one, or leave --rerank-embeddings out"
        )
    if [read.identity] != [folder.inputs[name].identity for folder, name in index.corpora]:
        raise MismatchError(
            f"{path}: holds the passages of {read.path}, but {index.path} finds those of "
            f"{index.describe_passages()}; encode that corpus, or leave --rerank-embeddings out"
        )
    return Embeddings(path, manifest)
