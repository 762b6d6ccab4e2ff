"""The files of a training run: metrics, checkpoints, and the best weights so far.

    metrics.jsonl      an object a step, an object a validation
    epochs.jsonl       an object an epoch, with train/... and valid/... figures
    tensorboard/       the same as events, if asked for
    checkpoint-STEP/   the state to go on from; until training ends
    best-STEP/         the model of the best validation, as it is used; until training ends

Of several processes only the first has something to write in; the others' journal is silent.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from dprkit.errors import need_extra
from dprkit.progress import SILENT
from dprkit.store.atomic_files import sync
from dprkit.store.drafts import Draft
from dprkit.training.resolved_trainer import ResolvedTrainer
from dprkit.training.task import Task

METRICS, EPOCHS, EVENTS = "metrics.jsonl", "epochs.jsonl", "tensorboard"
BEST, CHECKPOINT = "best-", "checkpoint-"
SECONDS = {"s": 1, "m": 60, "h": 3600}


class Progression(msgspec.Struct):
    """How far training is; kept in progress.json beside the weights."""

    step: int = 0
    """Optimizer steps that are done."""
    best: dict[str, float] | None = None
    """The figures of the best validation."""
    best_step: int = 0
    stale: int = 0
    """Validations since the best one."""
    history: list[dict[str, float]] = []
    """Every validation, with its step; the first is from before training."""
    losses: list[float] = []
    """Mean training loss of each epoch, in nats a question; training may end within one."""
    loss_sum: float = 0.0
    hit_sum: int = 0
    seen: int = 0
    """Questions of the epoch so far, with the sums of their losses and hits."""
    chunk_texts: int | None = None
    """Texts in a chunk of gradient caching, as it was settled when training began."""
    closed: int = -1
    """The last step after which everything was done: validation, epoch's end."""
    scaler: dict[str, int | float] = {}
    """The state of float16's loss scaler."""
    sizes: dict[str, int] = {}
    """Bytes of the growing files."""
    checkpoints: list[str] = []


class Journal:
    """The files of one run of training."""

    def __init__(self, work: Draft | None, settings: ResolvedTrainer) -> None:
        self.work, self.settings = work, settings
        self.progress = work.run.progress if work else SILENT
        self.saved_at = time.monotonic()
        self.events: Any = None

    def open(self, at: Progression) -> None:
        """Go on writing where the state `at` was saved."""
        if self.work is None:
            return
        for name in (METRICS, EPOCHS):
            self.work.rewind(name, at.sizes.get(name, 0))
        if self.settings.tensorboard:
            self.events = _event_writer(self.work, at.step)

    def write(self, name: str, at: Progression, line: dict[str, Any]) -> None:
        """Add a line to METRICS or EPOCHS."""
        if self.work is None:
            return
        grown = self.work.append(name, msgspec.json.encode(line) + b"\n")
        at.sizes[name] = at.sizes.get(name, 0) + grown
        if self.events is not None:
            for key, value in _flat(line):
                self.events.add_scalar(key, value, at.step)

    # --- the state --------------------------------------------------------------------------

    def due(self, step: int) -> bool:
        """Whether `checkpoint_every` asks for a checkpoint after `step`."""
        every = self.settings.checkpoint_every
        if self.work is None or every == "never":
            return False
        if every[-1] in SECONDS:
            return time.monotonic() - self.saved_at >= int(every[:-1]) * SECONDS[every[-1]]
        return step % int(every) == 0

    def saved_step(self, at: Progression) -> int:
        """The step of the last checkpoint, or the present one, which is saved if there is none."""
        return int(at.checkpoints[-1].removeprefix(CHECKPOINT)) if at.checkpoints else at.step

    def save(self, at: Progression, state: dict[str, nn.Module | torch.optim.Optimizer]) -> None:
        """Save where training is; drop what is older.

        A step has the same weights whenever it is saved: what is there is not written again.
        """
        if self.work is None:
            return
        name = f"{CHECKPOINT}{at.step}"
        if name not in at.checkpoints:
            with self.work.folder(name, content=False) as folder:
                save_state(folder, state)
            at.checkpoints = [*at.checkpoints, name][-self.settings.keep_checkpoints :]
        for growing in (METRICS, EPOCHS):  # on the disk before its size counts
            sync(self.work.directory / growing)
        self.work.state.clear()
        self.work.state.update(msgspec.to_builtins(at))
        self.work.save()
        self.saved_at = time.monotonic()
        folders = {name.partition("/")[0] for name in self.work.record.files}
        for old in folders - {f"{BEST}{at.best_step}", *at.checkpoints}:
            if old.startswith((BEST, CHECKPOINT)):
                self.work.remove(old)

    def keep_best(self, step: int, task: Task) -> None:
        """Keep the model of `step` as the best one so far, beside the one that was so before."""
        if self.work is not None:
            task.save(self.work, f"{BEST}{step}/")

    def adopt(self) -> None:
        """Make the growing files part of the artifact."""
        if self.work is None:
            return
        events = sorted((self.work.directory / EVENTS).rglob("*"))
        for path in (METRICS, EPOCHS, *(p.relative_to(self.work.directory) for p in events)):
            self.work.include(str(path))

    def close(self) -> None:
        self.progress.finish()
        if self.events is not None:
            self.events.close()


def _flat(line: dict[str, Any]) -> list[tuple[str, float]]:
    """The figures of a line under TensorBoard's names."""
    valid = line.get("valid", {})
    step = [
        (k if "/" in k else f"step/{k}", v) for k, v in line.items() if k not in ("step", "valid")
    ]
    return [*step, *((f"valid/{key}", value) for key, value in valid.items())]


def _event_writer(work: Draft, step: int) -> Any:
    need_extra("tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    if EVENTS not in work.record.claimed:
        work.claim(EVENTS)
    return SummaryWriter(str(work.directory / EVENTS), purge_step=step + 1)


# --- state as safetensors -------------------------------------------------------------------------


def save_state(folder: Path, state: dict[str, nn.Module | torch.optim.Optimizer]) -> None:
    """Write each module's weights and each optimizer's moments to a file of its own.

    There is no generator to save: whatever is drawn at a step is seeded by its number.
    """
    from safetensors.torch import save_file, save_model

    for name, part in state.items():
        file = folder / f"{name}.safetensors"
        if isinstance(part, nn.Module):
            save_model(part, str(file))
        else:
            save_file(_moments(part), file)


def load_state(folder: Path, state: dict[str, nn.Module | torch.optim.Optimizer]) -> None:
    """Read what `save_state` wrote."""
    from safetensors.torch import load_file, load_model

    for name, part in state.items():
        file = folder / f"{name}.safetensors"
        if isinstance(part, nn.Module):
            load_model(part, str(file))
            continue
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(file).items():
            index, _, moment = key.partition(".")
            states.setdefault(int(index), {})[moment] = value
        part.load_state_dict({**part.state_dict(), "state": states})


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
