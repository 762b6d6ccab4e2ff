from __future__ import annotations

import numpy as np
import pytest

from dprkit.embeddings.token_pooling import pooled
from dprkit.models.token_vectors import TokenVectors

LENGTHS = (0, 1, 2, 3, 4, 5, 7, 40, 141, 350)


def passages(lengths: tuple[int, ...] = LENGTHS, dim: int = 16, spread: float = 1) -> TokenVectors:
    """Token vectors of norm 1, around some eight directions."""
    dice = np.random.default_rng(0)
    centres = dice.standard_normal((8, dim))
    texts = [
        centres[dice.integers(0, 8, n)] + spread * dice.standard_normal((n, dim)) for n in lengths
    ]
    unit = [text / np.linalg.norm(text, axis=1, keepdims=True) for text in texts]
    return TokenVectors.of([text.astype(np.float32) for text in unit], dim)


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.2, 1, 5])
def test_pooled_vectors_are_those_of_sentence_transformers(factor: int, spread: float) -> None:
    torch = pytest.importorskip("torch")
    modules = pytest.importorskip("sentence_transformers.multi_vector_encoder.modules")
    theirs = modules.HierarchicalTokenPooling(pool_factor=factor)
    tokens = passages(spread=spread)
    ours = pooled(tokens, factor)
    assert len(ours) == len(tokens)
    for text, mine in zip(tokens, ours, strict=True):
        np.testing.assert_allclose(mine, theirs.pool_one(torch.from_numpy(text)), atol=1e-6)


def test_two_pairs_worked_out_by_hand() -> None:
    """The first stays; of the others the two that are near each other become one."""
    text = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0], [0, 0, 1], [0, 0.28, 0.96]], np.float32)
    got = pooled(TokenVectors.of([text]), 2)
    assert got.counts.tolist() == [3]
    expected = [[1, 0, 0], np.array([0.6, 1.8, 0]) / np.hypot(0.6, 1.8), [0, 0.28 / 1.98, 0.99]]
    expected[2] = np.array([0, 0.28, 1.96]) / np.hypot(0.28, 1.96)
    found = got.values[np.lexsort(got.values.T[:2])[::-1]]  # clusters come in any order
    np.testing.assert_allclose(sorted(found.tolist()), sorted(map(list, expected)), atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_text_keeps_its_first_and_a_share_of_the_others(factor: int) -> None:
    tokens = passages()
    got = pooled(tokens, factor)
    assert got.counts.tolist() == [
        min(n, 1 + max(1, (n - 1) // factor)) if n > 1 else n for n in LENGTHS
    ]
    for before, after in zip(tokens, got, strict=True):
        np.testing.assert_allclose(after[:1], before[:1], atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(got.values, axis=1), 1, atol=1e-6)


def test_a_text_is_pooled_the_same_whatever_lies_beside_it() -> None:
    tokens = passages()
    together = pooled(tokens, 2)
    for alone, text in zip(tokens, together, strict=True):
        assert np.array_equal(pooled(TokenVectors.of([alone], 16), 2).values, text)


def test_a_factor_of_one_changes_nothing() -> None:
    tokens = passages()
    assert pooled(tokens, 1) is tokens


def test_equal_vectors_become_one() -> None:
    """They may leave fewer clusters than there is room for."""
    text = np.repeat(np.eye(3, dtype=np.float32), [1, 4, 4], axis=0)
    got = pooled(TokenVectors.of([text]), 2)
    np.testing.assert_allclose(sorted(got.values.tolist()), sorted(np.eye(3).tolist()), atol=1e-7)


def test_no_text_gives_none() -> None:
    assert pooled(passages(()), 2).values.shape == (0, 16)
