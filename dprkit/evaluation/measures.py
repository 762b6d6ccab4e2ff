"""What is measured of a question: measures by name, and those of ir-measures computed.

Ours are made of ranks, in metrics.py. Those of ir-measures (MacAvaney, Macdonald and Ounis 2022,
"Streamlining Evaluation with ir-measures") are made of the grades of passages; most of them are
trec_eval's own code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from math import nan
from typing import Any, NamedTuple

from dprkit.errors import SettingsError

FIRST_RANK_DEPTHS = (10, 100)
"""Depths of mrr and answer_mrr, whatever --topk says: of MS MARCO, and of DPR's rankings."""
DEEPEST = 1_000_000
"""The last rank that a measure of ir-measures may look at."""
OWN = ("answer_recall", "answer_mrr", "passage_recall", "passage_success", "mrr")


class Measure(NamedTuple):
    """A measure as it is reported: `nDCG@10` has the name nDCG and the depth "10"."""

    name: str
    depth: str = ""
    """What its name ends with after an @; "" where nothing does, as in AP."""
    cut: int = 0
    """The last rank that it looks at; 0: it looks at all."""

    @property
    def label(self) -> str:
        return f"{self.name}@{self.depth}" if self.depth else self.name


def at(name: str, k: int) -> Measure:
    """The measure of the best `k`."""
    return Measure(name, str(k), k)


def by_qrels(depths: Sequence[int]) -> tuple[Measure, ...]:
    """What is measured by graded judgements where nothing else is asked for."""
    counted = [at(name, k) for name in ("R", "Success", "P") for k in depths]
    return (at("nDCG", 10), at("AP", 100), *counted)


def parse(names: str) -> tuple[Measure, ...]:
    """The measures that `names` lists in ir-measures' language, parted by blanks or commas.

    Raises SettingsError for one that is not known, or that cannot be computed here.
    """
    found = {_parsed(text): text for text in named(names)}
    for measure, text in found.items():
        try:
            values_of((measure.label,), [(("a",), {"a": 1})])
        except Exception as error:  # of any provider; some of them are other programs
            problem = f"{text!r} cannot be computed here: {' '.join(str(error).split())[:200]}"
            raise SettingsError(f"--metrics: {problem}") from None
    return tuple(found)


def named(names: str) -> list[str]:
    """The names in a list that blanks or commas part. Raises SettingsError where there is none."""
    texts = re.findall(r"[^\s,(]+(?:\([^)]*\))?[^\s,]*", names)
    if not texts:
        raise SettingsError('--metrics names nothing; give some, such as "nDCG@10 RR@10 AP"')
    return texts


def _parsed(text: str) -> Measure:
    from ir_measures import MeanAgg

    if text.partition("@")[0] in OWN:
        raise SettingsError(
            f"--metrics: {text!r} is measured wherever it can be; its depths are those of --topk"
        )
    try:
        known = _known(text)
    except (NameError, ValueError, TypeError, SyntaxError, AssertionError):
        raise SettingsError(f"--metrics: {_unknown(text)}") from None
    if not isinstance(known.aggregator(), MeanAgg):
        raise SettingsError(f"--metrics: {text!r} counts and has no mean over questions")
    name, _, depth = str(known).rpartition("@")
    cut = known["cutoff"] if "cutoff" in known.params else 0
    if "cutoff" in known.params and not 1 <= cut <= DEEPEST:  # trec_eval would end the process
        raise SettingsError(f"--metrics: {text!r}: a depth is from 1 to {DEEPEST:,}")
    return Measure(name, depth, cut) if name else Measure(depth)


def _unknown(text: str) -> str:
    import ir_measures

    try:
        ours = ", ".join(map(str, ir_measures.parse_trec_measure(text)))
    except (NameError, ValueError, TypeError, SyntaxError, AssertionError, KeyError):
        ours = ""
    told = f"is called {ours} here" if ours else "is no measure that ir-measures knows"
    return f"{text!r} {told}; some are nDCG@10, RR@10, AP, P@5, R@100, Success@5, AP(rel=2)@100"


@cache
def _known(label: str) -> Any:
    """A measure of ir-measures by its name."""
    import ir_measures

    return ir_measures.parse_measure(label)


Graded = tuple[Sequence[str], Mapping[str, int]]
"""The passages of a ranking, best first, and the grades of those that are judged."""


def values_of(labels: Sequence[str], batch: Sequence[Graded]) -> list[list[float]]:
    """(N, M) the values of N rankings by M measures of ir-measures; NaN: undefined.

    A value is undefined where no judged passage is relevant: trec_eval says 0, which no ranking
    could better. A ranking without passages has what the measure gives to a missing one, mostly 0.
    """
    import ir_measures

    measures = [_known(label) for label in labels]
    columns = {measure: column for column, measure in enumerate(measures)}
    values = [[nan] * len(measures) for _ in batch]
    run, qrels = {}, {}
    for number, (ranking, grades) in enumerate(batch, start=1):
        # Passages are named by their rank and questions by number: the order is that of the
        # ranking also where scores are equal, and no program stumbles over an id.
        names = {id_: str(rank) for rank, id_ in enumerate(ranking)}
        qrels[str(number)] = {names.get(id_, f"not-{id_}"): grade for id_, grade in grades.items()}
        if names:
            run[str(number)] = {name: len(names) - float(name) for name in names.values()}
    for found in ir_measures.iter_calc(measures, qrels, run):
        row = int(found.query_id) - 1
        if _is_defined(found.measure, batch[row][1]):
            values[row][columns[found.measure]] = found.value
    return values


def _is_defined(measure: Any, grades: Mapping[str, int]) -> bool:
    """Whether a ranking could be better or worse by it."""
    if measure.NAME == "Judged":
        return bool(grades)
    least = measure["rel"] if "rel" in measure.params else 1
    return any(grade >= least for grade in grades.values())
