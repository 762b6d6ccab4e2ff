"""Settings of convert-results."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import about


class ConvertResultsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Write rankings in another form.

    It reads every form of rankings that evaluate reads, and says what the new form cannot hold.

    Example: dprkit convert-results --results run.trec --to dpr --passages passages.tsv
        --questions queries.jsonl -o results.json

    Settings:
        results: File of rankings: results.jsonl, DPR's JSON, Pyserini's JSON, a TREC run, a run
            dict, or the predictions of MTEB or sentence-transformers; - is stdin.
        to: Form to write: the lines of results.jsonl, DPR's JSON, a TREC run, Pyserini's JSON for
            DPR, a run dict of question ids with the scores of passage ids, or training examples,
            whose positives are the gold passages, or else those that hold an answer.
        output: File to write the rankings to; - is stdout.
        passages: File of the corpus; passages without a text get theirs from it, by their ids.
        questions: File of questions; by their ids, questions get text, answers and gold passages
            from it.
        texts: Write the texts of the passages where the form holds them.
    """

    results: Annotated[str | None, about(path=True)] = None
    to: Literal["jsonl", "dpr", "trec", "pyserini", "run-dict", "examples"] = "jsonl"
    output: Annotated[str, about(flag="-o", output=True)] = "-"
    passages: Annotated[str | None, about(path=True)] = None
    questions: Annotated[str | None, about(path=True)] = None
    texts: bool = True
