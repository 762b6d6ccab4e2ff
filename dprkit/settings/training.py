"""Settings of train."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Above0, AtLeast0, Count, Length, Positive, Share, about


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Train a bi-encoder."""

    train_file: Annotated[str | None, about("Training examples.", workspace="data/train.jsonl")] = (
        None
    )
    valid_file: Annotated[
        str | None,
        about(
            "Validation examples (default: valid.jsonl beside the training file, if there).",
            path=True,
        ),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder of the trained retriever.", workspace="model")
    ] = None
    init: Annotated[
        str | None,
        about(
            "Start from this Hugging Face folder, hub name or retriever (default: from scratch).",
            path=True,
        ),
    ] = None

    shared: Annotated[
        bool | None,
        about("One encoder for questions and passages (default: two).", panel="Model"),
    ] = None
    pooling: Annotated[
        Literal["cls", "mean"] | None,
        about(
            "How token vectors become one vector (default: cls, mean from scratch).", panel="Model"
        ),
    ] = None
    projection: Annotated[
        Count | None,
        about(
            "Project to this many dimensions (0: no projection; default: none, 20 from scratch).",
            panel="Model",
        ),
    ] = None
    similarity: Annotated[
        Literal["dot", "cosine"] | None,
        about("How two vectors are compared (default: dot).", panel="Model"),
    ] = None
    temperature: Annotated[
        Above0 | None,
        about(
            "Scores are divided by this in the loss (default: 1 for dot, 0.05 for cosine).",
            panel="Model",
        ),
    ] = None
    title_join: Annotated[
        str | None,
        about(
            "How title and text are joined: pair (two segments, default: pair), none, or a text "
            "such as '. '.",
            panel="Model",
        ),
    ] = None
    question_max_length: Annotated[
        Length | None,
        about("Tokens of a question that are read (default: 64).", panel="Model"),
    ] = None
    passage_max_length: Annotated[
        Length | None,
        about("Tokens of a passage that are read (default: 256).", panel="Model"),
    ] = None
    output_dropout: Annotated[
        Share | None,
        about(
            "Dropout on the pooled vector (default: 0, 0.2 from scratch).",
            panel="Model",
        ),
    ] = None

    scratch_vocab_size: Annotated[
        Annotated[int, Meta(ge=300)],
        about(
            "From scratch: size of the vocabulary learned from the training text.",
            panel="From scratch",
        ),
    ] = 8000
    scratch_hidden_size: Annotated[
        Positive, about("From scratch: width.", panel="From scratch")
    ] = 200
    scratch_layers: Annotated[
        Positive, about("From scratch: number of layers.", panel="From scratch")
    ] = 1
    scratch_heads: Annotated[
        Positive, about("From scratch: number of attention heads.", panel="From scratch")
    ] = 1
    scratch_dropout: Annotated[
        Share, about("From scratch: dropout inside the encoder.", panel="From scratch")
    ] = 0.1

    hard_negatives: Annotated[
        Count, about("Hard negatives drawn for each question, anew each epoch.", panel="Batches")
    ] = 1
    negatives: Annotated[
        Count, about("Random negatives drawn for each question, anew each epoch.", panel="Batches")
    ] = 0
    batch_size: Annotated[
        Positive | None,
        about("Questions in a batch (default: 32, 8 from scratch).", panel="Batches"),
    ] = None
    seed: Annotated[
        Count, about("Seed of weights, order, sampling and dropout.", panel="Batches")
    ] = 0

    max_epochs: Annotated[
        Count,
        about(
            "Passes over the training file; 0 writes the starting model as a retriever.",
            panel="Optimisation",
        ),
    ] = 10
    max_steps: Annotated[
        Positive | None, about("Stop after this many optimizer steps.", panel="Optimisation")
    ] = None
    lr: Annotated[
        Above0 | None,
        about("Highest learning rate (default: 2e-5, 1e-3 from scratch).", panel="Optimisation"),
    ] = None
    warmup: Annotated[
        AtLeast0,
        about(
            "Optimizer steps of linear warm-up; below 1, a share of all steps.",
            panel="Optimisation",
        ),
    ] = 0.1
    weight_decay: Annotated[
        AtLeast0, about("AdamW's decay; biases and norms never decay.", panel="Optimisation")
    ] = 0.0
    max_grad_norm: Annotated[
        AtLeast0, about("Clip the gradient to this norm (0: never).", panel="Optimisation")
    ] = 2.0

    valid_hard_negatives: Annotated[
        Count,
        about("Hard negatives of each question in the average-rank pool.", panel="Validation"),
    ] = 30
    valid_negatives: Annotated[
        Count,
        about("Random negatives of each question in the average-rank pool.", panel="Validation"),
    ] = 30
    best_by: Annotated[
        Literal["average_rank", "loss", "accuracy"],
        about("Figure of the validation that picks the epoch that is kept.", panel="Validation"),
    ] = "average_rank"
