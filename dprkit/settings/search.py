"""Settings of search."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import AtLeast0, Positive, about
from dprkit.settings.shared import MovedCorpus, MovedRetriever, SearchedIndex


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Retrieve passages for questions.

    At a terminal, without --questions, it asks for questions and shows the best passages.

    Example: echo "who wrote hamlet" | dprkit search --index index --questions -
    """

    index: SearchedIndex = None
    questions: Annotated[
        str | None,
        about(
            "Questions: qa.csv, jsonl, BEIR, KILT, DPR examples or plain lines; - is stdin.",
            path=True,
        ),
    ] = None
    output: Annotated[
        str, about("File to write rankings to; - is stdout.", flag="-o", output=True)
    ] = "-"
    retriever: MovedRetriever = None
    passages: MovedCorpus = None
    topk: Annotated[Positive, about("Passages to retrieve for each question.")] = 100
    hybrid: Annotated[
        str | None,
        about("Another index of the same corpus to combine with, such as a bm25 index.", path=True),
    ] = None
    fusion: Annotated[
        Literal["weighted", "rrf"],
        about("How two rankings are combined: by scores scaled to 0 to 1, or by reciprocal ranks."),
    ] = "weighted"
    weights: Annotated[
        tuple[AtLeast0, ...], about("Weight of each index (default: equal).", metavar="0.6,0.4")
    ] = ()
    tune_on: Annotated[
        str | None,
        about("Questions with gold passages, by which fusion and weights are chosen.", path=True),
    ] = None
    only_ids: Annotated[
        str | None,
        about("File of passage ids, one a line; no other passage is searched.", path=True),
    ] = None
    nprobe: Annotated[
        Positive | None, about("For ivf: lists to search (default: as the index has it).")
    ] = None
    ef_search: Annotated[
        Positive | None, about("For hnsw: candidates to keep (default: as the index has it).")
    ] = None
    batch_size: Annotated[
        Positive,
        about("Questions searched together; with 1 each line of a pipe is answered as it comes."),
    ] = 256
    format: Annotated[
        Literal["results", "trec"], about("Write lines of results.jsonl, or a TREC run.")
    ] = "results"
    texts: Annotated[
        bool, about("Write the passages' texts too; without them the file is ten times smaller.")
    ] = True
