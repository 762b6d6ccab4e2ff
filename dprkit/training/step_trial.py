"""A few steps of training and a validation, only to see what they cost: nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from dprkit.data.examples_by_row import ExampleFile
from dprkit.memory import peak_bytes
from dprkit.models.bi_encoder import device
from dprkit.models.tokens import Ids
from dprkit.progress import Run
from dprkit.settings import TrainSettings
from dprkit.training.batches import BatchPlan, Mixture
from dprkit.training.checkpoints import save_state
from dprkit.training.feed import Batch
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import tensors
from dprkit.training.optimisation import autocasting, optimizer_of, set_products
from dprkit.training.processes import ALONE
from dprkit.training.resolved_settings import resolve
from dprkit.training.retriever_task import RetrieverTask
from dprkit.training.step_memory import bytes_a_token, chunk_that_fits, free_bytes
from dprkit.training.validation import Validator

LOOKED_AT = 4
"""Whole batches whose tokens are counted."""
FIRST = 8
"""Questions of the first step that is tried."""
LEAST, MOST = 3, 50
"""Steps that are measured."""


class StepTrial:
    """A model in training, and what its steps take."""

    def __init__(self, settings: TrainSettings) -> None:
        """Load the model and the files. Raises what training raises."""
        self.settings = resolve(settings)
        set_products(self.settings.precision, device())
        self.task = RetrieverTask(self.settings, ALONE, Run())
        model, precision = self.task.model, self.settings.precision
        self.engine = GradientEngine(model, ALONE, autocasting(precision, device()))
        self.optimizer = optimizer_of(model, self.task.objective, self.settings)
        whole = range(min(LOOKED_AT, self.task.batches_per_epoch))
        self.whole = [self.task.prepare(step).sides for step in whole]
        self.tokens = sum(map(_tokens, self.whole)) / len(self.whole)
        """Of a whole batch, on average."""
        self.engine.model.train()
        self.chunk = self._chunk()
        self.peaks: list[int] = []
        """Bytes of this process at the most, after each step."""

    def _chunk(self) -> int | None:
        size = self.settings.chunk_size
        if size != "auto":
            return int(size) if size else None
        return chunk_that_fits(self.engine, self.whole[0], free_bytes(self.engine.device))

    # --- steps ------------------------------------------------------------------------------

    def steps(self, enough: float) -> list[float]:
        """Seconds that a whole step takes, by several that were done in about `enough` seconds.

        Where a whole batch takes too long the batches are smaller, and the time of the gradient
        is taken to grow with the tokens.
        """
        size = min(FIRST, self.settings.batch_size)
        self._step(size, 0)  # the first one is slower
        gradient, update, _ = self._step(size, 1)
        while size < self.settings.batch_size and gradient + update < enough / 8:
            size = min(2 * size, self.settings.batch_size)
            gradient, update, _ = self._step(size, 1)
        seconds: list[float] = []
        end = time.perf_counter() + enough
        while len(seconds) < LEAST or (time.perf_counter() < end and len(seconds) < MOST):
            gradient, update, tokens = self._step(size, len(seconds))
            seconds.append(gradient * self.tokens / tokens + update)
        self.tried = self._batch(size, 0).sides
        return seconds

    def _step(self, size: int, number: int) -> tuple[float, float, int]:
        """Seconds of the gradient and of the update of a step, and its tokens."""
        batch = self._batch(size, number)
        targets = tensors(batch.targets, self.engine.device)
        begin = time.perf_counter()
        self.optimizer.zero_grad()
        self.engine.backward(self.task.objective, batch.sides, targets, number, self.chunk)
        between = time.perf_counter()
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        float(nn.utils.clip_grad_norm_(trained, self.settings.max_grad_norm or 1.0))
        self.optimizer.step()
        self.peaks.append(peak_bytes())
        return between - begin, time.perf_counter() - between, _tokens(batch.sides)

    def _batch(self, size: int, number: int) -> Batch:
        s = self.settings
        plan = BatchPlan(self.task.examples, size, s.seed, s.mix, min(s.same_title, size))
        return replace(self.task.prepare, plan=plan)(number % plan.batches_per_epoch)

    def memory(self) -> int:
        """Bytes that this process takes at the most in a whole step, after `steps`."""
        largest = max(map(self._in_one_graph, self.whole))
        more = max(0, largest - self._in_one_graph(self.tried))
        return self.peaks[-1] + round(more * bytes_a_token(self.engine, self.whole[0]))

    def growth(self) -> float:
        """Bytes by which the peak grew from a number of steps to twice as many.

        oneDNN keeps what it compiled for each length of a pass, and memory is used again in other
        pieces than it was given back in, so that the peak grows like the logarithm of the steps.
        """
        count = len(self.peaks)
        return (self.peaks[-1] - self.peaks[count // 4]) / 2 if count > 4 else 0.0

    def _in_one_graph(self, sides: Sequence[Ids]) -> int:
        """Tokens of a batch whose graph is kept at one time."""
        chunks = [sum(map(len, chunk.ids)) for chunk in self.engine.cut(sides, self.chunk)]
        return max(chunks) if self.chunk else sum(chunks)

    # --- beside the steps -------------------------------------------------------------------

    def validation(self, path: str) -> float:
        """Seconds of a validation on a file."""
        examples = Mixture([ExampleFile(path)], [1.0])
        validator = Validator(
            self.engine, self.task.objective, self.task.tokens, examples, self.settings
        )
        begin = time.perf_counter()
        validator()
        return time.perf_counter() - begin

    def saving(self, folder: Path) -> float:
        """Seconds in which the state is written into a folder, which is made."""
        folder.mkdir()
        begin = time.perf_counter()
        model, objective = self.task.model, self.task.objective
        save_state(folder, {"model": model, "objective": objective, "optimizer": self.optimizer})
        return time.perf_counter() - begin


def validations_between(every: str, epoch: int, done: int, end: int) -> int:
    """Validations from step `done` to step `end`, both counted; epochs have `epoch` steps."""
    if every == "never":
        return 0
    size = epoch if every == "epoch" else int(every)
    due = {step for step in range(done, end + 1) if step % size == 0} | {end}
    return len(due - {done} if done else due)


def _tokens(sides: Sequence[Ids]) -> int:
    return sum(len(text) for side in sides for text in side)
