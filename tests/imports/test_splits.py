"""import-data --split: sets without leaks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from dprkit.errors import InputError, SettingsError
from dprkit.imports.splits import Splits
from dprkit.records import Candidate, Example
from tests.conftest import call

SHARES = {"train": "80%", "valid": "10%", "test": "rest"}


def example(question: str, title: str = "", id_: str = "p1") -> Example:
    return Example(question, (), (Candidate(id_, "text", title),))


def set_of(splits: Splits, one: Example) -> str | None:
    return splits.of([one])[0]


def test_a_set_is_decided_by_a_hash_of_the_question_alone():
    """Worked out anew: the first 8 bytes of blake2b as a share of 2^64, sets in their order."""
    splits = Splits(SHARES, seed=3)
    for number in range(500):
        digest = hashlib.blake2b(f"3 question who is {number}?".encode(), digest_size=8).digest()
        share = int.from_bytes(digest, "little") / 2**64
        expected = "train" if share < 0.8 else "valid" if share < 0.9 else "test"
        assert set_of(splits, example(f"Who is  {number}?", id_=f"p{number}")) == expected
    assert sum(splits.counts.values()) == 500
    assert 365 < splits.counts["train"] < 435


@pytest.mark.parametrize(
    ("by", "alike"),
    [
        ("title", lambda n: example(f"q{n}", f" Rivers {'of' * (n % 2)}", f"p{n}")),
        ("document", lambda n: example(f"q{n}", f"t{n}", f"a/b.md#{n}")),
    ],
)
def test_examples_of_one_group_are_of_one_set(by, alike):
    splits = Splits({"a": "50%", "b": "50%"}, by)
    sets = [set_of(splits, alike(2 * number)) for number in range(50)]
    assert len(set(sets)) == 1
    assert {set_of(splits, example(f"q{n}", f"title {n}", f"{n}.md#1")) for n in range(50)} == {
        "a",
        "b",
    }


@pytest.mark.parametrize("by", ["title", "document"])
def test_rows_of_a_question_stay_together_whatever_their_titles(by):
    """The first row decides, in whatever batches the rows come; what is parted by it is told."""
    rows = [
        example(f"{'Q' if row else 'q'}{n}", f"T{(7 * n + 3 * row) % 40}", f"d{n}-{row}#1")
        for n in range(200)
        for row in range(4)
    ]
    splits = Splits(SHARES, by)
    sets = splits.of(rows[:333]) + splits.of(rows[333:])
    alone = Splits(SHARES, by)
    assert sets == [name for name in alone.of(rows[::4]) for _ in range(4)]
    assert splits.counts == {name: 4 * count for name, count in alone.counts.items()}
    placed = list(zip(rows, sets, strict=True))
    titles = [{r.positives[0].title for r, s in placed if s == name} for name in ("train", "test")]
    told = f"train and test share {len(titles[0] & titles[1])} titles, by questions that have"
    assert [note for note in splits.notes() if note.startswith(told)] or by == "document"
    assert splits.notes() == [] or by == "title"


def test_shares_below_the_whole_leave_examples_out():
    splits = Splits({"sample": "10%"})
    sets = [set_of(splits, example(f"q{n}")) for n in range(1000)]
    assert 60 < sets.count("sample") < 140
    assert set(sets) == {"sample", None}


def test_articles_whose_examples_are_in_several_sets_are_counted():
    splits = Splits({"train": "50%", "test": "rest"})
    sets: dict[str, set[str | None]] = {}
    for number in range(200):
        title = f"Article {number % 40}"
        sets.setdefault(title, set()).add(
            set_of(splits, example(f"q{number}", title, f"p{number}"))
        )
    count = sum(len(names) > 1 for names in sets.values())
    (note,) = splits.notes()
    assert note.startswith(f"train and test share {count} articles ")
    by_title = Splits({"train": "50%", "test": "rest"}, "title")
    for number in range(200):
        set_of(by_title, example(f"q{number}", f"Article {number % 40}", f"p{number}"))
    assert by_title.notes() == []


def test_a_set_that_stays_empty_is_refused():
    splits = Splits(SHARES, "title")
    for number in range(50):
        set_of(splits, example(f"q{number}", "The same"))
    with pytest.raises(InputError, match=r"50 examples of 1 title are shared out, and \w+ and "):
        splits.check()


def test_another_seed_is_tried_after_an_empty_set_without_more_ado(empty):
    table = [f"q{n},text {n},Title {n % 3}" for n in range(60)]
    Path("pairs.csv").write_text("\n".join(["question,positive,positive_title", *table]))
    words = ("import-data", "pairs.csv", "--output-dir", "d", "--split-by", "title", "--split")
    codes = []
    for seed in range(12):
        done = call(*words, "train=60%,test=rest", "--seed", seed)
        codes.append(done.exit_code)
        assert "half done" not in done.stderr
        if done.exit_code:
            assert "60 examples of 3 titles are shared out" in done.stderr
    assert set(codes) == {0, 1}
    assert len(read_titles("d/train.jsonl") & read_titles("d/test.jsonl")) == 0


def read_titles(path):
    rows = map(json.loads, Path(path).read_text().splitlines())
    return {passage["title"] for row in rows for passage in row["positive_ctxs"]}


@pytest.mark.parametrize(
    ("shares", "problem"),
    [
        ({"train": 500, "test": "rest"}, "train=500 is a number of rows"),
        ({"train": "100%", "test": "rest"}, "nothing is left for test"),
        ({"train": "90%", "test": "20%"}, "110% together"),
        ({"a/b": "90%"}, "it becomes the file a/b.jsonl"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares, problem):
    with pytest.raises(SettingsError, match=problem):
        Splits(shares)
