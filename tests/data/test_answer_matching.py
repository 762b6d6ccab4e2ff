"""The matcher against values worked by hand, a slow reference, and flags set by DPR itself."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from dprkit.data import answer_matching as module
from dprkit.data.answer_matching import answer_flags, answer_spans, has_answer, unmatchable
from dprkit.errors import EmptyAnswer, SettingsError

FIXTURES = Path(__file__).parents[3] / "shared/data/eval_fixtures/dpr"


# The reference: the definition, read aloud

FLAGS = regex.IGNORECASE | regex.UNICODE | regex.MULTILINE


def tokens(text: str) -> list[str]:
    text = unicodedata.normalize("NFD", text)
    return [t.lower() for t in regex.findall(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]", text, FLAGS)]


def slow_has_answer(answers: Sequence[str], text: str) -> bool:
    words = tokens(text)
    return any(
        words[i : i + len(answer)] == answer
        for answer in map(tokens, answers)
        for i in range(len(words))
    )


# Worked by hand


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("10", "It was 10 then.", True),
        ("10", "It was 2010 then.", False),
        ("10", "10", True),
        ("10", "10th", False),
        ("10", "A10 or 10", True),
        ("1", "1912, 2011, 31; then 1", True),
        ("Denver Broncos", "the DENVER\n\t broncos won", True),
        ("Denver Broncos", "Denver beat the Broncos", False),
        ("Denver Broncos", "Broncos Denver", False),
        ("Denver Broncos", "Denver Denver Broncos", True),
        ("the end of the", "the end of the line", True),
        ("the end of the", "the end of a line", False),
        ("u.s.", "the U. S. Army", True),
        ("U.S.", "the US Army", False),
        ("don't", "Don 't stop", True),
        ("dont", "don't", False),
        ("$1,000", "paid $ 1 , 000 for it", True),
        ("a_b", "a _ b", True),
        ("a", "a_b", True),
        ("snake_case", "snakecase", False),
        ("%", "50% off", True),
        ("=", "1 \u2260 2", True),  # decomposes into "=" and a stroke, which is a token
        ("!", "", False),
        ("x", " \n", False),
    ],
)
def test_an_answer_is_found_as_whole_tokens_in_a_row(
    answer: str, text: str, expected: bool
) -> None:
    assert has_answer([answer], text) is expected
    assert slow_has_answer([answer], text) is expected


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("cafe", "a café", False),
        ("café", "a cafe", False),
        ("caf\u00e9", "a CAFE\u0301", True),
        ("cafe\u0301", "a caf\u00e9", True),
        ("Beyoncé Knowles", "BEYONCE\u0301 KNOWLES-Carter", True),
        ("Kelvin", "200 \u212aelvin", True),  # the Kelvin sign decomposes into K
        ("200 \u212a", "at 200 K", True),
        ("i\u0307stanbul", "İstanbul", True),
        ("istanbul", "İstanbul", False),
        ("fish", "ﬁsh", False),  # a ligature is compatible with "fi", not equivalent
        ("STRASSE", "Straße", False),
        ("ΟΔΟΣ", "η οδο\u03c2", True),  # a token's last Σ becomes the final sigma ς
        ("ΟΔΟΣ", "η οδο\u03c3", False),
        ("οδο\u03c2", "Η ΟΔΟΣ.Α", True),  # lower-cased as one string it would become σ
        ("東京", "東京 都", True),
        ("東京", "東京都", False),
        ("한", "\u1112\u1161\u11ab", True),
        ("👩", "👩\u200d🚀", True),  # the joiner is a control character
        ("👩🚀", "👩\u200d🚀", True),
        ("soft", "soft\u00adware", True),  # and so is a soft hyphen
        ("a b", "a\u00a0\u2028\x00b", True),
    ],
)
def test_unicode_is_decomposed_and_lower_cased_but_no_more(
    answer: str, text: str, expected: bool
) -> None:
    assert has_answer([answer], text) is expected
    assert slow_has_answer([answer], text) is expected


def test_any_of_the_answers_will_do_and_none_matches_nothing() -> None:
    assert has_answer(["red", "blue"], "a blue one")
    assert not has_answer([], "a blue one")
    assert not has_answer([], "a blue one", match="regex")
    assert answer_flags([], ["a", ""]) == [False, False]
    assert answer_flags(["a"], []) == []


def test_flags_come_in_the_order_of_the_texts() -> None:
    texts = ["one", "Two", "three two", "twofold", "", "two"]
    assert answer_flags(["two"], texts) == [False, True, True, False, False, True]


# Against the reference, on hostile text

HOSTILE = (
    *("Σ", "ς", "σ", "ΟΔΟΣ", "ΑΣ'Α", "İ", "ı", "I", "i\u0307", "ﬁ", "\u212a", "k", "K", "\u212b"),
    *("å", "ſ", "s", "ß", "ẞ", "ǅ", "ǆ", "é", "e\u0301", "e", "\u0301", "\u0323", "\u0345", "½"),
    *("²", "٣", "10", "2010", "1", "가", "\u1100\u1161", "\u11a8", "日本", "東", "e\u0327\u0301"),
    *(
        "👩\u200d🚀",
        "👩",
        "❤\ufe0f",
        "\u200d",
        "\u00ad",
        "\u200b",
        "\x00",
        "\x1f",
        "\x85",
        "\ue000",
    ),
    *(
        " ",
        " ",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\u2028",
        "\u00a0",
        "\u3000",
        "_",
        "-",
        "'",
        "’",
        ".",
        "?",
    ),
    *('"', "(", ";", "\u037e", "`", "\u1fef", "≠", "=", "<", "%", "a", "b", "the", "The", "THE"),
)
CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.lists(st.sampled_from(HOSTILE) | CHARACTERS, max_size=24).map("".join)
CHANGES: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.lower,
    str.swapcase,
    str.title,
    lambda text: unicodedata.normalize("NFC", text),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: "\n".join(text.split()),
    lambda text: " ".join(tokens(text)),
]


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Texts, and answers that are mostly pieces of them in another guise."""
    texts = draw(st.lists(TEXTS, min_size=1, max_size=4))
    answers = []
    for _ in range(draw(st.integers(0, 4))):
        text = draw(st.sampled_from(texts) | TEXTS)
        start = draw(st.integers(0, len(text)))
        piece = text[start : start + draw(st.integers(1, 8))]
        answers.append(draw(st.sampled_from(CHANGES))(piece))
    return [answer for answer in answers if tokens(answer)], texts


@settings(max_examples=1500, deadline=None)
@given(questions())
def test_flags_are_those_of_the_slow_reference(question: tuple[list[str], list[str]]) -> None:
    answers, texts = question
    expected = [slow_has_answer(answers, text) for text in texts]
    assert answer_flags(answers, texts) == expected
    assert [has_answer(answers, text) for text in texts] == expected


def guises(character: str) -> set[str]:
    """Other spellings of a character that a matcher may take it for."""
    whole = unicodedata.normalize("NFD", character)
    cases = {character.lower(), character.upper(), character.casefold()}
    return {whole, whole[0], *cases} - {character}


def test_each_character_that_decomposes_or_has_case_matches_as_in_the_reference() -> None:
    hangul = set(map(chr, range(0xAC01, 0xD7A4)))  # the first syllable speaks for the rest
    for character in set(map(chr, range(0x110000))) - hangul:
        text = f"an {character}, {character}s"
        for guise in filter(tokens, guises(character)):
            assert has_answer([guise], text) == slow_has_answer([guise], text), (guise, text)


@pytest.mark.slow
def test_each_character_parts_or_joins_tokens_as_in_the_reference() -> None:
    texts = [f"b{chr(code)}a" for code in range(0x110000)]
    assert answer_flags(["a"], texts) == [slow_has_answer(["a"], text) for text in texts]


def test_a_lone_surrogate_from_a_json_escape_separates_like_any_control_character() -> None:
    assert has_answer(["a b"], "a\ud800b")
    assert not has_answer(["ab"], "a\ud800b")


def test_the_same_texts_answer_for_many_questions() -> None:
    texts = ["In Kelvin: 3 K", "die Stra\u00dfe", "cafe\u0301, or tea", "C:\x10", "a\x1110", ""]
    together = module.Texts(texts)
    for answers in (["k"], ["tea", "straße"], ["café"], ["10"], ["c"], ["a"], ["10", "\u212a"], []):
        expected = [slow_has_answer(answers, text) for text in texts]
        assert together.flags(answers) == expected, answers
        assert answer_flags(answers, texts) == expected


# Regular expressions


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"19\d\d", "born in 1912.", True),
        (r"19\d\d$", "born in 1912.", False),
        (r"^second", "first\nSecond", True),  # ^ and $ stand at lines
        ("denver|boston", "BOSTON", True),
        ("ten", "often", True),  # no tokens: any part of the text
        ("caf\u00e9", "cafe\u0301", True),
        ("cafe\u0301", "caf\u00e9", True),
        (r"\p{Lu}\.", "etc.", True),  # the regex module's classes, without regard to case
        (r"(", "(", False),
    ],
)
def test_a_pattern_is_searched_in_the_decomposed_text(
    pattern: str, text: str, expected: bool
) -> None:
    assert has_answer([pattern], text, match="regex") is expected
    assert answer_flags([pattern], [text, ""], match="regex") == [expected, False]


def test_an_invalid_pattern_matches_nothing_and_is_reported() -> None:
    deep = "(" * 5000 + ")" * 5000
    answers = ["(", "a|b", "[z", r"\p{Nothing}", deep]
    assert unmatchable(answers, "regex") == ["(", "[z", r"\p{Nothing}", deep]
    assert has_answer(answers, "a", match="regex")
    assert not has_answer(answers, "([z", match="regex")
    assert unmatchable([], "regex") == []


# Refusals


@pytest.mark.parametrize("match", ["string", "regex"])
@pytest.mark.parametrize("answer", ["", " ", "\n\t", "\u200b", "\x00"])
def test_an_empty_answer_is_refused_even_when_another_matches(answer: str, match: str) -> None:
    with pytest.raises(EmptyAnswer):
        has_answer(["a", answer], "a", match)
    with pytest.raises(EmptyAnswer):
        answer_flags(["a", answer], [], match)


def test_an_unknown_way_to_match_is_refused() -> None:
    with pytest.raises(SettingsError, match="'fuzzy' is not known; choose string, regex or kilt"):
        has_answer(["a"], "a", match="fuzzy")


def test_one_string_is_not_taken_for_a_list_of_letters() -> None:
    with pytest.raises(TypeError, match="not the string 'cat'"):
        has_answer("cat", "a c")
    with pytest.raises(TypeError, match="not the string 'cat'"):
        answer_flags("cat", ["a c"])


# Flags that DPR's own matcher set


def load(name: str) -> Any:
    with gzip.open(FIXTURES / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="needs ../shared/data/eval_fixtures/dpr")
@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("bm25_squad_dev300", "string"),
        ("bm25_trivia_string150", "string"),
        ("bm25_curatedtrec_regex100", "regex"),
    ],
)
def test_flags_and_accuracies_are_those_of_dpr(name: str, match: str) -> None:
    expected = json.loads((FIXTURES / f"{name}.expected.json").read_text(encoding="utf-8"))
    top_k_hits = [0] * expected["k"]
    results = load(name)
    for result in results:
        passages = result["ctxs"]
        texts = [passage["text"] for passage in passages]
        flags = answer_flags(result["answers"], texts, match)
        assert flags == [passage["has_answer"] for passage in passages], result["question"]
        for k in range(expected["k"]):
            top_k_hits[k] += any(flags[: k + 1])
    assert len(results) == expected["questions"]
    assert top_k_hits == expected["top_k_hits"]
    for name_at_k, share in expected["recall"].items():
        k = int(name_at_k.removeprefix("R@"))
        assert top_k_hits[k - 1] / len(results) == pytest.approx(share)


# Places


def lit(answers: Sequence[str], text: str, match: str = "string") -> str:
    """`text` with brackets round what matched."""
    for start, end in reversed(answer_spans(answers, text, match)):
        text = f"{text[:start]}[{text[start:end]}]{text[end:]}"
    return text


@pytest.mark.parametrize(
    ("answers", "text", "expected"),
    [
        (["10"], "It was 10, in 2010, 10.", "It was [10], in 2010, [10]."),
        (["Denver Broncos"], "the DENVER\n broncos won", "the [DENVER\n broncos] won"),
        (["u.s."], "The U. S. Army", "The [U. S.] Army"),
        (["caf\u00e9"], "un cafe\u0301, un cafe", "un [cafe\u0301], un cafe"),
        (["cafe\u0301"], "\u00e9\u00e9 caf\u00e9 \u00e9", "\u00e9\u00e9 [caf\u00e9] \u00e9"),
        (["b"], "\U0001f600 \ud55c\uad6d b", "\U0001f600 \ud55c\uad6d [b]"),
        (["\ud55c\uad6d"], "a \ud55c\uad6d b", "a [\ud55c\uad6d] b"),
        (["\u00a8"], "x \u1fc1 y", "x [\u1fc1] y"),  # half of what the character decomposes into
        (["\u0399\u03a3"], "\u03b9\u03c2 \u0399\u03a3", "[\u03b9\u03c2] [\u0399\u03a3]"),
        (["new york", "york city"], "New York City", "[New York City]"),  # they overlap
        (["new york", "york"], "in New York", "in [New York]"),
        (["a", "b"], "a b", "[a] [b]"),
        (["x"], "none", "none"),
        ([], "none", "none"),
    ],
)
def test_places_of_answers_worked_by_hand(answers, text, expected):
    assert lit(answers, text) == expected


def test_places_of_patterns():
    assert lit(["^caf\u00e9s?$", r"\d+"], "CAF\u00c9\n12 x1", "regex") == "[CAF\u00c9]\n[12] x[1]"
    assert answer_spans([r"z*"], "aa", "regex") == []  # it matches, and no character


@pytest.mark.parametrize(
    ("answers", "text", "expected"),
    [
        (["art"], "The party, an A.R.T. show", "The [party,] an [A.R.T.] show"),
        (["The end of a line"], "this end, of the line.", "this [end, of the line.]"),
        (["the"], "the end", "the end"),  # nothing is left of it to compare
        (["s b"], "as - b!", "[as - b!]"),
    ],
)
def test_places_as_kilt_compares_are_whole_words(answers, text, expected):
    assert lit(answers, text, "kilt") == expected
    assert has_answer(answers, text, "kilt") == ("[" in expected)


LETTERS = st.text(
    st.sampled_from("ab .-\u00e9\u0301\u0323\u1fc1\ud55c\U0001f600\u03a3\u0130"), max_size=12
)


@given(st.lists(LETTERS, max_size=3), LETTERS)
def test_what_is_lit_holds_an_answer_and_nothing_is_lit_elsewhere(answers, text):
    answers = [answer for answer in answers if tokens(answer)]
    spans = answer_spans(answers, text)
    assert bool(spans) == slow_has_answer(answers, text)
    assert all(slow_has_answer(answers, text[start:end]) for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
