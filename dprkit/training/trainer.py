"""The training loop: step, gather, loss over the whole batch, update; validate, save, go on.

It can stop anywhere and go on there: what happens at a step depends on the seed and the step's
number alone, so the state is the weights, the optimizer's moments and a `Progression`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from dprkit.errors import DivergedError, DprkitError, MemoryShortage
from dprkit.interrupts import held
from dprkit.memory import ran_out
from dprkit.models.tokens import Tokens
from dprkit.settings import TrainSettings
from dprkit.training.batches import Plan, Prepared
from dprkit.training.feed import Feed
from dprkit.training.gradients import GradientEngine
from dprkit.training.journal import EPOCHS, LOWER_IS_BETTER, METRICS, Journal, Progression
from dprkit.training.objectives import Outcome, ScoreObjective, tensors
from dprkit.training.optimisation import optimizer_of, scaler_of, schedule, set_lr
from dprkit.training.step_memory import peak_gb

Validate = Callable[[], dict[str, float]]


class Trainer:
    """One run of training: a model, its optimizer and schedule, and how far it is."""

    def __init__(
        self,
        engine: GradientEngine,
        objective: ScoreObjective,
        plan: Plan,
        journal: Journal,
        settings: TrainSettings,
        at: Progression,
    ) -> None:
        """`settings` are complete: every default that depends on another setting is filled in."""
        self.engine, self.objective, self.plan = engine, objective, plan
        self.journal, self.settings, self.at = journal, settings, at
        self.lr = settings.lr or 0.0
        self.optimizer = optimizer_of(engine.model, objective, self.lr, settings)
        self.device = engine.device
        self.scaler = scaler_of(settings.precision, self.device)
        if at.scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict(at.scaler)
        self.steps = total_steps(settings, plan.batches_per_epoch)
        self.begin = time.perf_counter()
        """When the wait for the present batch began."""
        self.whole = True
        """Whether weights, moments and `at` belong together, and nothing is half changed."""

    @property
    def state(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint holds beside the Progression."""
        return {
            "model": self.engine.model,
            "objective": self.objective,
            "optimizer": self.optimizer,
        }

    def fit(self, feed: Feed[Prepared], tokens: Tokens, validate: Validate | None) -> Progression:
        """Train to the end, from wherever an earlier run stopped."""
        self.journal.open(self.at)
        self.journal.start(self.at.step, self.steps)
        try:
            if self.at.closed < self.at.step:
                self._close(validate, tokens)
            while not self._ended():
                self.engine.model.train()
                self.begin = time.perf_counter()
                self._step(next(feed))
                self._close(validate, tokens)
        except BaseException as error:
            self._rescue(error)
            raise
        finally:
            self.journal.close()
        return self.at

    def _rescue(self, error: BaseException) -> None:
        """Save what can be gone on from. Weights that diverged are no reason to drop good ones."""
        diverged = isinstance(error, DivergedError) and self.at.checkpoints
        if self.whole and not diverged:
            with contextlib.suppress(DprkitError), held():
                self.journal.save(self.at, self.state)

    def _ended(self) -> bool:
        patience = self.settings.patience
        stale = patience is not None and self.at.stale >= patience
        return self.at.step >= self.steps or stale

    # --- a step -----------------------------------------------------------------------------

    def _step(self, batch: Prepared) -> None:
        """One optimizer step."""
        try:
            outcome = self._gradient(batch)
            norm = self._clip(batch)
            lr = self.lr * schedule(
                self.settings.schedule, self.at.step, self.steps, self.settings.warmup
            )
            with held(), self._in_pieces():
                self._update(lr)
                self._count(outcome)
                seconds = time.perf_counter() - self.begin
                self._write(outcome, lr, len(batch.places) / seconds)
        except (RuntimeError, MemoryError) as error:
            if ran_out(error):
                raise self._too_large(batch) from None
            raise
        facts = {
            "loss": float(outcome.loss),
            "accuracy": float(outcome.hits.double().mean()),
            "gradient norm": norm,
            "passages/s": len(batch.sides[-1]) / seconds,
            "memory GB": peak_gb(self.device),
        }
        self.journal.advance(facts)

    @contextlib.contextmanager
    def _in_pieces(self) -> Iterator[None]:
        """While the block runs, and if it fails, the state is not one to go on from."""
        self.whole = False
        yield
        self.whole = True

    def _gradient(self, batch: Prepared) -> Outcome:
        self.optimizer.zero_grad()
        outcome = self.engine.backward(
            self.objective,
            batch.sides,
            tensors(batch.targets, self.device),
            seed=self.settings.seed + 1_000_003 * (batch.step + 1),
            chunk_texts=self.at.chunk_texts,
            scale=self.scaler.scale,
        )
        if not math.isfinite(float(outcome.loss)):
            raise self._diverged(f"the loss is {float(outcome.loss)}", batch)
        return outcome

    def _diverged(self, what: str, batch: Prepared) -> DivergedError:
        """NaN compares as neither better nor worse: it would be kept as the best."""
        places = ", ".join(batch.places[:5]) + (", ..." if len(batch.places) > 5 else "")
        return DivergedError(
            f"{what} of step {batch.step + 1} (rows {places}): training has diverged; "
            f"the state of step {self.journal.saved_step(self.at)} is kept; "
            "lower --lr or lengthen --warmup, and begin again with --restart"
        )

    def _too_large(self, batch: Prepared) -> MemoryShortage:
        chunk = self.at.chunk_texts
        advice = f"--chunk-size below {chunk}" if chunk else "--chunk-size 16, or auto"
        if chunk == 1:
            advice = "--restart with a lower --passage-max-length or --activation-checkpointing"
        return MemoryShortage(
            f"out of memory at step {batch.step + 1} ({len(batch.places)} questions, "
            f"{len(batch.sides[-1])} passages): go on with {advice}"
        )

    def _clip(self, batch: Prepared) -> float:
        """Clip the gradient; returns its norm. Raises DivergedError where that is no number."""
        self.scaler.unscale_(self.optimizer)
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        most = self.settings.max_grad_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(trained, most))
        if not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise self._diverged(f"the gradient is {norm} at the loss", batch)
        return norm

    def _update(self, lr: float) -> None:
        set_lr(self.optimizer, lr)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled():
            self.at.scaler = self.scaler.state_dict()
        self.at.step += 1

    def _count(self, outcome: Outcome) -> None:
        """Every question once, however many processes there are."""
        self.at.seen += len(outcome.losses)
        self.at.loss_sum += float(outcome.losses.double().sum())
        self.at.hit_sum += int(outcome.hits.sum())

    def _write(self, outcome: Outcome, lr: float, rate: float) -> None:
        line = {
            "step": self.at.step,
            "epoch": (self.at.step - 1) // self.plan.batches_per_epoch,
            "loss": float(outcome.loss),
            "accuracy": float(outcome.hits.double().mean()),
            "lr": lr,
            "questions_per_second": round(rate, 2),
        }
        self.journal.write(METRICS, self.at, line)

    # --- between steps ----------------------------------------------------------------------

    def _close(self, validate: Validate | None, tokens: Tokens) -> None:
        """Validate, keep the best, end the epoch and save, where that is due after a step.

        Whatever stops it before the state changes, a later run does it again.
        """
        at = self.at
        found = None
        if validate is not None and self._validation_due():
            found = self._checked(self.engine.group.agree(validate()))
        best = found is not None and (
            at.best is None or better(found, at.best, self.settings.best_by)
        )
        if best:
            temperature = self.objective.temperature
            self.journal.keep_best(at.step, self.engine.model, temperature, tokens)  # type: ignore[arg-type]
        with held(), self._in_pieces():
            if found is not None:
                self._record(found, best)
            if at.step % self.plan.batches_per_epoch == 0 or self._ended():
                self._close_epoch()
            at.closed = at.step
        if found is not None or self.journal.due(at.step):
            with held():
                self.journal.save(at, self.state)

    def _validation_due(self) -> bool:
        every, step = self.settings.valid_every, self.at.step
        if every == "never":
            return False
        size = self.plan.batches_per_epoch if every == "epoch" else int(every)
        return step % size == 0 or step == self.steps

    def _checked(self, found: dict[str, float]) -> dict[str, float]:
        if math.isfinite(found["loss"]):
            return found
        raise DivergedError(
            f"the validation loss after step {self.at.step} is {found['loss']}: training has "
            "diverged; lower --lr or lengthen --warmup, and begin again with --restart"
        )

    def _record(self, found: dict[str, float], best: bool) -> None:
        """Put a validation into the history and metrics.jsonl."""
        at = self.at
        at.history.append({"step": at.step, **found})
        at.stale += 1
        if best:
            at.best, at.best_step, at.stale = found, at.step, 0
        line: dict[str, Any] = {"step": at.step, "epoch": at.step // self.plan.batches_per_epoch}
        self.journal.write(METRICS, at, line | {"valid": found})
        self.journal.note(
            f"step {at.step}: valid loss {found['loss']:.4f}, average rank "
            f"{found['average_rank']:.1f} of {found['pool']:.0f}, accuracy {found['accuracy']:.3f}"
            f"{' (best)' if best else ''}"
        )
        if self.settings.patience and at.stale == self.settings.patience:
            self.journal.note(
                f"no better {self.settings.best_by} in {at.stale} validations: training ends"
            )

    def _close_epoch(self) -> None:
        """Add an epoch's figures, or those of the part that was trained, to epochs.jsonl."""
        at = self.at
        if not at.seen:
            return
        at.losses.append(at.loss_sum / at.seen)
        figures = {"train/loss": at.losses[-1], "train/accuracy": at.hit_sum / at.seen}
        if at.history and at.history[-1]["step"] == at.step:
            valid = at.history[-1].items()
            figures |= {f"valid/{name}": value for name, value in valid if name != "step"}
        line = {"epoch": len(at.losses), "step": at.step, **figures}
        at.loss_sum, at.hit_sum, at.seen = 0.0, 0, 0
        self.journal.write(EPOCHS, at, line)


def better(one: dict[str, float], other: dict[str, float], by: str) -> bool:
    """Whether validation `one` is better than `other` by the figure `by`."""
    if by in LOWER_IS_BETTER:
        return one[by] < other[by]
    return one[by] > other[by]


def total_steps(settings: TrainSettings, batches_per_epoch: int) -> int:
    """Optimizer steps of the whole run."""
    if settings.max_epochs is None:
        return settings.max_steps or 0
    steps = settings.max_epochs * batches_per_epoch
    return min(steps, settings.max_steps or steps)
