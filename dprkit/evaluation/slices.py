"""Slices: the metrics of the questions of each data set, of each tag, of each length."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from dprkit.errors import SettingsError
from dprkit.evaluation.judging import Figures
from dprkit.evaluation.metrics import Metrics, Values, metrics_of

NONE = "(none)"
"""What questions without a data set, or without tags, are a slice of."""
LENGTHS = {5: "1-5 words", 10: "6-10 words", 15: "11-15 words", 20: "16-20 words"}
"""Most words of a question -> its class; "21+ words" are the rest."""


def slices_of(by: str, figures: Sequence[Figures]) -> dict[str, list[int]]:
    """The value of a slice -> the rows of its questions; a question is in one of each of its tags.

    Raises SettingsError where no question has what they are told apart by.
    """
    found: dict[str, list[int]] = {}
    for row, figure in enumerate(figures):
        for value in _values(by, figure):
            found.setdefault(value, []).append(row)
    if not set(found) - {NONE}:
        lacking = {
            "dataset": 'a data set; give each line of the questions a "dataset"',
            "tag": 'a tag; give lines of the questions a list of "tags"',
            "length": "a text; give the questions with --questions",
        }
        raise SettingsError(f"--by {by}: no question has {lacking[by]}")
    order = [*LENGTHS.values(), "21+ words"]
    names = sorted(found, key=lambda v: (v == NONE, order.index(v) if v in order else 0, v))
    return {name: found[name] for name in names}


def _values(by: str, figure: Figures) -> Sequence[str]:
    if by == "tag":
        return (NONE,) if figure.tags is UNSET else figure.tags
    if by == "dataset":
        return (NONE,) if figure.dataset is UNSET else (figure.dataset,)
    words = len(figure.question.split())
    if not words:
        return (NONE,)
    return (next((name for most, name in LENGTHS.items() if words <= most), "21+ words"),)


def metrics_of_rows(
    values: Values, figures: Sequence[Figures], rows: Sequence[int], seed: int = 0
) -> Metrics:
    """The metrics of some of the questions."""
    some = {measure: own[list(rows)] for measure, own in values.items()}
    return metrics_of(some, [figures[row] for row in rows], seed)
