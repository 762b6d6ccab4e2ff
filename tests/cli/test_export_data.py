"""export-data at the command line: each form as its own readers read it, splits, a killed run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from dprkit.data.examples import read_examples
from dprkit.exports import written
from dprkit.exports.export import export_data
from dprkit.settings import ExportDataSettings
from dprkit.store.drafts import Draft
from tests.conftest import call

PASSAGES = [
    {"id": "a", "title": "Hamlet", "text": 'A play\tby "W. S."'},
    {"id": "b", "title": "", "text": "Faust is a play."},
    {"id": "c", "title": "Ö", "text": "Ünïcode\nin two lines"},
]
QUESTIONS = {
    "train": [{"id": "q1", "question": "who?", "answers": ["W. S."], "passage_ids": ["a", "c"]}],
    "valid": [
        {
            "id": "q2",
            "question": "what?",
            "answers": [],
            "dataset": "nq",
            "tags": ["x"],
            "pages": [["7", "8"]],
        }
    ],
}


def context(number):
    return {"title": f"T{number}" if number % 2 else "", "text": f"t{number}", "passage_id": "p"}


EXAMPLES = [
    {
        "question": "one",
        "answers": ["x"],
        "positive_ctxs": [context(1) | {"teacher_score": 1.5}, context(2)],
        "hard_negative_ctxs": [context(3) | {"score": 7.25}],
        "negative_ctxs": [context(4), context(5)],
    },
    {"question": "two", "positive_ctxs": [context(6)], "hard_negative_ctxs": [context(8)]},
    {"question": "three", "positive_ctxs": [context(7)]},
    {"question": "four", "positive_ctxs": [], "negative_ctxs": [context(9)]},
]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder as import-data writes it, in two splits, and the folder at hand."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/passages.jsonl").write_text(lines(PASSAGES))
    for split, rows in QUESTIONS.items():
        Path(f"data/{split}.questions.jsonl").write_text(lines(rows))
    Path("data/train.jsonl").write_text(lines(EXAMPLES))
    return tmp_path


def exported(*words):
    result = call("export-data", "--output-dir", "out", "--json", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def rows_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def qrels_of(path):
    """As BEIR's GenericDataLoader reads them."""
    text = Path(path).read_text().splitlines()
    header, *rows = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
    assert header == ["query-id", "corpus-id", "score"]
    return [(question, passage, int(grade)) for question, passage, grade in rows]


# --- BEIR -----------------------------------------------------------------------------------------


def test_beir_has_the_corpus_all_questions_and_what_each_split_names_as_gold(data):
    report = exported("data")
    assert report["rows"] == {"corpus": 3, "queries": 2, "qrels/train": 2, "qrels/valid": 0}
    assert report["notes"] == ["qrels/valid: no rows"]
    corpus = rows_of("out/corpus.jsonl")
    assert [(row["_id"], row["title"], row["text"]) for row in corpus] == [
        (row["id"], row["title"], row["text"]) for row in PASSAGES
    ]
    queries = rows_of("out/queries.jsonl")
    assert [(row["_id"], row["text"], row["metadata"]) for row in queries] == [
        ("q1", "who?", {}),
        ("q2", "what?", {}),
    ]
    assert (queries[0]["answers"], queries[1]["tags"]) == (["W. S."], ["x"])
    assert queries[1]["pages"] == [["7", "8"]]
    assert qrels_of("out/qrels/train.tsv") == [("q1", "a", 1), ("q1", "c", 1)]
    assert qrels_of("out/qrels/valid.tsv") == []


def test_judgements_go_to_the_split_of_their_question(data):
    judged = [("q2", "b", 2), ("q1", "a", 0), ("q3", "a", 1)]
    Path("data/qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join("\t".join(map(str, row)) + "\n" for row in judged)
    )
    exported("data")
    assert qrels_of("out/qrels/train.tsv") == [("q1", "a", 0)]
    assert qrels_of("out/qrels/valid.tsv") == [("q2", "b", 2)]


def test_a_question_of_several_splits_is_one_of_the_queries_with_judgements_of_each(data):
    Path("data/valid.questions.jsonl").write_text(lines(QUESTIONS["train"] + QUESTIONS["valid"]))
    Path("data/train.qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tb\t1\n")
    Path("data/valid.qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tb\t0\nq1\ta\t2\n")
    exported("data")
    assert [row["_id"] for row in rows_of("out/queries.jsonl")] == ["q1", "q2"]
    assert qrels_of("out/qrels/train.tsv") == [("q1", "b", 1)]
    assert qrels_of("out/qrels/valid.tsv") == [("q1", "b", 0), ("q1", "a", 2)]


def test_evaluate_takes_the_folder_of_single_files(data):
    passages, questions = ("data/passages.jsonl", "data/train.questions.jsonl")
    exported("--passages", passages, "--questions", questions, "--split", "dev")
    Path("run.trec").write_text("q1 Q0 a 1 2.0 x\n")
    found = call(
        *("evaluate", "--beir", "out", "--split", "dev", "--results", "run.trec"),
        *("--output-dir", "results", "--topk", "1", "--json"),
    )
    assert found.exit_code == 0, found.stderr
    metrics = json.loads(found.stdout)["metrics"]
    assert (metrics["R"], metrics["P"]) == ({"1": 0.5}, {"1": 1.0})


def test_questions_of_examples_are_numbered_behind_their_split(data):
    Path("data/train.questions.jsonl").unlink()
    Path("data/valid.questions.jsonl").unlink()
    Path("data/valid.jsonl").write_text(lines(EXAMPLES[:1]))
    exported("data")
    ids = [row["_id"] for row in rows_of("out/queries.jsonl")]
    assert ids == ["train-0", "train-1", "train-2", "train-3", "valid-0"]
    assert qrels_of("out/qrels/valid.tsv") == [("valid-0", "p", 1)]


# --- sentence-transformers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "rows", "dropped"),
    [
        (
            ["--rows", "pairs"],
            [("one", "T1 t1"), ("two", "t6"), ("three", "T7 t7")],
            {"no positive": 1},
        ),
        (
            ["--positives", "all", "--negatives", "2", "--no-titles"],
            [("one", p, n) for p in ("t1", "t2") for n in ("t3", "t4")] + [("two", "t6", "t8")],
            {"no negative": 1, "no positive": 1},
        ),
        (
            ["--rows", "n-tuples", "--negatives", "3"],
            [("one", "T1 t1", "T3 t3", "t4", "T5 t5")],
            {"fewer than 3 negatives": 2, "no positive": 1},
        ),
    ],
)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_rows_of_sentence_transformers(data, words, rows, dropped, form):
    report = exported("data", "--to", "sentence-transformers", "--form", form, *words)
    assert (report["rows"], report["dropped"]) == ({"train": len(rows)}, dropped)
    if form == "jsonl":
        found = rows_of("out/train.jsonl")
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        found = parquet.read_table("out/train-00000.parquet").to_pylist()
    assert [tuple(row.values()) for row in found] == rows
    names = [*found[0]]
    assert names[:2] == ["anchor", "positive"]
    assert names[2:] in ([], ["negative"], ["negative_1", "negative_2", "negative_3"])


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_file_of_no_rows_is_not_written_and_told(data, form):
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    Path("data/valid.jsonl").write_text(lines(EXAMPLES[2:3]))
    report = exported("data", "--to", "sentence-transformers", "--form", form)
    assert [path.name.partition(".")[0] for path in Path("out").glob("[tv]*")] == [
        "train" if form == "jsonl" else "train-00000"
    ]
    (note,) = report["notes"]
    assert note.startswith("valid: no rows; --rows pairs needs no negatives")


# --- parquet --------------------------------------------------------------------------------------


def test_parquet_has_everything_and_a_card_that_says_what_belongs_together(data):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    exported("data", "--to", "parquet")
    assert parquet.read_table("out/corpus/corpus-00000.parquet").to_pylist() == PASSAGES
    (question,) = parquet.read_table("out/queries/valid-00000.parquet").to_pylist()
    rest = {"answers": [], "passage_ids": [], "dataset": "nq", "tags": ["x"]}
    rest["pages"] = [["7", "8"]]
    assert question == {"id": "q2", "question": "what?"} | rest
    first, *_ = parquet.read_table("out/examples/train-00000.parquet").to_pylist()
    (example, *_) = read_examples("data/train.jsonl")
    assert (first["question"], first["answers"]) == (example.question, list(example.answers))
    assert [p["teacher_score"] for p in first["positive_ctxs"]] == [1.5, None]
    assert first["hard_negative_ctxs"][0]["score"] == 7.25
    card = Path("out/README.md").read_text()
    assert "- config_name: queries\n  data_files:\n  - split: train\n" in card
    assert "    path: queries/train-*.parquet\n" in card


# --- stopped runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["beir", "parquet"])
def test_a_killed_export_ends_with_the_same_bytes(data, to, monkeypatch):
    """It is killed whenever it saves how far it is, and goes on."""
    for name, value in (("SAVED_EVERY", 0), ("BLOCK", 1), ("GROUP", 1), ("PART", 100)):
        monkeypatch.setattr(written, name, value)
    whole = {"data": "data", "to": to}
    export_data(ExportDataSettings(**whole, output_dir="whole"))
    killed = ExportDataSettings(**whole, output_dir="killed")
    saves, kills = Draft.save, 0

    def kill(work):
        saves(work)
        if work.state != before:
            raise KeyboardInterrupt

    monkeypatch.setattr(Draft, "save", kill)
    while kills < 100:
        progress = Path("killed/progress.json")
        before = json.loads(progress.read_text())["state"] if progress.exists() else {}
        try:
            export_data(killed)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 6
    files = {path.relative_to("whole") for path in Path("whole").rglob("*") if path.is_file()}
    assert len(files) > 4
    for path in files - {Path("manifest.json")}:
        assert (Path("killed") / path).read_bytes() == (Path("whole") / path).read_bytes()
    assert not Path("killed/growing").exists()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "no data given; name a folder of import-data, or files: --passages"),
        (["data/train.jsonl"], "data/train.jsonl: is a file; name it with --passages"),
        (["nothing"], "nothing: no such file; check the path"),
        (["empty"], "empty: no data of dprkit there; name the files"),
        (["--questions", "data/train.questions.jsonl"], "no passages, which BEIR's corpus"),
        (["--passages", "data/passages.jsonl"], "no questions for BEIR's queries"),
        (["--passages", "-"], "--passages -: stdin cannot be read again"),
        (["--passages", "data/passages.jsonl", "--to", "sentence-transformers"], "no examples for"),
        (
            ["--examples", "data/train.jsonl", "--examples", "train.json", "--to", "parquet"],
            "--examples: data/train.jsonl and train.json are both the split 'train'",
        ),
        (
            [
                *("data", "--questions", "data/train.questions.jsonl"),
                *("--questions", "data/valid.jsonl"),
            ],
            "data/valid.jsonl: another question has the id 'q1' too; ids must differ",
        ),
        (
            ["data", "--questions", "twice.jsonl"],
            "twice.jsonl: another question has the id 'q1' too; ids must differ",
        ),
        (
            ["data", "--examples", "none.jsonl", "--to", "sentence-transformers"],
            "data: no row comes of it (1 no negative); --rows pairs needs no negatives",
        ),
    ],
)
def test_what_is_refused_in_one_line(data, words, problem):
    Path("data/valid.jsonl").write_text(lines([QUESTIONS["train"][0] | {"question": "when?"}]))
    Path("twice.jsonl").write_text(lines(QUESTIONS["train"] * 2))
    Path("empty").mkdir()
    Path("none.jsonl").write_text(lines(EXAMPLES[2:3]))
    result = call("export-data", "--output-dir", "out", *words)
    assert result.exit_code == 1
    assert problem in result.stderr
    assert len([line for line in result.stderr.splitlines() if "rror" in line]) <= 1
    assert not Path("out").exists()
