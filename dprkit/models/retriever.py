"""A retriever as its users hold it: texts in, numpy arrays out, by torch or by onnxruntime.

Retriever
├── Tokens               tokens.py          texts -> token ids
└── for each side        token ids -> vectors
    ├── TorchEncoder     torch_encoder.py   an Encoder of the BiEncoder (bi_encoder.py)
    └── OnnxEncoder      onnx_encoder.py    the ONNX copy of that encoder (onnx_copies.py)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from dprkit.errors import SettingsError, need_extra
from dprkit.models.config import ColbertConfig, Side, bi_encoder_config, load_config
from dprkit.models.nested_sizes import cut, refuse_misfit
from dprkit.models.onnx_copies import OnnxCopy, find_copy, keep_copy
from dprkit.models.onnx_encoder import OnnxEncoder
from dprkit.models.tokens import Ids, Tokens, load_tokens
from dprkit.progress import Run
from dprkit.records import Passage, as_passages
from dprkit.store.integrity import Verifier

if TYPE_CHECKING:
    from dprkit.models.late_retriever import LateRetriever

Backend = Literal["torch", "onnx"]


class TextEncoder(Protocol):
    """The encoder of one side, whatever runs it."""

    @property
    def dim(self) -> int:
        """The width D of the vectors."""

    def encode(self, ids: Ids, batch_tokens: int | None = None) -> np.ndarray:
        """The vectors (N, D), float32, of N texts given as token ids, in their order.

        `batch_tokens`: at most so many tokens go through at a time.
        """


class Retriever:
    """A question encoder and a passage encoder with one similarity."""

    def __init__(
        self,
        tokens: Tokens,
        open_encoder: Callable[[Side], TextEncoder],
        truncate_dim: int | None = None,
    ) -> None:
        """`open_encoder` gives the encoder of a side; it is asked when one is first used.

        `truncate_dim`: the first numbers of a vector that are kept; None: all.
        """
        self.tokens, self.encoder_of = tokens, cache(open_encoder)
        self.truncate_dim = truncate_dim
        self._unit_length = getattr(tokens.config, "similarity", "") == "cosine"

    @property
    def dim(self) -> int:
        """The width D of the vectors."""
        return self.truncate_dim or self.encoder_of("passage").dim

    def encode(self, side: Side, ids: Ids, batch_tokens: int | None = None) -> np.ndarray:
        """The vectors (N, D), float32, of N texts given as token ids, in their order."""
        vectors = self.encoder_of(side).encode(ids, batch_tokens)
        return cut(vectors, self.truncate_dim, self._unit_length)

    def encode_questions(
        self, questions: Sequence[str], batch_tokens: int | None = None
    ) -> np.ndarray:
        """The vectors (N, D), float32, of N questions."""
        if isinstance(questions, str):
            raise TypeError("questions must be a list of strings, not one string")
        return self.encode("question", self.tokens.questions(questions), batch_tokens)

    def encode_passages(
        self, passages: Sequence[Passage | tuple[str, str]], batch_tokens: int | None = None
    ) -> np.ndarray:
        """The vectors (N, D), float32, of N passages: records or (title, text) pairs."""
        return self.encode("passage", self.tokens.passages(as_passages(passages)), batch_tokens)

    def scores(
        self, questions: Sequence[str], passages: Sequence[Passage | tuple[str, str]]
    ) -> np.ndarray:
        """The similarities (N,) of N questions and their N passages, pair by pair."""
        if len(questions) != len(passages):
            raise ValueError(
                f"{len(questions)} questions and {len(passages)} passages make no pairs"
            )
        product = self.encode_questions(questions) * self.encode_passages(passages)
        return np.asarray(product.sum(axis=1))


def load_retriever(
    path: Path | str,
    backend: Backend = "torch",
    int8: bool = False,
    precision: str = "fp32",
    run: Run = Run(),
    truncate_dim: int | None = None,
) -> Retriever | LateRetriever:
    """The retriever in a folder that `dprkit train` or `dprkit convert` made.

    A Retriever of a bi-encoder, a LateRetriever of a ColBERT model.

    `precision`: fp32, bf16 or fp16, of torch's products. `backend="onnx"` runs on the CPU by
    onnxruntime; the ONNX copies of the encoders are made when they are first needed, which takes
    torch and some seconds, and kept. With `int8` their matrix products are in 8 bits: faster, and
    the vectors are not quite the same (docs/performance.md). `truncate_dim`: keep so many of the
    first numbers of each vector, brought to length 1 where they are compared by cosine.

    Raises MissingExtra, SettingsError for int8 with torch and for another precision, MismatchError
    for a ColBERT model with onnx or `truncate_dim`, and for vectors that are shorter than that,
    GateError for a copy that does not do what the retriever does.
    """
    check_backend(backend, int8, precision)
    if backend == "torch" and isinstance(load_config(path), ColbertConfig) and truncate_dim is None:
        return load_late_retriever(path, precision)
    if backend == "torch":
        retriever = _load_torch(path, precision)
    else:
        retriever = _load_onnx(path, {}, int8, run)
    if truncate_dim is not None:
        refuse_misfit(truncate_dim, retriever.dim, path)
        retriever.truncate_dim = truncate_dim
    return retriever


def _load_torch(path: Path | str, precision: str = "fp32") -> Retriever:
    from dprkit.models.retriever_folder import load_bi_encoder
    from dprkit.models.torch_encoder import encoders_of

    model, tokens = load_bi_encoder(path)
    return Retriever(tokens, encoders_of(model, precision))


def load_late_retriever(path: Path | str, precision: str = "fp32") -> LateRetriever:
    """As `load_retriever`, of a ColBERT model. Raises MismatchError for another kind."""
    from dprkit.models.late_retriever import LateRetriever
    from dprkit.models.retriever_folder import load_colbert

    return LateRetriever(*load_colbert(path), precision)


def load_bi_encoder_retriever(
    path: Path | str,
    backend: Backend = "torch",
    int8: bool = False,
    precision: str = "fp32",
    run: Run = Run(),
    truncate_dim: int | None = None,
) -> Retriever:
    """As `load_retriever`, of a bi-encoder. Raises MismatchError for another kind."""
    bi_encoder_config(path, "what is asked for")
    retriever = load_retriever(path, backend, int8, precision, run, truncate_dim)
    assert isinstance(retriever, Retriever)
    return retriever


def _load_onnx(
    path: Path | str, copies: Mapping[Side, OnnxCopy], int8: bool = False, run: Run = Run()
) -> Retriever:
    """A retriever that runs on ONNX copies: those found already, or made when they are needed."""
    tokens = load_tokens(Path(path), bi_encoder_config(path, "--backend onnx"))
    opened = cache(OnnxEncoder)  # one may serve both sides

    def open_encoder(side: Side) -> OnnxEncoder:
        copy = copies.get(side) or keep_copy(path, side, int8, run)
        return opened(copy.path, copy.padding)

    return Retriever(tokens, open_encoder)


def load_for_questions(
    path: Path | str, check: Verifier | None = None, truncate_dim: int | None = None
) -> Retriever:
    """A retriever that is to encode questions, by the backend that starts soonest.

    That is the ONNX copy of its question encoder, if it is there: neither torch nor transformers
    is imported then. Else it is torch. `check` sees that the copy was not changed. `truncate_dim`:
    as of `load_retriever`; that the vectors are as long is not asked.
    """
    copy = find_copy(path, "question", check=check) if find_spec("onnxruntime") else None
    retriever = _load_onnx(path, {"question": copy}) if copy else load_bi_encoder_retriever(path)
    retriever.truncate_dim = truncate_dim
    return retriever


def check_backend(backend: Backend, int8: bool, precision: str) -> None:
    """Raises SettingsError for int8 with torch, MissingExtra where the runtime is not installed."""
    if backend == "torch" and int8:
        raise SettingsError(
            "--int8 is for --backend onnx; torch encodes in full precision (token vectors of a "
            "ColBERT model are kept in 8 bits by --dtype int8)"
        )
    if backend == "onnx" and precision != "fp32":
        raise SettingsError(f"--precision {precision} is for --backend torch; onnx has --int8")
    if backend == "onnx":
        need_extra("onnx", "onnxruntime")
