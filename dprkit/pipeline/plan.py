"""`dprkit plan`: what the stages of a recipe will cost on this machine, before they start.

A stage that is up to date costs nothing. Each other one is tried for some seconds in a scratch
folder: the recipe's own model, its own rows, a few steps, passages or questions. What it makes
there stands in for what it will write when the stages behind it are tried (trial.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from dprkit.cpu_cores import thread_count
from dprkit.errors import DprkitError
from dprkit.memory import available_bytes
from dprkit.pipeline.cost_of_audit import cost_of_audit
from dprkit.pipeline.cost_of_comparison import cost_of_comparison
from dprkit.pipeline.cost_of_data import cost_of_download, cost_of_select
from dprkit.pipeline.cost_of_encoding import cost_of_encoding
from dprkit.pipeline.cost_of_evaluation import cost_of_evaluation
from dprkit.pipeline.cost_of_index import cost_of_index
from dprkit.pipeline.cost_of_rows import (
    cost_of_mining,
    cost_of_reading,
    cost_of_teaching,
    cost_of_training_a_reader,
)
from dprkit.pipeline.cost_of_training import cost_of_training
from dprkit.pipeline.costs import NOTHING, Cost, Range, exactly
from dprkit.pipeline.fits import NO_LIMITS, Limits, StagePlan, misfits
from dprkit.pipeline.stage_order import StagesToRun
from dprkit.pipeline.status import REFUSED, THERE, statuses
from dprkit.pipeline.trial import NotKnown, Trial
from dprkit.progress import SILENT, Progress
from dprkit.recipes import Recipe
from dprkit.store.begin_or_resume import HALF_DONE, UP_TO_DATE

COSTS: Mapping[str, Callable[[Any, Trial], Cost]] = {
    "download": cost_of_download,
    "select-data": cost_of_select,
    "train": cost_of_training,
    "encode-corpus": cost_of_encoding,
    "index": cost_of_index,
    "evaluate": cost_of_evaluation,
    "compare": cost_of_comparison,
    "audit": cost_of_audit,
    "mine-negatives": cost_of_mining,
    "train-reader": cost_of_training_a_reader,
    "read": cost_of_reading,
    "score-teacher": cost_of_teaching,
}
"""The stages that `dprkit run` runs, and what tries each."""
OTHER_WORK = 1.6
"""How many times as long a stage may take on a busy machine that grows busier."""
TRIED, NOT_KNOWN = "tried", "not known"


class Plan(msgspec.Struct):
    """What a recipe will cost, stage by stage."""

    recipe: str
    stages: dict[str, StagePlan]
    total: dict[str, Range]
    """seconds and disk of all stages that are known; memory of the stage that takes most."""
    not_known: list[str]
    """Stages whose seconds are not in the sum."""
    machine: dict[str, Any]
    notes: list[str] = []
    failures: list[str] = []
    """Why it cannot fit, each with the stage."""
    outputs: list[str] = []


def plan(
    recipe: Recipe, stages: StagesToRun, limits: Limits = NO_LIMITS, progress: Progress = SILENT
) -> Plan:
    """Try each stage that is not up to date. Nothing is written but indexes of the rows of data
    files, which the stages themselves would make."""
    memory, load = available_bytes(), os.getloadavg()[0]
    planned: dict[str, StagePlan] = {}
    told = statuses(recipe, stages)
    progress.start("trying", len(stages), "stages")
    with TemporaryDirectory(prefix="dprkit-plan-") as scratch:
        trial = Trial(Path(scratch), progress.note)
        for stage, files in stages.items():
            planned[stage] = _tried(recipe, stage, told[stage], trial, _unrest(load))
            if planned[stage].state in (TRIED, NOT_KNOWN):
                _leave_unknown(trial, stage, files.writes)
            progress.advance(1)
    progress.finish()
    room = {stage: _free(files.writes[0]) for stage, files in stages.items()}
    machine = {"cores": thread_count(), "load": load, "memory": memory, "disk": min(room.values())}
    report = _summed(recipe.name, planned, machine)
    tried_any = any(stage.state == TRIED for stage in planned.values())
    if tried_any and load > machine["cores"]:
        cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
        busy = f"the machine is busy (a load of {load:.1f} on {cores})"
        report.notes.append(f"{busy}, so the times are long; on a quiet one it takes less")
    if report.not_known and limits != NO_LIMITS:
        left_out = ", ".join(report.not_known)
        report.notes.append(f"{left_out}: not known, and not counted against the limits")
    for misfit in misfits(planned, limits, memory, room):
        (report.failures if misfit.likely else report.notes).append(misfit.told)
    return report


def _unrest(load: float) -> Range:
    """How many times as long a stage may take, where other work comes and goes beside it."""
    share = thread_count() / max(load, 1e-9)
    return exactly(1) if share >= 1 else Range(share, 1, OTHER_WORK)


def _tried(
    recipe: Recipe, stage: str, told: Mapping[str, Any], trial: Trial, unrest: Range
) -> StagePlan:
    kind = recipe.kind_of(stage)
    if told["state"] in (UP_TO_DATE, THERE):
        return StagePlan(kind, told["state"], "", "", NOTHING, NOTHING, NOTHING, NOTHING)
    if told["state"] == REFUSED:
        return StagePlan(kind, NOT_KNOWN, told["why"])
    if told["state"] == HALF_DONE and told["why"]:
        return StagePlan(kind, NOT_KNOWN, f"half done with other settings: {told['why']}")
    try:
        settings = trial.models_here(recipe.stage(stage, {})[0])
        cost = COSTS[kind](settings, trial)
    except (DprkitError, NotKnown) as error:
        return StagePlan(kind, NOT_KNOWN, str(error))
    seconds = None if cost.seconds is None else cost.seconds.times(unrest)
    amounts = (seconds, cost.disk, cost.scratch, cost.memory)
    state = NOT_KNOWN if cost.seconds is None else TRIED
    return StagePlan(kind, state, "", cost.work, *amounts, list(cost.notes))


def _leave_unknown(trial: Trial, stage: str, writes: tuple[str, ...]) -> None:
    """What a stage will write and left nothing to stand in for is not known to those behind it."""
    for path in writes:
        here = Path(os.path.abspath(path))
        if not {*map(str, (here, *here.parents))} & trial.expected.keys():
            trial.expect(path, f"{stage} has yet to write it")


def _free(path: str) -> int:
    """Bytes that are free where `path` is or will be."""
    here = Path(path).absolute()
    return shutil.disk_usage(next(p for p in (here, *here.parents) if p.exists())).free


def _summed(name: str, planned: dict[str, StagePlan], machine: dict[str, Any]) -> Plan:
    seconds = disk = memory = NOTHING
    for stage in planned.values():
        seconds = seconds.plus(stage.seconds or NOTHING)
        disk = disk.plus(stage.disk or NOTHING)
        memory = max(memory, stage.memory or NOTHING, key=lambda amount: amount.likely)
    not_known = [name for name, stage in planned.items() if stage.seconds is None]
    total = {"seconds": seconds, "disk": disk, "memory": memory}
    return Plan(name, planned, total, not_known, machine)
