import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from dprkit.errors import MismatchError
from dprkit.models.config import ColbertConfig, RetrieverConfig, with_prompt
from dprkit.models.from_scratch import learn_tokenizer
from dprkit.models.late_tokens import LateTokens
from dprkit.models.tokens import Tokens
from dprkit.records import Passage

WORDS = {"[CLS]": 0, "[SEP]": 1, "a": 2, "b": 3, "c": 4, "title": 5, ".": 6}


def word_tokenizer():
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="c"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 0), ("[SEP]", 1)],
    )
    return tokenizer


def word_tokens(title_join, question, passage):
    lengths = {"question_max_length": question, "passage_max_length": passage}
    return Tokens((word_tokenizer(), {}), RetrieverConfig(title_join=title_join, **lengths))


def test_title_and_text_become_two_segments():
    tokens = word_tokens("pair", 8, 8)
    assert tokens.passages([Passage("1", "a b", "title")]) == [[0, 5, 1, 2, 3, 1]]


def test_a_separator_joins_title_and_text_into_one_segment():
    tokens = word_tokens(" . ", 8, 8)
    assert tokens.passages([Passage("1", "a b", "title")]) == [[0, 5, 6, 2, 3, 1]]


def test_title_join_none_leaves_the_title_out():
    tokens = word_tokens("none", 8, 8)
    assert tokens.passages([Passage("1", "a b", "title")]) == [[0, 2, 3, 1]]


def test_a_passage_without_title_is_one_segment():
    tokens = word_tokens("pair", 8, 8)
    assert tokens.passages([Passage("1", " a b ", " ")]) == [[0, 2, 3, 1]]


def test_white_space_at_the_ends_is_kept_where_the_retriever_says_so():
    loaded = word_tokenizer(), {}
    tidy, as_given = (
        Tokens(loaded, RetrieverConfig(title_join="; ", question_prefix="ask ", strip=strip))
        for strip in (True, False)
    )
    passage, untitled, empty = (
        Passage("1", " b ", " t "),
        Passage("2", " b ", " "),
        Passage("3", ""),
    )
    assert (tidy.question_text(" a\n"), as_given.question_text(" a\n")) == ("ask a", "ask  a\n")
    assert [tidy.passage_text(one) for one in (passage, untitled, empty)] == ["t; b", "b", ""]
    assert [as_given.passage_text(one) for one in (passage, untitled, empty)] == [
        " t ;  b ",
        " b ",
        "",
    ]


def test_the_names_of_sentence_transformers_ask_for_the_prefixes():
    config = RetrieverConfig(question_prefix="q: ", passage_prefix="p: ", prompts={"facts": "f: "})
    for name, prefix in {"query": "q: ", "document": "p: ", "facts": "f: "}.items():
        assert with_prompt(config, name, "m").question_prefix == prefix
    with pytest.raises(MismatchError, match="m: has no prompt 'fact'; it has query, document, f"):
        with_prompt(config, "fact", "m")


def test_questions_and_passages_are_cut_at_their_own_lengths():
    tokens = word_tokens("pair", 4, 6)
    assert tokens.questions(["a b c a"]) == [[0, 2, 3, 1]]
    assert tokens.passages([Passage("1", "a b c a b", "title")]) == [[0, 5, 1, 2, 3, 1]]


def test_what_is_longer_than_is_read_counts_as_cut_and_what_just_fits_does_not():
    tokens = word_tokens("pair", 4, 6)
    just, longer = Passage("1", "a b", "title"), Passage("2", "a b c", "title")
    alone, empty = Passage("3", "a b c a b", ""), Passage("4", "", "")
    ids, cut = tokens.passages_and_cuts([just, longer, alone, empty])
    assert cut == [False, True, True, False]
    assert ids == tokens.passages([just, longer, alone, empty])
    assert ids[0] == ids[1] == [0, 5, 1, 2, 3, 1]


def test_a_marker_takes_the_room_of_a_token():
    config = ColbertConfig(passage_marker="title", passage_max_length=5, expansion="none")
    tokens = LateTokens((word_tokenizer(), {}), config)
    ids, cut = tokens.passages_and_cuts([Passage("1", "a b"), Passage("2", "a b c")])
    assert ids == [[0, 5, 2, 3, 1], [0, 5, 2, 3, 1]]
    assert cut == [False, True]


def test_the_learned_tokenizer_is_the_same_each_time_and_knows_its_text():
    texts = ["Mount Kilimanjaro is a mountain", "the mountain is tall"] * 3
    first, second = (learn_tokenizer(texts, 400) for _ in range(2))
    assert first.to_str() == second.to_str()
    pair = first.encode("mountain", "tall")
    assert [first.id_to_token(i) for i in (pair.ids[0], pair.ids[-1])] == ["<s>", "</s>"]
    assert first.encode("MOUNTAIN").ids == first.encode("mountain").ids
    assert first.decode(first.encode("Ünknown 東京").ids).strip() == "ünknown 東京"
