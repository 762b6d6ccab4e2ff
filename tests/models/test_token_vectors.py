import numpy as np
import pytest

from dprkit.models.token_vectors import TokenVectors, bounds_of, places

A = np.array([[3.0, 0.0], [0.0, 4.0]])
B = np.empty((0, 2))
C = np.array([[1.0, 2.0], [-1.0, -2.0]])
D = np.array([[0.0, -5.0]])
TEXTS = [A, B, C, D]


@pytest.fixture
def vectors() -> TokenVectors:
    return TokenVectors.of(TEXTS)


def same(vectors: TokenVectors, texts) -> None:
    assert [v.tolist() for v in vectors] == [text.tolist() for text in texts]
    assert (vectors.values.dtype, vectors.bounds.dtype) == (np.float32, np.int64)
    assert len(vectors) == len(texts)
    assert vectors.counts.tolist() == [len(text) for text in texts]


def test_texts_lie_end_to_end_and_come_back(vectors):
    same(vectors, TEXTS)
    assert vectors.bounds.tolist() == [0, 2, 2, 4, 5]
    assert vectors.dim == 2
    assert vectors[-1].tolist() == D.tolist()
    with pytest.raises(IndexError):
        vectors[4]


def test_no_text_at_all_is_allowed():
    none = TokenVectors.of([], dim=3)
    same(none, [])
    assert none.dim == 3
    assert none.means().shape == (0, 3)
    assert [array.shape for array in none.padded()] == [(0, 0, 3), (0, 0)]
    same(TokenVectors.of(TEXTS).take([]), [])


def test_texts_are_taken_in_any_order_and_several_times(vectors):
    same(vectors.take([3, 0, 0, 1]), [D, A, A, B])
    same(vectors.take(np.array([2])), [C])


def test_a_span_of_texts_shares_their_memory(vectors):
    some = vectors.span(1, 4)
    same(some, [B, C, D])
    assert np.shares_memory(some.values, vectors.values)
    same(vectors.span(2, 2), [])


def test_padding_is_zeros_and_the_mask_says_where(vectors):
    padded, mask = vectors.padded()
    assert mask.tolist() == [[True, True], [False, False], [True, True], [True, False]]
    assert padded.shape == (4, 2, 2)
    assert padded[3].tolist() == [[0, -5], [0, 0]]
    assert padded[~mask].sum() == 0
    assert padded[mask].tolist() == vectors.values.tolist()


def test_means_have_norm_1_or_are_zero(vectors):
    assert np.allclose(vectors.means(), [[0.6, 0.8], [0, 0], [0, 0], [0, -1]], atol=1e-7)
    assert vectors.means().dtype == np.float32


def test_a_mean_is_the_same_to_the_bit_beside_other_texts():
    generator = np.random.default_rng(0)
    texts = [generator.standard_normal((n, 128)) for n in (1, 350, 7, 0, 140, 33)]
    together = TokenVectors.of(texts).means()
    for text, mean in zip(texts, together, strict=True):
        assert np.array_equal(TokenVectors.of([text]).means()[0], mean)


def test_bounds_and_places_are_those_of_a_loop():
    bounds, texts = bounds_of(np.array([2, 0, 3])), np.array([2, 1, 0, 2])
    assert bounds.tolist() == [0, 2, 2, 5]
    expected = [row for t in texts for row in range(bounds[t], bounds[t + 1])]
    assert places(bounds, texts).tolist() == expected
