"""BM25 beside bm25s: building and searching the same passages.

    python benchmarks/bm25.py PASSAGES QUESTIONS [--topk 100] [--rounds 5]

Both search with one thread and tokenise the questions too; they take turns, and the median of the
processor seconds counts, so that a busy machine does no harm. Says whether the scores agree.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import bm25s
import numpy as np
import Stemmer

from dprkit.data.passages import read_passages
from dprkit.data.questions import read_questions
from dprkit.indexes.bm25 import Bm25Index, write_index
from dprkit.indexes.index_folder import IndexFolder
from dprkit.progress import Run
from dprkit.settings import IndexSettings
from dprkit.store.begin_or_resume import draft

STEMMER = Stemmer.Stemmer("english")


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    began = process_time()
    result = call(*arguments)
    return process_time() - began, result


def tokens(texts: list[str]) -> list[list[str]]:
    return bm25s.tokenize(
        texts, stopwords="en", stemmer=STEMMER, return_ids=False, show_progress=False
    )


def build_theirs(path: str) -> bm25s.BM25:
    index = bm25s.BM25(k1=0.9, b=0.4)
    texts = [f"{passage.title} {passage.text}" for passage in read_passages(path)]
    index.index(tokens(texts), show_progress=False)
    return index


def build_ours(path: str, folder: Path) -> None:
    settings = IndexSettings()
    with draft(folder, "index", settings, {}, Run()) as work:
        work.finish({"type": "bm25", **write_index(work, read_passages(path), settings)})


def search_theirs(index: bm25s.BM25, asked: list[str], topk: int) -> np.ndarray:
    scores: np.ndarray = index.retrieve(tokens(asked), k=topk, show_progress=False).scores
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("passages")
    parser.add_argument("questions")
    parser.add_argument("--topk", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    asked = [question.question for question in read_questions(args.questions)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "index"
        ours, _ = timed(build_ours, args.passages, folder)
        theirs, library = timed(build_theirs, args.passages)
        print(f"build: {ours:.1f} s; bm25s {theirs:.1f} s")
        seconds: dict[str, list[float]] = {"dprkit": [], "bm25s": []}
        for _ in range(args.rounds):
            index = Bm25Index(
                IndexFolder(folder), threads=1
            )  # with none of the questions' words known
            spent, found = timed(index.search, asked, args.topk)
            seconds["dprkit"].append(spent)
            spent, scores = timed(search_theirs, library, asked, found.rows.shape[1])
            seconds["bm25s"].append(spent)
    for name, spent in seconds.items():
        print(f"{name}: {len(asked) / median(spent):,.0f} questions a second")
    same = np.allclose(np.where(found.rows < 0, 0, found.scores), scores, atol=1e-4)
    print(f"scores agree: {same}")


if __name__ == "__main__":
    main()
