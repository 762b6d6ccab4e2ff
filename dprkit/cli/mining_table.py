"""What `mine-negatives` found, for people: scores, what each rule left out, who came short."""

from __future__ import annotations

import sys
from typing import Any

from dprkit.cli.tables import Sheet, table

COLUMNS = ("positive", "negative", "difference")
FIGURES = {
    "count": "count",
    "mean": "mean",
    "min": "min",
    "quartile_1": "25 %",
    "median": "median",
    "quartile_3": "75 %",
    "max": "max",
}


def mining_table(report: Any) -> None:
    """The scores of each index on stdout, and below them the counts."""
    lines = []
    for scores in report.scores:
        rows = [
            (label, *(_shown(scores[column][name]) for column in COLUMNS))
            for name, label in FIGURES.items()
        ]
        lines += [f"scores by {scores['index']}", *table(("", *COLUMNS), rows, words=1), ""]
    counts = [("passages looked at", report.looked_at), ("mined", report.mined)]
    counts += [(RULES[rule], report.dropped[rule]) for rule in RULES if rule in report.dropped]
    counts += [("made a positive", report.relabelled)] if report.relabelled else []
    shares = [count / report.looked_at if report.looked_at else 0.0 for _, count in counts]
    rows = [(what, f"{n:,}", f"{s:.2%}") for (what, n), s in zip(counts, shares, strict=True)]
    lines += [*table(("", "count", "share"), rows, words=1), ""]
    lines += [f"questions: {report.questions:,}"]
    lines += [f"  with fewer negatives than asked for: {report.short:,}"] if report.short else []
    lines += [f"  without any: {report.none:,}"] if report.none else []
    lines += [f"  whose positive has no score: {report.unscored:,}"] if report.unscored else []
    lines += [f"hard negatives kept from before: {report.merged:,}"] if report.merged else []
    if count := report.merged_positives:
        lines.append(f"hard negatives from before that are positives and left out: {count:,}")
    for why, count in report.left_out.items():
        lines.append(f"left out: {count:,} {LEFT_OUT[why]}")
    sys.stdout.writelines(f"{line}\n" for line in lines)


RULES = {
    "same_id": "left out: has the id of a positive",
    "same_text": "left out: has the text of a positive",
    "other_positive": "left out: a positive of another row with the question",
    "no_text": "left out: has no text",
    "already_there": "left out: a hard negative of the row already",
    "answer": "left out: holds an answer",
    "relative_margin": "left out: too near the positive (--relative-margin)",
    "absolute_margin": "left out: too near the positive (--absolute-margin)",
    "repeated_text": "left out: has the text of another one",
    "teacher": "left out: the teacher prefers it to the positive",
}
LEFT_OUT = {
    "no_positive": "without a positive",
    "gold_missing": "whose gold passage the corpus lacks",
}


def mining_sheet(report: Any) -> Sheet:
    """The scores for --csv: a row for each figure by each index."""
    rows = [
        (scores["index"], name, *(scores[column][name] for column in COLUMNS))
        for scores in report.scores
        for name in FIGURES
    ]
    return Sheet(("index", "figure", *COLUMNS), rows)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
