"""Settings of evaluate."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Count, Positive, about
from dprkit.settings.shared import (
    Candidates,
    MovedCorpus,
    PromptName,
    RerankAnswers,
    RerankBy,
    RerankDepth,
    RerankEmbeddings,
    Reranker,
    RerankWeight,
    SearchedIndex,
)

_RANKED = about(
    path=True,
    replaces="index corpus questions qrels output_dir prompt rerank rerank_depth rerank_weight "
    "rerank_embeddings rerank_by rerank_answers precision",
)


_ANSWERED = about(
    path=True,
    replaces="index results questions qrels beir corpus output_dir prompt rerank rerank_depth "
    "rerank_weight rerank_embeddings rerank_by rerank_answers precision",
)


class EvaluateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Measure how often an answer is among the best k passages.

    It searches an index, or reads rankings from a file. Where the questions name their gold
    passages, it measures how many of these are found, and at which rank. With judgements of
    passages (qrels) it measures nDCG@10, AP, MRR, recall, success and precision by them. Of a
    reader's answers it measures exact match and F1.

    Example: dprkit evaluate --index index --questions nq-test.qa.csv --topk 1,5,20,100
        --output-dir results
    Example: dprkit evaluate --retriever Q,P --corpus psgs_w100.tsv.gz
        --questions nq-test.qa.csv --output-dir dpr-results

    Settings:
        results: File of rankings to evaluate instead of an index: results.jsonl, DPR's JSON,
            Pyserini's JSON or a TREC run; - is stdin.
        answers: File or folder of answers that read wrote; exact match and F1 are measured at each
            of its depths.
        questions: File of questions with answers or gold passages; with --results or --answers
            they are found there by their ids.
        qrels: File of judged passages: TREC's qrels or BEIR's tsv. They count instead of the gold
            passages of the questions.
        beir: Folder of a data set of BEIR: corpus.jsonl, queries.jsonl and qrels. Its queries and
            qrels are used. With --retriever, and without --index and --results, its corpus is
            used too, as that of --corpus.
        corpus: File of passages to encode with --retriever and to index, instead of --index, in
            folders below that of the results.
        truncate_dim: With --corpus: sizes that vectors are cut to, each measured without encoding
            again. The results of the first size are those of the folder, those of another lie in
            dim-SIZE below it (default: whole vectors).
        split: The qrels of --beir to use: the file qrels/SPLIT.tsv.
        output_dir: Folder to write the results to.
        retriever: With --corpus or --beir, the model to measure: a retriever, a model that convert
            reads, or the question's and the passage's encoder of a pair with a comma between; each
            is a folder or a hub name. Else the folder of the retriever of the index, if it was
            moved.
        topk: Depths k to report: each metric looks at the best k passages.
        metrics: Measures by their names in ir-measures, in quotes, such as "nDCG@10 RR@10 AP"; by
            the qrels, or by the gold passages.
        precision: Number type of the matrix products of --rerank, and of --retriever where it
            encodes --corpus; auto is bf16 where this machine multiplies it faster, and fp32
            elsewhere.
        match: How an answer is compared with a passage: as words, as a regular expression, or as
            KILT does it.
        pages: Look also for the pages of KILT's provenance, whose ids are those of the passages or
            stand in them before -0, -1, ...
        by: Metrics also of the questions of each data set, of each tag, or of each length in words;
            several with commas.
        texts: Write the texts of the passages into results.jsonl too; without them the file is
            ten times smaller.
        parquet: Write per_question.parquet beside per_question.jsonl.
        seed: Seed of the bootstrap, from which intervals come.
    """

    index: SearchedIndex = None
    results: Annotated[str | None, _RANKED] = None
    answers: Annotated[str | None, _ANSWERED] = None
    questions: Annotated[
        str | None, about(follows=("select-data.output_dir/test.jsonl",), replaces="beir")
    ] = None
    qrels: Annotated[str | None, about(path=True, replaces="beir")] = None
    beir: Annotated[
        str | None, about(path=True, replaces="index results questions qrels corpus")
    ] = None
    corpus: Annotated[str | None, about(path=True, replaces="index results answers beir")] = None
    truncate_dim: Annotated[
        tuple[Positive, ...], about(metavar="384,256,128,64", harmless=True)
    ] = ()
    split: str = "test"
    output_dir: Annotated[str | None, about(workspace="results")] = None
    retriever: Annotated[str | None, about(path=True, commas=True)] = None
    passages: MovedCorpus = None
    prompt: PromptName = None
    topk: Annotated[tuple[Positive, ...], Meta(min_length=1), about(metavar="1,5,20,100")] = (
        1,
        5,
        20,
        100,
    )
    metrics: str | None = None
    candidates: Candidates = None
    rerank: Reranker = None
    rerank_depth: RerankDepth = None
    rerank_weight: RerankWeight = 1.0
    rerank_by: RerankBy = "relevance"
    rerank_answers: RerankAnswers = 5
    rerank_embeddings: RerankEmbeddings = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    match: Literal["string", "regex", "kilt"] = "string"
    pages: bool = False
    by: tuple[Literal["dataset", "tag", "length"], ...] = ()
    texts: bool = True
    parquet: bool = False
    seed: Count = 0
