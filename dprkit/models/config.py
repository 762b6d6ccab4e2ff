"""retriever.yaml: all it takes to use a retriever's encoders as they were trained."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from dprkit.errors import InputError, MismatchError, loading, reading
from dprkit.models.heads import Heads
from dprkit.settings.training import (
    EMBEDDING_SIZE,
    LATE_PASSAGE_MAX_LENGTH,
    LATE_QUESTION_MAX_LENGTH,
    PASSAGE_MAX_LENGTH,
    QUESTION_MAX_LENGTH,
    TEMPERATURES,
    Pooling,
)
from dprkit.yaml_file import read_yaml

CONFIG = "retriever.yaml"
READER = "reader.yaml"
"""What a reader has in its place (dprkit.models.reader_config)."""
Side = Literal["question", "passage"]
SIDES: tuple[Side, Side] = ("question", "passage")
QUESTION, PASSAGE = "question_encoder", "passage_encoder"
"""The folders of a retriever's encoders."""


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What retriever.yaml holds of every kind of model; `kind` in it is the tag of a class below.

    The prefixes are put before every question and passage. `prompts`: others, by their names, which
    may stand in the place of the question's prefix. `straight_apostrophe`: ’ in a question
    is read as ', as DPR does. `strip`: white space at the ends of a question, a title and a text is
    cut off before, as DPR does. `positions`: the tokens that the question's transformer can read,
    and the passage's; measured when a model comes in.
    """

    temperature: float = TEMPERATURES["dot"]
    title_join: str = "pair"
    question_max_length: int = QUESTION_MAX_LENGTH
    passage_max_length: int = PASSAGE_MAX_LENGTH
    question_prefix: str = ""
    passage_prefix: str = ""
    prompts: dict[str, str] = {}
    straight_apostrophe: bool = False
    strip: bool = True
    positions: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for side, room in zip((QUESTION, PASSAGE), self.positions or (), strict=False):
            name = side.replace("encoder", "max_length")
            if getattr(self, name) > room:
                raise ValueError(f"{name}: the model reads at most {room} tokens")

    @property
    def longest(self) -> int:
        """Tokens of the longest text that is read, of either side."""
        return max(self.question_max_length, self.passage_max_length)

    @property
    def one_tokenizer(self) -> bool:
        """Whether questions and passages have one transformer and one tokenizer."""
        raise NotImplementedError

    def document(self) -> dict[str, Any]:
        """The lines of retriever.yaml: what a kind has for itself comes first."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        common = ModelConfig.__struct_fields__
        return {name: values[name] for name in sorted(values, key=lambda n: n in common)}


class RetrieverConfig(ModelConfig, frozen=True, kw_only=True, tag="bi-encoder"):
    """What retriever.yaml holds of a bi-encoder.

    `shared`: one transformer serves questions and passages. `separate_heads`: it does, but each
    side has a projection of its own. `projection`: the width of a linear layer behind pooling;
    `heads`: more layers than one, or others, in its place. `truncate_dim`: of a vector only so many
    of its first numbers are kept, before it is brought to unit length; None: all. `matryoshka`: the
    sizes that it was trained to be cut to, the largest first. `end_token`: the token of the
    vocabulary put behind each text, where the tokenizer does not do so by itself; "" for none.
    """

    shared: bool = False
    separate_heads: bool = False
    pooling: Pooling = "cls"
    projection: int | None = None
    heads: Heads = ()
    similarity: Literal["dot", "cosine"] = "dot"
    truncate_dim: int | None = None
    matryoshka: tuple[int, ...] = ()
    end_token: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projection and self.heads:
            raise ValueError("heads: stand in the place of a projection; leave one of them out")
        if self.separate_heads and not (self.shared and (self.projection or self.heads)):
            raise ValueError("separate_heads needs shared: true and a projection")
        if self.truncate_dim is not None and self.truncate_dim < 1:
            raise ValueError("truncate_dim: expected a number from 1 up")

    @property
    def one_tokenizer(self) -> bool:
        """Whether questions and passages have one transformer and one tokenizer."""
        return self.shared


class ColbertConfig(ModelConfig, frozen=True, kw_only=True, tag="colbert"):
    """What retriever.yaml holds of a late-interaction model.

    `embedding_size`: numbers of the vector of a token. `expansion`: [MASK] tokens put behind a
    question, up to `question_max_length` tokens (fixed), up to `expansion_length` tokens where it
    has fewer (least), or not at all (none); their vectors count in a score like those of words.
    `attend_to_expansion`: the words attend to them. `question_marker` and `passage_marker`: tokens
    of the vocabulary put behind the first special token, "" for none; a marker that is text is a
    prefix. `skip`: tokens of passages whose vectors do not count.
    """

    embedding_size: int = EMBEDDING_SIZE
    expansion: Literal["fixed", "least", "none"] = "fixed"
    expansion_length: int = LATE_QUESTION_MAX_LENGTH
    attend_to_expansion: bool = False
    question_marker: str = ""
    passage_marker: str = ""
    skip: tuple[str, ...] = tuple(string.punctuation)
    temperature: float = TEMPERATURES["maxsim"]
    question_max_length: int = LATE_QUESTION_MAX_LENGTH
    passage_max_length: int = LATE_PASSAGE_MAX_LENGTH

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_size < 1:
            raise ValueError("embedding_size: expected a number from 1 up")
        if self.expansion == "least" and self.expansion_length > self.question_max_length:
            raise ValueError("expansion_length: is above question_max_length")

    @property
    def one_tokenizer(self) -> bool:
        """Whether questions and passages have one transformer and one tokenizer: always."""
        return True


C = TypeVar("C", bound=ModelConfig)
Config = RetrieverConfig | ColbertConfig
"""What retriever.yaml may hold."""


def is_retriever(directory: Path | str) -> bool:
    """Whether a folder is a retriever's. Raises InputError where that may not be seen."""
    with reading(directory):
        return (Path(directory) / CONFIG).is_file()


def load_config(directory: Path | str) -> Config:
    """The retriever.yaml of a retriever folder."""
    path = Path(directory) / CONFIG
    if not path.is_file():
        if (Path(directory) / READER).is_file():
            raise MismatchError(
                f"{directory}: is a reader, which reads passages that were found; a retriever "
                "is needed here: name a folder that dprkit train or convert made"
            )
        raise InputError(
            f"{directory}: has no {CONFIG}; name a folder that dprkit train or convert made"
        )
    document = read_yaml(path)
    with loading(path, "not the settings of a retriever"):
        config: Config = msgspec.convert(document.value, Config)
    return config


def with_prompt(config: C, name: str, where: Path | str) -> C:
    """The config of the retriever `where` with its prompt `name` before questions.

    "query" and "document" are what sentence-transformers calls the usual prefixes of both sides.
    Raises MismatchError where it has no prompt of that name.
    """
    usual = {"query": config.question_prefix, "document": config.passage_prefix}
    prompts = usual | config.prompts
    if name not in prompts:
        known = ", ".join(prompts)
        raise MismatchError(f"{where}: has no prompt {name!r}; it has {known} ({CONFIG})")
    return msgspec.structs.replace(config, question_prefix=prompts[name])


def bi_encoder_config(directory: Path | str, use: str) -> RetrieverConfig:
    """As `load_config`, of a bi-encoder.

    Raises MismatchError for another kind of model, which cannot be had for `use`.
    """
    config = load_config(directory)
    if not isinstance(config, RetrieverConfig):
        raise MismatchError(
            f"{directory}: is a ColBERT model, which gives a vector for each token; "
            f"{use} needs a bi-encoder, which gives one for each text"
        )
    return config
