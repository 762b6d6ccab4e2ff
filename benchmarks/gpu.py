"""A training step on a GPU: BERT-base, 128 questions, 256 tokens a text, against the peak.

    python benchmarks/gpu.py [--precision bf16 fp16 tf32 fp32] [--steps 5] [--small]

Random weights and random tokens: speed and memory do not depend on them. The peak is that of a
square matrix product in the same numbers, in the same run; a token takes about 6 floating
point operations a weight of the layers, forward and backward. Every precision runs in one graph and
with gradient caching. Then the loss of a run that is saved and loaded in between is compared with
one that is not. `--small` tries the script on any machine.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dprkit.models.bi_encoder import BiEncoder, Encoder, device
from dprkit.models.config import RetrieverConfig
from dprkit.settings import TrainSettings
from dprkit.training.checkpoints import load_state, save_state
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import ScoreObjective, tensors
from dprkit.training.optimisation import autocasting, optimizer_of, scaler_of
from dprkit.training.resolved_settings import resolve

PRODUCTS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", nargs="+", default=["bf16", "fp16", "tf32", "fp32"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: on the CPU")
    questions, tokens = (4, 32) if given.small else (128, 256)
    for precision in given.precision:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        peak = product_peak(precision, 256 if given.small else 8192)
        for chunk in (None, 2 if given.small else 32):
            measure(precision, chunk, peak, questions, tokens, given.steps, given.small)
    resume(given.precision[0], given.small)


def product_peak(precision: str, size: int) -> float:
    """Floating point operations a second of the best of ten matrix products."""
    one = torch.randn(size, size, device=device(), dtype=PRODUCTS.get(precision, torch.float32))
    best = 0.0
    for _ in range(10):
        begin = clock()
        one @ one
        best = max(best, 2 * size**3 / (clock() - begin))
    return best


def clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def bert(small: bool) -> BiEncoder:
    from transformers import BertConfig, BertModel

    sizes: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    backbone = BertModel(BertConfig(**(sizes if small else {})), add_pooling_layer=False)
    config = RetrieverConfig(question_max_length=256)
    question = Encoder(backbone, config)
    return BiEncoder(question, copy.deepcopy(question), config).to(device()).train()


class Steps:
    """A model with its optimizer, and one step after another on random tokens."""

    def __init__(self, precision: str, questions: int, tokens: int, small: bool) -> None:
        self.model = bert(small)
        self.engine = GradientEngine(self.model, autocast=autocasting(precision, device()))
        self.objective = ScoreObjective(1.0).to(device())
        self.optimizer = optimizer_of(self.model, self.objective, resolve(TrainSettings(lr=2e-5)))
        self.scaler = scaler_of(precision, device())
        self.questions, self.tokens = questions, tokens
        self.state: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer}

    def step(self, number: int, chunk: int | None) -> float:
        random = np.random.default_rng(number)
        texts = random.integers(1000, 30000, (3 * self.questions, self.tokens)).tolist()
        batch = texts[: self.questions], texts[self.questions :]
        count = self.questions
        mask = np.zeros((count, 2 * count), dtype=bool)
        known = {"positives": np.arange(count) * 2, "false_negatives": mask}
        targets = tensors(known | {"weights": np.ones(count, np.float32)}, device())
        self.optimizer.zero_grad()
        outcome = self.engine.backward(
            self.objective, batch, targets, number, chunk, self.scaler.scale
        )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return float(outcome.loss)


def measure(
    precision: str,
    chunk: int | None,
    peak: float,
    questions: int,
    tokens: int,
    steps: int,
    small: bool,
) -> None:
    run = Steps(precision, questions, tokens, small)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for number in range(steps + 1):
        begin = clock()
        run.step(number, chunk)
        seconds.append(clock() - begin)
    median = statistics.median(seconds[1:])
    backbone: Any = run.model.passage_encoder.backbone
    weights = sum(p.numel() for p in backbone.encoder.parameters())
    operations = 6 * weights * 3 * questions * tokens
    memory = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
    print(
        f"{precision} {'one graph' if chunk is None else f'chunks of {chunk}':>12}: "
        f"{questions / median:8.1f} questions/s, {operations / median / 1e12:7.2f} TFLOP/s, "
        f"{operations / median / peak:4.0%} of the {peak / 1e12:.1f} measured, {memory:.1f} GB",
        flush=True,
    )


def resume(precision: str, small: bool) -> None:
    """The losses of four steps, without a break and with a save and load in the middle."""
    whole, broken = (Steps(precision, 4, 32, small) for _ in range(2))
    broken.model.load_state_dict(whole.model.state_dict())
    unbroken = [whole.step(number, 2) for number in range(4)]
    first = [broken.step(number, 2) for number in range(2)]
    later = Steps(precision, 4, 32, small)
    with tempfile.TemporaryDirectory() as folder:
        save_state(Path(folder), broken.state)
        later.step(0, 2)  # so that the optimizer has moments to replace
        load_state(Path(folder), later.state)
    resumed = first + [later.step(number, 2) for number in (2, 3)]
    print(f"resumed: losses apart by {max(abs(np.subtract(unbroken, resumed))):.1e}")


if __name__ == "__main__":
    main()
