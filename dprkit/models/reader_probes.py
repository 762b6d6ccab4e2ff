"""Probe texts of a reader, kept with its logits: whoever moves or converts it can check it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from dprkit.errors import InputError, reading
from dprkit.models.probe_texts import PROBE_PASSAGES, PROBE_QUESTIONS, PROBES
from dprkit.models.reader import ReaderModel
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.models.reading import load_reader_model
from dprkit.models.torch_encoder import inference
from dprkit.records import Passage
from dprkit.store.drafts import Draft

LOGITS = "logits"


def probe_logits(
    model: ReaderModel,
    tokens: ReaderTokens,
    questions: Sequence[str] = PROBE_QUESTIONS,
    passages: Sequence[Passage] = PROBE_PASSAGES,
) -> np.ndarray:
    """(T, 3): of all tokens of question i with passage i."""
    model.eval()
    ids = [given.ids for given in tokens.inputs(questions, passages)]
    with inference(next(model.parameters()).device.type, None):
        return np.asarray(model.encode(ids, 2048).values.float().cpu().numpy())


def save_reader_probes(work: Draft, model: ReaderModel, tokens: ReaderTokens) -> None:
    """Write probes.safetensors, from which `reader_probe_difference` tells a change."""
    from safetensors.numpy import save

    texts = {"questions": PROBE_QUESTIONS, "passages": [[p.title, p.text] for p in PROBE_PASSAGES]}
    metadata = {"texts": msgspec.json.encode(texts).decode()}
    with work.file(PROBES) as file:
        file.write(save({LOGITS: probe_logits(model, tokens)}, metadata=metadata))


def reader_probe_difference(directory: Path | str) -> float:
    """The largest difference of a logit between the probes' as saved and as made now.

    Raises InputError where the reader has no probes.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(directory) / PROBES
    try:
        with reading(path), safe_open(path, "np") as probes:
            texts = msgspec.json.decode(probes.metadata()["texts"])
            saved = probes.get_tensor(LOGITS)
    except (SafetensorError, TypeError, KeyError, msgspec.DecodeError) as error:
        raise InputError(f"{path}: damaged: {error}; make the reader again") from None
    passages = [Passage("", text, title) for title, text in texts["passages"]]
    now = probe_logits(*load_reader_model(directory), texts["questions"], passages)
    return float(np.abs(saved - now).max()) if saved.shape == now.shape else float("inf")
