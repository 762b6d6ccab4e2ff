"""Prompts: of training files, and by name in search and evaluate."""

import gzip
import json

import msgspec
import numpy as np
import pytest

from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.passages import read_passages
from dprkit.models.config import RetrieverConfig, load_config
from dprkit.models.from_scratch import learn_tokenizer
from dprkit.models.retriever import load_retriever
from dprkit.models.tokens import Tokens
from dprkit.training.batches import BatchPlan, Draw, FilePrefixes, Mixture, Preparation, make_batch
from tests.conftest import call

SMALL = (
    *("--set", "train.scratch_hidden_size=16", "--set", "train.scratch_vocab_size=600"),
    *("--projection", 8, "--max-epochs", 0),
)


def done(*words):
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    return result


def refused(*words):
    result = call(*words)
    assert result.exit_code == 1
    return result.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_examples):
    """Two training files of some rows each, one of them compressed."""
    folder = tmp_path_factory.mktemp("files")
    rows = json.loads(tiny_examples.read_text())
    (folder / "facts.json.gz").write_bytes(gzip.compress(json.dumps(rows[:8]).encode()))
    (folder / "places.json").write_text(json.dumps(rows[8:16]))
    return folder / "facts.json.gz", folder / "places.json"


@pytest.fixture(scope="module")
def place(files, tiny_passages, tmp_path_factory):
    """A retriever whose training files had prompts, and an index of its vectors."""
    folder = tmp_path_factory.mktemp("prompts")
    facts, places = files
    done(
        *("train", "--train-file", facts, "--train-file", places, *SMALL),
        *("--question-prefixes", "is it true, or not: ", "--question-prefixes", ""),
        *("--question-prefix", "ask: ", "--output-dir", folder / "model"),
    )
    corpus = folder / "corpus.tsv"
    corpus.write_text("".join(tiny_passages.read_text().splitlines(keepends=True)[:60]))
    encoded = ("--passages", corpus, "--output-dir", folder / "embeddings")
    done("encode-corpus", "--retriever", folder / "model", *encoded)
    done("index", "--embeddings", folder / "embeddings", "--output-dir", folder / "index")
    done("index", "--type", "bm25", "--passages", corpus, "--output-dir", folder / "words")
    return folder


def test_the_prefixes_of_files_are_prompts_of_the_retriever(place):
    config = load_config(place / "model")
    assert config.question_prefix == "ask: "
    assert config.prompts == {"facts": "is it true, or not: "}


def test_each_row_of_a_batch_gets_the_prefixes_of_its_file(files):
    mixture = Mixture([ExampleFile(str(path)) for path in files], [1, 1])
    tokenizer = learn_tokenizer(["q p : a b c d", "who what"], 300)
    config = RetrieverConfig(question_prefix="q: ", passage_max_length=32)
    tokens, draw = Tokens((tokenizer, {}), config), Draw(1, 0, 3)
    plan = BatchPlan(mixture, 16, 3)
    prefixes = FilePrefixes(("a: ", ""), ("b: ", "c: "))
    sides = Preparation(plan, draw, tokens, prefixes=prefixes)(0).sides
    batch = make_batch(mixture, plan.rows(0), 0, draw)
    assert set(batch.files) == set(batch.sources) == {0, 1}
    plain = Tokens((tokenizer, {}), RetrieverConfig())
    asked = [("a: ", "")[file] + q for file, q in zip(batch.files, batch.questions, strict=True)]
    assert sides[0] == plain.questions(asked)
    for ids, passage, file in zip(sides[1], batch.passages, batch.sources, strict=True):
        own = RetrieverConfig(passage_prefix=("b: ", "c: ")[file], passage_max_length=32)
        assert [ids] == Tokens((tokenizer, {}), own).passages([passage])
    as_before = Preparation(plan, draw, tokens)(0).sides
    assert as_before[0] == plain.questions(["q: " + question for question in batch.questions])


def test_another_number_of_prefixes_than_of_files_is_refused(files, tmp_path):
    words = ("train", "--train-file", files[0], "--train-file", files[1], *SMALL)
    said = refused(*words, "--passage-prefixes", "p: ", "--output-dir", tmp_path / "m")
    assert "--passage-prefixes: 1 prefixes for 2 training files" in said


QUESTIONS = ["who wrote hamlet", "where is the nile"]


@pytest.fixture(scope="module")
def asked(place):
    """A file of questions, and the passages that each prefix finds for them, by brute force."""
    (place / "q.qa.csv").write_text("".join(f"{one}\t['x']\n" for one in QUESTIONS))
    retriever = load_retriever(place / "model")
    rows = list(read_passages(place / "corpus.tsv"))
    read = retriever.encode_passages(rows)
    retriever.tokens.config = msgspec.structs.replace(retriever.tokens.config, question_prefix="")
    found = {}
    for prefix in ("ask: ", "is it true, or not: "):
        scores = retriever.encode_questions([prefix + one for one in QUESTIONS]) @ read.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        found[prefix] = [[rows[row].id for row in line] for line in best]
    assert found["ask: "] != found["is it true, or not: "]
    return place / "q.qa.csv", found


def ids_in(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [[one["id"] for one in line["ctxs"]] for line in lines]


@pytest.mark.parametrize("stage", ["search", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_the_prompt_of_that_name_stands_before_questions(place, asked, stage, tmp_path):
    questions, found = asked
    for more, prefix in (((), "ask: "), (("--prompt", "facts"), "is it true, or not: ")):
        out = tmp_path / f"{len(more)}"
        words = ("search", "--topk", 5, "-o", out)
        if stage == "evaluate":
            words = ("evaluate", "--topk", "1,5", "--output-dir", out)
        done(*words, "--index", place / "index", "--questions", questions, *more)
        made = out if stage == "search" else out / "results.jsonl"
        assert [line[:5] for line in ids_in(made)] == found[prefix]


def test_a_prompt_that_is_not_there_is_refused_with_those_there_are(place, tmp_path):
    (tmp_path / "q.txt").write_text("who\n")
    words = ("search", "--questions", tmp_path / "q.txt", "--prompt", "fact")
    said = refused(*words, "--index", place / "index")
    assert "has no prompt 'fact'; it has query, document, facts (retriever.yaml)" in said
    said = refused(*words, "--index", place / "words")
    assert "is an index of words, which needs no retriever; leave it out" in said
