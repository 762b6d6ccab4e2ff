"""Settings of index, tune-index and update-index."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from dprkit.settings.fields import AtLeast0, Count, Positive, about
from dprkit.settings.shared import EncodedCorpus, MovedCorpus


class IndexSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Build an index of an encoded corpus.

    A stopped run goes on where it was. Every type but the graphs (hnsw) is built in memory that
    does not grow with the corpus, and a search reads it from the disk.

    Example: dprkit index --embeddings emb --type ivf --output-dir index
    """

    embeddings: Annotated[
        str | None,
        about(
            "The encoded corpus.",
            follows=("encode-corpus.output_dir", "import-embeddings.output_dir"),
        ),
    ] = None
    output_dir: Annotated[str | None, about("Folder of the index.", workspace="index")] = None
    type: Annotated[
        str,
        about(
            "Type of the index: flat (exact), hnsw, ivf, ivfsq8, ivfpq, sq16, sq8, hnswsq8, pq, "
            "exact (searches the embeddings themselves), bm25, milvus, a FAISS factory string "
            "such as IVF1024,SQ8, or auto."
        ),
    ] = "flat"
    passages: Annotated[
        str | None, about("For bm25: the corpus (default: that of the embeddings).", path=True)
    ] = None
    max_ram: Annotated[
        str | None,
        about(
            "For auto: memory that a search may take (default: half of the machine's).",
            metavar="8GB",
            only_for=("auto",),
        ),
    ] = None
    target_recall: Annotated[
        float,
        Meta(gt=0, le=1),
        about(
            "Share of the exact top passages that a search should find: auto chooses a type by "
            "it, ivf and hnsw how far a search looks; 1 is exact.",
            only_for=("auto",),
        ),
    ] = 0.95
    train_sample: Annotated[
        Count,
        about(
            "Vectors, spread over the corpus, on which lists and codes are trained; 0 takes "
            "enough.",
            only_for=("ivf*", "pq", "sq8", "hnswsq8", "auto", "[A-Z]*"),
        ),
    ] = 0
    nprobe: Annotated[
        Count,
        about(
            "For ivf: lists to search for a question; 0 chooses by --target-recall. "
            "A change builds nothing anew.",
            harmless=True,
        ),
    ] = 0
    ef_search: Annotated[
        Count,
        about(
            "For hnsw: candidates to keep for a question; 0 chooses by --target-recall. "
            "A change builds nothing anew.",
            harmless=True,
        ),
    ] = 0
    k1: Annotated[
        AtLeast0,
        about("For bm25: how much a repeated word counts; 0 counts it once.", only_for=("bm25",)),
    ] = 0.9
    b: Annotated[
        Annotated[float, Meta(ge=0, le=1)],
        about(
            "For bm25: how much a passage is marked down for its length, 0 to 1.",
            only_for=("bm25",),
        ),
    ] = 0.4
    stemmer: Annotated[
        str,
        about(
            "For bm25: language of the stemmer and the stop words; none keeps words as they are.",
            only_for=("bm25",),
        ),
    ] = "english"
    uri: Annotated[
        str | None,
        about(
            "For milvus: URL of a server, such as http://host:19530 (default: a database in the "
            "index's folder).",
            only_for=("milvus",),
        ),
    ] = None
    collection: Annotated[
        str | None,
        about(
            "For milvus: name of the collection (default: named after the embeddings).",
            only_for=("milvus",),
        ),
    ] = None
    token_file: Annotated[
        str | None,
        about(
            "For milvus: file whose first line is the server's user:password or key.",
            path=True,
            harmless=True,
        ),
    ] = None


class TuneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Try several types of index on your own questions and recommend one.

    Recall is the share of the exact top passages that an index finds.

    Example: dprkit tune-index --embeddings emb --questions dev.qa.csv --target-recall 0.99
        --output-dir tuning
    """

    embeddings: EncodedCorpus = None
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


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Add passages to an index, replace and remove them, without building it again.

    The new index refers to the old one, which must stay where it is. A search compares its question
    with each added passage in turn, so build a new index when many were added.

    Example: dprkit update-index --index index --add new-emb --remove ids.txt --output-dir index-2
    """

    index: Annotated[
        str | None, about("The index to start from.", follows=("index.output_dir",))
    ] = None
    add: Annotated[
        str | None,
        about(
            "Embeddings of passages to add, made by the same retriever; they replace passages "
            "of the same ids.",
            path=True,
        ),
    ] = None
    remove: Annotated[
        str | None,
        about("File of ids, one a line, to remove before passages are added.", path=True),
    ] = None
    passages: MovedCorpus = None
    output_dir: Annotated[
        str | None, about("Folder of the updated index.", workspace="index-updated")
    ] = None
