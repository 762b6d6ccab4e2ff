"""Rankings judged, many at once: here, or by worker processes where the file is large.

rankings, or the rows of a file -> Judge -> shares: their figures, and the lines to write of them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from dprkit.ahead import Ahead
from dprkit.cpu_cores import thread_count
from dprkit.data.rankings import (
    Rows,
    Seen,
    passages_of,
    read_rows,
    results_file,
    write_ranking,
)
from dprkit.data.trec import write_trec
from dprkit.errors import DprkitError
from dprkit.evaluation.asked import Asked, asked_for, rankings_of_file, tell_left_out
from dprkit.evaluation.judging import BATCH, Judged, Judging, judge, with_flags
from dprkit.progress import Run
from dprkit.records import Ranking
from dprkit.search.open_reranker import batch_size
from dprkit.settings import EvaluateSettings

LARGE = 1 << 26
"""Bytes of a file from which on processes pay: they take a third of a second to start."""
SHARE = 1 << 22
"""Bytes of rows that a process gets at once."""
MOST = 4
"""Processes that this one can feed."""


class Share(NamedTuple):
    """What came of some rankings."""

    judged: list[Judged]
    results: bytes
    """Their lines of results.jsonl; none where nothing is written."""
    trec: bytes
    """Their lines of run.trec."""


class Judge(NamedTuple):
    """Judges rankings, in this process or in another one."""

    judging: Judging
    asked: Asked
    settings: EvaluateSettings
    writes: bool
    """Whether lines are wanted."""

    def share(self, rankings: Iterable[Ranking]) -> Share:
        """What comes of rankings."""
        flagged, results, trec = list(map(self._flagged, rankings)), BytesIO(), BytesIO()
        for ranking in flagged if self.writes else ():
            write_ranking(ranking, results, self.settings.texts)
            write_trec(ranking, trec)
        return Share(judge(flagged, self.judging), results.getvalue(), trec.getvalue())

    def _flagged(self, ranking: Ranking) -> Ranking:
        """The ranking with has_answer. Where a file has no texts, it is kept as it is."""
        from_index = self.settings.index is not None
        if ranking.question.answers and (from_index or any(hit.text for hit in ranking.hits)):
            return with_flags(ranking, self.judging.match)
        return ranking

    def shares(self, rankings: Iterator[Ranking]) -> Iterator[Share]:
        """What comes of all rankings, judged here."""
        together = batch_size(self.settings, BATCH)
        while batch := list(islice(rankings, together)):
            yield self.share(batch)


def shares_of_file(judge: Judge, run: Run) -> Iterator[Share]:
    """What comes of the rankings of a file, in its order. Raises what read_results raises."""
    path = results_file(str(judge.settings.results))
    workers = min(thread_count(), MOST)
    large = Path(path).is_file() and Path(path).stat().st_size >= LARGE
    if large and workers > 1 and (rows := read_rows(path, SHARE)):
        return _by_processes(rows, path, judge, workers, run)
    return judge.shares(rankings_of_file(judge.settings, judge.asked, run))


# --- by processes ---------------------------------------------------------------------------------


class _Read(NamedTuple):
    """What a process tells of rows."""

    share: Share
    seen: Sequence[tuple[str, Mapping[str, int], int | str]]
    """Of each ranking what Seen.add is told."""
    left_out: int
    """Rankings of questions that nobody asked for."""
    error: DprkitError | None
    """What is wrong with the row behind these."""


class _RowJudge:
    """Judges rows of a file: a source of Ahead."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def describe(self) -> Callable[[], Callable[[Rows], _Read]]:
        return partial(_RowJudge, self.judge)

    def __call__(self, rows: Rows) -> _Read:
        wanted, seen = list[Ranking](), []
        error: DprkitError | None = None
        try:
            for ranking, where in rows.rankings():
                seen.append((ranking.question.id, passages_of(ranking), where))
                if found := asked_for(ranking, self.judge.asked, self.judge.settings):
                    wanted.append(found)
        except DprkitError as problem:
            error = problem
        return _Read(self.judge.share(wanted), seen, len(seen) - len(wanted), error)


def _by_processes(
    rows: Iterator[Rows], path: Path | str, judge: Judge, workers: int, run: Run
) -> Iterator[Share]:
    seen, left_out = Seen(path, run.progress.warn), 0
    with Ahead[_Read](rows, _RowJudge(judge), workers, advice="set OMP_NUM_THREADS=1") as made:
        for read in made:
            for one in read.seen:
                seen.add(*one)
            yield read.share
            left_out += read.left_out
            if read.error is not None:
                raise read.error
    seen.finish()
    tell_left_out(left_out, judge.settings, run)
