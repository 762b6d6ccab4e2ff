"""A question and a passage -> one row of token ids, and which characters the text's tokens are of.

[CLS] question [SEP] title [SEP] text, without a final [SEP], as DPR's reader_data.py has it. An
empty title leaves its two [SEP]. What looks like a special token in a text is text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dprkit.errors import InputError, loading
from dprkit.models.reader_config import ReaderConfig
from dprkit.models.tokens import Files, Ids, load_tokenizer
from dprkit.records import Passage

TEXTS = 1024
"""Texts that the tokenizer is given together: it keeps more of each than we do."""


class ReaderInput(NamedTuple):
    """A question and a passage as a reader reads them. The text has L tokens, which come last."""

    ids: list[int]
    begin: int
    """Where the text's tokens begin; L = len(ids) - begin."""
    offsets: np.ndarray
    """(L, 2) int32: where a token begins and ends in the passage's text, in characters."""
    words: np.ndarray
    """(L,) int32: the number of the word that a token is of, ascending."""


class TextTokens(NamedTuple):
    """The T tokens of a text: ids, offsets (T, 2) and words (T,) as in ReaderInput."""

    ids: list[int]
    offsets: np.ndarray
    words: np.ndarray


class ReaderTokens:
    """The tokenizer of a reader, which reads questions with passages as its `config` says."""

    def __init__(self, loaded: tuple[Any, Files], config: ReaderConfig) -> None:
        """`loaded`: as `load_tokenizer` gives it. Raises InputError without [CLS] and [SEP]."""
        self.loaded, self.config = loaded, config
        tokenizer = loaded[0]
        tokenizer.no_padding()
        tokenizer.no_truncation()
        around = tokenizer.encode("").ids
        if len(around) != 2:
            raise InputError(
                f"its tokenizer puts {len(around)} special tokens around a text, and a reader "
                "needs two, such as [CLS] and [SEP]; name another transformer"
            )
        self.cls_id, self.sep_id = around
        tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        tokenizer.enable_truncation(config.passage_max_length)
        self._spaces = _begins_with_spaces(tokenizer)

    def inputs(self, questions: Sequence[str], passages: Sequence[Passage]) -> list[ReaderInput]:
        """The inputs of N questions and their N passages, pair by pair.

        A question takes at most half of the tokens there are, a title a quarter, and the text is
        cut where they end. Each distinct text goes through the tokenizer once.
        """
        asked = self._tokens([self._question(question) for question in questions])
        titles = self._tokens([passage.title for passage in passages])
        texts = self._tokens([passage.text for passage in passages])
        pairs = zip(questions, passages, strict=True)
        return [
            self._input(asked[self._question(q)].ids, titles[p.title].ids, texts[p.text])
            for q, p in pairs
        ]

    def token_types(self, ids: Ids) -> Ids:
        """The token types of N inputs: 0 up to the first [SEP], which ends the question, then 1."""
        ends = [text.index(self.sep_id) + 1 if self.sep_id in text else len(text) for text in ids]
        return [[0] * end + [1] * (len(text) - end) for end, text in zip(ends, ids, strict=True)]

    def _question(self, question: str) -> str:
        return question.replace("’", "'") if self.config.straight_apostrophe else question

    def _input(self, question: list[int], title: list[int], text: TextTokens) -> ReaderInput:
        longest = self.config.passage_max_length
        question, title = question[: longest // 2], title[: longest // 4]
        head = [self.cls_id, *question, self.sep_id, *title, self.sep_id]
        room = longest - len(head)
        ids, offsets, words = text.ids[:room], text.offsets[:room], text.words[:room]
        return ReaderInput(head + ids, len(head), offsets, words)

    def _tokens(self, texts: list[str]) -> dict[str, TextTokens]:
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, self._encoded(distinct), strict=True))

    def _encoded(self, texts: list[str]) -> Iterator[TextTokens]:
        for begin in range(0, len(texts), TEXTS):
            part = texts[begin : begin + TEXTS]
            found = self.loaded[0].encode_batch(part, add_special_tokens=False)
            for text, encoding in zip(part, found, strict=True):
                yield self._text_tokens(text, encoding)

    def _text_tokens(self, text: str, encoding: Any) -> TextTokens:
        spans = encoding.offsets
        if self._spaces:
            spans = [(end - len(text[begin:end].lstrip()), end) for begin, end in spans]
        offsets = np.array(spans, np.int32).reshape(-1, 2)
        return TextTokens(encoding.ids, offsets, _words(encoding.word_ids, offsets))


def token_span(offsets: np.ndarray, begin: int, end: int) -> tuple[int, int] | None:
    """The first and the last token that the characters begin..end of a text are in, both counted.

    `offsets`: (L, 2), as in ReaderInput. None where the text's tokens were cut off before `end`.
    """
    first = int(np.searchsorted(offsets[:, 1], begin, side="right"))
    last = int(np.searchsorted(offsets[:, 0], end, side="left")) - 1
    cut_off = last == len(offsets) - 1 and len(offsets) and offsets[last, 1] < end
    return None if first > last or cut_off else (first, last)


def load_reader_tokens(folder: Path | str, config: ReaderConfig) -> ReaderTokens:
    """How the reader whose encoder lies in a folder reads text. Raises InputError."""
    return reader_tokens(load_tokenizer(folder), config, folder)


def reader_tokens(
    loaded: tuple[Any, Files], config: ReaderConfig, where: Path | str
) -> ReaderTokens:
    """The tokens of the model `where`. Raises InputError, which names it."""
    with loading(where, "its tokenizer cannot be used"):
        try:
            return ReaderTokens(loaded, config)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def _begins_with_spaces(tokenizer: Any) -> bool:
    """Whether the tokens of words include the space before them, as in byte-level BPE."""
    offsets = tokenizer.encode("a b", add_special_tokens=False).offsets
    return any(begin == 1 for begin, _ in offsets)


def _words(numbers: list[int | None], offsets: np.ndarray) -> np.ndarray:
    """(T,) words, from the numbers the tokenizer gives them: white space always ends one."""
    given = np.array([-1 if number is None else number for number in numbers], np.int32)
    begins = np.ones(len(given), bool)
    begins[1:] = (given[1:] != given[:-1]) | (offsets[1:, 0] > offsets[:-1, 1])
    return np.cumsum(begins, dtype=np.int32) - 1
