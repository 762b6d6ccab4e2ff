"""convert --to onnx: question_encoder.onnx and passage_encoder.onnx, ids and mask in, vectors out.

Inputs are `input_ids` and `attention_mask`, (N, L) of int64 with N and L free; the output
`vectors` is (N, D), after pooling, projection and, for cosine, scaling to unit length. The
tokenizers lie in tokenizer/ (and passage_tokenizer/ where passages have one of their own);
encoders.yaml, in the form of a retriever.yaml, tells lengths, prefixes and how titles are joined.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from dprkit.errors import need_extra
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.onnx_encoder import hushed, runtime
from dprkit.models.probe_texts import Forward, check, sides_of
from dprkit.models.retriever_folder import hush, save_tokenizer
from dprkit.models.tokens import Tokens

USE = "encoders.yaml"
TOLERANCE = 1e-4


def write(model: BiEncoder, tokens: Tokens, folder: Path, source: str) -> list[str]:
    """Both encoders, each checked against the retriever by onnxruntime.

    Raises MissingExtra where onnx, onnxscript or onnxruntime is not installed, GateError where a
    number of a probe's vector differs by more than 1e-4.
    """
    import yaml

    need_extra("onnx", "onnx", "onnxscript", "onnxruntime")
    worst = 0.0
    for side in sides_of(model, tokens):
        path = folder / f"{side.name}_encoder.onnx"
        write_graph(side.encoder, path)
        worst = max(worst, check(side, _session(path), TOLERANCE))
    save_tokenizer(folder / "tokenizer", tokens, "question")
    if tokens.of["passage"] is not tokens.of["question"]:
        save_tokenizer(folder / "passage_tokenizer", tokens, "passage")
    text = yaml.safe_dump(model.config.document(), sort_keys=False)
    (folder / USE).write_text(text)
    return [
        "the encoders are question_encoder.onnx and passage_encoder.onnx",
        f"onnxruntime's vectors of the probes differ by at most {worst:.1g}",
    ]


def write_graph(encoder: Encoder, path: Path) -> None:
    """An encoder on the CPU as one ONNX graph: input_ids and attention_mask in, vectors out."""
    hush()
    ids = torch.ones(2, 8, dtype=torch.long)
    shape = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens")}
    attention = encoder.backbone.config._attn_implementation  # type: ignore[union-attr]
    try:
        encoder.backbone.set_attn_implementation("eager")  # type: ignore[operator]
        with hushed(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter, about its own insides
            torch.onnx.export(
                encoder,
                (ids, torch.ones_like(ids)),
                path,
                input_names=["input_ids", "attention_mask"],
                output_names=["vectors"],
                dynamic_shapes={"input_ids": shape, "attention_mask": shape},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        encoder.backbone.set_attn_implementation(attention)  # type: ignore[operator]


def _session(path: Path) -> Forward:
    session = runtime().InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        given = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        return torch.from_numpy(session.run(["vectors"], given)[0])

    return run
