"""The table of stages: which function runs each one, and what is left of one that was stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from dprkit.errors import InputError, SettingsError
from dprkit.progress import Progress, Run
from dprkit.recipes import Recipe
from dprkit.settings import fields_of
from dprkit.store.manifests import MANIFEST, is_artifact, read_manifest, read_progress


def half_done(settings: Any) -> bool:
    """Whether the output folder holds a half-done artifact that a later run goes on with."""
    folder = getattr(settings, "output_dir", None)
    progress = read_progress(Path(folder)) if folder else None
    return bool(progress and progress.state)


def partly_fetched(settings: Any) -> bool:
    """Whether the output folder holds a part of a file, which a later run completes."""
    return any(Path(settings.output_dir).rglob("*.part"))


@dataclass(frozen=True)
class Stage:
    """How a stage is run."""

    home: str
    """"module:function"; imported when the stage runs.

    The module of a stage that `dprkit run` runs has `files_of` too, which tells by the settings
    what the stage reads and writes, or refuses them.
    """
    in_run: bool = True
    """Whether `dprkit run` runs it where the recipe mentions it."""
    resumes: Callable[[Any], bool] = half_done
    """Whether the stage, when it was stopped, left something that a later run goes on with."""

    @property
    def module(self) -> ModuleType:
        return import_module(self.home.partition(":")[0])

    @property
    def function(self) -> Callable[..., Any]:
        """stage(settings, run) -> report."""
        function: Callable[..., Any] = getattr(self.module, self.home.partition(":")[2])
        return function


FUNCTIONS: Mapping[str, Stage] = {
    "download": Stage("dprkit.download.download:download", resumes=partly_fetched),
    "import-data": Stage("dprkit.imports.import_data:import_data", in_run=False),
    "select-data": Stage("dprkit.data.selection:select_data"),
    "export-data": Stage("dprkit.exports.export:export_data", in_run=False),
    "train": Stage("dprkit.training.train:train"),
    "train-reader": Stage("dprkit.training.train_reader:train_reader"),
    "convert": Stage("dprkit.interop.convert:convert", in_run=False),
    "push": Stage("dprkit.interop.push:push", in_run=False),
    "encode-corpus": Stage("dprkit.embeddings.encode:encode_corpus"),
    "import-embeddings": Stage("dprkit.embeddings.importing:import_embeddings", in_run=False),
    "export-embeddings": Stage("dprkit.embeddings.exporting:export_embeddings", in_run=False),
    "index": Stage("dprkit.indexes.build:index"),
    "tune-index": Stage("dprkit.indexes.tune:tune_index", in_run=False),
    "update-index": Stage("dprkit.indexes.update:update_index", in_run=False),
    "search": Stage("dprkit.search.search:search", in_run=False),
    "explain": Stage("dprkit.search.explain:explain", in_run=False),
    "mine-negatives": Stage("dprkit.mining.mine:mine_negatives"),
    "score-teacher": Stage("dprkit.teaching.teach:score_teacher"),
    "evaluate": Stage("dprkit.evaluation.evaluate:evaluate"),
    "read": Stage("dprkit.search.read:read"),
    "compare": Stage("dprkit.evaluation.compare:compare"),
    "report": Stage("dprkit.report.report:report", in_run=False),
    "convert-results": Stage("dprkit.data.results_conversion:convert_results", in_run=False),
    "audit": Stage("dprkit.audit.audit:audit"),
}
"""The stages of settings.STAGES."""


@dataclass(frozen=True)
class Outcome:
    """What came of a stage."""

    report: Any
    up_to_date: bool
    """Whether its artifact was there as it should be, so that nothing was done."""
    seconds: float


def run_stage(
    recipe: Recipe,
    name: str,
    run: Run = Run(),
    flags: Mapping[str, Any] = {},
    options: Mapping[str, Any] = {},
    stage: Stage | None = None,
) -> Outcome:
    """Run the stage `name` of a recipe.

    `flags`: setting -> value that the user typed. `options`: what the function takes beside its
    settings. `stage`: what is run in its place, with the same settings.
    """
    settings, origins = recipe.stage(name, flags)
    for key, origin in origins.items():
        of_user = not recipe.shipped and key in recipe.written.get(name, {})
        if of_user and origin.startswith("replaced"):
            run.progress.note(f"{key} of {recipe.source} is left out: {origin}")
    function = (stage or FUNCTIONS[recipe.kind_of(name)]).function
    begin, before = time.perf_counter(), _stamp(settings)
    try:
        report = function(settings, run, **options)
    finally:
        run.progress.close()
    same = bool(before and report.outputs) and before == _stamp(settings)
    return Outcome(report, same, time.perf_counter() - begin)


def resumes(recipe: Recipe, name: str, flags: Mapping[str, Any] = {}) -> bool:
    """Whether a run of the stage `name` would go on where an earlier one was stopped."""
    return FUNCTIONS[recipe.kind_of(name)].resumes(recipe.stage(name, flags)[0])


def _stamp(settings: msgspec.Struct) -> tuple[int, int] | None:
    """What changes with the manifest of the output folder; None where there is no such folder."""
    folder = getattr(settings, "output_dir", None)
    if folder is None or getattr(settings, "output", None):
        return None
    with suppress(OSError):
        info = (Path(folder) / MANIFEST).stat()
        return info.st_ino, info.st_mtime_ns
    return None


def refuse_output_over_input(settings: msgspec.Struct) -> None:
    """Raise SettingsError where an output file is an input too, or a file of another artifact."""
    fields = fields_of(type(settings))
    paths = {name: getattr(settings, name) for name, setting in fields.items() if setting.path}
    for name in output_files(settings):
        output = paths[name]
        for inputs in (value for other, value in paths.items() if other != name):
            given = inputs if isinstance(inputs, tuple) else (inputs,)
            given = tuple(part for path in given if path for part in (path, *path.split(",")))
            if output and any(path and _is_same_file(path, output) for path in given):
                flag = f"--{name.replace('_', '-')}"
                raise SettingsError(f"{output}: is an input too; choose another {flag}")
        if output and (kind := _holder(output, getattr(settings, "output_dir", None))):
            flag = f"--{name.replace('_', '-')}"
            raise SettingsError(f"{output}: is a file of the {kind} there; choose another {flag}")


def refuse_stdin_twice(settings: msgspec.Struct) -> None:
    """Raise SettingsError where two inputs are stdin, which the first would leave empty."""
    fields = fields_of(type(settings)).values()
    inputs = [setting.name for setting in fields if setting.path and not setting.output]
    piped = [f"--{n.replace('_', '-')}" for n in inputs if getattr(settings, n) == "-"]
    if len(piped) > 1:
        raise SettingsError(f"{piped[0]} and {piped[1]} both read stdin; give one of them a file")


def refuse_unwritten(name: str, settings: msgspec.Struct, flags: Mapping[str, Any]) -> None:
    """Raise SettingsError for flags of files that `evaluate` and `read` of stdin do not write."""
    if name == "read" and getattr(settings, "results", None) == "-" and flags.get("output_dir"):
        problem = "stdin cannot be read again to go on with a folder"
        raise SettingsError(f"--output-dir: {problem}; give --results a file, or write to -o")
    inputs = {getattr(settings, key, None) for key in ("results", "questions", "qrels", "answers")}
    if name != "evaluate" or "-" not in inputs:
        return
    for key in ("output_dir", "parquet"):
        if flags.get(key):
            flag = f"--{key.replace('_', '-')}"
            problem = "of stdin the figures are only printed, and no file is written"
            raise SettingsError(f"{flag}: {problem}; leave it out, or give a file in place of -")


def _holder(path: str, own: str | None) -> str | None:
    """The kind of the finished artifact that has the file `path`, unless it is the stage's own."""
    folder = Path(path).parent
    if not is_artifact(folder) or (own and os.path.realpath(own) == os.path.realpath(folder)):
        return None
    with suppress(InputError):  # one that is damaged is told of where it is read
        manifest = read_manifest(folder)
        return manifest.kind if Path(path).name in {*manifest.files, MANIFEST} else None
    return None


def output_files(settings: msgspec.Struct) -> list[str]:
    """The settings that name a file, not a folder, that is written."""
    fields = fields_of(type(settings))
    return [name for name, setting in fields.items() if setting.output and name != "output_dir"]


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.isfile(one) and os.path.samefile(one, other)
    except OSError:
        return False


def warn_of_idle_sets(recipe: Recipe, stages: list[str], progress: Progress) -> None:
    """Warn of each --set that changes nothing in `stages`."""
    for stage in recipe.idle_sets(stages):
        given = ", ".join(f"--set {stage}.{name}" for name in recipe.sets[stage])
        progress.warn(f"{given}: without effect here, since {recipe.source} has no stage {stage}")
