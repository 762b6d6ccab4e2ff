"""The teacher that score-teacher names: which kind it is, and what it scores with.

reader.yaml         a reader, by what --reader-score says
retriever.yaml      a bi-encoder or a ColBERT model, by its vectors
config.json         a cross-encoder
--ranking           the scores of rankings
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.models.config import CONFIG, READER, is_retriever
from dprkit.models.reader_config import is_reader
from dprkit.progress import Note
from dprkit.records import Passage
from dprkit.search.teachers import (
    FoldTeachers,
    PairTeacher,
    RankingTeacher,
    SpanScores,
    Teacher,
    VectorTeacher,
)
from dprkit.settings import ScoreTeacherSettings
from dprkit.store.integrity import Verifier

if TYPE_CHECKING:
    from dprkit.embeddings.encoded_passages import EncodedPassages
    from dprkit.models.late_retriever import LateRetriever
    from dprkit.models.reading import Reader
    from dprkit.models.retriever import Retriever
    from dprkit.models.token_vectors import TokenVectors
    from dprkit.search.rerank import Reranker


def open_teacher(settings: ScoreTeacherSettings, note: Note) -> Teacher:
    """The teacher. Raises InputError, DamagedError, SettingsError, MismatchError."""
    if settings.ranking is not None:
        from dprkit.data.rankings_by_question import RankingsByQuestion

        rankings = RankingsByQuestion(settings.ranking, note)
        return RankingTeacher(rankings.scores, settings.missing == "lowest")
    from dprkit.interop.hub import local

    teachers = [_opened(local(path, note), settings, note) for path in settings.teacher]
    return FoldTeachers(teachers) if settings.folds else teachers[0]


def _opened(path: Path, settings: ScoreTeacherSettings, note: Note) -> Teacher:
    if settings.reader_score != "relevance" and not is_reader(path):
        raise SettingsError(f"--reader-score: {path} is no reader; leave it out")
    if is_retriever(path):
        Verifier(note).artifact(path, "retriever")
        return VectorTeacher(_by_vectors(path, settings.embeddings, note))
    if settings.embeddings is not None:
        raise SettingsError(
            f"--embeddings: {path} is no retriever, so it reads the texts of passages; leave it out"
        )
    if is_reader(path):
        Verifier(note).artifact(path, "reader")
        return PairTeacher(_reader(path, settings))
    if not (path / "config.json").is_file():
        raise InputError(
            f"{path}: holds neither {CONFIG}, {READER} nor config.json; name a retriever, a "
            "reader or a cross-encoder with --teacher"
        )
    from dprkit.models.cross_encoder import load_cross_encoder

    return PairTeacher(load_cross_encoder(path))


def _reader(path: Path, settings: ScoreTeacherSettings) -> Reader | SpanScores:
    from dprkit.models.reading import load_reader

    reader = load_reader(path)
    if settings.reader_score == "relevance":
        return reader
    both = settings.reader_score == "relevance+span"
    return SpanScores(reader, settings.max_answer_length, both)


# --- retrievers -----------------------------------------------------------------------------------


def _by_vectors(
    path: Path, embeddings: str | None, note: Note
) -> Callable[[Sequence[Passage]], Reranker]:
    """What scores some passages by their vectors, those of `embeddings` where it has them."""
    from dprkit.models.late_retriever import LateRetriever
    from dprkit.models.retriever import load_retriever

    encoded = _encoded(embeddings, path, note) if embeddings is not None else None
    retriever = load_retriever(path)
    if isinstance(retriever, LateRetriever):
        return _late(retriever, encoded)
    return _dense(retriever, encoded)


def _late(
    late: LateRetriever, encoded: EncodedPassages | None
) -> Callable[[Sequence[Passage]], Reranker]:
    from dprkit.models.token_vectors import TokenVectors
    from dprkit.search.rerank import LateReranker

    def vectors_of(passages: Sequence[Passage]) -> TokenVectors:
        if encoded is None:
            return late.passage_vectors(passages)
        rows = encoded.rows_of(passages)
        there, lacking = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        made = late.passage_vectors([passages[place] for place in lacking.tolist()])
        texts = [*encoded.tokens(rows[there]), *made]
        order = np.argsort(np.concatenate([there, lacking]))
        return TokenVectors.of([texts[place] for place in order.tolist()], late.dim)

    return lambda passages: LateReranker(
        late, lambda rows: vectors_of([passages[row] for row in rows.tolist()])
    )


def _dense(
    dense: Retriever, encoded: EncodedPassages | None
) -> Callable[[Sequence[Passage]], Reranker]:
    from dprkit.search.rerank import DenseReranker

    def vectors_of(passages: Sequence[Passage]) -> np.ndarray:
        if encoded is None:
            return dense.encode_passages(passages)
        rows = encoded.rows_of(passages)
        there, lacking = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        vectors = np.empty((len(rows), dense.dim), np.float32)
        vectors[there] = encoded.vectors(rows[there])
        vectors[lacking] = dense.encode_passages([passages[place] for place in lacking.tolist()])
        return vectors

    return lambda passages: DenseReranker(
        dense, lambda rows: vectors_of([passages[row] for row in rows.tolist()])
    )


def _encoded(path: str, retriever: Path, note: Note) -> EncodedPassages:
    from dprkit.embeddings.encoded_passages import EncodedPassages

    check = Verifier(note)
    manifest, own = check.artifact(path, "embeddings"), check.manifest(retriever).identity
    made_by = manifest.inputs.get("retriever")
    if made_by is None or made_by.identity != own:
        named = f"{made_by.path} ({made_by.identity[:23]})" if made_by else "no retriever"
        raise MismatchError(
            f"{path}: was made with {named}, but --teacher names {retriever} ({own[:23]}); "
            "encode the corpus with that one, or leave --embeddings out"
        )
    return EncodedPassages(path, manifest)
