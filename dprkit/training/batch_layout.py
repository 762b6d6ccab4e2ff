"""The layout of batches: an epoch's rows in batches, none with two rows of the same key.

Two rows with the same positive would be each other's negative. How it is done: shuffle, cut, and
swap the few rows that clash with random others; where that does not succeed, since some key is
nearly everywhere, deal the rows out like cards, sorted by key.
"""

from __future__ import annotations

import numpy as np

from dprkit.data.examples import TEXT_BITS

TRIES = 100
"""Random partners that a clashing row is offered before the rows are dealt instead."""

Layout = tuple[np.ndarray, np.ndarray]
"""order (N,), bounds (B + 1,): batch b is of rows order[bounds[b] : bounds[b + 1]]."""


def batches_needed(rows: int, batch_size: int, most_frequent: int) -> int:
    """The least number of batches; a key that comes up n times needs n of them.

    A last one of one row would have no negatives; of pairs it joins the one before (see `cut`).
    """
    by_size = rows // 2 if batch_size == 2 and rows > 1 else -(-rows // batch_size)
    return max(by_size, most_frequent)


def lay_out(
    keys: np.ndarray, batch_size: int, batches: int, rng: np.random.Generator, run: int = 1
) -> Layout:
    """A random layout of rows with `keys` (N,) in `batches`, of which each key fits into all.

    With a `run` above 1, so many rows of one topic (a title) stand together, where it has them and
    none has to be swapped out. Batches have `batch_size` rows but for the last (see `cut`), or
    nearly equal sizes where there are more of them than that takes or the rows had to be dealt.
    """
    order = (
        rng.permutation(len(keys)) if run == 1 else _in_runs(keys >> np.uint64(TEXT_BITS), run, rng)
    )
    bounds = cut(len(keys), batch_size, batches)
    return (order, bounds) if _repair(order, bounds, keys, rng) else _deal(keys, batches, rng)


def _in_runs(topics: np.ndarray, run: int, rng: np.random.Generator) -> np.ndarray:
    """A random order (N,) of rows in which runs of `run` have one topic (fewer at its end)."""
    order = rng.permutation(len(topics))
    order = order[np.argsort(topics[order], kind="stable")]
    first = np.searchsorted(topics[order], topics[order])  # where a row's topic begins
    begins = (np.arange(len(order)) - first) % run == 0
    number = np.cumsum(begins) - 1
    turn = rng.permutation(number[-1] + 1)
    return np.asarray(order[np.argsort(turn[number], kind="stable")])


def cut(rows: int, batch_size: int, batches: int) -> np.ndarray:
    """Bounds (batches + 1,) of batches of `batch_size`, or of even ones where there must be more.

    The last one has the rest. A rest of one row is shared out with the batch before: 8 and 1 are
    cut as 5 and 4.
    """
    if (batches - 1) * batch_size >= rows:
        return np.arange(batches + 1) * rows // batches
    bounds = np.arange(batches + 1) * batch_size
    bounds[-1] = rows
    if batches > 1 and rows - bounds[-2] == 1:
        bounds[-2] -= (batch_size - 1) // 2
    return bounds


def _repair(
    order: np.ndarray, bounds: np.ndarray, keys: np.ndarray, rng: np.random.Generator
) -> bool:
    """Swap rows of `order` until no batch has a key twice; False: some row finds no partner."""
    batch = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))  # (N,)
    placed = keys[order]
    for clash in _clashes(placed, batch).tolist():
        mine = slice(bounds[batch[clash]], bounds[batch[clash] + 1])
        for other in rng.integers(len(order), size=TRIES).tolist():
            theirs = slice(bounds[batch[other]], bounds[batch[other] + 1])
            # Both must be new to the batch they go to. So a swap never makes a clash, and one walk
            # over the clashes is enough. A swap within a batch fails this test.
            if placed[other] not in placed[mine] and placed[clash] not in placed[theirs]:
                order[[clash, other]] = order[[other, clash]]
                placed[[clash, other]] = placed[[other, clash]]
                break
        else:
            return False
    return True


def _clashes(placed: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """The places whose key an earlier place of the same batch has."""
    by_batch = np.lexsort((placed, batch))
    key, of = placed[by_batch], batch[by_batch]
    again = (key[1:] == key[:-1]) & (of[1:] == of[:-1])
    return np.asarray(by_batch[1:][again])


def _deal(keys: np.ndarray, batches: int, rng: np.random.Generator) -> Layout:
    """Rows in a random order in which equal keys stand together, dealt out to the batches in turn.

    A key's n rows get to n different batches, as n is at most their number.
    """
    factor, shift = rng.integers(1 << 64, size=2, dtype=np.uint64)
    # An odd factor makes this one-to-one modulo 2^64, so equal keys alone stay equal.
    shuffled = keys * (factor | np.uint64(1)) + shift
    cards = np.lexsort((rng.random(len(keys)), shuffled))
    # Equal keys are neighbours, and neighbours go to different batches.
    batch = rng.permutation(batches)[np.arange(len(keys)) % batches]
    order = cards[np.argsort(batch, kind="stable")]
    return order, np.concatenate([[0], np.cumsum(np.bincount(batch, minlength=batches))])
