"""The token behind each text, whose state is the vector of a decoder.

The tokenizers of Qwen3-Embedding and its like put it there themselves. Those of plain decoders do
not: here it is made part of what they do behind the words, so that it is never cut off, and so that
whoever reads the tokenizer's file later does the same.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dprkit.errors import MismatchError

TEMPLATE = "TemplateProcessing"
PLAIN = {
    "type": TEMPLATE,
    "single": [{"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
    "special_tokens": {},
}
"""A post-processor of a tokenizer.json that changes nothing."""


def ends(tokenizer: Any) -> str:
    """The special token that a tokenizer puts behind each text, or ""."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    last = tokenizer.encode("a")
    return str(last.tokens[-1]) if last.special_tokens_mask[-1:] == [1] else ""


def with_end(tokenizer: Any, token: str) -> Any:
    """A tokenizer that also puts `token` behind each text, and behind each pair of texts.

    Raises MismatchError for a token that its vocabulary lacks.
    """
    from tokenizers import Tokenizer

    number = tokenizer.token_to_id(token)
    if number is None:
        raise MismatchError(f"end_token {token!r}: the tokenizer has no such token")
    parts = msgspec.json.decode(tokenizer.to_str())
    parts["post_processor"] = _with_end(parts["post_processor"], token, number)
    return Tokenizer.from_str(msgspec.json.encode(parts).decode())


def _with_end(processor: Any, token: str, number: int) -> Any:
    kind = processor and processor["type"]
    if kind == TEMPLATE:
        end = {"SpecialToken": {"id": token, "type_id": 0}}
        known = {token: {"id": token, "ids": [number], "tokens": [token]}}
        texts = {name: [*processor[name], end] for name in ("single", "pair")}
        return processor | texts | {"special_tokens": processor["special_tokens"] | known}
    if kind == "Sequence" and any(one["type"] == TEMPLATE for one in processor["processors"]):
        inner = [
            _with_end(one, token, number) if one["type"] == TEMPLATE else one
            for one in processor["processors"]
        ]
        return processor | {"processors": inner}
    own = _with_end(PLAIN, token, number)
    return own if processor is None else {"type": "Sequence", "processors": [processor, own]}
