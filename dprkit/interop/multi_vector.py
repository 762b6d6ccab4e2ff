"""Multi-vector folders of sentence-transformers 6, and PyLate's: ColBERT models of both.

multi_vector_files.py reads what the folder's files say. A marker of PyLate is a token of the
vocabulary; a prompt of sentence-transformers is text, in which its tokenizer may know a token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dprkit.errors import InputError
from dprkit.interop.colbert import (
    PUNCTUATION,
    ForeignColbert,
    checked_projection,
    configured_colbert,
)
from dprkit.interop.folder import json_in, model_max_length, read_weights, tower_in
from dprkit.interop.multi_vector_files import (
    Chain,
    Expansion,
    MultiVectorFile,
    read_chain,
    read_expansion,
    read_mask,
    read_multi_vector,
    read_token_dense,
)
from dprkit.interop.sentence_transformer_files import (
    TransformerFile,
)
from dprkit.interop.sentence_transformers import lowering
from dprkit.interop.tower import Tower
from dprkit.settings import ConvertSettings


def read(folder: Path, settings: ConvertSettings) -> ForeignColbert:
    """A MultiVectorEncoder's folder."""
    said, chain = read_multi_vector(folder), read_chain(folder, pylate=False)
    how, expansion = read_expansion(chain.transformer)
    if expansion and not chain.mask:
        raise InputError(
            f"{folder}: fills up questions with [MASK], and without a MultiVectorMask leaves them "
            "out of scores; not supported"
        )
    tower = _tower(chain, how)
    most = min(how.max_seq_length or model_max_length(chain.transformer) or tower.room, tower.room)
    use = {
        **_expansion(expansion, how.query_length or most),
        "passage_max_length": how.document_length or most,
        "question_prefix": said.prompt_of("question"),
        "passage_prefix": said.prompt_of("passage"),
        "prompts": said.others(),
        "question_marker": "",
        "passage_marker": "",
        "skip": read_mask(chain.mask) if chain.mask else (),
        "title_join": " ",
    }
    config, _ = configured_colbert(settings, use, {})
    mapped = [_dense_said(chain), *_pooling_said(chain)]
    mapped += ["the prompts are prefixes"] if said.prompts else []
    if said.similarity_fn_name == "meanmaxsim":
        mapped.append("scores are sums; its own, meanmaxsim, are means over a question's vectors")
    return ForeignColbert(tower, _projection(chain, tower), config, mapped)


def read_pylate(folder: Path, settings: ConvertSettings) -> ForeignColbert:
    """A folder of PyLate's ColBERT."""
    said, chain = read_multi_vector(folder), read_chain(folder, pylate=True)
    how, own = read_expansion(chain.transformer)
    tower = _tower(chain, how)
    skip = read_mask(chain.mask) if chain.mask else said.skiplist_words
    expansion = {None: None, True: "fixed", False: "none"}[said.do_query_expansion]
    use = {
        "question_max_length": said.query_length,
        "passage_max_length": said.document_length or how.document_length,
        "expansion": expansion,
        "attend_to_expansion": said.attend_to_expansion_tokens,
        "skip": skip,
        "title_join": " ",
        **_marked("question", said, said.query_prefix, tower),
        **_marked("passage", said, said.document_prefix, tower),
    } | (_expansion(own, how.query_length or own.length) if own else {})
    config, assumed = configured_colbert(settings, use, PYLATE)
    return ForeignColbert(tower, _projection(chain, tower), config, [_dense_said(chain), *assumed])


PYLATE = {
    "question_max_length": 32,
    "passage_max_length": 180,
    "expansion": "fixed",
    "attend_to_expansion": False,
    "skip": PUNCTUATION,
    "question_marker": "",
    "passage_marker": "",
}
"""What PyLate takes where its files do not say; a marker it would make anew, untrained."""


def _marked(side: str, said: MultiVectorFile, prefix: str | None, tower: Tower) -> dict[str, Any]:
    """The marker of a side, and the text that stands before its texts.

    A prefix that is no token of the vocabulary, nor begins with one, is text.
    """
    text = said.prompt_of(side).removeprefix(prefix or "")
    if prefix is None:
        return {f"{side}_marker": None, f"{side}_prefix": text}
    for token in (prefix, *prefix.split(maxsplit=1)[:1]):
        if tower.tokenizer[0].token_to_id(token) is not None:
            rest = prefix.removeprefix(token).lstrip()
            return {f"{side}_marker": token, f"{side}_prefix": rest + text}
    return {f"{side}_marker": "", f"{side}_prefix": prefix + text}


def _expansion(expansion: Expansion | None, longest: int) -> dict[str, Any]:
    """`longest`: tokens of a question where it is not filled up to one length."""
    if expansion is None:
        return {"expansion": "none", "question_max_length": longest}
    fixed = expansion.strategy == "fixed"
    return {
        "expansion": "fixed" if fixed else "least",
        "question_max_length": expansion.length if fixed else max(longest, expansion.length),
        "expansion_length": expansion.length,
        "attend_to_expansion": expansion.attend,
    }


def _tower(chain: Chain, how: TransformerFile) -> Tower:
    tower = tower_in(chain.transformer)
    if how.do_lower_case:
        tower.tokenizer = lowering(*tower.tokenizer)
    return tower


def _projection(chain: Chain, tower: Tower) -> Tensor:
    """(D, H): the Dense modules, each of them linear, as one matrix."""
    width = int(tower.backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]
    matrix = torch.eye(width, dtype=torch.float64)
    for folder in chain.dense:
        weight = _linear(folder)
        if weight.shape[1] != len(matrix):
            raise InputError(
                f"{folder}: its Dense takes {weight.shape[1]} numbers; it is given {len(matrix)}"
            )
        matrix = weight @ matrix
    where = chain.dense[-1] if chain.dense else chain.transformer
    return checked_projection(matrix, tower, where)


def _linear(folder: Path) -> Tensor:
    """The matrix (out, in) of a Dense, in float64, with its residual."""
    said, weights = read_token_dense(folder), read_weights(folder)
    weight = weights.get("linear.weight")
    if weight is None or weight.dim() != 2:
        raise InputError(f"{folder}: holds {', '.join(sorted(weights))}, not weights of a Dense")
    if said.bias and weights.get("linear.bias", torch.zeros(1)).any():
        raise InputError(
            f"{folder}: its Dense has a bias, which is not supported in ColBERT models"
        )
    matrix = weight.double()
    if not said.use_residual:
        return matrix
    residual = weights.get("residual.weight")
    if residual is None and matrix.shape[0] != matrix.shape[1]:
        raise InputError(
            f"{folder}: its Dense adds its input to its output and has no residual.weight, though "
            f"they have {matrix.shape[1]} and {matrix.shape[0]} numbers; fetch the model again"
        )
    return matrix + (torch.eye(len(matrix)) if residual is None else residual.double())


def _dense_said(chain: Chain) -> str:
    count = len(chain.dense)
    if count == 1:
        return "Dense is the projection"
    return f"{count} Dense in a row are one projection" if count else "vectors are the last states"


def _pooling_said(chain: Chain) -> list[str]:
    if not chain.pooling:
        return []
    factor = json_in(chain.pooling, "config.json").get("pool_factor", "?")
    return [
        f"its token pooling is left out; dprkit encode-corpus --pool-factor {factor} does the same"
    ]
