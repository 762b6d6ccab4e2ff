"""What changes the meaning of metrics, said in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import UNSET

from dprkit.evaluation.asked import Asked
from dprkit.evaluation.judging import Figures, Tally
from dprkit.evaluation.measures import Measure
from dprkit.settings import EvaluateSettings

Note = tuple[str, bool]
"""A sentence, and whether it is a warning."""


def notes_of(
    figures: Sequence[Figures],
    tally: Tally,
    asked: Asked,
    settings: EvaluateSettings,
    too_deep: Sequence[Measure],
) -> Iterator[Note]:
    """What is said of figures whose rankings are not deep enough for some measures."""
    yield from _of_depths(figures, settings, too_deep)
    if tally.without_answers < len(figures):
        yield from _counted(
            "questions without answers, not in answer_recall", tally.without_answers
        )
    yield from _counted(
        "questions whose passages have no texts, not in answer_recall", tally.without_texts
    )
    nothing_in = {
        "regex": "are no regular expression",
        "kilt": "are but articles and punctuation",
        "string": "",
    }
    unmatchable = f"answers that {nothing_in[settings.match]} and match nothing"
    yield from _counted(unmatchable, tally.unmatchable)
    yield from _of_judgements(figures, tally, asked, settings)
    nothing = sum(not figure.hits and figure.missing is UNSET for figure in figures)
    yield from _counted("questions that found nothing and count as misses", nothing)
    yield from _of_ties(figures)


def _counted(what: str, count: int, is_warning: bool = True) -> Iterator[Note]:
    if count:
        yield f"{what}: {count:,}", is_warning


def _of_depths(
    figures: Sequence[Figures], settings: EvaluateSettings, too_deep: Sequence[Measure]
) -> Iterator[Note]:
    from_file = settings.results is not None
    longest = max(figure.hits for figure in figures)
    left_out = [f"@{k}" for k in settings.topk if from_file and k > longest]
    left_out += [measure.label for measure in too_deep if measure.cut not in settings.topk]
    if left_out:
        why = f"an index is searched for {max(settings.topk)} passages, as --topk says"
        if from_file:
            why = f"no ranking of {settings.results} has more than {longest} passages"
        yield f"not measured: {', '.join(left_out)}; {why}", from_file
    deepest = max((k for k in settings.topk if not from_file or k <= longest), default=longest)
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
