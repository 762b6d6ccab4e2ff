"""Settings of evaluate."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Positive, about
from dprkit.settings.shared import MovedCorpus, MovedRetriever, SearchedIndex


class EvaluateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Measure how often an answer is among the best k passages.

    It searches an index, or reads rankings from a file.

    Example: dprkit evaluate --index index --questions nq-test.qa.csv --topk 1,5,20,100
        --output-dir results
    """

    index: SearchedIndex = None
    results: Annotated[
        str | None,
        about(
            "Evaluate these rankings instead: results.jsonl or DPR's JSON; - is stdin.",
            path=True,
            replaces="index questions output_dir",
        ),
    ] = None
    questions: Annotated[
        str | None, about("Questions with answers.", follows=("select-data.output_dir/test.jsonl",))
    ] = None
    output_dir: Annotated[str | None, about("Folder of the results.", workspace="results")] = None
    retriever: MovedRetriever = None
    passages: MovedCorpus = None
    topk: Annotated[
        tuple[Positive, ...], Meta(min_length=1), about("Depths k to report.", metavar="1,5,20,100")
    ] = (1, 5, 20, 100)
    match: Annotated[
        Literal["string", "regex"], about("How an answer is compared with a passage.")
    ] = "string"
    texts: Annotated[
        bool,
        about(
            "Write the passages' texts into results.jsonl; without them it is ten times smaller."
        ),
    ] = True
