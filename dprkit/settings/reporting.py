"""Settings of report."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import Positive, about


class ReportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Make one page of results, trainings, index tuning and audits, to be opened in a browser.

    The page needs no network and no server. It has the metrics of each system with the commands
    that make them again, and every question with its rankings. While a training runs, its folder
    shows how far it is.

    Example: dprkit report results-dense results-bm25 -o report.html
    Example: dprkit report runs/nq/model -o training.html

    Settings:
        sources: Folders of results, of trained retrievers, of tune-index and of audits, or files of
            rankings.
        output: File to write the page to; - is stdout.
        depth: Passages of each ranking whose texts are in the page, with the first passage that
            holds an answer and the gold passages below them; the page grows with it (default: all).
        title: Title of the page (default: what it compares).
        questions: File of questions with answers or gold passages, for files of rankings that lack
            them.
        qrels: File of judged passages, TREC's or BEIR's; all systems are judged by them.
        match: How an answer is compared with a passage in files of rankings: as words, as a regular
            expression, or as KILT does it.
    """

    sources: Annotated[tuple[str, ...], about(flag="argument", path=True, metavar="DIR...")] = ()
    output: Annotated[str, about(flag="-o", output=True)] = "report.html"
    depth: Positive | None = None
    title: str | None = None
    questions: Annotated[str | None, about(path=True)] = None
    qrels: Annotated[str | None, about(path=True)] = None
    match: Literal["string", "regex", "kilt"] = "string"
