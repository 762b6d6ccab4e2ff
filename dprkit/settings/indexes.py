"""Settings of index, tune-index and update-index."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import AtLeast0, Count, Positive, about
from dprkit.settings.shared import EncodedCorpus, MovedCorpus

CANDIDATES = 1000
"""Candidates of a late or binary index, where nothing is said."""


class IndexSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Build an index of an encoded corpus.

    A stopped run goes on where it stopped. Every type but the graphs (hnsw) is built in memory that
    does not grow with the corpus. A search reads the index from the disk.

    Example: dprkit index --embeddings emb --type ivf --output-dir index

    Settings:
        embeddings: Folder of the embeddings, which are the encoded corpus.
        output_dir: Folder to write the index to.
        type: Type of the index: flat (exact), hnsw, ivf, ivfsq8, ivfpq, sq16, sq8, hnswsq8, pq,
            exact (searches the embeddings themselves), binary (a bit for each number finds
            candidates, and the embeddings rank them), bm25, milvus, a FAISS factory string
            such as IVF1024,SQ8, or auto; for the embeddings of a ColBERT retriever, late, or
            late-exact, which compares all token vectors (default: flat, or late for these).
        passages: For bm25, and the words of late: file of the corpus (default: the corpus of the
            embeddings).
        max_ram: For auto: memory that a search may take (default: half of the machine's
            memory).
        target_recall: Share of the exact top passages that a search should find; 1 is exact. By
            this share auto chooses the type, and ivf and hnsw choose how many vectors a search
            compares.
        train_sample: For ivf, pq and sq8: number of vectors, spread over the corpus, that the
            lists and codes are trained on; 0 takes 131,072, or 32 for each list where that is
            more.
        nprobe: For ivf: lists to search for a question; 0 chooses the number by
            --target-recall. Another value does not build the index again.
        ef_search: For hnsw: candidates to keep while searching for a question; 0 chooses the
            number by --target-recall. Another value does not build the index again.
        first_stage: For late: type of the index of one vector a passage that finds the
            candidates, which token vectors then rank; with +bm25 behind it, words
            find candidates too, and the best of both by their scores are taken.
        candidates: For late and binary: passages of the first stage that are compared with a
            question by their token vectors, or vectors; 0 takes {CANDIDATES}. Another value
            does not build the index again.
        k1: For bm25: how much more a repeated word counts; with 0 a repeated word counts once.
        b: For bm25: how much the length of a passage lowers its score, from 0 (not at all) to
            1.
        stemmer: For bm25: language of the stemmer and of the stop words; none keeps all words
            as they are.
        uri: For milvus: URL of a server, such as http://host:19530 (default: a database in the
            folder of the index).
        collection: For milvus: name of the collection (default: a name made from the identity
            of the embeddings).
        token_file: For milvus: file whose first line is the user:password or the key of the
            server.
    """

    embeddings: Annotated[
        str | None, about(follows=("encode-corpus.output_dir", "import-embeddings.output_dir"))
    ] = None
    output_dir: Annotated[str | None, about(workspace="index")] = None
    type: str | None = None
    passages: Annotated[str | None, about(path=True)] = None
    max_ram: Annotated[str | None, about(metavar="8GB")] = None
    target_recall: Annotated[float, Meta(gt=0, le=1)] = 0.95
    train_sample: Count = 0
    nprobe: Annotated[Count, about(harmless=True)] = 0
    ef_search: Annotated[Count, about(harmless=True)] = 0
    first_stage: str = "exact+bm25"
    candidates: Annotated[Count, about(harmless=True)] = 0
    k1: AtLeast0 = 0.9
    b: Annotated[float, Meta(ge=0, le=1)] = 0.4
    stemmer: str = "english"
    uri: str | None = None
    collection: str | None = None
    token_file: Annotated[str | None, about(path=True, harmless=True)] = None


class TuneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Try several types of index on your own questions and recommend one.

    Recall is the share of the exact top passages that an index finds. For the embeddings of a
    ColBERT retriever it also tries first stages, token pooling and number types, which it makes
    from the token vectors that are there.

    Example: dprkit tune-index --embeddings emb --questions dev.qa.csv --target-recall 0.99
        --output-dir tuning

    Settings:
        questions: File of the questions to measure with.
        output_dir: Folder to write the figures and the plot to.
        retriever: Folder of the retriever of the embeddings, if it was moved.
        types: Types of index to try, named as in index --type (default: all that dprkit knows by
            name for the embeddings at hand: flat to binary, or of a ColBERT retriever late-exact
            and late).
        first_stages: For late: first stages to try, named as in index --first-stage.
        pool_factors: For token vectors: pool factors to try, as in encode-corpus --pool-factor.
            Pooling takes some milliseconds a passage.
        dtypes: For token vectors: number types to try, as in encode-corpus --dtype (default:
            the number type of the embeddings).
        sample: Passages to try the types on, spread over the corpus; 0 takes all passages.
        num_questions: Use at most this many questions.
        topk: Passages that a search for a question returns.
        max_ram: Recommend no index that takes more memory than this (default: no limit).
        target_recall: Recommend no index that finds a smaller share of the exact top passages
            than this.
        max_latency: Recommend no index that takes longer than this for 5 % of the questions, in
            milliseconds a question; 0 sets no limit.
    """

    embeddings: EncodedCorpus = None
    questions: Annotated[str | None, about(follows=("select-data.output_dir/valid.jsonl",))] = None
    output_dir: Annotated[str | None, about(workspace="tuning")] = None
    retriever: Annotated[str | None, about(path=True)] = None
    types: Annotated[tuple[str, ...] | None, about(metavar="flat,hnsw,ivf")] = None
    first_stages: Annotated[tuple[str, ...], Meta(min_length=1), about(metavar="exact,ivf")] = (
        "exact",
        "exact+bm25",
        "ivf",
        "hnsw",
    )
    pool_factors: Annotated[tuple[Positive, ...], Meta(min_length=1), about(metavar="1,2,3")] = (1,)
    dtypes: Annotated[
        tuple[Literal["float32", "float16", "int8"], ...], about(metavar="float16,int8")
    ] = ()
    sample: Count = 0
    num_questions: Positive = 1000
    topk: Positive = 20
    max_ram: Annotated[str | None, about(metavar="8GB")] = None
    target_recall: Annotated[float, Meta(gt=0, le=1)] = 0.99
    max_latency: AtLeast0 = 0.0


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Add passages to an index, replace and remove them, without building it again.

    The updated index refers to the old index, which must stay where it is. A search compares its
    question with each added passage in turn, so build a new index after many passages were added.

    Example: dprkit update-index --index index --add new-emb --remove ids.txt --output-dir index-2

    Settings:
        index: Folder of the index to update.
        add: Folder of the embeddings of the passages to add, made with the same retriever; they
            replace passages of the same ids.
        remove: File of the ids of the passages to remove, one a line; they are removed before
            passages are added.
        output_dir: Folder to write the updated index to.
    """

    index: Annotated[str | None, about(follows=("index.output_dir",))] = None
    add: Annotated[str | None, about(path=True)] = None
    remove: Annotated[str | None, about(path=True)] = None
    passages: MovedCorpus = None
    output_dir: Annotated[str | None, about(workspace="index-updated")] = None
