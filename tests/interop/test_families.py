"""Families of models from a sentence-transformers folder to a trained one, beside that library."""

import json

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoConfig

from dprkit.interop.sentence_transformer_files import MODES
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from dprkit.settings import TrainSettings
from dprkit.training.train import train
from tests.interop.foreign import PASSAGES, QUESTIONS, SMALL, WORDS, convert, save_tokenizer

pytest.importorskip("sentence_transformers")
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

CLOSE = {"atol": 1e-5, "rtol": 0}
TEXTS = [" ".join(passage).strip() for passage in PASSAGES]
PROMPTS = {"query": "ask ", "document": "say "}

PAD = {**SMALL, "pad_token_id": 0}
SPECIAL = {"bos_token_id": 2, "eos_token_id": 3}
ROBERTA = {**PAD, **SPECIAL, "type_vocab_size": 1}
DISTIL = {"vocab_size": len(WORDS), "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
DEBERTA = {"relative_attention": True, "position_biased_input": False, "type_vocab_size": 0}
DECODER = {**PAD, **SPECIAL, "num_key_value_heads": 1, "vocab_size": len(WORDS) + 6}
FAMILIES = {
    "bert": ("bert", SMALL, "cls"),
    "roberta": ("roberta", ROBERTA, "mean"),
    "xlm-r": ("xlm-roberta", ROBERTA, "mean"),
    "camembert": ("camembert", ROBERTA, "max"),
    "mpnet": ("mpnet", {**SMALL, "pad_token_id": 1}, "mean"),
    "distilbert": ("distilbert", {**DISTIL, "max_position_embeddings": 300}, "mean-sqrt"),
    "electra": ("electra", {**SMALL, "embedding_size": 8}, "max"),
    "albert": ("albert", {**PAD, **SPECIAL, "embedding_size": 8}, "mean-sqrt"),
    "deberta": ("deberta-v2", {**PAD, **DEBERTA, "pos_att_type": ["p2c", "c2p"]}, "mean"),
    "modernbert": (
        "modernbert",
        {**PAD, **SPECIAL, "local_attention": 8, "cls_token_id": 2, "sep_token_id": 3},
        "weighted-mean",
    ),
    "nomic": ("nomic_bert", PAD, "mean"),
    "gte": ("gte", PAD, "cls"),
    "eurobert": ("eurobert", {**DECODER, "mask_token_id": 4}, "mean"),
    "qwen2": ("qwen2", DECODER, "last"),
    "qwen3": ("qwen3", {**DECODER, "head_dim": 8}, "last"),
    "llama": ("llama", DECODER, "weighted-mean"),
    "mistral": ("mistral", {**DECODER, "sliding_window": 8}, "last"),
    "gemma": ("gemma", {**DECODER, "head_dim": 8}, "last"),
    "gemma2": ("gemma2", {**DECODER, "head_dim": 8, "sliding_window": 8}, "last"),
    "embedding-gemma": (
        "gemma3_text",
        {**DECODER, "head_dim": 8, "sliding_window": 8, "use_bidirectional_attention": True},
        "mean",
    ),
}
"""The type of the model, its sizes, and the pooling that it is used with."""
PADDED = {"mpnet", "deberta"}
"""Their positions are relative to each other in a way of their own."""


def test_every_pooling_has_a_family():
    assert {pooling for _, _, pooling in FAMILIES.values()} == set(MODES)


@pytest.fixture(scope="module")
def examples(tmp_path_factory, tiny_examples):
    """A few rows are enough for three steps."""
    path = tmp_path_factory.mktemp("examples") / "train.json"
    path.write_text(json.dumps(json.loads(tiny_examples.read_text())[:12]))
    return path


def save(folder, family):
    """A SentenceTransformer of random weights, as its library saves it."""
    kind, sizes, pooling = FAMILIES[family]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(AutoConfig.for_model(kind, **sizes))
    for weight in model.parameters():
        if weight.dim() > 1:  # larger than at the start, so that every part counts
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder / "plain")
    save_tokenizer(folder / "plain")
    base = modules.Transformer(str(folder / "plain"), max_seq_length=60)
    row = [base, modules.Pooling(16, MODES[pooling]), modules.Normalize()]
    SentenceTransformer(modules=row, device="cpu", prompts=PROMPTS).save(str(folder / "source"))
    return folder / "source"


def vectors_of_both(library, retriever):
    """Of the folder of a SentenceTransformer and of a retriever: pairs that ought to be equal."""
    theirs, ours = SentenceTransformer(str(library), device="cpu"), load_retriever(retriever)
    return [
        (ours.encode_questions(QUESTIONS), theirs.encode_query(QUESTIONS)),
        (ours.encode_passages(PASSAGES), theirs.encode_document(TEXTS)),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_converted_trained_and_exported_with_the_vectors_of_its_library(
    family, tmp_path, examples
):
    source = save(tmp_path, family)
    report = convert(source=source, output_dir=tmp_path / "model")
    assert report.largest_difference < 1e-5
    assert report.packed == (family not in PADDED)
    assert load_config(tmp_path / "model").pooling == FAMILIES[family][2]
    before = vectors_of_both(source, tmp_path / "model")
    settings = {"init": str(tmp_path / "model"), "output_dir": str(tmp_path / "trained")}
    sizes = {"batch_size": 4, "max_steps": 3, "lr": 1e-3, "passage_max_length": 60}
    train(TrainSettings(train_file=(str(examples),), valid_every="never", **settings, **sizes))
    convert(source=tmp_path / "trained", to="sentence-transformers", output_dir=tmp_path / "out")
    after = vectors_of_both(tmp_path / "out", tmp_path / "trained")
    for ours, theirs in before + after:
        np.testing.assert_allclose(ours, theirs, **CLOSE)
    assert np.abs(before[0][0] - after[0][0]).max() > 1e-3
