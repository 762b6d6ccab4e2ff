"""Settings of tune-index."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from dprkit.settings.fields import AtLeast0, Count, Positive, about


class TuneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Try several types of index on your own questions and recommend one.

    Recall is the share of the exact top passages that an index finds.

    Example: dprkit tune-index --embeddings emb --questions dev.qa.csv --target-recall 0.99
        --output-dir tuning
    """

    embeddings: Annotated[
        str | None, about("The encoded corpus.", follows=("index.embeddings",))
    ] = None
    questions: Annotated[
        str | None,
        about("Questions to measure with.", follows=("select-data.output_dir/valid.jsonl",)),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder of the figures and the plot.", workspace="tuning")
    ] = None
    retriever: Annotated[
        str | None, about("Folder of the embeddings' retriever, if it was moved.", path=True)
    ] = None
    types: Annotated[
        tuple[str, ...],
        Meta(min_length=1),
        about("Types of index to try, named as in index --type.", metavar="flat,hnsw,ivf"),
    ] = ("flat", "sq8", "ivf", "ivfsq8", "ivfpq", "hnsw")
    sample: Annotated[Count, about("Passages to try on, spread over the corpus; 0 takes all.")] = 0
    num_questions: Annotated[Positive, about("Use at most this many questions.")] = 1000
    topk: Annotated[Positive, about("Passages that an index should find.")] = 20
    max_ram: Annotated[
        str | None, about("Recommend no index that takes more memory than this.", metavar="8GB")
    ] = None
    target_recall: Annotated[
        float, Meta(gt=0, le=1), about("Recommend no index that finds a smaller share than this.")
    ] = 0.99
    max_latency: Annotated[
        AtLeast0,
        about(
            "Recommend no index whose 95th percentile of latency is longer than this, in "
            "milliseconds; 0 sets no limit."
        ),
    ] = 0.0
