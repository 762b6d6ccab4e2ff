"""The batch of each step: a pure function of the seed, the step and the training files.

    Mixture     the files, with how often an epoch sees each
    BatchPlan        which rows are in the batch of step i
    Draw        which passages stand beside a row's positive
    BatchTexts  the texts of a batch, and which of its passages are false negatives
    Preparation the batch of a step as token ids, ready for the model

So training goes on at any step without replaying those before it, and neither the number of
processes nor that of workers changes what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.folds import Fold
from dprkit.data.row_index import changed
from dprkit.models.tokens import Prefixes, Tokens
from dprkit.records import Candidate, Example
from dprkit.training.batch_layout import Layout, batches_needed, cut, lay_out
from dprkit.training.candidate_lists import drawn_candidates
from dprkit.training.distill_settings import DrawnBy
from dprkit.training.false_negatives import Positives, answering, holding_answers
from dprkit.training.feed import Batch
from dprkit.training.weighted_files import At, WeightedFiles

# --- which rows -----------------------------------------------------------------------------------


class Mixture(WeightedFiles[Example]):
    """Files of examples with their weights, and what their rows share."""

    def __init__(self, files: Sequence[ExampleFile], weights: Sequence[float]) -> None:
        """Raises SettingsError where a weight leaves nothing of a file."""
        super().__init__(files, weights, list(map(len, files)))
        self.files = list(files)
        self.offsets = np.cumsum([0, *map(len, self.files)])
        """Row r of file f has the number offsets[f] + r among the rows of all files."""
        self.keys = np.concatenate([file.keys for file in self.files])
        self.positives = Positives(self.files)

    def seen(self, file: int, epoch: int, seed: int | None) -> np.ndarray:
        """The numbers (sizes[file],) of the rows that an epoch sees of a file; no seed: the first.

        All of them as often as the weight says, and a random part of them for its fraction.
        """
        count = len(self.files[file])
        whole, rest = divmod(self.sizes[file], count)
        part = np.arange(rest)
        if seed is not None and rest:
            part = np.random.default_rng([seed, epoch, file]).permutation(count)[:rest]
        rows = np.concatenate([np.tile(np.arange(count), whole), part])
        return np.asarray(rows + self.offsets[file])

    def most_frequent(self, files: Sequence[int]) -> int:
        """How often, at most, an epoch sees one positive among these files' rows."""
        keys, times = zip(*map(self._times, files), strict=True)
        _, of = np.unique(np.concatenate(keys), return_inverse=True)
        return int(np.bincount(of, np.concatenate(times)).max())

    def _times(self, file: int) -> tuple[np.ndarray, np.ndarray]:
        """A file's distinct keys and how often, at most, an epoch sees each."""
        keys, counts = np.unique(self.files[file].keys, return_counts=True)
        whole, rest = divmod(self.sizes[file], len(self.files[file]))
        return keys, whole * counts + np.minimum(counts, rest)


class BatchPlan:
    """Which rows are in the batch of each optimizer step.

    An epoch sees every row of the mixture's draw once. No two rows of a batch share a positive,
    so there are as many batches as the most frequent positive has rows, and smaller ones, if that
    is more than `batch_size` asks for. An epoch is laid out when its first batch is asked for
    (1 million rows: 0.2 s), and forgotten for the next.
    """

    def __init__(
        self,
        mixture: Mixture,
        batch_size: int,
        seed: int | None,
        mix: Literal["mixed", "one-file"] = "mixed",
        same_title: int = 1,
    ) -> None:
        """`mix`: batches of rows of all files, or each of one file, files taking random turns.

        `same_title`: rows of one title that a batch has together. `seed` None: the rows as they
        lie, for validation, whatever they share.
        """
        self.mixture, self.batch_size, self.seed, self.mix = mixture, batch_size, seed, mix
        self.same_title = same_title
        self.options = batch_size, seed, mix, same_title
        every = range(len(mixture.files))
        self._groups = [list(every)] if mix == "mixed" else [[file] for file in every]
        self._batches = list(map(self._needed, self._groups))
        self.batches_per_epoch = sum(self._batches)
        self._laid_out: tuple[int, Layout] | None = None

    def epoch(self, step: int) -> int:
        """The epoch that a step is in, both counted from 0."""
        return step // self.batches_per_epoch

    def rows(self, step: int) -> list[At]:
        """The rows of the batch of optimizer step `step`, counted from 0 over all epochs."""
        epoch, batch = divmod(step, self.batches_per_epoch)
        if self._laid_out is None or self._laid_out[0] != epoch:
            self._laid_out = epoch, self._lay_out(epoch)
        order, bounds = self._laid_out[1]
        numbers = order[bounds[batch] : bounds[batch + 1]]
        files = np.searchsorted(self.mixture.offsets, numbers, side="right") - 1
        return list(
            zip(files.tolist(), (numbers - self.mixture.offsets[files]).tolist(), strict=True)
        )

    def _needed(self, files: Sequence[int]) -> int:
        rows = sum(self.mixture.sizes[file] for file in files)
        frequent = 0 if self.seed is None else self.mixture.most_frequent(files)
        return batches_needed(rows, self.batch_size, frequent)

    def _lay_out(self, epoch: int) -> Layout:
        """The layout of an epoch, in the mixture's numbers."""
        layouts = [
            self._group(number, files, epoch, batches)
            for number, (files, batches) in enumerate(zip(self._groups, self._batches, strict=True))
        ]
        return layouts[0] if len(layouts) == 1 else self._interleaved(layouts, epoch)

    def _group(self, number: int, files: Sequence[int], epoch: int, batches: int) -> Layout:
        seen = np.concatenate([self.mixture.seen(file, epoch, self.seed) for file in files])
        if self.seed is None:
            return seen, cut(len(seen), self.batch_size, batches)
        rng = np.random.default_rng([self.seed, epoch, number, 1])
        order, bounds = lay_out(
            self.mixture.keys[seen], self.batch_size, batches, rng, self.same_title
        )
        return seen[order], bounds

    def _interleaved(self, layouts: list[Layout], epoch: int) -> Layout:
        """The batches of all `layouts` in a random order."""
        batches = [order[a:b] for order, cuts in layouts for a, b in pairwise(cuts)]
        turns: Sequence[int] = range(len(batches))
        if self.seed is not None:
            turns = np.random.default_rng([self.seed, epoch, 2]).permutation(len(batches)).tolist()
        batches = [batches[turn] for turn in turns]
        return np.concatenate(batches), np.cumsum([0, *map(len, batches)])


# --- which passages -------------------------------------------------------------------------------


class Draw(NamedTuple):
    """How passages are drawn for a question beside its first positive.

    A row with too few hard negatives gets negatives in their stead.
    """

    hard_negatives: int
    negatives: int
    seed: int | None
    """None: the first ones in the file's order, as validation wants them."""
    top: int | None = None
    """Hard negatives are drawn among the first so many of the row; None: among all."""
    by: Literal["uniform", "score", "first"] = "uniform"
    """Hard negatives: all alike, in proportion to their scores, or the first ones."""
    fresh: bool = True
    """Drawn anew each epoch, or the same in all."""
    taught: bool = False
    """A teacher's scores are told, and a passage stands in the batch once, for all questions."""
    candidates: int = 0
    """Passages that a question's list puts into the batch (candidate_lists.py), in the place of the
    others; or 0. What the teacher scored for it and others put there is in its list too."""
    candidates_by: DrawnBy = "teacher"


def drawn_passages(example: Example, at: At, epoch: int, draw: Draw) -> Sequence[Candidate]:
    """What stands beside the positive of the row `at`: of that, the epoch and the seed."""
    rng = None
    if draw.seed is not None:
        rng = np.random.default_rng([draw.seed, *at, epoch if draw.fresh else 0])
    if draw.candidates:
        return drawn_candidates(example, draw.candidates - 1, draw.candidates_by, rng)
    return _drawn_negatives(example, draw, rng)


def _drawn_negatives(
    example: Example, draw: Draw, rng: np.random.Generator | None
) -> list[Candidate]:
    """Hard negatives, then negatives."""
    hard = example.hard_negatives[: draw.top]
    order = range(len(hard)) if rng is None else _hard_order(example, len(hard), draw.by, rng)
    chosen = [hard[i] for i in order[: draw.hard_negatives]]
    more = draw.hard_negatives - len(chosen) + draw.negatives
    others: Sequence[Candidate] = example.negatives
    if rng is not None and more:
        others = [others[i] for i in rng.permutation(len(others))]
    return [*chosen, *others[:more]]


def _hard_order(example: Example, count: int, by: str, rng: np.random.Generator) -> Sequence[int]:
    """The first `count` hard negatives in the order in which they are drawn."""
    if by == "first":
        return range(count)
    scores = [candidate.score for candidate in example.hard_negatives]
    if by == "uniform" or all(score is None for score in scores):
        return list(rng.permutation(count))
    return by_score(np.array([max(score or 0.0, 0.0) for score in scores[:count]]), rng)


def by_score(weights: np.ndarray, rng: np.random.Generator) -> list[int]:
    """All indices, drawn without replacement in proportion to `weights` (N,), zeros at the end.

    The first k are a draw of k: Efraimidis and Spirakis 2006, as a race of exponential clocks.
    """
    some = weights > 0
    finish = np.full(len(weights), np.inf)
    clocks = rng.exponential(size=len(weights))
    finish[some] = np.log(clocks[some]) - np.log(weights[some])
    return list(np.lexsort((clocks, finish)))


# --- batches --------------------------------------------------------------------------------------


class BatchTexts(NamedTuple):
    """Q questions with their P passages, as text."""

    questions: list[str]
    passages: list[Candidate]
    positives: list[int]
    """(Q,): the column of the passage that answers question i."""
    lists: list[dict[int, float]]
    """(Q,): the columns of a question's own passages, the positive first, with the teacher's
    scores; not a number where there is none."""
    files: list[int]
    """(Q,): the file that a question is of."""
    sources: list[int]
    """(P,): the file that a passage is of."""
    places: list[str]
    """(Q,): the rows for messages, `train.jsonl:17`."""
    false_negatives: np.ndarray
    """(Q, P) bool: passage j answers question i but is not in its column: see `make_batch`."""

    def targets(self, loss_weights: Sequence[float], taught: bool = False) -> dict[str, np.ndarray]:
        """What objectives.ScoreObjective is told.

        `loss_weights`: of each file, or of none. `taught`: the teacher's scores too.
        """
        weights = [loss_weights[file] for file in self.files] if loss_weights else 1.0
        known = {
            "positives": np.array(self.positives, np.int64),
            "false_negatives": self.false_negatives,
            "weights": np.full(len(self.files), weights, np.float32),
        }
        return known | ({"teacher": self.teacher_scores()} if taught else {})

    def teacher_scores(self) -> np.ndarray:
        """(Q, P) float32: of a question's own passages; not a number where there is none."""
        scores = np.full((len(self.questions), len(self.passages)), np.nan, np.float32)
        for row, own in enumerate(self.lists):
            scores[row, list(own)] = list(own.values())
        return scores


def make_batch(
    mixture: Mixture, rows: Sequence[At], epoch: int, draw: Draw, by_answers: bool = False
) -> BatchTexts:
    """The batch of `rows`: each question's positive, then what is drawn for it.

    A false negative of a question is a passage with the text of a positive of that question, in
    whatever row of the mixture's files, or with the id of one in the same file. `by_answers`: also
    one whose text holds an answer, tokens compared as DPR does
    (data/answer_matching.py). Answers without any token hold nowhere.
    """
    examples = [mixture[at] for at in rows]
    columns = _Columns(once=draw.taught)
    lists = [
        columns.of([example.positives[0], *drawn_passages(example, at, epoch, draw)], at[0])
        for at, example in zip(rows, examples, strict=True)
    ]
    positives = [next(iter(own)) for own in lists]
    if draw.candidates:
        lists = [
            own | columns.scored(example, at[0])
            for at, example, own in zip(rows, examples, lists, strict=True)
        ]
    passages, sources = columns.passages, columns.sources
    files = [file for file, _ in rows]
    names = [
        mixture.positives.names(example, file)
        for example, file in zip(examples, files, strict=True)
    ]
    false = answering(names, passages, sources)
    if by_answers:
        false |= holding_answers(examples, passages)
    false[np.arange(len(rows)), positives] = False
    return BatchTexts(
        [example.question for example in examples],
        passages,
        positives,
        lists,
        files,
        sources,
        [mixture.where(at) for at in rows],
        false,
    )


class _Columns:
    """The passages of a batch, as they come; `once`: each text of a file has one column."""

    def __init__(self, once: bool) -> None:
        self.once = once
        self.passages: list[Candidate] = []
        self.sources: list[int] = []
        """The file that each of them is of."""
        self._known: dict[tuple[int, str, str], int] = {}

    def of(self, passages: Sequence[Candidate], file: int) -> dict[int, float]:
        """The columns of passages of a file, in their order, with the teacher's scores."""
        own: dict[int, float] = {}
        for passage in passages:
            score, column = passage.teacher_score, self._column(passage, file)
            if column not in own or score is not None:
                own[column] = math.nan if score is None else score
        return own

    def scored(self, example: Example, file: int) -> dict[int, float]:
        """The columns of a row's passages that a teacher scored, whichever row put them there."""
        own = (*example.positives, *example.hard_negatives, *example.negatives)
        return {
            column: passage.teacher_score
            for passage in own
            if passage.teacher_score is not None
            and (column := self._known.get((file, passage.title, passage.text))) is not None
        }

    def _column(self, passage: Candidate, file: int) -> int:
        new = len(self.passages)
        key = file, passage.title, passage.text
        column = self._known.setdefault(key, new) if self.once else new
        if column == new:
            self.passages.append(passage)
            self.sources.append(file)
        return column


class FilePrefixes(NamedTuple):
    """The prefix of the questions and of the passages of each file; empty: as the model's."""

    questions: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()

    def of(self, batch: BatchTexts) -> tuple[Prefixes, Prefixes]:
        """The prefix of each question and of each passage; None: as the model's."""
        return (
            [self.questions[file] for file in batch.files] if self.questions else None,
            [self.passages[file] for file in batch.sources] if self.passages else None,
        )


AS_THE_MODEL = FilePrefixes()


@dataclass(frozen=True)
class Preparation:
    """Makes the batch of an optimizer step, counted from 0: a pure function of the step."""

    plan: BatchPlan
    draw: Draw
    tokens: Tokens
    by_answers: bool = False
    """Whether a passage that holds an answer is no negative: see `make_batch`."""
    loss_weights: Sequence[float] = ()
    """How much a question of each file counts in the loss; empty: all alike."""
    prefixes: FilePrefixes = AS_THE_MODEL

    def __call__(self, step: int) -> Batch:
        batch = make_batch(
            self.plan.mixture,
            self.plan.rows(step),
            self.plan.epoch(step),
            self.draw,
            self.by_answers,
        )
        asked, read = self.prefixes.of(batch)
        sides = (
            self.tokens.questions(batch.questions, asked),
            self.tokens.passages(batch.passages, read),
        )
        return Batch(step, sides, batch.targets(self.loss_weights, self.draw.taught), batch.places)

    def describe(self) -> Callable[[], Preparation]:
        """What makes the same of the files in another process."""
        mixture = self.plan.mixture
        files = [(str(file.path), file.sha256, file.leave_out) for file in mixture.files]
        rest = self.draw, self.tokens, self.by_answers, self.loss_weights, self.prefixes
        return partial(_opened_again, files, mixture.weights, self.plan.options, rest)


def _opened_again(
    files: list[tuple[str, str, Fold | None]], weights: list[float], options: Any, rest: Any
) -> Preparation:
    """Raises InputError where a file is no longer what it was."""
    mixture = Mixture([_unchanged(*file) for file in files], weights)
    return Preparation(BatchPlan(mixture, *options), *rest)


def _unchanged(path: str, sha256: str, leave_out: Fold | None) -> ExampleFile:
    file = ExampleFile(path, leave_out=leave_out)
    if file.sha256 != sha256:
        raise changed(path)
    return file
