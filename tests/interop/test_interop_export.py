"""Retrievers in the forms of other libraries, loaded by these."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, DPRContextEncoder, DPRQuestionEncoder

from dprkit.errors import GateError, InputError, MissingExtra
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from tests.interop.foreign import (
    PASSAGES,
    QUESTIONS,
    convert,
    family,
    save_bert,
    save_dpr_pair,
    save_tokenizer,
)
from tests.interop.test_interop_files import save_qa_retriever

CLOSE = {"atol": 1e-5, "rtol": 0}
WITH_TITLE = [passage for passage in PASSAGES if passage[0]]


def dpr(tmp_path, projection=0):
    save_dpr_pair(tmp_path / "in", projection)
    pair = {
        "question_encoder": tmp_path / "in/question",
        "passage_encoder": tmp_path / "in/passage",
    }
    convert(**pair, output_dir=tmp_path / "model")
    return tmp_path / "model"


def shared(tmp_path, name="bert", **how):
    family(name).save_pretrained(tmp_path / "in")
    save_tokenizer(tmp_path / "in")
    convert(source=tmp_path / "in", output_dir=tmp_path / "model", **how)
    return tmp_path / "model"


def heads(tmp_path, **how):
    save_qa_retriever(tmp_path / "a.ckpt")
    save_bert(tmp_path / "bert")
    source = {"source": tmp_path / "a.ckpt", "backbone": tmp_path / "bert"}
    convert(**source, **how, output_dir=tmp_path / "model")
    return tmp_path / "model"


def towers(tmp_path):
    """Two towers of mean pooling, each with a tokenizer of its own."""
    for seed, half in enumerate(("q", "p")):
        save_bert(tmp_path / half, seed)
    save_tokenizer(tmp_path / "p", lowercase=False)
    pair = {"question_encoder": tmp_path / "q", "passage_encoder": tmp_path / "p"}
    how = {"pooling": "mean", "similarity": "cosine", "title_join": " ", "question_prefix": "ask "}
    convert(**pair, **how, output_dir=tmp_path / "model")
    return tmp_path / "model"


# --- Hugging Face DPR -----------------------------------------------------------------------------


@pytest.mark.parametrize("projection", [0, 6])
def test_transformers_loads_an_exported_pair_with_equal_vectors(tmp_path, projection):
    model = dpr(tmp_path, projection)
    report = convert(source=model, to="hf-dpr", output_dir=tmp_path / "out")
    assert (report.to, report.dim) == ("hf-dpr", projection or 16)
    retriever = load_retriever(model)
    sides = {
        "question_encoder": (DPRQuestionEncoder, QUESTIONS, retriever.encode_questions(QUESTIONS)),
        "ctx_encoder": (DPRContextEncoder, WITH_TITLE, retriever.encode_passages(WITH_TITLE)),
    }
    for name, (kind, texts, ours) in sides.items():
        folder = tmp_path / "out" / name
        batch = AutoTokenizer.from_pretrained(folder)(
            texts, padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        with torch.no_grad():
            theirs = kind.from_pretrained(folder).eval()(**batch).pooler_output
        np.testing.assert_allclose(ours, theirs.numpy(), **CLOSE)


def test_a_pair_comes_back_as_the_retriever_it_was(tmp_path):
    model = dpr(tmp_path, 6)
    convert(source=model, to="hf-dpr", output_dir=tmp_path / "out")
    convert(source=tmp_path / "out", output_dir=tmp_path / "again")
    one, two = load_retriever(model), load_retriever(tmp_path / "again")
    np.testing.assert_array_equal(one.encode_questions(QUESTIONS), two.encode_questions(QUESTIONS))
    np.testing.assert_array_equal(one.encode_passages(PASSAGES), two.encode_passages(PASSAGES))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"pooling": "mean"}, "it has mean pooling"),
        ({"similarity": "cosine"}, "it compares by cosine"),
        ({"name": "distilbert"}, "its encoders are distilbert"),
        ({"question_prefix": "query: "}, "it puts a prefix before texts"),
    ],
)
def test_a_retriever_that_dpr_cannot_hold_is_refused_with_the_reason(tmp_path, how, reason):
    model = shared(tmp_path, **how)
    with pytest.raises(InputError, match=f"{reason}, which DPR's classes cannot hold"):
        convert(source=model, to="hf-dpr", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- sentence-transformers ------------------------------------------------------------------------


def one_encoder(tmp_path):
    how = {"pooling": "mean", "similarity": "cosine", "title_join": " ", "passage_prefix": "say "}
    return shared(tmp_path, "roberta", **how)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [one_encoder, towers, heads, dpr])
def test_sentence_transformers_loads_an_export_with_equal_vectors(tmp_path, make):
    library = pytest.importorskip("sentence_transformers")
    model = make(tmp_path)
    convert(source=model, to="sentence-transformers", output_dir=tmp_path / "out")
    loaded = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    retriever = load_retriever(model)
    # What the library reads as a passage is a pair where titles are joined as one.
    join = retriever.tokens.config.title_join
    texts = [list(p) if join == "pair" else join.join(p) for p in WITH_TITLE]
    np.testing.assert_allclose(
        retriever.encode_questions(QUESTIONS), loaded.encode_query(QUESTIONS), **CLOSE
    )
    np.testing.assert_allclose(
        retriever.encode_passages(WITH_TITLE), loaded.encode_document(texts), **CLOSE
    )
    cosine = load_config(model).similarity
    assert loaded.similarity_fn_name == cosine


@pytest.mark.parametrize("make", [one_encoder, towers, heads, dpr])
def test_an_exported_sentence_transformer_comes_back(tmp_path, make):
    model = make(tmp_path)
    convert(source=model, to="sentence-transformers", output_dir=tmp_path / "out")
    join = load_retriever(model).tokens.config.title_join
    convert(source=tmp_path / "out", title_join=join, output_dir=tmp_path / "again")
    one, two = load_retriever(model), load_retriever(tmp_path / "again")
    np.testing.assert_allclose(
        one.encode_questions(QUESTIONS), two.encode_questions(QUESTIONS), **CLOSE
    )
    np.testing.assert_allclose(
        one.encode_passages(PASSAGES), two.encode_passages(PASSAGES), **CLOSE
    )
    heads = (load_config(folder).separate_heads for folder in (model, tmp_path / "again"))
    assert next(heads) == next(heads)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lengths", [(20, 50), (50, 20)])
@pytest.mark.parametrize("make", [shared, heads])
def test_each_side_of_one_encoder_keeps_its_length(tmp_path, make, lengths):
    library = pytest.importorskip("sentence_transformers")
    cut = dict(zip(("question_max_length", "passage_max_length"), lengths, strict=True))
    model = make(tmp_path, title_join=" ", **cut)
    report = convert(source=model, to="sentence-transformers", output_dir=tmp_path / "out")
    assert "sentence-transformers gives vectors that differ by at most" in report.mapped[-1]
    loaded = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    texts, retriever = [f"{'why ' * 30}{end}" for end in "abc"], load_retriever(model)
    np.testing.assert_allclose(
        retriever.encode_questions(texts), loaded.encode_query(texts), **CLOSE
    )
    passages = retriever.encode_passages([("", text) for text in texts])
    np.testing.assert_allclose(passages, loaded.encode_document(texts), **CLOSE)


def test_a_transformer_that_both_routes_have_is_written_once(tmp_path):
    convert(source=heads(tmp_path), to="sentence-transformers", output_dir=tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*_Transformer"))) == 1
    structure = json.loads((tmp_path / "out/router_config.json").read_text())["structure"]
    assert structure["query"][0] == structure["document"][0]


# --- ONNX -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        one_encoder,
        dpr,
        pytest.param(towers, marks=pytest.mark.slow),
        pytest.param(heads, marks=pytest.mark.slow),
    ],
)
def test_onnxruntime_gives_the_vectors_of_the_retriever(tmp_path, make):
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module)
    import onnxruntime

    model = make(tmp_path)
    convert(source=model, to="onnx", output_dir=tmp_path / "out")
    retriever = load_retriever(model)
    encoded = {
        "question": (retriever.tokens.questions(QUESTIONS), retriever.encode_questions(QUESTIONS)),
        "passage": (None, retriever.encode_passages(PASSAGES)),
    }
    from dprkit.records import Passage

    passages = retriever.tokens.passages([Passage("", text, title) for title, text in PASSAGES])
    encoded["passage"] = passages, encoded["passage"][1]
    for name, (ids, ours) in encoded.items():
        session = onnxruntime.InferenceSession(str(tmp_path / f"out/{name}_encoder.onnx"))
        for row, vector in zip(ids, ours, strict=True):
            given = np.array([row])
            feeds = {"input_ids": given, "attention_mask": np.ones_like(given)}
            (theirs,) = session.run(["vectors"], feeds)
            np.testing.assert_allclose(theirs[0], vector, **CLOSE)


@pytest.mark.skipif(find_spec("onnxscript") is not None, reason="the extra is installed")
def test_onnx_without_its_extra_is_told_which_to_install(tmp_path):
    model = shared(tmp_path)
    with pytest.raises(MissingExtra, match=r"pip install 'dprkit\[onnx\]'"):
        convert(source=model, to="onnx", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch):
    from dprkit.interop import hf_dpr

    model = dpr(tmp_path)
    loaded = hf_dpr._loaded
    monkeypatch.setattr(
        hf_dpr, "_loaded", lambda *where: lambda i, m: loaded(*where)(i, m) + torch.tensor(0.1)
    )
    with pytest.raises(GateError, match=r"exported question encoder differs by 0\.1"):
        convert(source=model, to="hf-dpr", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
