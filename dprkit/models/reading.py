"""A reader as its users hold it, and on disk.

reader.yaml           the ReaderConfig
encoder/              Hugging Face layout: config.json, model.safetensors, tokenizer
heads.safetensors     span.weight (2, H), span.bias (2), relevance.weight (1, H),
                      relevance.bias (1)
probes.safetensors    questions and passages with their logits (dprkit.models.reader_probes)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from dprkit.errors import loading, reading
from dprkit.models.bi_encoder import device
from dprkit.models.config import READER
from dprkit.models.forward_batches import PASS_TOKENS
from dprkit.models.reader import END, RELEVANCE, START, ReaderModel
from dprkit.models.reader_config import load_reader_config
from dprkit.models.reader_tokens import ReaderInput, ReaderTokens, load_reader_tokens
from dprkit.models.retriever_folder import hush, load_transformer, write_tokenizer
from dprkit.models.torch_encoder import cast_of, inference
from dprkit.records import Passage, as_passages
from dprkit.store.drafts import Draft

ENCODER, HEADS = "encoder", "heads.safetensors"
PAIRS = 2048
"""Pairs whose tokens are held together; they go through longest first."""

Text = Passage | tuple[str, str]


class PassageLogits(NamedTuple):
    """What a reader says of a passage, for the L tokens of its text."""

    start: np.ndarray
    """(L,) float32: that the answer's first token is this one."""
    end: np.ndarray
    """(L,) float32: that its last is."""
    relevance: float
    """That the passage answers the question. Comparable among passages of one question."""
    offsets: np.ndarray
    """(L, 2) int32: where the token begins and ends in the text, in characters."""
    words: np.ndarray
    """(L,) int32: the number of the word that the token is of, ascending."""
    log_total: float
    """log of the sum of exp(start) over the text's tokens, plus that of end: what makes
    probabilities of a span's logits, as the loss has them."""


class Reader:
    """Reads questions with passages: relevance, and where the answers begin and end."""

    def __init__(self, model: ReaderModel, tokens: ReaderTokens, precision: str = "fp32") -> None:
        """`precision`: fp32, bf16 or fp16, the numbers of the transformer's products."""
        self.model, self.tokens, self.half = model, tokens, cast_of(precision)

    def scores(self, questions: Sequence[str], passages: Sequence[Text]) -> np.ndarray:
        """The relevance (N,), float32, of N questions and their N passages, pair by pair."""
        parts = [
            values[bounds[:-1], RELEVANCE]
            for _, values, bounds in self._blocks(questions, passages)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def logits(self, questions: Sequence[str], passages: Sequence[Text]) -> list[PassageLogits]:
        """What the reader says of N questions and their N passages, pair by pair."""
        return [
            _of_text(given, values[begin:end])
            for inputs, values, bounds in self._blocks(questions, passages)
            for given, begin, end in zip(inputs, bounds[:-1], bounds[1:], strict=True)
        ]

    def _blocks(
        self, questions: Sequence[str], passages: Sequence[Text]
    ) -> Iterator[tuple[list[ReaderInput], np.ndarray, np.ndarray]]:
        """Some pairs' inputs, logits (T, 3), and where each input begins and ends in them."""
        if isinstance(questions, str):
            raise TypeError("questions must be a list of strings, not one string")
        if len(questions) != len(passages):
            raise ValueError(
                f"{len(questions)} questions and {len(passages)} passages make no pairs"
            )
        for begin in range(0, len(questions), PAIRS):
            part = slice(begin, begin + PAIRS)
            inputs = self.tokens.inputs(questions[part], as_passages(passages[part]))
            yield inputs, *self._rows(inputs)

    def _rows(self, inputs: list[ReaderInput]) -> tuple[np.ndarray, np.ndarray]:
        place = next(self.model.parameters()).device.type
        with inference(place, self.half):
            rows = self.model.encode([given.ids for given in inputs], PASS_TOKENS[place])
        return rows.values.float().cpu().numpy(), rows.bounds.numpy()


def _of_text(given: ReaderInput, logits: np.ndarray) -> PassageLogits:
    text = logits[given.begin :]
    relevance = float(logits[0, RELEVANCE])
    log_total = float(np.logaddexp.reduce(text[:, (START, END)].astype(np.float64)).sum())
    return PassageLogits(
        text[:, START], text[:, END], relevance, given.offsets, given.words, log_total
    )


# --- on disk --------------------------------------------------------------------------------------


def load_reader(path: Path | str, precision: str = "fp32") -> Reader:
    """The reader in a folder that `dprkit train-reader` or `dprkit convert` made.

    `precision`: fp32, bf16 or fp16. Raises InputError, MismatchError for a retriever's folder.
    """
    return Reader(*load_reader_model(path), precision)


def load_reader_model(path: Path | str, dropout: float = 0.0) -> tuple[ReaderModel, ReaderTokens]:
    """The model of a reader folder, in evaluation mode on `device()`, and how it reads text."""
    from safetensors.torch import load

    config, folder = load_reader_config(path), Path(path) / ENCODER
    tokens = load_reader_tokens(folder, config)
    model = ReaderModel(load_transformer(folder)[0], tokens, dropout)
    heads = Path(path) / HEADS
    with reading(heads):
        data = heads.read_bytes()
    with loading(heads, "no heads of a reader could be loaded from there"):
        model.heads.load_state_dict(load(data))
    return model.eval().to(device()), tokens


def save_reader(work: Draft, model: ReaderModel, tokens: ReaderTokens, below: str = "") -> None:
    """Write a reader's files into an artifact, below the folder `below`."""
    import yaml
    from safetensors.torch import save

    hush()
    content, backbone = not below, cast(Any, model.backbone)
    with work.folder(below + ENCODER, content=content) as folder:
        backbone.save_pretrained(folder)
        write_tokenizer(folder, tokens.loaded, tokens.config.passage_max_length)
    with work.file(below + HEADS, content=content) as file:
        file.write(save(model.heads.state_dict()))
    with work.file(below + READER, content=content) as file:
        file.write(yaml.safe_dump(model.config.document(), sort_keys=False).encode())
