"""The passages that a question is compared with its teacher on: which, and how they stand."""

import json
from collections import Counter

import numpy as np
import pytest

from dprkit.data.examples_by_row import ExampleFile
from dprkit.errors import SettingsError
from dprkit.records import Candidate, Example
from dprkit.training.batches import BatchPlan, Draw, Mixture, make_batch
from dprkit.training.candidate_lists import drawn_candidates
from dprkit.training.teacher_lists import TeacherLists, teacher_lists


def passage(name, teacher=None):
    return Candidate(name, f"text of {name}", "", None, teacher)


EXAMPLE = Example(
    "q",
    (),
    (passage("p0", 9.0), passage("p1", 3.0)),
    (passage("h0", 1.0), passage("h1"), passage("h2", 5.0), passage("p0"), passage("h0", 7.0)),
    (passage("n0", 0.0), passage("n1", -2.0)),
)


def names(count, by, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    return [candidate.id for candidate in drawn_candidates(EXAMPLE, count, by, rng)]


def test_every_text_is_drawn_once_and_those_with_a_score_come_first():
    in_order = ["p1", "h0", "h2", "n0", "n1", "h1"]
    assert names(9, "teacher", None) == names(9, "first", 1) == in_order
    assert sorted(names(9, "uniform", 1)) == sorted(in_order)
    for by in ("first", "uniform", "teacher"):
        assert "h1" not in names(5, by, 2) and names(9, by, 2)[-1] == "h1"


def test_half_are_what_the_teacher_likes_and_the_others_come_by_chance():
    """The teacher likes h2, then p1, then h0."""
    drawn = [names(3, "teacher", seed) for seed in range(300)]
    assert all(one[:2] == ["h2", "p1"] for one in drawn)
    last = Counter(one[2] for one in drawn)
    assert set(last) == {"h0", "n0", "n1"} and min(last.values()) > 60


def test_by_chance_each_is_drawn_as_often():
    drawn = Counter(name for seed in range(500) for name in names(1, "uniform", seed))
    assert set(drawn) == {"p1", "h0", "h2", "n0", "n1"} and min(drawn.values()) > 60


# --- in a batch -----------------------------------------------------------------------------------


def row(question, positives, hard):
    contexts = [
        [
            {"text": text, "title": "", "passage_id": text, "teacher_score": score}
            for text, score in s
        ]
        for s in (positives, hard)
    ]
    return {"question": question, "positive_ctxs": contexts[0], "hard_negative_ctxs": contexts[1]}


@pytest.fixture
def three(tmp_path):
    """Questions of one article, which share passages that the teacher scores differently."""
    rows = [
        row("a", [("A", 5.0), ("B", 4.0)], [("C", 1.0)]),
        row("b", [("D", 6.0)], [("A", 2.0), ("C", 3.0)]),
        row("c", [("C", 1.5)], []),
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return Mixture([ExampleFile(path)], [1.0])


def test_a_passage_of_several_lists_stands_in_the_batch_once(three):
    at = [(0, 0), (0, 1), (0, 2)]
    batch = make_batch(three, at, 0, Draw(0, 0, None, taught=True, candidates=4))
    assert [passage.text for passage in batch.passages] == ["A", "B", "C", "D"]
    assert batch.positives == [0, 3, 2]
    scores = [[5, 4, 1, np.nan], [2, np.nan, 3, 6], [np.nan, np.nan, 1.5, np.nan]]
    np.testing.assert_array_equal(batch.teacher_scores(), scores)
    further = np.zeros((3, 4), bool)
    further[0, 1] = True  # the other positive is in the list, and is no negative
    np.testing.assert_array_equal(batch.false_negatives, further)
    apart = make_batch(three, at, 0, Draw(1, 0, None))
    assert [passage.text for passage in apart.passages] == ["A", "C", "D", "A", "C"]


def test_a_passage_that_another_question_drew_is_in_the_list_of_one_that_it_is_scored_for(three):
    draw = Draw(0, 0, None, taught=True, candidates=2)
    batch = make_batch(three, [(0, 0), (0, 1), (0, 2)], 0, draw)
    assert [passage.text for passage in batch.passages] == ["A", "B", "D", "C"]
    assert batch.lists == [{0: 5.0, 1: 4.0, 3: 1.0}, {2: 6.0, 0: 2.0, 3: 3.0}, {3: 1.5}]
    apart = make_batch(three, [(0, 1)], 0, draw)
    assert apart.lists == [{0: 6.0, 1: 2.0}]


def test_the_lists_are_looked_at_before_training(three):
    """The teacher's first is a positive of both; the third question has one passage."""
    lists = teacher_lists(BatchPlan(three, 3, None), Draw(0, 0, None, taught=True, candidates=4))
    assert [sorted(scores.tolist()) for scores in lists.scores] == [[1, 4, 5], [2, 3, 6]]
    assert (lists.seen, lists.first_is_positive()) == (3, 1.0)
    powers = np.exp(np.array([[5, 4, 1], [6, 3, 2]]) / 2)
    shares = powers / powers.sum(1, keepdims=True)
    bits = -(shares * np.log2(shares)).sum(1)
    found, most = lists.entropies(2.0)
    np.testing.assert_allclose(found, bits)
    np.testing.assert_allclose(most, np.log2([3, 3]))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_the_temperature_gives_the_lists_their_entropy(share, scale):
    random = np.random.default_rng(3)
    scores = [scale * random.normal(size=size) for size in (2, 5, 9, 30)]
    lists = TeacherLists(scores, [], 4)
    assert lists.share(lists.temperature_of(share)) == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [2.0, 2.0, 1.0]])
def test_an_entropy_that_no_temperature_has_is_refused(scores):
    with pytest.raises(SettingsError, match="at no temperature"):
        TeacherLists([np.array(scores)], [], 1).temperature_of(0.5)
