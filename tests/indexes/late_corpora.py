"""Token vectors for tests of late indexes, and MaxSim by the plainest way there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dprkit.embeddings.encode import encode_corpus
from dprkit.embeddings.shards import Embeddings
from dprkit.embeddings.token_shards import PassageTokens, TokenShards, growing_token_shard
from dprkit.indexes.late_scores import LateQuestions
from dprkit.models.token_vectors import TokenVectors, quantized
from dprkit.progress import Run
from dprkit.settings import EncodeSettings
from dprkit.store.begin_or_resume import draft


def texts(count: int, dim: int = 16, seed: int = 0, longest: int = 12) -> TokenVectors:
    """The token vectors of `count` texts of 1 to `longest` tokens, of norm 1, around topics."""
    dice = np.random.default_rng(seed)
    topics = np.random.default_rng(7).standard_normal((40, dim))
    found = []
    for length in dice.integers(1, longest + 1, count):
        vectors = topics[dice.integers(40)] + dice.standard_normal((length, dim))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        found.append(vectors.astype(np.float32))
    return TokenVectors.of(found, dim)


def questions(count: int, dim: int = 16, seed: int = 1) -> LateQuestions:
    vectors = texts(count, dim, seed, 8)
    return LateQuestions([f"question {n}" for n in range(count)], vectors)


def write(
    folder: Path,
    tokens: TokenVectors,
    dtype: str = "float16",
    shard: int = 1000,
    pool_factor: int = 1,
) -> Path:
    """An embeddings artifact of these token vectors, in shards of so many passages.

    `pool_factor`: what its manifest says; the vectors are as they are given.
    """
    corpus = folder.parent / f"{folder.name}.tsv"
    lines = [f"p{row}\ttext {row} of {folder.name}\ttitle" for row in range(len(tokens))]
    corpus.write_text("\n".join(["id\ttext\ttitle", *lines]) + "\n")
    how = {"dtype": dtype, "pool_factor": pool_factor}
    with draft(folder, "embeddings", how, {"passages": str(corpus)}, Run()) as work:
        number = 0
        for number, begin in enumerate(range(0, len(tokens), shard)):
            part = tokens.span(begin, min(begin + shard, len(tokens)))
            kept = quantized(part) if dtype == "int8" else part
            rows = np.arange(begin, begin + len(part))
            with growing_token_shard(work, number, len(part), tokens.dim, dtype) as add:
                whole = PassageTokens(part.means(), kept, np.zeros(len(part), bool))
                add(whole, [f"p{row}" for row in rows], rows.astype(np.uint64))
        counts = {"passages": len(tokens), "dim": tokens.dim, "shards": number + 1}
        work.finish({**counts, "kind": "tokens", "tokens": len(tokens.values), "cut": 0})
    return folder


def encoded(retriever: Path, corpus: Path, folder: Path, dtype: str = "int8") -> Path:
    """What encode-corpus makes of a corpus with a ColBERT model."""
    encode_corpus(
        EncodeSettings(
            retriever=str(retriever), passages=str(corpus), output_dir=str(folder), dtype=dtype
        )
    )
    return folder


def opened(folder: Path) -> TokenShards:
    return TokenShards(Embeddings(folder))


def brute_force(asked: LateQuestions, shards: TokenShards) -> np.ndarray:
    """(Q, P) float64: every pair, of what is on the disk."""
    passages = shards.take_float(np.arange(shards.count))
    scores = np.empty((len(asked), shards.count))
    for q, question in enumerate(asked.vectors):
        for p, passage in enumerate(passages):
            products = question.astype(np.float64) @ passage.astype(np.float64).T
            scores[q, p] = products.max(axis=1).sum()
    return scores


def ranked(scores: np.ndarray, topk: int) -> np.ndarray:
    """(Q, K) rows by falling score, then by row."""
    rows = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.lexsort((rows, -scores), axis=-1)[:, :topk]
