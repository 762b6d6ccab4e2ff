"""Settings of convert."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import Count, Length, about
from dprkit.settings.training import (  # in sentences of the docstring
    PASSAGE_MAX_LENGTH,  # noqa: F401
    QUESTION_MAX_LENGTH,  # noqa: F401
    Pooling,
)

Kind = Literal[
    "hf-dpr",
    "dpr-cp",
    "sentence-transformers",
    "transformer",
    "qa-retriever",
    "neural-cherche",
    "stanford-colbert",
    "pylate",
    "multi-vector",
    "hf-dpr-reader",
    "dpr-reader-cp",
]
Form = Literal[
    "hf-dpr",
    "sentence-transformers",
    "onnx",
    "onnx-copy",
    "neural-cherche",
    "stanford-colbert",
    "pylate",
    "multi-vector",
    "hf-dpr-reader",
    "dpr-reader-cp",
]


class ConvertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Convert a foreign retriever or reader to dprkit's form, or one of dprkit's to a foreign form.

    It reads Hugging Face DPR pairs, DPR's checkpoints, sentence-transformers folders, plain
    transformers and fz-openqa's QaRetriever, and ColBERT models of neural-cherche, Stanford, PyLate
    and sentence-transformers (multi-vector); and readers: Hugging Face's DPRReader and DPR's
    checkpoints. Code in a source is not run.

    Example: dprkit convert bert-base-uncased --output-dir model

    Settings:
        source: Model to convert: a folder, a hub name or a checkpoint file; with --to, the
            folder of a retriever or reader.
        output_dir: Folder to write to; an ONNX copy (--to onnx-copy) is kept with its retriever
            instead.
        to: Form to convert a retriever to; onnx-copy keeps an ONNX copy of its question encoder
            with it, so that a search starts without torch (default: convert a source to a
            retriever).

    Source:
        kind: Kind of the source (default: recognised by its files).
        question_encoder: Question encoder, where the source is a pair of folders.
        passage_encoder: Passage encoder, where the source is a pair of folders.
        backbone: Folder or hub name of the model whose config and tokenizer a checkpoint file
            needs.

    Use:
        pooling: How the vectors of the tokens become one vector (default: as the source says,
            else cls, or last for a decoder).
        similarity: How the vectors of a question and a passage are compared (default: as the
            source says, else dot).
        truncate_dim: First numbers of each vector that are kept, also with --to; 0 keeps all
            (default: as the source says, else all).
        title_join: How the title and the text of a passage are joined: pair (two segments),
            none (the text alone), or a text that stands between them, such as '. ' (default:
            pair, or a space for sentence-transformers and for a decoder).
        question_max_length: Tokens of a question that the encoder reads; the others are cut off
            (default: as the source says, else {QUESTION_MAX_LENGTH}).
        passage_max_length: Tokens of a passage that the encoder reads; the others are cut off
            (default: as the source says, else {PASSAGE_MAX_LENGTH}).
        end_token: Token of the vocabulary put behind every text, such as <|endoftext|>, where the
            tokenizer puts none there; '' for none (default: none).
        question_prefix: Text put before every question (default: as the source says).
        passage_prefix: Text put before every passage (default: as the source says).

    Late interaction:
        question_marker: Token of the vocabulary that stands behind the first special token of every
            question, such as [unused0]; '' for none (default: as the source says).
        passage_marker: Token of the vocabulary that stands behind the first special token of every
            passage; '' for none (default: as the source says).
        expansion: How [MASK] tokens fill up a question: to --question-max-length (fixed), to
            --expansion-length where it has fewer tokens (least), or not at all (none) (default: as
            the source says).
        expansion_length: Tokens that a question has at least, with --expansion least (default: as
            the source says).
        attend_to_expansion: Let the words of a question attend to the [MASK] tokens behind it
            (default: as the source says).
        skip: Tokens of passages whose vectors do not count (default: as the source says).

    Readers:
        token_types: Token types that a reader is given: 0 for the question and 1 for title and text
            (segments), or 0 everywhere (zeros) (default: zeros for hf-dpr-reader, as transformers
            reads it; segments for dpr-reader-cp, as DPR trains).
    """

    source: Annotated[str | None, about(flag="argument", path=True, hub=True)] = None
    output_dir: Annotated[str | None, about(output=True)] = None
    to: Annotated[
        Form | None,
        about(renamed=(("twin", "onnx-copy"),)),
    ] = None

    kind: Kind | None = None
    question_encoder: Annotated[str | None, about(path=True, hub=True)] = None
    passage_encoder: Annotated[str | None, about(path=True, hub=True)] = None
    backbone: Annotated[str | None, about(path=True, hub=True)] = None

    pooling: Pooling | None = None
    similarity: Literal["dot", "cosine"] | None = None
    truncate_dim: Count | None = None
    title_join: str | None = None
    question_max_length: Length | None = None
    passage_max_length: Length | None = None
    end_token: str | None = None
    question_prefix: str | None = None
    passage_prefix: str | None = None

    question_marker: str | None = None
    passage_marker: str | None = None
    expansion: Literal["fixed", "least", "none"] | None = None
    expansion_length: Length | None = None
    attend_to_expansion: bool | None = None
    skip: Literal["punctuation", "none"] | None = None

    token_types: Literal["segments", "zeros"] | None = None
