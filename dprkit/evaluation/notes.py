"""What changes the meaning of metrics, said in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import UNSET

from dprkit.evaluation.asked import Asked
from dprkit.evaluation.judging import Figures, Tally
from dprkit.settings import EvaluateSettings

Note = tuple[str, bool]
"""A sentence, and whether it is a warning."""


def notes_of(
    figures: Sequence[Figures], tally: Tally, asked: Asked, settings: EvaluateSettings, reach: int
) -> Iterator[Note]:
    """What is said of figures whose rankings reach down to rank `reach`."""
    yield from _of_depths(figures, settings, reach)
    if tally.without_answers < len(figures):
        yield from _counted(
            "questions without answers, not in answer_recall", tally.without_answers
        )
    yield from _counted(
        "questions whose passages have no texts, not in answer_recall", tally.without_texts
    )
    yield from _counted(
        "answers that are no regular expression and match nothing", tally.bad_patterns
    )
    yield from _of_judgements(figures, tally, asked, settings)
    nothing = sum(not figure.hits and figure.missing is UNSET for figure in figures)
    yield from _counted("questions that found nothing and count as misses", nothing)
    yield from _of_ties(figures)


def _counted(what: str, count: int, is_warning: bool = True) -> Iterator[Note]:
    if count:
        yield f"{what}: {count:,}", is_warning


def _of_depths(
    figures: Sequence[Figures], settings: EvaluateSettings, reach: int
) -> Iterator[Note]:
    from_file = settings.results is not None
    left_out = [f"@{k}" for k in settings.topk if k > reach]
    if left_out:
        what = f"no ranking of {settings.results} has more than {reach} passages"
        yield f"not measured: {', '.join(left_out)}; {what}", True
    deepest = max((k for k in settings.topk if k <= reach), default=reach)
    short = sum(figure.hits < deepest for figure in figures if figure.missing is UNSET)
    cut = "what was cut off counts as not found" if from_file else "the index found no more"
    yield from _counted(f"rankings of fewer than {deepest} passages ({cut})", short, from_file)


def _of_judgements(
    figures: Sequence[Figures], tally: Tally, asked: Asked, settings: EvaluateSettings
) -> Iterator[Note]:
    missing = sum(figure.missing is True for figure in figures)
    lacking = f"judged questions that {settings.results} has no ranking of and that count 0"
    yield from _counted(lacking, missing)
    if asked.qrels is None:
        return
    unjudged = sum(figure.id not in asked.qrels.grades for figure in figures)
    yield from _counted("questions that the qrels do not judge, left out by them", unjudged)
    undefined = "questions without a relevant passage in the qrels, left out (trec_eval counts 0)"
    yield from _counted(undefined, tally.irrelevant)
    yield from _counted("grades below 0, which count as not relevant", asked.qrels.negative, False)


def _of_ties(figures: Sequence[Figures]) -> Iterator[Note]:
    """Rankings whose order of equal scores decides what is among the best k."""
    ties = Counter(k for figure in figures if figure.tied is not UNSET for k in figure.tied)
    if ties:
        told = ", ".join(f"@{k} {ties[k]:,}" for k in sorted(ties))
        yield f"rankings with equal scores at a depth and below it: {told}", False
