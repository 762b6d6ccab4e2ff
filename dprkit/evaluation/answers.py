"""Answers measured: exact match and F1 of what a reader answers, at each depth.

answers.jsonl -> the questions as they are asked -> their figures, and values by depth
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET

from dprkit.answer_scores import exact_match, token_f1
from dprkit.data.answers import Answered, answers_file, read_answers
from dprkit.errors import FormatError, InputError, SettingsError
from dprkit.evaluation.asked import Asked, check_text, read_asked
from dprkit.evaluation.judging import Figures
from dprkit.evaluation.measures import at
from dprkit.evaluation.metrics import Values
from dprkit.evaluation.notes import Note, repeated_texts
from dprkit.progress import Run
from dprkit.records import Question
from dprkit.settings import EvaluateSettings

if TYPE_CHECKING:
    import numpy as np

EXACT, F1 = "exact_match", "f1"
UNUSED = {
    "--results": "results",
    "--index": "index",
    "--qrels": "qrels",
    "--beir": "beir",
    "--corpus": "corpus",
    "--metrics": "metrics",
    "--rerank": "rerank",
    "--prompt": "prompt",
    "--pages": "pages",
}
"""Flags that say nothing of answers."""


class Measured(NamedTuple):
    """The figures of Q questions, their values by each measure, and what a user should know."""

    figures: list[Figures]
    values: Values
    notes: list[Note]


def refuse_settings_of_rankings(settings: EvaluateSettings) -> None:
    """Raises SettingsError for settings that say nothing of answers."""
    for flag, name in UNUSED.items():
        if getattr(settings, name):
            raise SettingsError(
                f"{flag}: is for rankings, and --answers names answers; leave one of them out"
            )
    if settings.topk != EvaluateSettings().topk:
        raise SettingsError(
            "--topk: is for rankings; answers are measured at the depths they were read at "
            "(read --depths); leave it out"
        )
    if settings.match != "string":
        raise SettingsError(
            f"--match {settings.match}: is for passages; answers are compared as SQuAD and DPR "
            "compare them; leave it out"
        )


def measured_answers(settings: EvaluateSettings, run: Run) -> Measured:
    """Exact match and F1 of the answers of `settings`, a value a question and a depth.

    A question without answers is undefined; one of --questions that was not answered counts 0.
    Raises FormatError, and InputError where no question has an answer to compare with.
    """
    asked = read_asked(settings)
    run.progress.start("measuring", None, "questions")
    found, rows, depths = list[Figures](), list[list[float]](), list[int]()
    left_out = 0
    for answered, where in _distinct(str(settings.answers)):
        own = [one.depth for one in answered.predictions]
        depths = depths or own
        if own != depths:
            problem = f"has answers from {_shown(own)}, and the first line from {_shown(depths)}"
            raise FormatError(answers_file(str(settings.answers)), where, problem)
        run.progress.advance(1)
        if (question := _asked_for(answered.question, asked, settings)) is None:
            left_out += 1
            continue
        read = max((one.depth for one in answered.predictions if one.text), default=0)
        found.append(_figures(question, read))
        rows.append(_values([one.text for one in answered.predictions], question.answers))
    run.progress.finish()
    if not rows:
        raise InputError(
            f"{settings.answers}: holds no answer to a question in {settings.questions}; give the "
            "questions of these answers"
        )
    absent = [one for one in asked.absent_from({f.id for f in found}) if one.answers]
    found += [_figures(question, missing=True) for question in absent]
    rows += [_values([""] * len(depths), question.answers) for question in absent]
    values = _columns(rows, depths)
    without = sum(row[0] != row[0] for row in rows)
    if without == len(rows):
        raise InputError(
            f"{settings.answers}: no question has answers to compare with; give them with "
            "--questions"
        )
    return Measured(found, values, [*_notes(found, without, left_out, len(absent), settings)])


def _distinct(path: str) -> Iterator[tuple[Answered, int | str]]:
    """The answers of a file. Raises FormatError for a question id that occurs twice."""
    seen = set[str]()
    for answered, where in read_answers(path):
        if (id_ := answered.question.id) in seen:
            problem = f"the question id {id_!r} was answered before; ids must differ"
            raise FormatError(answers_file(path), where, problem)
        seen.add(id_)
        yield answered, where
    if not seen:
        raise FormatError(answers_file(path), 1, "holds no answers; name a file that read wrote")


def _asked_for(question: Question, asked: Asked, settings: EvaluateSettings) -> Question | None:
    """The question as it is asked; None: nobody asks it."""
    if asked.questions is None:
        return question
    if known := asked.questions.get(question.id):
        check_text(question, known, str(settings.questions), str(settings.answers))
    return known


def _figures(question: Question, read: int = 0, missing: bool = False) -> Figures:
    """`read`: the deepest depth from which it was answered."""
    return Figures(
        question.id,
        question.question,
        read,
        dataset=question.dataset or UNSET,
        tags=question.tags or UNSET,
        missing=missing or UNSET,
    )


def _values(predictions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Exact match at each depth, and then F1; NaN without answers."""
    if not answers:
        return [float("nan")] * (2 * len(predictions))
    exact = [float(exact_match(text, answers)) for text in predictions]
    return exact + [token_f1(text, answers) for text in predictions]


def _columns(rows: Sequence[Sequence[float]], depths: Sequence[int]) -> Values:
    import numpy as np

    table: np.ndarray = np.array(rows, np.float64)
    measures = [at(name, depth) for name in (EXACT, F1) for depth in depths]
    return dict(zip(measures, table.T, strict=True))


def _notes(
    figures: Sequence[Figures], without: int, left_out: int, absent: int, settings: EvaluateSettings
) -> Iterator[Note]:
    for what, count, is_warning in (
        ("questions without answers, left out", without, True),
        (
            f"answers to questions that are not in {settings.questions}, left out",
            left_out,
            True,
        ),
        (f"questions that {settings.answers} does not answer and that count 0", absent, True),
        ("questions with the text of another one", repeated_texts(figures), False),
    ):
        if count:
            yield f"{what}: {count:,}", is_warning


def _shown(depths: Sequence[int]) -> str:
    return f"depths {', '.join(map(str, depths))}"
