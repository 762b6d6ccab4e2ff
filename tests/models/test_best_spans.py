"""The best spans of a passage, against the rule written out slowly, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from dprkit.models.best_spans import Span, best_spans, whole_words

PIECES = ["[UNK]", *"abcdeé0.,-'°東京", *(f"##{letter}" for letter in "abcdeé0°")]


def word_pieces() -> Tokenizer:
    """BERT's tokenizer with pieces of one character and some of two."""
    pieces = [*PIECES, "ab", "##cd", "de", "##ab"]
    tokenizer = Tokenizer(
        models.WordPiece({piece: id_ for id_, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def slow_spans(start, end, pieces, max_tokens, count):
    """DPR's get_best_spans, with token indices: (first, last, score) of each span."""
    scored = [
        ((first, first + more), one + other)
        for first, one in enumerate(start)
        for more, other in enumerate(end[first : first + max_tokens])
    ]
    chosen = []
    for (first, last), score in sorted(scored, key=lambda one: one[1], reverse=True):
        if any(a <= first <= last <= b or first <= a <= b <= last for a, b, _ in chosen):
            continue
        while first > 0 and pieces[first].startswith("##"):
            first -= 1
        while last < len(pieces) - 1 and pieces[last + 1].startswith("##"):
            last += 1
        chosen.append((first, last, score))
        if len(chosen) == count:
            break
    return chosen


@pytest.mark.parametrize("seed", range(60))
def test_the_best_spans_are_those_of_the_slow_rule(seed):
    draw = np.random.default_rng(seed)
    text = "".join(draw.choice(list("abcdeé0.,-'°東京   "), draw.integers(0, 60)))
    read = word_pieces().encode(text)
    length, most = len(read.ids), int(draw.integers(1, 12))
    # Few different logits, so that many spans are equal:
    logits = draw.integers(-2, 3, (2, length)).astype(np.float32)
    offsets = np.array(read.offsets).reshape(-1, 2)
    found = best_spans((logits[0], logits[1]), offsets, text, most, count=5)
    slow = slow_spans(*logits.tolist(), read.tokens, most, 5)
    assert found == [Span(offsets[a, 0], offsets[b, 1], score) for a, b, score in slow]


def spans_of(text, start, end, max_tokens=10, count=9):
    """The texts of the best spans, where words are tokens and other logits are -9."""
    offsets = pre_tokenizers.WhitespaceSplit().pre_tokenize_str(text)
    sides = [np.full(len(offsets), -9.0) for _ in (start, end)]
    for side, given in zip(sides, (start, end), strict=True):
        side[list(given)] = list(given.values())
    places = np.array([place for _, place in offsets]).reshape(-1, 2)
    found = best_spans((sides[0], sides[1]), places, text, max_tokens, count)
    return [(text[span.start : span.end], span.score) for span in found]


def test_spans_within_a_better_one_and_around_it_are_left_out():
    found = spans_of("one two three four", {0: 1, 1: 5}, {2: 5, 1: 4, 3: 3}, count=3)
    # "two" (9), "one two three" (6) and "two three four" (8) lie in "two three" (10) or around it
    assert found == [("two three", 10), ("one two", 5), ("three four", -6)]


def test_a_span_has_no_more_tokens_than_it_may():
    assert spans_of("one two three", {0: 5}, {2: 5}, max_tokens=2, count=1) == [("one", -4)]
    assert spans_of("one two three", {0: 5}, {2: 5}, max_tokens=3, count=1)[0] == (
        "one two three",
        10,
    )


def test_the_first_and_the_last_token_of_the_window_are_spans_too():
    assert spans_of("one two three", {2: 5}, {2: 5}, count=1) == [("three", 10)]
    assert spans_of("one two three", {0: 5}, {0: 5}, count=1) == [("one", 10)]


def test_a_passage_without_a_token_has_no_span():
    assert spans_of("", {}, {}) == []
    empty = np.array([[0, 0], [3, 3]])  # what a tokenizer has added
    assert best_spans((np.zeros(2), np.zeros(2)), empty, "abcd", 10) == []


def test_a_word_that_the_window_cuts_is_whole():
    text = "by abcdcd end"
    cut = np.array([[0, 2], [3, 5], [5, 7]])  # the tokens behind "abcd" were cut off
    logits = np.array([0.0, 0, 3])
    first, *others = best_spans((logits, logits), cut, text, 10, count=5)
    assert text[first.start : first.end] == "abcdcd"
    assert [text[span.start : span.end] for span in others] == ["by"]  # around it: "by abcdcd"


def test_pieces_of_a_byte_level_tokenizer_grow_to_words_but_not_over_punctuation():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False)
    )
    text = "In “Köln”, 1880: naïve."
    read = tokenizer.encode(text)  # a token for each byte, with the blank before a word
    at = read.tokens.index("l")
    logits = np.zeros(len(read.ids))
    logits[at] = 1
    (span,) = best_spans((logits, logits), np.array(read.offsets), text, 10)
    assert text[span.start : span.end] == "Köln"
    half = next(i for i, (start, _) in enumerate(read.offsets) if text[start] == "ï")
    logits[at], logits[half] = 0, 1  # one of the two bytes of a letter
    (span,) = best_spans((logits, logits), np.array(read.offsets), text, 10)
    assert text[span.start : span.end] == "naïve"


@pytest.mark.parametrize(
    ("text", "piece", "word"),
    [
        ("it is 30°C.", "0", "30°C"),  # BERT has 30, ##°, ##c
        ("a café\u0301 there", "caf", "café\u0301"),  # marks belong to their letters
        ("well-known", "know", "known"),
        ("x_y", "y", "y"),
        ("東京", "京", "京"),
        (" word ", " word ", "word"),  # tokenizers that count the blank before a word
    ],
)
def test_words_end_where_berts_tokenizer_ends_them(text, piece, word):
    at = text.index(piece)
    start, end = whole_words(text, at, at + len(piece))
    assert text[start:end] == word
