"""Settings of search."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import AtLeast0, Positive, about
from dprkit.settings.shared import MovedCorpus, MovedRetriever, SearchedIndex


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Retrieve passages for questions.

    On a terminal, without --questions, it asks for questions and shows the best passages.

    Example: echo "who wrote hamlet" | dprkit search --index index --questions -
    """

    index: SearchedIndex = None
    questions: Annotated[
        str | None,
        about(
            "File of questions: qa.csv, jsonl, BEIR, KILT, DPR examples or plain lines; - "
            "is stdin.",
            path=True,
        ),
    ] = None
    output: Annotated[
        str, about("File to write the rankings to; - is stdout.", flag="-o", output=True)
    ] = "-"
    retriever: MovedRetriever = None
    passages: MovedCorpus = None
    topk: Annotated[Positive, about("Passages that a search for a question returns.")] = 100
    hybrid: Annotated[
        str | None,
        about(
            "Folder of another index of the same corpus, such as a bm25 index; the rankings "
            "of the two indexes are combined.",
            path=True,
        ),
    ] = None
    fusion: Annotated[
        Literal["weighted", "rrf"],
        about("How two rankings are combined: by scores scaled to 0 to 1, or by reciprocal ranks."),
    ] = "weighted"
    weights: Annotated[
        tuple[AtLeast0, ...],
        about(
            "Weight of each index in the combined ranking (default: the same for each index).",
            metavar="0.6,0.4",
        ),
    ] = ()
    tune_on: Annotated[
        str | None,
        about(
            "File of questions with gold passages, which choose --fusion and --weights.", path=True
        ),
    ] = None
    only_ids: Annotated[
        str | None,
        about("File of passage ids, one a line; only these passages are searched.", path=True),
    ] = None
    nprobe: Annotated[
        Positive | None,
        about(
            "For ivf: lists to search for a question (default: the number that the index "
            "was built with)."
        ),
    ] = None
    ef_search: Annotated[
        Positive | None,
        about(
            "For hnsw: candidates to keep while searching for a question (default: the "
            "number that the index was built with)."
        ),
    ] = None
    batch_size: Annotated[
        Positive,
        about(
            "Questions searched together; with 1 a line of a pipe is answered before the "
            "next line is read."
        ),
    ] = 256
    format: Annotated[
        Literal["results", "trec"],
        about("Format of the rankings: the lines of results.jsonl, or a TREC run."),
    ] = "results"
    texts: Annotated[
        bool,
        about("Write the texts of the passages too; without them the file is ten times smaller."),
    ] = True
