"""Settings of index, tune-index and update-index."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from dprkit.settings.fields import AtLeast0, Count, Positive, about
from dprkit.settings.shared import EncodedCorpus, MovedCorpus


class IndexSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Build an index of an encoded corpus.

    A stopped run goes on where it stopped. Every type but the graphs (hnsw) is built in memory that
    does not grow with the corpus. A search reads the index from the disk.

    Example: dprkit index --embeddings emb --type ivf --output-dir index
    """

    embeddings: Annotated[
        str | None,
        about(
            "Folder of the embeddings, which are the encoded corpus.",
            follows=("encode-corpus.output_dir", "import-embeddings.output_dir"),
        ),
    ] = None
    output_dir: Annotated[str | None, about("Folder to write the index to.", workspace="index")] = (
        None
    )
    type: Annotated[
        str,
        about(
            "Type of the index: flat (exact), hnsw, ivf, ivfsq8, ivfpq, sq16, sq8, hnswsq8, pq, "
            "exact (searches the embeddings themselves), bm25, milvus, a FAISS factory string "
            "such as IVF1024,SQ8, or auto."
        ),
    ] = "flat"
    passages: Annotated[
        str | None,
        about("For bm25: file of the corpus (default: the corpus of the embeddings).", path=True),
    ] = None
    max_ram: Annotated[
        str | None,
        about(
            "For auto: memory that a search may take (default: half of the machine's memory).",
            metavar="8GB",
        ),
    ] = None
    target_recall: Annotated[
        float,
        Meta(gt=0, le=1),
        about(
            "Share of the exact top passages that a search should find; 1 is exact. By this "
            "share auto chooses the type, and ivf and hnsw choose how many vectors a search "
            "compares.",
        ),
    ] = 0.95
    train_sample: Annotated[
        Count,
        about(
            "For ivf, pq and sq8: number of vectors, spread over the corpus, that the lists "
            "and codes are trained on; 0 takes 131,072, or 32 for each list where that is "
            "more.",
        ),
    ] = 0
    nprobe: Annotated[
        Count,
        about(
            "For ivf: lists to search for a question; 0 chooses the number by "
            "--target-recall. Another value does not build the index again.",
            harmless=True,
        ),
    ] = 0
    ef_search: Annotated[
        Count,
        about(
            "For hnsw: candidates to keep while searching for a question; 0 chooses the "
            "number by --target-recall. Another value does not build the index again.",
            harmless=True,
        ),
    ] = 0
    k1: Annotated[
        AtLeast0,
        about(
            "For bm25: how much more a repeated word counts; with 0 a repeated word counts once.",
        ),
    ] = 0.9
    b: Annotated[
        Annotated[float, Meta(ge=0, le=1)],
        about(
            "For bm25: how much the length of a passage lowers its score, from 0 (not at "
            "all) to 1.",
        ),
    ] = 0.4
    stemmer: Annotated[
        str,
        about(
            "For bm25: language of the stemmer and of the stop words; none keeps all words "
            "as they are.",
        ),
    ] = "english"
    uri: Annotated[
        str | None,
        about(
            "For milvus: URL of a server, such as http://host:19530 (default: a database in "
            "the folder of the index).",
        ),
    ] = None
    collection: Annotated[
        str | None,
        about(
            "For milvus: name of the collection (default: a name made from the identity of "
            "the embeddings).",
        ),
    ] = None
    token_file: Annotated[
        str | None,
        about(
            "For milvus: file whose first line is the user:password or the key of the server.",
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
        about(
            "File of the questions to measure with.",
            follows=("select-data.output_dir/valid.jsonl",),
        ),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder to write the figures and the plot to.", workspace="tuning")
    ] = None
    retriever: Annotated[
        str | None, about("Folder of the retriever of the embeddings, if it was moved.", path=True)
    ] = None
    types: Annotated[
        tuple[str, ...],
        Meta(min_length=1),
        about("Types of index to try, named as in index --type.", metavar="flat,hnsw,ivf"),
    ] = ("flat", "sq8", "ivf", "ivfsq8", "ivfpq", "hnsw")
    sample: Annotated[
        Count, about("Passages to try the types on, spread over the corpus; 0 takes all passages.")
    ] = 0
    num_questions: Annotated[Positive, about("Use at most this many questions.")] = 1000
    topk: Annotated[Positive, about("Passages that a search for a question returns.")] = 20
    max_ram: Annotated[
        str | None,
        about(
            "Recommend no index that takes more memory than this (default: no limit).",
            metavar="8GB",
        ),
    ] = None
    target_recall: Annotated[
        float,
        Meta(gt=0, le=1),
        about("Recommend no index that finds a smaller share of the exact top passages than this."),
    ] = 0.99
    max_latency: Annotated[
        AtLeast0,
        about(
            "Recommend no index that takes longer than this for 5 % of the questions, in "
            "milliseconds a question; 0 sets no limit."
        ),
    ] = 0.0


class UpdateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Add passages to an index, replace and remove them, without building it again.

    The updated index refers to the old index, which must stay where it is. A search compares its
    question with each added passage in turn, so build a new index after many passages were added.

    Example: dprkit update-index --index index --add new-emb --remove ids.txt --output-dir index-2
    """

    index: Annotated[
        str | None, about("Folder of the index to update.", follows=("index.output_dir",))
    ] = None
    add: Annotated[
        str | None,
        about(
            "Folder of the embeddings of the passages to add, made with the same retriever; "
            "they replace passages of the same ids.",
            path=True,
        ),
    ] = None
    remove: Annotated[
        str | None,
        about(
            "File of the ids of the passages to remove, one a line; they are removed before "
            "passages are added.",
            path=True,
        ),
    ] = None
    passages: MovedCorpus = None
    output_dir: Annotated[
        str | None, about("Folder to write the updated index to.", workspace="index-updated")
    ] = None
