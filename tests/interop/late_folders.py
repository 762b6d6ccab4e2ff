"""Small ColBERT models with random weights, saved as their own libraries save them."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertPreTrainedModel,
    BertTokenizer,
    PreTrainedTokenizerBase,
)

from dprkit.models.late_retriever import LateRetriever
from dprkit.models.retriever_folder import load_colbert

QUESTIONS = ["Berlin", "Paris", "London"]
PASSAGES = [
    "Berlin is the capital of Germany",
    "Paris is the capital of France and France is in Europe",
    "London is the capital of England",
]
"""The example of neural-cherche's documentation."""
MORE = ["", "why, is it?", "the capital of France, " * 30, "London! (England)"]
TEXT = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] [unused0] [unused1] berlin paris london is the capital of "
    "germany france and in europe england why it say q d a who"
)
WORDS = [*TEXT.split(), *string.punctuation, *(f"##{x}" for x in string.ascii_lowercase)]
SHAPE = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 400,
    "initializer_range": 0.2,
}
SIZE = 128


def config(**more: Any) -> BertConfig:
    return BertConfig(**{**SHAPE, **more})


def save_words(folder: Path) -> BertTokenizer:
    """A BERT tokenizer that knows a few words."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), model_max_length=400)
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_plain(folder: Path) -> Path:
    """A BERT, without a projection."""
    torch.manual_seed(3)
    BertModel(config()).save_pretrained(folder)
    save_words(folder)
    return folder


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def linear(out: int = SIZE, width: int = 32, seed: int = 5) -> torch.Tensor:
    return torch.randn(out, width, generator=torch.Generator().manual_seed(seed))


# --- sentence-transformers ------------------------------------------------------------------------


def save_multi_vector(folder: Path, dense: int = 1, **use: Any) -> Path:
    """Saved by MultiVectorEncoder. `use`: of its Transformer, and `skip`, `prompts`, `pooled`."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import (
        HierarchicalTokenPooling,
        MultiVectorMask,
    )

    skip, prompts, pooled = (use.pop(name, ()) for name in ("skip", "prompts", "pooled"))
    modules = [Transformer(str(save_plain(folder / "plain")), **use)]
    at = {"module_input_name": "token_embeddings"}
    for number in range(dense):
        torch.manual_seed(number)
        width = SIZE if number else 32
        identity = torch.nn.Identity()
        more = {"bias": False, "activation_function": identity, "use_residual": number > 0}
        modules.append(Dense(width, SIZE, **more, **at))
    modules += [MultiVectorMask(skiplist_words=list(skip)), Normalize(**at)]
    if pooled:
        modules.append(HierarchicalTokenPooling(pool_factor=pooled))
    model = MultiVectorEncoder(modules=modules, prompts=dict(prompts) or None, device="cpu")
    model.save_pretrained(str(folder / "model"))
    return folder / "model"


def by_library(folder: Path, questions: list[str], passages: list[str]) -> list[Any]:
    """Vectors of questions and of passages, and scores (Q, P), by sentence-transformers."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    asked, read = model.encode_query(questions), model.encode_document(passages)
    scores = model.similarity(asked, read).numpy()
    return [[one.numpy() for one in asked], [one.numpy() for one in read], scores]


# --- PyLate and Stanford --------------------------------------------------------------------------


def save_pylate(folder: Path, residual: bool = False, **said: Any) -> Path:
    """As PyLate 1.6 saves a model; PyLate itself does not go with this torch."""
    save_plain(folder)
    weights = {"linear.weight": linear()}
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Dense", PYLATE_DENSE)]
    _save_dense(folder / "1_Dense", weights, use_residual=False)
    if residual:
        modules.append(("2_Dense", PYLATE_DENSE))
        more = {"linear.weight": linear(48, SIZE, 6), "residual.weight": linear(48, SIZE, 7)}
        _save_dense(folder / "2_Dense", more, use_residual=True)
    entries = [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(modules)
    ]
    write_json(folder / "modules.json", entries)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 31, "do_lower_case": False})
    use = {
        "__version__": {"sentence_transformers": "5.3.0"},
        "model_type": "ColBERT",
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[unused0]",
        "document_prefix": "[unused1]",
        "query_length": 20,
        "document_length": 60,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        "do_query_expansion": True,
    } | said
    left = {name: value for name, value in use.items() if value is not ...}
    write_json(folder / "config_sentence_transformers.json", left)
    return folder


PYLATE_DENSE = "pylate.models.Dense.Dense"


def _save_dense(folder: Path, weights: dict[str, torch.Tensor], use_residual: bool) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    out, width = weights["linear.weight"].shape
    said = {"in_features": width, "out_features": out, "bias": False, "use_residual": use_residual}
    identity = {"activation_function": "torch.nn.modules.linear.Identity"}
    write_json(folder / "config.json", said | identity)
    save_file(weights, folder / "model.safetensors")


class HF_ColBERT(BertPreTrainedModel):
    """As Stanford's code defines it: its name and the names of its weights are in a folder."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.linear = torch.nn.Linear(config.hidden_size, SIZE, bias=False)
        self.bert = BertModel(config)
        self.post_init()


def save_stanford(folder: Path, pickled: bool = False, **said: Any) -> Path:
    """As BaseColBERT.save of Stanford's code; without `said` there is no artifact.metadata."""
    torch.manual_seed(4)
    model = HF_ColBERT(config())
    model.save_pretrained(folder)
    save_words(folder)
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    if said:
        write_json(folder / "artifact.metadata", {"dim": SIZE, "nway": 64, "lr": 1e-5} | said)
    return folder


# --- neural-cherche -------------------------------------------------------------------------------


def neural_cherche(monkeypatch: Any) -> Any:
    """Its models; transformers 5 has taken away the one method by which it calls a tokenizer."""
    import pytest

    models = pytest.importorskip("neural_cherche.models")

    def batch_encode_plus(self: Any, batch_text_or_text_pairs: Any, **how: Any) -> Any:
        return self(batch_text_or_text_pairs, **how)

    name = "batch_encode_plus"
    monkeypatch.setattr(PreTrainedTokenizerBase, name, batch_encode_plus, raising=False)
    return models


def save_first_era(folder: Path, question: int, passage: int, **more: Any) -> Path:
    """As its first era saves a model; that does not go with this transformers."""
    save_masked_lm(folder, **more)
    torch.save({"weight": linear()}, folder / "linear.pt")
    lengths = {"max_length_query": question, "max_length_document": passage}
    write_json(folder / "metadata.json", lengths)
    return folder


def save_masked_lm(folder: Path, **more: Any) -> Path:
    torch.manual_seed(3)
    BertForMaskedLM(config(**more)).save_pretrained(folder)
    save_words(folder)
    return folder


def late(folder: Path) -> LateRetriever:
    return LateRetriever(*load_colbert(folder))
