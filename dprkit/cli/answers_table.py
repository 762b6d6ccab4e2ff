"""The report of `read`: how many answers are right at each depth, and the first answers."""

from __future__ import annotations

import sys
from typing import Any

from dprkit.cli.display import say
from dprkit.cli.render import counted
from dprkit.cli.tables import table

LONGEST = 40
"""Characters of a question, an answer or a title that a table shows."""


def answers_table(report: Any) -> None:
    """The summary on stderr, and some answers on stdout where no answers went there."""
    if "-" not in report.outputs and report.shown:
        header = ("question", "answer", "passage", "rank", "score")
        rows = [
            (
                _short(one.question),
                _short(one.answer) or "-",
                _short(one.passage),
                "-" if one.rank is None else f"{one.rank:,}",
                "-" if one.score is None else f"{one.score:.2f}",
            )
            for one in report.shown
        ]
        sys.stdout.writelines(f"{line}\n" for line in table(header, rows, words=3))
    say(f"{counted(report.questions, 'question')} answered from {counted(report.pairs, 'passage')}")
    for depth, share in report.exact_match.items():
        say(
            f"  from the best {depth}: exact match {share:.4f}, F1 {report.f1[depth]:.4f} "
            f"({counted(report.answered, 'question')} with answers)"
        )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
