"""Settings of compare."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import Count, Positive, about


class CompareSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Compare systems on the same questions, and test whether they differ.

    A system is a folder of results, or a file of rankings that is judged first. A difference is
    that of the later system to the earlier. Several trainings of one system, with commas between,
    show whether methods differ and not two models alone. The exit code is 3 where --fail-if-worse
    says so. In a recipe it compares what `evaluate` stages wrote.

    Example: dprkit compare results-bm25 results-dense
    Example: dprkit compare base-1,base-2,base-3 new-1,new-2,new-3
        --fail-if-worse mrr@10:0.005

    Settings:
        systems: Folders that evaluate wrote, results.jsonl, DPR's JSON or TREC runs; trainings of
            one system with commas between.
        output_dir: Folder to keep the comparison in; without it, it is only shown.
        questions: File of questions with answers or gold passages, for files of rankings that
            lack them.
        qrels: File of judged passages, TREC's or BEIR's; all systems are judged by them.
        match: How an answer is compared with a passage of a file of rankings: as words, as a
            regular expression, or as KILT does it.
        metrics: Measures to compare, in quotes, such as "answer_recall@20 nDCG@10"; a name without
            its depth stands for all of its depths (default: all that every system has).
        by: Compare also the questions of each data set, of each tag, or of each length in words;
            several with commas.
        fail_if_worse: Fail where a system is worse than the first one by more than a share, as in
            answer_recall@20:0.005; give the option again for more measures.
        flips: File to write the questions to that one system found and another did not, jsonl.
        format: What the tables are written in.
        permutations: Random flips of signs that a test of means counts.
        seed: Seed of the random flips and of the bootstrap, from which intervals come.
    """

    systems: Annotated[
        tuple[str, ...], about(flag="argument", path=True, commas=True, metavar="A B [C]...")
    ] = ()
    output_dir: Annotated[str | None, about(workspace="comparison", by_recipe=True)] = None
    questions: Annotated[str | None, about(path=True)] = None
    qrels: Annotated[str | None, about(path=True)] = None
    match: Literal["string", "regex", "kilt"] = "string"
    metrics: str | None = None
    by: tuple[Literal["dataset", "tag", "length"], ...] = ()
    fail_if_worse: Annotated[tuple[str, ...], about(repeated=True, metavar="MEASURE:SHARE")] = ()
    flips: Annotated[str | None, about(output=True)] = None
    format: Annotated[Literal["table", "markdown", "latex"], about(harmless=True)] = "table"
    permutations: Positive = 100_000
    seed: Count = 0
