"""What changes the meaning of metrics, said in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import UNSET

from dprkit.evaluation.asked import Asked, search_depth
from dprkit.evaluation.judging import Figures, Tally
from dprkit.evaluation.measures import OWN, Measure
from dprkit.records import same_question
from dprkit.settings import EvaluateSettings

Note = tuple[str, bool]
"""A sentence, and whether it is a warning."""


def notes_of(
    figures: Sequence[Figures],
    tally: Tally,
    asked: Asked,
    settings: EvaluateSettings,
    measured: Mapping[Measure, bool],
    wanted: Sequence[Measure],
) -> Iterator[Note]:
    """What is said of figures, given the measures that were wanted of ir-measures.

    `measured` are all that were measured, and whether they are defined for any question.
    """
    yield from _of_depths(figures, settings, measured, wanted)
    if undefined := [measure.label for measure, defined in measured.items() if not defined]:
        yield f"undefined for every question: {', '.join(undefined)}", True
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
    yield from _counted("questions with the text of another one", repeated_texts(figures), False)


def _counted(what: str, count: int, is_warning: bool = True) -> Iterator[Note]:
    if count:
        yield f"{what}: {count:,}", is_warning


def _of_depths(
    figures: Sequence[Figures],
    settings: EvaluateSettings,
    measured: Collection[Measure],
    wanted: Sequence[Measure],
) -> Iterator[Note]:
    from_file = settings.results is not None
    longest = max(figure.hits for figure in figures)
    why = f"an index is searched for {search_depth(settings)} passages; a larger --topk finds more"
    if from_file:
        why = f"no ranking of {settings.results} has more than {longest} passages"
    by_topk = any(measure.name in OWN for measure in measured) or not settings.metrics
    left_out = [f"@{k}" for k in settings.topk if by_topk and from_file and k > longest]
    others = [one.label for one in wanted if one not in measured and one.cut not in settings.topk]
    if left_out + others:
        yield f"not measured: {', '.join(left_out + others)}; {why}", from_file
    if from_file and (deeper := [measure.label for measure in measured if measure.cut > longest]):
        yield f"deeper than any ranking: {', '.join(deeper)}; {why}", True
    whole = [one.label for one in measured if not (one.cut or one.name.startswith("page_"))]
    if whole and not from_file:
        yield f"of the {longest} passages that were searched for: {', '.join(whole)}", False
    cuts = [one.cut for one in measured if one.cut and (one.cut <= longest or not from_file)]
    deepest = max(cuts, default=longest)
    short = sum(figure.hits < deepest for figure in figures if figure.missing is UNSET)
    cut = "what was cut off counts as not found" if from_file else "the index found no more"
    yield from _counted(f"rankings of fewer than {deepest} passages ({cut})", short, from_file)


def _of_judgements(
    figures: Sequence[Figures], tally: Tally, asked: Asked, settings: EvaluateSettings
) -> Iterator[Note]:
    missing = sum(
        figure.missing is True and (figure.answer_rank is not UNSET or bool(figure.gold_ranks))
        for figure in figures
    )
    lacking = f"judged questions that {settings.results} has no ranking of and that count 0"
    yield from _counted(lacking, missing)
    if asked.qrels is None:
        return
    if asked.questions is not None:
        strange = len(asked.qrels.grades.keys() - asked.questions.keys())
        yield from _counted(
            f"judged questions that are not in {settings.questions}, left out", strange
        )
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


def repeated_texts(figures: Sequence[Figures]) -> int:
    """How many questions have the text of another one; their ids differ, so each counts."""
    times = Counter(same_question(figure.question) for figure in figures if figure.question)
    return sum(count for count in times.values() if count > 1)
