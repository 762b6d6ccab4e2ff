"""Settings of convert."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dprkit.settings.fields import Length, about
from dprkit.settings.training import PASSAGE_MAX_LENGTH, QUESTION_MAX_LENGTH

Kind = Literal["hf-dpr", "dpr-cp", "sentence-transformers", "transformer", "qa-retriever"]


class ConvertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Convert a foreign retriever to dprkit's form, or a retriever to a foreign form.

    It reads Hugging Face DPR pairs, DPR's checkpoints, sentence-transformers folders, plain
    transformers and fz-openqa's QaRetriever. Code in a source is not run.

    Example: dprkit convert bert-base-uncased --output-dir model
    """

    source: Annotated[
        str | None,
        about(
            "Model to convert: a folder, a hub name or a checkpoint file; with --to, the "
            "folder of a retriever.",
            flag="argument",
            path=True,
            hub=True,
        ),
    ] = None
    output_dir: Annotated[
        str | None,
        about(
            "Folder to write to; an ONNX copy (--to onnx-copy) is kept with its retriever instead.",
            output=True,
        ),
    ] = None
    to: Annotated[
        Literal["hf-dpr", "sentence-transformers", "onnx", "onnx-copy"] | None,
        about(
            "Form to convert a retriever to; onnx-copy keeps an ONNX copy of its question encoder "
            "with it, so that a search starts without torch (default: convert a source to a "
            "retriever).",
            renamed=(("twin", "onnx-copy"),),
        ),
    ] = None

    kind: Annotated[
        Kind | None, about("Kind of the source (default: recognised by its files).", panel="Source")
    ] = None
    question_encoder: Annotated[
        str | None,
        about("Question encoder, where the source is a pair of folders.", path=True, hub=True),
    ] = None
    passage_encoder: Annotated[
        str | None,
        about("Passage encoder, where the source is a pair of folders.", path=True, hub=True),
    ] = None
    backbone: Annotated[
        str | None,
        about(
            "Folder or hub name of the model whose config and tokenizer a checkpoint file needs.",
            path=True,
            hub=True,
        ),
    ] = None

    pooling: Annotated[
        Literal["cls", "mean"] | None,
        about(
            "How the vectors of the tokens become one vector (default: as the source says, "
            "else cls).",
            panel="Use",
        ),
    ] = None
    similarity: Annotated[
        Literal["dot", "cosine"] | None,
        about(
            "How the vectors of a question and a passage are compared (default: as the "
            "source says, else dot)."
        ),
    ] = None
    title_join: Annotated[
        str | None,
        about(
            "How the title and the text of a passage are joined: pair (two segments), none "
            "(the text alone), or a text that stands between them, such as '. ' (default: "
            "pair, or a space for sentence-transformers)."
        ),
    ] = None
    question_max_length: Annotated[
        Length | None,
        about(
            "Tokens of a question that the encoder reads; the others are cut off (default: "
            f"as the source says, else {QUESTION_MAX_LENGTH})."
        ),
    ] = None
    passage_max_length: Annotated[
        Length | None,
        about(
            "Tokens of a passage that the encoder reads; the others are cut off (default: "
            f"as the source says, else {PASSAGE_MAX_LENGTH})."
        ),
    ] = None
    question_prefix: Annotated[
        str | None, about("Text put before every question (default: as the source says).")
    ] = None
    passage_prefix: Annotated[
        str | None, about("Text put before every passage (default: as the source says).")
    ] = None
