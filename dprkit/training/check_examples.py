"""Warnings about training examples before training: questions without negatives, for example."""

from __future__ import annotations

import numpy as np

from dprkit.progress import Progress
from dprkit.training.batches import BatchPlan, Draw, make_batch
from dprkit.training.check_teacher import tell_of_teacher
from dprkit.training.false_negatives import without_negatives
from dprkit.training.retriever_task import RetrieverTask

LOOKED_AT = 1000
"""Questions that are looked at for whether they have negatives."""


def tell_about(task: RetrieverTask, progress: Progress) -> list[str]:
    """Say what is odd about the examples of a task; returns what is worth keeping of it."""
    plan, valid, settings = task.plan, task.valid, task.settings
    examples = plan.mixture
    rows = sum(map(len, examples.files))
    for file in (*examples.files, *(valid.files if valid else ())):
        if file.dropped:
            places = ", ".join(file.dropped_where) + (", ..." if file.dropped > 5 else "")
            progress.warn(
                f"{file.path}: {file.dropped} rows without a positive are left out ({places})"
            )
    notes = []
    if settings.left_out:
        left_out = sum(file.left_out for file in examples.files)
        of_all = f"{left_out} of {left_out + rows} examples"
        notes.append(f"fold {settings.left_out} is left out: {of_all} are not trained on")
        progress.note(notes[0])
    if rows < plan.batch_size:
        progress.warn(
            f"fewer rows than a batch has ({rows} of {plan.batch_size}): each batch is smaller"
        )
    facts, warnings = tell_of_teacher(task)
    notes += facts
    for line in facts:
        progress.note(line)
    warnings = _without_negatives(task) + warnings
    for line in warnings:
        progress.warn(line)
    if plan.batches_per_epoch > -(-len(examples) // plan.batch_size):
        progress.note(
            f"one passage is the positive of many rows: an epoch has {plan.batches_per_epoch} "
            f"batches of at most {-(-len(examples) // plan.batches_per_epoch)} questions"
        )
    if valid:
        progress.note(f"training on {rows} examples, validating on {len(valid)}")
        trained = np.concatenate([file.questions for file in examples.files])  # keys of each
        if shared := len(np.intersect1d(trained, valid.files[0].questions)):
            progress.warn(f"validation questions that are training questions too: {shared}")
    else:
        why = "--valid-every never" if settings.valid_file else "no --valid-file"
        progress.note(f"training on {rows} examples without validation ({why})")
    return notes + warnings


def _without_negatives(task: RetrieverTask) -> list[str]:
    """What to say of questions that have nothing to be told apart from."""
    draw, by_answers = task.prepare.draw, task.settings.mask_answers
    sets = [(task.plan, draw, "questions", "raise --batch-size or give negatives")]
    if task.valid:
        in_order = BatchPlan(task.valid, task.plan.batch_size, None), draw._replace(seed=None)
        sets.append((*in_order, "validation questions", "loss and accuracy count them as right"))
    notes = []
    for plan, drawn, what, advice in sets:
        lonely, seen = lonely_questions(plan, drawn, by_answers)
        of = seen if seen >= len(plan.mixture) else f"the first {seen}"
        if lonely:
            notes.append(f"{lonely} of {of} {what} have no negative: {advice}")
    return notes


def lonely_questions(plan: BatchPlan, draw: Draw, by_answers: bool = False) -> tuple[int, int]:
    """How many questions of the first epoch have no negative at all, and of how many that is.

    The batches are those of training. Of a large file about the first LOOKED_AT questions are
    looked at.
    """
    lonely = seen = step = 0
    while step < plan.batches_per_epoch and seen < LOOKED_AT:
        batch = make_batch(plan.mixture, plan.rows(step), 0, draw, by_answers)
        lonely += without_negatives(batch.false_negatives)
        seen += len(batch.questions)
        step += 1
    return lonely, seen
