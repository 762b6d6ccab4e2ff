"""Warnings about a teacher's scores before training: absent ones, and spreads that teach nothing.

Scores that lie far apart for their temperature make a softmax of one passage, and where both sides
have one, the divergence and its gradient are exactly 0. Scores that lie close together make one
that prefers no passage. Both look like training.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from dprkit.errors import SettingsError
from dprkit.training.batches import BatchTexts, make_batch
from dprkit.training.retriever_task import RetrieverTask

LOOKED_AT = 1000
"""Questions whose teacher's scores are looked at."""
ENCODED = 16
"""Questions that are encoded to see how far apart the model's scores are."""
ONE_HOT, FLAT = 0.999, 1.05
"""The softmax's largest share, and that times its passages, beyond which it is told."""


def tell_of_teacher(task: RetrieverTask) -> list[str]:
    """What to say of the teacher's scores of a task. Raises SettingsError where there are none."""
    if not task.settings.distill_weight:
        return []
    known = [row[np.isfinite(row)] for batch in _batches(task) for row in _rows(batch)]
    scored = [row for row in known if len(row) > 1]
    if not scored:
        raise SettingsError(
            f"--distill-weight: of the first {len(known)} questions none has a teacher_score for "
            "two of its passages; name training files that have the scores"
        )
    notes = []
    if missing := len(known) - len(scored):
        notes.append(
            f"{missing} of the first {len(known)} questions have teacher's scores for fewer than "
            "two of their passages: they learn nothing from it"
        )
    softmax = _softmax([row / task.settings.teacher for row in scored])
    notes += _about(softmax, "teacher's", "teacher-temperature", task.settings.teacher)
    temperature = task.settings.distill_temperature or task.objective.temperature
    softmax = _softmax([row / temperature for row in _own_scores(task) if len(row) > 1])
    return notes + _about(softmax, "model's", "distill-temperature", temperature, flat=False)


def _batches(task: RetrieverTask) -> Iterator[BatchTexts]:
    """The first batches of training, as far as they are looked at."""
    seen = step = 0
    while step < task.batches_per_epoch and seen < LOOKED_AT:
        rows = task.plan.rows(step)
        yield make_batch(task.examples, rows, 0, task.prepare.draw)
        seen, step = seen + len(rows), step + 1


def _rows(batch: BatchTexts) -> Iterator[np.ndarray]:
    """The teacher's scores of each question's own passages."""
    scores = batch.teacher_scores()
    for row, (begin, end) in enumerate(pairwise([*batch.positives, len(batch.passages)])):
        yield scores[row, begin:end]


@torch.inference_mode()
def _own_scores(task: RetrieverTask) -> list[np.ndarray]:
    """The untrained model's scores of some questions' own passages."""
    batch = next(_batches(task))
    task.model.eval()
    bounds = [*batch.positives, len(batch.passages)][: ENCODED + 1]
    questions = task.tokens.questions(batch.questions[: len(bounds) - 1])
    passages = task.tokens.passages(batch.passages[: bounds[-1]])
    rows = task.model.rows(0, questions), task.model.rows(1, passages)
    scores = task.objective.scoring.matrix(*rows).cpu().numpy()
    return [scores[row, begin:end] for row, (begin, end) in enumerate(pairwise(bounds))]


def _softmax(rows: list[np.ndarray]) -> list[np.ndarray]:
    shifted = [np.exp(row.astype(float) - row.max()) for row in rows]
    return [row / row.sum() for row in shifted]


def _about(
    softmax: list[np.ndarray], whose: str, flag: str, temperature: float, flat: bool = True
) -> list[str]:
    """Whether most questions' softmax has one passage, or none that it prefers."""
    largest = np.array([row.max() for row in softmax])
    if np.median(largest) > ONE_HOT:
        return [
            f"the {whose} scores are so far apart at the temperature {temperature:g} that one "
            f"passage has all of the softmax: the divergence teaches little or nothing; raise "
            f"--{flag}"
        ]
    if flat and np.median([row.max() * len(row) for row in softmax]) < FLAT:
        return [
            f"the {whose} scores are so close together at the temperature {temperature:g} that no "
            f"passage stands out: lower --{flag}"
        ]
    return []
