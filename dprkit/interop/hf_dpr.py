"""Hugging Face's DPR pairs: DPRQuestionEncoder and DPRContextEncoder, as RDR's are too.

A DPR encoder is a BERT below the prefix `question_encoder.bert_model.` or
`ctx_encoder.bert_model.`, with an optional `encode_proj`; its vector is the state of the first
token (transformers calls it `pooler_output`; BERT's own pooler is not used). Both halves have
the same config but for "architectures", and AutoModel takes either for a question encoder, so
which is which is never guessed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import Tensor

from dprkit.errors import InputError, MismatchError
from dprkit.interop.folder import CONFIG, built, config_in, json_in, read_weights
from dprkit.interop.tokenizer import tokenizer_in
from dprkit.interop.tower import Foreign, Tower, configured
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.probe_texts import Forward, check, sides_of
from dprkit.models.retriever_folder import save_tokenizer
from dprkit.models.tokens import PAIR, Tokens
from dprkit.settings import ConvertSettings

ROLES = {"question_encoder": "question", "ctx_encoder": "passage"}
CLASSES = {"DPRQuestionEncoder": "question", "DPRContextEncoder": "passage"}
KNOWN = tuple(f"{role}.{part}." for role in ROLES for part in ("bert_model", "encode_proj"))
"""How the names of a DPR encoder's weights begin."""
OWN = ("model_type", "architectures", "projection_dim", "transformers_version", "dtype")
"""What a DPRConfig says that is not about its BERT."""
FIXED = {"pooling": "cls", "similarity": "dot", "straight_apostrophe": True}
USUAL = {"question_max_length": 256, "passage_max_length": 256}


def is_dpr(folder: Path) -> bool:
    return json_in(folder, CONFIG).get("model_type") == "dpr"


def pair_in(folder: Path) -> tuple[Path, Path] | None:
    """The two halves of a pair that lie in one folder under the names of transformers."""
    pair = folder / "question_encoder", folder / "ctx_encoder"
    return pair if all(map(is_dpr, pair)) else None


def half(folder: Path) -> InputError:
    """The error for a single DPR folder: half a pair; it says which half, where it tells."""
    role = _role_by_class(folder)
    if role:
        other = "passage" if role == "question" else "question"
        return InputError(
            f"{folder}: holds only the {role} encoder of a DPR pair; {_naming(role)}, and the "
            f"{other} encoder beside it"
        )
    return InputError(
        f"{folder}: holds one DPR encoder and does not say whether it reads questions or "
        "passages; name the pair with --question-encoder and --passage-encoder, or as --retriever "
        "QUESTION,PASSAGE"
    )


def _naming(role: str) -> str:
    """How one encoder of a pair is named, to convert and to evaluate."""
    place = "before" if role == "question" else "behind"
    return f"name it with --{role}-encoder, or {place} the comma of --retriever QUESTION,PASSAGE"


def read(question: Path, passage: Path, settings: ConvertSettings) -> Foreign:
    """A pair of folders. Raises MismatchError where they are swapped."""
    config = configured(settings, FIXED, USUAL)
    towers = _tower(question, "question"), _tower(passage, "passage")
    mapped = [
        "question_encoder.bert_model.* is the question encoder",
        "ctx_encoder.bert_model.* is the passage encoder",
    ]
    if towers[0].head:
        mapped.append("encode_proj is the projection")
    return Foreign(*towers, config, mapped)


def _role_by_class(folder: Path) -> str | None:
    classes = json_in(folder, CONFIG).get("architectures") or []
    roles = {CLASSES[name] for name in classes if name in CLASSES}
    return roles.pop() if len(roles) == 1 else None


def _tower(folder: Path, role: str) -> Tower:
    if not is_dpr(folder):
        raise InputError(f"{folder}: is not a DPR encoder (model_type dpr in its {CONFIG})")
    told = _role_by_class(folder)
    if told not in (role, None):
        raise MismatchError(
            f"{folder}: is a {told} encoder, as its {CONFIG} says; {_naming(str(told))}"
        )
    weights = read_weights(folder)
    prefix = _prefix(weights, folder)
    if ROLES[prefix] != role:
        raise MismatchError(
            f"{folder}: its weights are those of a {ROLES[prefix]} encoder ({prefix}.*); "
            f"{_naming(ROLES[prefix])}"
        )
    bert, head = (below(weights, f"{prefix}.{part}.") for part in ("bert_model", "encode_proj"))
    if strange := [name for name in weights if not name.startswith(KNOWN)]:
        raise InputError(
            f"{folder}: its weights have {strange[0]}, which no DPR encoder has; name another"
        )
    backbone, idle = built(bert_config(folder), bert, folder)
    return Tower(backbone, tokenizer_in(folder), folder, head or None, idle)


def _prefix(weights: dict[str, Tensor], folder: Path) -> str:
    prefixes = {name.partition(".")[0] for name in weights} & ROLES.keys()
    if len(prefixes) == 1:
        return prefixes.pop()
    if any(name.startswith("span_predictor.") for name in weights):
        raise InputError(
            f"{folder}: holds a DPR reader; name the folder of an encoder, or read it alone with "
            "--kind hf-dpr-reader"
        )
    raise InputError(f"{folder}: its weights are those of no DPR encoder; name the folder of one")


def below(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def bert_config(folder: Path) -> Any:
    """The config of the BERT in a DPR folder."""
    from transformers import BertConfig

    settings = config_in(folder).to_dict()
    return BertConfig(**{name: value for name, value in settings.items() if name not in OWN})


# --- writing --------------------------------------------------------------------------------------


def write(model: BiEncoder, tokens: Tokens, folder: Path, source: str) -> list[str]:
    """question_encoder/ and ctx_encoder/, for DPRQuestionEncoder and DPRContextEncoder.

    Raises InputError, with the reason, for a retriever that these classes cannot hold.
    """
    from transformers import DPRContextEncoder, DPRQuestionEncoder

    if reason := _no_dpr(model):
        raise InputError(f"{source}: {reason}, which DPR's classes cannot hold; try another --to")
    kinds = {"question_encoder": DPRQuestionEncoder, "ctx_encoder": DPRContextEncoder}
    for role, side in zip(kinds, sides_of(model, tokens), strict=True):
        _dpr(side.encoder, kinds[role], role).save_pretrained(folder / role)
        save_tokenizer(folder / role, tokens, side.name)
        check(side, _loaded(kinds[role], folder / role), 1e-5)
    join = (
        "" if model.config.title_join == PAIR else f" (titles join by {model.config.title_join!r})"
    )
    return [
        "the question encoder is question_encoder/ (DPRQuestionEncoder)",
        f"the passage encoder is ctx_encoder/ (DPRContextEncoder){join}",
    ]


def _loaded(kind: Any, folder: Path) -> Forward:
    model = kind.from_pretrained(folder).eval()
    return lambda ids, mask: cast(Tensor, model(ids, mask).pooler_output)


def _no_dpr(model: BiEncoder) -> str:
    """Why DPR's classes cannot hold a retriever, or `""`."""
    config, backbone = model.config, model.question_encoder.backbone.config
    kind = str(backbone.model_type)  # type: ignore[union-attr]
    if kind != "bert":
        return f"its encoders are {kind}"
    if config.pooling != "cls":
        return f"it has {config.pooling} pooling"
    if config.heads:
        return f"it has {len(config.heads)} layers behind its pooling"
    if config.similarity != "dot":
        return f"it compares by {config.similarity}"
    if config.truncate_dim:
        return f"it cuts its vectors to {config.truncate_dim}"
    return (
        "it puts a prefix before texts" if config.question_prefix or config.passage_prefix else ""
    )


def _dpr(encoder: Encoder, kind: Any, prefix: str) -> Any:
    from transformers import DPRConfig

    config = encoder.backbone.config.to_dict()  # type: ignore[union-attr, operator]
    bert_config = {name: value for name, value in config.items() if name not in OWN}
    width = encoder.width if encoder.projection is not None else 0
    dpr = kind(DPRConfig(**bert_config, projection_dim=width))
    weights = {f"{prefix}.bert_model.{k}": v for k, v in encoder.backbone.state_dict().items()}
    if encoder.projection is not None:
        head = encoder.projection.state_dict()
        weights |= {f"{prefix}.encode_proj.{k}": v for k, v in head.items()}
    dpr.load_state_dict(weights)
    return dpr
