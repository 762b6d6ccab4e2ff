"""A training step beside sentence-transformers': speed, memory, and the loss of every step.

MiniLM, one encoder for both sides, one hard negative a question, float32: the same batches go
through both, step by step in turns, each with its own AdamW. Without --dropout the losses must be
equal. Then larger batches of dprkit alone, with and without gradient caching. With --kind colbert
it is late interaction, beside MultiVectorEncoder.

    python benchmarks/train_step.py MODEL_FOLDER EXAMPLES [--kind colbert] [--steps 6] [--batch 32]

MODEL_FOLDER is a sentence-transformers folder with mean pooling; EXAMPLES a DPR file.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import string
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from dprkit.data.examples import read_examples
from dprkit.memory import peak_bytes
from dprkit.models.bi_encoder import BiEncoder, Encoder
from dprkit.models.config import ColbertConfig, RetrieverConfig
from dprkit.models.late_interaction import Colbert
from dprkit.models.late_tokens import LateTokens
from dprkit.models.maxsim_scoring import MAXSIM
from dprkit.models.retriever_folder import load_transformer
from dprkit.models.scoring import DOT
from dprkit.models.tokens import Tokens, load_tokenizer
from dprkit.records import Example, Passage
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import ScoreObjective, tensors

JOIN = ". "
SIZE = 128
"""Numbers of a token's vector."""
SKIP = tuple(string.punctuation)
LR = 2e-5
Step = Callable[[list[Example]], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("examples")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kind", choices=("bi-encoder", "colbert"), default="bi-encoder")
    parser.add_argument("--expansion", choices=("fixed", "none"), default="fixed")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--large", type=int, default=0, help="Also a batch of this size, cached.")
    parser.add_argument("--alone", default="", help="This side alone, with its peak of memory.")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = (e for e in read_examples(given.examples) if e.positives and e.hard_negatives)
    batches = list(_batches(rows, given.batch, given.steps + 1))
    late = given.kind == "colbert"
    make = late_dprkit if late else dprkit_model
    model, tokens = make(given.model, given.expansion)
    sides = {"dprkit": dprkit_step(model, tokens, given.dropout)}
    try:
        if late:
            theirs = late_theirs(given.model, given.expansion)
            sides["sentence-transformers"] = their_late_step(theirs, given.dropout)
        else:
            sides["sentence-transformers"] = their_step(given.model, given.dropout)
    except ImportError:
        print("sentence-transformers is not installed: dprkit alone")
    if given.alone:
        sides = {given.alone: sides[given.alone]}
    compare(sides, batches)
    if given.alone:
        print(f"peak {peak_bytes() / 1e9:.2f} GB")
    if given.large:
        rows = (e for e in read_examples(given.examples) if e.positives)
        large = next(_batches(rows, given.large, 1))
        sizes = {"one graph": None, "chunks of 8": 8, "chunks of 16": 16}
        compare(
            {
                f"{given.large}, {k}": dprkit_step(
                    *make(given.model, given.expansion), given.dropout, v, 0
                )
                for k, v in sizes.items()
            },
            [large] * 3,
        )


def _batches(rows: Iterator[Example], size: int, count: int) -> Iterator[list[Example]]:
    for _ in range(count):
        yield list(itertools.islice(rows, size))


def compare(sides: dict[str, Step], batches: list[list[Example]]) -> None:
    """Run the sides in turns; the first batch warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, list[float]] = {name: [] for name in sides}
    for batch in batches:
        for name, step in sides.items():
            begin = time.perf_counter()
            losses[name].append(step(batch))
            seconds[name].append(time.perf_counter() - begin)
    first = next(iter(sides))
    for name in sides:
        median = statistics.median(seconds[name][1:])
        ratio = statistics.median(
            one / own for one, own in zip(seconds[name][1:], seconds[first][1:], strict=True)
        )
        apart = max(abs(a - b) for a, b in zip(losses[name], losses[first], strict=True))
        print(
            f"{name:>24}: {len(batches[0]) / median:6.2f} questions/s, {median:6.2f} s a step "
            f"({min(seconds[name][1:]):.2f}-{max(seconds[name][1:]):.2f}), "
            f"{ratio:5.2f} times {first}'s time, loss apart by at most {apart:.1e}",
            flush=True,
        )


def dprkit_model(folder: str, expansion: str) -> tuple[Any, Tokens]:
    """A bi-encoder as sentence-transformers has it."""
    config = RetrieverConfig(
        shared=True,
        pooling="mean",
        similarity="cosine",
        temperature=0.05,
        title_join=JOIN,
        question_max_length=256,
    )
    encoder = Encoder(load_transformer(folder)[0], config)
    return BiEncoder(encoder, encoder, config), Tokens(load_tokenizer(folder), config)


def late_dprkit(folder: str, expansion: Any) -> tuple[Any, Tokens]:
    """A ColBERT model with a projection of the first `SIZE` states."""
    config = ColbertConfig(
        embedding_size=SIZE, expansion=expansion, temperature=1.0, title_join=JOIN, skip=SKIP
    )
    tokens = LateTokens(load_tokenizer(folder), config)
    model = Colbert(load_transformer(folder)[0], tokens)
    with torch.no_grad():
        model.projection.weight.copy_(torch.eye(*model.projection.weight.shape))
    return model, tokens


def dprkit_step(
    model: Any, tokens: Tokens, dropout: float = 0.0, chunk: int | None = None, negatives: int = 1
) -> Step:
    """dprkit's step: tokenise, gradient, clip, update."""
    _set_dropout(model, dropout)
    scoring = MAXSIM if isinstance(model, Colbert) else DOT
    engine = GradientEngine(model)
    objective = ScoreObjective(tokens.config.temperature, scoring=scoring)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)

    def step(batch: list[Example]) -> float:
        model.train()
        passages = [p for e in batch for p in (e.positives[0], *e.hard_negatives[:negatives])]
        positives = np.arange(len(batch)) * (1 + negatives)
        # sentence-transformers masks nothing, so nothing is masked here.
        nothing = np.zeros((len(batch), len(passages)), dtype=bool)
        weights = np.ones(len(batch), np.float32)
        known = {"positives": positives, "false_negatives": nothing, "weights": weights}
        targets = tensors(known, torch.device("cpu"))
        ids = tokens.questions([e.question for e in batch]), tokens.passages(passages)
        optimizer.zero_grad()
        outcome = engine.backward(objective, ids, targets, 0, chunk)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(outcome.loss)

    return step


def their_step(folder: str, dropout: float = 0.0) -> Step:
    """sentence-transformers' step, as its trainer does it: tokenise, loss, clip, update."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    model: Any = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = 256
    _set_dropout(model, dropout)
    loss = losses.MultipleNegativesRankingLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    tokenize = getattr(model, "preprocess", model.tokenize)

    def step(batch: list[Example]) -> float:
        model.train()
        columns = [
            [e.question for e in batch],
            [_joined(e.positives[0]) for e in batch],
            [_joined(e.hard_negatives[0]) for e in batch],
        ]
        optimizer.zero_grad()
        value = loss([tokenize(column) for column in columns], None)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(value.detach())

    return step


def late_theirs(folder: str, expansion: str) -> Any:
    """A MultiVectorEncoder of the same lengths, [MASK] tokens, skip-list and projection."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    config = ColbertConfig()
    lengths = config.question_max_length, config.passage_max_length
    masks = {"strategy": "fixed", "attend": False, "length": lengths[0]}
    transformer = Transformer(
        folder,
        query_length=lengths[0],
        document_length=lengths[1],
        query_expansion=masks if expansion == "fixed" else None,
    )
    states: Any = {"module_input_name": "token_embeddings"}
    dense = Dense(384, SIZE, bias=False, activation_function=torch.nn.Identity(), **states)
    with torch.no_grad():
        dense.linear.weight.copy_(torch.eye(*dense.linear.weight.shape))
    mask = MultiVectorMask(skiplist_words=list(SKIP))
    return MultiVectorEncoder(modules=[transformer, dense, mask, Normalize(**states)], device="cpu")


def their_late_step(model: Any, dropout: float = 0.0) -> Step:
    """Its step, as its trainer and its collator do it: tokenise, loss, clip, update."""
    from sentence_transformers.multi_vector_encoder import losses

    _set_dropout(model, dropout)
    loss = losses.MultiVectorMultipleNegativesRankingLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)

    def step(batch: list[Example]) -> float:
        model.train()
        columns = [
            ("query", [e.question for e in batch]),
            ("document", [_joined(e.positives[0]) for e in batch]),
            ("document", [_joined(e.hard_negatives[0]) for e in batch]),
        ]
        optimizer.zero_grad()
        features = [model.preprocess(texts, task=task) | {"task": task} for task, texts in columns]
        value = loss(features, None)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(value.detach())

    return step


def _joined(passage: Passage) -> str:
    return f"{passage.title}{JOIN}{passage.text}" if passage.title else passage.text


def _set_dropout(model: torch.nn.Module, dropout: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout


if __name__ == "__main__":
    main()
