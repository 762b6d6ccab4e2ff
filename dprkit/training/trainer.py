"""The training loop: step, gather, loss over the whole batch, update; validate, save, go on.

It can stop anywhere and go on there: what happens at a step depends on the seed and the step's
number alone, so the state is the weights, the optimizer's moments and a `Progression`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from dprkit.errors import DivergedError, DprkitError, MemoryShortage, SettingsError
from dprkit.interrupts import held
from dprkit.memory import ran_out
from dprkit.store.drafts import Draft
from dprkit.training.checkpoints import EPOCHS, METRICS, Journal, Progression, load_state
from dprkit.training.feed import Batch, Feed
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import Outcome, tensors
from dprkit.training.optimisation import autocasting, optimizer_of, schedule, set_lr
from dprkit.training.processes import ALONE, Group
from dprkit.training.resolved_trainer import FOREVER, ResolvedTrainer, total_steps
from dprkit.training.step_memory import chunk_that_fits, free_bytes, peak_gb
from dprkit.training.task import Figures, Task


class Trainer:
    """One run of training: a task's model, its optimizer and schedule, and how far it is."""

    def __init__(
        self,
        task: Task,
        settings: ResolvedTrainer,
        directory: Path,
        group: Group = ALONE,
        work: Draft | None = None,
    ) -> None:
        """`work`: the artifact in `directory`, which the first process of the group writes.

        Goes on from the state that is there.
        """
        self.task, self.settings, self.work = task, settings, work
        self.device = next(task.model.parameters()).device
        self.engine = GradientEngine(
            task.model, group, autocasting(settings.precision, self.device)
        )
        self.at = msgspec.convert(group.agree(dict(work.state) if work else {}), Progression)
        self.journal = Journal(work, settings)
        self.optimizer = optimizer_of(task.model, task.objective, settings)
        # Scales float16's loss so that small gradients do not vanish; does nothing otherwise.
        self.scaler = torch.amp.GradScaler(enabled=settings.precision == "fp16")
        if self.at.scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict(self.at.scaler)
        if self.at.checkpoints:
            load_state(directory / self.at.checkpoints[-1], self.state)
        # Every process made the same model of the same seed; a GPU of another kind may not have.
        group.copy([*task.model.parameters(), *task.model.buffers()])
        self.steps = total_steps(settings, task.batches_per_epoch)
        self.begin = time.perf_counter()
        """When the wait for the present batch began."""
        self.whole = True
        """Whether weights, moments and `at` belong together, and nothing is half changed."""

    @property
    def state(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint holds beside the Progression."""
        return {
            "model": self.task.model,
            "objective": self.task.objective,
            "optimizer": self.optimizer,
        }

    def fit(self) -> None:
        """Train to the end, from wherever an earlier run stopped."""
        self._settle_chunks()
        self._tell()
        workers = self.settings.num_workers
        with Feed(self.task.prepare, self.at.step, self.steps, workers) as feed:
            self._loop(feed)

    def _settle_chunks(self) -> None:
        """Settle the chunks of gradient caching once: others would have other dropout."""
        group, size = self.engine.group, self.settings.chunk_size
        new_size = self.work is not None and "chunk_size" in self.work.changed
        if not group.agree(not self.at.step or new_size):
            return
        texts = int(size) if size.isdigit() else None
        if size == "auto":
            self.engine.model.train()  # dropout keeps numbers for the backward pass
            sides, free = self.task.prepare(0).sides, free_bytes(self.device)
            texts = chunk_that_fits(self.engine, sides, free)
        self.at.chunk_texts = group.agree(texts)

    def _tell(self) -> None:
        """Say what the chunks are, and what another end does to a run that is half done."""
        if self.at.chunk_texts:
            self.journal.progress.note(
                f"gradients are cached in chunks of {self.at.chunk_texts} passages"
            )
        changed = self.work.changed if self.work else {}
        if not set(changed) & {"max_epochs", "max_steps"}:
            return
        done = self.at.step
        if self.steps < done:
            raise SettingsError(
                f"{done} steps are done already, more than the {self.steps} asked for; "
                "ask for more, or begin again with --restart"
            )
        ends = {name: FOREVER for name in ("max_epochs", "max_steps") if name in changed}
        ends |= {name: changed[name] for name in ends if changed[name] is not None}
        earlier = msgspec.structs.replace(self.settings, **ends)
        before = total_steps(earlier, self.task.batches_per_epoch)
        self.journal.progress.warn(
            f"training ends after step {self.steps} instead of {before}: the first {done} steps "
            f"had the learning rates that lead to {before}, those to come have the ones that lead "
            f"to {self.steps}"
        )

    def _loop(self, feed: Feed[Batch]) -> None:
        self.journal.open(self.at)
        self.journal.progress.start("training", self.steps, "steps", self.at.step)
        try:
            if self.at.closed < self.at.step:
                self._close()
            while not self._ended():
                self.engine.model.train()
                self.task.objective.train()
                self.begin = time.perf_counter()
                self._step(next(feed))
                self._close()
        except BaseException as error:  # a signal too: what was trained is saved
            self._rescue(error)
            raise
        finally:
            self.journal.close()

    def _rescue(self, error: BaseException) -> None:
        """Save what can be gone on from. Weights that diverged are no reason to drop good ones."""
        diverged = isinstance(error, DivergedError) and self.at.checkpoints
        if self.whole and not diverged:
            with contextlib.suppress(DprkitError), held():
                self.journal.save(self.at, self.state)

    def _ended(self) -> bool:
        return self.at.step >= self.steps or self.at.stale >= self.settings.patience

    # --- a step -----------------------------------------------------------------------------

    def _step(self, batch: Batch) -> None:
        """One optimizer step."""
        try:
            outcome = self._gradient(batch)
            norm = self._clip(batch)
            lr = self.settings.lr * schedule(
                self.settings.schedule, self.at.step, self.steps, self.settings.warmup
            )
            with held(), self._in_pieces():
                self._update(lr)
                self._count(outcome)
                seconds = time.perf_counter() - self.begin
                figures = {
                    "loss": float(outcome.loss),
                    "accuracy": float(outcome.hits.double().mean()),
                    **{name: float(figure) for name, figure in outcome.more.items()},
                }
                self._write(figures, lr, len(batch.places) / seconds)
        except (RuntimeError, MemoryError) as error:
            if ran_out(error):
                raise self._too_large(batch) from None
            raise
        facts = figures | {
            "gradient norm": norm,
            "passages/s": len(batch.sides[-1]) / seconds,
            "memory GB": peak_gb(self.device),
        }
        self.journal.progress.advance(1, facts)

    @contextlib.contextmanager
    def _in_pieces(self) -> Iterator[None]:
        """While the block runs, and if it fails, the state is not one to go on from."""
        self.whole = False
        yield
        self.whole = True

    def _gradient(self, batch: Batch) -> Outcome:
        self.optimizer.zero_grad()
        outcome = self.engine.backward(
            self.task.objective,
            batch.sides,
            tensors(batch.targets, self.device),
            seed=self.settings.seed + 1_000_003 * (batch.step + 1),
            chunk_texts=self.at.chunk_texts,
            scale=self.scaler.scale,
        )
        if not math.isfinite(float(outcome.loss)):
            raise self._diverged(f"the loss is {float(outcome.loss)}", batch)
        return outcome

    def _diverged(self, what: str, batch: Batch) -> DivergedError:
        """NaN compares as neither better nor worse: it would be kept as the best."""
        places = ", ".join(batch.places[:5]) + (", ..." if len(batch.places) > 5 else "")
        return DivergedError(
            f"{what} of step {batch.step + 1} (rows {places}): training has diverged; "
            f"the state of step {self.journal.saved_step(self.at)} is kept; "
            "lower --lr or lengthen --warmup, and begin again with --restart"
        )

    def _too_large(self, batch: Batch) -> MemoryShortage:
        chunk = self.at.chunk_texts
        advice = f"--chunk-size below {chunk}" if chunk else "--chunk-size 16, or auto"
        if chunk == 1:
            advice = "--restart with a lower --passage-max-length or --activation-checkpointing"
        return MemoryShortage(
            f"out of memory at step {batch.step + 1} ({len(batch.places)} questions, "
            f"{len(batch.sides[-1])} passages): go on with {advice}"
        )

    def _clip(self, batch: Batch) -> float:
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
        self.at.scaler = self.scaler.state_dict()
        self.at.step += 1

    def _count(self, outcome: Outcome) -> None:
        """Every question once, however many processes there are."""
        self.at.seen += len(outcome.losses)
        self.at.loss_sum += float(outcome.losses.double().sum())
        self.at.hit_sum += int(outcome.hits.sum())

    def _write(self, figures: Figures, lr: float, rate: float) -> None:
        epoch = (self.at.step - 1) // self.task.batches_per_epoch
        line = {"step": self.at.step, "epoch": epoch, **figures, "lr": lr}
        self.journal.write(METRICS, self.at, line | {"questions_per_second": round(rate, 2)})

    # --- between steps ----------------------------------------------------------------------

    def _close(self) -> None:
        """Validate, keep the best, end the epoch and save, where that is due after a step.

        Whatever stops it before the state changes, a later run does it again.
        """
        at, figures = self.at, self._validation()
        best = figures is not None and (at.best is None or self.task.better(figures, at.best))
        if best:
            self.journal.keep_best(at.step, self.task)
        with held(), self._in_pieces():
            if figures is not None:
                self._record(figures, best)
            if at.step % self.task.batches_per_epoch == 0 or self._ended():
                self._close_epoch()
            at.closed = at.step
        if figures is not None or self.journal.due(at.step):
            with held():
                self.journal.save(at, self.state)

    def _validation(self) -> Figures | None:
        """The figures of a validation, where one is due. Raises DivergedError."""
        if not self._validation_due():
            return None
        figures = self.engine.group.agree(self.task.validate(self.engine))
        if figures is None or math.isfinite(figures["loss"]):
            return figures
        raise DivergedError(
            f"the validation loss after step {self.at.step} is {figures['loss']}: training has "
            "diverged; lower --lr or lengthen --warmup, and begin again with --restart"
        )

    def _validation_due(self) -> bool:
        every, step = self.settings.valid_every, self.at.step
        if every == "never":
            return False
        size = self.task.batches_per_epoch if every == "epoch" else int(every)
        return step % size == 0 or step == self.steps

    def _record(self, figures: Figures, best: bool) -> None:
        """Put a validation into the history and metrics.jsonl."""
        at = self.at
        at.history.append({"step": at.step, **figures})
        at.stale += 1
        if best:
            at.best, at.best_step, at.stale = figures, at.step, 0
        line: dict[str, Any] = {"step": at.step, "epoch": at.step // self.task.batches_per_epoch}
        self.journal.write(METRICS, at, line | {"valid": figures})
        mark = " (best)" if best else ""
        self.journal.progress.note(f"step {at.step}: {self.task.summary(figures)}{mark}")
        if at.stale == self.settings.patience:
            self.journal.progress.note(
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
