"""Settings of train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Above0, AtLeast0, Count, Length, Positive, Share, about

Every = Annotated[str, Meta(pattern=r"^([1-9][0-9]*[smh]?|never)$")]
OnSteps = Annotated[str, Meta(pattern=r"^([1-9][0-9]*|epoch|never)$")]
Texts = Annotated[str, Meta(pattern=r"^([1-9][0-9]*|auto)$")]
Fraction = Annotated[float, Meta(gt=0, le=1)]

QUESTION_MAX_LENGTH, PASSAGE_MAX_LENGTH = 64, 256
TEMPERATURES = {"dot": 1.0, "cosine": 0.05}
MAX_EPOCHS = 10


@dataclass(frozen=True)
class Defaults:
    """The defaults that depend on where the weights come from."""

    lr: float
    batch_size: int
    pooling: str
    projection: int
    output_dropout: float


PRETRAINED = Defaults(lr=2e-5, batch_size=32, pooling="cls", projection=0, output_dropout=0.0)
SCRATCH = Defaults(lr=1e-3, batch_size=8, pooling="mean", projection=20, output_dropout=0.2)


class TrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Train a bi-encoder and write it as a retriever.

    A stopped run goes on where it was last saved, and ends with the same bytes as a run that was
    never stopped.

    Example: dprkit train --train-file nq.jsonl --init bert-base-uncased --output-dir model
    """

    train_file: Annotated[
        tuple[str, ...],
        about(
            "File of training examples; give the option again for more files. With "
            "b.jsonl:2 an epoch uses each row of b.jsonl twice.",
            follows=("select-data.output", "select-data.output_dir/train.jsonl"),
        ),
    ] = ()
    valid_file: Annotated[
        str | None,
        about(
            "File of validation examples (default: valid.jsonl beside the training file, if "
            "it is there).",
            path=True,
        ),
    ] = None
    output_dir: Annotated[
        str | None, about("Folder to write the trained retriever to.", workspace="model")
    ] = None
    init: Annotated[
        str | None,
        about(
            "Model to start from: a Hugging Face folder, a hub name or a retriever "
            "(default: a small model with random weights, from scratch).",
            path=True,
            hub=True,
        ),
    ] = None

    shared: Annotated[
        bool | None,
        about(
            "Use one encoder for questions and passages (default: as the model of --init "
            "says, else two encoders).",
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
            "How the vectors of the tokens become one vector (default: as the model of "
            f"--init says, else {PRETRAINED.pooling}; {SCRATCH.pooling} from scratch)."
        ),
    ] = None
    projection: Annotated[
        Count | None,
        about(
            "Dimensions to which the vectors are projected; 0 projects nothing (default: as "
            f"the model of --init says, else {PRETRAINED.projection}; {SCRATCH.projection} from "
            "scratch)."
        ),
    ] = None
    similarity: Annotated[
        Literal["dot", "cosine"] | None,
        about(
            "How the vectors of a question and a passage are compared (default: as the "
            "model of --init says, else dot)."
        ),
    ] = None
    temperature: Annotated[
        Above0 | None,
        about(
            "Temperature by which the loss divides the scores (default: as the model of "
            f"--init says, else {TEMPERATURES['dot']:g} for dot and "
            f"{TEMPERATURES['cosine']:g} for cosine)."
        ),
    ] = None
    learn_temperature: Annotated[
        bool, about("Train the temperature too; --temperature is its first value.")
    ] = False
    title_join: Annotated[
        str | None,
        about(
            "How the title and the text of a passage are joined: pair (two segments), none "
            "(the text alone), or a text that stands between them, such as '. ' (default: "
            "as the model of --init says, else pair)."
        ),
    ] = None
    question_max_length: Annotated[
        Length | None,
        about(
            "Tokens of a question that the encoder reads; the others are cut off (default: "
            f"as the model of --init says, else {QUESTION_MAX_LENGTH})."
        ),
    ] = None
    passage_max_length: Annotated[
        Length | None,
        about(
            "Tokens of a passage that the encoder reads; the others are cut off (default: "
            f"as the model of --init says, else {PASSAGE_MAX_LENGTH})."
        ),
    ] = None
    output_dropout: Annotated[
        Share | None,
        about(
            f"Dropout on the pooled vector (default: {PRETRAINED.output_dropout:g}, or "
            f"{SCRATCH.output_dropout:g} from scratch)."
        ),
    ] = None
    dropout: Annotated[
        Share | None,
        about(
            "Dropout inside the encoder (default: as the model of --init says, or "
            "--scratch-dropout from scratch)."
        ),
    ] = None
    lora_rank: Annotated[
        Count,
        about(
            "Train low-rank adapters of this rank instead of all weights; 0 trains all weights "
            "(extra: lora)."
        ),
    ] = 0
    lora_alpha: Annotated[
        Positive | None, about("Scale of the low-rank adapters (default: twice --lora-rank).")
    ] = None

    scratch_vocab_size: Annotated[
        Annotated[int, Meta(ge=300)],
        about(
            "From scratch: size of the vocabulary, which is learned from the training text.",
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
            "Questions in an optimizer step, over all processes (default: "
            f"{PRETRAINED.batch_size}, or {SCRATCH.batch_size} from scratch).",
            panel="Batches",
        ),
    ] = None
    chunk_size: Annotated[
        Texts | None,
        about(
            "Passages in a forward pass. The gradient is cached, so a batch of any size "
            "fits in the memory that a chunk takes; auto chooses the chunk by the free "
            "memory (default: the whole batch in one pass, without the cache).",
            resumable=True,
        ),
    ] = None
    gradient_accumulation_steps: Annotated[
        Positive,
        about(
            "Refused above 1, because each question would keep the negatives of a small "
            "batch; use --chunk-size for large batches."
        ),
    ] = 1
    mix: Annotated[
        Literal["mixed", "one-file"],
        about("With several training files: draw each batch from all files, or from one file."),
    ] = "mixed"
    same_title: Annotated[
        Positive,
        about(
            "Questions in a group whose positives share a title; a batch is made of such "
            "groups, so that their passages are hard negatives of each other. 1 draws the "
            "questions at random."
        ),
    ] = 1
    loss_weights: Annotated[
        tuple[AtLeast0, ...],
        about(
            "Weight in the loss of the questions of each training file (default: 1 for each file)."
        ),
    ] = ()
    hard_negatives: Annotated[Count, about("Hard negatives drawn for each question.")] = 1
    negatives: Annotated[Count, about("Random negatives drawn for each question.")] = 0
    hard_negatives_top: Annotated[
        Positive | None,
        about("Number of a row's first hard negatives to draw from (default: all)."),
    ] = None
    hard_negatives_by: Annotated[
        Literal["uniform", "score", "first"],
        about(
            "How hard negatives are drawn: each with the same chance, in proportion to "
            "their scores, or the first hard negatives of the row."
        ),
    ] = "uniform"
    fresh_negatives: Annotated[
        bool, about("Draw other negatives in each epoch, instead of the same in all epochs.")
    ] = True
    mask_answers: Annotated[
        bool,
        about(
            "Do not use a passage as a negative of a question if it holds an answer of the "
            "question."
        ),
    ] = False
    seed: Annotated[
        Count,
        about(
            "Seed of the first weights, the order of the rows, the drawn negatives and the dropout."
        ),
    ] = 0

    max_epochs: Annotated[
        Count | None,
        about(
            "Times that training sees the training files; 0 writes the model that training "
            f"starts from as a retriever (default: {MAX_EPOCHS}, or as many epochs as --max-steps "
            "takes).",
            panel="Optimisation",
            resumable=True,
        ),
    ] = None
    max_steps: Annotated[
        Positive | None,
        about("Stop after this many optimizer steps (default: no limit).", resumable=True),
    ] = None
    lr: Annotated[
        Above0 | None,
        about(
            f"Highest learning rate (default: {PRETRAINED.lr:g}, or {SCRATCH.lr:g} from scratch)."
        ),
    ] = None
    schedule: Annotated[
        Literal["linear", "cosine", "constant"],
        about("How the learning rate changes after the warm-up."),
    ] = "linear"
    warmup: Annotated[
        AtLeast0,
        about(
            "Optimizer steps in which the learning rate rises to --lr; a value below 1 is a "
            "share of all steps."
        ),
    ] = 0.1
    layer_decay: Annotated[
        Fraction,
        about(
            "Learning rate of each layer as a share of the rate of the layer above it; 1 "
            "gives all layers the same rate."
        ),
    ] = 1.0
    weight_decay: Annotated[
        AtLeast0, about("Weight decay of AdamW; biases and norms never decay.")
    ] = 0.0
    max_grad_norm: Annotated[
        AtLeast0, about("Clip the gradient to this norm; 0 does not clip.")
    ] = 2.0
    symmetric: Annotated[
        bool,
        about("Also train each positive to find its question among the questions of the batch."),
    ] = False

    num_workers: Annotated[
        Count,
        about(
            "Processes that tokenise the next batches; with 0 a thread of the trainer does it.",
            panel="Machine",
            harmless=True,
        ),
    ] = 0
    num_processes: Annotated[
        Positive,
        about(
            "Processes on this host that share the work; torchrun and accelerate launch "
            "start their own processes.",
            harmless=True,
        ),
    ] = 1
    precision: Annotated[
        Literal["fp32", "tf32", "bf16", "fp16"],
        about(
            "Number type of the encoder's matrix products; the weights stay fp32. None of "
            "the types was ever tested on a GPU."
        ),
    ] = "fp32"
    compile: Annotated[bool, about("Compile the encoder with torch.compile.")] = False
    activation_checkpointing: Annotated[
        bool,
        about(
            "Keep only the input of each layer in memory and compute its inner values a "
            "second time, which saves memory and takes longer."
        ),
    ] = False

    valid_every: Annotated[
        OnSteps,
        about(
            "When to validate: after every epoch, after this many optimizer steps, or never.",
            panel="Validation",
        ),
    ] = "epoch"
    valid_hard_negatives: Annotated[
        Count,
        about("Hard negatives that each question adds to the pool of passages of average_rank."),
    ] = 30
    valid_negatives: Annotated[
        Count,
        about("Random negatives that each question adds to the pool of passages of average_rank."),
    ] = 30
    valid_corpus: Annotated[
        str | None,
        about(
            "File of the passages among which accuracy@k and mrr@10 rank the positives "
            "(default: the average_rank pool).",
            path=True,
        ),
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
        about("Figure of the validation that chooses the weights to keep."),
    ] = "average_rank"
    patience: Annotated[
        Positive | None,
        about("Stop after this many validations without an improvement (default: no limit)."),
    ] = None

    checkpoint_every: Annotated[
        Every,
        about(
            "When to save the state of training: after this many optimizer steps, or after "
            "a time such as 30s, 10m or 1h; never saves it only after validations and when "
            "training is stopped.",
            panel="Checkpoints",
            harmless=True,
        ),
    ] = "10m"
    keep_checkpoints: Annotated[
        Positive, about("Saved states to keep while training runs.", harmless=True)
    ] = 1
    tensorboard: Annotated[
        bool, about("Also write TensorBoard events (extra: tensorboard).", harmless=True)
    ] = False
