"""onnxruntime against torch: the same vectors from the same texts."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from dprkit.errors import SettingsError
from dprkit.models import retriever as retrievers
from dprkit.models.config import CONFIG
from dprkit.models.onnx_encoder import OnnxEncoder
from dprkit.models.retriever import load_for_questions, load_retriever
from dprkit.models.torch_encoder import TorchEncoder
from tests.conftest import call, environment, remade
from tests.interop.foreign import PASSAGES, QUESTIONS
from tests.interop.test_interop_export import heads, shared, towers

CLOSE = {"atol": 1e-5, "rtol": 0}
ODD = ["", "  who?  ", "it’s a “curly” one", "naïve Ärger", "東京 [SEP] [MASK] x", "a\tb\nc"]


def roberta(tmp_path):
    """Its positions count on from the padding id; it reads ’ as ' and begins each question."""
    model = shared(tmp_path, "roberta", pooling="mean", question_prefix="query: ")
    text = (model / CONFIG).read_text()
    (model / CONFIG).write_text(text.replace("apostrophe: false", "apostrophe: true"))
    return remade(model)


@pytest.mark.skipif(not find_spec("onnxscript"), reason="the extra onnx is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [towers, heads, roberta])
def test_onnxruntime_gives_the_vectors_that_torch_gives(tmp_path, make):
    model = make(tmp_path)
    ours, theirs = load_retriever(model, "onnx"), load_retriever(model)
    questions = [*QUESTIONS, *ODD]
    assert ours.tokens.questions(questions) == theirs.tokens.questions(questions)
    np.testing.assert_allclose(
        ours.encode_questions(questions), theirs.encode_questions(questions), **CLOSE
    )
    np.testing.assert_allclose(
        ours.encode_passages(PASSAGES), theirs.encode_passages(PASSAGES), **CLOSE
    )
    assert ours.dim == theirs.dim


def test_vectors_do_not_depend_on_what_goes_through_together(retriever):
    encoders = load_retriever(retriever, "onnx")
    together = encoders.encode_passages(PASSAGES)
    np.testing.assert_allclose(encoders.encode_passages(PASSAGES, 8), together, **CLOSE)
    alone = np.concatenate([encoders.encode_passages([one]) for one in PASSAGES])
    np.testing.assert_allclose(alone, together, **CLOSE)
    assert encoders.encode_questions([]).shape == (0, encoders.dim)
    assert encoders.dim == load_retriever(retriever, "onnx").dim  # before anything is encoded


def test_int8_vectors_are_like_the_exact_ones_and_not_the_same(retriever):
    exact = load_retriever(retriever).encode_passages(PASSAGES)
    int8 = load_retriever(retriever, "onnx", int8=True).encode_passages(PASSAGES)
    cosines = (exact * int8).sum(axis=1)
    assert 0.95 < cosines.min() < cosines.max() < 1.001
    assert np.abs(exact - int8).max() > 1e-4


def test_a_question_is_encoded_without_torch(retriever):
    program = f"""
import sys
from dprkit.models.retriever import load_for_questions
vectors = load_for_questions({str(retriever)!r}).encode_questions(["who wrote hamlet"])
print(vectors.shape[0], {{"torch", "transformers", "onnx"}} & set(sys.modules))
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == ("1 set()\n", "")


def test_an_onnx_copy_is_used_if_it_is_there(retriever):
    copied = load_for_questions(retriever)
    assert isinstance(copied.encoder_of("question"), OnnxEncoder)
    exact = load_retriever(retriever).encode_questions(QUESTIONS)
    np.testing.assert_allclose(copied.encode_questions(QUESTIONS), exact, **CLOSE)
    shutil.rmtree(retriever / ".backends")
    assert isinstance(load_for_questions(retriever).encoder_of("question"), TorchEncoder)


def test_torch_answers_where_onnxruntime_is_not_installed(small_retriever, monkeypatch):
    monkeypatch.setattr(retrievers, "find_spec", lambda module: None)
    found = load_for_questions(small_retriever)
    assert isinstance(found.encoder_of("question"), TorchEncoder)
    assert found.encode_questions(["who"]).shape == (1, found.dim)


def test_int8_is_not_for_torch(small_retriever):
    with pytest.raises(SettingsError, match="--int8 is for --backend onnx"):
        load_retriever(small_retriever, "torch", int8=True)


def test_one_text_is_not_a_list_of_texts(retriever):
    with pytest.raises(TypeError, match="not one string"):
        load_retriever(retriever, "onnx").encode_questions("who")


@pytest.mark.parametrize("name", ["onnx-copy", "twin"])  # twin: its name before 0.1.0
def test_convert_keeps_an_onnx_copy_with_its_retriever(retriever, name):
    result = call("convert", retriever, "--to", name, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["outputs"] == [str(retriever / ".backends/question")]
    assert (report["to"], report["dim"], report["files"]) == ("onnx-copy", 16, ["onnx/model.onnx"])
    refused = call("convert", retriever, "--to", name, "--output-dir", retriever / "x")
    assert refused.exit_code == 1
    assert "leave --output-dir out" in refused.stderr
