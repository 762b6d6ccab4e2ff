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
from dprkit.records import Passage
from dprkit.settings import ScoreTeacherSettings
from dprkit.store.drafts import Draft
from dprkit.store.integrity import Verifier
from dprkit.teaching.teachers import (
    FoldTeachers,
    PairTeacher,
    RankingTeacher,
    SpanScores,
    Teacher,
    VectorTeacher,
)

if TYPE_CHECKING:
    from dprkit.embeddings.encoded_passages import EncodedPassages
    from dprkit.models.reading import Reader
    from dprkit.models.token_vectors import TokenVectors
    from dprkit.search.rerank import Reranker


def open_teacher(settings: ScoreTeacherSettings, work: Draft) -> Teacher:
    """The teacher, which keeps what it made of passages in the draft `work`.

    Raises InputError, DamagedError, SettingsError, MismatchError.
    """
    note = work.run.progress.note
    if settings.ranking is not None:
        from dprkit.data.rankings_by_question import RankingsByQuestion

        rankings = RankingsByQuestion(settings.ranking, note)
        return RankingTeacher(rankings, settings.missing == "lowest")
    from dprkit.interop.hub import local

    teachers = [
        _opened(local(path, note), settings, work, f"teacher-{number}")
        for number, path in enumerate(settings.teacher, start=1)
    ]
    return FoldTeachers(teachers) if settings.folds else teachers[0]


def _opened(path: Path, settings: ScoreTeacherSettings, work: Draft, name: str) -> Teacher:
    note = work.run.progress.note
    if settings.reader_score != "relevance" and not is_reader(path):
        raise SettingsError(f"--reader-score: {path} is no reader; leave it out")
    if is_retriever(path):
        Verifier(note).artifact(path, "retriever")
        return VectorTeacher(_by_vectors(path, settings, work, name))
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

    return PairTeacher(load_cross_encoder(path, settings.precision))


def _reader(path: Path, settings: ScoreTeacherSettings) -> Reader | SpanScores:
    from dprkit.models.reading import load_reader

    reader = load_reader(path, settings.precision)
    if settings.reader_score == "relevance":
        return reader
    both = settings.reader_score == "relevance+span"
    return SpanScores(reader, settings.max_answer_length, both)


# --- retrievers -----------------------------------------------------------------------------------


def _by_vectors(
    path: Path, settings: ScoreTeacherSettings, work: Draft, name: str
) -> Callable[[Sequence[Passage]], Reranker]:
    """What scores some passages by their vectors: kept ones, or those of the embeddings."""
    from dprkit.models.late_retriever import LateRetriever
    from dprkit.models.retriever import load_retriever
    from dprkit.models.token_vectors import TokenVectors
    from dprkit.search.rerank import DenseReranker, LateReranker
    from dprkit.teaching.kept_vectors import KeptVectors

    encoded = _encoded(settings.embeddings, path, work) if settings.embeddings else None
    retriever = load_retriever(
        path,
        precision=settings.precision,
        truncate_dim=encoded.embeddings.truncate_dim if encoded else None,
    )

    def make(passages: Sequence[Passage]) -> TokenVectors:
        if isinstance(retriever, LateRetriever):
            return retriever.passage_vectors(passages)
        return TokenVectors.of_counts(
            retriever.encode_passages(passages), np.ones(len(passages), np.int64)
        )

    kept = KeptVectors(work, name, make, retriever.dim)

    def reranker(passages: Sequence[Passage]) -> Reranker:
        def vectors_of(rows: np.ndarray) -> TokenVectors:
            some = [passages[row] for row in rows.tolist()]
            return encoded.completed(some, kept) if encoded else kept(some)

        if isinstance(retriever, LateRetriever):
            return LateReranker(retriever, vectors_of)
        return DenseReranker(retriever, lambda rows: vectors_of(rows).values)

    return reranker


def _encoded(path: str, retriever: Path, work: Draft) -> EncodedPassages:
    from dprkit.embeddings.encoded_passages import EncodedPassages

    check = Verifier(work.run.progress.note)
    manifest, own = check.artifact(path, "embeddings"), check.manifest(retriever).identity
    made_by = manifest.inputs.get("retriever")
    if made_by is None or made_by.identity != own:
        named = f"{made_by.path} ({made_by.identity[:23]})" if made_by else "no retriever"
        raise MismatchError(
            f"{path}: was made with {named}, but --teacher names {retriever} ({own[:23]}); "
            "encode the corpus with that one, or leave --embeddings out"
        )
    return EncodedPassages(path, manifest)
