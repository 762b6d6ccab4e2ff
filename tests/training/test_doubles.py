"""Several rows a text, and a task of another kind, on the engine and the trainer as they are.

The tasks are in doubles.py: MaxSim of three vectors a text, and a reader's two heads.
"""

import copy
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dprkit.store.manifests import read_manifest
from dprkit.training.gradients import GradientEngine
from dprkit.training.objectives import tensors
from tests.cli.test_training import wait_for
from tests.conftest import environment
from tests.training.doubles import PASSAGES, QUESTIONS, STEPS, VECTORS, Double

CPU = torch.device("cpu")


def gradients(task, chunk_texts=None, dropout=0.0):
    """name -> gradient of a step, in float64."""
    model, objective = copy.deepcopy(task.model).double(), copy.deepcopy(task.objective).double()
    model.dropout.p = dropout
    batch = task.prepare(4)
    targets = tensors(batch.targets, CPU)
    GradientEngine(model).backward(objective, batch.sides, targets, 7, chunk_texts)
    named = [*model.named_parameters(), *objective.named_parameters()]
    return {name: p.grad.numpy() for name, p in named}


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", ["maxsim", "heads"])
def test_the_cached_gradient_is_the_plain_one(kind):
    plain = gradients(Double(kind))
    assert all(np.abs(gradient).max() > 0 for gradient in plain.values())
    for texts in (1, 4, 100):
        assert_close(gradients(Double(kind), texts), plain)


def test_maxsim_has_the_gradient_that_a_hand_reckons():
    """Vector by vector in float64: each question vector pulls its nearest passage vector."""
    task = Double("maxsim")
    model = copy.deepcopy(task.model).double()
    model.dropout.p = 0.0
    batch = task.prepare(4)
    rows = [model.rows(side, ids) for side, ids in enumerate(batch.sides)]
    q, p = (r.values.detach().numpy().reshape(-1, VECTORS, 8) for r in rows)
    count, columns, temperature = QUESTIONS, QUESTIONS * PASSAGES, 0.5
    nearest = np.array([[[max(range(VECTORS), key=lambda k: v @ p[j, k]) for v in q[i]]
                         for j in range(columns)] for i in range(count)])  # fmt: skip
    scores = np.array([[sum(q[i, v] @ p[j, nearest[i, j, v]] for v in range(VECTORS))
                        for j in range(columns)] for i in range(count)])  # fmt: skip
    for_q, for_p = np.zeros_like(q), np.zeros_like(p)
    for i in range(count):
        terms = np.exp(scores[i] / temperature) * ~batch.targets["false_negatives"][i]
        pull = terms / terms.sum()
        pull[batch.targets["positives"][i]] -= 1
        pull *= float(batch.targets["weights"][i]) / count / temperature
        for j in range(columns):
            for v in range(VECTORS):
                for_q[i, v] += pull[j] * p[j, nearest[i, j, v]]
                for_p[j, nearest[i, j, v]] += pull[j] * q[i, v]
    for part, gradient in zip(rows, (for_q, for_p), strict=True):
        part.values.backward(torch.from_numpy(gradient.reshape(-1, 8)))
    by_hand = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    by_engine = gradients(task, 4)
    assert by_engine.pop("log_temperature") != 0
    for name in by_hand:
        # The temperature that the objective learns is kept as a logarithm in float32.
        np.testing.assert_allclose(by_engine[name], by_hand[name], rtol=1e-5, atol=1e-9)


def start(kind, folder, pause=0.0):
    words = [sys.executable, "-m", "tests.training.doubles", kind, str(folder), str(pause)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        words,
        cwd=root,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def trained(kind, folder):
    process = start(kind, folder)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0, errors
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("questions_per_second", None)
    return rows, (folder / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["maxsim", "heads"])
def test_two_processes_that_are_killed_end_with_the_bytes_of_two_that_were_not(kind, tmp_path):
    rows, weights = trained(kind, tmp_path / "whole")
    losses = [row["loss"] for row in rows if "lr" in row]
    assert len(losses) == STEPS
    assert len([row for row in rows if "valid" in row]) == 4  # before, and after each 20 steps
    killed, metrics = tmp_path / "killed", tmp_path / "killed/metrics.jsonl"
    process = start(kind, killed, pause=0.05)
    wait_for(process, lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 27)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (killed / "manifest.json").exists()
    assert trained(kind, killed) == (rows, weights)
    assert read_manifest(killed).counts["steps"] == STEPS
