"""What is compared: systems, each with one training or several, and the measures of all of them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, takewhile
from typing import TYPE_CHECKING

from dprkit.errors import InputError, SettingsError, nearest
from dprkit.evaluation.judging import Figures
from dprkit.evaluation.measures import OWN, named, parse
from dprkit.evaluation.metrics import own_values
from dprkit.evaluation.systems import (
    System,
    names_of,
    read_system,
    refuse_idle_judging,
    refuse_repeated,
    with_same_questions,
)
from dprkit.progress import Run
from dprkit.settings import CompareSettings, EvaluateSettings

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Arm:
    """A system that is compared, with its trainings: models of one method."""

    name: str
    trainings: Sequence[System]

    def values(self, measure: str) -> np.ndarray:
        """(R, Q) of R trainings and Q questions; NaN: undefined."""
        import numpy as np

        return np.stack([training.values[measure] for training in self.trainings])


def read_arms(settings: CompareSettings, run: Run) -> list[Arm]:
    """The systems of the settings, all with the same questions in the same order.

    Raises SettingsError for fewer than two, InputError for one that did not run, MismatchError for
    other questions.
    """
    paths = paths_of(settings)
    every = list(chain(*paths))
    refuse_repeated(every)
    names = names_of(every)
    judge = _judge(settings)
    refuse_idle_judging(every, judge)
    read = [read_system(path, name, run, judge) for path, name in zip(every, names, strict=True)]
    for system in read:
        _refuse_idle(system)
    read = [_with_depths(system, _own(settings)) for system in read]
    same = iter(with_same_questions(read))
    trainings = [[next(same) for _ in of_arm] for of_arm in paths]
    called = names_of_arms([[one.name for one in of_arm] for of_arm in trainings])
    return [Arm(name, of_arm) for name, of_arm in zip(called, trainings, strict=True)]


def paths_of(settings: CompareSettings) -> list[list[str]]:
    """The trainings of each system. Raises SettingsError for fewer than two systems."""
    if len(settings.systems) < 2:
        raise SettingsError("compare needs two systems or more, as in dprkit compare A B")
    return [_paths(text) for text in settings.systems]


def questions_of(arms: Sequence[Arm]) -> Sequence[Figures]:
    """The questions of all systems, with the texts, data sets and tags that any tells."""
    return arms[0].trainings[0].questions


def _judge(settings: CompareSettings) -> EvaluateSettings:
    """How files of rankings are judged: so that they have the measures that are asked for."""
    asked = named(settings.metrics) if settings.metrics is not None else []
    others = " ".join(name for name in asked if name.partition("@")[0] not in OWN)
    depths = {int(name.partition("@")[2]) for name in _own(settings)}
    if not asked or any(name in OWN for name in asked):
        depths |= {*EvaluateSettings().topk}
    return EvaluateSettings(
        questions=settings.questions,
        qrels=settings.qrels,
        output_dir=None,
        topk=tuple(sorted(depths)) or (1,),
        metrics=others or None,
        match=settings.match,
        seed=settings.seed,
    )


def _own(settings: CompareSettings) -> list[str]:
    """Our measures at a depth that the settings name: answer_recall@50."""
    asked = named(settings.metrics) if settings.metrics is not None else []
    asked += [gate.rpartition(":")[0] for gate in settings.fail_if_worse]
    return [name for name in asked if re.fullmatch(rf"({'|'.join(OWN)})@[1-9]\d*", name)]


def _with_depths(system: System, asked: Sequence[str]) -> System:
    """The system with our measures at depths that evaluate was not asked for, by its ranks."""
    if all(name in system.values for name in asked):
        return system
    reach = max(figures.hits for figures in system.questions)
    depths = sorted({k for name in asked if (k := int(name.partition("@")[2])) <= reach})
    found = {m.label: own for m, own in own_values(system.questions, depths, reach).items()}
    more = {name: found[name] for name in asked if name in found}
    return replace(system, values={**more, **system.values})


def _paths(text: str) -> list[str]:
    """The trainings that an argument names; a file's own name may have a comma."""
    paths = [text] if os.path.exists(text) else text.split(",")
    if not all(paths):
        raise SettingsError(f"{text!r}: a path is empty; name trainings as in a1,a2,a3")
    return paths


def names_of_arms(trainings: Sequence[Sequence[str]]) -> list[str]:
    """What systems are called, each by the names of its trainings; no two alike."""
    names = [_common_name(of_arm) for of_arm in trainings]
    whole = map(",".join, trainings)
    return [n if names.count(n) == 1 else all_ for n, all_ in zip(names, whole, strict=True)]


def _common_name(names: Sequence[str]) -> str:
    """What names begin with: bm25-seed1 and bm25-seed2 are bm25. A number is not cut in two."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in same)
    if common[-1:].isalpha() and any(name[len(common) :][:1].islower() for name in names):
        return ",".join(names)  # of bert-1 and bm25-1 the b is no name
    if any(name[len(common) :][:1].isdigit() for name in names):
        common = common.rstrip("0123456789")
    return re.sub(r"(^|[\W_]+)(seed|run|s)?[\W_]*$", "", common) or ",".join(names)


def _refuse_idle(system: System) -> None:
    """Raise InputError for a system without a single hit: it did not run, and is no zero."""
    if not any(figures.hits for figures in system.questions):
        raise InputError(
            f"{system.path}: has no passage for any of {len(system.questions):,} questions; it did "
            "not run, so nothing can be compared with it"
        )


# --- measures -------------------------------------------------------------------------------------


def measures_of(arms: Sequence[Arm], settings: CompareSettings) -> tuple[list[str], list[str]]:
    """The measures to compare, and those that some systems have and others lack.

    Raises SettingsError for one that is asked for and not there.
    """
    systems = [training for arm in arms for training in arm.trainings]
    known = dict.fromkeys(chain(*(system.values for system in systems)))
    common = [name for name in known if all(name in system.values for system in systems)]
    if settings.metrics is None:
        if not common:
            known_here = ", ".join(systems[0].values)
            raise InputError(f"no measure is of all systems; {systems[0].path} has {known_here}")
        return common, [name for name in known if name not in common]
    chosen = chain(*(_matching(name, common, systems) for name in named(settings.metrics)))
    return list(dict.fromkeys(chosen)), []


def _matching(asked: str, common: Sequence[str], systems: Sequence[System]) -> list[str]:
    """The measures that a name stands for: itself, or all of its depths."""
    if asked in common:
        return [asked]
    if found := [name for name in common if name.rpartition("@")[0] == asked]:
        return found
    if asked.partition("@")[0] not in OWN and (label := parse(asked)[0].label) in common:
        return [label]
    lacking = [system.path for system in systems if asked not in system.values]
    hint = nearest(asked, common) or f"; all systems have {', '.join(common) or 'none'}"
    flag = "--topk adds depths" if asked.partition("@")[0] in OWN else "--metrics adds others"
    raise SettingsError(
        f"--metrics {asked}: was not measured for {lacking[0]}, and evaluate {flag}{hint}"
    )
