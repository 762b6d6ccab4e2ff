"""What evaluating an index will cost, by a few of the questions."""

from __future__ import annotations

import math
import time
from pathlib import Path

from msgspec.structs import replace

from dprkit.data.questions import read_questions, write_question
from dprkit.evaluation.evaluate import evaluate
from dprkit.memory import peak_bytes, reset_peak
from dprkit.pipeline.costs import Cost, Range, about, exactly
from dprkit.pipeline.trial import NotKnown, StandIn, Trial, bytes_below, clock
from dprkit.records import Question
from dprkit.settings import EvaluateSettings

WARM, FEW = 2, 48
"""Questions of the two searches: one to load what there is to load, one to measure."""
ALL_COMPARED = {"flat", "exact", "sq8", "sq16", "late-exact"}
"""Kinds of which a search takes as long as the corpus is large."""
TIMES = 3


def cost_of_evaluation(settings: EvaluateSettings, trial: Trial) -> Cost:
    """Loading, and a question as often as there are questions."""
    if settings.index is None or settings.questions is None:
        raise NotKnown("only the search of an index with a file of questions is tried")
    found, asked = trial.find(settings.index), trial.find(settings.questions)
    there = replace(settings, index=found.path)
    questions = list(read_questions(asked.path))
    count = asked.rows or exactly(len(questions))
    reset_peak()
    warm, _ = _evaluated(there, questions[:WARM], trial)
    few = questions[:: max(1, len(questions) // FEW)][:FEW]
    seconds, bytes_ = _evaluated(there, few, trial)
    each = max(0.0, seconds - warm) / max(1, len(few) - WARM) if len(few) > WARM else seconds
    more = _larger(there, found)
    return Cost(
        work=f"{count.likely:,.0f} questions",
        seconds=about(warm).plus(about(each).plus(more).times(count)),
        disk=Range(0.9, 1, 1.1).times(bytes_ / len(few)).times(count),
        memory=Range(0.9, 1, 1.3).times(peak_bytes()),
    )


def _evaluated(
    settings: EvaluateSettings, questions: list[Question], trial: Trial
) -> tuple[float, int]:
    """Seconds that the questions take, and bytes that are written of them."""
    path, folder = trial.folder("questions.jsonl"), trial.folder("results")
    with path.open("wb") as file:
        for question in questions:
            write_question(question, path, file)
    with clock() as seconds:
        evaluate(replace(settings, questions=str(path), output_dir=str(folder)))
    return seconds(), bytes_below(Path(folder))


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
