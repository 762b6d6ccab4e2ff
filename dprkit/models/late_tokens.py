"""Text -> token ids as late interaction reads it: markers, [MASK] behind questions, a skip-list.

Khattab and Zaharia 2020, "ColBERT", section 3.2: a marker tells questions from passages, questions
are filled up with [MASK] tokens, which the model may use as further words, and the vectors of
punctuation in passages do not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dprkit.errors import InputError, loading
from dprkit.models.config import SIDES, ColbertConfig, Side
from dprkit.models.tokens import SETTINGS, Files, Ids, Tokens


class Span(NamedTuple):
    """The place of a token in a text, in characters."""

    part: int
    """0, or 1 for the second text of a pair."""
    begin: int
    end: int


class LateTokens(Tokens):
    """The tokenizer of a ColBERT model, which reads texts as its `config` says."""

    config: ColbertConfig

    def __init__(self, loaded: tuple[Any, Files], config: ColbertConfig) -> None:
        """Raises InputError for a marker or a [MASK] that the vocabulary lacks."""
        super().__init__(loaded, config)
        tokenizer, files = loaded
        self.markers: dict[Side, list[int]] = {
            "question": _marker(tokenizer, "question_marker", config.question_marker),
            "passage": _marker(tokenizer, "passage_marker", config.passage_marker),
        }
        self.expansion_id = _mask(tokenizer, files) if config.expansion != "none" else None
        """The id of [MASK]; None where questions are not filled up."""
        known = {word: tokenizer.token_to_id(word) for word in config.skip}
        self.not_skipped = [word for word, number in known.items() if number is None]
        """Words to skip that are no tokens of this vocabulary."""
        self.skipped = frozenset(number for number in known.values() if number is not None)
        for side, longest in zip(
            SIDES, (config.question_max_length, config.passage_max_length), strict=True
        ):
            special = tokenizer.num_special_tokens_to_add(side == "passage")
            if longest < special + len(self.markers[side]):
                raise InputError(
                    f"{side}_max_length {longest} has no room for the {special} special tokens of "
                    f"a {side} and its marker; raise it"
                )
        self._first = _leading_special_tokens(tokenizer)
        self._nothing = [self.expansion_id or 0]

    def _encode(self, side: Side, texts: list[Any], length: int) -> tuple[Ids, list[bool]]:
        marker = self.markers[side]
        ids, cut = super()._encode(side, texts, length - len(marker))
        # A tokenizer without special tokens gives nothing for an empty text; it gets one token.
        ids = [text[: self._first] + marker + text[self._first :] or self._nothing for text in ids]
        return [self._expanded(text) for text in ids] if side == "question" else ids, cut

    def _expanded(self, text: list[int]) -> list[int]:
        if self.expansion_id is None:
            return text
        fixed = self.config.expansion == "fixed"
        length = self.config.question_max_length if fixed else self.config.expansion_length
        return text + [self.expansion_id] * (length - len(text))

    def spans(self, side: Side, text: str | tuple[str, str], count: int) -> list[Span | None]:
        """Where the `count` tokens of a text lie in it; None for those that were put to it.

        `text`: as `question_text` or `passage_text` gives it.
        """
        tokenizer, marker = self.of[side][0], [None] * len(self.markers[side])
        longest = self.config.passage_max_length
        if side == "question":
            longest = self.config.question_max_length
        tokenizer.enable_truncation(longest - len(marker))
        encoding = tokenizer.encode(*([text] if isinstance(text, str) else text))
        spans = [
            None if part is None else Span(part, *offsets)
            for part, offsets in zip(encoding.sequence_ids, encoding.offsets, strict=True)
        ]
        spans = spans[: self._first] + marker + spans[self._first :]
        return spans + [None] * (count - len(spans))

    def counted(self, side: Side, text: list[int]) -> list[int]:
        """The places, among the tokens of a text, of those whose vectors count.

        Of a passage these are the tokens that are not skipped, or all where nothing would be left.
        """
        if side == "question" or not self.skipped:
            return list(range(len(text)))
        counted = [place for place, token in enumerate(text) if token not in self.skipped]
        return counted or list(range(len(text)))

    def attended(self, text: list[int]) -> int:
        """How many tokens of a question the others attend to: not the [MASK] behind it."""
        count = len(text)
        if self.config.attend_to_expansion or self.expansion_id is None:
            return count
        while count > 1 and text[count - 1] == self.expansion_id:
            count -= 1
        return count


def late_tokens(loaded: tuple[Any, Files], config: ColbertConfig, where: Path | str) -> LateTokens:
    """The tokens of the model `where`. Raises InputError, which names it."""
    with loading(where, "its tokenizer does not fit its settings"):
        try:
            return LateTokens(loaded, config)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def _marker(tokenizer: Any, name: str, token: str) -> list[int]:
    if not token:
        return []
    number = tokenizer.token_to_id(token)
    if number is None:
        raise InputError(
            f"{name} {token!r} is no token of the vocabulary; name one, such as [unused0], or put "
            f"text before every text with {name.replace('marker', 'prefix')}"
        )
    return [number]


def special_token(files: Files, role: str) -> str:
    """What a tokenizer's files name as its "mask_token" or another role; "" for nothing."""
    with loading(SETTINGS, "damaged"):
        said = msgspec.json.decode(files.get(SETTINGS, b"{}"), type=dict[str, Any])
    named = said.get(role) or ""
    return str(named.get("content", "") if isinstance(named, dict) else named)


def _mask(tokenizer: Any, files: Files) -> int:
    """The id of the token that questions are filled up with."""
    for name in (special_token(files, "mask_token"), "[MASK]", "<mask>"):
        number: int | None = tokenizer.token_to_id(name)
        if number is not None:
            return number
    raise InputError(
        "its tokenizer has no [MASK], by which questions are filled up; give --expansion none"
    )


def _leading_special_tokens(tokenizer: Any) -> int:
    """How many special tokens stand before a text, such as 1 for [CLS]."""
    special = tokenizer.encode("a").special_tokens_mask
    return special.index(0) if 0 in special else 0
