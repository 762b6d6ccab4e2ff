"""Texts cut into passages by words, sentences and tokens."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dprkit.errors import SettingsError
from dprkit.imports.splitting import cut_by, sentences

TEXT = " ".join(f"w{number}" for number in range(250))


@pytest.mark.parametrize(("size", "overlap"), [(100, 0), (100, 20), (7, 6), (250, 3), (1, 0)])
def test_words_are_cut_into_windows(size, overlap):
    """As the list of words sliced by steps, the last window being the one that reaches the end."""
    words, step = TEXT.split(), size - overlap
    starts = [s for s in range(0, len(words), step) if s == 0 or s + overlap < len(words)]
    expected = [" ".join(words[start : start + size]) for start in starts]
    paragraphs = [" \n".join(words[:60]), "", " ".join(words[60:])]
    assert list(cut_by(f"words={size}", overlap, None)("", paragraphs)) == expected


def test_where_a_script_has_no_spaces_its_characters_count():
    text = "東京は日本の首都です。 It is big"
    found = list(cut_by("words=5", 0, None)("", [text]))
    assert found == ["東京は日本", "の首都です", "。 It is big"]
    assert "".join(found).replace(" ", "") == text.replace(" ", "")


def test_sentences_end_where_a_reader_would_end_them():
    text = (
        'Dr. Smith (b. 1950) met J. R. Tolkien in Fig. 3. "Was it 3.5 km?" Yes! It was e.g. St. '
        "Paul's.  He left... and came back. 東京です。日本です。 See no. 5 and p. 7. No. "
        "He said no. The end"
    )
    assert list(sentences(text)) == [
        "Dr. Smith (b. 1950) met J. R. Tolkien in Fig. 3.",
        '"Was it 3.5 km?"',
        "Yes!",
        "It was e.g. St. Paul's.",
        "He left... and came back.",
        "東京です。",
        "日本です。",
        "See no. 5 and p. 7.",
        "No.",
        "He said no.",
        "The end",
    ]
    assert list(cut_by("sentences=2", 1, None)("", ["One. Two.", "Three."])) == [
        "One. Two.",
        "Two. Three.",
    ]
    assert list(cut_by("sentences", 0, None)("", ["A 1. B 2. C 3. D 4. E 5. F 6."])) == [
        "A 1. B 2. C 3. D 4. E 5.",
        "F 6.",
    ]


@pytest.mark.parametrize("kind", ["words of BERT", "bytes of GPT", "pieces of a decoder"])
def test_a_passage_has_as_many_tokens_as_fit_with_its_title(kind, tmp_path):
    """By the model's own tokenizer: with one word more it would have too many."""
    tokenizer = write_tokenizer(kind, tmp_path)
    words = ["the", "un", "unthe", "them", "he", "naïve"] * 30 + ["m" * 90, "them"]
    found = list(cut_by("tokens=24", 5, str(tmp_path))("the them", [" ".join(words)]))
    counts = [len(tokenizer.encode("the them", text).ids) for text in found]
    assert 22 <= max(counts) <= 24
    assert found[0] == " ".join(words[: len(found[0].split())])
    longer = " ".join(words[: len(found[0].split()) + 1])
    assert len(tokenizer.encode("the them", longer).ids) > 24
    assert "".join(found).count("m" * 3) > 1  # the word that is longer than a passage comes apart
    for before, after in pairwise(found[:9]):
        shared = next(n for n in range(9, -1, -1) if before.endswith(" ".join(after.split()[:n])))
        assert shared >= 1


def write_tokenizer(kind, folder):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers.pre_tokenizers import ByteLevel

    if kind == "words of BERT":
        pieces = ["[UNK]", "[CLS]", "[SEP]", "the", "un", "##the", "##m", "m", "he", "##e", "n"]
        vocab = {piece: number for number, piece in enumerate(pieces)}
        tokenizer = Tokenizer(
            models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=99)
        )
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        alphabet = sorted({*ByteLevel.alphabet(), "▁", *"theumnaïv"})
        vocab = {piece: number for number, piece in enumerate(["[CLS]", "[SEP]", *alphabet])}
        merges = [("h", "e"), ("t", "he"), ("Ġ", "the"), ("▁", "the"), ("u", "n")]
        vocab |= {"".join(pair): len(vocab) + n for n, pair in enumerate(merges)}
        tokenizer = Tokenizer(models.BPE(vocab, merges))
        if kind == "bytes of GPT":
            tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
        else:  # as Llama's: a sign for each space, and one before the text
            tokenizer.normalizer = normalizers.Sequence(
                [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
            )
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


@pytest.mark.parametrize(
    ("how", "overlap", "tokenizer", "problem"),
    [
        ("words", 0, None, "expected words=100, sentences"),
        ("words=0", 0, None, "expected words=100"),
        ("words=10", 10, None, "must be below the 10 words"),
        ("sentences", 5, None, "must be below the 5 sentences"),
        ("tokens=10", 0, None, "give --tokenizer FOLDER"),
        ("words=10", 0, "m", "counts for --split-passages tokens=N alone"),
    ],
)
def test_ways_that_are_none_are_refused(how, overlap, tokenizer, problem):
    with pytest.raises(SettingsError, match=problem):
        cut_by(how, overlap, tokenizer)
