"""Settings of train-reader."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from dprkit.settings.fields import AtLeast0, Positive, about
from dprkit.settings.trainer import TrainerSettings

READER_MAX_LENGTH = 350
LR, BATCH_SIZE, EPOCHS = 5e-5, 16, 3
InputLength = Annotated[int, Meta(ge=16)]


class TrainReaderSettings(TrainerSettings, frozen=True, kw_only=True):
    """Train a reader, which finds the answer in passages, and write it as a reader.

    It learns where the answers stand in a passage, and which of a question's passages has one. The
    training files are files of examples, or the results of a search as they are. A stopped run goes
    on where it was last saved, and ends with the same bytes as a run that was never stopped.

    Example: dprkit train-reader --train-file train.jsonl --init bert-base-uncased --output-dir
        reader

    Settings:
        train_file: File of training examples or of results with texts; give the option again for
            more files. With b.jsonl:2 an epoch uses each row of b.jsonl twice.
        valid_file: File of validation examples or results (default: valid.jsonl beside the training
            file, if it is there).
        output_dir: Folder to write the trained reader to.
        init: Model to start from: a Hugging Face folder, a hub name, a retriever, whose passage
            encoder is used, or a reader.

    Model:
        passage_max_length: Tokens of a question, a title and a text together; the end of the text
            is cut off (default: as the reader of --init says, else {READER_MAX_LENGTH}, or as many
            as the model reads).
        token_types: Token types of the input: 1 after the question, or 0 everywhere (default: as
            the reader of --init says, else segments where the model has two types).
        dropout: Dropout inside the encoder (default: as the model of --init says).

    Batches:
        batch_size: Questions in an optimizer step, over all processes (default: {BATCH_SIZE}).
        passages: Passages of a question: one that holds an answer, and others that hold none.
        positives: Which passage with an answer is used: the gold one if the file names it and it
            has an answer, or any. Of several, each epoch draws one.
        negatives_top: Number of a row's first passages without an answer to draw from (default:
            all).
        seed: Seed of the first weights, the order of the rows, the drawn passages and the dropout.

    Optimisation:
        max_epochs: Times that training sees the training files; 0 writes the model that training
            starts from as a reader (default: {EPOCHS}, or as many epochs as --max-steps takes).
        lr: Highest learning rate (default: {LR:g}).
        span_weight: Weight in the loss of where the answer begins and ends.
        relevance_weight: Weight in the loss of which passage has the answer.

    Validation:
        valid_passages: First passages of each validation question that are read (default:
            --passages).
        max_answer_length: Tokens that an answer has at most when validation reads it.
        best_by: Figure of the validation that chooses the weights to keep.
        patience: Stop after this many validations without an improvement (default: no limit).
    """

    train_file: Annotated[
        tuple[str, ...], about(follows=("select-data.output", "select-data.output_dir/train.jsonl"))
    ] = ()
    valid_file: Annotated[str | None, about(path=True)] = None
    output_dir: Annotated[str | None, about(workspace="reader")] = None
    init: Annotated[str | None, about(path=True, hub=True)] = None

    passage_max_length: InputLength | None = None
    token_types: Literal["segments", "zeros"] | None = None

    passages: Positive = 24
    positives: Literal["gold", "any"] = "gold"
    negatives_top: Positive | None = None

    span_weight: AtLeast0 = 1.0
    relevance_weight: AtLeast0 = 1.0

    valid_passages: Positive | None = None
    max_answer_length: Positive = 10
    best_by: Literal["exact_match", "f1", "gold_exact_match", "gold_f1", "accuracy", "loss"] = (
        "exact_match"
    )
