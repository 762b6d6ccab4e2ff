"""init --from: a recipe for imported data that runs whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dprkit.recipes import load_recipe
from tests.conftest import call
from tests.docs.place import lines, rows
from tests.interop.foreign import save_bert


@pytest.fixture
def pairs(empty: Path) -> Path:
    """60 questions with a passage each, no negatives."""
    table = [
        {"question": row["question"], "answer": row["answers"][0], "positive": passage["text"]}
        for row in rows(60)
        for passage in row["positive_ctxs"][:1]
    ]
    Path("pairs.jsonl").write_text(lines(table))
    return Path("pairs.jsonl")


def test_a_recipe_for_pairs_mines_negatives_trains_and_measures(pairs):
    save_bert(Path("st"))
    call("import-data", pairs, "--output-dir", "data")
    said = call("init", "mine", "--from", "data", "--model", "st").stderr.splitlines()
    stages = "select-data, words, mined, train, encode-corpus, index, evaluate"
    assert said[0].startswith("data has 60 examples, ")
    assert said[-6:] == [
        f"  -> mine/dprkit.yaml: {stages}",
        "Next:",
        "  cd mine",
        "  dprkit plan        # tries each stage, and tells how long it takes",
        "  dprkit run",
        "  echo 'a question' | dprkit search --index runs/mine/index --questions - --topk 5",
    ]
    recipe = load_recipe("mine/dprkit.yaml")
    assert ", ".join(recipe.names) == stages
    train = recipe.written["train"]
    assert (train["init"], train["passage_max_length"]) == ("../st", 96)
    ran = call("run", "--config", "mine/dprkit.yaml", "--set", "train.max_steps=2", "--json")
    assert ran.exit_code == 0, ran.stderr
    metrics = json.loads(Path("mine/runs/mine/results/metrics.json").read_text())
    assert metrics["questions"] == 3
    mined = Path("mine/runs/mine/mined/train.jsonl").read_text().splitlines()
    assert len(mined) == 54 and any(json.loads(row)["hard_negative_ctxs"] for row in mined)
    Path("q.txt").write_text("who wrote hamlet\n")
    index = ("search", "--index", "mine/runs/mine/index", "--questions", "q.txt", "-o", "o.jsonl")
    assert call(*index).exit_code == 0


def test_no_question_is_in_two_sets_of_a_recipe(empty):
    rows = [f"what is {n}?,it is {n} and {m}" for n in range(60) for m in range(4)]
    Path("pairs.csv").write_text("\n".join(["query,positive", *rows]))
    call("import-data", "pairs.csv", "--output-dir", "data")
    call("init", "mine", "--from", "data")
    ran = call("run", "--config", "mine/dprkit.yaml", "--only", "select-data")
    assert ran.exit_code == 0, ran.stderr
    sets = [
        {json.loads(row)["question"] for row in path.read_text().splitlines()}
        for path in sorted(Path("mine/runs").rglob("*.jsonl"))
    ]
    assert len(sets) == 3 and sum(map(len, sets)) == len(set.union(*sets)) == 60


def test_a_dev_set_of_msmarco_is_the_validation_set(empty):
    for part, numbers in (("train", range(9)), ("dev.small", range(9, 12))):
        asked = "".join(f"{n}\tquestion {n}\n" for n in numbers)
        judged = "".join(f"{n}\t0\t{n}\t1\n" for n in numbers)
        Path("ms").mkdir(exist_ok=True)
        Path(f"ms/queries.{part}.tsv").write_text(asked)
        Path(f"ms/qrels.{part}.tsv").write_text(judged)
    Path("ms/collection.tsv").write_text("".join(f"{n}\ttext {n}\n" for n in range(12)))
    call("import-data", "ms", "--output-dir", "data")
    call("init", "--from", "data")
    written = load_recipe().written
    assert written["train"]["valid_file"] == "data/valid.jsonl"
    asked = {"questions": "data/valid.questions.jsonl", "qrels": "data/valid.qrels.tsv"}
    assert written["evaluate"] == asked


def test_sets_that_are_named_otherwise_are_understood(empty):
    rows = [f"what is {n}?,it is {n}" for n in range(90)]
    Path("pairs.csv").write_text("\n".join(["query,positive", *rows]))
    shares = "train=60%,dev=20%,eval=rest"
    call("import-data", "pairs.csv", "--split", shares, "--output-dir", "data")
    call("init", "--from", "data")
    written = load_recipe().written
    assert written["train"]["valid_file"] == "data/dev.jsonl"
    assert written["evaluate"] == {"questions": "data/eval.jsonl"}


def test_a_model_that_cannot_be_trained_is_refused_before_a_recipe_is_written(pairs):
    save_bert(Path("st"))
    config = json.loads(Path("st/config.json").read_text())
    auto = {"model_type": "mine", "auto_map": {"AutoModel": "modeling_my.MyModel"}}
    Path("st/config.json").write_text(json.dumps(config | auto))
    call("import-data", pairs, "--output-dir", "data")
    refused = call("init", "mine", "--from", "data", "--model", "st")
    assert refused.exit_code == 1 and not Path("mine").exists()
    assert "name a model of a family that transformers has, such as bert" in refused.stderr


def test_sets_and_negatives_that_are_there_are_used(pairs):
    table = [json.loads(row) for row in pairs.read_text().splitlines()]
    pairs.write_text(lines([row | {"negative": "Nothing of it."} for row in table]))
    shares = "train=60%,valid=20%,test=rest"
    call("import-data", pairs, "--split", shares, "--output-dir", "data")
    report = json.loads(call("init", "--from", "data", "--json").stdout)
    assert report["stages"] == ["train", "encode-corpus", "index", "evaluate"]
    written = load_recipe().written
    assert written["train"]["valid_file"] == "data/valid.jsonl"
    assert written["evaluate"]["questions"] in ("data/test.questions.jsonl", "data/test.jsonl")
    assert written["train"]["init"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_test_set_that_is_there_is_measured_with_its_judgements(empty):
    Path("d/qrels").mkdir(parents=True)
    Path("d/corpus.jsonl").write_text(
        lines([{"_id": f"p{n}", "text": f"t {n}"} for n in range(60)])
    )
    Path("d/queries.jsonl").write_text(
        lines([{"_id": f"q{n}", "text": f"is {n}"} for n in range(60)])
    )
    judged = [f"q{n}\tp{n}\t1\n" for n in range(60)]
    head = "query-id\tcorpus-id\tscore\n"
    Path("d/qrels/train.tsv").write_text(head + "".join(judged[:50]))
    Path("d/qrels/test.tsv").write_text(head + "".join(judged[50:]))
    call("import-data", "d", "--output-dir", "data")
    assert call("init", "--from", "data").exit_code == 0
    written = load_recipe().written
    asked = {"questions": "data/test.questions.jsonl", "qrels": "data/test.qrels.tsv"}
    assert written["evaluate"] == asked
    assert written["select-data"]["split"] == {"train": "95%", "valid": "rest"}
    assert written["train"]["valid_file"] == "select-data.output_dir/valid.jsonl"


def test_a_corpus_alone_is_indexed_by_its_words_or_by_a_retriever(empty, small_retriever):
    Path("docs").mkdir()
    Path("docs/a.txt").write_text("The river is long.")
    call("import-data", "docs", "--output-dir", "data")
    assert call("init", "a", "--from", "data").exit_code == 0
    assert call("run", "--config", "a/dprkit.yaml").exit_code == 0
    assert load_recipe("a/dprkit.yaml").names == ["index"]
    call("init", "b", "--from", "data", "--model", small_retriever)
    assert load_recipe("b/dprkit.yaml").names == ["encode-corpus", "index"]
    assert call("run", "--config", "b/dprkit.yaml").exit_code == 0


def test_what_is_no_import_is_refused(empty, small_retriever):
    assert "make it with dprkit import-data" in call("init", "--from", "nowhere").stderr
    assert "give --from too" in call("init", "--model", "m").stderr
    assert "give one" in call("init", "--from", "d", "--recipe", "tiny").stderr
    Path("a.txt").write_text("The river is long.")
    call("import-data", "a.txt", "--output-dir", "data")
    refused = call("init", "--from", "data", "--model", "bert-base-uncased")
    assert refused.exit_code == 1
    assert "dprkit convert bert-base-uncased --output-dir retriever" in refused.stderr
