"""What is told of a teacher's scores before training: absent ones, and lists that teach nothing.

Scores that lie far apart for their temperature make a softmax of one passage, and where both sides
have one, the divergence and its gradient are exactly 0. Scores that lie close together make one
that prefers no passage. Both look like training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from dprkit.errors import SettingsError
from dprkit.training.retriever_task import RetrieverTask
from dprkit.training.teacher_lists import TeacherLists, first_batches

ENCODED = 16
"""Questions that are encoded to see how far apart the model's scores are."""
ONE_HOT, FLAT = 0.02, 0.99
"""Shares of the greatest entropy beyond which it is told."""


class Told(NamedTuple):
    """What there is to say of a teacher."""

    facts: list[str]
    warnings: list[str]


def tell_of_teacher(task: RetrieverTask) -> Told:
    """What to say of the teacher's scores of a task; nothing where there is no teacher.

    Raises SettingsError where a loss of margins has no positive with a score.
    """
    distilling, lists = task.settings.teacher, task.teacher_lists
    if distilling is None or lists is None:
        return Told([], [])
    temperature = task.objective.teacher_divisor
    warnings = _too_few(lists)
    if distilling.loss == "margin-mse":
        warnings += _without_margins(lists)
    if distilling.loss != "listwise":  # the order has no temperature
        warnings += _about_teacher(lists, temperature)
    own = distilling.temperature or task.objective.temperature
    return Told([_facts(lists, temperature)], warnings + _about_model(task, own))


def figures_of(task: RetrieverTask) -> dict[str, float]:
    """The figures of the teacher's lists, for the manifest; none where there is no teacher."""
    if task.teacher_lists is None:
        return {}
    return task.teacher_lists.figures(task.objective.teacher_divisor)


def _facts(lists: TeacherLists, temperature: float) -> str:
    """How sure the teacher is, and whether it agrees with the labels."""
    figures = lists.figures(temperature)
    gold = figures.get("first_is_positive")
    agrees = (
        "no positive has a score"
        if gold is None
        else f"its first is a positive in {gold:.1%} of {_counted(lists)}, another passage in "
        f"{1 - gold:.1%}"
    )
    return (
        f"the teacher's lists at the temperature {figures['temperature']:g}: "
        f"{figures['entropy_bits']:.2f} bits of entropy of at most {figures['most_bits']:.2f} "
        f"({figures['entropy_share']:.0%}); {agrees}"
    )


def _counted(lists: TeacherLists) -> str:
    """How many lists it is told of: those in which a positive has a score."""
    count, all_ = len(lists.with_gold), len(lists.scores)
    return f"{count} lists" if count == all_ else f"{count} lists with a scored positive"


def _too_few(lists: TeacherLists) -> list[str]:
    missing = lists.seen - len(lists.scores)
    if not missing:
        return []
    return [
        f"{missing} of the first {lists.seen} questions have teacher's scores for fewer than two "
        "of their passages: they learn nothing from it"
    ]


def _without_margins(lists: TeacherLists) -> list[str]:
    """Whether there are margins to learn: they are those to the positive's score."""
    count, all_ = lists.without_positive, len(lists.scores)
    if count == all_:
        raise SettingsError(
            f"--distill-loss margin-mse: none of {all_} lists has a positive with a teacher's "
            "score, from which margins are counted; score the positives, or give another loss"
        )
    if not count:
        return []
    return [
        f"in {count} of {all_} lists the positive has no teacher's score: margin-mse learns "
        "nothing from them"
    ]


def _about_teacher(lists: TeacherLists, temperature: float) -> list[str]:
    """Whether the lists have nearly no entropy, or nearly all there can be."""
    share = lists.share(temperature)
    if share < ONE_HOT:
        return [
            f"the teacher's scores are so far apart at the temperature {temperature:g} that one "
            "passage has all of the softmax: it tells hardly more than the labels do; raise "
            "--teacher-temperature, or let auto choose it"
        ]
    if share > FLAT:
        return [
            f"the teacher's scores are so close together at the temperature {temperature:g} that "
            "no passage stands out: lower --teacher-temperature, or let auto choose it"
        ]
    return []


def _about_model(task: RetrieverTask, temperature: float) -> list[str]:
    """Whether the untrained model's lists have nearly no entropy."""
    scores = _own_scores(task)
    lists = TeacherLists(scores, [], len(scores))
    if not scores or lists.share(temperature) >= ONE_HOT:
        return []
    return [
        f"the model's scores are so far apart at the temperature {temperature:g} that one passage "
        "has all of the softmax: it learns little or nothing from the teacher; raise "
        "--distill-temperature"
    ]


@torch.inference_mode()
def _own_scores(task: RetrieverTask) -> list[np.ndarray]:
    """The untrained model's scores of some questions' own passages, of two or more."""
    batch = next(first_batches(task.plan, task.prepare.draw))
    task.model.eval()
    own = [list(columns) for columns in batch.lists[:ENCODED]]
    needed = sorted({column for columns in own for column in columns})
    questions = task.tokens.questions(batch.questions[: len(own)])
    passages = task.tokens.passages([batch.passages[column] for column in needed])
    rows = task.model.rows(0, questions), task.model.rows(1, passages)
    scores = task.objective.scoring.matrix(*rows).cpu().double().numpy()
    places = [np.searchsorted(needed, columns) for columns in own]
    return [scores[row, where] for row, where in enumerate(places) if len(where) > 1]
