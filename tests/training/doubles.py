"""Two tasks that dprkit does not have, made of its public parts alone.

    maxsim    a retriever that gives three vectors a text, scored by MaxSim, as late interaction is
    heads     a reader of passages with two heads: where the answer starts, which passage has it

`python doubles.py KIND FOLDER PAUSE` trains one of them on two processes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import nn

from dprkit.models.rows import RowModel, Rows
from dprkit.progress import Run
from dprkit.settings import TrainSettings
from dprkit.store.begin_or_resume import draft
from dprkit.training.feed import Batch
from dprkit.training.objectives import Outcome, ScoreObjective, tensors
from dprkit.training.processes import join, launch
from dprkit.training.resolved_settings import resolve
from dprkit.training.trainer import Trainer

WORDS, WIDTH = 60, 16
STEPS, QUESTIONS, PASSAGES = 60, 5, 3
VECTORS = 3


def texts(random, count, longest):
    lengths = random.integers(2, longest, count)
    return [random.integers(0, WORDS, length).tolist() for length in lengths]


class Batches(NamedTuple):
    """Random batches, and a pause that takes time and changes nothing."""

    kind: str
    pause: float = 0.0

    def __call__(self, step: int) -> Batch:
        time.sleep(self.pause)
        random = np.random.default_rng([11, step])
        passages = texts(random, QUESTIONS * PASSAGES, 25)
        places = [f"row {step * QUESTIONS + i}" for i in range(QUESTIONS)]
        if self.kind == "maxsim":
            mask = np.zeros((QUESTIONS, len(passages)), bool)
            mask[0, -1] = True
            targets = {
                "positives": np.arange(QUESTIONS) * PASSAGES,
                "false_negatives": mask,
                "weights": np.linspace(0.5, 2, QUESTIONS, dtype=np.float32),
            }
            return Batch(step, (texts(random, QUESTIONS, 8), passages), targets, places)
        relevant = random.integers(0, PASSAGES, QUESTIONS)
        lengths = [len(passages[i * PASSAGES + p]) for i, p in enumerate(relevant)]
        targets = {"relevant": relevant, "starts": random.integers(0, lengths)}
        return Batch(step, (passages,), targets, places)

    def describe(self):
        return lambda: self


class ThreeVectors(RowModel):
    """Three vectors of eight numbers a text, whatever its length."""

    dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.dropout = nn.Dropout(0.2)
        self.heads = nn.Linear(WIDTH, VECTORS * self.dim)

    def rows(self, side, ids):
        means = [self.words(torch.tensor(text)).mean(0) + side for text in ids]
        vectors = self.heads(self.dropout(torch.stack(means).tanh())).view(-1, self.dim)
        return Rows.of_counts(F.normalize(vectors, dim=1), [VECTORS] * len(ids))


class MaxSim:
    """The sum, over a question's vectors, of the largest product with one of the passage's."""

    def matrix(self, questions, passages):
        products = questions.values @ passages.values.T
        shape = (len(questions), VECTORS, len(passages), VECTORS)
        return products.view(shape).amax(3).sum(1)

    def pairs(self, questions, passages):
        return self.matrix(questions, passages).diagonal()


class TwoHeads(RowModel):
    """A row for each token: whether the answer starts there, and (of the first) relevance."""

    dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.dropout = nn.Dropout(0.2)
        self.heads = nn.Linear(WIDTH, self.dim)

    def rows(self, side, ids):
        states = [self.words(torch.tensor(text)) for text in ids]
        mixed = torch.cat([(state + state.mean(0)).tanh() for state in states])
        return Rows.of_counts(self.heads(self.dropout(mixed)), [len(text) for text in ids])


class ReaderObjective(nn.Module):
    """Cross-entropy of the start among the right passage's tokens, and of that passage."""

    def forward(self, passages, relevant, starts):
        first = passages.values[passages.bounds[:-1], 1].view(-1, PASSAGES)  # (Q, M)
        right = passages.take(torch.arange(len(first)) * PASSAGES + relevant)
        spans = [right[i : i + 1].values[:, 0].log_softmax(0)[s] for i, s in enumerate(starts)]
        losses = F.cross_entropy(first, relevant, reduction="none") - torch.stack(spans)
        return Outcome(losses.mean(), losses.detach(), first.detach().argmax(1) == relevant)


class Double:
    """A task of either kind."""

    batches_per_epoch = 8

    def __init__(self, kind: str, pause: float = 0.0) -> None:
        torch.manual_seed(3)
        self.prepare = Batches(kind, pause)
        self.model = ThreeVectors() if kind == "maxsim" else TwoHeads()
        scored = ScoreObjective(0.5, learn=True, scoring=MaxSim())
        self.objective = scored if kind == "maxsim" else ReaderObjective()

    def validate(self, engine):
        held_out = Batches(self.prepare.kind)(10_000)
        self.model.eval()
        with torch.inference_mode():
            rows = engine.encode(*held_out.sides)
            outcome = self.objective(*rows, **tensors(held_out.targets, engine.device))
        return {"loss": float(outcome.loss), "accuracy": float(outcome.hits.double().mean())}

    def better(self, figures, best):
        return figures["loss"] < best["loss"]

    def summary(self, figures):
        return f"loss {figures['loss']}"

    def save(self, work, below=""):
        with work.file(f"{below}model.safetensors") as file:
            file.write(save(dict(self.model.state_dict())))


class Case(NamedTuple):
    kind: str
    folder: str
    pause: float


def stage(case: Case, run: Run) -> None:
    """What each process does."""
    group, task, folder = join(), Double(case.kind, case.pause), Path(case.folder)
    asked = TrainSettings(
        lr=0.01, max_steps=STEPS, valid_every="20", checkpoint_every="7", chunk_size="4"
    )
    settings = resolve(asked)
    if not group.first:
        Trainer(task, settings, folder, group).fit()
        return
    with draft(folder, "double", {"kind": case.kind}, {}, run) as work:
        trainer = Trainer(task, settings, folder, group, work)
        trainer.fit()
        task.save(work)
        trainer.journal.adopt()
        work.finish({"steps": trainer.at.step}, drop=("best-", "checkpoint-"))


if __name__ == "__main__":
    launch(stage, Case(sys.argv[1], sys.argv[2], float(sys.argv[3])), Run(), 2)
