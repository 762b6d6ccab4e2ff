"""Decoders and encoders of today, from another library through training and back."""

import numpy as np
import pytest

from dprkit.errors import MismatchError
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from dprkit.progress import Run
from dprkit.settings import TrainSettings
from dprkit.training.train import train
from tests.conftest import call
from tests.interop.decoder_folders import save_plain, save_sentence_model, tell_spaces
from tests.interop.foreign import convert
from tests.training.test_train import StopAtStep, content

PASSAGES = [("Hamlet", "a play by Shakespeare"), ("", "no title here"), ("Nile", "a river " * 30)]
QUESTIONS = ["who wrote hamlet", "a", "what is the " + "very " * 30 + "long"]


def their_vectors(folder):
    """What sentence-transformers gives questions and passages."""
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    texts = [f"{title} {text}".strip() for title, text in PASSAGES]
    return model.encode_query(QUESTIONS), model.encode_document(texts)


def ours(folder):
    retriever = load_retriever(folder)
    return retriever.encode_questions(QUESTIONS), retriever.encode_passages(PASSAGES)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def trained(source, examples, folder, *more):
    words = ("--max-steps", 3, "--batch-size", 4, "--valid-every", "never", *more)
    done = call("train", "--init", source, "--train-file", examples, "--output-dir", folder, *words)
    assert done.exit_code == 0, done.stderr


# --- an embedder of today -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return save_sentence_model(tmp_path_factory.mktemp("qwen3"), "qwen3")


def test_a_decoder_of_sentence_transformers_comes_in_and_goes_out_with_its_vectors(qwen, tmp_path):
    report = convert(source=qwen, output_dir=tmp_path / "in")
    assert report.packed
    assert report.largest_difference <= 1e-5
    config = load_config(tmp_path / "in")
    assert (config.pooling, config.question_prefix) == ("last", "given a web question: ")
    same(ours(tmp_path / "in"), their_vectors(qwen))
    convert(source=tmp_path / "in", to="sentence-transformers", output_dir=tmp_path / "out")
    same(their_vectors(tmp_path / "out"), their_vectors(qwen))
    assert "its texts go through without padding" in call("info", tmp_path / "in").stdout


SPACED = ["a word", "a word ", " a word", "a word \n", "  "]


def same_of_spaced(retriever, library):
    st = pytest.importorskip("sentence_transformers")
    ours, model = load_retriever(retriever), st.SentenceTransformer(str(library), device="cpu")
    vectors = ours.encode_questions(SPACED), ours.encode_passages([("", text) for text in SPACED])
    same(vectors, (model.encode_query(SPACED), model.encode_document(SPACED)))
    assert np.abs(vectors[0][0] - vectors[0][1]).max() > 0.01
    titled, joined = [("A b ", " c "), (" ", " c ")], ["A b   c ", " c "]
    same([ours.encode_passages(titled)], [model.encode_document(joined)])


def test_white_space_at_the_ends_of_texts_is_read_as_in_the_library(tmp_path, tiny_examples):
    source = save_sentence_model(tmp_path / "source", "qwen3")
    tell_spaces(source)
    convert(source=source, output_dir=tmp_path / "in")
    same_of_spaced(tmp_path / "in", source)
    for name in ("plain", "source"):
        if name == "plain":
            tell_spaces(save_plain(tmp_path / "plain", "qwen3"))
        trained(tmp_path / name, tiny_examples, tmp_path / f"of_{name}", "--title-join", " ")
        out = tmp_path / f"out_{name}"
        convert(source=tmp_path / f"of_{name}", to="sentence-transformers", output_dir=out)
        same_of_spaced(tmp_path / f"of_{name}", out)


def test_adapters_of_a_decoder_go_on_to_the_bit(qwen, tiny_examples, tmp_path):
    pytest.importorskip("peft")
    given = {"init": str(qwen), "train_file": (str(tiny_examples),), "lora_rank": 2, "lr": 0.01}
    given |= {"max_steps": 3, "batch_size": 4, "valid_every": "never", "checkpoint_every": "1"}

    def run(name, *how):
        train(TrainSettings(**given, output_dir=str(tmp_path / name)), *how)

    with pytest.raises(KeyboardInterrupt):
        run("broken", Run(StopAtStep(2)))
    run("broken")
    run("whole")
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert not np.allclose(ours(tmp_path / "whole")[0], their_vectors(qwen)[0], atol=1e-4)


# --- a plain decoder ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_plain(tmp_path_factory.mktemp("llama"), "llama", end=False)


def test_a_plain_decoder_is_trained_by_its_last_token_which_ends_each_text(
    llama, tiny_examples, tmp_path
):
    more = ("--similarity", "cosine", "--shared", "--question-max-length", 90)
    trained(llama, tiny_examples, tmp_path / "m", *more, "--passage-max-length", 90)
    config = load_config(tmp_path / "m")
    assert (config.pooling, config.title_join, config.end_token) == ("last", " ", "[SEP]")
    tokens = load_retriever(tmp_path / "m").tokens
    assert [ids[-1] for ids in tokens.questions(QUESTIONS)] == [3, 3, 3]
    convert(source=tmp_path / "m", to="sentence-transformers", output_dir=tmp_path / "out")
    same(their_vectors(tmp_path / "out"), ours(tmp_path / "m"))


@pytest.mark.parametrize("given", [{}, {"end_token": "[SEP]"}], ids=["none", "end"])
def test_a_plain_decoder_is_converted_with_the_end_that_is_asked_for(llama, tmp_path, given):
    convert(source=llama, output_dir=tmp_path / "m", **given)
    assert load_config(tmp_path / "m").pooling == "last"
    tokens = load_retriever(tmp_path / "m").tokens
    last = tokens.token("question", tokens.questions(["a b"])[0][-1])
    assert last == given.get("end_token", "b")


@pytest.mark.parametrize(
    "given, message",
    [({"pooling": "cls"}, "is a decoder"), ({"end_token": "</s>"}, "has no such token")],
    ids=["cls", "end"],
)
def test_what_a_decoder_cannot_be_is_refused(llama, tmp_path, given, message):
    with pytest.raises(MismatchError, match=message) as error:
        convert(source=llama, output_dir=tmp_path / "m", **given)
    assert "\n" not in str(error.value)
