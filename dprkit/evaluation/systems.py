"""Systems: what a retriever reached on each question, read so that systems can be compared."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from dprkit.data.json_decoding import decoder
from dprkit.data.json_rows import read_json_rows
from dprkit.data.streams import open_stream
from dprkit.errors import FormatError, InputError, MismatchError, SettingsError
from dprkit.evaluation.evaluate import EvaluateReport, measured
from dprkit.evaluation.judging import Figures
from dprkit.evaluation.per_question import PER_QUESTION
from dprkit.progress import Named, Run
from dprkit.records import same_question
from dprkit.settings import EvaluateSettings
from dprkit.store.integrity import Verifier
from dprkit.store.manifests import Manifest, is_artifact, read_manifest

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = re.compile(r"(?<=[^/])(\.(jsonl?|trec|run|res|txt|gz|zst|bz2|xz))+$")
"""What the names of files of rankings end with."""
EXAMPLES = 3
"""Questions that are named where systems differ."""


@dataclass(frozen=True)
class System:
    """A system with Q questions that it was measured on."""

    name: str
    path: str
    questions: Sequence[Figures]
    values: Mapping[str, np.ndarray]
    """Measure -> (Q,) float64, NaN where it is undefined for the question."""
    manifest: Manifest | None = None
    """Of its results artifact, where it is one."""
    report: EvaluateReport | None = None
    """Its metrics, as `evaluate` tells them."""
    match: str = "string"
    """How answers were compared with its passages."""
    judged: bool = False
    """Whether its rankings were judged when it was read, and not its figures read."""


AS_THEY_ARE = EvaluateSettings(output_dir=None)
"""How files are judged where nothing else is asked for: by the answers and gold in them."""


def read_system(
    path: str, name: str = "", run: Run = Run(), judge: EvaluateSettings = AS_THEY_ARE
) -> System:
    """The system at `path`: a results artifact, or a file of rankings that is judged.

    `judge`: how; its qrels count for an artifact too, which keeps its own way to compare answers.
    Raises InputError, FormatError, MismatchError as `evaluate` does, and DamagedError for an
    artifact of which a file was changed.
    """
    name = name or names_of([path])[0]
    if os.path.isdir(path) and judge.qrels is None:
        manifest = Verifier(run.progress.note).artifact(path, "results")
        figures = read_figures(Path(path) / PER_QUESTION)
        report = msgspec.convert(manifest.counts, EvaluateReport)
        match = str(manifest.settings.get("match", judge.match))
        return System(name, path, figures, values_of(figures), manifest, report, match)
    made = read_manifest(path) if is_artifact(path) else None
    if made:
        judge = replace(judge, match=made.settings.get("match", judge.match))
    named = changed(run, progress=Named(run.progress, path))
    report, figures = measured(replace(judge, results=path), None, named)
    return System(name, path, figures, values_of(figures), made, report, judge.match, judged=True)


def refuse_repeated(paths: Sequence[str]) -> None:
    """Raise SettingsError for one file or folder that two of `paths` name."""
    seen: dict[str, str] = {}
    for path in paths:
        real = os.path.realpath(path)
        if real in seen:
            raise SettingsError(f"{seen[real]} and {path} are the same; name it once")
        seen[real] = path


def refuse_idle_judging(paths: Sequence[str], judge: EvaluateSettings) -> None:
    """Raise SettingsError for a way to judge where nothing is judged: artifacts have figures."""
    if judge.qrels is not None or not all(map(os.path.isdir, paths)):
        return
    for flag, idle in (("--questions", judge.questions), ("--match", judge.match != "string")):
        if idle:
            problem = "is for files of rankings and for --qrels; the figures of folders are kept"
            raise SettingsError(f"{flag} {problem}; leave it out, or name their results.jsonl")


def read_figures(path: Path) -> list[Figures]:
    """The lines of per_question.jsonl. Raises FormatError for an id that occurs twice."""
    decode, lines, seen = decoder(Figures), list[Figures](), set[str]()
    for row in read_json_rows(open_stream(path)):
        line = decode(row, path)
        if line.id in seen:
            raise FormatError(path, row.where, f"the question id {line.id!r} occurs twice")
        if line.measures is UNSET:
            problem = "has no measures: an older dprkit wrote it; run evaluate again"
            raise FormatError(path, row.where, problem)
        seen.add(line.id)
        lines.append(line)
    if not lines:
        raise InputError(f"{path}: holds no question; run evaluate again")
    return lines


def values_of(questions: Sequence[Figures]) -> dict[str, np.ndarray]:
    """Measure -> (Q,) float64, its value for each question, NaN where it is undefined."""
    import numpy as np

    measures = [{} if q.measures is UNSET else q.measures for q in questions]
    names = dict.fromkeys(name for of_question in measures for name in of_question)
    return {
        name: np.array([of_question.get(name) for of_question in measures], np.float64)
        for name in names
    }


# --- names ----------------------------------------------------------------------------------------


def names_of(paths: Sequence[str]) -> list[str]:
    """What systems are called: their paths, without the folders that all of them share.

    runs/a/results and runs/b/results are a and b.
    """
    parts = [list(Path(os.path.abspath(path)).parts) for path in paths]
    if len(set(map(tuple, parts))) == 1:
        return [one[-1] for one in parts]
    while all(len(one) > 1 for one in parts) and len({one[0] for one in parts}) == 1:
        parts = [one[1:] for one in parts]
    while all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
        parts = [one[:-1] for one in parts]
    names = [" ".join("/".join(one).split()) for one in parts]
    bare = [SUFFIXES.sub("", name) for name in names]
    return bare if len(set(bare)) == len(set(names)) and all(bare) else names


# --- the same questions ---------------------------------------------------------------------------


def with_same_questions(systems: Sequence[System]) -> list[System]:
    """The systems, each with its questions in the order of the first.

    Questions are the same where their ids and texts are. Where a file has no texts, ids must do;
    where no id is the same, the texts. Those that not all systems have and that nothing judges are
    left out. The first system has the texts, data sets and tags that any of them tells. Raises
    MismatchError that names what differs.
    """
    first, *others = _without_unjudged(systems)
    same = [first, *(_in_order(first, other) for other in others)]
    return [changed(first, questions=_told_by_any(same)), *same[1:]]


def _told_by_any(systems: Sequence[System]) -> list[Figures]:
    """The questions of the first system, with what only another one tells of them."""
    told = []
    for one, *others in zip(*(system.questions for system in systems), strict=True):
        more = {
            name: value
            for name in ("question", "dataset", "tags")
            if not getattr(one, name)
            and (value := next(filter(None, (getattr(q, name) for q in others)), None))
        }
        told.append(replace(one, **more) if more else one)
    return told


def _without_unjudged(systems: Sequence[System]) -> list[System]:
    """The systems without the questions that not all have and that nothing judges."""
    import numpy as np

    shared = set.intersection(*({f.id for f in system.questions} for system in systems))
    kept = []
    for system in systems:
        judged = ~np.isnan(np.stack(list(system.values.values()))).all(axis=0)
        kept.append(_rows(system, judged | np.array([f.id in shared for f in system.questions])))
    return kept


def _rows(system: System, kept: np.ndarray) -> System:
    """The system with some of its questions: kept is (Q,) of bool."""
    if kept.all():
        return system
    questions = [one for one, keep in zip(system.questions, kept, strict=True) if keep]
    values = {name: own[kept] for name, own in system.values.items()}
    return changed(system, questions=questions, values=values)


Key = Callable[[Figures], str]


def _text(question: Figures) -> str:
    return same_question(question.question)


def _in_order(first: System, other: System) -> System:
    import numpy as np

    key: Key = _text if _texts_alone_agree(first, other) else attrgetter("id")
    if problem := _difference(first, other, key):
        raise MismatchError(
            f"{first.path} and {other.path} have different questions: {problem}; evaluate both "
            "with the same questions"
        )
    place = {key(question): at for at, question in enumerate(other.questions)}
    order = np.array([place[key(question)] for question in first.questions])
    return changed(
        other,
        questions=[other.questions[at] for at in order],
        values={name: values[order] for name, values in other.values.items()},
    )


def _texts_alone_agree(first: System, other: System) -> bool:
    """Whether no id is the same and each text occurs once in both."""
    here, there = first.questions, other.questions
    texts = [set(map(_text, questions)) for questions in (here, there)]
    ids = [{question.id for question in questions} for questions in (here, there)]
    once = len(texts[0]) == len(here) and len(texts[1]) == len(there)
    return once and texts[0] == texts[1] and ids[0].isdisjoint(ids[1])


def _difference(first: System, other: System, key: Key) -> str:
    """How the questions of two systems differ, or ""."""
    mine, theirs = ({key(q): q for q in system.questions} for system in (first, other))
    problems = []
    for system, own, others in ((first, mine, theirs), (other, theirs, mine)):
        if alone := [question for name, question in own.items() if name not in others]:
            count = f"{len(alone):,} of {len(own):,} questions are"
            problems.append(f"{count} in {system.name} alone, such as {_shown(alone)}")
    pairs = [(question, theirs[name]) for name, question in mine.items() if name in theirs]
    other_texts = [(a, b) for a, b in pairs if a.question and b.question and _text(a) != _text(b)]
    if other_texts:
        (one, two), *_ = other_texts
        count = f"{len(other_texts):,} questions have another text"
        problems.append(f"{count}, such as {one.id}: {one.question!r} and {two.question!r}")
    return "; ".join(problems)


def _shown(questions: Sequence[Figures]) -> str:
    return ", ".join(
        f"{q.id} ({q.question!r})" if q.question else q.id for q in questions[:EXAMPLES]
    )
