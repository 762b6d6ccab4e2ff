"""An encoder's ONNX graph run by onnxruntime on the CPU: token ids in, vectors out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dprkit.cpu_cores import thread_count
from dprkit.errors import InputError, need_extra
from dprkit.models.forward_batches import chunks, padded
from dprkit.models.tokens import Ids


def runtime() -> Any:
    """The module onnxruntime, without its telemetry, which writes to the home and to stderr.

    Raises MissingExtra.
    """
    need_extra("onnx", "onnxruntime")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what exporter and quantiser log off stderr, and from setting the root logger up."""
    root, quiet = logging.getLogger(), logging.NullHandler()
    root.addHandler(quiet)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        root.removeHandler(quiet)


PASS_TOKENS = 512
"""Tokens of a forward pass, with their padding, where nothing else is said."""


class OnnxEncoder:
    """One encoder. `dim` is the width D of its vectors."""

    def __init__(self, path: Path, padding: int) -> None:
        """`padding`: the id that fills up shorter texts.

        Raises MissingExtra, and InputError where onnxruntime cannot read the graph.
        """
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        # Left to itself it ties each thread to a core, and so do other processes: to the same ones.
        options.intra_op_num_threads = thread_count()
        options.enable_mem_pattern = False  # it keeps a plan for every shape that ever came
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises nothing narrower
            problem = str(error).strip().splitlines()[0]
            raise InputError(
                f"{path}: onnxruntime cannot read it ({problem}); delete its folder or upgrade "
                "onnxruntime"
            ) from None
        self.path, self.padding = path, padding
        self.dim = int(self.session.get_outputs()[0].shape[1])

    def encode(self, ids: Ids, batch_tokens: int | None = None) -> np.ndarray:
        """The vectors (N, D), float32, of N texts, in their order.

        Texts go through in passes of at most `batch_tokens` tokens with their padding, longest
        first: passes that are small and of like lengths stay in the cache and waste little.
        """
        vectors = np.empty((len(ids), self.dim), np.float32)
        for part in chunks([len(text) for text in ids], batch_tokens or PASS_TOKENS, padded=True):
            rows, mask = padded([ids[i] for i in part], self.padding)
            feeds = {"input_ids": rows, "attention_mask": mask}
            (vectors[part],) = self.session.run(["vectors"], feeds)
        return vectors
