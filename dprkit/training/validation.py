"""Validation on held-out examples: the training loss, accuracy, and DPR's average rank."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec
import torch
from torch import Tensor

from dprkit.models.bi_encoder import BiEncoder
from dprkit.models.tokens import Tokens
from dprkit.records import Example, Passage
from dprkit.settings import TrainSettings
from dprkit.training.batches import Draw, batch_size, make_batch
from dprkit.training.objectives import in_batch_nll, score_matrix

BATCH_TOKENS = 2048


class Validation(msgspec.Struct, frozen=True):
    """The figures of one validation.

    loss: mean in-batch loss a question, in nats. accuracy: share of questions whose positive
    scores highest in its batch. average_rank: mean 1-based rank of the positive among the pool of
    all questions' passages. pool_accuracy: share of questions whose positive is first there.
    """

    questions: int
    pool: int
    loss: float
    accuracy: float
    average_rank: float
    pool_accuracy: float

    def better_than(self, other: Validation | None, by: str) -> bool:
        """Whether this one is better by `by`: accuracy is best high, the others low."""
        if other is None:
            return True
        mine, theirs = getattr(self, by), getattr(other, by)
        return bool(mine > theirs if by == "accuracy" else mine < theirs)


def validate(
    model: BiEncoder, tokens: Tokens, examples: Sequence[Example], settings: TrainSettings
) -> Validation:
    """Validate `model`, which is left in the mode it was in."""
    training = model.training
    model.eval()
    with torch.inference_mode():
        loss, accuracy = _in_batch(model, tokens, examples, settings)
        ranks, pool = _pool_ranks(model, tokens, examples, settings)
    model.train(training)
    return Validation(
        questions=len(examples),
        pool=pool,
        loss=loss,
        accuracy=accuracy,
        average_rank=float(ranks.double().mean()),
        pool_accuracy=float((ranks == 1).double().mean()),
    )


def batch_scores(
    model: BiEncoder, tokens: Tokens, questions: Sequence[str], passages: Sequence[Passage]
) -> Tensor:
    """The scores (Q, P) of a batch, with gradient where it is enabled."""
    return score_matrix(
        model.question_encoder.encode(tokens.questions(questions), BATCH_TOKENS),
        model.passage_encoder.encode(tokens.passages(passages), BATCH_TOKENS),
        model.config.temperature,
    )


def _in_batch(
    model: BiEncoder, tokens: Tokens, examples: Sequence[Example], settings: TrainSettings
) -> tuple[float, float]:
    """Mean loss and accuracy over batches made as in training, but in the file's order."""
    draw = Draw(settings.hard_negatives, settings.negatives, None)
    loss = right = 0.0
    size = batch_size(settings)
    for begin in range(0, len(examples), size):
        rows = range(begin, min(begin + size, len(examples)))
        batch = make_batch(examples, rows, 0, draw)
        scores = batch_scores(model, tokens, batch.questions, batch.passages)
        positives = torch.tensor(batch.positives, device=scores.device)
        loss += float(in_batch_nll(scores, positives)) * len(rows)
        right += float((scores.argmax(1) == positives).sum())
    return loss / len(examples), right / len(examples)


def _pool_ranks(
    model: BiEncoder, tokens: Tokens, examples: Sequence[Example], settings: TrainSettings
) -> tuple[Tensor, int]:
    """The 1-based rank (Q,) of each positive among the distinct passages of all examples.

    DPR's average rank (Karpukhin et al. 2020) with two differences: ranks start at 1, and a
    passage that several questions bring counts once, so copies do not outrank each other.
    """
    pool: dict[tuple[str, str], int] = {}
    positives = [_add(pool, example, settings) for example in examples]
    passages = [Passage("", text, title) for title, text in pool]
    vectors = model.passage_encoder.encode(tokens.passages(passages), BATCH_TOKENS)  # (P, D)
    ranks = []
    rows = iter(zip(examples, positives, strict=True))
    while part := list(islice(rows, 256)):
        questions = tokens.questions([example.question for example, _ in part])
        scores = score_matrix(model.question_encoder.encode(questions, BATCH_TOKENS), vectors, 1.0)
        ranks.append(positive_ranks(scores, torch.tensor([column for _, column in part])))
    return torch.cat(ranks), len(pool)


def _add(pool: dict[tuple[str, str], int], example: Example, settings: TrainSettings) -> int:
    """Put an example's passages into the pool; returns the column of its positive."""
    chosen = (
        *example.positives[:1],
        *example.hard_negatives[: settings.valid_hard_negatives],
        *example.negatives[: settings.valid_negatives],
    )
    columns = [pool.setdefault((p.title, p.text), len(pool)) for p in chosen]
    return columns[0]


def positive_ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """The 1-based rank (Q,) of column `positives[i]` in row i of `scores` (Q, P).

    Of equal scores the earlier column ranks first.
    """
    positives = positives.to(scores.device).unsqueeze(1)  # (Q, 1)
    own = scores.gather(1, positives)
    columns = torch.arange(scores.shape[1], device=scores.device)
    ahead = (scores > own) | ((scores == own) & (columns < positives))  # (Q, P)
    return 1 + ahead.sum(1)
