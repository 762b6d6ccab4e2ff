"""Readers of other libraries, in and out: Hugging Face's DPRReader and DPR's own checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel, DPRReader, DPRReaderTokenizerFast

from dprkit.errors import InputError, MismatchError, OutputError, SettingsError
from dprkit.interop.compare import against_source
from dprkit.models.reader_config import load_reader_config
from dprkit.models.reading import load_reader
from dprkit.training.initial_reader import starting_reader
from tests.conftest import call
from tests.interop.foreign import (
    PASSAGES,
    QUESTIONS,
    bert,
    convert,
    dpr_reader,
    save_bert,
    save_dpr_pair,
    save_dpr_reader,
    save_tokenizer,
)


def save_reader_cp(path: Path, params: dict, legacy: bool = False) -> DPRReader:
    """As DPR's train_extractive_reader.py saves it: encoder.* of its BertModel, and the heads."""
    model = dpr_reader(1)
    parts = model.span_predictor
    weights = {f"encoder.{k}": v for k, v in parts.encoder.bert_model.state_dict().items()}
    weights["encoder.pooler.dense.weight"] = torch.zeros(16, 16)
    weights["encoder.pooler.dense.bias"] = torch.zeros(16)
    weights |= {f"qa_outputs.{k}": v for k, v in parts.qa_outputs.state_dict().items()}
    weights |= {f"qa_classifier.{k}": v for k, v in parts.qa_classifier.state_dict().items()}
    state = {
        "model_dict": weights,
        "optimizer_dict": {"state": {}},
        "scheduler_dict": {},
        "offset": 0,
        "epoch": 3,
        "encoder_params": params,
    }
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return model


def logits_of(model: DPRReader, segments: bool = False):
    """For each pair: start and end (L, 2) of all tokens, and relevance, by transformers alone."""
    folder_tokenizer = DPRReaderTokenizerFast.from_pretrained(logits_of.tokenizer)
    found = []
    for question, (title, text) in zip(QUESTIONS, PASSAGES, strict=True):
        ids = folder_tokenizer([question], titles=[title], texts=[text], return_tensors="pt")
        ids = ids["input_ids"]
        first = ids[0].tolist().index(3) + 1
        types = torch.tensor([[0] * first + [1] * (ids.shape[1] - first)]) * segments
        parts = model.span_predictor
        with torch.no_grad():
            states = parts.encoder.bert_model(ids, token_type_ids=types)[0][0]
            found.append((parts.qa_outputs(states), float(parts.qa_classifier(states[0]))))
    return found


@pytest.fixture(autouse=True)
def tokenizer(tmp_path_factory):
    logits_of.tokenizer = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(logits_of.tokenizer)


def check(folder: Path, model: DPRReader, segments: bool = False) -> None:
    """That the reader in a folder gives the logits of a DPRReader."""
    ours = load_reader(folder).logits(QUESTIONS, PASSAGES)
    for one, (spans, relevance) in zip(ours, logits_of(model, segments), strict=True):
        text = spans[len(spans) - len(one.start) :]
        np.testing.assert_allclose(np.stack([one.start, one.end], 1), text, atol=1e-5)
        assert one.relevance == pytest.approx(relevance, abs=1e-5)


@pytest.mark.parametrize("pickled", [False, True])
def test_a_dpr_reader_of_transformers_comes_in(tmp_path, pickled):
    model = save_dpr_reader(tmp_path / "in", pickled)
    report = convert(source=tmp_path / "in", output_dir=tmp_path / "out")
    assert (report.kind, report.to, report.dim) == ("hf-dpr-reader", "reader", 3)
    check(tmp_path / "out", model)
    config = load_reader_config(tmp_path / "out")
    assert (config.passage_max_length, config.positions) == (300, 300)
    assert (config.token_types, config.straight_apostrophe) == ("zeros", True)
    if pickled:
        assert "not compared: weights in a pickle are given to no library" in report.mapped
    else:
        assert report.largest_difference < 1e-5
        assert against_source(tmp_path / "out", [tmp_path / "in"]) < 1e-5


def test_a_dpr_reader_may_be_read_with_the_token_types_it_was_trained_with(tmp_path):
    model = save_dpr_reader(tmp_path / "in")
    convert(source=tmp_path / "in", token_types="segments", output_dir=tmp_path / "out")
    check(tmp_path / "out", model, segments=True)


@pytest.mark.parametrize("legacy", [False, True])
def test_dprs_checkpoint_of_a_reader_comes_in(tmp_path, legacy):
    save_bert(tmp_path / "bert")
    params = {"pretrained_model_cfg": str(tmp_path / "bert"), "sequence_length": 290}
    model = save_reader_cp(tmp_path / "reader.cp", {**params, "do_lower_case": True}, legacy)
    report = convert(source=tmp_path / "reader.cp", output_dir=tmp_path / "out")
    assert (report.kind, report.to) == ("dpr-reader-cp", "reader")
    assert load_reader_config(tmp_path / "out").passage_max_length == 290
    check(tmp_path / "out", model, segments=True)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return print, ("harm",)

    torch.save({"model_dict": {"qa_outputs.weight": Harm()}}, tmp_path / "reader.cp")
    with pytest.raises(InputError, match=r"would run \w+\.print, which is refused"):
        convert(source=tmp_path / "reader.cp", output_dir=tmp_path / "out")


def test_a_reader_goes_out_to_transformers_and_comes_back(tmp_path):
    model = save_dpr_reader(tmp_path / "in")
    convert(source=tmp_path / "in", output_dir=tmp_path / "reader")
    report = convert(source=tmp_path / "reader", to="hf-dpr-reader", output_dir=tmp_path / "hf")
    assert (report.kind, report.to) == ("reader", "hf-dpr-reader")
    theirs = DPRReader.from_pretrained(tmp_path / "hf").eval()
    for name, weight in model.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], weight)
    logits_of.tokenizer = tmp_path / "hf"
    check(tmp_path / "reader", theirs)
    convert(source=tmp_path / "hf", output_dir=tmp_path / "again")
    check(tmp_path / "again", model)


def test_a_reader_goes_out_to_dpr_and_comes_back(tmp_path):
    model = save_dpr_reader(tmp_path / "in")
    convert(source=tmp_path / "in", token_types="segments", output_dir=tmp_path / "reader")
    convert(source=tmp_path / "reader", to="dpr-reader-cp", output_dir=tmp_path / "dpr")
    state = torch.load(tmp_path / "dpr/reader.cp", weights_only=True)
    bert_of_dpr = BertModel.from_pretrained(tmp_path / "dpr" / "bert")  # as its HFBertEncoder does
    weights = {k.removeprefix("encoder."): v for k, v in state["model_dict"].items()}
    loaded = bert_of_dpr.load_state_dict(weights, strict=False)
    assert loaded.missing_keys == []
    assert set(loaded.unexpected_keys) == {
        "embeddings.position_ids",
        *(f"qa_{head}.{part}" for head in ("outputs", "classifier") for part in ("weight", "bias")),
    }
    assert torch.equal(weights["qa_outputs.weight"], model.span_predictor.qa_outputs.weight)
    convert(source=tmp_path / "dpr/reader.cp", output_dir=tmp_path / "again")
    check(tmp_path / "again", model, segments=True)
    assert load_reader_config(tmp_path / "again") == load_reader_config(tmp_path / "reader")
    with pytest.raises(InputError, match=r"\(zeros\), and DPR's code tells question and passage"):
        convert(source=tmp_path / "in", output_dir=tmp_path / "zeros")
        convert(source=tmp_path / "zeros", to="dpr-reader-cp", output_dir=tmp_path / "other")


def test_what_transformers_reads_otherwise_is_told_on_both_ways(tmp_path):
    save_dpr_reader(tmp_path / "in")
    told = [
        " ".join(call("convert", *words).stderr.split())
        for words in (
            (tmp_path / "in", "--output-dir", tmp_path / "reader"),
            (tmp_path / "reader", "--to", "hf-dpr-reader", "--output-dir", tmp_path / "out"),
        )
    ]
    assert all("in a question ’ is read as ', as DPR does" in report for report in told)


def test_a_reader_with_token_types_has_no_form_for_transformers(tmp_path):
    save_dpr_reader(tmp_path / "in")
    convert(source=tmp_path / "in", token_types="segments", output_dir=tmp_path / "reader")
    with pytest.raises(InputError, match=r"token types \(segments\), which DPRReader does not"):
        convert(source=tmp_path / "reader", to="hf-dpr-reader", output_dir=tmp_path / "hf")
    with pytest.raises(MismatchError, match="is a reader, which has no form hf-dpr; --to takes hf"):
        convert(source=tmp_path / "reader", to="hf-dpr", output_dir=tmp_path / "hf")


def test_what_is_no_reader_and_what_is_no_retriever_is_refused_by_name(tmp_path):
    save_dpr_pair(tmp_path)
    save_bert(tmp_path / "bert")
    save_dpr_reader(tmp_path / "in")
    out = {"output_dir": tmp_path / "out"}
    with pytest.raises(InputError, match="its weights are those of no DPR reader"):
        convert(source=tmp_path / "question", kind="hf-dpr-reader", **out)
    with pytest.raises(InputError, match="holds a DPR reader; name the folder of an encoder"):
        convert(
            question_encoder=tmp_path / "in", passage_encoder=tmp_path / "in", kind="hf-dpr", **out
        )
    with pytest.raises(SettingsError, match=r"--pooling is for retrievers; .*in is a reader"):
        convert(source=tmp_path / "in", pooling="mean", **out)
    with pytest.raises(SettingsError, match="--token-types is for readers"):
        convert(source=tmp_path / "bert", token_types="zeros", **out)
    with pytest.raises(SettingsError, match="the model reads at most 300 tokens"):
        convert(source=tmp_path / "in", passage_max_length=301, **out)
    convert(source=tmp_path / "bert", **out)
    with pytest.raises(OutputError, match="holds retriever; choose another output for reader"):
        convert(source=tmp_path / "in", **out)
    convert(source=tmp_path / "bert", **out)  # it is as it was


def test_a_reader_of_another_library_is_to_be_converted_first(tmp_path):
    save_dpr_reader(tmp_path / "in")
    with pytest.raises(InputError, match=r"has no reader.yaml.*such as dprkit convert .*in --out"):
        load_reader(tmp_path / "in")


def test_a_damaged_reader_is_refused(tmp_path):
    model = save_dpr_reader(tmp_path / "in")
    weights = {k: v for k, v in model.state_dict().items() if "qa_classifier" not in k}
    torch.save(weights, tmp_path / "in/pytorch_model.bin")
    (tmp_path / "in/model.safetensors").unlink()
    with pytest.raises(InputError, match=r"its weights lack qa_classifier\.weight"):
        convert(source=tmp_path / "in", output_dir=tmp_path / "out")


# --- where a reader starts from -------------------------------------------------------------------


def test_a_reader_starts_from_a_transformer_with_new_heads(tmp_path):
    save_bert(tmp_path / "bert")
    model, tokens = starting_reader(str(tmp_path / "bert"), passage_max_length=64)
    assert (tokens.config.token_types, tokens.config.passage_max_length) == ("segments", 64)
    for name, weight in bert().state_dict().items():
        assert "pooler" in name or torch.equal(model.backbone.state_dict()[name], weight)
    heads = model.heads.state_dict()
    assert not heads["span.bias"].any()
    assert not heads["relevance.bias"].any()
    assert 0.01 < heads["span.weight"].std() < 0.03
    again, _ = starting_reader(str(tmp_path / "bert"))
    other, _ = starting_reader(str(tmp_path / "bert"), seed=1)
    assert torch.equal(again.heads["span"].weight, model.heads["span"].weight)
    assert not torch.equal(other.heads["span"].weight, model.heads["span"].weight)


def test_a_reader_starts_from_a_retriever_and_from_readers_of_both_libraries(
    tmp_path, small_retriever, small_colbert
):
    model = save_dpr_reader(tmp_path / "in")
    convert(source=tmp_path / "in", output_dir=tmp_path / "reader")
    for source in (tmp_path / "in", tmp_path / "reader"):
        started, tokens = starting_reader(str(source), passage_max_length=99)
        assert (tokens.config.token_types, tokens.config.passage_max_length) == ("zeros", 99)
        weight = model.span_predictor.qa_classifier.weight
        assert torch.equal(started.heads["relevance"].weight, weight)
    for source in (small_retriever, small_colbert):
        started, tokens = starting_reader(str(source))
        assert tokens.config.token_types in ("zeros", "segments")
        assert started.rows(0, [[0, 5, 2, 2, 7]]).values.shape == (5, 3)


def test_a_reader_cannot_start_beyond_what_its_transformer_reads(tmp_path):
    save_bert(tmp_path / "bert")
    with pytest.raises(SettingsError, match="the model reads at most 300 tokens"):
        starting_reader(str(tmp_path / "bert"), passage_max_length=301)
