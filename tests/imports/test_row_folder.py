"""The kind `folder`: files of rows in a folder, and sets that the names of files tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dprkit.imports.kinds import kind_of_file
from dprkit.settings import ImportSettings
from tests.conftest import call


@pytest.fixture
def pairs(empty: Path) -> Path:
    Path("pairs").mkdir()
    rows = [json.dumps({"anchor": f"q{n}", "positive": f"p{n}"}) + "\n" for n in range(3)]
    Path("pairs/train.jsonl").write_text(rows[0] + rows[1])
    Path("pairs/dev.jsonl").write_text(rows[2])
    return Path("pairs")


def imported(*words: object) -> dict[str, list[str]]:
    """file -> the questions of its rows, or the ids of passages."""
    done = call("import-data", *words, "--output-dir", "data", "--restart")
    assert done.exit_code == 0, done.stderr
    return {
        path.name: [row.get("question", row.get("id", "")) for row in rows_of(path)]
        for path in sorted(Path("data").glob("*.jsonl"))
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def kind(path: object) -> str:
    return kind_of_file(Path(str(path)), ImportSettings()).name


SETS = {"train.jsonl": ["q0", "q1"], "valid.jsonl": ["q2"]}


def without_passages(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: rows for name, rows in found.items() if name != "passages.jsonl"}


def test_a_folder_of_rows_is_read_as_its_files_are(pairs):
    of_folder = imported(pairs)
    assert without_passages(of_folder) == SETS
    of_files = imported("pairs/train.jsonl", "pairs/dev.jsonl")
    assert without_passages(of_files) == SETS
    assert sorted(of_folder["passages.jsonl"]) == sorted(of_files["passages.jsonl"])
    told = call("import-data", pairs, "--dry-run").stdout
    assert "pairs: folder: dev.jsonl (valid), train.jsonl (train): examples: question from" in told


def test_parts_of_sets_and_what_lies_beside_them_on_a_hub(empty):
    Path("set/data").mkdir(parents=True)
    Path("set/README.md").write_text("# A data set\n")
    Path("set/dataset_infos.json").write_text('{"default": {}}')
    for name, question in {
        "train-00000-of-00002": "q0",
        "train-00001-of-00002": "q1",
        "validation-00000-of-00001": "q2",
    }.items():
        Path(f"set/data/{name}.csv").write_text(f"question,positive\n{question},p\n")
    assert without_passages(imported("set")) == SETS
    Path("set/data/validation-00000-of-00001.csv").unlink()
    assert without_passages(imported("set")) == {"train.jsonl": ["q0", "q1"]}
    assert (
        json.loads(call("import-data", "set", "--dry-run", "--json").stdout)["sources"][0][
            "dropped"
        ]
        == {}
    )


def test_a_single_set_says_nothing(pairs):
    """Judged questions of a dev set beside a corpus are just questions, as the docs have it."""
    Path("corpus.csv").write_text("id,text\n1,A text.\n")
    found = imported("corpus.csv", "pairs/dev.jsonl")
    assert found["train.jsonl"] == ["q2"]


def test_shares_count_for_all_rows_where_they_are_asked_for(pairs):
    for words in ((pairs,), ("pairs/train.jsonl", "pairs/dev.jsonl")):
        assert imported(*words, "--split", "all=rest")["all.jsonl"]
        assert sorted(imported(*words, "--split", "all=rest")["all.jsonl"]) == ["q0", "q1", "q2"]


def test_files_of_several_kinds_in_a_folder(empty):
    """TREC's, with .txt that are no texts, and a corpus whose passages stay as they are."""
    Path("trec").mkdir()
    Path("trec/topics.txt").write_text("<top>\n<num>7\n<title>who\n</top>\n")
    Path("trec/qrels.txt").write_text("7 0 d1 1\n7 0 d2 0\n")
    Path("trec/corpus.jsonl").write_text(
        '{"id": "d1", "title": "", "text": "It is he."}\n{"id": "d2", "title": "", "text": "No."}\n'
    )
    assert imported("trec") == {
        "passages.jsonl": ["d1", "d2"],
        "questions.jsonl": ["who"],
        "train.jsonl": ["who"],
    }


def test_columns_are_asked_of_the_files_that_have_them(empty):
    Path("set").mkdir()
    Path("set/a.csv").write_text("Asked,Reply\nq1,p1\n")
    Path("set/b.csv").write_text("query,pos\nq2,p2\n")
    assert imported("set", "--columns", "question=Asked,positive=Reply")["train.jsonl"] == [
        "q1",
        "q2",
    ]
    refused = call("import-data", "set", "--output-dir", "other")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: set/a.csv:1: ")


def test_what_is_no_folder_of_rows(pairs):
    assert kind(pairs) == "folder"
    Path("pairs/README.md").write_text("About it.")
    assert kind(pairs) == "folder"
    Path("pairs/notes.txt").write_text("A note.")
    assert kind(pairs) == "texts"
    Path("docs").mkdir()
    Path("docs/a.jsonl").write_text('{"_id": "1", "text": "Short."}\n')
    Path("docs/README.md").write_text("About it.")
    assert kind("docs") == "texts"
    Path("docs/b.jsonl").write_text('{"a": "of no name that is known"}\n')
    assert kind("docs") == "folder"


def test_a_folder_without_rows_is_refused(empty):
    Path("docs").mkdir()
    Path("docs/a.md").write_text("A text.")
    refused = call("import-data", "docs", "--kind", "folder", "--output-dir", "data")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: docs: no file of rows in it; name its files")
