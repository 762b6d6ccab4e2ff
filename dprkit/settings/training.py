"""Settings of train."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Above0, AtLeast0, Count, Length, Positive, Share, about

Every = Annotated[str, Meta(pattern=r"^([1-9][0-9]*[smh]?|never)$")]
OnSteps = Annotated[str, Meta(pattern=r"^([1-9][0-9]*|epoch|never)$")]
Texts = Annotated[str, Meta(pattern=r"^([1-9][0-9]*|auto)$")]
Fraction = Annotated[float, Meta(gt=0, le=1)]


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Train a bi-encoder and write it as a retriever.

    A stopped run goes on where it was saved, and ends with the same bytes.

    Example: dprkit train --train-file nq.jsonl --init bert-base-uncased --output-dir model
    """

    train_file: Annotated[
        tuple[str, ...],
        about(
            "File of training examples; give the option again for more files. b.jsonl:2 uses "
            "each row of b.jsonl twice an epoch.",
            follows=("select-data.output", "select-data.output_dir/train.jsonl"),
        ),
    ] = ()
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
            hub=True,
        ),
    ] = None

    shared: Annotated[
        bool | None,
        about(
            "One encoder for questions and passages (default: as the model of --init says, else "
            "two).",
            panel="Model",
        ),
    ] = None
    separate_heads: Annotated[
        bool | None,
        about("Share the transformer, with one projection for questions and another for passages."),
    ] = None
    pooling: Annotated[
        Literal["cls", "mean"] | None,
        about(
            "How token vectors become one vector (default: as the model of --init says, else cls; "
            "mean from scratch)."
        ),
    ] = None
    projection: Annotated[
        Count | None,
        about(
            "Project to this many dimensions (0: no projection; default: as the model of --init "
            "says, else none; 20 from scratch)."
        ),
    ] = None
    similarity: Annotated[
        Literal["dot", "cosine"] | None,
        about("How two vectors are compared (default: as the model of --init says, else dot)."),
    ] = None
    temperature: Annotated[
        Above0 | None,
        about("Scores are divided by this in the loss (default: 1 for dot, 0.05 for cosine)."),
    ] = None
    learn_temperature: Annotated[
        bool, about("Train the temperature too, from --temperature on.")
    ] = False
    title_join: Annotated[
        str | None,
        about(
            "How title and text are joined: pair (two segments, default: pair), none, or a text "
            "such as '. '."
        ),
    ] = None
    question_max_length: Annotated[
        Length | None,
        about(
            "Tokens of a question that are read (default: as the model of --init says, else 64)."
        ),
    ] = None
    passage_max_length: Annotated[
        Length | None,
        about(
            "Tokens of a passage that are read (default: as the model of --init says, else 256)."
        ),
    ] = None
    output_dropout: Annotated[
        Share | None, about("Dropout on the pooled vector (default: 0, 0.2 from scratch).")
    ] = None
    dropout: Annotated[
        Share | None, about("Dropout inside the encoder (default: as the model has it).")
    ] = None
    lora_rank: Annotated[
        Count,
        about(
            "Train low-rank adapters of this rank instead of all weights; 0 trains all weights "
            "(extra: lora)."
        ),
    ] = 0
    lora_alpha: Annotated[
        Positive | None, about("Scale of the adapters (default: twice their rank).")
    ] = None

    scratch_vocab_size: Annotated[
        Annotated[int, Meta(ge=300)],
        about(
            "From scratch: size of the vocabulary learned from the training text.",
            panel="From scratch",
        ),
    ] = 8000
    scratch_hidden_size: Annotated[Positive, about("From scratch: width of the encoder.")] = 200
    scratch_layers: Annotated[Positive, about("From scratch: number of layers.")] = 1
    scratch_heads: Annotated[Positive, about("From scratch: number of attention heads.")] = 1
    scratch_dropout: Annotated[Share, about("From scratch: dropout inside the encoder.")] = 0.1

    batch_size: Annotated[
        Positive | None,
        about(
            "Questions in an optimizer step, over all processes (default: 32, 8 from scratch).",
            panel="Batches",
        ),
    ] = None
    chunk_size: Annotated[
        Texts | None,
        about(
            "Passages in a forward pass, with the gradient cached: any batch fits in the memory of "
            "a chunk; auto fits it to the free memory (default: the whole batch in one graph).",
            resumable=True,
        ),
    ] = None
    gradient_accumulation_steps: Annotated[
        Positive,
        about(
            "Refused above 1, since it would not enlarge the pool of negatives; see --chunk-size."
        ),
    ] = 1
    mix: Annotated[
        Literal["mixed", "one-file"],
        about("With several training files: draw a batch from all of them, or from one file."),
    ] = "mixed"
    same_title: Annotated[
        Positive,
        about(
            "Questions of a batch whose positives share a title, so that their passages are "
            "hard negatives of each other; 1 draws at random."
        ),
    ] = 1
    loss_weights: Annotated[
        tuple[AtLeast0, ...],
        about("Weight of each training file's questions in the loss (default: 1 each)."),
    ] = ()
    hard_negatives: Annotated[Count, about("Hard negatives drawn for each question.")] = 1
    negatives: Annotated[Count, about("Random negatives drawn for each question.")] = 0
    hard_negatives_top: Annotated[
        Positive | None,
        about("Draw hard negatives among the first so many of a row (default: all)."),
    ] = None
    hard_negatives_by: Annotated[
        Literal["uniform", "score", "first"],
        about(
            "How hard negatives are drawn: evenly, in proportion to their scores, or the first "
            "ones."
        ),
    ] = "uniform"
    fresh_negatives: Annotated[bool, about("Draw negatives anew each epoch.")] = True
    mask_answers: Annotated[
        bool, about("Do not use a passage as a negative of a question whose answer it holds.")
    ] = False
    seed: Annotated[Count, about("Seed of weights, order, sampling and dropout.")] = 0

    max_epochs: Annotated[
        Count | None,
        about(
            "Passes over the training file; 0 writes the starting model as a retriever "
            "(default: 10, or as many as --max-steps takes).",
            panel="Optimisation",
            resumable=True,
        ),
    ] = None
    max_steps: Annotated[
        Positive | None, about("Stop after this many optimizer steps.", resumable=True)
    ] = None
    lr: Annotated[
        Above0 | None, about("Highest learning rate (default: 2e-5, 1e-3 from scratch).")
    ] = None
    schedule: Annotated[
        Literal["linear", "cosine", "constant"],
        about("Course of the learning rate after the warm-up."),
    ] = "linear"
    warmup: Annotated[
        AtLeast0, about("Optimizer steps of linear warm-up; below 1, a share of all steps.")
    ] = 0.1
    layer_decay: Annotated[
        Fraction, about("Each layer learns at this share of the rate of the layer above it.")
    ] = 1.0
    weight_decay: Annotated[AtLeast0, about("AdamW's decay; biases and norms never decay.")] = 0.0
    max_grad_norm: Annotated[
        AtLeast0, about("Clip the gradient to this norm; 0 does not clip.")
    ] = 2.0
    symmetric: Annotated[
        bool,
        about("Also train to find the question of each positive among the questions of the batch."),
    ] = False

    num_workers: Annotated[
        Count,
        about(
            "Processes that tokenise ahead; 0 uses a thread of the trainer.",
            panel="Machine",
            harmless=True,
        ),
    ] = 0
    num_processes: Annotated[
        Positive,
        about(
            "Processes of this host that share each batch; torchrun and accelerate launch start "
            "their own.",
            harmless=True,
        ),
    ] = 1
    precision: Annotated[
        Literal["fp32", "tf32", "bf16", "fp16"],
        about("Number type of the encoder's matrix products; weights stay fp32."),
    ] = "fp32"
    compile: Annotated[bool, about("Compile the encoder with torch.compile.")] = False
    activation_checkpointing: Annotated[
        bool,
        about("Keep only the input of each layer and compute the rest again, which saves memory."),
    ] = False

    valid_every: Annotated[
        OnSteps, about("Validate every epoch, every so many steps, or never.", panel="Validation")
    ] = "epoch"
    valid_hard_negatives: Annotated[
        Count, about("Hard negatives of each question in the average-rank pool.")
    ] = 30
    valid_negatives: Annotated[
        Count, about("Random negatives of each question in the average-rank pool.")
    ] = 30
    valid_corpus: Annotated[
        str | None,
        about("Passages to rank the validation positives among (default: the pool).", path=True),
    ] = None
    best_by: Annotated[
        Literal[
            "average_rank",
            "loss",
            "accuracy",
            "mrr@10",
            "accuracy@1",
            "accuracy@5",
            "accuracy@20",
            "accuracy@100",
        ],
        about("Figure of the validation by which the weights to keep are chosen."),
    ] = "average_rank"
    patience: Annotated[
        Positive | None, about("Stop after this many validations without an improvement.")
    ] = None

    checkpoint_every: Annotated[
        Every,
        about(
            "Save the state every so many steps, or minutes as in 10m.",
            panel="Checkpoints",
            harmless=True,
        ),
    ] = "10m"
    keep_checkpoints: Annotated[
        Positive, about("Checkpoints to keep while training.", harmless=True)
    ] = 1
    tensorboard: Annotated[
        bool, about("Write TensorBoard events too (extra: tensorboard).", harmless=True)
    ] = False
