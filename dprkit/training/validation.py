"""Validation on held-out examples: the training loss, and how the positive ranks.

DPR's average rank (Karpukhin et al. 2020) with three differences: ranks start at 1, a passage
that several questions bring counts once, so that copies do not outrank each other, and no other
positive of the same question counts (see false_negatives.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import torch
from torch import Tensor

from dprkit.data.passages import read_passages
from dprkit.models.rows import Rows
from dprkit.models.scoring import Scoring
from dprkit.models.tokens import Ids, Tokens
from dprkit.rank_metrics import reciprocal, success
from dprkit.records import Passage
from dprkit.training.batch_layout import batches_needed, cut
from dprkit.training.batches import Draw, Mixture, make_batch
from dprkit.training.false_negatives import names_of
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import ScoreObjective, tensors
from dprkit.training.resolved_settings import ResolvedSettings

DEPTHS = (1, 5, 20, 100)
MRR_DEPTH = 10
LOWER_IS_BETTER = ("average_rank", "loss")
BLOCK = 1024
"""Questions, or corpus passages, that are scored at once."""
KEPT = 1 << 27
"""Numbers of the pool's rows that are kept: 512 MB."""


@dataclass
class Validator:
    """Validates a model on one set of examples, with the same figures on any number of processes.

    loss: mean in-batch loss a question, in nats. accuracy: share of questions whose positive
    scores highest in its batch; batches are made as in training, in the file's order.
    average_rank: mean 1-based rank of the positive in the pool of all questions' positives and
    their first `valid_hard_negatives` and `valid_negatives`. accuracy@k, mrr@10: of the positive
    in the pool, or in the `valid_corpus`. pool: passages in the pool.
    """

    engine: GradientEngine
    objective: ScoreObjective
    tokens: Tokens
    examples: Mixture
    settings: ResolvedSettings

    @torch.inference_mode()
    def __call__(self) -> dict[str, float]:
        """The figures of the model as it is now; leaves it in evaluation mode."""
        self.engine.model.eval()
        self.objective.eval()
        pool = Pool(self.examples, self.settings)
        (questions,) = self.engine.encode(self.tokens.questions(pool.questions))
        passages = PassageRows(self.engine, self.tokens.passages(pool.passages), questions)
        loss, accuracy = self._in_batch(pool, questions, passages)
        if passages.kept is not None:
            ranks = self._ranks_among(passages.kept[: pool.ranked], questions, pool)
        else:
            ranks = self._ranks_in_blocks(passages, questions, pool)
        deep = ranks
        if self.settings.valid_corpus:
            corpus = read_passages(self.settings.valid_corpus)
            deep = self._corpus_ranks(corpus, questions, self._own(questions, passages, pool), pool)
        return {
            "questions": len(pool.questions),
            "pool": pool.ranked,
            "loss": loss,
            "accuracy": accuracy,
            "average_rank": float(ranks.double().mean()),
            **{f"accuracy@{k}": float(success(deep, k).double().mean()) for k in DEPTHS},
            f"mrr@{MRR_DEPTH}": float(reciprocal(deep.double(), MRR_DEPTH).mean()),
        }

    def _in_batch(self, pool: Pool, questions: Rows, passages: PassageRows) -> tuple[float, float]:
        """Mean loss and accuracy over batches made as in training, but in the file's order."""
        count, size = len(self.examples), self.settings.batch_size
        loss = hits = 0.0
        for begin, end in pairwise(cut(count, size, batches_needed(count, size, 0)).tolist()):
            numbers = [(0, row) for row in range(begin, end)]
            batch = make_batch(self.examples, numbers, 0, pool.draw, self.settings.mask_answers)
            columns = [pool.column(passage) for passage in batch.passages]
            targets = tensors(batch.targets((), pool.draw.taught), self.engine.device)
            outcome = self.objective(questions[begin:end], passages.take(columns), **targets)
            loss += float(outcome.loss) * len(numbers)
            hits += float(outcome.hits.sum())
        return loss / count, hits / count

    def _ranks_among(self, passages: Rows, questions: Rows, pool: Pool) -> Tensor:
        """The ranks (Q,) of the positives among passages whose rows are all there."""
        positives = torch.tensor(pool.positives)
        others = torch.tensor(pool.others, dtype=torch.long).view(-1, 2)
        scoring = self.objective.scoring
        return torch.cat(list(_ranks(scoring, questions, passages, positives, others)))

    def _own(self, questions: Rows, passages: PassageRows, pool: Pool) -> Tensor:
        """The score (Q, 1) of each question and its positive."""
        parts = [slice(at, at + BLOCK) for at in range(0, len(questions), BLOCK)]
        pairs = self.objective.scoring.pairs
        own = [pairs(questions[part], passages.take(pool.positives[part])) for part in parts]
        return torch.cat(own).unsqueeze(1)

    def _ranks_in_blocks(self, passages: PassageRows, questions: Rows, pool: Pool) -> Tensor:
        """As `_ranks_among`, of passages that are encoded a block at a time."""
        own = self._own(questions, passages, pool)
        place = own.device
        positives = torch.tensor(pool.positives, device=place).unsqueeze(1)
        others = torch.tensor([*pool.others, *enumerate(pool.positives)], device=place)
        ahead = torch.zeros(len(questions), dtype=torch.long, device=place)
        for begin in range(0, pool.ranked, BLOCK):
            columns = torch.arange(begin, min(begin + BLOCK, pool.ranked), device=place)
            scores = self.objective.scoring.matrix(questions, passages.take(columns.tolist()))
            higher = (scores > own) | ((scores == own) & (columns < positives))  # (Q, BLOCK)
            here = others[(others[:, 1] >= begin) & (others[:, 1] < begin + BLOCK)]
            higher[here[:, 0], here[:, 1] - begin] = False
            ahead += higher.sum(1)
        return 1 + ahead

    def _corpus_ranks(
        self, corpus: Iterator[Passage], questions: Rows, own: Tensor, pool: Pool
    ) -> Tensor:
        """The rank (Q,) of each positive among the corpus: 1 + the passages that score higher.

        `own` (Q, 1): the scores of the positives. The corpus goes through in blocks; what has the
        text of a positive of the question is not ahead of it.
        """
        ahead = torch.zeros(len(questions), dtype=torch.long, device=own.device)
        while block := list(islice(corpus, BLOCK)):
            _, passages = self.engine.encode([], self.tokens.passages(block))
            higher = self.objective.scoring.matrix(questions, passages) > own  # (Q, BLOCK)
            for column, passage in enumerate(block):
                higher[pool.answered.get(passage.text.strip(), []), column] = False
            ahead += higher.sum(1)
        return 1 + ahead


class PassageRows:
    """The rows of a pool's passages: kept, or made anew each time where they are too many.

    They are kept of a model with a row a text, and up to KEPT numbers of others.
    """

    def __init__(self, engine: GradientEngine, ids: Ids, questions: Rows) -> None:
        self._engine, self._ids = engine, ids
        numbers = sum(map(len, ids)) * engine.model.dim
        one_row = len(questions.values) == len(questions)
        self.kept = engine.encode([], ids)[1] if one_row or numbers <= KEPT else None

    def take(self, columns: Sequence[int]) -> Rows:
        """The rows of some passages, in that order."""
        if self.kept is not None:
            return self.kept.take(columns)
        return self._engine.encode([], [self._ids[column] for column in columns])[1]


class Pool:
    """The distinct passages of a set of examples; the first `ranked` are ranked, the others only
    stand in batches."""

    def __init__(self, examples: Mixture, settings: ResolvedSettings) -> None:
        self.draw = Draw(settings.hard_negatives, settings.negatives, None)
        if settings.teacher:
            self.draw = self.draw._replace(taught=True, candidates=settings.teacher.candidates)
        self._columns: dict[tuple[str, str], int] = {}
        self.questions: list[str] = []
        self.positives: list[int] = []
        """Of each question: the column of its positive."""
        self._answers: set[tuple[int, int]] = set()
        self.answered: dict[Hashable, list[int]] = {}
        """The questions that each positive answers, by all its names."""
        for row in range(len(examples)):
            for name in examples.positives.names(examples[0, row], 0):
                self.answered.setdefault(name, []).append(row)
        for row in range(len(examples)):
            example = examples[0, row]
            self.questions.append(example.question)
            chosen = (
                example.positives[0],
                *example.hard_negatives[: settings.valid_hard_negatives],
                *example.negatives[: settings.valid_negatives],
            )
            columns = [self._rank(passage) for passage in chosen]
            self.positives.append(columns[0])
        self.others = sorted(self._answers - set(enumerate(self.positives)))
        """Each question's number with the columns, among the ranked, of its other positives."""
        self.ranked = len(self._columns)
        for row in range(len(examples)):
            for passage in make_batch(examples, [(0, row)], 0, self.draw).passages:
                self.column(passage)

    def _rank(self, passage: Passage) -> int:
        column = self.column(passage)
        for name in names_of(passage, 0):
            self._answers.update((row, column) for row in self.answered.get(name, []))
        return column

    def column(self, passage: Passage) -> int:
        """The column of a passage, a new one for a new passage."""
        return self._columns.setdefault((passage.title, passage.text), len(self._columns))

    @property
    def passages(self) -> list[Passage]:
        return [Passage("", text, title) for title, text in self._columns]


def _ranks(
    scoring: Scoring, questions: Rows, passages: Rows, positives: Tensor, others: Tensor
) -> Iterator[Tensor]:
    """Ranks (Q,) in blocks; `others` (N, 2): a question's number and a passage that is left out."""
    for begin in range(0, len(questions), BLOCK):
        part = slice(begin, begin + BLOCK)
        scores = scoring.matrix(questions[part], passages)
        rows = others[:, 0] - begin
        here = (rows >= 0) & (rows < len(scores))
        scores[rows[here], others[here, 1]] = -torch.inf
        yield positive_ranks(scores, positives[part])


def positive_ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """The 1-based rank (Q,) of column `positives[i]` in row i of `scores` (Q, P).

    Of equal scores the earlier column ranks first.
    """
    positives = positives.to(scores.device).unsqueeze(1)  # (Q, 1)
    own = scores.gather(1, positives)
    columns = torch.arange(scores.shape[1], device=scores.device)
    ahead = (scores > own) | ((scores == own) & (columns < positives))  # (Q, P)
    return 1 + ahead.sum(1)


def better(one: dict[str, float], other: dict[str, float], by: str) -> bool:
    """Whether validation `one` is better than `other` by the figure `by`."""
    if by in LOWER_IS_BETTER:
        return one[by] < other[by]
    return one[by] > other[by]
