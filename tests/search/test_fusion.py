import msgspec
import numpy as np
import pytest

from dprkit.errors import SettingsError
from dprkit.indexes.fuse import fuse
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.search.fusion import Fusion, tune


def found(*lines):
    """Lines of {row: score}, in their order; shorter ones are filled up with row -1."""
    width = max(len(line) for line in lines)
    rows = [[*line] + [-1] * (width - len(line)) for line in lines]
    scores = [[*line.values()] + [-np.inf] * (width - len(line)) for line in lines]
    return Hits(np.array(rows, np.int64), np.array(scores, np.float32))


def random_lists(seed, questions=40, width=12, corpus=25):
    """Rankings with ties and with lines that are not full."""
    chance = np.random.default_rng(seed)
    lines = []
    for _ in range(questions):
        size = chance.integers(0, width + 1)
        scores = {
            int(row): float(chance.integers(-3, 4)) / 2
            for row in chance.choice(corpus, size, replace=False)
        }
        lines.append(dict(sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))))
    return lines


def by_hand(lists, topk, weights, method, rrf_k):
    """One question: every passage's sum written out; order: score descending, row ascending."""
    sums = {}
    for line, weight in zip(lists, weights, strict=True):
        low, high = min(line.values(), default=0), max(line.values(), default=0)
        for rank, (row, score) in enumerate(line.items(), 1):
            if method == "rrf":
                part = 1 / (rrf_k + rank)
            else:
                part = 1.0 if high == low else (score - low) / (high - low)
            sums[row] = sums.get(row, 0.0) + weight * part
    sums = {row: float(np.float32(value)) for row, value in sums.items()}
    return sorted(sums.items(), key=lambda hit: (-hit[1], hit[0]))[:topk]


@pytest.mark.parametrize("method", ["rrf", "weighted"])
@pytest.mark.parametrize("topk", [1, 7, 100])
def test_fusion_equals_sums_written_out(method, topk):
    lists = [random_lists(seed) for seed in range(3)]
    weights = (0.5, 0.2, 1.3)
    fused = fuse([found(*one) for one in lists], topk, weights, method, rrf_k=10)
    for number, (rows, scores) in enumerate(zip(*fused, strict=True)):
        hits = by_hand([one[number] for one in lists], topk, weights, method, 10)
        assert rows[rows >= 0].tolist() == [row for row, _ in hits]
        assert scores[rows >= 0].tolist() == [score for _, score in hits]
        assert np.isneginf(scores[rows < 0]).all()
    assert (fused.rows >= 0).any(axis=0).all()


def test_reciprocal_ranks_worked_by_hand():
    fused = fuse([found({4: 9.0, 7: 8.0}), found({7: 0.3, 5: 0.2})], topk=3)
    assert fused.rows.tolist() == [[7, 4, 5]]
    np.testing.assert_allclose(fused.scores, [[1 / 62 + 1 / 61, 1 / 61, 1 / 62]], rtol=1e-6)


def test_weighted_scores_worked_by_hand():
    dense, words = found({1: 10.0, 2: 8.0, 3: 6.0}), found({3: 30.0, 9: 20.0})
    fused = fuse([dense, words], 4, (0.75, 0.25), "weighted")
    assert fused.rows.tolist() == [[1, 2, 3, 9]]
    np.testing.assert_allclose(fused.scores, [[0.75, 0.375, 0.25, 0]])


def test_equal_sums_keep_the_corpus_order():
    fused = fuse([found({8: 1.0}), found({2: 1.0}), found({5: 1.0})], topk=3)
    assert fused.rows.tolist() == [[2, 5, 8]]


def test_one_list_keeps_its_order():
    one = found({8: 3.0, 2: 2.0, 5: 1.0})
    for method in ("rrf", "weighted"):
        assert fuse([one], 3, method=method).rows.tolist() == one.rows.tolist()


def test_a_passage_found_alone_is_worth_the_full_weight():
    fused = fuse([found({1: 5.0, 2: 4.0, 3: 0.0}), found({2: 1.5})], 3, method="weighted")
    assert fused.rows.tolist() == [[2, 1, 3]]


def test_nothing_found_stays_nothing():
    assert fuse([found({}), found({})], 5).rows.shape == (1, 0)
    fused = fuse([found({}, {3: 1.0}), found({}, {})], 5, method="weighted")
    assert fused.rows.tolist() == [[-1], [3]]
    assert fused.scores.tolist() == [[-np.inf], [1]]


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -0.5), (0.0, 0.0), (1.0, np.nan), (1.0, np.inf)])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(SettingsError, match="for 2 indexes: expected one of 0 or more for each"):
        fuse([found({1: 1.0}), found({2: 1.0})], 1, weights)


def test_tuning_trusts_the_index_that_is_right():
    right = found(*[{q + 100: 0.5, q: 0.45, q + 200: 0.1} for q in range(20)])
    wrong = found(*[{q: 30.0, q + 300: 2.0, q + 100: 1.0} for q in range(20)])
    tuning = tune([right, wrong], [[q + 100] for q in range(20)])
    assert tuning.best.fusion.weights[0] > tuning.best.fusion.weights[1]
    assert tuning.best.value == max(trial.value for trial in tuning.trials) == 1
    assert tuning.trials[0].fusion == Fusion()
    assert tuning.trials[0].value == 0.5


def test_tuning_measures_what_it_says():
    lists = [found(*random_lists(seed)) for seed in (5, 6)]
    gold = [[3, 17], [], *([question % 25] for question in range(38))]
    for metric, worth in (("mrr@4", lambda rank: 1 / rank), ("recall@4", lambda rank: 1)):
        for trial in tune(lists, gold, metric).trials[::7]:
            rows = trial.fusion.of(lists, 4).rows.tolist()
            ranks = [
                min((line.index(row) + 1 for row in wanted if row in line), default=None)
                for line, wanted in zip(rows, gold, strict=True)
            ]
            expected = sum(worth(rank) for rank in ranks if rank) / len(gold)
            assert trial.value == pytest.approx(expected)


def test_of_equally_good_fusions_the_plainest_is_chosen():
    same = found({1: 2.0, 2: 1.0})
    assert tune([same, same], [[1]]).best.fusion == Fusion()


def test_shares_of_three_indexes_add_up_to_one():
    same = found({1: 2.0, 2: 1.0})
    weighted = [
        trial.fusion.weights
        for trial in tune([same] * 3, [[1]], parts=4).trials
        if trial.fusion.method == "weighted"
    ]
    assert len(weighted) == len(set(weighted)) == 15
    assert all(sum(weights) == 1 for weights in weighted)


def test_an_unknown_measure_is_refused():
    with pytest.raises(SettingsError, match="'ndcg' is no measure to tune by"):
        tune([found({1: 1.0})], [[1]], "ndcg")


def test_a_fusion_goes_through_json():
    fusion = Fusion(method="weighted", weights=(0.3, 0.7))
    assert msgspec.json.decode(msgspec.json.encode(fusion), type=Fusion) == fusion
