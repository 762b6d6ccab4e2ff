"""`dprkit run --status`: where each stage of a recipe is, found without running any."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dprkit.errors import DprkitError
from dprkit.pipeline.stage_order import StagesToRun
from dprkit.pipeline.stages import FUNCTIONS
from dprkit.progress import Run
from dprkit.recipes import Recipe
from dprkit.store.begin_or_resume import HALF_DONE, NOT_BEGUN, OUT_OF_DATE, UP_TO_DATE, Previewed
from dprkit.store.manifests import is_artifact
from dprkit.store.stage_files import StageFiles

THERE = "there"
"""The files are there; whether they would change, only a run tells."""
REFUSED = "refused"
"""The stage would end with an error, which is told too."""


def statuses(recipe: Recipe, stages: StagesToRun) -> dict[str, dict[str, Any]]:
    """stage -> the command it runs, its state, why it is in it, and the output."""
    told: dict[str, dict[str, Any]] = {}
    pending: dict[str, str] = {}
    """What stages write that are not up to date -> the stage."""
    for stage, files in stages.items():
        reads = [Path(os.path.abspath(path)) for paths in files.reads.values() for path in paths]
        above = (str(path) for read in reads for path in (read, *read.parents))
        waits_for = next((pending[path] for path in above if path in pending), "")
        state, why = _state(recipe, stage, files, waits_for)
        if state not in (UP_TO_DATE, THERE):
            pending |= dict.fromkeys(map(os.path.abspath, files.writes), stage)
        kind = recipe.kind_of(stage)
        told[stage] = {"stage": kind, "state": state, "why": why, "output": files.writes[0]}
    return told


def _state(recipe: Recipe, stage: str, files: StageFiles, waits_for: str) -> tuple[str, str]:
    """The state of a stage and the reason for it, `waits_for` a stage that is to run before it."""
    settings = recipe.stage(stage, {})[0]
    kind = recipe.kind_of(stage)
    if files.folder is None:
        complete = all(map(os.path.exists, files.files))
        partly = FUNCTIONS[kind].resumes(settings)
        return (THERE if complete else HALF_DONE if partly else NOT_BEGUN), ""
    try:
        if waits_for and FUNCTIONS[kind].resumes(settings):
            return HALF_DONE, ""
        if waits_for:
            made = is_artifact(Path(files.folder))
            return (OUT_OF_DATE, f"{waits_for} comes first") if made else (NOT_BEGUN, "")
        FUNCTIONS[kind].function(settings, Run(only_preview=True))
    except Previewed as preview:
        return preview.state, preview.why
    except DprkitError as error:
        return REFUSED, str(error)
    return UP_TO_DATE, ""
