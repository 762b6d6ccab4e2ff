"""Settings of train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from dprkit.settings.fields import Above0, AtLeast0, Count, Length, Positive, Share, about
from dprkit.settings.trainer import TrainerSettings

QUESTION_MAX_LENGTH, PASSAGE_MAX_LENGTH = 64, 256
LATE_QUESTION_MAX_LENGTH, LATE_PASSAGE_MAX_LENGTH = 32, 350
EMBEDDING_SIZE = 128
Pooling = Literal["cls", "mean", "last", "weighted-mean", "max", "mean-sqrt"]
"""How the states of tokens become one vector: dprkit/models/pooling.py."""
TEMPERATURES = {"dot": 1.0, "cosine": 0.05, "maxsim": 0.25}
MAX_EPOCHS = 10
CONTRASTIVE_WEIGHT, TEACHER_ENTROPY, CANDIDATES = 0.2, 0.5, 8
"""Of a training that learns from a teacher."""


@dataclass(frozen=True)
class Defaults:
    """The defaults that depend on where the weights come from."""

    lr: float
    batch_size: int
    pooling: Pooling
    projection: int
    output_dropout: float


PRETRAINED = Defaults(lr=2e-5, batch_size=32, pooling="cls", projection=0, output_dropout=0.0)
SCRATCH = Defaults(lr=1e-3, batch_size=8, pooling="mean", projection=20, output_dropout=0.2)
DECODER = {"pooling": "last", "title_join": " "}
"""How a plain decoder is used: only its last token has read the whole text, and its tokenizer
knows no pairs of texts."""


class TrainSettings(TrainerSettings, frozen=True, kw_only=True):
    """Train a bi-encoder or a ColBERT model and write it as a retriever.

    A stopped run goes on where it was last saved, and ends with the same bytes as a run that was
    never stopped.

    Example: dprkit train --train-file nq.jsonl --init bert-base-uncased --output-dir model

    Settings:
        train_file: File of training examples; give the option again for more files. With
            b.jsonl:2 an epoch uses each row of b.jsonl twice.
        valid_file: File of validation examples (default: valid.jsonl beside the training file,
            if it is there).
        output_dir: Folder to write the trained retriever to.
        init: Model to start from: a Hugging Face folder, a hub name or a retriever (default: a
            small model with random weights, from scratch).

    Model:
        kind: What to train: a bi-encoder, which gives a vector for each text, or a ColBERT model,
            which gives one for each token (default: as the retriever of --init is, else
            bi-encoder).
        shared: Use one encoder for questions and passages (default: as the model of --init
            says, else two encoders).
        separate_heads: Share the transformer, with one projection for questions and another for
            passages.
        pooling: How the vectors of the tokens become one vector (default: as the model of
            --init says, else {PRETRAINED.pooling}, or last for a decoder; {SCRATCH.pooling} from
            scratch).
        projection: Dimensions to which the vectors are projected; 0 projects nothing (default:
            as the model of --init says, else {PRETRAINED.projection}; {SCRATCH.projection} from
            scratch).
        projection_init: First weights of a new projection: the principal components of some
            training passages, or random numbers (default: pca; random from scratch, without
            training passages, and where the model is narrower than the projection).
        similarity: How the vectors of a question and a passage are compared (default: as the
            model of --init says, else dot).
        temperature: Temperature by which the loss divides the scores (default: as the model of
            --init says, else {TEMPERATURES[dot]:g} for dot and {TEMPERATURES[cosine]:g} for
            cosine, {TEMPERATURES[maxsim]:g} for a ColBERT model).
        learn_temperature: Train the temperature too; --temperature is its first value.
        title_join: How the title and the text of a passage are joined: pair (two segments),
            none (the text alone), or a text that stands between them, such as '. ' (default: as
            the model of --init says, else pair, or a space for a decoder).
        end_token: Token of the vocabulary to put behind every text, such as <|endoftext|>, where
            the tokenizer puts none there; '' for none (default: the end token of a plain
            transformer with --pooling last, else as the model of --init says).
        question_max_length: Tokens of a question that the encoder reads; the others are cut off
            (default: as the model of --init says, else {QUESTION_MAX_LENGTH};
            {LATE_QUESTION_MAX_LENGTH} of a ColBERT model).
        passage_max_length: Tokens of a passage that the encoder reads; the others are cut off
            (default: as the model of --init says, else {PASSAGE_MAX_LENGTH};
            {LATE_PASSAGE_MAX_LENGTH} of a ColBERT model).
        matryoshka: Sizes that the vectors may be cut to afterwards: the loss is that of the first
            numbers of each vector, averaged over these sizes. A model without a projection gets
            one of its width, so that the first numbers are the principal components; --projection
            0 leaves it out (default: as the retriever of --init was trained, else none).
        matryoshka_weights: Weight of each size of --matryoshka in the loss (default: the same for
            each).
        question_prefix: Text to put before every question (default: as the model of --init says,
            else none).
        passage_prefix: Text to put before every passage (default: as the model of --init says,
            else none).
        question_prefixes: Text to put before the questions of each training file, in the order of
            --train-file; the option is given again for each, '' for none (default:
            --question-prefix for each file).
        passage_prefixes: Text to put before the passages of each training file, in the same way
            (default: --passage-prefix for each file).
        output_dropout: Dropout on the pooled vector, or on the state of each token in a ColBERT
            model (default: {PRETRAINED.output_dropout:g}, or {SCRATCH.output_dropout:g} for a
            bi-encoder from scratch).
        dropout: Dropout inside the encoder (default: as the model of --init says, or
            --scratch-dropout from scratch).
        lora_rank: Train low-rank adapters of this rank instead of all weights; 0 trains all
            weights (extra: lora).
        lora_alpha: Scale of the low-rank adapters (default: twice --lora-rank).
        freeze: Leave the encoder of passages as it is and train that of questions alone; an index
            of the retriever of --init stays valid. One encoder for both becomes two (default:
            train both).

    Late interaction:
        embedding_size: Numbers of the vector of a token, in a ColBERT model (default: as the model
            of --init says, else {EMBEDDING_SIZE}).
        expansion: The [MASK] tokens behind a question, which act as further words: up to
            --question-max-length tokens, up to --expansion-length tokens, or none (default: as the
            model of --init says, else fixed).
        expansion_length: Tokens that a question has at least with --expansion least (default: as
            the model of --init says, else {LATE_QUESTION_MAX_LENGTH}).
        attend_to_expansion: Let the words of a question attend to the [MASK] tokens behind it
            (default: as the model of --init says, else not).
        question_marker: Token of the vocabulary that marks a question, put behind the first special
            token, such as [unused0] (default: as the model of --init says, else none).
        passage_marker: Token of the vocabulary that marks a passage (default: as the model of
            --init says, else none).
        skip: Tokens of a passage whose vectors do not count: punctuation marks or none (default: as
            the model of --init says, else punctuation).

    From scratch:
        scratch_vocab_size: From scratch: size of the vocabulary, which is learned from the
            training text.
        scratch_hidden_size: From scratch: width of the encoder.
        scratch_layers: From scratch: number of layers.
        scratch_heads: From scratch: number of attention heads.
        scratch_dropout: From scratch: dropout inside the encoder.

    Batches:
        batch_size: Questions in an optimizer step, over all processes (default:
            {PRETRAINED.batch_size}, or {SCRATCH.batch_size} from scratch).
        gradient_accumulation_steps: Refused above 1, because each question would keep the
            negatives of a small batch; use --chunk-size for large batches.
        mix: With several training files: draw each batch from all files, or from one file.
        same_title: Questions in a group whose positives share a title; a batch is made of such
            groups, so that their passages are hard negatives of each other. 1 draws the
            questions at random.
        loss_weights: Weight in the loss of the questions of each training file (default: 1 for
            each file).
        hard_negatives: Hard negatives drawn for each question.
        negatives: Random negatives drawn for each question.
        hard_negatives_top: Number of a row's first hard negatives to draw from (default: all).
        hard_negatives_by: How hard negatives are drawn: each with the same chance, in
            proportion to their scores, or the first hard negatives of the row.
        fresh_negatives: Draw other negatives in each epoch, instead of the same in all epochs.
        mask_answers: Do not use a passage as a negative of a question if it holds an answer of
            the question.
        mask_margin: Do not use a passage as a negative of a question while its score is above the
            positive's by more than this, in the model's own similarity (default: use all).
        seed: Seed of the first weights, the order of the rows, the drawn negatives and the
            dropout.

    Optimisation:
        max_epochs: Times that training sees the training files; 0 writes the model that
            training starts from as a retriever (default: {MAX_EPOCHS}, or as many epochs as
            --max-steps takes).
        lr: Highest learning rate (default: {PRETRAINED.lr:g}, or {SCRATCH.lr:g} from scratch).
        average_with_init: Share of the trained weights in the weights that are written; the
            rest is those that training began with. 1 writes the trained weights.
        whiten: File of passages by which the vectors are whitened behind training: a linear layer
            spreads them more evenly over all directions. With --max-epochs 0 it whitens the model
            of --init as it is (default: not whitened).
        whiten_strength: How much of the spread --whiten takes away: 0 nothing, 0.5 all of it.
        symmetric: Also train each positive to find its question among the questions of the
            batch.

    Teacher:
        objective: What is learned: contrastive learns which passages are positives; distill also
            learns the scores that a teacher gave the passages of each question, which the training
            files have as teacher_score (default: contrastive; distill with --distill-weight).
        distill_loss: How the model is compared with the teacher: kl and kl-reverse compare
            distributions over the passages of a question, margin-mse compares how far each
            passage stands from the positive, listwise learns the teacher's order alone (default:
            kl).
        contrastive_weight: Share of the contrastive loss in the loss of --objective distill; the
            rest is the teacher's (default: {CONTRASTIVE_WEIGHT:g}, or 1 less --distill-weight).
        distill_weight: The teacher's share of the loss, which is 1 less --contrastive-weight; above
            0 it stands for --objective distill.
        distill_temperature: Temperature by which the model's scores are divided to be compared with
            the teacher's (default: --temperature).
        teacher_temperature: Temperature by which the teacher's scores are divided; auto chooses it
            before training, so that the teacher's lists have the entropy --teacher-entropy.
        teacher_entropy: Mean entropy of the teacher's lists, as a share of the greatest that lists
            of their lengths can have (default: {TEACHER_ENTROPY:g}).
        candidates: Passages of each question that are put into the batch and compared, its first
            positive among them, drawn from all passages of its row; they stand in for
            --hard-negatives and --negatives, and passages of the row that other questions put
            into the batch are compared as well (default: {CANDIDATES} with --objective distill; as
            --hard-negatives and --negatives say with --distill-weight alone).
        candidates_by: How the candidates beside the first positive are drawn from those with a
            teacher's score: the first of the row, each with the same chance, or half of them those
            that the teacher likes most and the others by chance (default: teacher).

    Validation:
        valid_hard_negatives: Hard negatives that each question adds to the pool of passages of
            average_rank.
        valid_negatives: Random negatives that each question adds to the pool of passages of
            average_rank.
        valid_corpus: File of the passages among which accuracy@k and mrr@10 rank the positives
            (default: the average_rank pool).
        best_by: Figure of the validation that chooses the weights to keep.
        patience: Stop after this many validations without an improvement (default: no limit).
    """

    train_file: Annotated[
        tuple[str, ...], about(follows=("select-data.output", "select-data.output_dir/train.jsonl"))
    ] = ()
    valid_file: Annotated[str | None, about(path=True)] = None
    output_dir: Annotated[str | None, about(workspace="model")] = None
    init: Annotated[str | None, about(path=True, hub=True)] = None

    kind: Literal["bi-encoder", "colbert"] | None = None
    shared: bool | None = None
    separate_heads: bool | None = None
    pooling: Pooling | None = None
    projection: Count | None = None
    projection_init: Literal["pca", "random"] | None = None
    similarity: Literal["dot", "cosine"] | None = None
    temperature: Above0 | None = None
    learn_temperature: bool = False
    matryoshka: Annotated[tuple[Positive, ...] | None, about(metavar="384,256,128,64")] = None
    matryoshka_weights: tuple[AtLeast0, ...] = ()
    title_join: str | None = None
    end_token: str | None = None
    question_max_length: Length | None = None
    passage_max_length: Length | None = None
    question_prefix: str | None = None
    passage_prefix: str | None = None
    question_prefixes: Annotated[tuple[str, ...], about(repeated=True)] = ()
    passage_prefixes: Annotated[tuple[str, ...], about(repeated=True)] = ()
    output_dropout: Share | None = None
    lora_rank: Count = 0
    lora_alpha: Positive | None = None
    freeze: Literal["passage"] | None = None

    embedding_size: Positive | None = None
    expansion: Literal["fixed", "least", "none"] | None = None
    expansion_length: Positive | None = None
    attend_to_expansion: bool | None = None
    question_marker: str | None = None
    passage_marker: str | None = None
    skip: Literal["punctuation", "none"] | None = None

    scratch_vocab_size: Annotated[int, Meta(ge=300)] = 8000
    scratch_hidden_size: Positive = 200
    scratch_layers: Positive = 1
    scratch_heads: Positive = 1
    scratch_dropout: Share = 0.1

    gradient_accumulation_steps: Positive = 1
    mix: Literal["mixed", "one-file"] = "mixed"
    same_title: Positive = 1
    loss_weights: tuple[AtLeast0, ...] = ()
    hard_negatives: Count = 1
    negatives: Count = 0
    hard_negatives_top: Positive | None = None
    hard_negatives_by: Literal["uniform", "score", "first"] = "uniform"
    fresh_negatives: bool = True
    mask_answers: bool = False
    mask_margin: AtLeast0 | None = None

    average_with_init: Annotated[float, Meta(gt=0, le=1)] = 1.0
    whiten: Annotated[str | None, about(path=True)] = None
    whiten_strength: Annotated[float, Meta(ge=0, le=0.5)] = 0.2
    symmetric: bool = False

    objective: Literal["contrastive", "distill"] | None = None
    distill_loss: Literal["kl", "kl-reverse", "margin-mse", "listwise"] | None = None
    contrastive_weight: Share | None = None
    distill_weight: Annotated[float, Meta(ge=0, le=1)] = 0.0
    distill_temperature: Above0 | None = None
    teacher_temperature: Annotated[Above0 | Literal["auto"], about(metavar="X|auto")] = 1.0
    teacher_entropy: Annotated[float, Meta(gt=0, lt=1)] | None = None
    candidates: Annotated[int, Meta(ge=2)] | None = None
    candidates_by: Literal["first", "uniform", "teacher"] | None = None

    valid_hard_negatives: Count = 30
    valid_negatives: Count = 30
    valid_corpus: Annotated[str | None, about(path=True)] = None
    best_by: Literal[
        "average_rank",
        "loss",
        "accuracy",
        "mrr@10",
        "accuracy@1",
        "accuracy@5",
        "accuracy@20",
        "accuracy@100",
    ] = "average_rank"
