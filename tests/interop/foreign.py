"""Small models with random weights, saved as their own libraries save them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    DPRConfig,
    DPRContextEncoder,
    DPRQuestionEncoder,
    DPRReader,
    ElectraConfig,
    ElectraModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

from dprkit.settings import ConvertSettings

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "'", *LETTERS, *(f"##{x}" for x in LETTERS)]
QUESTIONS = ["who wrote hamlet", "Where is the Nile?", "a", "what is the " + "very " * 30 + "long"]
PASSAGES = [
    ("Hamlet", "a play by Shakespeare"),
    ("", "no title here"),
    ("the Nile", "a river " * 30),
    ("Everest", "a peak"),
]
SMALL = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 300,
}


def word_pieces(lowercase: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def save_tokenizer(folder: Path, lowercase: bool = True) -> PreTrainedTokenizerFast:
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=word_pieces(lowercase),
        model_max_length=300,
        **{f"{role}_token": token for role, token in names.items()},
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tokenizer


def bert(seed: int = 0, **more: object) -> BertModel:
    torch.manual_seed(seed)
    return BertModel(BertConfig(**{**SMALL, **more})).eval()


def save_bert(folder: Path, seed: int = 0) -> BertModel:
    model = bert(seed)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model


def save_dpr_pair(folder: Path, projection: int = 0) -> dict[str, torch.nn.Module]:
    """question/ and passage/ below `folder`, with other random weights each."""
    made = {}
    for seed, (name, kind) in enumerate(
        {"question": DPRQuestionEncoder, "passage": DPRContextEncoder}.items()
    ):
        torch.manual_seed(seed)
        made[name] = kind(DPRConfig(**SMALL, projection_dim=projection)).eval()
        made[name].save_pretrained(folder / name)
        save_tokenizer(folder / name)
    return made


def dpr_reader(seed: int = 0) -> DPRReader:
    """With random numbers in the heads' biases too, which are zero at first."""
    torch.manual_seed(seed)
    model = DPRReader(DPRConfig(**SMALL)).eval()
    for head in (model.span_predictor.qa_outputs, model.span_predictor.qa_classifier):
        torch.nn.init.normal_(head.weight)
        torch.nn.init.normal_(head.bias)
    return model


def save_dpr_reader(folder: Path, pickled: bool = False) -> DPRReader:
    model = dpr_reader()
    model.save_pretrained(folder)
    save_tokenizer(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return model


def family(name: str) -> torch.nn.Module:
    """A model of one of the five families that plain folders are of, in BERT's vocabulary."""
    torch.manual_seed(1)
    offset = {**SMALL, "pad_token_id": 0}
    distil = {"vocab_size": len(WORDS), "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    return {
        "bert": lambda: BertModel(BertConfig(**SMALL)),
        "roberta": lambda: RobertaModel(RobertaConfig(**offset, type_vocab_size=1)),
        "distilbert": lambda: DistilBertModel(
            DistilBertConfig(**distil, max_position_embeddings=300)
        ),
        "electra": lambda: ElectraModel(ElectraConfig(**SMALL, embedding_size=8)),
        "mpnet": lambda: MPNetModel(MPNetConfig(**{**offset, "pad_token_id": 1})),
    }[name]().eval()


def state_of(model: torch.nn.Module, text: object, length: int) -> torch.Tensor:
    """The last hidden states (L, H) of one text, without padding, with zero token types."""
    tokenizer = word_pieces()
    tokenizer.enable_truncation(length)
    ids = torch.tensor([tokenizer.encode(*([text] if isinstance(text, str) else text)).ids])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]


def joined(passage: tuple[str, str]) -> object:
    """A passage as DPR reads it: a pair, or the text alone."""
    return passage if passage[0] else passage[1]


def convert(**settings: object) -> object:
    from dprkit.interop.convert import convert as stage

    given = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
    return stage(ConvertSettings(**given))


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def save_sentence_transformer(folder: Path, *, modules: list[tuple[str, dict]] = (), **config):
    """A folder in sentence-transformers' layout: BERT, then `modules` (class, config)."""
    save_bert(folder)
    rows = [("Transformer", "", None), *((n, f"{i}_{n}", c) for i, (n, c) in enumerate(modules, 1))]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path, _) in enumerate(rows)
    ]
    write_json(folder / "modules.json", listed)
    for _, path, one in rows[1:]:
        write_json(folder / path / "config.json", one)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", config)


CROSS_ENCODERS = {
    "bert": (BertForSequenceClassification, BertConfig, SMALL),
    "roberta": (
        RobertaForSequenceClassification,
        RobertaConfig,
        {**SMALL, "pad_token_id": 0, "type_vocab_size": 1},
    ),
    "distilbert": (
        DistilBertForSequenceClassification,
        DistilBertConfig,
        {"vocab_size": SMALL["vocab_size"], "dim": 16, "n_layers": 2, "n_heads": 2}
        | {"hidden_dim": 24, "max_position_embeddings": 300},
    ),
}


def save_cross_encoder(folder, family="bert", **more):
    """A model with random weights that are large enough for its scores to differ."""
    kind, config, sizes = CROSS_ENCODERS[family]
    torch.manual_seed(3)
    model = kind(config(**{**sizes, "num_labels": 1, **more})).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)
    model.save_pretrained(folder)
    tokenizer = save_tokenizer(folder)
    return model, tokenizer
