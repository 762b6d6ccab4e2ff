"""A ColBERT model: what counts as a token, what its vectors are, how it is saved and scored."""

import string

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from dprkit.errors import InputError, MismatchError
from dprkit.models.config import ColbertConfig, load_config
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens, late_tokens
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_bi_encoder, load_colbert
from dprkit.models.tokens import load_tokenizer
from dprkit.records import Passage
from tests.conftest import remade, write_colbert

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] [unused0] [unused1] berlin paris is the capital of , . ?"
LONG = "the capital of " * 60


@pytest.fixture
def bert(tmp_path):
    """A folder with a random BERT that knows a few words."""
    torch.manual_seed(1)
    words = WORDS.split()
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(words), intermediate_size=48, **shape)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    from transformers import BertTokenizer

    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    return tmp_path


def tokens_of(bert, **config):
    return LateTokens(load_tokenizer(bert), ColbertConfig(**config))


def model_of(bert, **config):
    torch.manual_seed(2)
    backbone = BertModel.from_pretrained(bert, add_pooling_layer=False)
    return Colbert(backbone, tokens_of(bert, **config)).eval()


def words_of(bert, ids):
    return AutoTokenizer.from_pretrained(bert).convert_ids_to_tokens(ids)


def test_a_question_is_filled_up_with_masks_behind_its_marker_and_words(bert):
    tokens = tokens_of(bert, question_max_length=8, question_marker="[unused0]")
    assert words_of(bert, tokens.questions(["Berlin ?"])[0]) == [
        "[CLS]", "[unused0]", "berlin", "?", "[SEP]", "[MASK]", "[MASK]", "[MASK]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "lengths"),
    [
        ({"expansion": "fixed", "question_max_length": 12}, [12, 12]),
        ({"expansion": "least", "question_max_length": 40, "expansion_length": 7}, [7, 40]),
        ({"expansion": "none", "question_max_length": 12}, [3, 12]),
    ],
)
def test_expansion_says_how_long_questions_are(bert, how, lengths):
    ids = tokens_of(bert, **how).questions(["paris", LONG])
    assert [len(text) for text in ids] == lengths
    assert words_of(bert, [ids[1][-1]]) == ["[SEP]"]


def test_a_marker_counts_among_the_tokens_that_a_passage_may_have(bert):
    tokens = tokens_of(bert, passage_max_length=20, passage_marker="[unused1]", title_join=" ")
    ids = tokens.passages([Passage("", LONG, "paris")])[0]
    assert len(ids) == 20
    assert words_of(bert, ids[:3] + ids[-1:]) == ["[CLS]", "[unused1]", "paris", "[SEP]"]


def test_punctuation_of_passages_does_not_count_and_that_of_questions_does(bert):
    tokens = tokens_of(bert)
    (ids,) = tokens.passages([Passage("", "paris , berlin .")])
    assert words_of(bert, [ids[place] for place in tokens.counted("passage", ids)]) == [
        "[CLS]", "paris", "berlin", "[SEP]",
    ]  # fmt: skip
    assert tokens.counted("question", ids) == list(range(len(ids)))
    assert set(tokens.not_skipped) == set(string.punctuation) - set(",.?")


def test_a_passage_of_skipped_tokens_alone_keeps_all_of_them(bert):
    tokens = tokens_of(bert, skip=(",", "[CLS]", "[SEP]"))
    (ids,) = tokens.passages([Passage("", ", ,")])
    assert tokens.counted("passage", ids) == [0, 1, 2, 3]


def test_a_marker_that_the_vocabulary_lacks_is_named(bert):
    with pytest.raises(InputError, match=r"passage_marker '\[D\]' is no token.*passage_prefix"):
        tokens_of(bert, passage_marker="[D]")


def test_a_vocabulary_without_a_mask_says_what_to_do(bert, tmp_path):
    import tokenizers

    words = dict(zip(WORDS.replace("[MASK]", "x").split(), range(16), strict=True))
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    with pytest.raises(InputError, match=r"^m: its tokenizer has no \[MASK\].*--expansion none"):
        late_tokens((plain, {}), ColbertConfig(), "m")
    tokens = LateTokens((plain, {}), ColbertConfig(expansion="none"))
    assert tokens.questions(["paris", ""]) == [[words["paris"]], [0]]


@pytest.mark.parametrize("attend", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_vectors_are_those_of_the_definition(bert, attend, packed):
    """ColBERT by hand: transformers' states, the projection, length 1, what counts."""
    model = model_of(bert, attend_to_expansion=attend, question_max_length=9, embedding_size=6)
    model.packed = packed
    texts = [["paris ?", "the capital of paris"], ["paris , the capital", "berlin is ."]]
    ids = (
        model.tokens.questions(texts[0]),
        model.tokens.passages([Passage("", text) for text in texts[1]]),
    )
    mask, skipped = words_of(bert, range(16)).index("[MASK]"), {13, 14, 15}
    for side in (0, 1):
        with torch.no_grad():
            rows = model.rows(side, ids[side])
        for i, text in enumerate(ids[side]):
            seen = torch.tensor([[attend or token != mask for token in text]]).long()
            with torch.no_grad():
                states = model.backbone(torch.tensor([text]), attention_mask=seen)[0][0]
            wanted = states @ model.projection.weight.T
            wanted = wanted / wanted.norm(dim=1, keepdim=True)
            kept = [n for n, token in enumerate(text) if side == 0 or token not in skipped]
            torch.testing.assert_close(rows[i : i + 1].values, wanted[kept], atol=1e-5, rtol=1e-4)


def test_the_order_of_texts_and_the_size_of_a_pass_change_nothing(bert):
    model = model_of(bert)
    passages = [Passage("", "paris is " * n) for n in (3, 30, 1, 30, 0)]
    ids = model.tokens.passages(passages)
    with torch.no_grad():
        whole, small = model.encode("passage", ids, 10_000), model.encode("passage", ids, 8)
    assert whole.counts.tolist() == [len(text) for text in ids]
    torch.testing.assert_close(whole.values, small.values, atol=1e-6, rtol=1e-5)


def test_lengths_without_room_for_special_tokens_are_refused(bert):
    with pytest.raises(
        InputError, match=r"passage_max_length 3 has no room for the 3 special tokens"
    ):
        tokens_of(bert, passage_max_length=3, passage_marker="[unused1]")
    with pytest.raises(InputError, match=r"question_max_length 2 has no room"):
        tokens_of(bert, question_max_length=2, question_marker="[unused0]")


# --- as a retriever -------------------------------------------------------------------------------


def test_a_saved_model_is_the_same_model(tmp_path, tiny_examples):
    folder = write_colbert(tmp_path / "m", tiny_examples, expansion="least", skip=("!",))
    config = load_config(folder)
    assert (config.expansion, config.skip, config.embedding_size) == ("least", ("!",), 8)
    model, tokens = load_colbert(folder)
    assert tokens.config == model.config == config


def test_encode_gives_padded_vectors_and_the_mask_of_those_that_count(small_colbert):
    late = load_retriever(small_colbert)
    questions, mask = late.encode(["Berlin", "Paris", "London"], question=True)
    assert questions.shape == (3, 12, 8) and mask.all()
    passages, mask = late.encode(["a b c", ("A title", "and a text. " * 30)], question=False)
    assert passages.shape[1] <= 40 and passages.shape[2] == 8
    assert mask[1].sum() > mask[0].sum()
    lengths = np.linalg.norm(passages, axis=2)
    assert np.allclose(lengths[mask], 1, atol=1e-5) and not lengths[~mask].any()


def test_scores_are_the_sum_of_the_largest_products(small_colbert):
    late = load_retriever(small_colbert)
    questions = ["who wrote it", "where?"]
    passages = ["He wrote it there.", ("Title", "Somewhere, in a town.")]
    asked, _ = late.encode(questions, question=True)
    read, mask = late.encode(passages, question=False)
    wanted = np.zeros((2, 2))
    for q in range(2):
        for p in range(2):
            wanted[q, p] = sum(max(row @ col for col in read[p][mask[p]]) for row in asked[q])
    np.testing.assert_allclose(late.score_matrix(questions, passages), wanted, atol=1e-5)
    np.testing.assert_allclose(late.scores(questions, passages), wanted.diagonal(), atol=1e-5)


def test_one_text_is_not_a_list_of_texts(small_colbert):
    late = load_retriever(small_colbert)
    for call in (
        lambda: late.encode("Berlin", question=True),
        lambda: late.encode("Berlin", question=False),
        lambda: late.scores(["Berlin"], "A city."),
        lambda: late.score_matrix("Berlin", ["A city."]),
        lambda: late.question_vectors("Berlin"),
    ):
        with pytest.raises(TypeError, match="not one string"):
            call()


def test_padding_never_scores(small_colbert):
    """A passage scores the same alone and beside one that is much longer."""
    late = load_retriever(small_colbert)
    alone = late.score_matrix(["what"], ["short"])
    beside = late.score_matrix(["what"], ["short", "a far longer passage " * 20])
    np.testing.assert_allclose(alone[0, 0], beside[0, 0], atol=1e-5)


def test_an_explanation_adds_up_to_the_score(small_colbert):
    late = load_retriever(small_colbert)
    question, passage = "who wrote Hamlet?", ("Hamlet", "A play by Shakespeare, of 1600.")
    matches = late.explain(question, passage)
    assert len(matches) == 12 and matches[0].question_token == "<s>"
    assert not {match.passage_token for match in matches} & set(",.")
    total = sum(match.similarity for match in matches)
    assert total == pytest.approx(float(late.scores([question], [passage])[0]), abs=1e-5)


def test_a_colbert_model_has_no_single_vector_and_says_so(small_colbert):
    late = load_retriever(small_colbert)
    with pytest.raises(MismatchError, match=r"vector for each token.*question=True"):
        late.encode_questions(["who"])
    with pytest.raises(MismatchError, match=r"vector for each token.*question=False"):
        late.encode_passages(["text"])
    with pytest.raises(MismatchError, match="is a ColBERT model"):
        load_bi_encoder(small_colbert)
    with pytest.raises(MismatchError, match=r"is a ColBERT model.*--backend onnx"):
        load_retriever(small_colbert, "onnx").encode_questions(["who"])


def test_a_bi_encoder_is_no_colbert_model(small_retriever):
    with pytest.raises(MismatchError, match="is a bi-encoder"):
        load_colbert(small_retriever)


def test_a_projection_that_does_not_fit_is_named(tmp_path, tiny_examples):
    folder = write_colbert(tmp_path / "m", tiny_examples)
    settings = (folder / "retriever.yaml").read_text()
    (folder / "retriever.yaml").write_text(settings.replace("_size: 8", "_size: 9"))
    with pytest.raises(InputError, match=r"projection\.safetensors.*no projection"):
        load_colbert(remade(folder))


def test_retriever_yaml_of_a_bi_encoder_keeps_its_order(small_retriever):
    lines = (small_retriever / "retriever.yaml").read_text().splitlines()
    assert [line.split(":")[0] for line in lines if line[0] not in " -"] == [
        "kind", "shared", "separate_heads", "pooling", "projection", "heads", "similarity",
        "truncate_dim", "matryoshka", "end_token", "temperature", "title_join",
        "question_max_length", "passage_max_length", "question_prefix", "passage_prefix", "prompts",
        "straight_apostrophe", "strip", "positions",
    ]  # fmt: skip
