"""A cross-encoder: a transformer that reads a question and a passage together and scores them.

Nogueira and Cho 2019, "Passage Re-ranking with BERT" (https://arxiv.org/abs/1901.04085). On disk
it is a Hugging Face folder of a model for sequence classification with one label, such as
sentence-transformers' CrossEncoder saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dprkit.errors import InputError, loading
from dprkit.models import linear, position_limit
from dprkit.models.bi_encoder import device
from dprkit.models.forward_batches import PASS_TOKENS, chunks, padded
from dprkit.models.retriever_folder import IDLE, hush
from dprkit.models.tokens import transformers_tokenizer
from dprkit.models.torch_encoder import cast_of, inference
from dprkit.records import Passage
from dprkit.store.atomic_files import check_readable

HF_CONFIG = "config.json"
_FOR_PAIRS = "ForSequenceClassification"


class CrossEncoder:
    """A model that scores pairs of texts."""

    def __init__(self, model: Any, tokenizer: Any, length: int, precision: str = "fp32") -> None:
        """`model`, `tokenizer`: as transformers has them. `length`: tokens of a pair, at most.
        `precision`: fp32, bf16 or fp16, the numbers of the model's products."""
        self.model, self.tokenizer, self.length = model, tokenizer, length
        self.half = cast_of(precision)

    def scores(self, questions: Sequence[str], passages: Sequence[Passage]) -> np.ndarray:
        """The scores (N,), float32, of N questions and their N passages, pair by pair.

        A score is the logit, so there is no sigmoid in it: it has no bounds, and two good passages
        do not both become 1. Of a pair that is too long the longer text is cut.
        """
        if not questions:
            return np.empty(0, np.float32)
        texts = [f"{passage.title} {passage.text}".strip() for passage in passages]
        pairs = self.tokenizer(list(questions), texts, truncation=True, max_length=self.length)
        lengths = [len(ids) for ids in pairs["input_ids"]]
        place = next(self.model.parameters()).device
        scores = np.empty(len(lengths), np.float32)
        for part in chunks(lengths, PASS_TOKENS[place.type], padded=True):
            scores[part] = self._logits(pairs, part, place)
        return scores

    def _logits(self, pairs: Any, part: list[int], place: torch.device) -> np.ndarray:
        """(N,): those of the pairs `part`, in one forward pass."""
        ids, mask = padded([pairs["input_ids"][i] for i in part], self.tokenizer.pad_token_id or 0)
        given = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in pairs:
            given["token_type_ids"], _ = padded([pairs["token_type_ids"][i] for i in part], 0)
        tensors = {name: torch.from_numpy(array).to(place) for name, array in given.items()}
        with inference(place.type, self.half):
            logits: np.ndarray = self.model(**tensors).logits[:, 0].float().cpu().numpy()
        return logits


def load_cross_encoder(folder: Path | str, precision: str = "fp32") -> CrossEncoder:
    """The cross-encoder of a Hugging Face folder, with weights of float32, on `device()`.

    Raises InputError where there is none, where it has several labels, and where its weights lack
    something: a head made up at random would look like one that works.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if not (Path(folder) / HF_CONFIG).is_file():
        raise InputError(f"{folder}: has no {HF_CONFIG}; name the folder of a cross-encoder")
    check_readable(folder)
    hush()
    how: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    problem = "no cross-encoder could be loaded from there"
    with loading(folder, problem):
        config = AutoConfig.from_pretrained(folder, **how)
    _check_config(config, folder)
    with loading(folder, problem):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # `_check_weights` names them
            output_loading_info=True,
            **how,
        )
        tokenizer = transformers_tokenizer(folder)
    _check_weights(model, info, folder)
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes of no files
        raise InputError(f"{folder}: has no tokenizer; put the files of its tokenizer there")
    room = position_limit.measured(model.base_model, tokenizer.backend_tokenizer, folder)
    linear.enable(model)
    length = min(room, int(tokenizer.model_max_length))
    return CrossEncoder(model.eval().to(device()), tokenizer, length, precision)


def _check_config(config: Any, folder: Path | str) -> None:
    """Raises InputError for a model that gives no single score of a pair."""
    named = (config.architectures or [""])[0]
    if named == "DPRReader":
        raise InputError(
            f"{folder}: is a reader as transformers keeps it; read it with dprkit convert {folder} "
            "--output-dir READER, and name READER"
        )
    if named and not named.endswith(_FOR_PAIRS):
        raise InputError(
            f"{folder}: is no cross-encoder: its {HF_CONFIG} names {named}, which scores no pairs; "
            f"name a folder of a model {_FOR_PAIRS}, or read an encoder with dprkit convert first"
        )
    if config.num_labels != 1:
        raise InputError(
            f"{folder}: gives {config.num_labels} labels for a pair, and a cross-encoder gives one "
            "score; name one that was trained for ranking"
        )


def _check_weights(model: Any, info: dict[str, Any], folder: Path | str) -> None:
    """Raises InputError where the weights are not those of the model."""
    if other := sorted(str(one[0]) for one in info["mismatched_keys"]):
        raise InputError(
            f"{folder}: its weights do not fit its config: {other[0]} has another shape; "
            "take both from one model"
        )
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{folder}: its weights lack {', '.join(missing[:3])}; name the folder of a whole model"
        )
    base = f"{model.base_model_prefix}."
    unknown = sorted(info["unexpected_keys"])
    if strange := [key for key in unknown if not IDLE.search(key.removeprefix(base))]:
        raise InputError(
            f"{folder}: its weights have {', '.join(strange[:3])}, which transformers' "
            f"{type(model).__name__} does not use; it is another kind of model"
        )
