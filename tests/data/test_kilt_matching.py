"""KILT's answer matching, against its rule written down as KILT and SQuAD state it."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprkit.data.answer_matching import answer_flags, has_answer, has_token, unmatchable


def in_steps(text: str) -> str:
    """Lower case, then no punctuation, then no articles, then single spaces."""
    kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("The Beatles", "songs by beatles, of Liverpool", True),
        ("U.S.", "the us army", True),
        ("art", "a party", True),  # part of a word, which the other modes do not find
        ("in the dark", "in  a\n dark", True),
        ("caf\u00e9", "cafe\u0301", False),  # not decomposed
        ("blue sky", "blue and sky", False),
        ("\u2019tis", "tis", False),  # only ASCII punctuation is dropped
    ],
)
def test_an_answer_is_found_in_plain_text(answer, text, expected):
    assert has_answer([answer], text, match="kilt") is expected
    assert answer_flags([answer], [text, ""], match="kilt") == [expected, False]


texts = st.text(st.sampled_from("a an the b .,'A T x\u00e9\n"), min_size=1)


@given(texts, texts)
def test_it_is_the_rule_step_by_step_but_for_answers_without_words(answer, text):
    if not has_token(answer):
        return
    expected = bool(in_steps(answer)) and in_steps(answer) in in_steps(text)
    assert has_answer([answer], text, match="kilt") is expected


def test_answers_of_articles_alone_are_told_apart():
    """KILT finds them in every passage."""
    assert unmatchable(["The", "a.", "thee"], "kilt") == ["The", "a."]
    assert not has_answer(["The"], "the end", match="kilt")
    assert unmatchable(["The"], "string") == []
