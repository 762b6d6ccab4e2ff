"""--average-with-init: the weights that are written lie between those before and after training."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import call

FAST = ("--batch-size", 8, "--lr", "1e-2", "--hard-negatives", 1)
UNSEEN = ("--valid-every", "never")


def trained(examples, start, output, *more):
    words = ("train", "--train-file", examples, "--init", start, "--output-dir", output, "--json")
    result = call(*words, *FAST, "--max-steps", 3, *more)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def weights(folder):
    """Every weight of a retriever, by its file and name."""
    files = sorted(folder.glob("*_encoder/*.safetensors"))
    return {
        (str(file.relative_to(folder)), name): value
        for file in files
        for name, value in load_file(file).items()
    }


@pytest.mark.parametrize(
    "kind", ["small_retriever", pytest.param("small_colbert", marks=pytest.mark.slow)]
)
def test_the_weights_are_the_share_of_the_way_from_the_start(
    request, kind, tiny_examples, tmp_path
):
    start = request.getfixturevalue(kind)
    trained(tiny_examples, start, tmp_path / "whole", *UNSEEN)
    trained(tiny_examples, start, tmp_path / "part", *UNSEEN, "--average-with-init", 0.25)
    before, whole, part = map(weights, (start, tmp_path / "whole", tmp_path / "part"))
    assert before.keys() == whole.keys() == part.keys()
    for name, value in part.items():
        wanted = before[name].astype(float) + 0.25 * (whole[name].astype(float) - before[name])
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-7)
    assert any(not np.array_equal(whole[name], before[name]) for name in before)
    assert "0.25 times those weights" in (tmp_path / "part/README.md").read_text()


@pytest.mark.slow
def test_the_averaged_weights_are_validated_and_can_be_used(
    small_retriever, tiny_examples, tmp_path
):
    """The figures are those that another training finds before its first step."""
    valid = ("--valid-file", tiny_examples, "--valid-hard-negatives", 0, "--valid-negatives", 0)
    valid = (*valid, "--best-by", "loss", "--lr", "1e-3")
    model = tmp_path / "m"
    report = trained(tiny_examples, small_retriever, model, *valid, "--average-with-init", 0.5)
    later = trained(tiny_examples, model, tmp_path / "later", *valid)
    assert report["valid_averaged"] != report["valid"]
    assert {"step": 0, **report["valid_averaged"]} == later["valid_before"]
    assert "| averaged |" in (model / "README.md").read_text()


@pytest.mark.slow
def test_adapters_are_merged_before_the_weights_are_averaged(
    small_retriever, tiny_examples, tmp_path
):
    pytest.importorskip("peft")
    lora = (*UNSEEN, "--lora-rank", 2)
    trained(tiny_examples, small_retriever, tmp_path / "whole", *lora)
    trained(tiny_examples, small_retriever, tmp_path / "half", *lora, "--average-with-init", 0.5)
    before, whole, half = map(weights, (small_retriever, tmp_path / "whole", tmp_path / "half"))
    for name, value in half.items():
        np.testing.assert_allclose(value, (before[name] + whole[name]) / 2, atol=1e-6)


def test_random_weights_are_no_start_to_average_with(tiny_examples, tmp_path):
    words = ("train", "--train-file", tiny_examples, "--output-dir", tmp_path / "m")
    result = call(*words, "--average-with-init", 0.5)
    assert result.exit_code == 1
    assert "--average-with-init: without --init training begins with random weights" in (
        result.stderr
    )
