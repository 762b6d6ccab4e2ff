"""Batches without two rows of one key, for any keys that allow it."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprkit.training import batch_layout
from dprkit.training.batch_layout import batches_needed, lay_out

KEYS = st.lists(st.integers(0, 12) | st.integers(0, 2**64 - 1), min_size=1, max_size=60)


def batches_of(keys: list[int], size: int, seed: int = 0) -> list[list[int]]:
    """The rows of each batch."""
    needed = batches_needed(len(keys), size, max(Counter(keys).values()))
    rng = np.random.default_rng(seed)
    order, bounds = lay_out(np.array(keys, np.uint64), size, needed, rng)
    assert len(bounds) == needed + 1
    return [part.tolist() for part in np.split(order, bounds[1:-1])]


@pytest.mark.parametrize("tries", [0, 1, batch_layout.TRIES])
@given(KEYS, st.integers(1, 20), st.integers(0, 3))
def test_every_row_is_in_one_batch_and_no_key_twice_in_one(
    tries: int, keys: list[int], size: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_layout, "TRIES", tries)
        batches = batches_of(keys, size, seed)
    assert sorted(chain(*batches)) == list(range(len(keys)))
    for batch in batches:
        assert 1 <= len(batch) <= (3 if size == 2 else size)
        assert len({keys[row] for row in batch}) == len(batch)


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [
        (range(10), [4, 4, 2]),
        (range(8), [4, 4]),
        (range(3), [3]),
        ([*range(18), 0, 1], [4, 4, 4, 4, 4]),  # two clashes at most, which swaps mend
    ],
)
def test_batches_are_full_but_for_the_last(keys: list[int], sizes: list[int]) -> None:
    for seed in range(20):
        assert [len(batch) for batch in batches_of(list(keys), 4, seed)] == sizes


def test_where_a_key_asks_for_more_batches_they_are_smaller_and_alike() -> None:
    sizes = sorted(len(batch) for batch in batches_of([0] * 6 + [*range(1, 12)], 8))
    assert sizes == [2, 3, 3, 3, 3, 3]


def test_three_keys_that_must_be_in_every_batch_fill_the_last_one_too() -> None:
    """Cuts of 4, 4 and 1 cannot hold them: the rows are dealt."""
    keys = [7] * 3 + [8] * 3 + [9] * 3
    for batch in batches_of(keys, 4):
        assert sorted(keys[row] for row in batch) == [7, 8, 9]


@pytest.mark.parametrize("tries", [0, batch_layout.TRIES])
def test_rows_meet_equally_often(tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 0 may meet each of the rows 2 to 7 in a batch of 4; row 1 has its key."""
    monkeypatch.setattr(batch_layout, "TRIES", tries)
    keys = [0, 0, 1, 2, 3, 4, 5, 6]
    met: Counter[int] = Counter()
    for seed in range(3000):
        met.update(next(batch for batch in batches_of(keys, 4, seed) if 0 in batch))
    assert met[1] == 0
    assert all(abs(met[row] - 1500) < 150 for row in range(2, 8))  # 5 standard deviations


def test_rows_of_one_title_stand_in_runs():
    rng = np.random.default_rng(0)
    titles = np.repeat(np.arange(5, dtype=np.uint64), 40)
    keys = titles << np.uint64(40) | np.arange(200, dtype=np.uint64)
    order, bounds = lay_out(keys, 20, 10, rng, run=10)
    assert sorted(order.tolist()) == list(range(200))
    for begin, end in pairwise(bounds):
        assert np.unique(titles[order[begin:end]]).size <= 2
    again, _ = lay_out(keys, 20, 10, np.random.default_rng(1), run=10)
    assert again.tolist() != order.tolist()


def test_runs_give_way_to_distinct_positives():
    """40 rows of one title and 8 positives: no run of 10 can be without a clash."""
    keys = np.uint64(7) << np.uint64(40) | np.repeat(np.arange(8, dtype=np.uint64), 5)
    order, bounds = lay_out(keys, 8, 5, np.random.default_rng(0), run=10)
    for begin, end in pairwise(bounds):
        assert np.unique(keys[order[begin:end]]).size == end - begin
