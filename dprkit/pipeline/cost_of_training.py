"""What training will cost, by a few of its steps and a validation of a few rows.

The starting model is written as an untrained retriever first. That takes as long as loading and
writing do in training, and the stages behind it are tried with it: a trained one is as large.
"""

from __future__ import annotations

import math
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import open_stream
from dprkit.memory import keeping_freed, peak_bytes, reset_peak
from dprkit.pipeline.costs import NOTHING, Cost, Range, about, exactly, tried
from dprkit.pipeline.trial import StandIn, Trial, bytes_below, clock
from dprkit.settings import TrainSettings
from dprkit.store.manifests import read_progress
from dprkit.training.train import train

if TYPE_CHECKING:
    from dprkit.training.step_trial import StepTrial

ENOUGH = 2.0
"""Seconds that steps are tried for, and a validation."""
FEW = 8
"""Rows of the first validation that is tried."""
LINE = 150
"""Bytes of a step in metrics.jsonl, about."""
CURVES = Range(20_000, 50_000, 150_000)
"""Bytes of the drawing of the curves and other small files."""
SECONDS = {"s": 1, "m": 60, "h": 3600}


def cost_of_training(settings: TrainSettings, trial: Trial) -> Cost:
    """Steps, validations and saved states, as many as there will be."""
    output, folder = str(settings.output_dir), trial.folder("model")
    there, more_rows = _on_stand_ins(settings, trial)
    with clock() as loading:
        train(replace(there, max_epochs=0, max_steps=None, output_dir=str(folder)))
    trial.expect(output, StandIn(str(folder)))
    model, fixed = exactly(bytes_below(folder)), about(loading())
    if settings.max_epochs == 0:
        memory = about(peak_bytes())
        return Cost(work="no step", seconds=fixed, disk=model, memory=memory)
    from dprkit.training.step_trial import StepTrial

    reset_peak()
    tried_steps = StepTrial(there)
    with keeping_freed():
        step = tried(tried_steps.steps(ENOUGH))
    done = _steps_done(output)
    steps, validations = _counts(tried_steps, more_rows, done)
    in_step = tried_steps.memory()
    validating = _validating(tried_steps, trial) if validations else NOTHING
    memory = _memory(tried_steps, max(in_step, peak_bytes()), steps.likely).times(
        settings.num_processes
    )
    state = trial.folder("state")
    saving = tried_steps.saving(state)
    training = steps.times(step).plus(validating.times(validations))
    saves = validations + _saves(settings.checkpoint_every, steps.likely, training.likely)
    best = model.times(bool(validations))
    return Cost(
        work=_work(tried_steps.settings.batch_size, steps, done, validations),
        seconds=fixed.plus(training).plus(about(saving * saves)),
        disk=Range(0, best.likely, best.high).plus(model).plus(steps.times(LINE)).plus(CURVES),
        scratch=best.times(2).plus(exactly(bytes_below(state) * _states(settings, saves))),
        memory=memory,
        notes=_notes(settings),
    )


def _on_stand_ins(settings: TrainSettings, trial: Trial) -> tuple[TrainSettings, float]:
    """The settings with paths that are there, and how many times their rows there will be."""
    from dprkit.data.examples_by_row import ExampleFile
    from dprkit.data.folds import parse_fold
    from dprkit.training.distill_settings import without_teacher
    from dprkit.training.resolved_trainer import weighted_files

    files, there, expected = [], 0.0, 0.0
    fold = parse_fold(settings.leave_out)
    kept = 1 - 1 / fold.folds if fold else 1.0
    for path, weight in weighted_files(settings):
        found = trial.find(path)
        files.append(found.path if weight == 1 else f"{found.path}:{weight:g}")
        if settings.max_epochs != 0:
            count = len(ExampleFile(found.path, trial.note, fold))
            there += weight * count
            expected += weight * (kept * found.rows.likely if found.rows else count)
    if any(trial.path(path) != path for path, _ in weighted_files(settings)):
        settings = without_teacher(settings)  # stand-ins have no scores
    moved: dict[str, Any] = {"train_file": tuple(files), "num_processes": 1}
    for name in ("valid_file", "valid_corpus", "init"):
        if path := getattr(settings, name):
            moved[name] = trial.path(path)
    return replace(settings, **moved), expected / there if there else 1.0


def _steps_done(output: str) -> int:
    """Steps that an earlier run has done."""
    progress = read_progress(Path(output)) if os.path.isdir(output) else None
    return int((progress.state or {}).get("step", 0)) if progress else 0


def _counts(tried_steps: StepTrial, more_rows: float, done: int) -> tuple[Range, int]:
    """Steps and validations that are left."""
    from dprkit.training.resolved_trainer import total_steps
    from dprkit.training.step_trial import validations_between

    s, epoch = tried_steps.settings, tried_steps.task.batches_per_epoch
    spread = exactly(epoch) if more_rows == 1 else about(epoch * more_rows)
    ends = [total_steps(s, round(size)) for size in spread]
    steps = Range(*(max(0, end - done) for end in ends))
    if not s.valid_file:
        return steps, 0
    return steps, validations_between(s.valid_every, round(spread.likely), done, ends[1])


def _memory(tried_steps: StepTrial, tried_bytes: int, steps: float) -> Range:
    """What was seen, and how it will have grown when all steps are done."""
    doublings = max(0.0, math.log2(max(steps, 1) / len(tried_steps.peaks)))
    grown = Range(0, 1.3, 2).times(tried_steps.growth() * min(doublings, 8))
    return Range(0.9, 1.1, 1.35).times(tried_bytes).plus(grown)


def _saves(every: str, steps: float, seconds: float) -> int:
    """How often the state is saved beside validations."""
    if every == "never":
        return 0
    if every[-1] in SECONDS:
        return int(seconds // (int(every[:-1]) * SECONDS[every[-1]]))
    return int(steps // int(every))


def _states(settings: TrainSettings, saves: int) -> int:
    """States on the disk at one time, at the most: a new one before the oldest goes."""
    return min(saves, settings.keep_checkpoints + 1)


def _work(batch_size: int, steps: Range, done: int, validations: int) -> str:
    left = f" left of {steps.likely + done:,.0f}" if done else ""
    valid = f", {validations} validation{'s' * (validations != 1)}" if validations else ""
    return f"{steps.likely:,.0f} steps of {batch_size} questions{left}{valid}"


def _notes(settings: TrainSettings) -> tuple[str, ...]:
    notes = []
    if settings.patience:
        notes.append("training may end earlier (--patience)")
    if settings.num_processes > 1:
        notes.append(f"tried in one process; {settings.num_processes} share the same cores")
    return tuple(notes)


def _validating(tried_steps: StepTrial, trial: Trial) -> Range:
    """Seconds of a validation, by its first rows: more of them until it takes long enough."""
    path, count = tried_steps.settings.valid_file, len(tried_steps.task.valid or ())
    few = min(FEW, count)
    while True:
        sample = trial.folder("valid.jsonl")
        with sample.open("wb") as file:
            for row in islice(read_json_rows(open_stream(path)), few):
                file.write(b" ".join(row.raw.splitlines()) + b"\n")
        seconds = tried_steps.validation(str(sample))
        more = min(count, int(few * ENOUGH / max(seconds, 1e-3)))
        if more <= few or seconds > ENOUGH / 2:
            # Passages of several questions count once, so that more rows take less than that.
            spread = about(1) if few == count else Range(0.5, 0.9, 1.3)
            return spread.times(seconds * count / few)
        few = more
