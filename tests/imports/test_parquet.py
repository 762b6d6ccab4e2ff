"""The kind `parquet`: what pyarrow wrote comes out row by row, and what cannot be read is named."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from dprkit.data.examples import read_examples
from dprkit.data.passages import read_passages
from dprkit.data.questions import read_questions
from dprkit.errors import DprkitError, FormatError, InputError, SettingsError
from dprkit.imports import arrow_rows
from dprkit.imports.items import Judgement, SplitExample, SplitQuestion, Tally
from dprkit.imports.parquet import fits, items
from dprkit.records import Candidate, Example, Passage, Question
from dprkit.settings import ImportSettings
from tests.conftest import call

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

SAVED = Path(__file__).parent / "saved_by_datasets"
"""Folders that save_to_disk of datasets 5.2.0 wrote: Tevatron's rows; passages in two splits."""


def write(path, rows, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path, **how)
    return path


def read(path, **settings):
    tally = Tally()
    return list(items(path, ImportSettings(**settings), tally)), tally


def passages(count):
    return [Passage(f"d{n}", f"text {n} " + "ü" * (n % 7), f"T{n}") for n in range(count)]


def rows_of(found):
    return [{"_id": p.id, "title": p.title, "text": p.text} for p in found]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "zstd", "snappy"])
def test_every_row_of_every_row_group_comes_in_order(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(arrow_rows, "BATCH_ROWS", 7)
    path = write(tmp_path / "x", rows_of(passages(50)), row_group_size=20, compression=compression)
    found, tally = read(path)
    assert found == passages(50)
    assert tally.understood == {
        str(path): "passages: text from text, id from _id, title from title"
    }
    assert tally.at == (path, "row 50")


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow_files_of_both_forms(tmp_path, form):
    table = pa.Table.from_pylist(rows_of(passages(50)))
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    with pa.OSFile(str(tmp_path / "x"), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=20)
    assert fits(tmp_path / "x")
    assert read(tmp_path / "x")[0] == passages(50)


def test_lists_of_texts_of_structs_and_answers_as_squad_has_them(tmp_path):
    lists = {"query": "q", "pos": ["a", "b"], "neg": ["c"], "pos_scores": [0.5, 0.25]}
    (found,), _ = read(write(tmp_path / "lists", [lists]))
    assert [(p.text, p.teacher_score) for p in found.positives] == [("a", 0.5), ("b", 0.25)]
    assert [p.text for p in found.hard_negatives] == ["c"]
    structs = {"question": "q", "positive_passages": [{"docid": "1", "title": "T", "text": "t"}]}
    (found,), _ = read(write(tmp_path / "structs", [structs]))
    assert found == Example("q", (), (Candidate("1", "t", "T"),))
    squad = {"id": "7", "question": "q", "answers": {"text": ["x", "y"], "answer_start": [1, 2]}}
    assert read(write(tmp_path / "squad", [squad]))[0] == [Question("7", "q", ("x", "y"))]


def test_columns_of_other_names_numbers_as_ids_and_dictionaries_of_texts(tmp_path):
    table = pa.table(
        {
            "Nr": pa.array([1, 2]),
            "Body": pa.array(["a", "b"]).dictionary_encode(),
            "vec": [[1.5]] * 2,
        }
    )
    found, _ = read(write(tmp_path / "x", table), columns={"id": "nr", "text": "Body"})
    assert found == [Passage("1", "a"), Passage("2", "b")]


def test_decimals_are_numbers(tmp_path):
    rows = [{"id": Decimal("7"), "query": "q", "pos": ["a"], "pos_scores": [Decimal("0.25")]}]
    (found,), _ = read(write(tmp_path / "scores", rows))
    assert found.positives[0].teacher_score == 0.25
    (found,), _ = read(write(tmp_path / "ids", [{"id": Decimal("7"), "text": "t"}]))
    assert found == Passage("7", "t")
    (found,), _ = read(write(tmp_path / "ids2", [{"id": Decimal("7.50"), "text": Decimal("1.5")}]))
    assert found == Passage("7.50", "1.5")


def test_rows_that_make_no_item_are_counted_with_the_first_place(tmp_path):
    rows = [{"_id": "1", "text": "a"}, {"_id": "2", "text": None}, {"_id": "3", "text": " "}]
    path = write(tmp_path / "x", rows)
    result = call("import-data", path, "--output-dir", tmp_path / "out", "--json")
    assert json.loads(result.stdout)["written"] == {"passages": 1}
    assert json.loads(result.stdout)["dropped"] == {
        "no text": {"count": 2, "first": f"{path}:row 2"}
    }


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_of_save_to_disk(tmp_path):
    found, _ = read(SAVED / "one")
    example = Example(
        "who wrote hamlet",
        (),
        (Candidate("1", "Hamlet is by Shakespeare.", "Hamlet"),),
        (Candidate("2", "Faust is by Goethe.", "Faust"),),
    )
    assert found == [example] * 3
    found, _ = read(SAVED / "splits")
    train = [Passage(str(n), f"text {n}", "t") for n in range(5)]
    assert found == train + train[:2]


def test_configs_named_by_folders_tell_what_a_text_is(tmp_path):
    """As the data sets of BEIR, MTEB and NanoBEIR lie on the hub."""
    text = {"_id": "1", "title": "", "text": "t"}
    write(tmp_path / "corpus/corpus-00000-of-00001.parquet", [text])
    write(tmp_path / "queries/queries-00000-of-00001.parquet", [text | {"_id": "q"}])
    judged = [{"query-id": "q", "corpus-id": "1", "score": 2.0}]
    write(tmp_path / "default/test-00000-of-00001.parquet", judged)
    found, tally = read(tmp_path)
    assert found == [Passage("1", "t"), Judgement("q", "1", 2), Question("q", "t")]
    (sentence,) = tally.understood.values()
    assert "queries has questions: question from text, question_id from _id" in sentence


def test_columns_of_one_config_are_not_asked_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "corpus/x.parquet", [{"_id": "1", "text": "t"}])
    asked = write(tmp_path / "queries/x.parquet", [{"_id": "q", "asked": "who?"}])
    columns = {"sources": (str(tmp_path),), "columns": {"question": "asked"}}
    assert read(tmp_path, **columns)[0] == [Passage("1", "t"), Question("q", "who?")]
    columns = {"sources": (str(asked),), "columns": {"question": "asked", "answers": "replies"}}
    with pytest.raises(FormatError, match="no column replies, which --columns gives for answers"):
        read(asked, **columns)
    told = call("import-data", tmp_path, "--columns", "text=x,question=asked", "--output-dir", "o")
    assert "--columns text=x: no source has this column" in told.stderr


def test_the_head_of_a_readme_names_configs_and_splits(tmp_path):
    write(tmp_path / "a/x1.parquet", [{"anchor": "q1", "positive": "p"}])
    write(tmp_path / "a/x2.parquet", [{"anchor": "q2", "positive": "p"}])
    write(tmp_path / "b.parquet", [{"anchor": "q3", "positive": "p"}])
    write(tmp_path / "c.parquet", [{"anchor": "q4", "positive": "p"}])
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: pair\n  default: true\n  data_files:\n"
        "  - split: train\n    path: a/*\n  - split: validation\n    path: [b.parquet]\n"
        "- config_name: other\n  data_files: c.parquet\n---\n# A data set\n"
    )
    found, _ = read(tmp_path)
    assert [(e.question, e.split) for e in found if isinstance(e, SplitExample)] == [
        ("q1", "train"),
        ("q2", "train"),
        ("q3", "valid"),
    ]
    found, _ = read(tmp_path, subset=("other",))
    assert [(type(e), e.question) for e in found] == [(Example, "q4")]


def test_the_files_that_a_readme_names_are_told_by_their_content(tmp_path):
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- data_files:\n  - split: train\n    path: a.jsonl\n"
        "  - split: dev\n    path: b.jsonl\n---\n"
    )
    (tmp_path / "a.jsonl").write_text('["q1", "p1"]\n')
    (tmp_path / "b.jsonl").write_text('{"question": "q2", "positive_ctxs": [{"text": "p2"}]}\n')
    found, _ = read(tmp_path)
    assert [(e.question, e.split, e.positives[0].text) for e in found] == [
        ("q1", "train", "p1"),
        ("q2", "valid", "p2"),
    ]


def test_splits_are_told_by_the_names_of_files(tmp_path):
    for split in ("train", "validation", "test"):
        name = f"data/{split}-00000-of-00001.parquet"
        write(tmp_path / name, [{"id": split, "question": f"about {split}"}])
    found, _ = read(tmp_path)
    assert found == [
        SplitQuestion("test", "about test", split="test"),
        SplitQuestion("train", "about train", split="train"),
        SplitQuestion("validation", "about validation", split="valid"),
    ]


# --- from and to ----------------------------------------------------------------------------------


def test_what_export_data_writes_comes_back_the_same(tmp_path, monkeypatch, tiny_examples):
    """Also what is exported of what came back: the files are the same, byte for byte."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    given = json.loads(tiny_examples.read_text())[:40]
    for split, rows in (("train", given[:30]), ("valid", given[30:])):
        Path(f"data/{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        questions = [
            {
                "id": f"{split}{n}",
                "question": row["question"],
                "answers": row["answers"],
                "passage_ids": [row["positive_ctxs"][0]["passage_id"]],
                "pages": [["1", "2"]],
            }
            for n, row in enumerate(rows)
        ]
        Path(f"data/{split}.questions.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in questions)
        )
    shutil.copy(tiny_examples.parent / "passages.tsv", "passages.tsv")
    words = ["export-data", "data", "--passages", "passages.tsv", "--to", "parquet"]
    assert call(*words, "--output-dir", "out").exit_code == 0
    result = call("import-data", "out", "--output-dir", "back", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["dropped"] == {}
    assert list(read_passages("back/passages.jsonl")) == list(read_passages("passages.tsv"))
    for split in ("train", "valid"):
        names = [f"{folder}/{split}.questions.jsonl" for folder in ("back", "data")]
        assert list(read_questions(names[0])) == list(read_questions(names[1]))
        names = [f"{folder}/{split}.jsonl" for folder in ("back", "data")]
        assert list(read_examples(names[0])) == list(read_examples(names[1]))
    again = call("export-data", "back", "--to", "parquet", "--output-dir", "again")
    assert again.exit_code == 0, again.stderr
    for path in (p for p in Path("out").rglob("*.parquet")):
        assert (Path("again") / path.relative_to("out")).read_bytes() == path.read_bytes()


def test_a_whole_beir_folder_of_export_data_comes_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("q.jsonl").write_text('{"id":"q","question":"who?","answers":["x"],"passage_ids":["b"]}\n')
    Path("p.jsonl").write_text('{"id":"a","title":"A","text":"x"}\n{"id":"b","text":"y"}\n')
    words = ["--passages", "p.jsonl", "--questions", "q.jsonl", "--output-dir", "out"]
    assert call("export-data", *words).exit_code == 0
    result = call("import-data", "out", "--output-dir", "back")
    assert result.exit_code == 0, result.stderr
    assert list(read_passages("back/passages.jsonl")) == list(read_passages("p.jsonl"))
    assert Path("back/test.qrels.tsv").read_text() == Path("out/qrels/test.tsv").read_text()
    (example,) = read_examples(next(iter(Path("back").glob("t*[tn].jsonl"))))
    assert example == Example("who?", ("x",), (Candidate("b", "y"),))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_rows_of_sentence_transformers_come_back(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    contexts = [{"text": f"t{n}", "passage_id": f"p{n}"} for n in range(4)]
    row = {"question": "q", "positive_ctxs": contexts[:1], "hard_negative_ctxs": contexts[1:]}
    Path("train.jsonl").write_text(json.dumps(row) + "\n")
    words = ["--to", "sentence-transformers", "--rows", "n-tuples", "--negatives", "3"]
    words += ["--examples", "train.jsonl", "--form", form, "--output-dir", "out"]
    assert call("export-data", *words).exit_code == 0
    (made,) = Path("out").glob(f"train*.{form}")
    assert call("import-data", made, "--output-dir", "back").exit_code == 0
    (found,) = read_examples("back/train.jsonl")
    assert (found.question, found.positives[0].text) == ("q", "t0")
    assert [p.text for p in found.hard_negatives] == ["t1", "t2", "t3"]


# --- what is refused ------------------------------------------------------------------------------


def deep(value):
    return lambda path: write(path / "x.parquet", [{"_id": "1", "text": value}])


def cut(path):
    whole = write(path / "x.parquet", rows_of(passages(500))).read_bytes()
    (path / "x.parquet").write_bytes(whole[: len(whole) // 2])


def latin1(path):
    text = pa.array(["a", "b"], pa.binary())
    bad = pa.StringArray.from_buffers(2, text.buffers()[1], pa.py_buffer(b"\xe4b"))
    write(path / "x.parquet", pa.table({"_id": ["1", "2"], "text": bad}))


def two_configs(path):
    for name in ("one", "two"):
        write(path / name / "x.parquet", [{"anchor": "q", "positive": "p"}])


def climbing(path):
    (path / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}')


def readme(path):
    (path / "README.md").write_text("---\nconfigs:\n- data_files: gone/*.parquet\n---\n")


@pytest.mark.parametrize(
    ("make", "kind", "problem"),
    [
        (deep([[1.5]]), InputError, "the column text holds list<element: list<element: double>>; "),
        (deep({"a": "b"}), InputError, r"text holds struct<a: string>; text has to be text: name "),
        (deep(b"a"), InputError, r"the column text holds binary; .*, as in --columns text=NAME"),
        (
            lambda path: write(
                path / "x.parquet", [{"query-id": "q", "corpus-id": "d", "score": b"1"}]
            ),
            InputError,
            "the column score holds binary; grade has to be a number: name another column",
        ),
        (cut, InputError, "x.parquet: not a whole parquet or Arrow file; fetch it again"),
        (latin1, FormatError, r"x.parquet:row 1 or behind it: a text that is not UTF-8"),
        (two_configs, SettingsError, "has several subsets: one, two; name one with --subset"),
        (climbing, InputError, r"names the file '../x.arrow', which is not in the folder"),
        (readme, InputError, r"the config default names gone/\*.parquet, and there is no such"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, make, kind, problem):
    make(tmp_path)
    with pytest.raises(kind, match=problem) as caught:
        read(tmp_path)
    assert isinstance(caught.value, DprkitError)
    assert "\n" not in str(caught.value)


def test_a_subset_that_is_not_there_names_those_that_are(tmp_path):
    two_configs(tmp_path)
    with pytest.raises(SettingsError, match=r"--subset twoo: .* has one, two; did you mean 'two'?"):
        read(tmp_path, subset=("twoo",))
