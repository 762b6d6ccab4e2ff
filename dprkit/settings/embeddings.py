"""Settings of encode-corpus, import-embeddings and export-embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import Positive, about
from dprkit.settings.shared import EncodedCorpus, NumberType


class EncodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Encode the passages of a corpus into shards of vectors.

    A bi-encoder gives one vector a passage, a ColBERT model a vector for each token.

    The same command may run in several processes, and on several hosts that share a disk: each
    process encodes some of the shards. A stopped run goes on after its last whole shard.

    Example: dprkit encode-corpus --retriever model --passages psgs_w100.tsv.gz --output-dir emb

    Settings:
        retriever: Folder of the retriever to encode with.
        passages: File of the corpus: a DPR tsv, jsonl or a BEIR corpus.jsonl.
        output_dir: Folder to write the embeddings to.
        shard_size: Passages in a shard; a stopped run loses at most one shard.
        dtype: Number type of the vectors on disk; int8 keeps a scale beside each vector, and
            binary, for bi-encoders, keeps the sign of each number alone (default: float32, of a
            ColBERT model float16).
        truncate_dim: First numbers of each vector that are kept, of a bi-encoder; a search cuts the
            questions' vectors in the same way (default: all).
        pool_factor: Token vectors of a ColBERT model that become one, on average, by
            clustering those of each passage; 1 keeps all.
        precision: Number type of the encoder's matrix products; auto is bf16 where this machine
            multiplies it faster, and fp32 elsewhere. None of the types was ever tested on a GPU.
        backend: Library that runs the encoder; onnx runs on the CPU (extra: onnx).
        int8: With --backend onnx: use 8-bit matrix products, which are faster and change the
            vectors a little.
        batch_tokens: Tokens in a forward pass (default: chosen by the processor or GPU).
        num_processes: Processes on this host, or tasks on the Ray cluster, that share the
            shards.
        engine: Where the shards are encoded: on this host, or on the Ray cluster of RAY_ADDRESS
            (extra: ray).
    """

    retriever: Annotated[str | None, about(follows=("train.output_dir",))] = None
    passages: Annotated[
        str | None,
        about(follows=("select-data.passages_out", "select-data.output_dir/passages.tsv")),
    ] = None
    output_dir: Annotated[str | None, about(workspace="embeddings")] = None
    shard_size: Positive = 50_000
    dtype: Literal["float32", "float16", "int8", "binary"] | None = None
    truncate_dim: Positive | None = None
    pool_factor: Positive = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    backend: Literal["torch", "onnx"] = "torch"
    int8: bool = False
    batch_tokens: Annotated[Positive | None, about(harmless=True)] = None
    num_processes: Annotated[Positive, about(harmless=True)] = 1
    engine: Annotated[Literal["local", "ray"], about(harmless=True)] = "local"


class ImportEmbeddingsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Import vectors that another system made of the corpus.

    It reads the pickles of DPR, Tevatron, contriever and dpr-scale, and npy files with files of ids
    beside them. Code in a pickle is not run. The files may be in any order; each passage of the
    corpus must have one vector.

    Example: dprkit import-embeddings wiki_passages_* --retriever model --passages psgs_w100.tsv.gz
        --output-dir emb

    Settings:
        sources: Files of vectors, or folders of such files.
        retriever: Folder of the retriever that made the vectors.
        passages: File of the corpus: a DPR tsv, jsonl or a BEIR corpus.jsonl.
        output_dir: Folder to write the embeddings to.
        kind: Format of the files; auto looks into each file for its format.
        ids: File of passage ids, one a line, for each npy file (default: the file of ids beside
            the npy file).
        in_order: The npy files have no ids: their rows, file after file, are the passages of
            the corpus in order.
        check: Encode a few passages and refuse vectors that differ from the vectors of the
            retriever.
        shard_size: Passages in a shard.
    """

    sources: Annotated[tuple[str, ...], about(flag="argument", path=True)] = ()
    retriever: Annotated[str | None, about(follows=("encode-corpus.retriever",))] = None
    passages: Annotated[str | None, about(follows=("encode-corpus.passages",))] = None
    output_dir: Annotated[str | None, about(output=True, follows=("encode-corpus.output_dir",))] = (
        None
    )
    kind: Literal["auto", "dpr", "tevatron", "dpr-scale", "npy"] = "auto"
    ids: Annotated[tuple[str, ...], about(path=True)] = ()
    in_order: bool = False
    check: Annotated[bool, about(harmless=True)] = True
    shard_size: Positive = 50_000
    dtype: NumberType = "float32"


class ExportEmbeddingsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Write an encoded corpus for another system.

    With --to npy it writes vectors.npy and ids.txt; of token vectors tokens.npy, lengths.npy and
    ids.txt. With parquet it writes a file for each shard, with the columns id and vector. With
    pyserini it writes a folder for FaissSearcher. With dpr it writes a pickle for each shard, for
    DPR's dense_retriever.py. Token vectors are for npy alone.

    Example: dprkit export-embeddings --embeddings emb --to pyserini --output-dir faiss-flat

    Settings:
        to: Format to write.
        output_dir: Folder to write the files to.
    """

    embeddings: EncodedCorpus = None
    to: Literal["npy", "parquet", "pyserini", "dpr"] = "npy"
    output_dir: Annotated[str | None, about(output=True)] = None
