"""What evaluating an index will cost, by a few of the questions; first that of --corpus is made."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import reduce
from pathlib import Path

from msgspec.structs import replace

from dprkit.data.questions import read_questions, write_question
from dprkit.evaluation.beir import asked_by_folder
from dprkit.evaluation.evaluate import evaluate
from dprkit.evaluation.own_index import EMBEDDINGS, with_own_index
from dprkit.memory import peak_bytes, reset_peak
from dprkit.pipeline.cost_of_encoding import cost_of_encoding
from dprkit.pipeline.cost_of_index import cost_of_index
from dprkit.pipeline.costs import NOTHING, Cost, Range, about, exactly
from dprkit.pipeline.trial import NotKnown, StandIn, Trial, bytes_below, clock
from dprkit.records import Question
from dprkit.settings import EncodeSettings, EvaluateSettings, IndexSettings

WARM, FEW = 2, 48
"""Questions of the two searches: one to load what there is to load, one to measure."""
ALL_COMPARED = {"flat", "exact", "sq8", "sq16", "late-exact"}
"""Kinds of which a search takes as long as the corpus is large."""
TIMES = 3


def cost_of_evaluation(settings: EvaluateSettings, trial: Trial) -> Cost:
    """Loading, and a question as often as there are questions."""
    settings = with_own_index(asked_by_folder(settings))
    if settings.index is None or settings.questions is None:
        raise NotKnown("only the search of an index with a file of questions is tried")
    if settings.corpus is not None:
        return _of_corpus(settings, trial)
    found, asked = trial.find(settings.index), trial.find(settings.questions)
    there = replace(settings, index=found.path)
    questions = list(read_questions(asked.path))
    count = asked.rows or exactly(len(questions))
    reset_peak()
    warm, _ = _evaluated(there, questions[:WARM], trial)
    few = questions[:: max(1, len(questions) // FEW)][:FEW]
    seconds, made = _evaluated(there, few, trial)
    bytes_ = bytes_below(made)
    if settings.output_dir is not None:
        trial.expect(settings.output_dir, StandIn(str(made), count))
    each = max(0.0, seconds - warm) / max(1, len(few) - WARM) if len(few) > WARM else seconds
    more = _larger(there, found)
    return Cost(
        work=f"{count.likely:,.0f} questions",
        seconds=about(warm).plus(about(each).plus(more).times(count)),
        disk=Range(0.9, 1, 1.1).times(bytes_ / len(few)).times(count),
        memory=Range(0.9, 1, 1.3).times(peak_bytes()),
    )


def _of_corpus(settings: EvaluateSettings, trial: Trial) -> Cost:
    """Encoding and indexing a corpus of its own, and searching it."""
    embeddings = f"{settings.output_dir}/{EMBEDDINGS}"
    encoding = EncodeSettings(
        retriever=settings.retriever, passages=settings.corpus, output_dir=embeddings
    )
    indexing = IndexSettings(embeddings=embeddings, output_dir=settings.index)
    there = replace(settings, corpus=None, retriever=None, truncate_dim=())
    of_a_size = [cost_of_index(indexing, trial), cost_of_evaluation(there, trial)]
    costs = [cost_of_encoding(encoding, trial), *of_a_size * (len(settings.truncate_dim) or 1)]
    return Cost(
        work=", ".join(cost.work for cost in costs),
        seconds=_sum(cost.seconds for cost in costs),
        disk=_sum(cost.disk for cost in costs),
        scratch=_sum(cost.scratch for cost in costs),
        memory=max((cost.memory or NOTHING for cost in costs), key=lambda one: one.likely),
    )


def _sum(amounts: Iterable[Range | None]) -> Range:
    return reduce(Range.plus, (amount or NOTHING for amount in amounts))


def _evaluated(
    settings: EvaluateSettings, questions: list[Question], trial: Trial
) -> tuple[float, Path]:
    """Seconds that the questions take, and what is written of them."""
    path, folder = trial.folder("questions.jsonl"), trial.folder("results")
    with path.open("wb") as file:
        for question in questions:
            write_question(question, path, file)
    with clock() as seconds:
        evaluate(replace(settings, questions=str(path), output_dir=str(folder)))
    return seconds(), folder


def _larger(settings: EvaluateSettings, found: StandIn) -> Range:
    """Seconds that a question takes more in the real index than in its stand-in."""
    from dprkit.indexes.index_folder import IndexFolder

    index = IndexFolder(found.path)
    passages = int(index.counts["passages"])
    if found.rows is None or found.rows.likely <= passages or index.reads != "vectors":
        return exactly(0)
    seconds, size = _search_seconds(index, max(settings.topk)), found.rows.likely
    if index.type in ALL_COMPARED:
        return about(seconds * (size / passages - 1))
    return Range(0, 1, 4).times(seconds * (math.log(size) / math.log(passages) - 1))


def _search_seconds(index: object, topk: int) -> float:
    """Seconds that a search takes a question, of random questions that are searched together."""
    import numpy as np

    from dprkit.indexes.index_folder import IndexFolder

    assert isinstance(index, IndexFolder)
    engine = index.open_dense()
    vectors = np.random.default_rng(0).standard_normal((FEW, engine.dim), np.float32)
    engine.search(vectors, topk)
    begin = time.perf_counter()
    for _ in range(TIMES):
        engine.search(vectors, topk)
    return (time.perf_counter() - begin) / TIMES / FEW
