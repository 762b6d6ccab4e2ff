"""Validation of a reader: the answers that it gives to held-out questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import torch

from dprkit.answer_scores import exact_match, token_f1
from dprkit.data.reader_rows import ReaderFile, ReaderRow
from dprkit.models.best_spans import best_spans
from dprkit.models.reader import END, RELEVANCE, START
from dprkit.models.reader_tokens import ReaderInput, ReaderTokens
from dprkit.models.rows import Rows
from dprkit.records import Passage
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import tensors
from dprkit.training.reader_batches import Draw, Drawn, batch_of, drawn
from dprkit.training.reader_objective import ReaderObjective
from dprkit.training.resolved_reader import ResolvedReader

BLOCK = 64
"""Questions that are read together."""


class Asked(NamedTuple):
    """A question with what the reader says of its passages."""

    row: ReaderRow
    own: Drawn | None
    """What a step of training would have of it."""
    inputs: dict[Passage, ReaderInput]
    """Of each passage, those that are read first."""
    logits: Rows
    """(T, 3) of the inputs."""


@dataclass
class ReaderValidator:
    """Validates a reader on one file, with the same figures on any number of processes.

    questions: all of the file. exact_match, f1: of the best span of the most relevant among a
    question's first `valid_passages` passages, DPR's rule. accuracy: share of the questions whose
    most relevant passage holds an answer. gold_exact_match, gold_f1: of the best span of a
    question's first positive with an answer within the length, and loss, in nats: mean over the
    `with_answer` questions that have one, against the first passages that hold none.
    """

    engine: GradientEngine
    objective: ReaderObjective
    tokens: ReaderTokens
    file: ReaderFile
    settings: ResolvedReader

    @torch.inference_mode()
    def __call__(self) -> dict[str, float]:
        """The figures of the model as it is now; leaves it in evaluation mode."""
        self.engine.model.eval()
        read: list[tuple[float, ...]] = []
        learned: list[tuple[float, ...]] = []
        for begin in range(0, len(self.file), BLOCK):
            rows = [self.file[i] for i in range(begin, min(begin + BLOCK, len(self.file)))]
            block = self._block(rows)
            read += map(self._read, block)
            learned += self._learned([asked for asked in block if asked.own])
        figures: dict[str, float] = {"questions": len(read), "with_answer": len(learned)}
        names = ("exact_match", "f1", "accuracy"), ("gold_exact_match", "gold_f1", "loss")
        for own, values in zip(names, (read, learned), strict=True):
            means = np.mean(values, 0).tolist() if values else [0.0] * len(own)
            figures |= dict(zip(own, means, strict=True))
        return figures

    def _block(self, rows: Sequence[ReaderRow]) -> list[Asked]:
        """Some questions with the logits of their passages, each read once."""
        draw, most = Draw(self.settings.passages, None), self.settings.valid_passages
        found = [drawn(row, draw, self.tokens, ()) for row in rows]
        passages = [
            list(dict.fromkeys((*row.passages[:most], *(own.passages if own else ()))))
            for row, own in zip(rows, found, strict=True)
        ]
        asked = [(row.question, p) for row, some in zip(rows, passages, strict=True) for p in some]
        inputs = self.tokens.inputs(*zip(*asked, strict=True)) if asked else []
        (logits,) = self.engine.encode([given.ids for given in inputs])
        bounds = list(accumulate(map(len, passages), initial=0))
        return [
            Asked(row, own, dict(zip(some, inputs[begin:end], strict=True)), logits[begin:end])
            for row, own, some, (begin, end) in zip(
                rows, found, passages, pairwise(bounds), strict=True
            )
        ]

    def _read(self, asked: Asked) -> tuple[float, ...]:
        """Exact match, F1, and whether the most relevant passage has an answer."""
        row = asked.row
        some = row.passages[: self.settings.valid_passages]
        if not some:
            return 0.0, 0.0, 0.0
        inputs = list(asked.inputs)  # each passage once
        begins = asked.logits.bounds[[inputs.index(passage) for passage in some]]
        best = int(asked.logits.values[begins, RELEVANCE].argmax())
        return *self._scores(asked, some[best]), float(row.holding[best])

    def _learned(self, block: Sequence[Asked]) -> Iterator[tuple[float, ...]]:
        """Of each question: exact match and F1 of its positive, and the loss."""
        questions = [(asked.row.question, asked.own) for asked in block if asked.own]
        if not questions:
            return
        targets = batch_of(0, questions, self.tokens).targets
        rows = [
            asked.logits.take([list(asked.inputs).index(p) for p in own.passages])
            for asked, (_, own) in zip(block, questions, strict=True)
        ]
        together = Rows.of_counts(
            torch.cat([part.values for part in rows]), torch.cat([part.counts for part in rows])
        )
        outcome = self.objective(together, **tensors(targets, self.engine.device))
        for asked, (_, own), loss in zip(block, questions, outcome.losses.tolist(), strict=True):
            yield *self._scores(asked, own.positive), loss

    def _scores(self, asked: Asked, passage: Passage) -> tuple[float, float]:
        """Exact match and F1 of the best span of a passage."""
        given, place = asked.inputs[passage], list(asked.inputs).index(passage)
        text = asked.logits[place : place + 1].values[given.begin :].cpu().numpy()
        both = text[:, START], text[:, END]
        spans = best_spans(both, given.offsets, passage.text, self.settings.max_answer_length)
        answer = passage.text[spans[0].start : spans[0].end] if spans else ""
        answers = asked.row.answers
        return float(exact_match(answer, answers)), token_f1(answer, answers)
