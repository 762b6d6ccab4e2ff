"""Reranking: every score is that of the model alone, and the order is that of the scores."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dprkit.data.passages import read_passages
from dprkit.embeddings.encode import encode_corpus
from dprkit.evaluation.evaluate import evaluate
from dprkit.indexes.build import index
from dprkit.indexes.hits_and_tie_order import Hits
from dprkit.models import precision
from dprkit.models.cross_encoder import load_cross_encoder
from dprkit.models.reading import load_reader
from dprkit.models.retriever import load_retriever
from dprkit.progress import Progress, Run
from dprkit.records import Passage
from dprkit.search import rerank
from dprkit.search.open_index import open_index
from dprkit.search.rerank import Kept, PairReranker, RerankedEngine
from dprkit.settings import EncodeSettings, EvaluateSettings, IndexSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import call
from tests.interop.foreign import (
    CROSS_ENCODERS,
    convert,
    save_bert,
    save_cross_encoder,
    save_dpr_reader,
    write_json,
)

QUESTIONS = ["how tall is mount kilimanjaro", "who painted the mona lisa", "a river in africa"]


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cross") / "encoder"
    save_cross_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    save_dpr_reader(folder / "hf")
    convert(source=folder / "hf", output_dir=folder / "reader")
    return folder / "reader"


@pytest.fixture(scope="module")
def words(tmp_path_factory, tiny_passages):
    folder = tmp_path_factory.mktemp("words") / "bm25"
    index(IndexSettings(type="bm25", passages=str(tiny_passages), output_dir=str(folder)))
    return folder


@pytest.fixture
def asked(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [{"id": str(n), "question": text} for n, text in enumerate(QUESTIONS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def found(*words_):
    """What `dprkit search` writes: for each question its (id, score) pairs."""
    result = call("search", *words_)
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return [[(hit["id"], hit["score"]) for hit in row["ctxs"]] for row in rows]


def by_hand(words_index, score, depth, topk):
    """Each passage of the first stage scored alone, sorted by score, then by its row."""
    first = open_index(words_index).search(QUESTIONS, depth)
    rows = {p.id: n for n, p in enumerate(open_index(words_index).passages.at(range(282)))}
    wanted = []
    for ranking in first:
        question = ranking.question.question
        scores = {
            hit.id: score(question, Passage(hit.id, hit.text, hit.title)) for hit in ranking.hits
        }
        ordered = sorted(scores.items(), key=lambda pair: (-pair[1], rows[pair[0]]))
        wanted.append(ordered[:topk])
    return wanted


def compare(rankings, wanted):
    for ranking, line in zip(rankings, wanted, strict=True):
        assert [id_ for id_, _ in ranking] == [id_ for id_, _ in line]
        np.testing.assert_allclose([s for _, s in ranking], [s for _, s in line], atol=2e-5)


# --- cross-encoders -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CROSS_ENCODERS)
def test_scores_are_those_of_transformers_pair_by_pair(tmp_path, family):
    model, tokenizer = save_cross_encoder(tmp_path / "m", family)
    passages = [
        Passage("1", "a play", "Hamlet"),
        Passage("2", "x " * 400, ""),
        Passage("3", "", ""),
    ]
    questions = ["who wrote hamlet", "what", "why is " + "it " * 500]
    scores = load_cross_encoder(tmp_path / "m").scores(questions, passages)
    assert (scores.dtype, scores.shape) == (np.float32, (3,))
    room = 299 if family == "roberta" else 300  # its first position is pad_token_id + 1
    for question, text, score in zip(
        questions, ["Hamlet a play", ("x " * 400).strip(), ""], scores, strict=True
    ):
        pair = tokenizer([question], [text], truncation=True, max_length=room, return_tensors="pt")
        with torch.no_grad():
            alone = model(**pair).logits.item()
        assert score == pytest.approx(alone, abs=1e-5)


def test_a_cross_encoder_orders_as_the_one_of_sentence_transformers(tmp_path, cross, tiny_passages):
    library = pytest.importorskip("sentence_transformers")
    texts = [f"{p.title} {p.text}".strip() for p in read_passages(tiny_passages)][:40]
    peer = library.CrossEncoder(str(cross), activation_fn=torch.nn.Identity(), device="cpu")
    wanted = peer.predict([(QUESTIONS[0], text) for text in texts], show_progress_bar=False)
    passages = [Passage("", text) for text in texts]
    ours = load_cross_encoder(cross).scores([QUESTIONS[0]] * 40, passages)
    np.testing.assert_allclose(ours, wanted, atol=1e-4)
    peer.save_pretrained(str(tmp_path / "theirs"))
    again = load_cross_encoder(tmp_path / "theirs").scores([QUESTIONS[0]] * 40, passages)
    np.testing.assert_allclose(again, ours, atol=1e-6)


@pytest.mark.parametrize(("depth", "topk"), [(12, 5), (5, 12), (None, 7)])
def test_a_search_is_ordered_by_the_scores_of_each_pair(words, cross, asked, depth, topk):
    model = load_cross_encoder(cross)
    wanted = by_hand(words, lambda q, p: float(model.scores([q], [p])[0]), depth or 200, topk)
    flags = [] if depth is None else ["--rerank-depth", depth]
    compare(
        found("--index", words, "--questions", asked, "--rerank", cross, *flags, "--topk", topk),
        wanted,
    )


def test_a_weight_adds_the_scores_of_the_search_scaled_to_0_to_1(words, cross, asked):
    command = ("--index", words, "--questions", asked, "--topk", 40)
    rerank = ("--rerank", cross, "--rerank-depth", 40)

    def scaled(ranking):
        scores = dict(ranking)
        low, high = min(scores.values()), max(scores.values())
        return {id_: (score - low) / (high - low) for id_, score in scores.items()}

    both = found(*command), found(*command, *rerank)
    for first, again, sums in zip(
        *both, found(*command, *rerank, "--rerank-weight", 0.7), strict=True
    ):
        one, other = scaled(first), scaled(again)
        wanted = {id_: 0.3 * one[id_] + 0.7 * other[id_] for id_ in one}
        assert wanted == pytest.approx(dict(sums), abs=1e-4)
        assert [s for _, s in sums] == sorted((s for _, s in sums), reverse=True)


def test_the_size_of_the_batches_changes_no_ranking(words, cross, asked, monkeypatch):
    command = ("--index", words, "--questions", asked, "--rerank", cross, "--topk", 9)
    wanted = found(*command)
    monkeypatch.setattr(rerank, "PAIRS", 7)
    compare(found(*command, "--batch-size", 1), wanted)


def test_any_first_stage_is_reranked(
    small_index, small_colbert, words, cross, asked, tiny_passages, tmp_path
):
    """With as many passages as there are, the first stage makes no difference."""
    asked.write_text(asked.read_text().partition("\n")[0])
    tokens, late = str(tmp_path / "tokens"), tmp_path / "late"
    late_model = EncodeSettings(
        retriever=str(small_colbert), passages=str(tiny_passages), output_dir=tokens
    )
    encode_corpus(late_model)
    index(IndexSettings(type="late-exact", embeddings=tokens, output_dir=str(late)))
    command = ("--questions", asked, "--rerank", cross, "--rerank-depth", 300, "--topk", 5)
    wanted = found("--index", small_index, *command)
    compare(found("--index", small_index, "--hybrid", words, *command), wanted)
    compare(found("--index", late, *command), wanted)


def test_an_updated_index_is_reranked_and_names_the_corpora_that_embeddings_lack(
    small_index, small_retriever, asked, tmp_path
):
    (tmp_path / "gone.txt").write_text("1\n2\n")
    update = ("update-index", "--index", small_index, "--remove", tmp_path / "gone.txt")
    assert call(*update, "--output-dir", tmp_path / "less").exit_code == 0
    (tmp_path / "new.tsv").write_text("n1\tthe mona lisa, painted by who\tT\n")
    encode_corpus(
        EncodeSettings(
            retriever=str(small_retriever),
            passages=str(tmp_path / "new.tsv"),
            output_dir=str(tmp_path / "new"),
        )
    )
    update = ("update-index", "--index", tmp_path / "less", "--add", tmp_path / "new")
    assert call(*update, "--output-dir", tmp_path / "more").exit_code == 0
    command = ("--questions", asked, "--rerank", small_retriever, "--topk", 300)
    own = ("--rerank-embeddings", small_index.parent / "embeddings")
    compare(
        found("--index", tmp_path / "less", *command, *own),
        found("--index", tmp_path / "less", *command),
    )
    (line, *_) = found("--index", tmp_path / "more", *command)
    assert len(line) == 282 - 2 + 1 and "n1" in dict(line)
    result = call("search", "--index", tmp_path / "more", *command, *own)
    assert result.exit_code == 1
    assert "finds those of" in result.stderr and f"and {tmp_path / 'new.tsv'}" in result.stderr


def test_only_named_passages_are_reranked(small_index, cross, asked, tiny_passages, tmp_path):
    ids = [p.id for p in read_passages(tiny_passages)][3:30:9]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    command = ("--index", small_index, "--questions", asked, "--only-ids", tmp_path / "ids.txt")
    for ranking in found(*command, "--rerank", cross):
        assert {id_ for id_, _ in ranking} == set(ids)


def test_a_question_that_found_nothing_stays_empty(words, cross, tmp_path):
    (tmp_path / "q.txt").write_text("xyzzy plugh\n")
    assert found("--index", words, "--questions", tmp_path / "q.txt", "--rerank", cross) == [[]]


def test_equal_scores_keep_the_order_of_the_corpus(words):
    class Level:
        def scores(self, questions, passages):
            return np.zeros(len(questions), np.float32)

    first = open_index(words)
    hits = RerankedEngine(first.engine, PairReranker(Level(), first.passages)).search(
        QUESTIONS, 200
    )
    for line in hits.rows:
        kept = line[line >= 0].tolist()
        assert kept == sorted(kept)


def test_the_first_engine_is_asked_for_no_less_than_is_wanted():
    asked = []

    class First:
        count = 1000

        def search(self, questions, topk, allowed=None):
            asked.append((topk, allowed))
            return Hits.none(len(questions), topk)

    class Nothing:
        def scores(self, questions, rows):
            return np.full(rows.shape, -np.inf, np.float32)

    for depth, topk in ((None, 5), (None, 300), (50, 300), (50, 5)):
        hits = RerankedEngine(First(), Nothing(), depth).search(["a"], topk)
        assert hits.rows.shape[1] == min(topk, depth or 1000)
    assert [depth for depth, _ in asked] == [200, 300, 50, 50]


# --- retrievers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_retriever(tmp_path_factory):
    from tests.interop.foreign import convert

    folder = tmp_path_factory.mktemp("other")
    save_bert(folder / "bert")
    convert(source=folder / "bert", output_dir=folder / "model", pooling="mean", title_join=" ")
    return folder / "model"


@pytest.fixture(scope="module")
def encoded(tmp_path_factory, other_retriever, tiny_passages):
    folder = tmp_path_factory.mktemp("encoded") / "embeddings"
    encode_corpus(
        EncodeSettings(
            retriever=str(other_retriever), passages=str(tiny_passages), output_dir=str(folder)
        )
    )
    return folder


def test_a_bi_encoder_reranks_by_its_scores(words, other_retriever, encoded, asked, monkeypatch):
    retriever = load_retriever(other_retriever)
    wanted = by_hand(words, lambda q, p: float(retriever.scores([q], [p])[0]), 60, 60)
    command = ("--index", words, "--questions", asked, "--rerank", other_retriever)
    monkeypatch.setattr(rerank, "BLOCK", 17)
    texts = found(*command, "--rerank-depth", 60)
    compare(texts, wanted)
    compare(found(*command, "--rerank-depth", 60, "--rerank-embeddings", encoded), texts)


def test_a_colbert_model_reranks_by_its_scores(words, small_colbert, asked, monkeypatch):
    retriever = load_retriever(small_colbert)
    wanted = by_hand(words, lambda q, p: float(retriever.scores([q], [p])[0]), 60, 60)
    monkeypatch.setattr(rerank, "BLOCK", 17)
    command = ("--index", words, "--questions", asked, "--rerank", small_colbert)
    compare(found(*command, "--rerank-depth", 60), wanted)


@pytest.mark.parametrize(("dtype", "near"), [("float32", 2e-5), ("float16", 0.01), ("int8", 0.1)])
def test_token_shards_rerank_as_passages_that_are_encoded_when_found(
    words, small_colbert, asked, tiny_passages, tmp_path, dtype, near
):
    encode_corpus(
        EncodeSettings(
            retriever=str(small_colbert),
            passages=str(tiny_passages),
            output_dir=str(tmp_path / "tokens"),
            shard_size=100,
            dtype=dtype,
        )
    )
    command = ("--index", words, "--questions", asked, "--rerank", small_colbert)
    texts = found(*command, "--rerank-depth", 60)
    shards = found(*command, "--rerank-depth", 60, "--rerank-embeddings", tmp_path / "tokens")
    for one, other in zip(texts, shards, strict=True):
        scores = dict(one)
        assert scores.keys() == dict(other).keys()
        assert all(abs(scores[id_] - score) < near for id_, score in other)
        in_their_order = [scores[id_] for id_, _ in other]
        assert (np.diff(in_their_order) <= 2 * near).all()


def test_what_was_read_of_passages_is_kept_within_a_limit():
    made = []

    def make(rows):
        made.append(rows)
        return [np.full((row, 2), row, np.float32) for row in rows]

    kept = Kept(make, limit=100)  # a row of number r has 8 r bytes
    for rows in ([1, 2, 3], [2, 3, 4], [1], [2, 5]):
        for row, array in zip(rows, kept(np.array(rows)), strict=True):
            assert array.shape == (row, 2) and (array == row).all()
    assert made == [[1, 2, 3], [4], [5]]
    kept(np.array([20]))  # is more than the limit alone, and is not kept
    assert kept(np.array([20, 1]))[1].tolist() == [[1, 1]]
    assert made[3:] == [[20], [20, 1]]


# --- evaluate -------------------------------------------------------------------------------------


def test_evaluate_measures_the_reranked_order(words, cross, tiny_passages, tmp_path):
    passages = list(read_passages(tiny_passages))
    gold = tmp_path / "gold.jsonl"
    rows = [{"id": p.id, "question": p.text[:60], "passage_id": p.id} for p in passages[:25]]
    gold.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("evaluate", "--index", words, "--questions", gold, "--topk", "1,5")
    reranked = (*command, "--rerank", cross, "--rerank-depth", 30, "--output-dir", tmp_path / "r")
    result = call(*reranked, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    lines = found("--index", words, "--questions", gold, "--rerank", cross, "--rerank-depth", 30)
    first = [ranking[0][0] == row["id"] for ranking, row in zip(lines, rows, strict=True)]
    assert told["metrics"]["passage_recall"]["1"] == pytest.approx(np.mean(first))
    assert {"index", "questions", "rerank"} == set(told["inputs"])
    assert read_manifest(tmp_path / "r").settings["rerank_depth"] == 30
    assert json.loads(call(*reranked, "--json").stdout)["up_to_date"]
    again = call(*command, "--output-dir", tmp_path / "r")
    assert "made again: rerank_depth was 30 and is null; rerank was" in again.stderr


def test_a_recipe_evaluates_with_the_model_that_it_trains(work):
    recipe = work / "dprkit.yaml"
    lines = "evaluate: {topk: [1, 5], rerank: train.output_dir, rerank_depth: 50}"
    recipe.write_text(recipe.read_text().replace("evaluate: {topk: [1, 5]}", lines))
    result = call("run")
    assert result.exit_code == 0, result.stderr
    inputs = read_manifest(work / "runs/dprkit/results").inputs
    assert inputs["rerank"].identity == read_manifest(work / "runs/dprkit/model").identity
    assert call("run").stderr.count(": up to date") == 5
    shutil.rmtree(work / "runs")
    told = call("run", "--set", "evaluate.rerank_depth=3").stderr
    assert "--topk 5 and --rerank-depth 3: only passages that are scored again" in told
    assert not (work / "runs/dprkit/model").exists()  # told before anything is made
    assert call("run", "--quiet").exit_code == 0


# --- readers --------------------------------------------------------------------------------------


def test_a_reader_reranks_by_relevance(words, reader, asked, tmp_path):
    model = load_reader(reader)
    wanted = by_hand(words, lambda q, p: float(model.scores([q], [p])[0]), 20, 5)
    flags = ("--rerank", reader, "--rerank-depth", 20)
    compare(found("--index", words, "--questions", asked, *flags, "--topk", 5), wanted)
    out = ("--output-dir", tmp_path / "out", "--topk", 20)
    result = call(
        "evaluate", "--index", words, "--questions", tiny_questions(tmp_path), *flags, *out
    )
    assert result.exit_code == 0, result.stderr
    (line,) = (tmp_path / "out/results.jsonl").read_text().splitlines()
    assert [hit["id"] for hit in json.loads(line)["ctxs"][:5]] == [id_ for id_, _ in wanted[0]]
    inputs = read_manifest(tmp_path / "out").inputs
    assert inputs["rerank"].identity == read_manifest(reader).identity


def test_a_reranker_multiplies_in_the_number_type_of_precision(
    words, cross, reader, small_retriever, asked, monkeypatch
):
    monkeypatch.setattr(precision, "_has_bf16", lambda: True)
    for folder, load in (
        (cross, load_cross_encoder),
        (reader, load_reader),
        (small_retriever, load_retriever),
    ):
        half = load(folder, precision="bf16")
        wanted = by_hand(words, lambda q, p, half=half: float(half.scores([q], [p])[0]), 5, 5)
        flags = ("--rerank", folder, "--rerank-depth", 5, "--topk", 5)
        in_half = found("--index", words, "--questions", asked, *flags, "--precision", "auto")
        in_full = found("--index", words, "--questions", asked, *flags)
        assert in_half != in_full
        for ranking, line in zip(in_half, wanted, strict=True):
            assert dict(ranking) == pytest.approx(dict(line), abs=0.02)


def test_the_passages_of_a_corpus_are_encoded_in_the_number_type_of_precision(
    small_retriever, tiny_passages, tmp_path
):
    flags = ("--retriever", small_retriever, "--corpus", tiny_passages, "--topk", 5)
    out = ("--questions", tiny_questions(tmp_path), "--output-dir", tmp_path / "out")
    result = call("evaluate", *flags, *out, "--precision", "bf16")
    assert result.exit_code == 0, result.stderr
    assert read_manifest(tmp_path / "out/embeddings").settings["precision"] == "bf16"
    assert read_manifest(tmp_path / "out").settings["precision"] == "bf16"


@pytest.mark.parametrize(
    ("model", "wanted"), [("cross", [19, 8, 8, 3]), ("small_retriever", [19, 19])]
)
def test_evaluate_tells_how_many_of_all_questions_are_reranked(
    model, wanted, words, request, tmp_path
):
    """A few at a time where a model reads pairs; a retriever encodes the passages of all once."""
    counts = []

    class Told(Progress):
        def start(self, what, total, unit, done=0):
            counts.append(total)

        def advance(self, count, facts=None):
            counts.append(count)

    path = tmp_path / "qa.jsonl"
    rows = [{"id": str(n), "question": QUESTIONS[0], "answers": ["5,895"]} for n in range(19)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reranker = str(request.getfixturevalue(model))
    settings = EvaluateSettings(
        index=str(words), questions=str(path), rerank=reranker, rerank_depth=10, topk=(5,)
    )
    evaluate(settings, Run(progress=Told()))
    assert counts == wanted


def tiny_questions(folder):
    path = folder / "qa.jsonl"
    path.write_text(json.dumps({"id": "0", "question": QUESTIONS[0], "answers": ["5,895"]}) + "\n")
    return path


def test_a_changed_reader_is_refused(words, reader, asked, tmp_path):
    copy = shutil.copytree(reader, tmp_path / "reader")
    with (copy / "heads.safetensors").open("ab") as file:
        file.write(b" ")
    result = call("search", "--index", words, "--questions", asked, "--rerank", copy)
    assert result.exit_code == 1
    assert "heads.safetensors" in result.stderr


# --- what is refused ------------------------------------------------------------------------------


def broken(folder, cross, how):
    """A copy of a cross-encoder with one thing wrong."""
    shutil.copytree(cross, folder)
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    if how == "headless":
        del weights["classifier.weight"], weights["classifier.bias"]
    elif how == "wide":
        weights["classifier.weight"] = torch.zeros(3, 16)
    elif how == "another":
        weights["bert.relative.weight"] = torch.zeros(3)
    elif how == "labels":
        config["id2label"] = {"0": "no", "1": "yes", "2": "perhaps"}
    elif how == "encoder":
        config["architectures"] = ["BertModel"]
    elif how == "json":
        (folder / "config.json").write_text("{")
        return folder
    elif how == "nan":
        weights["classifier.bias"][:] = torch.nan
    elif how == "tokenizer":
        for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
            (folder / name).unlink(missing_ok=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", config)
    if how == "weights":
        (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("headless", r"its weights lack classifier.bias, classifier.weight; name"),
        ("wide", r"its weights do not fit its config: classifier.weight has another shape"),
        ("another", r"its weights have bert.relative.weight, which transformers' Bert"),
        ("labels", r"gives 3 labels for a pair, and a cross-encoder gives one score"),
        ("encoder", r"is no cross-encoder: its config.json names BertModel"),
        ("json", r"no cross-encoder could be loaded from there"),
        ("weights", r"no cross-encoder could be loaded from there"),
        ("tokenizer", r"has no tokenizer; put the files of its tokenizer there"),
        ("nan", r"not finite|no numbers"),
    ],
)
def test_a_folder_that_is_no_cross_encoder_is_refused_in_a_line(
    words, cross, asked, tmp_path, how, told
):
    folder = broken(tmp_path / "broken", cross, how)
    result = call("search", "--index", words, "--questions", asked, "--rerank", folder)
    assert result.exit_code == 1
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("Error")]
    assert re.search(told, line), line


def test_settings_without_a_model_are_refused(words, asked, cross, reader, encoded, tmp_path):
    def error(*flags):
        result = call(*flags)
        assert result.exit_code == 1
        return result.stderr.splitlines()[-1]

    search = ("search", "--index", words, "--questions", asked)
    given = {
        "--rerank-depth": 5,
        "--rerank-weight": 0.5,
        "--rerank-embeddings": encoded,
        "--precision": "bf16",
    }
    for flag, value in given.items():
        for command in (search, ("evaluate", "--index", words, "--questions", asked)):
            told = error(*command, flag, value)
            assert told == f"Error: {flag}: nothing is reranked; name a model with --rerank"
    told = error(*search, "--rerank", cross, "--rerank-embeddings", encoded)
    assert "is a cross-encoder, which reads the texts of passages; leave it out" in told
    told = error(*search, "--rerank", encoded)
    assert "holds neither retriever.yaml nor reader.yaml nor config.json; name a retr" in told
    told = error(*search, "--rerank", reader, "--rerank-embeddings", encoded)
    assert "is a reader, which reads the texts of passages; leave it out" in told
    save_dpr_reader(tmp_path / "hf")
    told = error(*search, "--rerank", tmp_path / "hf")
    assert (
        f"hf: is a reader as transformers keeps it; read it with dprkit convert {tmp_path}" in told
    )
    told = error(*search, "--rerank", tmp_path / "gone")
    assert "no such file or folder; check the path" in told
    told = error("evaluate", *search[1:], "--rerank", cross, "--rerank-depth", 50)
    assert "--topk 100 and --rerank-depth 50: only passages that are scored again" in told
    told = error("evaluate", "--results", "r.jsonl", "--rerank", cross)
    assert "--rerank is for the search of an index; leave it or --results out" in told


def test_embeddings_of_another_retriever_or_corpus_are_refused_by_name(
    words, asked, other_retriever, encoded, small_index, small_retriever, tiny_passages, tmp_path
):
    def error(*flags):
        result = call("search", "--questions", asked, "--rerank", other_retriever, *flags)
        assert result.exit_code == 1
        return result.stderr.splitlines()[-1]

    others = small_index.parent / "embeddings"
    told = error("--index", words, "--rerank-embeddings", others)
    assert f"{others}: was made with {small_retriever} (retriever:" in told
    assert f"but --rerank names {other_retriever} (retriever:" in told
    (tmp_path / "less.tsv").write_text("".join(tiny_passages.read_text().splitlines(True)[:50]))
    less = IndexSettings(
        type="bm25", passages=str(tmp_path / "less.tsv"), output_dir=str(tmp_path / "less")
    )
    index(less)
    told = error("--index", tmp_path / "less", "--rerank-embeddings", encoded)
    assert f"{encoded}: holds the passages of" in told
    assert f"but {tmp_path / 'less'} finds those of {tmp_path / 'less.tsv'}" in told


def test_a_depth_below_topk_is_told(words, cross, asked):
    command = ("--index", words, "--questions", asked, "--rerank", cross, "--rerank-depth", 3)
    result = call("search", *command, "--json", "-o", asked.parent / "out.jsonl")
    note = (
        "--rerank-depth 3 is less than --topk 100: only passages that are scored again are returned"
    )
    assert json.loads(result.stdout)["notes"] == [note]
    assert json.loads(result.stdout)["most"] == 3
