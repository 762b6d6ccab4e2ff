"""Which questions a fold has, and that what is left out is as if it were not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from dprkit.data.examples_by_row import ExampleFile
from dprkit.data.folds import Fold, fold_of, parse_fold
from dprkit.errors import InputError, SettingsError


def save(path: Path, questions: list[str]) -> Path:
    lines = [{"question": q, "positive_ctxs": [{"text": f"of {q}"}]} for q in questions]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


QUESTIONS = [f"who wrote book {number}?" for number in range(200)]


def test_a_fold_is_a_hash_of_the_question_by_hand() -> None:
    digest = hashlib.blake2b(b"who wrote hamlet?", digest_size=8).digest()
    assert fold_of("  Who wrote\tHAMLET?", 7) == int.from_bytes(digest, "little") % 7 + 1


def test_each_question_is_of_one_fold_and_all_folds_have_about_as_many(tmp_path: Path) -> None:
    path = save(tmp_path / "train.jsonl", QUESTIONS)
    without = [ExampleFile(path, leave_out=Fold(i, 4)) for i in (1, 2, 3, 4)]
    for number, file in enumerate(without, start=1):
        kept = [question for question in QUESTIONS if fold_of(question, 4) != number]
        assert [example.question for example in file] == kept
        assert file.left_out == len(QUESTIONS) - len(kept)
        assert 30 < file.left_out < 70
        assert len(file.keys) == len(file.questions) == len(kept)
        first = QUESTIONS.index(kept[0]) + 1
        assert file.where(0) == f"train.jsonl:{first}"
    assert sum(file.left_out for file in without) == len(QUESTIONS)


def test_a_file_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "train.jsonl", ["q", "Q "])
    with pytest.raises(InputError, match=r"all 2 rows with a positive are of fold \d/2"):
        ExampleFile(path, leave_out=Fold(fold_of("q", 2), 2))


def test_a_fold_that_cannot_be_is_refused() -> None:
    assert parse_fold(None) is None
    assert parse_fold("4/4") == (4, 4)
    with pytest.raises(SettingsError, match="there must be 2 folds or more"):
        parse_fold("1/1")
    with pytest.raises(SettingsError, match="there are 4; give 1/4 to 4/4"):
        parse_fold("5/4")
