"""What a reader is trained on: examples and results, and which of their passages answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dprkit.data.folds import Fold
from dprkit.data.reader_rows import ReaderFile
from dprkit.errors import FormatError

EXAMPLE = {
    "question": "who wrote hamlet",
    "answers": ["Shakespeare", "The Bard", "Shakespeare"],
    "positive_ctxs": [
        {"title": "Hamlet", "text": "A play by Shakespeare.", "passage_id": 1},
        {"title": "Hamlet", "text": "A play of 1600.", "passage_id": 2},
        {"title": "Bard", "text": "He is the bard of Avon.", "passage_id": 3},
    ],
    "negative_ctxs": [{"title": "Pub", "text": "Shakespeares Arms", "passage_id": 4}],
    "hard_negative_ctxs": [
        {"title": "Macbeth", "text": "Also by SHAKESPEARE", "passage_id": 5},
        {"title": "Faust", "text": "A play by Goethe.", "passage_id": 6},
        {"title": "", "text": "  ", "passage_id": 7},
    ],
}


def ranking(*hits: tuple[str, str, str, bool | None], **more: object) -> dict[str, object]:
    ctxs = [
        {"id": id_, "title": title, "text": text, "score": -rank}
        | ({} if flag is None else {"has_answer": flag})
        for rank, (id_, title, text, flag) in enumerate(hits)
    ]
    return {
        "id": "1",
        "question": "who wrote hamlet",
        "answers": ["Shakespeare"],
        "ctxs": ctxs,
    } | more


def saved(path: Path, *rows: object) -> ReaderFile:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ReaderFile(path)


def ids(passages) -> list[str]:
    return [passage.id for passage in passages]


def test_an_examples_positives_hold_an_answer_and_its_negatives_none(tmp_path):
    (row,) = saved(tmp_path / "a.jsonl", EXAMPLE)
    assert ids(row.positives) == ["1", "3"] and row.gold == 1
    assert ids(row.negatives) == ["6", "4"]  # hard ones first; "Shakespeares" is another word
    assert ids(row.passages) == ["1", "2", "3", "5", "6", "4"]
    assert row.holding == (True, False, True, True, False, False)
    assert row.answers == ("Shakespeare", "The Bard")


def test_an_examples_first_positive_without_an_answer_is_not_gold(tmp_path):
    positives = EXAMPLE["positive_ctxs"][1:]
    (row,) = saved(tmp_path / "a.jsonl", EXAMPLE | {"positive_ctxs": positives})
    assert ids(row.positives) == ["3"] and row.gold == 0


def test_results_are_read_as_they_are(tmp_path):
    row = ranking(
        ("a", "Pub", "An inn.", None),
        ("b", "Hamlet", "By Shakespeare.", None),
        ("c", "Faust", "No answer, but the file says so.", True),
        ("d", "Macbeth", "By Shakespeare too.", False),
        gold=["d"],
    )
    (row,) = saved(tmp_path / "results.jsonl", row)
    assert ids(row.positives) == ["d", "b"] and row.gold == 1
    assert ids(row.negatives) == ["a"]  # what has_answer says by another kind of matching counts
    assert ids(row.passages) == ["a", "b", "c", "d"]


def test_a_passage_of_the_gold_passages_page_is_gold_where_that_has_no_answer(tmp_path):
    row = ranking(
        ("a", "Faust", "Not by Shakespeare.", None),
        ("b", " HAMLET", "By Shakespeare.", None),
        ("c", "Hamlet", "A play.", None),
        gold=["c"],
    )
    (row,) = saved(tmp_path / "results.jsonl", row)
    assert ids(row.positives) == ["b", "a"] and row.gold == 1


def test_a_results_artifact_and_an_array_are_read(tmp_path):
    row = ranking(("a", "", "By Shakespeare.", None))
    (tmp_path / "results.jsonl").write_text(json.dumps([row]))
    assert ids(ReaderFile(tmp_path)[0].positives) == ["a"]


def test_rows_of_a_fold_are_as_if_not_there(tmp_path):
    rows = [EXAMPLE | {"question": f"question {i}?"} for i in range(40)]
    path = tmp_path / "a.jsonl"
    whole = saved(path, *rows)
    parts = [ReaderFile(path, leave_out=Fold(i, 2)) for i in (1, 2)]
    assert [p.left_out for p in parts] == [len(parts[1]), len(parts[0])]
    kept = {row.question for part in parts for row in part}
    assert len(kept) == len(whole) == 40 and not {r.question for r in parts[0]} & {
        r.question for r in parts[1]
    }
    assert parts[0].where(0).startswith("a.jsonl:")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            ranking(("a", "t", "Shakespeare", None), ("b", "t", "", None)),
            "'b' at rank 2 has no text",
        ),
        ({"question": "q", "ctxs": [{"id": "a", "score": "high"}]}, "'high' at rank 1 is not a"),
        ({"question": "q", "ctxs": [{"id": "a", "score": 1}, {"id": "a", "score": 1}]}, "2 times"),
        ({"question": "q"}, "neither a training example"),
        ({"question": "q", "positive_ctxs": [{"title": "no text"}]}, "lacks the field text"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_its_line(tmp_path, row, told):
    with pytest.raises(FormatError, match=told) as error:
        saved(tmp_path / "a.jsonl", row)
    assert "a.jsonl:1" in str(error.value)


def test_an_answer_that_every_passage_would_hold_is_named_with_its_line(tmp_path):
    file = saved(tmp_path / "a.jsonl", EXAMPLE, EXAMPLE | {"answers": ["x", " "]})
    with pytest.raises(FormatError, match=r"a\.jsonl:2: the answer ' ' has no letter"):
        file[1]


def test_nan_is_no_score(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "q", "ctxs": [{"id": "a", "score": NaN}]}\n')
    with pytest.raises(FormatError, match=r"a\.jsonl:1.*NaN stands for a number"):
        ReaderFile(tmp_path / "a.jsonl")
