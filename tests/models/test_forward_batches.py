from dprkit.models.forward_batches import chunks


def test_chunks_go_from_long_to_short_within_the_budget():
    assert chunks([3, 9, 3, 5, 1], 10) == [[1], [3, 0], [2, 4]]
    assert chunks([3, 9, 3, 5, 1], 10, texts=1) == [[1], [3], [0], [2], [4]]
    assert chunks([3, 9, 3, 5, 1], 10, padded=True) == [[1], [3, 0], [2, 4]]
    assert chunks([6, 2, 2, 2], 12) == [[0, 1, 2, 3]]
    assert chunks([6, 2, 2, 2], 12, padded=True) == [[0, 1], [2, 3]]


def test_a_text_longer_than_the_budget_has_a_pass_of_its_own():
    assert chunks([4, 30, 2, 20], 8) == [[1], [3], [0, 2]]


def test_equal_lengths_keep_their_order_and_nothing_makes_no_chunks():
    assert chunks([4] * 5, 8) == [[0, 1], [2, 3], [4]]
    assert chunks([], 8) == []
