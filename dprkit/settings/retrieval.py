"""Settings of encode-corpus, index, search and evaluate."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import AtLeast0, Count, Positive, about


class EncodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Encode the passages of a corpus into shards of vectors.

    The same command may run in many processes, and on many hosts that share a disk: each takes some
    of the shards. A stopped run goes on after its last whole shard.

    Example: dprkit encode-corpus --retriever model --passages psgs_w100.tsv.gz --output-dir emb
    """

    retriever: Annotated[
        str | None, about("The retriever to encode with.", follows=("train.output_dir",))
    ] = None
    passages: Annotated[
        str | None,
        about(
            "The corpus: DPR tsv, jsonl or BEIR corpus.jsonl.",
            follows=("select-data.passages_out", "select-data.output_dir/passages.tsv"),
        ),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder of the embeddings.", workspace="embeddings")
    ] = None
    shard_size: Annotated[
        Positive, about("Passages in a shard; a stopped run loses at most one shard.")
    ] = 50_000
    dtype: Annotated[
        Literal["float32", "float16"], about("Number type of the vectors on disk.")
    ] = "float32"
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], about("Number type of the encoder's matrix products.")
    ] = "fp32"
    backend: Annotated[
        Literal["torch", "onnx"],
        about("Library that runs the encoder; onnx is for a CPU (extra: onnx)."),
    ] = "torch"
    int8: Annotated[
        bool, about("With onnx: 8-bit products, which are faster and change the vectors a little.")
    ] = False
    batch_tokens: Annotated[
        Positive | None,
        about("Tokens in a forward pass (default: chosen for the machine).", harmless=True),
    ] = None
    num_processes: Annotated[
        Positive,
        about("Processes of this host, or tasks of Ray, that share the shards.", harmless=True),
    ] = 1
    engine: Annotated[
        Literal["local", "ray"],
        about(
            "Where the shards are encoded: on this host, or on the Ray cluster of RAY_ADDRESS "
            "(extra: ray).",
            harmless=True,
        ),
    ] = "local"


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
            "such as IVF1024,SQ8, or auto.",
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
        about(
            "For bm25: how much a repeated word counts; 0 counts it once.",
            only_for=("bm25",),
        ),
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
    passages: Annotated[
        str | None, about("File of the index's corpus, if it was moved.", path=True)
    ] = None
    output_dir: Annotated[
        str | None, about("Folder of the updated index.", workspace="index-updated")
    ] = None


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Retrieve passages for questions.

    At a terminal, without --questions, it asks for questions and shows the best passages.

    Example: echo "who wrote hamlet" | dprkit search --index index --questions -
    """

    index: Annotated[str | None, about("The index to search.", follows=("index.output_dir",))] = (
        None
    )
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
    retriever: Annotated[
        str | None, about("Folder of the index's retriever, if it was moved.", path=True)
    ] = None
    passages: Annotated[
        str | None, about("File of the index's corpus, if it was moved.", path=True)
    ] = None
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


class EvaluateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Measure how often an answer is among the best k passages.

    It searches an index, or reads rankings from a file.

    Example: dprkit evaluate --index index --questions nq-test.qa.csv --topk 1,5,20,100
        --output-dir results
    """

    index: Annotated[str | None, about("The index to search.", follows=("index.output_dir",))] = (
        None
    )
    results: Annotated[
        str | None,
        about(
            "Evaluate these rankings instead: results.jsonl or DPR's JSON; - is stdin.",
            path=True,
            replaces="index questions output_dir",
        ),
    ] = None
    questions: Annotated[
        str | None,
        about("Questions with answers.", follows=("select-data.output_dir/test.jsonl",)),
    ] = None
    output_dir: Annotated[str | None, about("Folder of the results.", workspace="results")] = None
    retriever: Annotated[
        str | None, about("Folder of the index's retriever, if it was moved.", path=True)
    ] = None
    passages: Annotated[
        str | None, about("File of the index's corpus, if it was moved.", path=True)
    ] = None
    topk: Annotated[
        tuple[Positive, ...],
        Meta(min_length=1),
        about("Depths k to report.", metavar="1,5,20,100"),
    ] = (1, 5, 20, 100)
    match: Annotated[
        Literal["string", "regex"], about("How an answer is compared with a passage.")
    ] = "string"
    texts: Annotated[
        bool,
        about(
            "Write the passages' texts into results.jsonl; without them it is ten times smaller."
        ),
    ] = True
