"""Settings of encode-corpus, index, search and evaluate."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Positive, about


class EncodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Encode the passages of a corpus."""

    retriever: Annotated[str | None, about("The retriever to encode with.", workspace="model")] = (
        None
    )
    passages: Annotated[
        str | None,
        about("The corpus: DPR tsv, jsonl or BEIR corpus.jsonl.", workspace="data/passages.tsv"),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder of the embeddings.", workspace="embeddings")
    ] = None
    shard_size: Annotated[Positive, about("Passages in a shard, the unit of resuming.")] = 50_000
    batch_tokens: Annotated[Positive, about("Tokens in a forward pass.", harmless=True)] = 2048
    dtype: Annotated[Literal["float32", "float16"], about("Numbers on disk.")] = "float32"


class IndexSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Build a FAISS index of encoded passages."""

    embeddings: Annotated[str | None, about("The encoded corpus.", workspace="embeddings")] = None
    output_dir: Annotated[str | None, about("Folder of the index.", workspace="index")] = None
    type: Annotated[Literal["flat"], about("Kind of index; flat is exact.")] = "flat"


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Retrieve passages for questions."""

    index: Annotated[str | None, about("The index to search.", workspace="index")] = None
    questions: Annotated[
        str | None,
        about(
            "Questions: qa.csv, jsonl, BEIR, KILT, DPR examples or plain lines; - is stdin.",
            path=True,
        ),
    ] = None
    output: Annotated[
        str, about("File to write rankings to; - is stdout.", flag="-o", path=True)
    ] = "-"
    retriever: Annotated[
        str | None, about("Where the index's retriever lies now, if it was moved.", path=True)
    ] = None
    passages: Annotated[
        str | None, about("Where the index's corpus lies now, if it was moved.", path=True)
    ] = None
    topk: Annotated[Positive, about("Passages to retrieve for each question.")] = 100
    format: Annotated[
        Literal["results", "trec"], about("Lines of results.jsonl, or a TREC run.")
    ] = "results"


class EvaluateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Measure answer recall and gold-passage recall."""

    index: Annotated[str | None, about("The index to search.", workspace="index")] = None
    results: Annotated[
        str | None,
        about(
            "Evaluate these rankings instead: results.jsonl or DPR's JSON; - is stdin.",
            path=True,
            replaces="index output_dir",
        ),
    ] = None
    questions: Annotated[
        str | None, about("Questions with answers.", workspace="data/test.jsonl")
    ] = None
    output_dir: Annotated[str | None, about("Folder of the results.", workspace="results")] = None
    retriever: Annotated[
        str | None, about("Where the index's retriever lies now, if it was moved.", path=True)
    ] = None
    passages: Annotated[
        str | None, about("Where the index's corpus lies now, if it was moved.", path=True)
    ] = None
    topk: Annotated[
        tuple[Positive, ...],
        Meta(min_length=1),
        about("Depths to report.", metavar="1,5,20,100"),
    ] = (1, 5, 20, 100)
    match: Annotated[
        Literal["string", "regex"], about("How an answer is looked for in a passage.")
    ] = "string"
