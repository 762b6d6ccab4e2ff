"""Text -> token ids, the same way in training, encoding and search.

The tokenizer is the fast one that lies in the encoder's folder; transformers' Python classes are
only loaded for a folder that has no tokenizer.json. Titles and texts are joined as the
retriever's `title_join` says; token types are zero everywhere, as DPR trains (the tokenizer of
Hugging Face's DPRContextEncoder gives ones to the second segment, which DPR never saw).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dprkit.records import Passage

Ids = list[list[int]]
PAIR, NO_TITLE = "pair", "none"


class Tokens:
    """The tokenizer of a retriever with the way it reads questions and passages."""

    def __init__(self, tokenizer: Any, title_join: str, lengths: tuple[int, int]) -> None:
        """`tokenizer`: a tokenizers.Tokenizer. `lengths`: tokens of a question and a passage."""
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.title_join = title_join
        self.question_length, self.passage_length = lengths

    def questions(self, questions: Sequence[str]) -> Ids:
        """The ids of each question, cut to `question_length` tokens."""
        return self._encode([question.strip() for question in questions], self.question_length)

    def passages(self, passages: Sequence[Passage]) -> Ids:
        """The ids of each passage, title first, cut to `passage_length` tokens.

        Of a pair, the longer of title and text is cut first.
        """
        return self._encode([self._joined(p) for p in passages], self.passage_length)

    def _joined(self, passage: Passage) -> str | tuple[str, str]:
        title, text = passage.title.strip(), passage.text.strip()
        if not title or self.title_join == NO_TITLE:
            return text
        return (title, text) if self.title_join == PAIR else f"{title}{self.title_join}{text}"

    def _encode(self, texts: Sequence[Any], length: int) -> Ids:
        self.tokenizer.enable_truncation(length)
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts))]


def load_tokenizer(folder: Path | str) -> Any:
    """The tokenizers.Tokenizer of a model folder (or hub name)."""
    own = Path(folder) / "tokenizer.json"
    if own.is_file():
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(own))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, use_fast=True).backend_tokenizer
