"""The reader: its inputs, its logits beside transformers' DPRReader, and its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DPRConfig, DPRReader, DPRReaderTokenizer

from dprkit.errors import InputError, MismatchError
from dprkit.models.from_scratch import learn_tokenizer
from dprkit.models.reader import ReaderModel
from dprkit.models.reader_config import ReaderConfig, is_reader, load_reader_config
from dprkit.models.reader_probes import reader_probe_difference, save_reader_probes
from dprkit.models.reader_tokens import ReaderTokens, token_span
from dprkit.models.reading import Reader, load_reader, save_reader
from dprkit.models.retriever import load_retriever
from dprkit.progress import Run
from dprkit.records import Passage
from dprkit.store.begin_or_resume import draft
from tests.interop.foreign import SMALL, bert, save_tokenizer, word_pieces

QUESTIONS = ["who wrote hamlet", "who wrote hamlet", "a", "is it " * 20, "Where is the Nile?"]
PASSAGES = [
    Passage("1", "a play by Shakespeare", "Hamlet"),
    Passage("2", "no title here"),
    Passage("3", "a river " * 30, "the Nile"),
    Passage("4", "a peak [SEP] of 8848 m, naïve", "Everest"),
    Passage("5", "", "nothing"),
]


def tokens_of(**config) -> ReaderTokens:
    return ReaderTokens((word_pieces(), {}), ReaderConfig(**config))


def tiny_reader(**config) -> Reader:
    """A reader with random weights, also in its heads."""
    tokens = tokens_of(**{"token_types": "segments", "passage_max_length": 100, **config})
    torch.manual_seed(5)
    return Reader(ReaderModel(bert(), tokens).eval(), tokens)


# --- inputs ---------------------------------------------------------------------------------------


def test_an_input_is_question_title_and_text_without_a_last_separator():
    (given,) = tokens_of().inputs(["a b"], [Passage("", "d e", "c")])
    words = [word_pieces().id_to_token(number) for number in given.ids]
    assert words == ["[CLS]", "a", "b", "[SEP]", "c", "[SEP]", "d", "e"]
    assert given.begin == 6
    assert given.offsets.tolist() == [[0, 1], [2, 3]]


def test_an_input_without_title_keeps_both_separators():
    (given,) = tokens_of().inputs(["a"], [Passage("", "d", "")])
    assert given.ids == [*word_pieces().encode("a").ids, 3, word_pieces().token_to_id("d")]


def test_a_separator_spelled_in_a_text_is_text():
    (given,) = tokens_of().inputs(["a [SEP] b"], [Passage("", "c [SEP] [CLS]", "[SEP]")])
    assert given.ids.count(3) == 2
    assert given.ids.count(2) == 1


def test_offsets_are_characters_of_the_text_as_it_is_given():
    text = "  Naïve ×  Ünder\tthe e\u0301a"
    (given,) = tokens_of().inputs(["q"], [Passage("", text, "t")])
    read = [text[begin:end] for begin, end in given.offsets]
    assert read == ["N", "a", "ï", "v", "e", "×", *"Ünderthe", "e", "a"]


def test_tokens_of_a_word_have_its_number():
    (given,) = tokens_of().inputs(["q"], [Passage("", "U.S. naïve ab", "t")])
    assert given.words.tolist() == [0, 1, 2, 3, 4, 4, 4, 4, 4, 5, 5]


def test_tokens_of_a_word_have_its_number_in_byte_level_pieces_too():
    tokenizer = learn_tokenizer(["low lower lowest 東京"] * 3, 262)
    tokens = ReaderTokens((tokenizer, {}), ReaderConfig(token_types="zeros"))
    text = "lower  low, 東京 lowest"
    (given,) = tokens.inputs(["low"], [Passage("", text, "low")])
    words: dict[int, list[str]] = {}
    for word, (begin, end) in zip(given.words.tolist(), given.offsets, strict=True):
        words.setdefault(word, []).append(text[begin:end])
    assert len(given.words) > len(words)  # some word has several
    ends = {word: given.offsets[given.words == word] for word in words}
    spelled = [text[span[:, 0].min() : span[:, 1].max()] for span in ends.values()]
    assert [word for word in spelled if word] == ["lower", "low", ",", "東京", "lowest"]


def test_a_long_question_leaves_room_for_the_text():
    question, title, text = "a b " * 200, "c d " * 200, "e f " * 200
    tokens = tokens_of(passage_max_length=40)
    (given,) = tokens.inputs([question], [Passage("", text, title)])
    assert len(given.ids) == 40
    assert given.begin == 20 + 10 + 3
    assert len(given.offsets) == len(given.words) == 7


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [(0, 5, (0, 4)), (3, 4, (3, 3)), (6, 8, (5, 6)), (0, 8, (0, 6)), (6, 9, None), (9, 12, None)],
)
def test_characters_are_found_among_the_tokens(begin, end, expected):
    text = Passage("", "abcde fghijk", "")
    (given,) = tokens_of(passage_max_length=16).inputs(["q" * 6], [text])
    assert len(given.offsets) == 16 - 6 - 3
    assert token_span(given.offsets, begin, end) == expected


def test_a_tokenizer_that_puts_nothing_around_texts_is_refused():
    tokenizer = word_pieces()
    tokenizer.post_processor = None
    with pytest.raises(InputError, match="0 special tokens around a text"):
        ReaderTokens((tokenizer, {}), ReaderConfig())


# --- logits ---------------------------------------------------------------------------------------


def test_logits_are_those_of_transformers_reader(tmp_path):
    torch.manual_seed(1)
    theirs = DPRReader(DPRConfig(**SMALL)).eval()
    for head in (theirs.span_predictor.qa_outputs, theirs.span_predictor.qa_classifier):
        torch.nn.init.normal_(head.bias)
    save_tokenizer(tmp_path)
    tokenizer = DPRReaderTokenizer.from_pretrained(tmp_path)
    plain = [Passage("", p.text.replace("[SEP]", ""), p.title) for p in PASSAGES]
    read = tokenizer(
        QUESTIONS,
        titles=[p.title for p in plain],
        texts=[p.text for p in plain],
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        found = theirs(**read)
    tokens = tokens_of(token_types="zeros")
    ours = ReaderModel(theirs.span_predictor.encoder.bert_model, tokens)
    ours.heads["span"].load_state_dict(theirs.span_predictor.qa_outputs.state_dict())
    ours.heads["relevance"].load_state_dict(theirs.span_predictor.qa_classifier.state_dict())
    for packed in (True, False):
        ours.packed = packed
        for i, one in enumerate(Reader(ours.eval(), tokens).logits(QUESTIONS, plain)):
            end = int(read["attention_mask"][i].sum())
            text = slice(end - len(one.start), end)
            np.testing.assert_allclose(one.start, found.start_logits[i, text], atol=1e-5)
            np.testing.assert_allclose(one.end, found.end_logits[i, text], atol=1e-5)
            assert one.relevance == pytest.approx(float(found.relevance_logits[i]), abs=1e-5)
    assert ours.rows(0, [read["input_ids"][0, :5].tolist()]).values.shape == (5, 3)


def test_segments_are_told_apart_alike_in_packs_and_in_padded_batches():
    reader = tiny_reader()
    assert reader.model.packed
    packed = reader.scores(QUESTIONS, PASSAGES)
    reader.model.packed = False
    np.testing.assert_allclose(packed, reader.scores(QUESTIONS, PASSAGES), atol=1e-5)
    assert not np.allclose(packed, tiny_reader(token_types="zeros").scores(QUESTIONS, PASSAGES))
    (given,) = reader.tokens.inputs(["a b"], [Passage("", "d", "c")])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    with torch.no_grad():
        state = reader.model.backbone(torch.tensor([given.ids]), token_type_ids=types)[0][0, 0]
        alone = float(reader.model.heads["relevance"](state))
    assert reader.scores(["a b"], [("c", "d")])[0] == pytest.approx(alone, abs=1e-5)


def test_many_pairs_get_what_each_gets_alone(monkeypatch):
    reader = tiny_reader()
    monkeypatch.setattr("dprkit.models.reading.PAIRS", 2)
    together = reader.logits(QUESTIONS, PASSAGES)
    scores = reader.scores(QUESTIONS, PASSAGES)
    for i, (question, passage) in enumerate(zip(QUESTIONS, PASSAGES, strict=True)):
        (alone,) = reader.logits([question], [passage])
        np.testing.assert_allclose(together[i].start, alone.start, atol=1e-5)
        np.testing.assert_allclose(together[i].end, alone.end, atol=1e-5)
        assert scores[i] == pytest.approx(alone.relevance, abs=1e-5)
        assert together[i].offsets.tolist() == alone.offsets.tolist()
    assert reader.scores([], []).shape == (0,)


def test_a_reader_refuses_what_makes_no_pairs():
    with pytest.raises(ValueError, match="2 questions and 1 passages"):
        tiny_reader().scores(["a", "b"], PASSAGES[:1])


# --- on disk --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tiny_reader()
    with draft(tmp_path / "reader", "reader", {}, {}, Run()) as work:
        save_reader(work, made.model, made.tokens)
        save_reader_probes(work, made.model, made.tokens)
        work.finish({})
    return tmp_path / "reader"


def test_a_saved_reader_reads_as_before(folder):
    made, read = tiny_reader(), load_reader(folder)
    assert is_reader(folder)
    assert read.model.config == made.model.config
    for one, other in zip(
        made.logits(QUESTIONS, PASSAGES), read.logits(QUESTIONS, PASSAGES), strict=True
    ):
        assert one.start.tobytes() == other.start.tobytes()
        assert one.relevance == other.relevance
    assert reader_probe_difference(folder) < 1e-6


def test_probes_tell_that_a_reader_has_changed(folder):
    from safetensors.torch import load_file, save_file

    heads = load_file(folder / "heads.safetensors")
    save_file(heads | {"relevance.bias": heads["relevance.bias"] + 1}, folder / "heads.safetensors")
    assert reader_probe_difference(folder) == pytest.approx(1, abs=1e-4)


def test_a_reader_is_no_retriever_and_a_retriever_no_reader(folder, small_retriever):
    with pytest.raises(MismatchError, match=r"is a reader.*a retriever is needed"):
        load_retriever(folder)
    with pytest.raises(MismatchError, match=r"is a retriever.*a reader is needed"):
        load_reader(small_retriever)


def test_damaged_readers_are_refused_by_name(folder):
    (folder / "reader.yaml").write_text("kind: reader\npassage_max_length: 3\n")
    with pytest.raises(InputError, match="passage_max_length: expected a number from 16 up"):
        load_reader_config(folder)
    (folder / "reader.yaml").write_text("kind: reader\n")
    (folder / "heads.safetensors").unlink()
    with pytest.raises(InputError, match=r"heads.safetensors: no such file"):
        load_reader(folder)
    (folder / "reader.yaml").unlink()
    with pytest.raises(InputError, match=r"has no reader.yaml; name a folder"):
        load_reader(folder)
