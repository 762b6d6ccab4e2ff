"""A converted retriever against the library that its source comes from, on a few texts.

sentence-transformers reads its own folders, if it is installed, and those of ColBERT models
(compare_colbert.py); transformers reads plain models and DPR pairs. Checkpoint files have no
library here. The library gets the folder alone: its own
tokenizer, its own pooling, its texts in one padded batch and a long one by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dprkit.errors import DprkitError, GateError, InputError
from dprkit.interop import compare_colbert, hf_dpr_reader
from dprkit.interop.hub import local
from dprkit.interop.sentence_transformer_files import opened
from dprkit.interop.sources import Sources, kind_of
from dprkit.models.bi_encoder import BiEncoder, device
from dprkit.models.config import SIDES, Config, RetrieverConfig, Side
from dprkit.models.late_interaction import Colbert
from dprkit.models.probe_texts import PROBE_PASSAGES, PROBE_QUESTIONS
from dprkit.models.reader import ReaderModel
from dprkit.models.reader_tokens import ReaderTokens
from dprkit.models.reading import load_reader_model
from dprkit.models.retriever_folder import hush, load_model, loader_of
from dprkit.models.tokens import Ids, Tokens, transformers_tokenizer
from dprkit.models.torch_encoder import encoders_of
from dprkit.records import Passage
from dprkit.store.manifests import read_manifest

TOLERANCE = 1e-4
"""How far a number of a vector may be from the library's, as a share of the largest if above 1."""
COUNT = 6
"""Short texts a side."""
LONGEST = 512
"""Tokens that one long text a side has at most; it shows where and on which side it is cut."""

Texts = Sequence[Any]
Theirs = Callable[[Texts], np.ndarray]
"""The vectors (N, D) of texts, each a string or a pair of title and text, by a library."""


class Compared(NamedTuple):
    """What a comparison found; without a `difference`, `library` says why there was none."""

    library: str
    difference: float | None = None
    of: str = "vectors"
    """Whose numbers were compared."""
    cause: str = ""
    """What makes them differ, where it can be told."""

    @property
    def told(self) -> str:
        """The sentence for a report."""
        if self.difference is None:
            return f"not compared: {self.library}"
        return f"{self.library} gives {self.of} that differ by at most {self.difference:.2g}"

    def check(self, problem: str) -> None:
        """Raises GateError, which begins with the problem, above the tolerance."""
        if self.difference is not None and not self.difference <= TOLERANCE:
            raise GateError(
                f"{problem}: {self.library} gives {self.of} that differ by {self.difference:.3g} "
                f"({TOLERANCE:g} is allowed){self.cause and f'; {self.cause}'}"
            )


def compare(
    kind: str, sources: Sources, model: BiEncoder | Colbert, tokens: Tokens, given: dict[str, Any]
) -> Compared:
    """The largest difference of a number between a retriever's vectors and its source's.

    `given`: the settings it was converted with, by name; None is what the source says itself.
    """
    if kind not in READERS:
        return Compared(f"no library reads a source of the kind {kind}")
    if isinstance(model, Colbert) and (flags := compare_colbert.flags_of_use(given)):
        return Compared(f"{', '.join(flags)} give the model another use than its source")
    if given.get("end_token"):
        return Compared("--end-token gives the model another use than its source")
    library = "transformers" if kind in BY_TRANSFORMERS else "sentence-transformers"
    if not find_spec(library.replace("-", "_")):
        return Compared(f"{library} is not installed")
    folders = [folder for folder in sources if folder]
    # Before 6 sentence-transformers cut white space off the ends of texts.
    spaced = library == "transformers" or int(version(library).partition(".")[0]) >= 6
    found = _by_library(
        library,
        folders,
        lambda: max(
            _difference(READERS[kind], side, sources, model, tokens, given, spaced)
            for side in SIDES
        ),
    )
    alike = found.difference is None or found.difference <= TOLERANCE
    return found if alike else found._replace(cause=_cause(sources, model))


def _cause(sources: Sources, model: BiEncoder | Colbert) -> str:
    """What a folder says that makes its library's vectors others than dprkit's, or ""."""
    folder = sources.question
    tokenizer: Any = transformers_tokenizer(folder)
    if tokenizer.padding_side == "left":
        return (
            "its tokenizer pads texts on the left, which shifts their positions; if the model was "
            "not trained so, say padding_side right in its tokenizer_config.json"
        )
    first = model.backbone if isinstance(model, Colbert) else model.question_encoder.backbone
    backbone: Any = first
    with suppress(Exception), torch.no_grad():  # a model that takes no token types, for one
        batch = {k: v.to(device()) for k, v in tokenizer("a word", return_tensors="pt").items()}
        types = batch.pop("token_type_ids", None)
        both = backbone(**batch)[0], backbone(**batch, token_type_ids=types)[0]
        if types is not None and not torch.allclose(*both, atol=TOLERANCE):
            return (
                f"its tokenizer makes token types, of which its {backbone.config.model_type} makes "
                "more than of none; dprkit's models have none"
            )
    return ""


def compare_reader(kind: str, source: Path, model: ReaderModel, tokens: ReaderTokens) -> Compared:
    """As `compare`, of a reader's logits."""
    if kind != "hf-dpr-reader":
        return Compared(f"no library reads a source of the kind {kind}")
    if model.config.token_types != "zeros":
        return Compared("transformers reads it with token types of zeros")
    found = _by_library(
        "transformers", [source], lambda: hf_dpr_reader.difference(source, model, tokens)
    )
    return found._replace(of="logits")


def _by_library(library: str, folders: list[Path], difference: Callable[[], float]) -> Compared:
    """What a library finds; whatever it fails with is told."""
    if not all(any(folder.rglob("*.safetensors")) for folder in folders):
        return Compared("weights in a pickle are given to no library")
    hush()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Compared(library, difference())
    except DprkitError:
        raise
    except Exception as error:  # a library that reads the source fails in any way there is
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Compared(f"{library} does not load it: {why[:200]}")


def against_source(directory: Path, folders: Sequence[Path]) -> float:
    """The largest difference of a retriever's vectors from those of the folders it came from.

    Or of a reader's logits.

    Raises GateError above the tolerance, InputError where they cannot be compared.
    """
    manifest = read_manifest(directory)
    given = manifest.settings
    sources = Sources(local(str(folders[0])), local(str(folders[1])) if folders[1:] else None)
    kind = given.get("kind") or kind_of(sources)
    if manifest.kind == "reader":
        compared = compare_reader(kind, sources.question, *load_reader_model(directory))
    else:
        compared = compare(kind, sources, *load_model(directory), given)
    if compared.difference is None:
        raise InputError(f"{sources.question}: {compared.told}")
    compared.check(f"{directory}: is not, or no longer, what {sources.question} holds")
    return compared.difference


def _difference(
    reader: Any,
    side: Side,
    sources: Sources,
    model: BiEncoder | Colbert,
    tokens: Tokens,
    given: dict[str, Any],
    spaced: bool,
) -> float:
    theirs: Theirs = reader(sources, side, model.config, given)
    length, rooms = getattr(model.config, f"{side}_max_length"), model.config.positions
    room = rooms[side == "passage"] if rooms else 0
    cut = given.get(f"{side}_max_length") is None and (length < room or not rooms)
    worst = 0.0
    for texts in _texts(side, length if cut else 0, spaced):
        ids = tokens.questions(texts) if side == "question" else tokens.passages(texts)
        wanted = theirs([_plain(text, model.config) for text in texts])
        if size := given.get("truncate_dim"):
            wanted = wanted[:, :size]
        if isinstance(model, Colbert):
            ours = compare_colbert.token_vectors(model, side, ids)
            pairs = list(zip(ours, wanted, strict=True))
        else:
            pairs = [_single_vectors(model, side, ids, wanted)]
        difference = max(_apart(*pair) for pair in pairs)
        worst = difference if np.isnan(difference) else max(worst, difference)
    return worst


def _single_vectors(
    model: BiEncoder, side: Side, ids: Ids, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A bi-encoder's vectors (N, D), and those `wanted` brought to length 1 where its own are."""
    encoder = encoders_of(model)(side)
    if encoder.encoder.unit_length:
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    return encoder.encode(ids, 2048), wanted


def _apart(ours: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of a number; infinite where the two have not the same shape."""
    if ours.shape != wanted.shape:
        return float("inf")
    scale = max(1.0, float(np.abs(wanted).max()))
    return float(np.abs(ours - wanted).max()) / scale


def _texts(side: Side, length: int, spaced: bool) -> list[Any]:
    """Short texts, and one that is longer than `length` tokens, unless that is long to compute.

    `spaced`: some have white space at their ends.
    """
    long = " ".join(f"word {number}" for number in range(length))
    ends = ("a", " a word", "a word \n") if spaced else ("a",)
    texts: list[Any] = [[*ends, *PROBE_QUESTIONS[:COUNT]], [long]]
    if side == "passage":
        short = [Passage("", text, "b") for text in ends]
        texts = [[*short, *PROBE_PASSAGES[:COUNT]], [Passage("", long, "a title")]]
    return texts if 0 < length <= LONGEST else texts[:1]


def _plain(text: str | Passage, config: Config) -> Any:
    """A text as a library is given it: the prompt is the library's own to put before it."""
    if isinstance(text, str):
        return text.strip() if config.strip else text
    passage = text.text.strip() if config.strip else text.text
    if config.title_join == "pair":
        return text.title, passage
    title = "" if config.title_join == "none" else text.title + config.title_join
    return title + passage


# --- sentence-transformers ------------------------------------------------------------------------


def _sentence_transformers(
    sources: Sources, side: Side, config: RetrieverConfig, given: dict[str, Any]
) -> Theirs:
    from sentence_transformers import SentenceTransformer

    library = opened(SentenceTransformer, sources.of(side))
    if given.get("truncate_dim") is not None:
        library.truncate_dim = None
    encode = library.encode_query if side == "question" else library.encode_document
    how: dict[str, Any] = {"show_progress_bar": False, "prompt": given.get(f"{side}_prefix")}
    return lambda texts: np.asarray(encode(list(texts), **how))


# --- transformers ---------------------------------------------------------------------------------


def _transformers(
    sources: Sources, side: Side, config: RetrieverConfig, given: dict[str, Any]
) -> Theirs:
    folder = sources.of(side)
    model, batch = _loaded(loader_of(folder), folder), _batches(folder, side, config)

    def vectors(texts: Texts) -> np.ndarray:
        given = batch(texts)
        states = model(**given).last_hidden_state
        mask = given["attention_mask"]
        kept = [one[real].numpy() for one, real in zip(states, mask.bool(), strict=True)]
        return np.stack([_pooled(config.pooling, text) for text in kept])

    return torch.no_grad()(vectors)


def _pooled(pooling: str, states: np.ndarray) -> np.ndarray:
    """(H,) of the states (L, H) of one text's tokens, by another way than dprkit.models.pooling."""
    places = np.arange(1, len(states) + 1)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "cls": lambda: states[0],
        "last": lambda: states[-1],
        "mean": lambda: states.mean(0),
        "max": lambda: states.max(0),
        "weighted-mean": lambda: np.average(states, axis=0, weights=places),
        "mean-sqrt": lambda: states.sum(0) / np.sqrt(len(states)),
    }
    return ways[pooling]()


def _dpr(sources: Sources, side: Side, config: RetrieverConfig, given: dict[str, Any]) -> Theirs:
    from transformers import DPRContextEncoder, DPRQuestionEncoder

    folder = sources.dpr_pair().of(side)
    kind = DPRQuestionEncoder if side == "question" else DPRContextEncoder
    model, batch = _loaded(kind, folder), _batches(folder, side, config)
    return torch.no_grad()(lambda texts: np.asarray(model(**batch(texts)).pooler_output))


def _loaded(kind: Any, folder: Path) -> Any:
    how = {"dtype": torch.float32, "trust_remote_code": False, "local_files_only": True}
    return kind.from_pretrained(folder, use_safetensors=True, **how).eval()


def _batches(folder: Path, side: Side, config: RetrieverConfig) -> Callable[[Texts], Any]:
    """Texts -> a padded batch by the folder's own tokenizer, in which token types are zero."""
    tokenizer = transformers_tokenizer(folder)
    prefix, length = getattr(config, f"{side}_prefix"), getattr(config, f"{side}_max_length")

    def batch(texts: Texts) -> Any:
        first = [prefix + (text if isinstance(text, str) else text[0]) for text in texts]
        second = None if isinstance(texts[0], str) else [text[1] for text in texts]
        made = tokenizer(
            first,
            second,
            padding=True,
            truncation=True,
            max_length=length,
            return_tensors="pt",
            return_attention_mask=True,
        )
        if second:
            made.pop("token_type_ids", None)
        return made

    return batch


BY_TRANSFORMERS = ("transformer", "hf-dpr", "neural-cherche")
READERS: dict[str, Any] = {
    "sentence-transformers": _sentence_transformers,
    "transformer": _transformers,
    "hf-dpr": _dpr,
    **compare_colbert.READERS,
}
