"""`dprkit search` on a terminal without --questions: questions are typed, passages are shown."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

from dprkit.cli.display import display, say
from dprkit.cli.exit_codes import Ending
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.settings import SearchSettings

SHOWN = 10
"""Passages shown for a question, at most."""
_ANSWER_LIKE = re.compile(r"\b(?:[A-Z][\w'’-]*(?: (?:of |the )?[A-Z][\w'’-]*)*|\d[\d.,:%]*\w*)\b")


def prompt(settings: SearchSettings, options: dict[str, Any], end: Ending) -> bool:
    """Answer questions typed at a terminal until it ends; False where this is no such case."""
    if settings.questions is not None or settings.output != "-" or end.as_json:
        return False
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from dprkit.search.search import SearchReport, open_searcher

    console = Console(highlight=False)
    report = SearchReport(0, settings.topk, None, [])
    searcher = open_searcher(settings, Run(display(False)), report)
    say(f"{searcher.engine.count:,} passages; type a question, or nothing to leave")
    while question := _asked():
        begin = time.perf_counter()
        (ranking,) = searcher.search([question], min(settings.topk, SHOWN))
        seconds = time.perf_counter() - begin
        for rank, hit in enumerate(ranking.hits, start=1):
            place = Text(f"{hit.score:.3f}  {hit.id}", "dim")
            console.print(Text.assemble(f"{rank:2}  ", (hit.title, "bold"), "  ", place))
            console.print(Padding(highlighted(hit.text, ranking), (0, 0, 1, 4), expand=False))
        say(f"{len(ranking.hits)} passages in {seconds:.2f} s")
    return True


def _asked() -> str:
    try:
        return input("? ").strip()
    except EOFError:
        return ""


def highlighted(text: str, ranking: Ranking) -> Any:
    """`text` with what could be an answer in green: names and numbers that the question lacks.

    Words of the question of more than 3 letters are underlined.
    """
    from rich.text import Text

    shown, question = Text(text), _words(ranking.question.question)
    for match in _ANSWER_LIKE.finditer(text):
        sentence_start = match.start() == 0 or text[: match.start()].rstrip()[-1:] in ".!?"
        if not _words(match[0]) <= question and not (sentence_start and " " not in match[0]):
            shown.stylize("bold green", *match.span())
    for word in question:
        if len(word) > 3:
            shown.highlight_regex(rf"(?i)\b{re.escape(word)}\b", "underline")
    return shown


def _words(text: str) -> set[str]:
    return {word.casefold() for word in re.findall(r"\w+", text)}
