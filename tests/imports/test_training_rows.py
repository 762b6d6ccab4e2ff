"""Training rows whose columns have no names of their own."""

from __future__ import annotations

import json

import pytest

from dprkit.errors import InputError
from dprkit.imports import rows
from dprkit.imports.items import Judgement, Tally
from dprkit.imports.kinds import kinds_of
from dprkit.records import Question
from dprkit.settings import ImportSettings
from tests.conftest import call


def read(tmp_path, *values):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    assert rows.fits(path)
    tally = Tally()
    return list(rows.items(path, ImportSettings(), tally)), tally


def groups(example):
    return (
        example.question,
        [p.text for p in example.positives],
        [p.text for p in example.hard_negatives],
    )


def test_lists_are_a_question_a_positive_and_negatives(tmp_path):
    items, tally = read(tmp_path, ["q", "p"], ["r", "o", "n", "m"], ["alone"])
    assert list(map(groups, items)) == [("q", ["p"], []), ("r", ["o"], ["n", "m"])]
    dropped = tally.dropped["a list of fewer than two texts"]
    assert (dropped.count, dropped.first) == (1, f"{tmp_path / 'rows.jsonl'}:3")


def test_a_set_is_a_question_with_all_others_as_positives(tmp_path):
    items, _ = read(tmp_path, {"set": ["a", "b", "c"]}, {"set": ["d", "e"]})
    assert list(map(groups, items)) == [("a", ["b", "c"], []), ("d", ["e"], [])]


def test_rows_of_tevatron_with_ids_are_questions_and_judgements(tmp_path):
    row = {
        "query_id": "7",
        "query_text": "who",
        "query_image": None,
        "positive_document_ids": ["d1", "d2"],
        "negative_document_ids": ["d3"],
        "answer": "me",
    }
    items, _ = read(tmp_path, row)
    assert items == [
        Question("7", "who", ("me",), ("d1", "d2")),
        Judgement("7", "d1", 1),
        Judgement("7", "d2", 1),
        Judgement("7", "d3", 0),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b'{"query": "a\xff", "positive": "b"}\n',
        b'{"a": tru}\n',
        b"{'a': 'b'}\n",
        b'{"a": [NaN]}\n',
        b'{"a": "\\ud83d x"}\n',
        b'{"a": "b"} {"a": "c"}\n',
        b'{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}\n",
        b'[{"a": tru}]',
        b"[]",
    ],
)
def test_a_first_row_that_is_broken_is_of_no_kind_but_the_last(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    (kind,) = kinds_of(ImportSettings(sources=(str(path),)))
    assert kind.name == "table"
    result = call("import-data", path, "--output-dir", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: {path}:")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "text\n", '{"query": "q", "pos": "p"}', "[[1]]", '["a'])
def test_other_files_are_not_such_rows(tmp_path, content):
    path = tmp_path / "file"
    path.write_text(content)
    assert rows.fits(path) == content.startswith('["')
    assert not rows.fits(tmp_path)
    with pytest.raises(InputError, match="file"):
        list(rows.items(path, ImportSettings(), Tally()))
