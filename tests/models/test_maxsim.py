import threading

import numpy as np
import pytest
import torch

from dprkit.models import maxsim as module
from dprkit.models.maxsim import has_fast_int8, maxsim, maxsim_int8
from dprkit.models.token_vectors import Int8Tokens, TokenVectors, quantized


def texts(counts, dim=128, seed=0) -> TokenVectors:
    """Token vectors of norm 1 at random."""
    values = np.random.default_rng(seed).standard_normal((sum(counts), dim)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenVectors.of_counts(values, np.array(counts, np.int64))


def brute(questions: TokenVectors, passages: TokenVectors) -> np.ndarray:
    """The formula, a number at a time, in float64."""
    scores = np.zeros((len(questions), len(passages)))
    for i, question in enumerate(questions):
        for j, passage in enumerate(passages):
            for token in question.astype(np.float64):
                scores[i, j] += max(token @ other for other in passage.astype(np.float64))
    return scores


def by_int8(questions: TokenVectors, passages: Int8Tokens, threads: int = 1) -> np.ndarray:
    """The products of 8-bit numbers, also where this processor is slow at them."""
    return module._scores(questions, passages, module._Int8(), threads)


LENGTHS = [1, 350, 17, 1, 33, 96, 128, 129, 2, 64] * 3
MANY, ONE = [32, 1, 16, 5, 40] * 4, [7]


@pytest.mark.parametrize("dim", [128, 96, 17, 2])
@pytest.mark.parametrize("counts", [MANY, ONE], ids=["many questions", "one question"])
@pytest.mark.parametrize("threads", [1, 2])
def test_scores_are_those_of_the_formula(counts, dim, threads, monkeypatch):
    monkeypatch.setattr(module, "_SMALL", 0)  # so that two threads do work
    questions, passages = texts(counts, dim), texts(LENGTHS[:10], dim, seed=1)
    expected = brute(questions, passages)
    found = maxsim(questions, passages, threads)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5
    small = quantized(passages)
    # A number is off by half a step at most: 1 / 254 of its vector's largest, on both sides.
    near = by_int8(questions, small, threads)
    assert np.abs(near - expected).max() < 0.02 * np.sqrt(dim) * max(counts)
    assert np.abs(maxsim(questions, small, threads) - brute(questions, small.floats())).max() < 1e-5


def test_vectors_of_one_number_are_scored():
    questions, passages = texts(MANY, 1), quantized(texts(LENGTHS, 1, seed=1))
    assert (
        np.abs(maxsim_int8(questions, passages) - brute(questions, passages.floats())).max() < 1e-4
    )


@pytest.mark.parametrize("counts", [[1], [350], [1, 1], [31, 33], [3000], [5, 2500, 1]])
def test_passages_of_any_length_fit_into_blocks(counts):
    questions, passages = texts([3, 70, 9]), texts(counts, seed=2)
    expected = np.stack(
        [[(passage @ question.T).max(0).sum() for passage in passages] for question in questions]
    )
    for some in (questions, questions.span(0, 1)):
        assert np.abs(maxsim(some, passages) - expected[: len(some)]).max() < 1e-5
        assert np.abs(by_int8(some, quantized(passages)) - expected[: len(some)]).max() < 0.5


def test_more_questions_than_one_product_takes_are_all_scored(monkeypatch):
    questions, passages = texts([30] * 11), texts([40, 3, 200], seed=3)
    whole = maxsim(questions, passages)
    monkeypatch.setattr(module, "_ROWS", 100)
    assert np.abs(maxsim(questions, passages) - whole).max() < 1e-5
    monkeypatch.setattr(module, "_ROWS", 10)  # less than a question has
    assert np.abs(maxsim(questions, passages) - whole).max() < 1e-5


def test_no_question_or_no_passage_gives_an_empty_matrix():
    none, some = TokenVectors.of([], dim=128), texts([3, 4])
    assert maxsim(none, some).shape == (0, 2)
    assert maxsim(some, none).shape == (2, 0)
    assert by_int8(some, quantized(none)).shape == (2, 0)
    assert maxsim(none, none).shape == (0, 0)


def test_a_passage_without_a_vector_is_below_all_and_a_question_without_one_tells_nothing():
    questions, passages = texts([4, 0, 3]), texts([5, 0, 1, 0], seed=1)
    for found in (maxsim(questions, passages), by_int8(questions, quantized(passages))):
        assert (found[:, [1, 3]] == -np.inf).all()
        assert (found[1, [0, 2]] == 0).all()
        filled = brute(TokenVectors.of([questions[0], questions[2]]), texts([5, 1], seed=1))
        assert np.abs(found[np.ix_([0, 2], [0, 2])] - filled).max() < 0.1


def test_zero_vectors_score_zero():
    zeros = TokenVectors.of_counts(np.zeros((5, 128)), np.array([2, 3]))
    some = texts([3, 9])
    assert (quantized(zeros).scales == 0).all()
    for first, second in ((zeros, some), (some, zeros), (zeros, zeros)):
        assert (maxsim(first, second) == 0).all()
        assert (by_int8(first, quantized(second)) == 0).all()


def test_a_maximum_below_zero_is_not_padded_away():
    question = TokenVectors.of([np.array([[1.0, 0.0]])])
    passages = TokenVectors.of([np.array([[-1.0, 0.0]]), np.array([[-0.5, 0.0], [-0.75, 0.0]])])
    assert maxsim(question, passages).tolist() == [[-1.0, -0.5]]
    assert np.allclose(by_int8(question, quantized(passages)), [[-1.0, -0.5]], atol=1e-3)


def test_equal_passages_tie_to_the_bit():
    passages = texts([40, 7, 150], seed=4).take([0, 1, 2, 0, 2, 1, 0])
    for found in (maxsim(texts(MANY), passages), by_int8(texts(MANY), quantized(passages))):
        assert (found[:, [0, 1, 2]] == found[:, [3, 5, 4]]).all()


def test_vectors_of_any_size_stay_within_int32():
    dim = 128
    questions = TokenVectors.of([np.full((3, dim), 1e6), np.full((70, dim), -1e-6)])
    passages = TokenVectors.of([np.full((2, dim), 1e6), np.full((40, dim), -1e-9)])
    expected = brute(questions, passages)
    assert np.allclose(maxsim(questions, passages), expected, rtol=1e-5)
    found = by_int8(questions, quantized(passages))
    assert np.allclose(found[:, 0], expected[:, 0], rtol=1e-3)


def test_float16_passages_are_widened():
    questions, passages = texts(MANY), texts(LENGTHS, seed=1)
    halves = TokenVectors(passages.values.astype(np.float16), passages.bounds)
    wide = TokenVectors(halves.values.astype(np.float32), passages.bounds)
    assert (maxsim(questions, halves) == maxsim(questions, wide)).all()
    assert halves.take([2, 0]).values.dtype == np.float16
    assert np.allclose(halves.means(), passages.means(), atol=1e-3)


def test_a_mapped_file_that_may_not_be_written_is_read(tmp_path):
    passages = quantized(texts(LENGTHS, seed=1))
    np.save(tmp_path / "values.npy", passages.values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    again = Int8Tokens(mapped, passages.scales, passages.bounds)
    for score in (by_int8, maxsim, maxsim_int8):
        assert (score(texts(MANY), again) == score(texts(MANY), passages)).all()


def test_int8_comes_near_and_float32_decides():
    """What the best are is the same by both ways once a few more than enough are compared."""
    questions, passages = texts([32] * 20), texts([60] * 300, seed=5)
    exact = maxsim(questions, passages)
    near = maxsim_int8(questions, quantized(passages))
    best = np.argsort(-exact, axis=1)[:, :20]
    candidates = np.argsort(-near, axis=1)[:, :60]
    for wanted, found in zip(best, candidates, strict=True):
        assert set(wanted) <= set(found)


def test_what_a_processor_has_never_changes_what_float32_decides():
    questions, passages = texts(MANY), quantized(texts(LENGTHS, seed=1))
    if has_fast_int8():
        assert (maxsim_int8(questions, passages) == by_int8(questions, passages)).all()
    else:
        assert (maxsim_int8(questions, passages) == maxsim(questions, passages)).all()


def test_quantized_numbers_are_the_nearest_steps():
    vectors = TokenVectors.of([np.array([[127.0, -63.6, 0.4]]), np.array([[0.0, 0.0, -2.54]])])
    small = quantized(vectors)
    assert small.values.tolist() == [[127, -64, 0], [0, 0, -127]]
    assert np.allclose(small.scales, [1, 0.02])
    assert (len(small), small.dim, small.counts.tolist()) == (2, 3, [1, 1])


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="questions have 64 dimensions, passages 128"):
        maxsim(texts([2], 64), texts([2], 128))


def test_torch_has_its_threads_back_and_searches_side_by_side_agree(monkeypatch):
    monkeypatch.setattr(module, "_SMALL", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        questions, passages = texts(MANY), texts(LENGTHS, seed=1)
        expected, found = maxsim(questions, passages, 2), []
        calls = [
            threading.Thread(target=lambda: found.append(maxsim(questions, passages, 2)))
            for _ in range(4)
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
        assert torch.get_num_threads() == 2
        assert len(found) == 4
        assert all((one == expected).all() for one in found)
    finally:
        torch.set_num_threads(before)


def test_a_thread_that_begins_while_another_search_ends_has_all_of_torchs_threads(monkeypatch):
    """Its number is the one set last: it may not be asked for before that is given back."""
    given_back, set_threads = [], torch.set_num_threads

    def recorded(number):
        given_back.append((number, module._Held.lock.locked()))
        set_threads(number)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(torch, "set_num_threads", recorded)
        maxsim(texts(MANY), texts(LENGTHS, seed=1), 1)
        assert (2, True) in given_back and (2, False) not in given_back
    finally:
        set_threads(before)
