"""ColBERT models of other libraries, against these libraries, and back."""

import json
import string

import numpy as np
import pytest
import torch

from dprkit.errors import InputError, MismatchError, SettingsError
from dprkit.models.config import load_config
from tests.conftest import call
from tests.interop.foreign import convert
from tests.interop.late_folders import (
    MORE,
    PASSAGES,
    QUESTIONS,
    SIZE,
    by_library,
    late,
    linear,
    neural_cherche,
    save_first_era,
    save_masked_lm,
    save_multi_vector,
    save_plain,
    save_pylate,
    save_stanford,
    save_words,
    write_json,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
CLOSE = {"atol": 1e-5, "rtol": 0}
ASKED, READ = [*QUESTIONS, *MORE], [*PASSAGES, *MORE]
FIXED = {"strategy": "fixed", "length": 12}


def same(model, folder):
    """Whether dprkit and sentence-transformers have the same vectors and scores."""
    pytest.importorskip("sentence_transformers", minversion="6")
    asked, read, scores = by_library(folder, ASKED, READ)
    retriever = late(model)
    ours = retriever.question_vectors(ASKED), retriever.passage_vectors(READ)
    for found, wanted in zip(ours, (asked, read), strict=True):
        for number, one in enumerate(wanted):
            np.testing.assert_allclose(found[number], one, **CLOSE)
    np.testing.assert_allclose(retriever.score_matrix(ASKED, READ), scores, atol=1e-4, rtol=0)


# --- sentence-transformers 6 ----------------------------------------------------------------------

USES = [
    {"query_expansion": FIXED, "document_length": 20, "skip": ",.?!"},
    {"query_expansion": FIXED | {"attend": True}, "prompts": {"query": "q ", "document": "say "}},
    {"query_expansion": FIXED | {"strategy": "min"}, "query_length": 30, "dense": 2},
    {"query_length": 9, "dense": 0, "prompts": {"query": "who ", "corpus": "a "}},
]


@pytest.mark.parametrize("use", USES)
def test_a_multi_vector_encoder_gives_its_own_vectors_and_scores(tmp_path, use):
    pytest.importorskip("sentence_transformers", minversion="6")
    source = save_multi_vector(tmp_path, **use)
    report = convert(source=source, output_dir=tmp_path / "out")
    assert (report.kind, report.dim) == ("multi-vector", 32 if use.get("dense") == 0 else SIZE)
    assert report.largest_difference < 1e-5
    same(tmp_path / "out", source)


def test_what_a_multi_vector_encoder_says_of_its_use_is_kept(tmp_path):
    pytest.importorskip("sentence_transformers", minversion="6")
    convert(source=save_multi_vector(tmp_path, **USES[0]), output_dir=tmp_path / "out")
    config = load_config(tmp_path / "out")
    assert (config.expansion, config.question_max_length) == ("fixed", 12)
    assert (config.passage_max_length, config.skip) == (20, tuple(",.?!"))


def test_a_token_pooling_is_left_out_and_told(tmp_path):
    pytest.importorskip("sentence_transformers", minversion="6")
    source = save_multi_vector(tmp_path, pooled=2, query_expansion=FIXED)
    report = convert(source=source, output_dir=tmp_path / "out")
    assert any("encode-corpus --pool-factor 2" in line for line in report.mapped)
    assert report.largest_difference < 1e-5


# --- PyLate and Stanford --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"attend_to_expansion_tokens": True, "skiplist_words": ["the", ","]},
        {"do_query_expansion": False, "residual": True},
        {"query_prefix": "", "document_prefix": "a ", "prompts": {"query": "who ", "document": ""}},
    ],
)
def test_a_pylate_folder_gives_the_vectors_of_sentence_transformers(tmp_path, said):
    pytest.importorskip("sentence_transformers", minversion="6")
    source = save_pylate(tmp_path / "in", **said)
    report = convert(source=source, output_dir=tmp_path / "out")
    assert (report.kind, report.dim) == ("pylate", 48 if "residual" in said else SIZE)
    assert not any("assumed" in line for line in report.mapped)
    same(tmp_path / "out", source)


def test_a_pylate_marker_is_a_token_and_a_prefix_that_is_none_is_text(tmp_path):
    said = {"query_prefix": "[unused0] ", "document_prefix": "[D] "}
    convert(source=save_pylate(tmp_path / "in", **said), output_dir=tmp_path / "out")
    config = load_config(tmp_path / "out")
    assert (config.question_marker, config.question_prefix) == ("[unused0]", "")
    assert (config.passage_marker, config.passage_prefix) == ("", "[D] ")


def test_what_pylate_does_not_say_is_assumed_and_told_with_its_flag(tmp_path):
    left_out = dict.fromkeys(("document_length", "do_query_expansion", "skiplist_words"), ...)
    source = save_pylate(tmp_path / "in", **left_out)
    told = "\n".join(convert(source=source, output_dir=tmp_path / "out").mapped)
    for line in (
        "passage max length: 180 is assumed, since the source does not say it; "
        "--passage-max-length changes it",
        "expansion: fixed is assumed",
        "skip: punctuation is assumed",
    ):
        assert line in told
    more = {"passage_max_length": 30, "skip": "none", "expansion": "none"}
    told = "\n".join(convert(source=source, **more, output_dir=tmp_path / "more").mapped)
    config = load_config(tmp_path / "more")
    assert (config.passage_max_length, config.skip, config.expansion) == (30, (), "none")
    assert "assumed" not in told
    assert "not compared: --expansion, --skip give the model another use" in told


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"doc_maxlen": 30, "query_maxlen": 16, "mask_punctuation": False},
        {"doc_maxlen": 300, "attend_to_mask_tokens": True, "query_token_id": "[unused1]"},
    ],
)
def test_a_stanford_folder_gives_the_vectors_of_sentence_transformers(tmp_path, said):
    pytest.importorskip("sentence_transformers", minversion="6")
    source = save_stanford(tmp_path / "in", **said)
    report = convert(source=source, output_dir=tmp_path / "out")
    assert (report.kind, report.dim) == ("stanford-colbert", SIZE)
    same(tmp_path / "out", source)
    config = load_config(tmp_path / "out")
    assert config.question_marker == said.get("query_token_id", "[unused0]")
    assert config.skip == (
        () if said.get("mask_punctuation") is False else tuple(string.punctuation)
    )


def test_what_a_stanford_folder_does_not_say_is_told(tmp_path):
    report = convert(source=save_stanford(tmp_path / "in"), output_dir=tmp_path / "out")
    told = "\n".join(report.mapped)
    assert "question marker: [unused0] is assumed" in told
    assert "attend to expansion: no is assumed" in told
    assert "--[no-]attend-to-expansion changes it" in told
    assert load_config(tmp_path / "out").passage_max_length == 220


def test_a_marker_that_is_no_token_is_the_unknown_one_as_in_stanfords_code(tmp_path):
    source = save_stanford(tmp_path / "in", query_token_id="[Q]", doc_maxlen=40)
    report = convert(source=source, output_dir=tmp_path / "out")
    told = "\n".join(report.mapped)
    assert "question marker: [UNK], which Stanford's code takes for [Q]; --question-marker" in told
    assert "not compared: sentence-transformers" in told
    assert load_config(tmp_path / "out").question_marker == "[UNK]"
    how = {"question_marker": "who", "output_dir": tmp_path / "flag"}
    assert "[UNK]" not in "\n".join(convert(source=source, **how).mapped)


def test_a_stanford_checkpoint_in_an_older_file_is_read_by_convert_alone(tmp_path):
    source = save_stanford(tmp_path / "bin", pickled=True, doc_maxlen=40)
    convert(source=source, output_dir=tmp_path / "one")
    convert(source=save_stanford(tmp_path / "safe", doc_maxlen=40), output_dir=tmp_path / "two")
    one, two = (late(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_array_equal(one.score_matrix(ASKED, READ), two.score_matrix(ASKED, READ))


# --- neural-cherche -------------------------------------------------------------------------------


@pytest.fixture
def cherche(tmp_path, monkeypatch):
    """Its own folder, saved by it, and the model that it loads from there."""
    monkeypatch.chdir(tmp_path)
    models = neural_cherche(monkeypatch)
    torch.manual_seed(7)
    models.ColBERT(str(save_masked_lm(tmp_path / "lm")), device="cpu").save_pretrained(
        str(tmp_path / "in")
    )
    return models.ColBERT(str(tmp_path / "in"), embedding_size=64, device="cpu")


def vectors_of(model, texts, question):
    """neural-cherche's vectors (N, L, D); those of padding are zero."""
    return model.encode(texts, query_mode=question)["embeddings"].numpy()


def test_neural_cherche_gives_its_own_vectors_and_scores(tmp_path, cherche):
    report = convert(source=tmp_path / "in", output_dir=tmp_path / "out")
    assert (report.kind, report.dim) == ("neural-cherche", SIZE)
    assert report.largest_difference < 1e-5
    retriever = late(tmp_path / "out")
    for question, texts in ((True, ASKED), (False, READ)):
        wanted = vectors_of(cherche, texts, question)
        found, mask = retriever.encode(texts, question=question)
        assert found.shape[1] <= wanted.shape[1]
        np.testing.assert_allclose(found, wanted[:, : found.shape[1]], **CLOSE)
        assert not wanted[:, found.shape[1] :].any()
        assert (mask == (np.linalg.norm(found, axis=2) > 0.5)).all()
    np.testing.assert_allclose(
        retriever.scores(QUESTIONS, PASSAGES),
        cherche.scores(QUESTIONS, PASSAGES, tqdm_bar=False).numpy(),
        atol=1e-4,
        rtol=0,
    )


def test_the_example_of_neural_cherche_holds(tmp_path):
    """Its first era: (3, 32, 128) and (3, 350, 128), of which padding does not count here."""
    source = save_first_era(tmp_path / "in", 32, 350, initializer_range=0.02)
    convert(source=source, output_dir=tmp_path / "out")
    retriever = late(tmp_path / "out")
    vectors, mask = retriever.encode(QUESTIONS, question=True)
    assert (vectors.shape, mask.all()) == ((3, 32, 128), True)
    vectors, _ = retriever.encode(PASSAGES, question=False)
    assert vectors.shape[::2] == (3, 128) and vectors.shape[1] <= 350
    scores = retriever.score_matrix(QUESTIONS, PASSAGES)
    assert list(scores.argmax(axis=0)) == [0, 1, 2]
    np.testing.assert_allclose(scores.diagonal(), retriever.scores(QUESTIONS, PASSAGES), rtol=1e-5)


def test_the_first_era_of_neural_cherche_fills_questions_up_with_masks(tmp_path):
    """Its formulas by hand: [MASK] for padding, to which no token attends, and every row counts."""
    source = save_first_era(tmp_path / "in", 16, 40)
    report = convert(source=source, output_dir=tmp_path / "out")
    assert report.largest_difference < 1e-5
    from transformers import BertForMaskedLM

    model = BertForMaskedLM.from_pretrained(source).eval()
    tokenizer = save_words(tmp_path / "words")
    tokenizer.pad_token = "[MASK]"
    how = {"padding": "max_length", "truncation": True, "max_length": 16, "return_tensors": "pt"}
    batch = tokenizer([f"[Q] {text}" for text in ASKED], **how)
    with torch.no_grad():
        states = model(**batch, output_hidden_states=True).hidden_states[-1]
    wanted = torch.nn.functional.normalize(states @ linear().T, dim=2)
    found, _ = late(tmp_path / "out").encode(ASKED, question=True)
    np.testing.assert_allclose(found, wanted.numpy(), **CLOSE)


def train(*words):
    return call("train", "--kind", "colbert", "--batch-size", "8", *words)


def test_the_size_in_the_file_wins_over_the_argument(tmp_path, tiny_examples):
    source, out = plain_text(tmp_path).parent / "in", tmp_path / "trained"
    files = ["--train-file", tiny_examples, "--output-dir", out]
    asked = ["--embedding-size", "64", "--passage-max-length", "20"]
    done = train("--init", source, "--max-epochs", "0", *files, *asked)
    assert done.exit_code == 0, done.stderr
    assert "says embedding_size 128; 128 is taken" in done.stderr
    assert "says passage_max_length 256; --passage-max-length 20 is taken" in done.stderr
    config = load_config(out)
    assert (config.embedding_size, config.passage_max_length) == (SIZE, 20)
    np.testing.assert_array_equal(
        late(out).scores(QUESTIONS, PASSAGES), late(tmp_path / "model").scores(QUESTIONS, PASSAGES)
    )


@pytest.mark.slow
@pytest.mark.parametrize("save", [save_stanford, save_pylate, save_multi_vector])
def test_a_foreign_colbert_model_is_trained_on_and_written_again(tmp_path, tiny_examples, save):
    pytest.importorskip("sentence_transformers", minversion="6")
    use = {"query_expansion": FIXED} if save is save_multi_vector else {"query_prefix": "say "}
    source = save(tmp_path / "in", **({"doc_maxlen": 40} if save is save_stanford else use))
    out = tmp_path / "trained"
    done = train(
        "--init", source, "--max-steps", "2", "--lr", "1e-3",
        "--train-file", tiny_examples, "--output-dir", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    convert(source=source, output_dir=tmp_path / "before")
    before, after = late(tmp_path / "before"), late(out)
    assert (before.score_matrix(ASKED, READ) != after.score_matrix(ASKED, READ)).any()
    convert(source=out, to="multi-vector", output_dir=tmp_path / "out")
    same(out, tmp_path / "out")


def test_a_foreign_projection_is_not_made_anew(tmp_path, tiny_examples):
    files = ["--train-file", tiny_examples, "--output-dir", tmp_path / "out"]
    done = train("--init", save_stanford(tmp_path / "in"), "--projection-init", "pca", *files)
    assert (done.exit_code, "has a projection already; leave" in done.stderr) == (1, True)


def test_training_does_not_read_weights_in_a_pickle(tmp_path, tiny_examples):
    source = save_stanford(tmp_path / "in", pickled=True)
    done = train("--init", source, "--train-file", tiny_examples, "--output-dir", tmp_path / "o")
    assert (done.exit_code, "its weights are a pickle (.bin)" in done.stderr) == (1, True)


# --- the way back ---------------------------------------------------------------------------------


def marked(tmp_path):
    """A model with markers and [MASK], which all forms but neural-cherche's can hold."""
    convert(source=save_stanford(tmp_path / "in", doc_maxlen=50), output_dir=tmp_path / "model")
    return tmp_path / "model"


def plain_text(tmp_path):
    """A model with prefixes and no [MASK], as neural-cherche's are."""
    source = save_masked_lm(tmp_path / "in")
    torch.save({"weight": linear()}, source / "linear.pt")
    convert(source=source, output_dir=tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("make", "to"),
    [
        (marked, "stanford-colbert"),
        (marked, "pylate"),
        (marked, "multi-vector"),
        (plain_text, "pylate"),
        (plain_text, "multi-vector"),
    ],
)
def test_sentence_transformers_loads_what_is_written_with_equal_scores(tmp_path, make, to):
    pytest.importorskip("sentence_transformers", minversion="6")
    model = make(tmp_path)
    report = convert(source=model, to=to, output_dir=tmp_path / "out")
    assert (report.to, report.dim) == (to, SIZE)
    assert "sentence-transformers gives vectors that differ by at most" in report.mapped[-1]
    same(model, tmp_path / "out")
    again = convert(source=tmp_path / "out", output_dir=tmp_path / "again")
    assert again.kind == to
    one, two = late(model), late(tmp_path / "again")
    np.testing.assert_allclose(
        one.score_matrix(ASKED, READ), two.score_matrix(ASKED, READ), **CLOSE
    )


@pytest.mark.parametrize("to", ["pylate", "multi-vector"])
def test_a_model_from_scratch_is_written_with_its_learned_tokenizer(tmp_path, small_colbert, to):
    pytest.importorskip("sentence_transformers", minversion="6")
    report = convert(source=small_colbert, to=to, output_dir=tmp_path / "out")
    assert "sentence-transformers gives vectors" in report.mapped[-1]


def test_neural_cherche_loads_what_is_written_with_equal_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models, model = neural_cherche(monkeypatch), plain_text(tmp_path)
    convert(source=model, to="neural-cherche", output_dir=tmp_path / "out")
    library = models.ColBERT(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(
        library.scores(QUESTIONS, PASSAGES, tqdm_bar=False).numpy(),
        late(model).scores(QUESTIONS, PASSAGES),
        atol=1e-4,
        rtol=0,
    )
    convert(source=tmp_path / "out", output_dir=tmp_path / "again")
    assert load_config(tmp_path / "again") == load_config(model)


@pytest.mark.parametrize("expansion", ["fixed", "least", "none"])
@pytest.mark.parametrize("attend", [False, True])
def test_every_expansion_is_written_for_sentence_transformers(tmp_path, expansion, attend):
    pytest.importorskip("sentence_transformers", minversion="6")
    how = {"expansion": expansion, "attend_to_expansion": attend, "expansion_length": 8}
    source = save_stanford(tmp_path / "in", query_maxlen=14)
    convert(source=source, **how, question_prefix="who ", output_dir=tmp_path / "model")
    convert(source=tmp_path / "model", to="multi-vector", output_dir=tmp_path / "out")
    same(tmp_path / "model", tmp_path / "out")


@pytest.mark.parametrize(
    ("make", "to", "reason"),
    [
        (marked, "neural-cherche", "its questions are filled up with"),
        (plain_text, "stanford-colbert", "its questions are not filled up to one length"),
        (marked, "hf-dpr", "is a ColBERT model, which has no form hf-dpr; --to takes"),
        (marked, "onnx", "is a ColBERT model, which has no form onnx"),
        (marked, "onnx-copy", "is a ColBERT model"),
        (marked, "sentence-transformers", "is a ColBERT model, which has no form sentence-tr"),
    ],
)
def test_a_form_that_cannot_hold_the_model_is_refused_by_name(tmp_path, make, to, reason):
    model = make(tmp_path)
    out = [] if to == "onnx-copy" else ["--output-dir", tmp_path / "out"]
    done = call("convert", model, "--to", to, *out)
    assert (done.exit_code, reason in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_bi_encoder_has_no_form_of_a_colbert_model(tmp_path):
    convert(source=save_plain(tmp_path / "in"), output_dir=tmp_path / "model")
    with pytest.raises(MismatchError, match="is a bi-encoder, which has no form pylate; --to"):
        convert(source=tmp_path / "model", to="pylate", output_dir=tmp_path / "out")


# --- what is refused ------------------------------------------------------------------------------


def edited(path, **values):
    write_json(path, json.loads(path.read_text()) | values)


def test_a_projection_that_does_not_fit_is_refused_in_one_line(tmp_path):
    source = save_masked_lm(tmp_path / "in")
    torch.save({"weight": linear(width=30)}, source / "linear.pt")
    done = call("convert", source, "--output-dir", tmp_path / "out")
    assert done.exit_code == 1
    assert "linear.pt: has (128, 30) numbers for a projection" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_projection_without_numbers_and_a_length_of_nothing_are_refused(tmp_path):
    source = save_first_era(tmp_path / "in", 0, 40)
    with pytest.raises(InputError, match=r"metadata\.json: Expected `int` >= 3"):
        convert(source=source, output_dir=tmp_path / "out")
    torch.save({"weight": linear(out=0)}, save_first_era(tmp_path / "two", 9, 40) / "linear.pt")
    with pytest.raises(InputError, match=r"has \(0, 32\) numbers for a projection"):
        convert(source=tmp_path / "two", output_dir=tmp_path / "out")


def test_a_projection_file_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return print, ("harm",)

    source = save_masked_lm(tmp_path / "in")
    torch.save({"weight": Harmful()}, source / "linear.pt")
    with pytest.raises(InputError, match="reading it would run"):
        convert(source=source, output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("sentence_bert_config.json", {"query_expansion": FIXED | {"token": "a"}}, "up with 'a'"),
        ("2_MultiVectorMask/config.json", {"skiplist_tasks": ["query"]}, "skip-list is for query"),
        ("2_MultiVectorMask/config.json", {"keep_only_token_ids": [3]}, "keep_only_token_ids"),
        ("1_Dense/config.json", {"activation_function": "torch.nn.Tanh"}, "its Dense has Tanh"),
        ("1_Dense/config.json", {"module_input_name": "x"}, "is about token_embeddings, x"),
        ("config_sentence_transformers.json", {"new": 1}, "unknown field `new`"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(tmp_path, name, values, message):
    pytest.importorskip("sentence_transformers", minversion="6")
    source = save_multi_vector(tmp_path, query_expansion=FIXED, skip=",")
    edited(source / name, **values)
    with pytest.raises(InputError, match=message):
        convert(source=source, output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("take", "message"),
    [
        ([0, 1, 2], "has no Normalize"),
        ([0, 1, 3], "fills up questions with .MASK., and without a MultiVectorMask"),
        ([0, 3, 1], "its modules are Transformer, Normalize, Dense"),
        ([1, 2, 3], "its modules are Dense"),
    ],
)
def test_other_rows_of_modules_are_refused(tmp_path, take, message):
    pytest.importorskip("sentence_transformers", minversion="6")
    source = save_multi_vector(tmp_path, query_expansion=FIXED)
    modules = json.loads((source / "modules.json").read_text())
    write_json(source / "modules.json", [modules[place] for place in take])
    with pytest.raises(InputError, match=message):
        convert(source=source, output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"similarity": "l2"}, "similarity 'l2' is not supported"),
        ({"dim": 64}, "says dim 64; linear.weight makes 128"),
        ({"doc_maxlen": "long"}, "Expected `int | null`"),
    ],
)
def test_a_stanford_folder_that_is_used_otherwise_is_refused(tmp_path, said, message):
    with pytest.raises(InputError, match=message):
        convert(source=save_stanford(tmp_path / "in", **said), output_dir=tmp_path / "out")


def test_flags_of_the_other_kind_of_model_are_refused(tmp_path):
    source, plain = save_stanford(tmp_path / "in"), save_plain(tmp_path / "plain")
    with pytest.raises(SettingsError, match="--pooling is for models with one vector a text"):
        convert(source=source, pooling="mean", output_dir=tmp_path / "out")
    with pytest.raises(SettingsError, match="--skip is for ColBERT models; the source is none"):
        convert(source=plain, skip="none", output_dir=tmp_path / "out")
    with pytest.raises(SettingsError, match="one model reads both sides"):
        pair = {"question_encoder": source, "passage_encoder": source}
        convert(**pair, output_dir=tmp_path / "out")


def test_a_marker_of_a_flag_that_is_no_token_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"in: question_marker '\[Q\]' is no token of the vocabulary"
    ):
        convert(
            source=save_stanford(tmp_path / "in"), question_marker="[Q]", output_dir=tmp_path / "o"
        )


def test_a_bi_encoder_does_not_start_from_a_colbert_model(tmp_path, tiny_examples):
    done = call(
        "train", "--init", save_stanford(tmp_path / "in"), "--train-file", tiny_examples,
        "--max-epochs", "0", "--output-dir", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "is a ColBERT model (stanford-colbert); train it with --kind colbert" in done.stderr


# --- on the command line --------------------------------------------------------------------------


def test_each_flag_of_use_is_in_the_model_that_is_made(tmp_path):
    source = save_stanford(tmp_path / "in")
    flags = {
        "question-marker": "who",
        "passage-marker": "[MASK]",
        "expansion": "least",
        "expansion-length": "9",
        "skip": "none",
        "question-prefix": "say ",
        "question-max-length": "24",
    }
    given = [word for name, value in flags.items() for word in (f"--{name}", value)]
    out = tmp_path / "out"
    done = call("convert", source, *given, "--attend-to-expansion", "--output-dir", out, "--json")
    assert done.exit_code == 0, done.stderr
    config = load_config(out)
    assert (config.question_marker, config.passage_marker) == ("who", "[MASK]")
    assert (config.expansion, config.expansion_length) == ("least", 9)
    assert (config.attend_to_expansion, config.skip) == (True, ())
    ids = late(out).tokens.questions(["a"])[0]
    words = [late(out).tokens.token("question", number) for number in ids]
    assert words == ["[CLS]", "who", "say", "a", "[SEP]", *["[MASK]"] * 4]


def test_info_compares_with_the_source_later(tmp_path):
    pytest.importorskip("sentence_transformers", minversion="6")
    source = save_stanford(tmp_path / "in", doc_maxlen=40)
    call("convert", source, "--output-dir", tmp_path / "out")
    done = call("info", tmp_path / "out", "--check", "--source", source, "--json")
    assert json.loads(done.stdout)["difference_from_source"] < 1e-5, done.stderr
    save_stanford(tmp_path / "other", doc_maxlen=40, query_token_id="[unused1]")
    done = call("info", tmp_path / "out", "--check", "--source", tmp_path / "other")
    assert (done.exit_code, "sentence-transformers gives vectors" in done.stderr) == (3, True)
