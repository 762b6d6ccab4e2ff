"""The training loop: batches, loss, gradient, step; an epoch is the unit of resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from dprkit.artifacts import Draft
from dprkit.errors import SettingsError
from dprkit.models.bi_encoder import BiEncoder
from dprkit.models.checkpoints import full_disk, save_retriever
from dprkit.models.tokens import Tokens
from dprkit.records import Example
from dprkit.settings import TrainSettings
from dprkit.training.batches import Draw, batch_size, batches_per_epoch, epoch_order, make_batch
from dprkit.training.objectives import in_batch_nll
from dprkit.training.validation import Validation, batch_scores, validate

METRICS = "metrics.jsonl"
BEST, CHECKPOINT = "best-", "checkpoint-"
"""Folders of an unfinished run: the best epoch's retriever, the last epoch's state."""


class Progression(msgspec.Struct):
    """How far training is; kept in progress.json beside the weights of the last epoch."""

    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Optimizer steps that are done."""
    best: Validation | None = None
    best_epoch: int = 0
    history: list[Validation] = []
    """The validation before training, then after each epoch."""
    losses: list[float] = []
    """Mean training loss of each epoch, in nats a question."""
    metrics_bytes: int = 0
    checkpoint: str = ""


class Trainer:
    """One run of training: the model, its optimizer and schedule, and how far it is."""

    def __init__(
        self, work: Draft, model: BiEncoder, tokens: Tokens, settings: TrainSettings, lr: float
    ) -> None:
        self.work, self.model, self.tokens, self.settings = work, model, tokens, settings
        self.optimizer = _optimizer(model, lr, settings.weight_decay)
        self.highest_lr = lr
        self.at = msgspec.convert(work.state, Progression)
        if self.at.checkpoint:
            _restore(work.directory / self.at.checkpoint, model, self.optimizer)

    def fit(self, examples: Sequence[Example], valid: Sequence[Example] | None) -> Progression:
        """Train to the end, from wherever an earlier run stopped."""
        self.work.rewind(METRICS, self.at.metrics_bytes)
        steps = self.total_steps(len(examples))
        if not self.at.checkpoint:
            self._close_epoch(valid)
        progress = self.work.run.progress
        progress.start("training", steps, "steps")
        progress.advance(self.at.step)
        while self.at.step < steps:
            self._epoch(examples, steps)
            self.at.epoch += 1
            self._close_epoch(valid)
        progress.finish()
        return self.at

    def total_steps(self, rows: int) -> int:
        """Optimizer steps of the whole run."""
        steps = self.settings.max_epochs * batches_per_epoch(rows, batch_size(self.settings))
        return min(steps, self.settings.max_steps or steps)

    def _epoch(self, examples: Sequence[Example], steps: int) -> None:
        order = epoch_order(len(examples), self.settings.seed, self.at.epoch)
        size = batch_size(self.settings)
        total = seen = 0.0
        self.model.train()
        for begin in range(0, len(order), size):
            if self.at.step == steps:
                break
            rows = order[begin : begin + size].tolist()
            total += self._step(examples, rows, steps) * len(rows)
            seen += len(rows)
        self.at.losses.append(total / seen)

    def _step(self, examples: Sequence[Example], rows: list[int], steps: int) -> float:
        """One optimizer step on the batch of `rows`; returns its loss."""
        begin = time.perf_counter()
        settings = self.settings
        draw = Draw(settings.hard_negatives, settings.negatives, settings.seed)
        batch = make_batch(examples, rows, self.at.epoch, draw)
        torch.manual_seed(settings.seed + 1_000_003 * (self.at.step + 1))  # dropout
        scores = batch_scores(self.model, self.tokens, batch.questions, batch.passages)  # (Q, P)
        positives = torch.tensor(batch.positives, device=scores.device)
        loss = in_batch_nll(scores, positives)
        self._refuse_nan(float(loss.detach()))
        lr = self.highest_lr * schedule(self.at.step, steps, settings.warmup)
        self._update(loss, lr)
        self.at.step += 1
        accuracy = float((scores.argmax(1) == positives).float().mean())
        rate = len(rows) / (time.perf_counter() - begin)
        self._tell_step(float(loss.detach()), accuracy, lr, rate)
        return float(loss.detach())

    def _refuse_nan(self, loss: float) -> None:
        """NaN compares as neither better nor worse: it would be kept as the best."""
        if not math.isfinite(loss):
            raise SettingsError(
                f"the loss after step {self.at.step} is {loss}: training has diverged; "
                "lower --lr or lengthen --warmup, and begin again with --restart"
            )

    def _update(self, loss: Tensor, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.settings.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()

    def _tell_step(self, loss: float, accuracy: float, lr: float, rate: float) -> None:
        line = {
            "step": self.at.step,
            "epoch": self.at.epoch,
            "loss": loss,
            "accuracy": accuracy,
            "lr": lr,
            "questions_per_second": round(rate, 2),
        }
        self._log(line)
        facts = {"loss": loss, "accuracy": accuracy, "questions/s": rate}
        self.work.run.progress.advance(1, facts)

    def _log(self, line: dict[str, Any]) -> None:
        self.at.metrics_bytes += self.work.append(METRICS, msgspec.json.encode(line) + b"\n")

    def _close_epoch(self, valid: Sequence[Example] | None) -> None:
        """Validate, keep the model if it is the best so far, and save where training is."""
        found = validate(self.model, self.tokens, valid, self.settings) if valid else None
        if found:
            self._refuse_nan(found.loss)
            self.at.history.append(found)
            line = {"step": self.at.step, "epoch": self.at.epoch, "valid": found}
            self._log(line)
            self.work.run.progress.note(
                f"epoch {self.at.epoch}: valid loss {found.loss:.4f}, average rank "
                f"{found.average_rank:.1f} of {found.pool}, accuracy {found.accuracy:.3f}"
            )
        if found is None or found.better_than(self.at.best, self.settings.best_by):
            self.at.best, self.at.best_epoch = found, self.at.epoch
            save_retriever(self.work, self.model, self.tokens, below=f"{BEST}{self.at.epoch}/")
        self._checkpoint()

    def _checkpoint(self) -> None:
        """Save the state of the last epoch; those before it go when this one is recorded."""
        self.at.checkpoint = f"{CHECKPOINT}{self.at.epoch}"
        with self.work.folder(self.at.checkpoint, content=False) as folder:
            _save_state(folder, self.model, self.optimizer)
        self.work.state.update(msgspec.to_builtins(self.at))
        self.work.save()
        kept = (f"{BEST}{self.at.best_epoch}", self.at.checkpoint)
        folders = {name.partition("/")[0] for name in self.work.record.files}
        for old in folders - set(kept):
            if old.startswith((BEST, CHECKPOINT)):
                self.work.remove(old)


def schedule(step: int, steps: int, warmup: float) -> float:
    """The share of the highest learning rate at `step`, counted from 0, of `steps`.

    Linear from near 0 up over `warmup` steps (below 1: that share of all steps), then linear
    down towards 0. The last step still learns.
    """
    rise = warmup * steps if warmup < 1 else warmup
    if step < rise:
        return (step + 1) / (rise + 1)
    return (steps - step) / max(steps - rise, 1)


def _optimizer(model: BiEncoder, lr: float, decay: float) -> torch.optim.AdamW:
    """AdamW that does not decay vectors: biases and the weights of norms."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, eps=1e-8)


# --- the state of a run, as safetensors --------------------------------------------------------


def _save_state(folder: Path, model: BiEncoder, optimizer: torch.optim.Optimizer) -> None:
    """Weights and AdamW's moments. Dropout's generator is seeded anew at each step."""
    from safetensors.torch import save_file, save_model

    moments = {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    with full_disk(folder):
        save_model(model, str(folder / "model.safetensors"))
        save_file(moments, folder / "optimizer.safetensors")


def _restore(folder: Path, model: BiEncoder, optimizer: torch.optim.Optimizer) -> None:
    from safetensors.torch import load_file, load_model

    load_model(model, str(folder / "model.safetensors"))
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(folder / "optimizer.safetensors").items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
