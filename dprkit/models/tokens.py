"""Text -> token ids, the same way in training, encoding and search.

The tokenizer is the fast one that lies in the encoder's folder; transformers' Python classes are
only loaded for a folder that has no tokenizer.json. Titles and texts are joined as the
retriever's `title_join` says; token types are zero everywhere, as DPR trains (the tokenizer of
Hugging Face's DPRContextEncoder gives ones to the second segment, which DPR never saw).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dprkit.errors import InputError, loading, reading
from dprkit.models.config import (
    PASSAGE,
    QUESTION,
    SIDES,
    ModelConfig,
    RetrieverConfig,
    Side,
    with_prompt,
)
from dprkit.models.end_token import ends, with_end
from dprkit.records import Passage

Ids = list[list[int]]
PAIR, NO_TITLE = "pair", "none"
TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
FILES = (
    TOKENIZER,
    SETTINGS,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "sentencepiece.bpe.model",
    "spiece.model",
)
"""What the tokenizers of Hugging Face folders are made of."""

Files = Mapping[str, bytes]
Prefixes = Sequence[str] | None


class Tokens:
    """The tokenizers of a retriever, which read questions and passages as its `config` says."""

    def __init__(self, loaded: tuple[Any, Files], config: ModelConfig) -> None:
        """`loaded`: a tokenizer and its files, as `load_tokenizer` gives them, for both sides."""
        self.config = config
        self._end = config.end_token if isinstance(config, RetrieverConfig) else ""
        loaded = _ended(loaded, self._end)
        self.of: dict[Side, tuple[Any, Files]] = dict.fromkeys(SIDES, loaded)
        """The tokenizer of a side and its files; none for one that was learned here."""
        loaded[0].no_padding()

    def read_passages_with(self, tokenizer: Any, files: Files) -> None:
        """Let passages have a tokenizer of their own, unless its files are the same."""
        tokenizer, files = _ended((tokenizer, files), self._end)
        if files != self.of["question"][1]:
            self.of["passage"] = tokenizer, files
            tokenizer.no_padding()

    def questions(self, questions: Sequence[str], prefixes: Prefixes = None) -> Ids:
        """The ids of each question, cut to `config.question_max_length` tokens.

        `prefixes`: the prefix of each, instead of `config.question_prefix`.
        """
        texts = _each(self.question_text, questions, prefixes)
        return self._encode("question", texts, self.config.question_max_length)[0]

    def questions_and_cuts(self, questions: Sequence[str]) -> tuple[Ids, list[bool]]:
        """The ids of each question, as `questions` gives them, and whether it was cut."""
        texts = [self.question_text(question) for question in questions]
        return self._encode("question", texts, self.config.question_max_length)

    def passages(self, passages: Sequence[Passage], prefixes: Prefixes = None) -> Ids:
        """The ids of each passage, title first, cut to `config.passage_max_length` tokens.

        Of a pair, the longer of title and text is cut first. `prefixes`: the prefix of each,
        instead of `config.passage_prefix`.
        """
        texts = _each(self.passage_text, passages, prefixes)
        return self._encode("passage", texts, self.config.passage_max_length)[0]

    def passages_and_cuts(self, passages: Sequence[Passage]) -> tuple[Ids, list[bool]]:
        """The ids of each passage, as `passages` gives them, and whether it was cut."""
        texts = [self.passage_text(passage) for passage in passages]
        return self._encode("passage", texts, self.config.passage_max_length)

    def ask_with(self, prompt: str, where: Path | str) -> None:
        """Let questions begin with the prompt of that name, of the retriever `where`."""
        self.config = with_prompt(self.config, prompt, where)

    def token(self, side: Side, number: int) -> str:
        """A token of a side's vocabulary, by its id."""
        return str(self.of[side][0].id_to_token(number))

    def question_text(self, question: str, prefix: str | None = None) -> str:
        """A question as the tokenizer is given it."""
        prefix = self.config.question_prefix if prefix is None else prefix
        text = prefix + (question.strip() if self.config.strip else question)
        return text.replace("’", "'") if self.config.straight_apostrophe else text

    def passage_text(self, passage: Passage, prefix: str | None = None) -> str | tuple[str, str]:
        """A passage as the tokenizer is given it: a text, or a pair of texts.

        A title of white space is none.
        """
        title, text, join = passage.title, passage.text, self.config.title_join
        if self.config.strip:
            title, text = title.strip(), text.strip()
        prefix = self.config.passage_prefix if prefix is None else prefix
        if not title.strip() or join == NO_TITLE:
            return prefix + text
        return (prefix + title, text) if join == PAIR else f"{prefix}{title}{join}{text}"

    def _encode(self, side: Side, texts: list[Any], length: int) -> tuple[Ids, list[bool]]:
        """The ids of each text, and whether it was cut to `length` tokens."""
        tokenizer, _ = self.of[side]
        tokenizer.enable_truncation(length)
        found = tokenizer.encode_batch_fast(texts)
        ids = [encoding.ids for encoding in found]
        full = (len(text) == length for text in ids)
        return ids, [at and bool(e.overflowing) for at, e in zip(full, found, strict=True)]


Text = TypeVar("Text")


def _each(
    text_of: Callable[[Text, str | None], Any], texts: Sequence[Text], prefixes: Prefixes
) -> list[Any]:
    each: Sequence[str | None] = prefixes or [None] * len(texts)
    return [text_of(text, prefix) for text, prefix in zip(texts, each, strict=True)]


def _ended(loaded: tuple[Any, Files], token: str) -> tuple[Any, Files]:
    """A tokenizer that puts `token` behind each text, with its files; "" changes nothing."""
    tokenizer, files = loaded
    if not token or ends(tokenizer) == token:
        return loaded
    tokenizer = with_end(tokenizer, token)
    if not files:
        return tokenizer, files  # it was learned here
    said = msgspec.json.decode(files.get(SETTINGS, b"{}"), type=dict[str, Any])
    # A class of its own, or these two, would have the ends of a text made anew.
    settings = said | {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name in ("add_bos_token", "add_eos_token"):
        settings.pop(name, None)
    return tokenizer, {
        **files,
        TOKENIZER: tokenizer.to_str(pretty=True).encode(),
        SETTINGS: msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n",
    }


def usual_end(loaded: tuple[Any, Files]) -> str:
    """The end token of a tokenizer that puts none behind its texts; "" where it does."""
    tokenizer, files = loaded
    said = msgspec.json.decode(files.get(SETTINGS, b"{}"), type=dict[str, Any]).get("eos_token")
    token = said.get("content") if isinstance(said, dict) else said
    return token if isinstance(token, str) and not ends(tokenizer) else ""


def load_tokens(directory: Path, config: RetrieverConfig) -> Tokens:
    """How the retriever in a folder reads text. Raises InputError for a damaged tokenizer."""
    tokens = Tokens(load_tokenizer(directory / QUESTION), config)
    if not config.shared:
        tokens.read_passages_with(*load_tokenizer(directory / PASSAGE))
    return tokens


def load_tokenizer(folder: Path | str) -> tuple[Any, Files]:
    """The tokenizers.Tokenizer of a model folder, and the files it is made of.

    The files are the folder's own, so that nothing of them is lost when they are saved again,
    but that transformers is told to make no token types: dprkit's models see zeros alone.
    """
    from tokenizers import Tokenizer

    files = _own_files(Path(folder))
    if TOKENIZER not in files:
        files = _converted(folder) | {k: v for k, v in files.items() if k != SETTINGS}
    with loading(folder, f"its {TOKENIZER} is damaged"):
        tokenizer = Tokenizer.from_buffer(files[TOKENIZER])
    with loading(folder, f"its {SETTINGS} is damaged"):
        settings = msgspec.json.decode(files.get(SETTINGS, b"{}"), type=dict[str, Any])
    return tokenizer, files | {SETTINGS: _without_token_types(settings)}


def transformers_tokenizer(folder: Path | str) -> Any:
    """The tokenizer of a folder as transformers has it; no code of the folder's runs."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _own_files(folder: Path) -> dict[str, bytes]:
    with reading(folder):
        return {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}


def _converted(source: Path | str) -> dict[str, bytes]:
    """The files of a tokenizer of an older form, as transformers has it."""
    with loading(source, "no tokenizer could be loaded from there"):
        tokenizer = transformers_tokenizer(source)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = _own_files(Path(folder))
    if TOKENIZER not in files:
        raise InputError(f"{source}: its tokenizer has no fast form ({TOKENIZER}); not supported")
    return files


def _without_token_types(settings: dict[str, Any]) -> bytes:
    all_settings = settings | {"model_input_names": ["input_ids", "attention_mask"]}
    return msgspec.json.format(msgspec.json.encode(all_settings), indent=2) + b"\n"
