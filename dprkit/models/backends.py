"""A retriever's encoders by the runtime that is asked for, or that is ready soonest."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from dprkit.errors import SettingsError, need_extra
from dprkit.models.config import load_config
from dprkit.models.encoders import Encoders, Side
from dprkit.models.onnx_encoder import OnnxEncoder
from dprkit.models.onnx_graphs import find_graph, keep_graph
from dprkit.models.tokens import Ids, load_tokens
from dprkit.progress import Run
from dprkit.store.integrity import Verifier

Backend = Literal["torch", "onnx"]


def load_encoders(
    retriever: Path | str,
    backend: Backend = "torch",
    int8: bool = False,
    precision: str = "fp32",
    run: Run = Run(),
) -> Encoders:
    """The encoders of a retriever.

    `precision`: fp32, bf16 or fp16, of torch's products. `backend="onnx"` runs on the CPU by
    onnxruntime; its graphs are made when they are first needed, which takes torch and some
    seconds, and kept. With `int8` matrix products are in 8 bits: faster, and the vectors are not
    quite the same (docs/performance.md).

    Raises MissingExtra, SettingsError for int8 with torch, GateError for a graph that does not do
    what the retriever does.
    """
    check_backend(backend, int8, precision)
    if backend == "torch":
        from dprkit.models.retriever import load_retriever

        return load_retriever(retriever, precision)
    return OnnxEncoders(retriever, int8, run)


def check_backend(backend: Backend, int8: bool, precision: str) -> None:
    """Raises SettingsError for int8 with torch, MissingExtra where the runtime is not installed."""
    if backend == "torch" and int8:
        raise SettingsError("--int8 is for --backend onnx; torch encodes in full precision")
    if backend == "onnx" and precision != "fp32":
        raise SettingsError(f"--precision {precision} is for --backend torch; onnx has --int8")
    if backend == "onnx":
        need_extra("onnx", "onnxruntime")


def load_question_encoder(retriever: Path | str, check: Verifier | None = None) -> Encoders:
    """The encoders of a retriever by whatever is ready soonest for a question.

    That is the ONNX graph of its question encoder, if it is there: neither torch nor transformers
    is imported then. Else it is torch. `check` sees that the graph was not changed.
    """
    if find_spec("onnxruntime") and find_graph(retriever, "question", check=check):
        return OnnxEncoders(retriever)
    return load_encoders(retriever)


class OnnxEncoders(Encoders):
    """A retriever's encoders by onnxruntime; each is opened when it is first used."""

    batch_tokens = 512

    def __init__(self, retriever: Path | str, int8: bool = False, run: Run = Run()) -> None:
        need_extra("onnx", "onnxruntime")
        self.retriever, self.int8, self.run = Path(retriever), int8, run
        self.config = load_config(retriever)
        super().__init__(load_tokens(self.retriever, self.config))
        self._opened: dict[Side, OnnxEncoder] = {}

    @property
    def dim(self) -> int:
        """The width D of the vectors."""
        opened = [*self._opened.values()] or [self._encoder("passage")]
        return opened[0].dim

    def vectors(self, side: Side, ids: Ids, batch_tokens: int | None = None) -> np.ndarray:
        """The vectors (N, D), float32, of N texts given as token ids, in their order."""
        return self._encoder(side).vectors(ids, batch_tokens or self.batch_tokens)

    def _encoder(self, side: Side) -> OnnxEncoder:
        if side not in self._opened:
            graph = keep_graph(self.retriever, side, self.int8, self.run)
            own = {one.path: one for one in self._opened.values()}  # one may serve both sides
            self._opened[side] = own.get(graph.path) or OnnxEncoder(graph.path, graph.padding)
        return self._opened[side]
