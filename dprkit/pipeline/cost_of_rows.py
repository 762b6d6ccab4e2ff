"""What stages that go through the rows of a file will cost, by some of its rows.

    mine-negatives, read, score-teacher     a question after the other
    train-reader                            some steps, as many as there will be

Each is run twice in the scratch folder: with a few rows, for what loading takes, and with more.
What the second run made stands in for what the stage will write.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from dprkit.data.json_rows import read_json_rows
from dprkit.data.rankings import results_file
from dprkit.data.streams import open_stream
from dprkit.memory import peak_bytes, reset_peak
from dprkit.pipeline.costs import Cost, Range, about, exactly
from dprkit.pipeline.trial import NotKnown, StandIn, Trial, bytes_below, clock
from dprkit.settings import (
    MineSettings,
    ReadSettings,
    ScoreTeacherSettings,
    TrainReaderSettings,
)

WARM, FEW = 4, 32
"""Rows of the two runs."""
MINED = 128
"""The same of mining, which is fast: a batch of the training that reads what it makes."""
WARM_STEPS, STEPS = 1, 4


class Rows(NamedTuple):
    """The rows of a file that is there, or of what stands in for it."""

    path: str
    here: int
    """Those of the file."""
    expected: Range
    """Those that the stage will go through."""


def cost_of_mining(settings: MineSettings, trial: Trial) -> Cost:
    """Searching for the questions, and looking at what is found."""
    from dprkit.mining.mine import mine_negatives

    there = replace(settings, index=tuple(map(trial.path, settings.index)))
    there = _found(there, trial, "hybrid", "reader", "teacher", "retriever", "passages")
    if settings.questions is not None:
        raise NotKnown("only the questions of one file of examples are tried")
    rows = _rows(_one(settings.train_file), trial)

    def run(path: str, output: str) -> object:
        return mine_negatives(replace(there, train_file=(path,), output_dir=output))

    return _by_rows(rows, run, str(settings.output_dir), trial, MINED)


def cost_of_reading(settings: ReadSettings, trial: Trial) -> Cost:
    """Reading the passages of each question."""
    from dprkit.search.read import read

    there = _found(settings, trial, "reader")
    rows = _rows(_results(str(settings.results), trial), trial)

    def run(path: str, output: str) -> object:
        return read(replace(there, results=path, output=None, output_dir=output))

    return _by_rows(rows, run, str(settings.output_dir or settings.output), trial)


def cost_of_teaching(settings: ScoreTeacherSettings, trial: Trial) -> Cost:
    """Scoring the passages of each question."""
    from dprkit.teaching.teach import score_teacher

    there = replace(settings, teacher=tuple(map(trial.path, settings.teacher)))
    there = _found(there, trial, "ranking", "embeddings")
    of_results = settings.results is not None
    source = _results(str(settings.results), trial) if of_results else str(settings.train_file)
    rows = _rows(source, trial)

    def run(path: str, output: str) -> object:
        named = {"results" if of_results else "train_file": path}
        return score_teacher(replace(there, **named, output_dir=output))

    return _by_rows(rows, run, str(settings.output_dir), trial)


def cost_of_training_a_reader(settings: TrainReaderSettings, trial: Trial) -> Cost:
    """Loading, and steps, as many as there will be; validations are not tried."""
    from dprkit.settings.train_reader import BATCH_SIZE, EPOCHS
    from dprkit.training.train_reader import train_reader

    there = _found(settings, trial, "init")
    rows = _rows(_one(settings.train_file), trial)
    size = settings.batch_size or BATCH_SIZE
    few = _some(rows, size * STEPS, trial)

    def run(steps: int) -> tuple[float, Path]:
        output = trial.folder("reader")
        alone = {"num_processes": 1, "valid_file": None, "valid_every": "never"}
        named = {"train_file": (few,), "max_epochs": None, "max_steps": steps}
        with clock() as seconds:
            train_reader(replace(there, **alone, **named, output_dir=str(output)))
        return seconds(), output

    reset_peak()
    warm, _ = run(WARM_STEPS)
    seconds, made = run(STEPS)
    each = max(0.0, seconds - warm) / (STEPS - WARM_STEPS)
    steps = _steps(settings, rows.expected.times(1 / size), EPOCHS)
    trial.expect(str(settings.output_dir), StandIn(str(made)))
    notes = ("validations are not counted",) * bool(settings.valid_file)
    return Cost(
        work=f"{steps.likely:,.0f} steps of {size} questions",
        seconds=about(warm).plus(about(each).times(steps)),
        disk=exactly(bytes_below(made)),
        memory=Range(0.9, 1.1, 1.4).times(peak_bytes()),
        notes=notes,
    )


def _steps(settings: TrainReaderSettings, epoch: Range, epochs: int) -> Range:
    """Steps of the training: an epoch is as long as its whole batches."""
    if settings.max_steps is not None and settings.max_epochs is None:
        return exactly(settings.max_steps)
    times = epochs if settings.max_epochs is None else settings.max_epochs
    most = math.inf if settings.max_steps is None else settings.max_steps
    return Range(*(min(most, math.ceil(part) * times) for part in epoch))


# --- rows -----------------------------------------------------------------------------------------


def _by_rows(
    rows: Rows, run: Callable[[str, str], object], output: str, trial: Trial, most: int = FEW
) -> Cost:
    """By a run on a few rows, and one on more."""
    reset_peak()
    warm, _ = _timed(rows, WARM, run, trial)
    seconds, made = _timed(rows, most, run, trial)
    few = min(most, rows.here)
    more = few - min(WARM, rows.here)
    each = max(0.0, seconds - warm) / more if more else seconds / few
    trial.expect(output, StandIn(str(made), rows.expected))
    return Cost(
        work=f"{rows.expected.likely:,.0f} questions",
        seconds=about(warm).plus(about(each).times(rows.expected)),
        disk=Range(0.8, 1, 1.25).times(bytes_below(made) / few).times(rows.expected),
        memory=Range(0.9, 1.1, 1.5).times(peak_bytes()),
    )


def _timed(
    rows: Rows, count: int, run: Callable[[str, str], object], trial: Trial
) -> tuple[float, Path]:
    output = trial.folder("made")
    with clock() as seconds:
        run(_some(rows, count, trial), str(output))
    return seconds(), output


def _some(rows: Rows, count: int, trial: Trial) -> str:
    """Rows from all over a file, in a file of their own: neighbours are often of one passage."""
    few, most = trial.folder("rows.jsonl"), min(count, rows.here)
    wanted = {rows.here * number // most for number in range(most)}
    with few.open("wb") as file:
        for number, row in enumerate(read_json_rows(open_stream(rows.path))):
            if number in wanted:
                file.write(b" ".join(row.raw.splitlines()) + b"\n")
    return str(few)


def _rows(path: str, trial: Trial) -> Rows:
    found = trial.find(path)
    here = sum(1 for _ in read_json_rows(open_stream(found.path)))
    if not here:
        raise NotKnown(f"{path}: has no row to try")
    return Rows(found.path, here, found.rows or exactly(here))


def _one(paths: tuple[str, ...]) -> str:
    if len(paths) != 1:
        raise NotKnown("only the questions of one file of examples are tried")
    return paths[0]


def _results(path: str, trial: Trial) -> str:
    """The file of rankings that `path` names, or that it will hold."""
    found = trial.path(path)
    return (
        os.path.join(path, os.path.relpath(results_file(found), found))
        if os.path.isdir(found)
        else path
    )


def _found(settings: Any, trial: Trial, *names: str) -> Any:
    """The settings with paths that are there."""
    moved = {name: trial.path(path) for name in names if (path := getattr(settings, name))}
    return replace(settings, **moved)
