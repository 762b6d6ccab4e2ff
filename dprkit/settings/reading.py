"""Settings of read."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dprkit.settings.fields import Positive, about


class ReadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Answer questions from the passages that a search has found.

    A reader says of each passage how relevant it is, and where in it the answer begins and ends.

    Example: dprkit search --index index --questions nq-test.qa.csv
        | dprkit read --reader reader --results - > answers.jsonl

    Settings:
        reader: Folder of the reader.
        results: File of rankings with the texts of their passages, in any form that evaluate
            reads, or a folder of results; - is stdin, whose answers go to stdout.
        output: File to write the answers to, instead of a folder; - is stdout.
        output_dir: Folder to write the answers to; a run that was stopped goes on there.
        depths: Depths k: each question is answered from its best k passages.
        passage_weight: Weight of the passages' relevance. With 0 the answer is the best span of
            the most relevant passage; above 0 the spans of all passages compete.
        max_answer_length: Tokens of an answer at most.
        best: Distinct answers that are written for each question, best first.
        precision: Number type of the reader's matrix products; auto is bf16 where this machine
            multiplies it faster, and fp32 elsewhere.
        batch_size: Questions read together; with 1 a line of a pipe is answered before the next
            line is read.
    """

    reader: Annotated[str | None, about(follows=("train-reader.output_dir",))] = None
    results: Annotated[str | None, about(follows=("evaluate.output_dir",))] = None
    output: Annotated[str | None, about(flag="-o", output=True, replaces="output_dir")] = None
    output_dir: Annotated[str | None, about(workspace="answers")] = None
    depths: Annotated[tuple[Positive, ...], Meta(min_length=1), about(metavar="10,20,50")] = (
        10,
        20,
        50,
    )
    passage_weight: Annotated[float, Meta(ge=0, le=1)] = 0.0
    max_answer_length: Positive = 10
    best: Positive = 5
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    batch_size: Annotated[Positive, about(harmless=True)] = 32

    @property
    def streams_to(self) -> str | None:
        """The file that the answers go to, or - for stdout; None: they go to the folder."""
        return "-" if self.output is None and self.results == "-" else self.output
