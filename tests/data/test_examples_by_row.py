"""The examples of a training file: which of its rows they are, and where those lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dprkit.data.examples_by_row import ExampleFile
from dprkit.errors import FormatError, InputError
from dprkit.records import Candidate


def save(folder: Path, *rows: list[str]) -> Path:
    """A file with a row for each list of positive texts."""
    path = folder / "train.jsonl"
    contexts = [[{"passage_id": text, "text": text} for text in texts] for texts in rows]
    lines = [{"question": f"q{i}", "positive_ctxs": c} for i, c in enumerate(contexts)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_rows_without_a_positive_are_left_out_counted_and_named(tmp_path: Path) -> None:
    examples = ExampleFile(save(tmp_path, [], ["a"], [" \n"], ["b"]))
    assert [example.question for example in examples] == ["q1", "q3"]
    assert (examples.dropped, examples.dropped_where) == (2, ["train.jsonl:1", "train.jsonl:3"])
    assert [examples.where(i) for i in range(2)] == ["train.jsonl:2", "train.jsonl:4"]


def test_no_more_than_five_of_them_are_named(tmp_path: Path) -> None:
    examples = ExampleFile(save(tmp_path, *[[]] * 7, ["a"]))
    assert (examples.dropped, len(examples.dropped_where)) == (7, 5)


def test_a_positive_without_text_is_none(tmp_path: Path) -> None:
    [example] = ExampleFile(save(tmp_path, ["", "a", " ", "b"]))
    assert example.positives == (Candidate("a", "a"), Candidate("b", "b"))


def test_rows_with_the_same_first_positive_have_the_same_key(tmp_path: Path) -> None:
    examples = ExampleFile(save(tmp_path, ["a"], ["b"], [], ["", "a "], ["b", "a"]))
    first, second = examples.keys[:2].tolist()
    assert first != second
    assert examples.keys.tolist() == [first, second, first, second]


def test_a_file_without_anything_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a file with positive passages"):
        ExampleFile(save(tmp_path, [], [""]))


def test_an_empty_array_is_refused_alike(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="name a file with positive passages"):
        ExampleFile(path)


def test_a_broken_row_is_named_by_its_line(tmp_path: Path) -> None:
    path = save(tmp_path, ["a"])
    path.write_text(path.read_text() + '{"question": 3}\n')
    with pytest.raises(FormatError, match=r"train.jsonl:2: .*question"):
        ExampleFile(path)
