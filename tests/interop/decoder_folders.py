"""Small decoders with random weights, as other libraries keep them."""

import json

import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from tests.interop.foreign import WORDS, word_pieces, write_json
from tests.models.test_packed_families import DECODERS, FAMILIES


def save_plain(folder, family, end=True):
    """A model with random weights; `end`: its tokenizer puts [SEP] behind each text."""
    kind, size = FAMILIES[family]
    torch.manual_seed(0)
    special = {"bos_token_id": 2, "eos_token_id": 3} if "bos_token_id" in size else {}
    config = AutoConfig.for_model(kind, **{**size, "vocab_size": len(WORDS), **special})
    model = AutoModel.from_config(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer = word_pieces()
    tokenizer.post_processor = TemplateProcessing(
        single="$A [SEP]" if end else "[CLS] $A",
        pair="$A $B:0 [SEP]" if end else "[CLS] $A $B:0",
        special_tokens=[("[SEP]", 3), ("[CLS]", 2)],
    )
    tokenizer.enable_padding(length=40)  # as some folders have it
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[SEP]"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=90, padding_side="left", **names
    ).save_pretrained(folder)
    return folder


def save_sentence_model(folder, family):
    """As sentence-transformers keeps an embedder: the last token or the mean, at length 1."""
    save_plain(folder, family)
    mode = "lasttoken" if family in DECODERS else "mean"
    kinds = {"Transformer": None, "Pooling": {"embedding_dimension": 32, "pooling_mode": mode}}
    kinds["Normalize"] = {}
    places = [("" if kind == "Transformer" else f"{i}_{kind}") for i, kind in enumerate(kinds)]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, places, strict=True))
    ]
    write_json(folder / "modules.json", listed)
    for path, config in list(zip(places, kinds.values(), strict=True))[1:]:
        write_json(folder / path / "config.json", config)
    prompts = {"query": "given a web question: ", "document": ""}
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    return folder


def tell_spaces(folder):
    """Let the tokenizer of a folder have a token for each character, spaces too."""
    path = folder / "tokenizer.json"
    parts = json.loads(path.read_text())
    words = {" " if word == "##z" else word: i for i, word in enumerate(WORDS)}
    parts["model"] = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    split = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated"}
    path.write_text(
        json.dumps(parts | {"normalizer": None, "pre_tokenizer": split | {"invert": False}})
    )
