"""Settings of search and explain."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import AtLeast0, Positive, about
from dprkit.settings.shared import (
    Candidates,
    MovedCorpus,
    MovedRetriever,
    PromptName,
    RerankAnswers,
    RerankBy,
    RerankDepth,
    RerankEmbeddings,
    Reranker,
    RerankWeight,
    SearchedIndex,
)


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Retrieve passages for questions.

    On a terminal, without --questions, it asks for questions and shows the best passages.

    Example: echo "who wrote hamlet" | dprkit search --index index --questions -

    Settings:
        questions: File of questions: qa.csv, jsonl, BEIR, KILT, DPR examples or plain lines; -
            is stdin.
        output: File to write the rankings to; - is stdout.
        topk: Passages that a search for a question returns.
        hybrid: Folder of another index of the same corpus, such as a bm25 index; the rankings
            of the two indexes are combined.
        fusion: How two rankings are combined: by scores scaled to 0 to 1, or by reciprocal
            ranks.
        weights: Weight of each index in the combined ranking (default: the same for each
            index).
        tune_on: File of questions with gold passages, which choose --fusion and --weights.
        precision: Number type of the matrix products of --rerank; auto is bf16 where this machine
            multiplies it faster, and fp32 elsewhere.
        only_ids: File of passage ids, one a line; only these passages are searched.
        nprobe: For ivf: lists to search for a question (default: the number that the index was
            built with).
        ef_search: For hnsw: candidates to keep while searching for a question (default: the
            number that the index was built with).
        batch_size: Questions searched together; with 1 a line of a pipe is answered before the
            next line is read.
        format: Format of the rankings: the lines of results.jsonl, or a TREC run.
        texts: Write the texts of the passages too; without them the file is ten times smaller.
    """

    index: SearchedIndex = None
    questions: Annotated[str | None, about(path=True)] = None
    output: Annotated[str, about(flag="-o", output=True)] = "-"
    retriever: MovedRetriever = None
    passages: MovedCorpus = None
    prompt: PromptName = None
    topk: Positive = 100
    hybrid: Annotated[str | None, about(path=True)] = None
    fusion: Literal["weighted", "rrf"] = "weighted"
    weights: Annotated[tuple[AtLeast0, ...], about(metavar="0.6,0.4")] = ()
    tune_on: Annotated[str | None, about(path=True)] = None
    rerank: Reranker = None
    rerank_depth: RerankDepth = None
    rerank_weight: RerankWeight = 1.0
    rerank_by: RerankBy = "relevance"
    rerank_answers: RerankAnswers = 5
    rerank_embeddings: RerankEmbeddings = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    only_ids: Annotated[str | None, about(path=True)] = None
    nprobe: Positive | None = None
    ef_search: Positive | None = None
    candidates: Candidates = None
    batch_size: Positive = 256
    format: Literal["results", "trec"] = "results"
    texts: bool = True


class ExplainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Show how a ColBERT model comes to the score of a question and a passage.

    Each token of the question chooses the token of the passage that is most similar to it. The
    score is the sum of these similarities.

    Example: dprkit explain --retriever colbert --question "who wrote hamlet"
        --passage "by Shakespeare"

    Settings:
        retriever: Folder of the ColBERT model.
        question: Text of the question.
        passage: Text of the passage.
        title: Title of the passage.
        id: Id of a passage of --passages, instead of its text.
        passages: File of the corpus in which --id is looked for.
        output: File to write an HTML page to, with both texts in colours; - is stdout.
    """

    retriever: Annotated[str | None, about(follows=("train.output_dir",))] = None
    question: str | None = None
    passage: Annotated[str | None, about(replaces="id passages")] = None
    title: str | None = None
    id: Annotated[str | None, about(replaces="passage title")] = None
    passages: Annotated[str | None, about(follows=("encode-corpus.passages",))] = None
    output: Annotated[str | None, about(flag="-o", output=True)] = None
