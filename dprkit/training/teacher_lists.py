"""What a teacher's lists look like before training: how sure it is, and what it puts first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dprkit.errors import SettingsError
from dprkit.score_spread import entropy
from dprkit.training.batches import BatchPlan, BatchTexts, Draw, make_batch

LOOKED_AT = 1000
"""Questions whose teacher's scores are looked at."""


@dataclass(frozen=True)
class TeacherLists:
    """The lists of the first questions of training."""

    scores: list[np.ndarray]
    """Of each question with two scores or more, (N,): the teacher's scores of its passages."""
    gold: list[np.ndarray]
    """(N,) bool: which of those are positives of the question."""
    seen: int
    """Questions that were looked at."""
    without_positive: int = 0
    """Lists in which the positive that the question is trained with has no score."""

    def figures(self, temperature: float) -> dict[str, float]:
        """What is told of the lists at a temperature; entropies are means, in bits."""
        bits, most = self.entropies(temperature)
        return {
            "temperature": temperature,
            "lists": len(self.scores),
            "entropy_bits": float(bits.mean()),
            "most_bits": float(most.mean()),
            "entropy_share": self.share(temperature),
        } | ({"first_is_positive": self.first_is_positive()} if self.with_gold else {})

    def entropies(self, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Of each list, (Q,): the entropy of its softmax in bits, and the greatest it can have."""
        bits = [entropy(scores / temperature) for scores in self.scores]
        return np.array(bits), np.log2(list(map(len, self.scores)))

    def share(self, temperature: float) -> float:
        """The mean entropy of the lists as a share of the greatest."""
        bits, most = self.entropies(temperature)
        return float((bits / most).mean())

    @property
    def with_gold(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The scores and positives of the lists in which a positive has a score."""
        pairs = zip(self.scores, self.gold, strict=False)
        return [(scores, gold) for scores, gold in pairs if gold.any()]

    def first_is_positive(self) -> float:
        """In what share of the lists with a scored positive the teacher scores one highest."""
        return float(np.mean([gold[scores.argmax()] for scores, gold in self.with_gold]))

    def temperature_of(self, share: float) -> float:
        """The temperature, to four digits, at which the lists have `share` of the entropy.

        It is found by halving, since entropy rises with the temperature. Raises SettingsError where
        no temperature has it.
        """
        spread = max(float(np.ptp(scores)) for scores in self.scores)
        low, high = spread * 1e-6, spread * 1e6
        if not spread or not self.share(low) < share < self.share(high):
            raise SettingsError(
                f"--teacher-temperature auto: at no temperature do the teacher's lists have "
                f"{share:g} of the greatest entropy, since many of its scores are alike; give a "
                "number, or another --teacher-entropy"
            )
        for _ in range(50):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self.share(middle) > share else (middle, high)
        return float(f"{high:.4g}")


def teacher_lists(plan: BatchPlan, draw: Draw) -> TeacherLists:
    """The lists of the first batches of training. Raises SettingsError where there are none."""
    scores, gold, seen, without = [], [], 0, 0
    for batch in first_batches(plan, draw):
        seen += len(batch.questions)
        for row, own in enumerate(batch.lists):
            columns = [column for column, score in own.items() if np.isfinite(score)]
            if len(columns) > 1:
                scores.append(np.array([own[column] for column in columns]))
                positive = _own(batch, row, columns)
                gold.append(batch.false_negatives[row, columns] | positive)
                without += not positive.any()
    if not scores:
        raise SettingsError(
            f"--objective distill: of the first {seen} questions none has a teacher_score for two "
            "of its passages; name training files that have the scores"
        )
    return TeacherLists(scores, gold, seen, without)


def first_batches(plan: BatchPlan, draw: Draw) -> Iterator[BatchTexts]:
    """The first batches of training, as far as they are looked at."""
    seen = step = 0
    while step < plan.batches_per_epoch and seen < LOOKED_AT:
        rows = plan.rows(step)
        yield make_batch(plan.mixture, rows, 0, draw)
        seen, step = seen + len(rows), step + 1


def _own(batch: BatchTexts, row: int, columns: Sequence[int]) -> np.ndarray:
    """(N,) bool: which of the columns is the question's first positive."""
    own: np.ndarray = np.array(columns) == batch.positives[row]
    return own
