import pytest
import torch

from dprkit.models.checkpoints import load_bi_encoder
from dprkit.records import Example, Passage
from dprkit.settings import TrainSettings
from dprkit.training.validation import Validation, positive_ranks, validate


def test_ranks_count_from_one():
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [1.0, 2.0, 3.0]])
    assert positive_ranks(scores, torch.tensor([0, 2, 0])).tolist() == [1, 2, 3]


def test_the_earlier_of_equal_scores_ranks_first():
    scores = torch.tensor([[1.0, 1.0, 1.0]] * 3)
    assert positive_ranks(scores, torch.tensor([0, 1, 2])).tolist() == [1, 2, 3]


def test_ranks_equal_those_of_a_sorted_list():
    scores = torch.randn(20, 50, generator=torch.Generator().manual_seed(1))
    positives = torch.arange(20)
    by_sorting = [
        sorted(row.tolist(), reverse=True).index(row[p].item()) + 1
        for row, p in zip(scores, positives, strict=True)
    ]
    assert positive_ranks(scores, positives).tolist() == by_sorting


def passages(name, count):
    return tuple(Passage(f"{name}{i}", f"{name} number {i}", name) for i in range(count))


EXAMPLES = [
    Example(f"question {name}", (), passages(name, 2), passages(f"hard {name}", 3))
    for name in ("alpha", "beta", "gamma")
]


def test_validation_equals_a_slow_reckoning(small_retriever):
    model, tokens = load_bi_encoder(small_retriever)
    settings = TrainSettings(batch_size=2, hard_negatives=1, valid_hard_negatives=2)
    found = validate(model, tokens, EXAMPLES, settings)

    def vector(text, tower):
        with torch.no_grad():
            return tower.encode([text], 10_000)[0]

    pool = [p for e in EXAMPLES for p in (e.positives[0], *e.hard_negatives[:2])]
    p = [vector(ids, model.passage_encoder) for ids in tokens.passages(pool)]
    q = [
        vector(ids, model.question_encoder)
        for ids in tokens.questions([e.question for e in EXAMPLES])
    ]
    ranks = []
    for i, question in enumerate(q):
        scores = [float(question @ passage) for passage in p]
        ranks.append(1 + sum(score > scores[3 * i] for score in scores))
    assert (found.questions, found.pool) == (3, 9)
    assert found.average_rank == pytest.approx(sum(ranks) / 3)
    assert found.pool_accuracy == pytest.approx(sum(rank == 1 for rank in ranks) / 3)

    losses = []
    for rows in ([0, 1], [2]):
        columns = [j for i in rows for j in (3 * i, 3 * i + 1)]
        for n, i in enumerate(rows):
            scores = torch.stack([q[i] @ p[j] for j in columns])
            losses.append(float(-torch.log_softmax(scores, 0)[2 * n]))
    assert found.loss == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_a_passage_that_several_questions_bring_counts_once(small_retriever):
    model, tokens = load_bi_encoder(small_retriever)
    shared = [Example(f"question {i}", (), passages("same", 1)) for i in range(5)]
    found = validate(model, tokens, shared, TrainSettings())
    assert (found.pool, found.average_rank, found.pool_accuracy) == (1, 1.0, 1.0)


def test_accuracy_is_better_high_and_rank_low():
    low, high = (Validation(1, 1, 1.0, a, r, 0.0) for a, r in ((0.1, 5.0), (0.2, 9.0)))
    assert high.better_than(low, "accuracy")
    assert low.better_than(high, "average_rank")
    assert not low.better_than(low, "loss")
    assert low.better_than(None, "loss")
