"""Probe texts, kept with a retriever's vectors of them: it and its exports are checked by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from dprkit.errors import GateError, InputError, reading
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.config import SIDES, Side
from dprkit.models.late_interaction import Colbert
from dprkit.models.retriever_folder import load_model
from dprkit.models.tokens import Ids, Tokens
from dprkit.models.torch_encoder import encoders_of, token_vectors
from dprkit.records import Passage
from dprkit.store.drafts import Draft

PROBES = "probes.safetensors"
PROBE_TOLERANCE = 1e-3
"""How far a number of a probe's vector may be from the one saved, on any machine."""

_SUBJECTS = (
    "Mount Everest",
    "the Nile",
    "helium",
    "chess",
    "Jupiter",
    "the piano",
    "Iceland",
    "the printing press",
    "photosynthesis",
    "Kyōto",
    "x² + y² = z²",
    "tea",
    "Москва",
    "東京",
    "a very short one",
    "bridges",
)
PROBE_QUESTIONS = tuple(f"what is known about {subject}" for subject in _SUBJECTS)
PROBE_PASSAGES = tuple(
    Passage("", f"This passage says a few words about {subject}. " * (1 + i % 4), subject)
    for i, subject in enumerate(_SUBJECTS)
)


def _vectors(
    model: BiEncoder | Colbert,
    tokens: Tokens,
    questions: Sequence[str],
    passages: Sequence[Passage],
) -> dict[str, np.ndarray]:
    """The vectors of texts, (N, D), or of all their tokens, (T, D)."""
    ids: dict[Side, Ids] = {
        "question": tokens.questions(questions),
        "passage": tokens.passages(passages),
    }
    model.eval()
    if isinstance(model, Colbert):
        made = {side: token_vectors(model, side, ids[side], 2048).values for side in SIDES}
    else:
        made = {side: encoders_of(model)(side).encode(ids[side], 2048) for side in SIDES}
    return {f"{side}s": vectors for side, vectors in made.items()}


def save_probes(work: Draft, model: BiEncoder | Colbert, tokens: Tokens) -> None:
    """Write probes.safetensors: whoever moves or converts the retriever can check it by them."""
    from safetensors.numpy import save

    texts = {"questions": PROBE_QUESTIONS, "passages": [[p.title, p.text] for p in PROBE_PASSAGES]}
    # One key: safetensors writes several in a random order.
    metadata = {"texts": msgspec.json.encode(texts).decode()}
    with work.file(PROBES) as file:
        vectors = _vectors(model, tokens, PROBE_QUESTIONS, PROBE_PASSAGES)
        file.write(save(vectors, metadata=metadata))


class Probes(NamedTuple):
    """Texts of a retriever with the vectors it was saved with, "questions" and "passages"."""

    questions: list[str]
    passages: list[Passage]
    vectors: dict[str, np.ndarray]


def read_probes(directory: Path | str) -> Probes:
    """What probes.safetensors holds. Raises InputError where the retriever has none."""
    from safetensors import SafetensorError, safe_open

    path = Path(directory) / PROBES
    try:
        with reading(path), safe_open(path, "np") as probes:
            texts = msgspec.json.decode(probes.metadata()["texts"])
            saved = {name: probes.get_tensor(name) for name in probes.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, msgspec.DecodeError) as error:
        raise InputError(f"{path}: damaged: {error}; make the retriever again") from None
    passages = [Passage("", text, title) for title, text in texts["passages"]]
    return Probes(texts["questions"], passages, saved)


def probe_difference(directory: Path | str) -> float:
    """The largest difference of a number between the probes' vectors as saved and as made now.

    The texts are those saved. Raises InputError where the retriever has no probes.
    """
    probes = read_probes(directory)
    now = _vectors(*load_model(directory), probes.questions, probes.passages)
    return max(_difference(probes.vectors[name], vectors) for name, vectors in now.items())


def _difference(saved: np.ndarray, now: np.ndarray) -> float:
    """The largest difference of a number; infinite where there are more or fewer vectors."""
    return float(np.abs(saved - now).max()) if saved.shape == now.shape else float("inf")


# --- exports --------------------------------------------------------------------------------------

Forward = Callable[[Tensor, Tensor], Tensor]
"""ids (N, L) and mask (N, L) -> vectors (N, D)."""


class ProbedEncoder(NamedTuple):
    """One encoder of a retriever, its tokenizer's role, and its probe texts as ids."""

    name: Side
    encoder: Encoder
    ids: Ids


def sides_of(model: BiEncoder, tokens: Tokens) -> tuple[ProbedEncoder, ProbedEncoder]:
    """The question's side and the passage's."""
    return (
        ProbedEncoder("question", model.question_encoder, tokens.questions(PROBE_QUESTIONS)),
        ProbedEncoder("passage", model.passage_encoder, tokens.passages(PROBE_PASSAGES)),
    )


def check(side: ProbedEncoder, exported: Forward, allowed: float) -> float:
    """The largest difference of a number between the encoder's vectors and the exported one's.

    All ids go through in one padded batch. Raises GateError above `allowed`.
    """
    ids, mask = side.encoder.padded(side.ids, torch.device("cpu"))
    with torch.no_grad():
        difference = float((side.encoder(ids, mask) - exported(ids, mask)).abs().max())
    if not difference <= allowed:
        raise GateError(
            f"the exported {side.name} encoder differs by {difference:.3g} on the probes "
            f"({allowed:g} is allowed); nothing was written"
        )
    return difference
