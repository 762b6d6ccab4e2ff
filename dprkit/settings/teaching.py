"""Settings of score-teacher."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Positive, about


class ScoreTeacherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Let a teacher score the passages of training examples or rankings, for a retriever to learn.

    Each passage gets the teacher's raw score as teacher_score: a logit, a similarity or a
    logarithm of a probability. train --objective distill learns from them. A stopped run goes on
    where it stopped, and ends with the same bytes.

    Example: dprkit score-teacher --train-file train.jsonl --teacher colbert --output-dir scored

    Settings:
        train_file: File of training examples.
        results: File or artifact of rankings with texts, as evaluate and search write it, whose
            passages are scored in place of those of --train-file.
        teacher: Model that scores: a reader, a cross-encoder (a Hugging Face folder or hub name),
            a ColBERT model or a bi-encoder; give the option again for the teachers of --folds.
        ranking: File or artifact of rankings, such as those of a hybrid search, whose scores are
            taken by question and passage id, in place of a model's.
        embeddings: Folder of a corpus that the retriever of --teacher has encoded; passages
            whose id, title and text are those of its corpus are not encoded again.
        output_dir: Folder to write the scored file to: train.jsonl, or results.jsonl.
        folds: Number of teachers, each trained without one part of the questions (--leave-out); a
            question is scored by the one that was trained without it.
        reader_score: What a reader's score is: the logit of its relevance, the logarithm of the
            probability of its best answer span in the passage, or the sum of both.
        max_answer_length: Tokens that the span of a reader's score has at most.
        precision: Number type of the teacher's products; auto is bf16 where this machine
            multiplies it faster, and fp32 elsewhere.
        candidates: Number of a question's first passages to score: positives, then hard
            negatives, then negatives (default: all).
        missing: What a passage gets that --ranking does not have: no score, or the lowest score
            of the question's ranking.
        replace: Replace the teacher's scores that the file has; without it, such a file is
            refused.
    """

    train_file: Annotated[
        str | None,
        about(
            follows=("select-data.output", "select-data.output_dir/train.jsonl"),
            replaces="results",
        ),
    ] = None
    results: Annotated[str | None, about(path=True, replaces="train_file")] = None
    teacher: Annotated[tuple[str, ...], about(path=True, hub=True, replaces="ranking")] = ()
    ranking: Annotated[str | None, about(path=True, replaces="teacher")] = None
    embeddings: Annotated[str | None, about(path=True)] = None
    output_dir: Annotated[str | None, about(workspace="teacher-scores")] = None
    folds: Annotated[int, Meta(ge=2)] | None = None
    reader_score: Literal["relevance", "span", "relevance+span"] = "relevance"
    max_answer_length: Positive = 10
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    candidates: Positive | None = None
    missing: Literal["none", "lowest"] = "none"
    replace: Annotated[bool, about(harmless=True)] = False
