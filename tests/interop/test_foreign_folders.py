"""Folders of others that are not what they seem: refused by name, or read as their library does."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from dprkit.errors import DprkitError, InputError, SettingsError
from dprkit.models.config import CONFIG, load_config
from dprkit.models.retriever import load_retriever
from dprkit.models.retriever_folder import load_bi_encoder
from tests.conftest import call
from tests.interop.foreign import (
    QUESTIONS,
    SMALL,
    WORDS,
    bert,
    convert,
    save_bert,
    save_sentence_transformer,
    save_tokenizer,
    write_json,
)

MEAN = ("Pooling", {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True})
NORM = ("Normalize", {})
TANH = "torch.nn.modules.activation.Tanh"
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture
def plain(tmp_path):
    save_bert(tmp_path / "in")
    return tmp_path / "in"


@pytest.fixture
def sentence(tmp_path):
    save_sentence_transformer(tmp_path / "st", modules=[MEAN, NORM])
    return tmp_path / "st"


def edit(path, **values):
    known = json.loads(path.read_text()) if path.is_file() else {}
    write_json(path, known | values)


def reweigh(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", {"format": "pt"})


def refused(source, message, tmp_path):
    with pytest.raises(DprkitError, match=message) as error:
        convert(source=source, output_dir=tmp_path / "out")
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 1
    assert not (tmp_path / "out").exists()


# --- config.json ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantized"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"position_embedding_type": "alibi"}, "position_embedding_type 'alibi'"),
        ({"hidden_act": "nope"}, "'nope' is unknown"),
        ({"vocab_size": 10**9}, r"do not fit its config: .* has another shape"),
        ({"num_hidden_layers": 10**6}, "says 1000000 layers; its weights have fewer"),
        ({"hidden_size": "x"}, "its config.json cannot be used"),
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
        ({"hidden_size": 32}, "do not fit its config: .* has another shape"),
        ({"max_position_embeddings": 100}, "do not fit its config: .* has another shape"),
        ({"num_hidden_layers": 1}, r"its weights have encoder\.layer\.1.* does not use"),
        ({"pad_token_id": 9999}, "Padding_idx"),
        ({"pad_token_id": -1}, "its pad_token_id -1 is none of its 58 tokens"),
        ({"model_type": None}, "no model of the type None"),
        ({"model_type": ["bert"]}, "no model of the type"),
        ({"model_type": "gpt2"}, "its weights lack"),
        ({"model_type": "vit"}, "its weights lack"),
        ({"is_encoder_decoder": True}, "encoders only"),
        ({"dtype": "nope"}, "its config.json cannot be used"),
    ],
)
def test_a_config_that_is_not_understood_is_refused_in_one_line(plain, tmp_path, values, message):
    edit(plain / "config.json", **values)
    refused(plain, message, tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", b""),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "bert"'),
        ("config.json", b'{"a": "\xff"}'),
        ("config.json", b"[" * 100_000),
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b"{"),
        ("special_tokens_map.json", b"[1]"),
        ("added_tokens.json", b"[1]"),
        ("model.safetensors", b""),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0" + b'{"a": 1         }'),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(plain, tmp_path, name, text):
    (plain / name).write_bytes(text)
    refused(plain, str(plain), tmp_path)


def test_code_of_a_folder_is_never_run_and_nobody_is_asked(plain, tmp_path, tiny_examples):
    ran = tmp_path / "ran"
    (plain / "modeling_my.py").write_text(f"open({str(ran)!r}, 'w')\n")
    auto = {"AutoConfig": "modeling_my.MyConfig", "AutoModel": "modeling_my.MyModel"}
    edit(plain / "config.json", model_type="my_bert", auto_map=auto)
    done = call("convert", plain, "--output-dir", tmp_path / "out", "--json", input="y\n" * 20)
    assert done.exit_code == 1
    assert "code of its own, which is never run (modeling_my.MyModel)" in done.stderr
    assert "custom code" not in done.stdout
    words = ("--init", plain, "--train-file", tiny_examples, "--max-epochs", 0)
    done = call("train", *words, "--output-dir", tmp_path / "out", input="y\n" * 20)
    assert done.exit_code == 1
    assert "code of its own, which is never run" in done.stderr
    assert "name a model of a family that transformers has, such as bert" in done.stderr
    edit(plain / "config.json", model_type="bert")  # transformers has a class of this name
    refused(plain, "its bert needs code of its own, which is never run", tmp_path)
    assert not ran.exists()
    edit(plain / "config.json", auto_map={"AutoConfig": "modeling_my.MyConfig"})
    convert(source=plain, output_dir=tmp_path / "out")
    assert not ran.exists()


def test_a_module_of_other_code_is_refused(sentence, tmp_path):
    edit_modules = json.loads((sentence / "modules.json").read_text())
    edit_modules[0]["type"] = "mine.Transformer"
    write_json(sentence / "modules.json", edit_modules)
    refused(sentence, "module mine.Transformer is code of its own", tmp_path)


# --- weights --------------------------------------------------------------------------------------


def test_weights_that_transformers_would_drop_are_refused_by_name(plain, tmp_path):
    name = "encoder.layer.0.attention.self.distance_embedding.weight"
    reweigh(plain, lambda weights: weights | {name: torch.ones(3, 8)})
    refused(plain, "distance_embedding.weight, which transformers' BertModel does not", tmp_path)


def test_heads_are_passed_over_and_named_with_v(plain, tmp_path):
    before = bert()
    heads = {"cls.predictions.bias": torch.ones(2), "qa_outputs.weight": torch.ones(2, 2)}

    def as_a_head_model_has_them(weights):
        below = {f"bert.{name}": value for name, value in weights.items()}
        return below | heads | {"bert.embeddings.position_ids": torch.arange(300)[None]}

    reweigh(plain, as_a_head_model_has_them)
    done = call("convert", plain, "--output-dir", tmp_path / "out", "-v", "--json")
    assert done.exit_code == 0
    assert "passed over: cls.predictions.bias" in done.stderr
    assert json.loads(done.stdout)["passed_over"] == sorted(heads)
    kept = load_bi_encoder(tmp_path / "out")[0].question_encoder.backbone.state_dict()
    for name, value in before.state_dict().items():
        assert "pooler" in name or torch.equal(kept[name], value)


def test_numbers_that_are_not_finite_are_refused(plain, tmp_path):
    name = "encoder.layer.0.output.dense.bias"
    reweigh(plain, lambda weights: weights | {name: weights[name] * float("nan")})
    refused(plain, "not finite", tmp_path)


def test_a_missing_shard_and_a_cut_file_are_refused(plain, tmp_path):
    whole = (plain / "model.safetensors").read_bytes()
    (plain / "model.safetensors").write_bytes(whole[:-500])
    refused(plain, "model.safetensors: damaged: .*not fully covered", tmp_path)
    (plain / "model.safetensors").unlink()
    (plain / "model-00001-of-00002.safetensors").write_bytes(whole)
    weights = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    write_json(plain / "model.safetensors.index.json", {"metadata": {}, "weight_map": weights})
    refused(plain, "model-00002-of-00002.safetensors", tmp_path)


def test_weights_in_another_form_are_told(plain, tmp_path):
    write_json(plain / "adapter_config.json", {"base_model_name_or_path": "x"})
    refused(plain, "holds an adapter .* merge it into its base model first", tmp_path)
    (plain / "adapter_config.json").unlink()
    (plain / "model.safetensors").unlink()
    (plain / "onnx").mkdir()
    (plain / "onnx/model.onnx").write_bytes(b"\x08\x07")
    refused(plain, "in the form of ONNX, which is not read", tmp_path)
    (plain / "config.json").unlink()
    (plain / "model.gguf").write_bytes(b"GGUF\x03\0\0\0")
    refused(plain, "neither config.json nor modules.json; .* GGUF, ONNX", tmp_path)
    refused(plain / "model.gguf", "is a GGUF file, which is not read", tmp_path)


def test_a_pickle_is_left_to_convert(plain, tmp_path, tiny_examples):
    weights = load_file(plain / "model.safetensors")
    (plain / "model.safetensors").unlink()
    torch.save(weights, plain / "pytorch_model.bin")
    words = ("--train-file", tiny_examples, "--max-epochs", 0, "--output-dir", tmp_path / "out")
    done = call("train", "--init", plain, *words)
    assert done.exit_code == 1
    assert "its weights are a pickle (.bin); read it with dprkit convert" in done.stderr
    assert call("convert", plain, "--output-dir", tmp_path / "model").exit_code == 0
    assert call("train", "--init", tmp_path / "model", *words).exit_code == 0


# --- the tokenizer --------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    "said",
    [
        {"do_lower_case": True},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": True, "tokenize_chinese_chars": False},
    ],
)
def test_tokenizer_config_counts_as_transformers_reads_it(plain, tmp_path, stored, said):
    save_tokenizer(plain, lowercase=stored)
    edit(plain / "tokenizer_config.json", tokenizer_class="BertTokenizer", **said)
    texts = ["Mount Kilimanjaro", "café ÉCLAIR", "東京 and Tokyo"]
    theirs = AutoTokenizer.from_pretrained(plain)(texts).input_ids
    convert(source=plain, output_dir=tmp_path / "out")
    assert load_retriever(tmp_path / "out").tokens.questions(texts) == theirs
    again = AutoTokenizer.from_pretrained(tmp_path / "out/question_encoder")
    assert again(texts).input_ids == theirs


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"truncation_side": "left"}, "cuts texts on the left"),
        ({"split_special_tokens": True}, "splits special tokens"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "is made of Python code"),
        ({"tokenizer_class": 5}, "no tokenizer could be loaded from there"),
        ({"additional_special_tokens": ["[Q]", "[D]"]}, "60 tokens and its model vectors for 58"),
    ],
)
def test_a_tokenizer_that_reads_otherwise_is_refused(plain, tmp_path, said, message):
    edit(plain / "tokenizer_config.json", **said)
    refused(plain, message, tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(plain, tmp_path):
    for name in ("tokenizer.json", "vocab.txt"):
        (plain / name).unlink()
    refused(plain, "has no tokenizer", tmp_path)
    edit(plain / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    refused(plain, "has no tokenizer", tmp_path)


# --- model and tokenizer against each other -------------------------------------------------------


def test_tokens_beyond_the_embedding_are_refused_and_padding_of_it_is_not(tmp_path, tiny_examples):
    for rows, fits in ((len(WORDS) - 2, False), (len(WORDS) + 6, True)):
        folder = tmp_path / f"in-{rows}"
        bert(vocab_size=rows).save_pretrained(folder)
        save_tokenizer(folder)
        if fits:
            convert(source=folder, output_dir=tmp_path / "out")
            continue
        message = f"has {len(WORDS)} tokens and its model vectors for {rows}"
        refused(folder, message, tmp_path)
        words = ("--train-file", tiny_examples, "--max-epochs", 0)
        done = call("train", "--init", folder, *words, "--output-dir", tmp_path / "t")
        assert (done.exit_code, message in done.stderr) == (1, True)


def test_a_length_beyond_the_positions_is_refused_by_its_flag(plain, tmp_path):
    for flag in ("question_max_length", "passage_max_length"):
        with pytest.raises(SettingsError, match=f"--{flag.replace('_', '-')}: the model reads at"):
            convert(source=plain, output_dir=tmp_path / "out", **{flag: 301})
    convert(source=plain, output_dir=tmp_path / "out", passage_max_length=300)
    assert load_config(tmp_path / "out").positions == (300, 300)
    path = tmp_path / "out/retriever.yaml"
    path.write_text(path.read_text().replace("passage_max_length: 300", "passage_max_length: 301"))
    with pytest.raises(InputError, match="passage_max_length: the model reads at most 300"):
        load_config(tmp_path / "out")


def test_a_retriever_of_before_has_no_positions(plain, tmp_path):
    convert(source=plain, output_dir=tmp_path / "out")
    path = tmp_path / "out/retriever.yaml"
    path.write_text(path.read_text().partition("positions:")[0])
    assert load_config(tmp_path / "out").positions is None
    assert load_retriever(tmp_path / "out").encode_questions(["a"]).shape == (1, 16)


@pytest.mark.filterwarnings("ignore")
def test_the_encoder_of_t5_is_read_with_and_without_its_decoder(tmp_path, tiny_examples):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    config = AutoConfig.for_model("t5", **sizes, vocab_size=len(WORDS), pad_token_id=0)
    torch.manual_seed(0)
    whole = T5ForConditionalGeneration(config)
    whole.save_pretrained(tmp_path / "whole")
    save_tokenizer(tmp_path / "whole")
    report = convert(source=tmp_path / "whole", pooling="mean", output_dir=tmp_path / "a")
    assert report.largest_difference < 1e-5
    assert not report.packed
    save_sentence_transformer(tmp_path / "st", modules=[MEAN, NORM])
    encoder = T5EncoderModel(config)
    encoder.load_state_dict(whole.state_dict(), strict=False)
    encoder.save_pretrained(tmp_path / "st")
    assert convert(source=tmp_path / "st", output_dir=tmp_path / "b").largest_difference < 1e-5
    words = ("--max-steps", 1, "--batch-size", 4, "--valid-every", "never")
    start = ("--init", tmp_path / "st", "--train-file", tiny_examples)
    assert call("train", *start, *words, "--output-dir", tmp_path / "c").exit_code == 0
    convert(source=tmp_path / "c", to="sentence-transformers", output_dir=tmp_path / "out")
    again = convert(source=tmp_path / "out", output_dir=tmp_path / "d")
    assert again.largest_difference < 1e-5
    ours = [load_retriever(tmp_path / name).encode_questions(QUESTIONS) for name in "cd"]
    np.testing.assert_allclose(*ours, **CLOSE)


def test_the_left_side_of_padding_is_named_as_the_cause(sentence, tmp_path):
    edit(sentence / "tokenizer_config.json", padding_side="left")
    with pytest.raises(DprkitError, match=r"vectors that differ by .*; its tokenizer pads texts"):
        convert(source=sentence, output_dir=tmp_path / "out")


@pytest.mark.parametrize("kind", ["roformer", "squeezebert"])
def test_a_model_of_its_own_ways_is_read(kind, tmp_path):
    config = AutoConfig.for_model(kind, **SMALL, pad_token_id=0, embedding_size=16)
    AutoModel.from_config(config).save_pretrained(tmp_path / "in")
    save_tokenizer(tmp_path / "in")
    report = convert(source=tmp_path / "in", pooling="mean", output_dir=tmp_path / "out")
    assert report.largest_difference < 1e-5


def test_a_command_for_retrievers_says_how_a_folder_of_others_becomes_one(plain, tmp_path):
    (tmp_path / "p.tsv").write_text("id\ttext\ttitle\n1\ta\tb\n")
    words = ("--passages", tmp_path / "p.tsv", "--output-dir", tmp_path / "out")
    done = call("encode-corpus", "--retriever", plain, *words)
    assert done.exit_code == 1
    assert f"dprkit convert {plain} --output-dir MODEL" in done.stderr
    assert "convert" not in call("encode-corpus", "--retriever", tmp_path, *words).stderr


MIXING = {
    "fnet": {},
    "convbert": {"embedding_size": 8},
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 8},
    "mobilebert": {"embedding_size": 8, "intra_bottleneck_size": 8, "true_hidden_size": 8},
}


@pytest.mark.parametrize("kind", MIXING)
def test_a_model_whose_vectors_depend_on_other_texts_is_refused(kind, tmp_path, tiny_examples):
    torch.manual_seed(0)
    sizes = {**SMALL, "pad_token_id": 0, **MIXING[kind]}
    model = AutoModel.from_config(AutoConfig.for_model(kind, **sizes))
    for weight in model.parameters():  # larger than at the start, so that every part counts
        torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(tmp_path / "in")
    save_tokenizer(tmp_path / "in")
    message = f"is a {kind}, whose vectors of a text depend on the other texts of a pass"
    refused(tmp_path / "in", message, tmp_path)
    words = ("--train-file", tiny_examples, "--max-epochs", 0, "--output-dir", tmp_path / "t")
    done = call("train", "--init", tmp_path / "in", *words)
    assert (done.exit_code, message in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "factor": 4.0,
                    "original_max_position_embeddings": 64,
                    "short_factor": [1.0] * 4,
                    "long_factor": [3.0] * 4,
                }
            },
            r"its rotary positions \(longrope\) depend on the other texts",
        ),
        ("big_bird", {"block_size": 8, "num_random_blocks": 2}, "block_sparse.*original_full"),
    ],
)
def test_a_model_that_reads_long_passes_otherwise_is_refused(kind, more, message, tmp_path):
    config = AutoConfig.for_model(kind, **{**SMALL, "pad_token_id": 0, **more})
    AutoModel.from_config(config).save_pretrained(tmp_path / "in")
    save_tokenizer(tmp_path / "in")
    refused(tmp_path / "in", message, tmp_path)


# --- sentence-transformers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("config_sentence_transformers.json", {"truncate_dim": 0}, r"at `\$.truncate_dim`"),
        (
            "config_sentence_transformers.json",
            {"truncate_dim": 8, "similarity_fn_name": "dot"},
            "compares by dot what it cuts to 8 after its Normalize",
        ),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "SparseEncoder"),
        ("config_sentence_transformers.json", {"new": 1}, "unknown field `new`"),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "default prompt 'x'"),
        ("config_sentence_transformers.json", {"prompts": ["a"]}, r"at `\$.prompts`"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "manhattan"}, "manhattan"),
        ("sentence_bert_config.json", {"new": 1}, "unknown field `new`"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length"),
        ("sentence_bert_config.json", {"max_seq_length": "a"}, "max_seq_length"),
        ("sentence_bert_config.json", {"tokenizer_args": {"a": 1}}, "tokenizer_args {'a': 1} is"),
        ("sentence_bert_config.json", {"query_expansion": {"length": 9}}, "query_expansion"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task"),
        ("1_Pooling/config.json", {"new": 1}, "unknown field `new`"),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "its pooling is median"),
        ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "token_embeddings"),
    ],
)
def test_a_key_of_a_module_that_is_not_understood_is_refused(
    sentence, tmp_path, name, values, message
):
    edit(sentence / name, **values)
    refused(sentence, message, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_cut_vectors_point_where_those_of_the_library_do(sentence, tmp_path):
    """It cuts behind its Normalize, and compares what is left by cosine."""
    library = pytest.importorskip("sentence_transformers")
    edit(sentence / "config_sentence_transformers.json", truncate_dim=8)
    theirs = library.SentenceTransformer(str(sentence), device="cpu").encode_document(QUESTIONS)
    convert(source=sentence, output_dir=tmp_path / "m")
    ours = load_retriever(tmp_path / "m").encode_passages([("", text) for text in QUESTIONS])
    assert ours.shape == theirs.shape == (len(QUESTIONS), 8)
    lengths = np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs / lengths, **CLOSE)
    convert(source=tmp_path / "m", to="sentence-transformers", output_dir=tmp_path / "out")
    loaded = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert loaded.truncate_dim == 8
    np.testing.assert_allclose(loaded.encode_document(QUESTIONS), theirs, **CLOSE)


def test_a_size_of_a_flag_counts_before_that_of_a_folder(sentence, tmp_path):
    edit(sentence / "config_sentence_transformers.json", truncate_dim=8)
    for name, size, dim in (("a", 4, 4), ("b", 0, 16)):
        assert convert(source=sentence, truncate_dim=size, output_dir=tmp_path / name).dim == dim
    refused_size = {"source": sentence, "truncate_dim": 17, "output_dir": tmp_path / "c"}
    with pytest.raises(DprkitError, match=r"--truncate-dim 17: .* vectors of 16 dimensions"):
        convert(**refused_size)
    edit(sentence / "config_sentence_transformers.json", truncate_dim=99)  # cuts nothing there
    assert convert(source=sentence, output_dir=tmp_path / "d").dim == 16
    assert load_config(tmp_path / "d").truncate_dim is None


@pytest.mark.slow
def test_a_size_may_lie_between_that_of_the_transformer_and_that_of_the_head(tmp_path):
    wide = ("Dense", {"in_features": 16, "out_features": 24, "activation_function": TANH})
    save_sentence_transformer(tmp_path / "st", modules=[MEAN, wide], truncate_dim=20)
    weights = {"linear.weight": torch.randn(24, 16), "linear.bias": torch.randn(24)}
    save_file(weights, tmp_path / "st/2_Dense/model.safetensors")
    assert convert(source=tmp_path / "st", output_dir=tmp_path / "m").dim == 20


@pytest.mark.slow
def test_an_export_is_cut_by_its_flag(sentence, tmp_path):
    convert(source=sentence, output_dir=tmp_path / "m")
    how = {"source": tmp_path / "m", "to": "sentence-transformers", "truncate_dim": 4}
    assert convert(**how, output_dir=tmp_path / "cut").dim == 4
    assert convert(source=tmp_path / "cut", output_dir=tmp_path / "again").dim == 4
    with pytest.raises(DprkitError, match="it has mean pooling"):
        convert(source=tmp_path / "again", to="hf-dpr", output_dir=tmp_path / "dpr")
    with pytest.raises(SettingsError, match="it gives whole vectors; leave --truncate-dim out"):
        convert(source=tmp_path / "m", to="onnx-copy", truncate_dim=4)


def test_a_pooling_without_its_width_is_refused(sentence, tmp_path):
    write_json(sentence / "1_Pooling/config.json", {"pooling_mode": "mean"})
    refused(sentence, "lacks embedding_dimension", tmp_path)


def test_a_module_whose_name_no_module_can_have_is_refused(sentence, tmp_path):
    text = (sentence / "modules.json").read_text()
    (sentence / "modules.json").write_text(text.replace("models.Pooling", "mod]els.Pooling"))
    refused(sentence, "code of its own", tmp_path)


@pytest.mark.parametrize("modules", [{}, [], [1], [{"idx": 0}]])
def test_a_list_of_modules_that_is_none_is_refused(sentence, tmp_path, modules):
    write_json(sentence / "modules.json", modules)
    refused(sentence, "modules", tmp_path)


def test_two_modules_of_one_name_are_refused(sentence, tmp_path):
    """The library keeps one of them."""
    modules = json.loads((sentence / "modules.json").read_text())
    write_json(sentence / "modules.json", [module | {"name": "0"} for module in modules])
    refused(sentence, "two of its modules have the same name", tmp_path)


@pytest.mark.parametrize(
    ("said", "weights", "message"),
    [
        ({}, {"weight": (8, 16)}, "holds linear.weight, not the weights of its Dense"),
        ({"bias": False}, {"weight": (8, 16), "bias": (8,)}, "not the weights of its Dense"),
        ({"out_features": 9}, {"weight": (8, 16), "bias": (8,)}, "says 9 of 16"),
        ({}, {"weight": (8, 12), "bias": (8,)}, "make 8 dimensions of 12"),
    ],
)
def test_a_dense_that_is_not_what_its_config_says_is_refused(tmp_path, said, weights, message):
    """sentence-transformers loads none of them."""
    identity = "torch.nn.modules.linear.Identity"
    config = {"in_features": 16, "out_features": 8, "activation_function": identity} | said
    save_sentence_transformer(tmp_path / "st", modules=[MEAN, ("Dense", config)])
    tensors = {f"linear.{name}": torch.ones(shape) for name, shape in weights.items()}
    save_file(tensors, tmp_path / "st/2_Dense/model.safetensors")
    refused(tmp_path / "st", message, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_git_lfs_has_not_fetched_is_called_that(plain, tmp_path, name):
    (plain / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\n")
    refused(plain, f"{name}: a pointer of Git LFS, not the data; fetch it: git lfs", tmp_path)


def test_the_library_is_given_texts_as_dprkit_reads_them(tmp_path):
    """To a byte-level tokenizer a space at the end of a text is a token."""
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    torch.manual_seed(0)
    folder = tmp_path / "gpt"
    GPT2Model(
        GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=128)
    ).eval().save_pretrained(folder)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=letters[0]).save_pretrained(
        folder
    )
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {
                    "idx": 0,
                    "name": "0",
                    "path": "",
                    "type": "sentence_transformers.models.Transformer",
                },
                {
                    "idx": 1,
                    "name": "1",
                    "path": "1_Pooling",
                    "type": "sentence_transformers.models.Pooling",
                },
            ]
        )
    )
    write_json(folder / "1_Pooling/config.json", MEAN[1])
    done = call("convert", folder, "--output-dir", tmp_path / "out", "--json")
    assert json.loads(done.stdout)["largest_difference"] < 1e-5


def test_lengths_a_side_are_read(sentence, tmp_path):
    edit(sentence / "sentence_bert_config.json", query_length=8, document_length=12)
    convert(source=sentence, output_dir=tmp_path / "out")
    config = load_config(tmp_path / "out")
    assert (config.question_max_length, config.passage_max_length) == (8, 12)


def test_the_kind_of_a_source_is_not_the_kind_of_a_retriever(sentence, tmp_path):
    out = tmp_path / "out"
    done = call("convert", sentence, "--kind", "sentence-transformers", "--output-dir", out)
    assert done.exit_code == 0
    assert "kind: bi-encoder\n" in (out / CONFIG).read_text()
    assert call("info", out, "--check").exit_code == 0


# --- the source's own library ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_convert_compares_with_the_library_and_info_does_later(sentence, plain, tmp_path):
    pytest.importorskip("sentence_transformers")
    for source, library in ((sentence, "sentence-transformers"), (plain, "transformers")):
        out = tmp_path / f"out-{library}"
        done = call("convert", source, "--output-dir", out, "--json")
        found = json.loads(done.stdout)
        assert found["largest_difference"] < 1e-5
        assert f"{library} gives vectors that differ by at most" in found["mapped"][-1]
        done = call("info", out, "--check", "--source", source, "--json")
        assert json.loads(done.stdout)["difference_from_source"] < 1e-5
    reweigh(plain, lambda weights: {name: value * 1.5 for name, value in weights.items()})
    done = call("info", tmp_path / "out-transformers", "--check", "--source", plain)
    assert done.exit_code == 3
    assert "transformers gives vectors that differ by" in done.stderr
    done = call("info", tmp_path / "out-transformers", "--source", plain)
    assert (done.exit_code, "give both" in done.stderr) == (1, True)


def test_a_library_that_gives_other_vectors_stops_a_conversion(plain, tmp_path, monkeypatch):
    """Here the folder changes between the two readings, as if one of them had misread it."""
    from dprkit.interop import compare

    original = compare._loaded

    def changed(kind, folder):
        reweigh(folder, lambda weights: {name: value * 1.5 for name, value in weights.items()})
        return original(kind, folder)

    monkeypatch.setattr(compare, "_loaded", changed)
    done = call("convert", plain, "--output-dir", tmp_path / "out")
    assert done.exit_code == 3
    assert "dprkit does not read this model as it is meant" in done.stderr
    assert not (tmp_path / "out").exists()


# --- the hub --------------------------------------------------------------------------------------


def test_a_hub_name_without_a_network_is_refused_quickly(tmp_path, monkeypatch, tiny_examples):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    words = ("--train-file", tiny_examples, "--max-epochs", 0, "--output-dir", tmp_path / "out")
    done = call("train", "--init", "nobody/has-this", *words)
    assert done.exit_code == 1
    assert "nobody/has-this: no such folder here; asking the Hugging Face hub" in done.stderr
    assert "the hub (http://127.0.0.1:9) cannot be asked" in done.stderr


# --- train --init ---------------------------------------------------------------------------------


def test_init_reads_what_convert_reads(tmp_path, tiny_examples):
    source = tmp_path / "st"
    linear = {"in_features": 16, "out_features": 5, "bias": False}
    linear["activation_function"] = "torch.nn.modules.linear.Identity"
    prompts = {"query": "ask ", "document": "say "}
    modules = [MEAN, ("Dense", linear), NORM]
    save_sentence_transformer(source, modules=modules, prompts=prompts)
    save_file({"linear.weight": torch.randn(5, 16)}, source / "2_Dense/model.safetensors")
    words = ("--train-file", tiny_examples, "--max-epochs", 0)
    assert call("convert", source, "--output-dir", tmp_path / "a").exit_code == 0
    done = call("train", "--init", source, *words, "--output-dir", tmp_path / "b")
    assert done.exit_code == 0, done.stderr
    one, two = load_config(tmp_path / "a"), load_config(tmp_path / "b")
    assert one == two
    assert (two.pooling, two.similarity, two.question_prefix) == ("mean", "cosine", "ask ")
    ours = [load_retriever(tmp_path / name).encode_questions(QUESTIONS) for name in "ab"]
    np.testing.assert_allclose(*ours, **CLOSE)


def test_a_flag_wins_over_the_folder_and_is_told(sentence, tmp_path, tiny_examples):
    words = ("--train-file", tiny_examples, "--max-epochs", 0, "--output-dir", tmp_path / "out")
    done = call("train", "--init", sentence, *words, "--pooling", "cls", "--no-shared", "-q")
    assert done.exit_code == 0, done.stderr
    assert "says pooling mean; --pooling cls is taken" in done.stderr
    config = load_config(tmp_path / "out")
    assert (config.pooling, config.similarity, config.shared) == ("cls", "cosine", False)
    assert (tmp_path / "out/passage_encoder/model.safetensors").is_file()


def test_a_plain_folder_starts_as_the_flags_say(plain, tmp_path, tiny_examples):
    words = ("--train-file", tiny_examples, "--max-steps", 1, "--output-dir", tmp_path / "out")
    done = call("train", "--init", plain, *words, "--batch-size", 4, "--projection", 3)
    assert done.exit_code == 0, done.stderr
    config = load_config(tmp_path / "out")
    assert (config.pooling, config.similarity, config.title_join) == ("cls", "dot", "pair")
    assert (config.projection, config.shared, config.positions) == (3, False, (300, 300))


def test_a_plain_folder_of_few_positions_starts_with_as_many_tokens(tmp_path, tiny_examples):
    bert(max_position_embeddings=130).save_pretrained(tmp_path / "in")
    save_tokenizer(tmp_path / "in")
    words = ["--init", tmp_path / "in", "--train-file", tiny_examples, "--max-epochs", 0]
    done = call("train", *words, "--output-dir", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "reads at most 130 tokens, so a passage is cut there and not at 256" in told
    config = load_config(tmp_path / "out")
    assert (config.question_max_length, config.passage_max_length) == (64, 130)
    done = call("train", *words, "--passage-max-length", 256, "--output-dir", tmp_path / "x")
    assert (done.exit_code, "--passage-max-length: the model" in done.stderr) == (1, True)


def test_a_pair_of_dpr_starts_a_training(tmp_path, tiny_examples):
    from tests.interop.foreign import save_dpr_pair

    save_dpr_pair(tmp_path / "pair")
    (tmp_path / "pair/question").rename(tmp_path / "pair/question_encoder")
    (tmp_path / "pair/passage").rename(tmp_path / "pair/ctx_encoder")
    words = ("--train-file", tiny_examples, "--max-epochs", 0)
    out = tmp_path / "out"
    done = call("train", "--init", tmp_path / "pair", *words, "--output-dir", out)
    assert done.exit_code == 0, done.stderr
    convert(source=tmp_path / "pair", output_dir=tmp_path / "same")
    assert load_config(out) == load_config(tmp_path / "same")
    done = call("train", "--init", tmp_path / "pair", *words, "--shared", "--output-dir", out)
    assert (done.exit_code, "has an encoder a side" in done.stderr) == (1, True)
    half = tmp_path / "pair/ctx_encoder"
    done = call("train", "--init", half, *words, "--output-dir", tmp_path / "x")
    assert (done.exit_code, "holds only the passage encoder" in done.stderr) == (1, True)


def test_vectors_of_a_plain_folder_are_those_of_automodel_in_a_batch(plain, tmp_path):
    convert(source=plain, pooling="mean", output_dir=tmp_path / "out")
    batch = AutoTokenizer.from_pretrained(plain)(QUESTIONS[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(plain)(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    theirs = (states * mask).sum(1) / mask.sum(1)
    ours = load_retriever(tmp_path / "out").encode_questions(QUESTIONS[:3])
    np.testing.assert_allclose(ours, theirs.numpy(), **CLOSE)
