"""Settings that mean the same in several stages, described once."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from dprkit.settings.fields import Positive, about

SearchedIndex = Annotated[
    str | None, about("Folder of the index to search.", follows=("index.output_dir",))
]
EncodedCorpus = Annotated[
    str | None,
    about("Folder of the embeddings, which are the encoded corpus.", follows=("index.embeddings",)),
]
MovedRetriever = Annotated[
    str | None, about("Folder of the retriever of the index, if it was moved.", path=True)
]
MovedCorpus = Annotated[
    str | None, about("File of the corpus of the index, if it was moved.", path=True)
]
PromptName = Annotated[
    str | None,
    about(
        "Prompt to put before the questions instead of the question_prefix of the retriever: the "
        "name of one of the prompts in its retriever.yaml.",
    ),
]
NumberType = Annotated[
    Literal["float32", "float16", "int8", "binary"], about("Number type of the vectors on disk.")
]
FoldName = Annotated[str, Meta(pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")]
"""One of several folds, such as 1/4: see data/folds.py."""
LeftOut = Annotated[
    FoldName | None,
    about(
        "Train without the questions of one of several folds, such as 1/4, the first of four, as "
        "if the files had no such rows; score-teacher --folds scores them by this model (default: "
        "train on all).",
        metavar="I/N",
    ),
]
Candidates = Annotated[
    Positive | None,
    about(
        "For late and binary: passages of the first stage that are compared with a question by "
        "their token vectors, or vectors "
        "(default: the number that the index was built with)."
    ),
]
Reranker = Annotated[
    str | None,
    about(
        "Model that scores the best passages again and orders them by its scores: a retriever, a "
        "reader, or a cross-encoder, which is a Hugging Face folder or hub name.",
        path=True,
        hub=True,
    ),
]
RerankDepth = Annotated[
    Positive | None,
    about(
        "Passages that --rerank scores for each question; no others are returned (default: 200, "
        "or --topk where that is more). With --rerank-by answers: passages that the reader reads "
        "for its answers (default: 20).",
    ),
]
RerankBy = Annotated[
    Literal["relevance", "answers"],
    about(
        "What a reader that --rerank names orders passages by: the relevance that it gives each of "
        "them, or its answers: passages that hold one of its best answers come first, and "
        "otherwise the order of the search stays.",
    ),
]
RerankAnswers = Annotated[
    Positive, about("For --rerank-by answers: how many of the reader's answers count.")
]
RerankWeight = Annotated[
    float,
    Meta(gt=0, le=1),
    about(
        "Weight of the scores of --rerank; the scores of the search have the rest, and both are "
        "scaled to 0 to 1 for each question. With 1, the scores of --rerank alone count.",
    ),
]
RerankEmbeddings = Annotated[
    str | None,
    about(
        "Folder of the corpus as the retriever of --rerank has encoded it; without it, passages "
        "are encoded when they are found.",
        path=True,
    ),
]
