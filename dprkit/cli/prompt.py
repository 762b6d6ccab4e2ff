"""`dprkit search` on a terminal without --questions: ask, and look at what comes."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

from dprkit.cli.display import display, say
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.settings import SearchSettings

SHOWN = 10
"""Passages shown for a question, at most."""
_ANSWER_LIKE = re.compile(r"\b(?:[A-Z][\w'’-]*(?: (?:of |the )?[A-Z][\w'’-]*)*|\d[\d.,:%]*\w*)\b")


def prompt(settings: SearchSettings, options: dict[str, Any], as_json: bool) -> bool:
    """Answer questions typed at a terminal until it ends; False where this is no such case."""
    if settings.questions is not None or settings.output != "-" or as_json:
        return False
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    from rich.console import Console

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
            console.print(
                f"{rank:2}  [bold]{_plain(hit.title)}[/]  [dim]{hit.score:.3f}  {_plain(hit.id)}[/]"
            )
            console.print(lit(hit.text, ranking), "")
        say(f"{len(ranking.hits)} passages in {seconds:.2f} s")
    return True


def _asked() -> str:
    try:
        return input("? ").strip()
    except EOFError:
        return ""


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def lit(text: str, ranking: Ranking) -> Any:
    """`text` with what could be an answer lit: names and numbers that the question has not."""
    from rich.text import Text

    shown = Text("    " + text)
    known = {word.casefold() for word in re.findall(r"\w+", ranking.question.question)}
    for match in _ANSWER_LIKE.finditer(text):
        words = {word.casefold() for word in re.findall(r"\w+", match[0])}
        sentence_start = match.start() == 0 or text[: match.start()].rstrip()[-1:] in ".!?"
        if not words <= known and not (sentence_start and " " not in match[0]):
            shown.stylize("bold green", 4 + match.start(), 4 + match.end())
    for word in known:
        for match in re.finditer(rf"\b{re.escape(word)}\b", text, re.IGNORECASE):
            if len(word) > 3:
                shown.stylize("underline", 4 + match.start(), 4 + match.end())
    return shown
