"""compare: which of several systems is better on the same questions, and what chance may do.

results, rankings            -> systems with values of each question     arms.py, systems.py
values of all systems        -> means, intervals, tests of each pair      comparison.py
differences to the first     -> what fails                                `_failures`
all of these, if it is kept  -> an artifact                               `_keep`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dprkit.data.json_decoding import json_lines
from dprkit.errors import InputError, SettingsError, nearest
from dprkit.evaluation.arms import Arm, measures_of, paths_of, questions_of, read_arms
from dprkit.evaluation.comparison import Comparison, Comparisons, Table, compared, correct
from dprkit.evaluation.notes import repeated_texts
from dprkit.evaluation.paired_tests import EQUAL, pairs_of
from dprkit.evaluation.slices import slices_of
from dprkit.progress import Run
from dprkit.settings import CompareSettings
from dprkit.store.atomic_files import write_file
from dprkit.store.begin_or_resume import draft
from dprkit.store.drafts import Draft
from dprkit.store.stage_files import StageFiles

COMPARISON = "comparison.json"
MODELS = (
    "each system is one training: the tests tell whether these two models differ on such "
    "questions, and not whether their methods do; for that, give several trainings of each, as "
    "a1,a2,a3 b1,b2,b3"
)
METHODS = (
    "the tests reckon with other trainings and other questions: they tell whether the methods "
    "differ, and not these models alone"
)
ONE_OF_THEM = (
    "systems with one training are taken to vary as those that they are compared with; two of them "
    "are compared as models, not as methods"
)


class Slice(msgspec.Struct):
    """The comparison on some of the questions."""

    questions: int
    metrics: Comparisons


class CompareReport(msgspec.Struct):
    """How systems compare."""

    questions: int
    systems: list[str]
    trainings: list[int]
    metrics: Comparisons
    tests: int
    """Tests that p_holm corrects for."""
    meaning: str
    """What the tests tell of: models, or methods."""
    slices: dict[str, dict[str, Slice]] = {}
    """What questions are told apart by -> its value -> the comparison on these questions."""
    notes: list[str] = []
    failures: list[str] = []
    """What --fail-if-worse fails for."""
    format: str = "table"
    outputs: list[str] = []


class Gate(NamedTuple):
    """What --fail-if-worse asks of a measure."""

    measure: str
    share: float


def compare(settings: CompareSettings, run: Run = Run()) -> CompareReport:
    """Compare systems by all measures that they have, each pair of them tested.

    Writes comparison.json where there is an output folder. Raises SettingsError, InputError for a
    system that is missing or did not run, FormatError, MismatchError for systems of other
    questions.
    """
    gates = [_gate(text) for text in settings.fail_if_worse]
    if settings.output_dir is None:
        return _compare(settings, gates, run)
    directory = Path(settings.output_dir)
    with draft(directory, "comparison", settings, _inputs(settings), run) as work:
        was_there = work.done is not None
        if not was_there:
            _keep(work, settings, gates, run)
    report = msgspec.json.decode((directory / COMPARISON).read_bytes(), type=CompareReport)
    report.format = settings.format
    for note in report.notes if was_there else ():
        run.progress.note(note)
    if settings.flips is not None and was_there:
        arms, table, _ = _read(settings, run)
        _write_flips(settings.flips, arms, table)
    report.outputs = [str(directory / COMPARISON), *filter(None, [settings.flips])]
    return report


def files_of(settings: CompareSettings) -> StageFiles:
    """What is read and written. Raises SettingsError."""
    for text in settings.fail_if_worse:
        _gate(text)
    reads: dict[str, list[str]] = {}
    for name, path in _inputs(settings).items():
        reads.setdefault(name.partition(" ")[0], []).append(path)
    return StageFiles(reads, settings.output_dir, tuple(filter(None, [settings.flips])))


def _inputs(settings: CompareSettings) -> dict[str, str]:
    arms = paths_of(settings)
    files = {
        f"systems {number}.{training}": path
        for number, of_arm in enumerate(arms)
        for training, path in enumerate(of_arm)
    }
    judged_by = {"questions": settings.questions, "qrels": settings.qrels}
    given = files | {name: path for name, path in judged_by.items() if path is not None}
    if "-" in given.values():
        problem = "stdin cannot be found again to see whether it changed; name a file"
        raise SettingsError(f"-: {problem}, or leave --output-dir out")
    return given


def _keep(work: Draft, settings: CompareSettings, gates: Sequence[Gate], run: Run) -> None:
    report = _compare(settings, gates, run)
    told = msgspec.to_builtins(report)
    del told["outputs"], told["format"]
    with work.file(COMPARISON) as file:
        file.write(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    work.finish({name: told[name] for name in ("questions", "systems", "trainings", "tests")})


def _read(settings: CompareSettings, run: Run) -> tuple[list[Arm], Table, list[str]]:
    """The systems, their values by the measures to compare, and measures that some lack."""
    arms = read_arms(settings, run)
    measures, left_out = measures_of(arms, settings)
    table = {measure: [arm.values(measure) for arm in arms] for measure in measures}
    return arms, table, left_out


def _compare(settings: CompareSettings, gates: Sequence[Gate], run: Run) -> CompareReport:
    arms, table, left_out = _read(settings, run)
    for gate in gates:
        if gate.measure not in table:
            hint = nearest(gate.measure, table) or f"; there are {', '.join(table)}"
            raise SettingsError(f"--fail-if-worse: {gate.measure} is not compared{hint}")
        _refuse_half_runs(arms, gate)
    tests = len(pairs_of(len(arms))) * len(table)
    run.progress.note(f"testing {tests:,} difference{'s' * (tests != 1)}")
    whole = compared(table, settings.permutations, settings.seed)
    report = CompareReport(
        len(questions_of(arms)),
        [arm.name for arm in arms],
        [len(arm.trainings) for arm in arms],
        whole,
        correct([whole]),
        _meaning(arms),
        _slices(arms, table, settings),
        [*_notes(arms, whole, left_out)],
        [*_failures(whole, gates, arms)],
        settings.format,
    )
    for note in report.notes:
        run.progress.warn(note)
    report.notes += _missing(arms, judged=True)  # which was said when they were judged
    if settings.flips is not None:
        _write_flips(settings.flips, arms, table)
        report.outputs.append(settings.flips)
    return report


def _meaning(arms: Sequence[Arm]) -> str:
    several = [len(arm.trainings) > 1 for arm in arms]
    return METHODS if all(several) else ONE_OF_THEM if any(several) else MODELS


def _slices(
    arms: Sequence[Arm], table: Table, settings: CompareSettings
) -> dict[str, dict[str, Slice]]:
    """The comparison on the questions of each slice; all of them are one family of tests."""
    slices: dict[str, dict[str, Slice]] = {}
    for by in settings.by:
        slices[by] = {}
        for value, rows in slices_of(by, questions_of(arms)).items():
            some = {measure: [own[:, rows] for own in every] for measure, every in table.items()}
            found = compared(some, settings.permutations, settings.seed)
            slices[by][value] = Slice(len(rows), found)
    correct(one.metrics for of_value in slices.values() for one in of_value.values())
    return slices


# --- what is said ---------------------------------------------------------------------------------


def _notes(arms: Sequence[Arm], found: Comparisons, left_out: Sequence[str]) -> Iterator[str]:
    """What changes the meaning of the figures."""
    if left_out:
        yield f"not compared, for not all systems have them: {', '.join(left_out)}"
    yield from _missing(arms, judged=False)
    yield from _of_partial_measures(arms, found)
    if again := repeated_texts(questions_of(arms)):
        yield f"{again:,} questions have the text of another one, and each counts"


def _missing(arms: Sequence[Arm], judged: bool) -> Iterator[str]:
    """Questions without a ranking, of files that were judged or of results that were there."""
    for training in (training for arm in arms for training in arm.trainings):
        absent = sum(one.missing is True for one in training.questions)
        if absent and judged == training.judged:
            yield f"{training.path} has no ranking of questions that count 0: {absent:,}"


def _of_partial_measures(arms: Sequence[Arm], found: Comparisons) -> Iterator[str]:
    """Measures that are defined for more questions in one system than in another."""
    import numpy as np

    for measure, comparison in found.items():
        defined = [int((~np.isnan(arm.values(measure))).all(axis=0).sum()) for arm in arms]
        if max(defined) > comparison.questions:
            counts = ", ".join(f"{n:,} in {arm.name}" for n, arm in zip(defined, arms, strict=True))
            yield (
                f"{measure} is compared on {comparison.questions:,} questions: it is defined for "
                f"{counts}"
            )


# --- --fail-if-worse ------------------------------------------------------------------------------


def _gate(text: str) -> Gate:
    measure, colon, share = text.rpartition(":")
    try:
        least = float(share)
    except ValueError:
        least = -1.0
    if not colon or not measure or not isfinite(least) or not 0 <= least < 1:
        raise SettingsError(
            f"--fail-if-worse {text}: write MEASURE:SHARE, such as answer_recall@20:0.005; a share "
            "is 0 or more and below 1"
        )
    return Gate(measure, least)


def _refuse_half_runs(arms: Sequence[Arm], gate: Gate) -> None:
    """Raise InputError where questions that a run lacks could decide what the gate says."""
    trainings = [training for arm in arms for training in arm.trainings]
    lacking = [[one.missing is True for one in training.questions] for training in trainings]
    for training, own in zip(trainings, lacking, strict=True):
        alone = sum(lacks and not all(every) for lacks, *every in zip(own, *lacking, strict=True))
        if alone > gate.share * len(own):
            raise InputError(
                f"--fail-if-worse: {training.path} has no ranking of {alone:,} of {len(own):,} "
                "questions that others have, and they count 0; run it for all questions (a run "
                "lacks questions that found nothing: name its results.jsonl or folder)"
            )


def _failures(found: Comparisons, gates: Sequence[Gate], arms: Sequence[Arm]) -> Iterator[str]:
    """Each system that is worse than the first by more than a gate allows."""
    for gate in gates:
        comparison = found[gate.measure]
        for pair in comparison.pairs:
            if pair.difference is None:
                raise InputError(
                    f"--fail-if-worse: {gate.measure} is undefined for all questions; name another"
                )
            if pair.a == 0 and pair.difference < -gate.share - EQUAL:
                yield _failure(gate, comparison, pair, arms)


def _failure(gate: Gate, comparison: Comparison, pair: Any, arms: Sequence[Arm]) -> str:
    before, now = comparison.values[pair.a], comparison.values[pair.b]
    return (
        f"{gate.measure} of {arms[pair.b].name} is {now:.4f}, {-pair.difference:.4f} below "
        f"{arms[pair.a].name} with {before:.4f}; {gate.share:g} is allowed (p {pair.p:.2g})"
    )


# --- --flips --------------------------------------------------------------------------------------


def _write_flips(path: str, arms: Sequence[Arm], table: Table) -> None:
    """Write a line for each question that all trainings of one system find and none of another.

    A question is found by a measure where its value is above 0. The values are means over the
    trainings, in the order of the systems.
    """
    import numpy as np

    flipped = {}
    for measure, systems in table.items():
        found = np.any([(own > 0).all(axis=0) for own in systems], axis=0)
        lost = np.any([(own == 0).all(axis=0) for own in systems], axis=0)
        flipped[measure] = np.logical_and(found, lost)
    values = {m: np.stack([own.mean(axis=0) for own in every]) for m, every in table.items()}
    with write_file(path) as file:
        lines = json_lines(file)
        for row, question in enumerate(questions_of(arms)):
            shown = {m: values[m][:, row].tolist() for m, flips in flipped.items() if flips[row]}
            if shown:
                lines.write({"id": question.id, "question": question.question, "measures": shown})
