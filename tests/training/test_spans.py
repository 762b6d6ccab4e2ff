"""Where answers stand among the tokens of a reader's input."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from dprkit.models.reader_config import ReaderConfig
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.records import Passage
from dprkit.training.spans import MOST, gold_spans

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "who", "t", "x", "(1973)", "Oct", "##ober", "19"]
VOCABULARY += ["##73", "new", "york", "city", "##-born", "café", "the"]
HEAD = 4  # [CLS] who [SEP] [SEP]


def spans(text: str, *answers: str, length: int = 40) -> list[tuple[int, int]]:
    """The places, counted in the text's tokens. White space alone parts words."""
    words = {word: number for number, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokens = ReaderTokens((tokenizer, {}), ReaderConfig(passage_max_length=length))
    (given,) = tokens.inputs(["who"], [Passage("", text)])
    assert given.begin == HEAD
    return [(first - HEAD, last - HEAD) for first, last in gold_spans(given, text, answers)]


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        ("x new york x", ["New York"], [(1, 2)]),
        ("October x", ["october"], [(0, 1)]),  # of two pieces
        ("x (1973) x", ["1973"], [(1, 1)]),  # begins and ends inside of one
        ("x york-born x", ["York"], [(1, 1)]),  # of two pieces, the one that it is in
        ("x 1973", ["1973"], [(1, 2)]),  # at the end of the text
        ("new york x new york", ["new york"], [(0, 1), (3, 4)]),
        ("x new york city", ["new york", "york city"], [(1, 2), (2, 3)]),  # they overlap
        ("x October 1973", ["October 1973", "1973"], [(1, 4), (3, 4)]),  # one within the other
        ("x x x x", ["x x"], [(0, 1), (1, 2), (2, 3)]),  # with itself
        ("the cafe\u0301 x", ["CAFÉ"], [(1, 1)]),  # written in two characters
        ("x the x", ["york"], []),
        ("xx", ["x"], []),  # a part of a word is no answer
        ("", ["x"], []),
    ],
)
def test_places_are_those_worked_out_by_hand(text, answers, expected):
    assert spans(text, *answers) == expected


@pytest.mark.parametrize(("length", "expected"), [(18, [(12, 13)]), (17, [])])
def test_an_answer_at_the_windows_edge_counts_only_if_all_of_it_is_there(length, expected):
    assert spans("x " * 12 + "October x", "October", length=length) == expected


def test_no_more_places_are_learned_than_dprs_ten():
    assert spans("x " * 30, "x") == [(place, place) for place in range(MOST)]
    assert MOST == 10
