"""Settings of mine-negatives."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import AtLeast0, Count, Positive, about
from dprkit.settings.shared import MovedCorpus, MovedRetriever, PromptName

Margin = Annotated[float, Meta(ge=0, le=1)]


class MineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Find hard negatives for training questions in one index or several.

    It searches for each question and takes passages of the given ranks that do not seem to answer
    it. What is left out as a likely answer is counted by reason, and a sample of the decisions is
    written to audit.jsonl for you to read.

    Example: dprkit mine-negatives --train-file train.jsonl --index index --from 10 --to 200
        --num 30 --output-dir mined

    Settings:
        train_file: File of training examples to find negatives for; give the option again for more
            files.
        questions: File of questions with answers and gold passages, instead of --train-file.
        index: Folder of the index to search; give the option again for more indexes of the same
            corpus. The rank of a passage is then its best one in any of them.
        hybrid: Folder of another index of the corpus; its ranking and that of --index are combined
            into one, as search does it.
        fusion: How the two rankings are combined: by scores scaled to 0 to 1, or by reciprocal
            ranks.
        weights: Weight of each of the two indexes in the combined ranking (default: the same for
            each index).
        output_dir: Folder to write train.jsonl and audit.jsonl to.

    Choice:
        from_rank: First rank to take negatives from, counted from 1; those above it are more often
            answers that nobody marked.
        to_rank: Last rank to take negatives from.
        num: Negatives to find for each question.
        pick: Which of the passages that are left to take: those of the best ranks, any, or rather
            those that score about as much as the positive (SimANS).
        sharpness: For around: a in the weight exp(-a (s - s_positive - b)^2) of a passage of score
            s (default: 1 over the variance of the scores of the question's passages).
        shift: For around: b in the weight; below 0 it prefers passages that score less than the
            positive.
        merge: Keep the hard negatives that the examples have, and add what is found behind them;
            --no-merge replaces them.
        seed: Seed of --pick random and around, and of the sample in audit.jsonl. What is drawn for
            a question depends on the seed and the question alone.

    Answers:
        match: How an answer is compared with a passage: as words, as a regular expression, or as
            KILT does it. What holds an answer is no negative; with none, nobody looks.
        relabel: Make positives of the passages that rank above the positive and answer the question
            (ARHN): those that hold an answer, or those of them in which the reader of --reader
            finds one. Those that rank below it are left out.
        reader: Folder of the reader for --relabel reader.
        relative_margin: Leave out passages that score above the positive's score less this share of
            it; 0.05 is a good value. A negative score counts by its size.
        absolute_margin: Leave out passages that score above the positive's score less this much.
        teacher: Model that scores question and passage as search --rerank does; passages that it
            gives more than the positive are left out.
        teacher_margin: What a passage may have from the teacher above the positive before it is
            left out.

    Machine:
        precision: Number type of the matrix products of --teacher and of --reader; auto is bf16
            where this machine multiplies it faster, and fp32 elsewhere.
        audit: Decisions of each kind to write to audit.jsonl, drawn at random.
        batch_size: Questions searched together.
    """

    train_file: Annotated[
        tuple[str, ...],
        about(
            follows=("select-data.output", "select-data.output_dir/train.jsonl"),
            replaces="questions",
        ),
    ] = ()
    questions: Annotated[str | None, about(path=True, replaces="train_file")] = None
    index: Annotated[tuple[str, ...], about(follows=("index.output_dir",))] = ()
    hybrid: Annotated[str | None, about(path=True)] = None
    fusion: Literal["weighted", "rrf"] = "weighted"
    weights: Annotated[tuple[AtLeast0, ...], about(metavar="0.6,0.4")] = ()
    output_dir: Annotated[str | None, about(workspace="mined")] = None
    retriever: MovedRetriever = None
    passages: MovedCorpus = None
    prompt: PromptName = None

    from_rank: Annotated[Positive, about(flag="--from")] = 1
    to_rank: Annotated[Positive, about(flag="--to")] = 100
    num: Positive = 10
    pick: Literal["top", "random", "around"] = "top"
    sharpness: AtLeast0 | None = None
    shift: float = 0.0
    merge: bool = True
    seed: Count = 0

    match: Literal["string", "regex", "kilt", "none"] = "string"
    relabel: Literal["answers", "reader"] | None = None
    reader: Annotated[str | None, about(path=True)] = None
    relative_margin: Margin | None = None
    absolute_margin: AtLeast0 | None = None
    teacher: Annotated[str | None, about(path=True, hub=True)] = None
    teacher_margin: float = 0.0

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    audit: Count = 50
    batch_size: Annotated[Positive, about(harmless=True)] = 256
