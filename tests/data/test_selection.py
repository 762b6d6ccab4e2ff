"""select-data on files small enough to work out by hand what it must keep."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dprkit.data import streams
from dprkit.data.examples import read_examples
from dprkit.data.selection import SelectReport, normalise, select_data
from dprkit.errors import FormatError, InputError, SettingsError
from dprkit.progress import Progress, Run
from dprkit.settings import SelectSettings
from dprkit.store.manifests import read_manifest
from tests.conftest import call

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
with_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")


def passage(id_: str) -> dict[str, Any]:
    return {"title": f"Title {id_}", "text": f'"text" of {id_}', "score": 1.50, "passage_id": id_}


def row(question: str, positives: int = 1, hard: int = 1, negatives: int = 1) -> dict[str, Any]:
    return {
        "dataset": "made",
        "question": question,
        "answers": ["é", "it's"],
        "positive_ctxs": [passage(f"{question}-p{i}") for i in range(positives)],
        "negative_ctxs": [passage(f"n{i}") for i in range(negatives)],
        "hard_negative_ctxs": [passage(f"{question}-h{i}") for i in range(hard)],
    }


def rows_from(first: int, count: int) -> list[dict[str, Any]]:
    return [row(f"q{n}") for n in range(first, first + count)]


def save(folder: Path, rows: list[dict[str, Any]], name: str = "source.json") -> Path:
    path = folder / name
    if name.endswith("jsonl"):
        path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows))
    else:
        path.write_text(json.dumps(rows, ensure_ascii=False))
    return path


class Chosen:
    """What a selection wrote and reported."""

    def __init__(self, path: Path, report: SelectReport) -> None:
        self.report = report
        self.lines = path.read_bytes().splitlines(keepends=True)
        self.rows = [json.loads(line) for line in self.lines]
        self.questions = [one["question"] for one in self.rows]


def select(*sources: Path, run: Run = Run(), **given: Any) -> Chosen:
    output = sources[0].parent / "selected.jsonl"
    settings = SelectSettings(sources=tuple(map(str, sources)), output=str(output), **given)
    return Chosen(output, select_data(settings, run))


def select_into(folder: Path, *sources: Path, run: Run = Run(), **given: Any) -> SelectReport:
    settings = SelectSettings(
        sources=tuple(map(str, sources)), output_dir=str(folder / "sets"), **given
    )
    return select_data(settings, run)


def questions_in(path: Path) -> list[str]:
    return [json.loads(line)["question"] for line in path.read_text().splitlines()]


class Notes(Progress):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: str) -> None:
        self.told.append(message)


# --- which rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["source.json", "source.jsonl"])
def test_the_first_rows_are_kept_in_the_files_order(tmp_path: Path, name: str) -> None:
    found = select(save(tmp_path, rows_from(0, 10), name), num_items=3)
    assert found.rows == rows_from(0, 3)
    assert (found.report.read, found.report.kept, found.report.dropped) == (3, 3, {})
    assert found.report.outputs == [str(tmp_path / "selected.jsonl")]


def test_all_rows_are_kept_where_no_number_is_given(tmp_path: Path) -> None:
    found = select(save(tmp_path, rows_from(0, 10)))
    assert found.rows == rows_from(0, 10)
    assert found.report.notes == []


def test_by_default_a_row_needs_passages_of_all_three_kinds(tmp_path: Path) -> None:
    rows = [row("a", 0), row("b", hard=0), row("c"), row("d", negatives=0), row("e", 0, 0, 0)]
    rows.append({"question": "f", "positive_ctxs": [passage("1")]})
    found = select(save(tmp_path, rows))
    assert found.questions == ["c"]
    assert found.report.read == 6
    assert found.report.dropped == {"no positive": 2, "no hard negative": 1, "no negative": 2}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"require": ()}, "abcd"),
        ({"require": ("positive",)}, "bcd"),
        ({"require": ("positive", "hard_negative")}, "bd"),
        ({"require": ("negative",)}, "acd"),
        ({"require": (), "min_positives": 2}, "cd"),
        ({"require": (), "min_hard_negatives": 3}, "d"),
        ({"require": (), "min_negatives": 2}, "d"),
        ({"require": ("positive",), "min_positives": 2, "min_negatives": 1}, "cd"),
    ],
)
def test_the_filter_can_be_changed(tmp_path: Path, given: dict[str, Any], kept: str) -> None:
    rows = [
        row("a", positives=0, hard=2, negatives=1),
        row("b", positives=1, hard=1, negatives=0),
        row("c", positives=2, hard=0, negatives=1),
        row("d", positives=3, hard=3, negatives=3),
    ]
    assert "".join(select(save(tmp_path, rows), **given).questions) == kept


def test_rows_dropped_for_too_few_passages_are_counted_under_their_reason(tmp_path: Path) -> None:
    rows = [row("a", 1), row("b", 2), row("c", 3), row(" ", 3), row("d", 0)]
    report = select(save(tmp_path, rows), min_positives=3).report
    assert report.dropped == {"fewer than 3 positives": 3, "empty question": 1}
    assert (report.read, report.kept) == (5, 1)


def test_the_offset_passes_over_rows_that_qualify(tmp_path: Path) -> None:
    rows = [row("bad", 0), *rows_from(0, 3), row("bad", 0), *rows_from(3, 5)]
    found = select(save(tmp_path, rows), num_items=2, offset=4)
    assert found.questions == ["q4", "q5"]
    assert found.report.dropped == {"no positive": 2, "before the offset": 4}
    first = select(save(tmp_path, rows), num_items=4)
    assert not set(first.questions) & set(found.questions)


def test_sources_are_read_one_after_the_other(tmp_path: Path) -> None:
    first = save(tmp_path, rows_from(0, 3), "a.json")
    second = save(tmp_path, rows_from(3, 3), "b.jsonl")
    assert select(first, second, num_items=5).questions == ["q0", "q1", "q2", "q3", "q4"]


def test_too_few_rows_are_taken_and_told(tmp_path: Path) -> None:
    notes = Notes()
    rows = [*rows_from(0, 3), row("bad", 0)]
    found = select(save(tmp_path, rows), num_items=500, run=Run(notes))
    assert found.questions == ["q0", "q1", "q2"]
    assert (found.report.read, found.report.kept) == (4, 3)
    assert len(notes.told) == len(found.report.notes) == 1
    assert "asked for 500 rows, kept 3" in notes.told[0]


def test_an_empty_array_gives_an_empty_file(tmp_path: Path) -> None:
    found = select(save(tmp_path, []), num_items=1)
    assert found.lines == []
    assert (found.report.read, found.report.kept) == (0, 0)


@pytest.mark.parametrize(
    ("question", "same"),
    [
        ("Who wrote It?", "who  wrote it"),
        ("l’été, “déjà”", "L'été déjà!"),
        ("STRASSE", "straße"),
        ("ﬁve １２", "five 12"),
        ("cafe\u0301", "café"),
        ("a_b", "a b"),
    ],
)
def test_questions_are_compared_without_case_and_punctuation(question: str, same: str) -> None:
    assert normalise(question) == normalise(same)


@pytest.mark.parametrize(
    ("question", "other"),
    [("who wrote it", "who wrote them"), ("1 2", "12"), ("काम", "कीमा"), ("किताब", "कताब")],
)
def test_questions_that_differ_in_letters_or_marks_stay_apart(question: str, other: str) -> None:
    assert normalise(question) != normalise(other)


def test_dedupe_keeps_the_first_of_equal_questions(tmp_path: Path) -> None:
    rows = [row("Who?", 1), row("what"), row("who", 2), row(" WHO ?! ", 3), row("why")]
    found = select(save(tmp_path, rows), dedupe=True)
    assert found.questions == ["Who?", "what", "why"]
    assert found.report.dropped == {"question seen before": 2}
    assert len(select(save(tmp_path, rows)).rows) == 5


def test_a_row_that_is_dropped_does_not_stand_in_the_way_of_its_double(tmp_path: Path) -> None:
    assert select(save(tmp_path, [row("who", 0), row("Who?")]), dedupe=True).questions == ["Who?"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test.qa.csv", "Q1?\t['a']\nq3\t[]\n"),
        ("test.jsonl", '{"question": "Q1?"}\n{"question": "q3"}\n'),
        ("test.json", json.dumps([row("q1"), row("q3")])),
        ("test.txt", "Q1?\nq3"),
    ],
)
def test_excluded_questions_are_dropped_whatever_file_names_them(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    found = select(save(tmp_path, rows_from(0, 5)), exclude=(str(tmp_path / name),))
    assert found.questions == ["q0", "q2", "q4"]
    assert found.report.dropped == {"excluded question": 2}


# --- drawn rows -----------------------------------------------------------------------------------


def test_a_seed_draws_the_same_rows_again_and_another_seed_others(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 200))
    first = select(source, num_items=20, shuffle=True, seed=5)
    assert first.lines == select(source, num_items=20, shuffle=True, seed=5).lines
    assert first.lines != select(source, num_items=20, shuffle=True, seed=6).lines
    assert len(set(first.questions)) == 20
    assert first.report.read == 200


def test_drawing_all_rows_changes_their_order_alone(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 50))
    for given in ({}, {"num_items": 50}, {"num_items": 80}):
        found = select(source, shuffle=True, seed=1, **given)
        assert found.questions != [f"q{n}" for n in range(50)]
        assert sorted(found.questions) == sorted(f"q{n}" for n in range(50))


def test_every_row_is_drawn_equally_often_and_at_every_place(tmp_path: Path) -> None:
    source = save(tmp_path, [row(f"{n}") for n in range(8)], "source.jsonl")
    draws, items = 1600, 2
    counts: Counter[tuple[int, int]] = Counter()
    for seed in range(draws):
        found = select(source, num_items=items, shuffle=True, seed=seed).questions
        counts.update((int(question), place) for place, question in enumerate(found))
    expected = draws / 8
    cells = [counts[number, place] for number in range(8) for place in range(items)]
    chi_square = sum((count - expected) ** 2 / expected for count in cells)
    # 2 x 7 degrees of freedom: a fair draw passes 36.1 once in a thousand (the seeds are fixed).
    assert chi_square < 36.1


def test_only_rows_that_qualify_are_drawn(tmp_path: Path) -> None:
    rows = [row(f"{n}", positives=n % 2) for n in range(40)]
    found = select(save(tmp_path, rows), shuffle=True, num_items=30, dedupe=True, offset=2)
    assert len(found.rows) == 18
    assert all(int(question) % 2 for question in found.questions)


# --- sets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"shuffle": True, "seed": 3}])
def test_the_sets_of_a_split_share_no_row(tmp_path: Path, given: dict[str, Any]) -> None:
    source = save(tmp_path, rows_from(0, 100))
    report = select_into(tmp_path, source, split={"train": 50, "valid": 20, "test": 10}, **given)
    sets = {name: questions_in(tmp_path / f"sets/{name}.jsonl") for name in report.sets}
    assert {name: len(found) for name, found in sets.items()} == report.sets
    assert report.sets == {"train": 50, "valid": 20, "test": 10}
    together = [question for found in sets.values() for question in found]
    assert len(set(together)) == 80 == report.kept
    if not given:
        assert together == [f"q{n}" for n in range(80)]
        assert report.read == 80
    assert report.outputs == [str(tmp_path / f"sets/{name}.jsonl") for name in sets]


@pytest.mark.parametrize(
    ("split", "num_items", "sizes"),
    [
        ({"train": 120, "valid": 60, "test": 60}, 100, [50, 25, 25]),
        ({"train": 120, "valid": 60, "test": 60}, 500, [120, 60, 60]),
        ({"a": 3, "b": 3, "c": 3}, 5, [2, 1, 2]),
        ({"train": 1000, "valid": 1}, 20, [19, 1]),
        ({"a": 1, "b": 1}, 2, [1, 1]),
    ],
)
def test_num_items_scales_the_sets_of_a_split_down_to_it(
    tmp_path: Path, split: dict[str, int], num_items: int, sizes: list[int]
) -> None:
    source = save(tmp_path, rows_from(0, 300))
    report = select_into(tmp_path, source, split=split, num_items=num_items)
    assert list(report.sets.values()) == sizes


def test_sets_that_run_short_are_filled_in_order_and_told(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 9))
    report = select_into(tmp_path, source, split={"train": 4, "valid": 4, "test": 4})
    assert report.sets == {"train": 4, "valid": 4, "test": 1}
    assert report.notes == ["asked for 12 rows, kept 9 (train 4, valid 4, test 1)"]


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ({"train": 6, "valid": 4, "test": 4}, "6 rows qualify and 14 are asked for, so that valid"),
        ({"train": "90%", "valid": "10%", "test": "rest"}, "so that test=rest would be empty"),
        ({"train": "97%", "valid": "rest"}, "6 rows qualify, so that valid=rest would be empty"),
        ({"train": "1%", "valid": 2}, "6 rows qualify, so that train=1% would be empty"),
        ({"train": "50%", "valid": 4}, "6 rows qualify, fewer than asked for"),
        ({"train": 7, "valid": "rest"}, "so that valid=rest would be empty"),
    ],
)
def test_a_set_that_would_be_empty_is_refused_and_nothing_is_written(
    tmp_path: Path, split: dict[str, int | str], problem: str
) -> None:
    source = save(tmp_path, rows_from(0, 6))
    with pytest.raises(InputError) as caught:
        select_into(tmp_path, source, split=split, passages_out=str(tmp_path / "p.tsv"))
    assert problem in str(caught.value)
    assert str(caught.value).endswith("give shares, such as train=80%,valid=10%,test=rest")
    assert files_in(tmp_path) == {"source.json"}


@pytest.mark.parametrize(
    ("split", "num_items", "sizes"),
    [
        ({"train": "80%", "valid": "10%", "test": "10%"}, None, [11, 2, 1]),  # 11.2, 12.6, 14
        ({"train": "80%", "valid": "10%", "test": "rest"}, None, [11, 2, 1]),
        ({"test": "rest", "train": 6, "valid": 3}, None, [5, 6, 3]),
        ({"train": "50%", "valid": 3, "test": "rest"}, 8, [4, 3, 1]),
        ({"train": "33.3%", "valid": "50%"}, None, [5, 7]),  # 4.66, 11.66
        ({"train": "100%"}, None, [14]),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_shares_are_of_the_rows_that_qualify(
    tmp_path: Path,
    split: dict[str, int | str],
    num_items: int | None,
    sizes: list[int],
    shuffle: bool,
) -> None:
    source = save(tmp_path, [row("bad", 0), *rows_from(0, 14), row("worse", 0)])
    given = {"num_items": num_items, "shuffle": shuffle}
    report = select_into(tmp_path, source, split=split, **given)
    assert list(report.sets.values()) == sizes
    assert (report.kept, report.read) == (sum(sizes), 16 if shuffle else report.read)
    asked = [q for name in split for q in questions_in(tmp_path / f"sets/{name}.jsonl")]
    assert len(set(asked)) == sum(sizes)
    if not shuffle:
        assert asked == [f"q{n}" for n in range(sum(sizes))]
    assert report.notes == []


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ({"a": "60%", "b": "41%"}, "--split: its shares are 101% together"),
        ({"a": "rest", "b": "rest"}, "--split: only one set can be the rest"),
    ],
)
def test_shares_that_contradict_each_other_are_refused(
    tmp_path: Path, split: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        select_into(tmp_path, save(tmp_path, rows_from(0, 9)), split=split)
    assert files_in(tmp_path) == {"source.json"}


def test_sets_of_questions_share_none_and_their_sizes_count_questions(tmp_path: Path) -> None:
    """40 questions in 100 rows: the first 20 have 4 each, in two letter cases."""
    rows = [row(f"{'Q' if n % 2 else 'q'}{n % 20}") for n in range(80)] + rows_from(20, 20)
    source = save(tmp_path, rows)
    split: dict[str, int | str] = {"train": "60%", "valid": 5, "test": "rest"}

    def sets(**given: Any) -> list[set[str]]:
        report = select_into(tmp_path, source, split=split, split_by="question", **given)
        found = [questions_in(tmp_path / f"sets/{name}.jsonl") for name in split]
        assert [*report.sets.values()] == [*map(len, found)]
        return [{normalise(question) for question in one} for one in found]

    first = sets()
    assert first[:2] == [{f"q{n}" for n in range(24)}, {f"q{n}" for n in range(24, 29)}]
    drawn = sets(shuffle=True)
    for found in (first, drawn):
        assert [*map(len, found)] == [24, 5, 11] and len(set.union(*found)) == 40
    assert drawn != first != sets(shuffle=True, seed=1) != drawn
    save(tmp_path, rows[::-1])
    assert sets(shuffle=True) == drawn  # whatever the order of the rows
    halves = {"train": "50%", "test": "50%"}
    few = select_into(tmp_path, source, split=halves, split_by="question", num_items=10)
    assert few.sets == {"train": 5, "test": 5}


def test_sets_of_more_questions_than_there_are_are_refused(tmp_path: Path) -> None:
    source = save(tmp_path, [row("q")] * 50)
    for split in ({"train": "90%", "test": "rest"}, {"train": 1, "test": 1}):
        with pytest.raises(InputError, match=r"--split: 1 questions qualify, "):
            select_into(tmp_path, source, split=split, split_by="question")
    with pytest.raises(SettingsError, match=r"--split-by question: there is no --split; give"):
        select_into(tmp_path, source, split_by="question")


def test_without_a_split_the_folder_holds_a_training_set(tmp_path: Path) -> None:
    report = select_into(tmp_path, save(tmp_path, rows_from(0, 6)), num_items=4)
    assert report.sets == {"train": 4}
    assert questions_in(tmp_path / "sets/train.jsonl") == ["q0", "q1", "q2", "q3"]


# --- what is written ------------------------------------------------------------------------------


def test_rows_are_kept_byte_for_byte(tmp_path: Path) -> None:
    odd = (
        '{ "question":"caf\\u00e9 \\/ é" ,"answers" : [],"extra":{"n":1.50,"big":1e400,"x":[[]]},'
        '"positive_ctxs":[{"text":"a\u2028b","score":"79.10"}],"hard_negative_ctxs":[{"text":""}],'
        ' "negative_ctxs":[ {"text":"😀 \\ud83d\\ude00"} ]}'
    ).encode()
    for name, whole in (("s.json", b"[\n" + odd + b"\n]"), ("s.jsonl", odd + b"\r\n")):
        source = tmp_path / name
        source.write_bytes(whole)
        assert select(source).lines == [odd + b"\n"]
        assert select(source, shuffle=True).lines == [odd + b"\n"]


def test_pretty_printed_rows_come_on_one_line_each(tmp_path: Path) -> None:
    source = tmp_path / "source.json"
    source.write_text(json.dumps(rows_from(0, 3), indent=2).replace("\n", "\r\n"))
    found = select(source)
    assert found.rows == rows_from(0, 3)
    assert len(found.lines) == 3
    assert b"1.5," in found.lines[0]


def test_pools_are_trimmed_to_their_first_passages(tmp_path: Path) -> None:
    rows = [row("a", 2, 4, 5), row("b", 1, 1, 1), {**row("c"), "more": [1.50, {"x": None}]}]
    for indent in (None, 1):
        source = tmp_path / "source.json"
        source.write_text(json.dumps(rows, indent=indent))
        found = select(source, max_hard_negatives=2, max_negatives=3)
        assert found.rows == [row("a", 2, 2, 3), *rows[1:]]
        found = select(source, max_hard_negatives=0)
        assert [len(one["hard_negative_ctxs"]) for one in found.rows] == [0, 0, 0]
        assert [len(one["negative_ctxs"]) for one in found.rows] == [5, 1, 1]


def test_trimming_leaves_the_rest_of_a_row_as_it_is_spelt(tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    contexts = '[{"text":"\\u00e9","score":1.50},{"text":"y"}]'
    source.write_text(
        f'{{"question":"q","n":1e400,"positive_ctxs":{contexts},"negative_ctxs":{contexts},'
        f'"hard_negative_ctxs":{contexts}}}\n'
    )
    [line] = select(source, max_negatives=1).lines
    cut = '"negative_ctxs":[{"text":"\\u00e9","score":1.50}]'
    assert line.decode() == source.read_text().replace(f'"negative_ctxs":{contexts}', cut, 1)


@pytest.mark.parametrize("options", [[], ["--max-hard-negatives", 1]])
def test_a_teachers_scores_stay_with_their_passages(tmp_path: Path, options: list[Any]) -> None:
    rows = rows_from(0, 3)
    for number, one in enumerate(rows):
        one["positive_ctxs"][0]["teacher_score"] = 3.25 + number
        one["hard_negative_ctxs"][0]["teacher_score"] = -1e-7
    output = tmp_path / "selected.jsonl"
    ran = call("select-data", save(tmp_path, rows), "-o", output, *options)
    assert ran.exit_code == 0, ran.output
    assert [json.loads(line) for line in output.read_text().splitlines()] == rows
    examples = list(read_examples(output))
    assert [example.positives[0].teacher_score for example in examples] == [3.25, 4.25, 5.25]
    assert {example.hard_negatives[0].teacher_score for example in examples} == {-1e-7}
    assert {example.negatives[0].teacher_score for example in examples} == {None}


def test_distinct_passages_of_the_selected_rows_are_written_as_a_dpr_tsv(tmp_path: Path) -> None:
    rows = [row("a", 2, 3, 2), row("b", 1, 1, 2), row("left out")]
    passages = tmp_path / "passages.tsv"
    found = select(
        save(tmp_path, rows), num_items=2, max_hard_negatives=2, passages_out=str(passages)
    )
    with passages.open(newline="") as file:
        cells = list(csv.reader(file, delimiter="\t"))
    wanted = {
        context["passage_id"]: [context["passage_id"], context["text"], context["title"]]
        for one in found.rows
        for pool in ("positive_ctxs", "hard_negative_ctxs", "negative_ctxs")
        for context in one[pool]
    }
    assert cells[0] == ["id", "text", "title"]
    assert sorted(cells[1:]) == sorted(wanted.values())
    assert found.report.passages == len(wanted) == 8
    assert found.report.outputs == [str(tmp_path / "selected.jsonl"), str(passages)]


def test_an_id_with_two_texts_is_told(tmp_path: Path) -> None:
    rows = [row("a"), row("b")]
    rows[1]["negative_ctxs"][0]["text"] = "another"
    passages = tmp_path / "passages.tsv"
    report = select(save(tmp_path, rows), passages_out=str(passages)).report
    assert any("share an id and differ in text" in note for note in report.notes)
    assert passages.read_text().count("\nn0\t") == 1
    assert "another" not in passages.read_text()


def test_the_selected_questions_are_written_in_either_form(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 3))
    plain, table = tmp_path / "questions.jsonl", tmp_path / "questions.csv"
    select(source, num_items=2, questions_out=str(plain))
    select(source, num_items=2, questions_out=str(table))
    assert [json.loads(line) for line in plain.read_text().splitlines()] == [
        {"id": str(n), "question": f"q{n}", "answers": ["é", "it's"], "passage_ids": [f"q{n}-p0"]}
        for n in range(2)
    ]
    with table.open(newline="") as file:
        assert list(csv.reader(file, delimiter="\t")) == [
            [f"q{n}", "['é', \"it's\"]"] for n in range(2)
        ]


def test_outputs_are_compressed_by_their_names(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 3))
    for name in ("out.jsonl.gz", "out.jsonl.zst"):
        output = tmp_path / name
        select_data(SelectSettings(sources=(str(source),), output=str(output)))
        data = output.read_bytes()
        if name.endswith(".gz"):
            text = gzip.decompress(data)
        else:
            text = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
        assert [json.loads(line) for line in text.splitlines()] == rows_from(0, 3)


# --- no more is read than is needed, nor held -----------------------------------------------------


def test_reading_stops_with_the_last_row_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHUNK", 256)
    source = save(tmp_path, rows_from(0, 20))
    source.write_bytes(source.read_bytes()[:-1] + b"\xff}} no JSON" * 500)
    for given in ({"num_items": 2}, {"num_items": 3, "offset": 4, "dedupe": True}):
        found = select(source, **given)
        assert found.report.kept == given["num_items"]
        assert found.report.read == given["num_items"] + given.get("offset", 0)
    report = select_into(tmp_path, source, split={"train": 2, "valid": 1})
    assert report.read == 3
    with pytest.raises(FormatError):
        select(source, num_items=2, shuffle=True)


def large(folder: Path) -> Path:
    """30 MB: 300 rows of 100 kB."""
    source = folder / "large.json"
    body = json.dumps([{"title": "t", "text": "word {" * 160}] * 99)[1:-1]
    with source.open("w") as file:
        for n in range(300):
            pools = f'"negative_ctxs":[{body}],"hard_negative_ctxs":[{{"text":"x"}}]'
            question = f'"question":"q{n}","positive_ctxs":[{{"text":"y"}}]'
            file.write(f"{',' if n else '['}\n{{{question},{pools}}}")
        file.write("]")
    assert source.stat().st_size > 28_000_000
    return source


@pytest.mark.parametrize("given", [{}, {"shuffle": True, "num_items": 5}])
def test_memory_is_a_row_and_a_reservoir(tmp_path: Path, given: dict[str, Any]) -> None:
    source = large(tmp_path)
    settings = SelectSettings(sources=(str(source),), output=str(tmp_path / "out.jsonl"), **given)
    select(save(tmp_path, rows_from(0, 2)))  # imports are not counted
    tracemalloc.start()
    try:
        assert select_data(settings).read == 300
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_a_reservoir_larger_than_its_memory_goes_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path, rows_from(0, 60))
    held = select(source, num_items=30, shuffle=True).lines
    monkeypatch.setattr("dprkit.data.selection.SPOOL_BYTES", 100)
    assert select(source, num_items=30, shuffle=True).lines == held


# --- bad input ------------------------------------------------------------------------------------


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def outputs(folder: Path) -> dict[str, Any]:
    return {
        "output": str(folder / "selected.jsonl"),
        "passages_out": str(folder / "passages.tsv"),
        "questions_out": str(folder / "questions.csv"),
    }


GOOD = json.dumps(row("good")).encode()
BAD = {
    "no JSON": b"question\tanswers\n",
    "empty": b"",
    "a row without a question": b"[" + GOOD + b', {"positive_ctxs": []}]',
    "a row without positives": b"[" + GOOD + b', {"question": "q"}]',
    "a wrong type": GOOD + b'\n{"question": "q", "positive_ctxs": "none"}\n',
    "a wrong passage": GOOD + b"\n" + GOOD.replace(b'"text"', b'"txet"'),
    "an answer that is no text": GOOD + b"\n" + GOOD.replace(b'"it\'s"', b"[1]"),
    "latin-1 where nobody looks": GOOD.replace(b"made", b"\xe9"),
    "latin-1 in a row to drop": GOOD
    + b"\n"
    + GOOD.replace(b"good", b" ").replace(b"made", b"\xe9"),
    "latin-1": GOOD + b"\n" + json.dumps(row("é"), ensure_ascii=False).encode("latin-1"),
    "UTF-16": (b"[" + GOOD + b"]").decode().encode("utf-16"),
    "a corrupt gzip file": gzip.compress(GOOD)[:40] + b"\x00" * 50,
    "a cut gzip file": gzip.compress(GOOD)[:-8],
    "a cut zstandard file": zstandard.compress(GOOD)[:-1],
    "more after the array": b"[" + GOOD + b"]" + GOOD,
}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_with_its_place_and_leaves_no_file(
    tmp_path: Path, data: bytes, shuffle: bool
) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    settings = SelectSettings(sources=(str(source),), shuffle=shuffle, **outputs(tmp_path))
    with pytest.raises(FormatError, match=r"source:(\d+|byte \d+): [^\n]+$"):
        select_data(settings)
    assert files_in(tmp_path) == {"source"}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_an_array_cut_off_at_any_byte_leaves_no_file(tmp_path: Path, pack: Any) -> None:
    whole = pack(json.dumps([{"question": "q", "positive_ctxs": [{"text": "é{"}]}] * 2).encode())
    source = tmp_path / "source"
    settings = SelectSettings(sources=(str(source),), require=(), **outputs(tmp_path))
    for cut in range(len(whole)):
        source.write_bytes(whole[:cut])
        with pytest.raises(FormatError, match=r"source:(\d+|byte \d+): [^\n]+$"):
            select_data(settings)
        assert files_in(tmp_path) == {"source"}
    source.write_bytes(whole)
    assert select_data(settings).kept == 2


def test_a_missing_source_and_a_directory_leave_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, problem in (("missing", "no such file"), ("folder", "is a directory")):
        settings = SelectSettings(sources=(str(tmp_path / name),), **outputs(tmp_path))
        with pytest.raises(InputError, match=problem):
            select_data(settings)
    assert files_in(tmp_path) == {"folder"}


def test_a_failed_run_leaves_the_files_of_an_earlier_one_alone(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 4))
    settings = SelectSettings(sources=(str(source),), **outputs(tmp_path))
    select_data(settings)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path != source}
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(FormatError, match="cut off"):
        select_data(settings)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path != source} == before


def test_bad_input_leaves_no_set_and_can_be_mended(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 4))
    source.write_bytes(source.read_bytes()[:-1])
    with pytest.raises(FormatError):
        select_into(tmp_path, source, split={"train": 2, "valid": 9})
    assert not list(tmp_path.rglob("*.jsonl"))
    save(tmp_path, rows_from(0, 4))
    assert select_into(tmp_path, source, split={"train": 2, "valid": 9}).kept == 4


@pytest.mark.parametrize(
    "given",
    [
        {"sources": ()},
        {"output": "same", "sources": ("same",)},
        {"output": "x", "split": {"train": 1}},
        {"output": "-", "passages_out": "-"},
        {"output": "x", "questions_out": "x"},
        {"output_dir": "x", "passages_out": "y", "questions_out": "y"},
        {"output_dir": "x", "split": {"../up": 1}},
        {"output_dir": "x", "sources": ("-",)},
        {"output_dir": "x", "split": {"a": 2, "b": 2}, "num_items": 1},
        {},
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, rows_from(0, 2), "source.json")
    with pytest.raises(SettingsError):
        select_data(SelectSettings(**{"sources": ("source.json",), **given}))
    assert files_in(tmp_path) == {"source.json"}


# --- the folder is an artifact --------------------------------------------------------------------


def test_a_second_run_finds_the_folder_up_to_date(tmp_path: Path) -> None:
    source = save(tmp_path, [*rows_from(0, 9), row("bad", 0)])
    given = {"split": {"train": 6, "valid": 6}, "passages_out": str(tmp_path / "passages.tsv")}
    first = select_into(tmp_path, source, **given)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert select_into(tmp_path, source, **given) == first
    now = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert now == stamps
    assert (first.read, first.kept, first.dropped) == (10, 9, {"no positive": 1})


def test_the_same_rows_from_another_path_are_up_to_date(tmp_path: Path) -> None:
    first = select_into(tmp_path, save(tmp_path, rows_from(0, 9)), num_items=3)
    moved = save(tmp_path, rows_from(0, 9), "moved.json")
    (tmp_path / "source.json").unlink()
    assert select_into(tmp_path, moved, num_items=3) == first


def test_a_changed_source_or_setting_makes_the_folder_anew(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 9))
    select_into(tmp_path, source, num_items=3)
    identity = read_manifest(tmp_path / "sets", "examples").identity
    save(tmp_path, rows_from(5, 9))
    assert select_into(tmp_path, source, num_items=3).kept == 3
    assert questions_in(tmp_path / "sets/train.jsonl") == ["q5", "q6", "q7"]
    assert read_manifest(tmp_path / "sets", "examples").identity != identity
    select_into(tmp_path, source, num_items=4)
    assert len(questions_in(tmp_path / "sets/train.jsonl")) == 4
    excluded = tmp_path / "excluded.txt"
    excluded.write_text("q5\n")
    select_into(tmp_path, source, num_items=4, exclude=(str(excluded),))
    assert questions_in(tmp_path / "sets/train.jsonl")[0] == "q6"
    excluded.write_text("q6\n")
    select_into(tmp_path, source, num_items=4, exclude=(str(excluded),))
    assert questions_in(tmp_path / "sets/train.jsonl")[:2] == ["q5", "q7"]


def test_equal_runs_make_equal_artifacts(tmp_path: Path) -> None:
    source = save(tmp_path, rows_from(0, 50))
    identities = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        select_into(tmp_path / name, source, split={"x": 9, "y": 9}, shuffle=True, seed=4)
        identities.append(read_manifest(tmp_path / name / "sets").identity)
    assert identities[0] == identities[1]


@pytest.mark.parametrize("option", ["passages_out", "questions_out"])
def test_a_side_output_that_is_not_there_is_made_though_the_sets_are(
    tmp_path: Path, option: str
) -> None:
    source, side = save(tmp_path, rows_from(0, 9)), tmp_path / "side.tsv"
    plain = select_into(tmp_path, source, num_items=3)
    sets = (tmp_path / "sets/train.jsonl").read_bytes()
    for _ in range(2):  # never made, then lost
        report = select_into(tmp_path, source, num_items=3, **{option: str(side)})
        assert report.outputs == [*plain.outputs, str(side)]
        assert side.stat().st_size
        assert (tmp_path / "sets/train.jsonl").read_bytes() == sets
        side.unlink()


# --- from the shell -------------------------------------------------------------------------------


def shell(*words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "dprkit", "select-data", *words]
    return subprocess.run(command, input=data, capture_output=True, timeout=60)


def test_rows_stream_through_the_command(tmp_path: Path) -> None:
    packed = zstandard.compress(json.dumps(rows_from(0, 5)).encode())
    ended = shell("-", "-o", "-", "--num-items", "2", "--quiet", data=packed)
    assert ended.returncode == 0, ended.stderr
    assert [json.loads(line) for line in ended.stdout.splitlines()] == rows_from(0, 2)


def test_the_command_reports_as_json(tmp_path: Path) -> None:
    source, output = save(tmp_path, [row("bad", 0), *rows_from(0, 5)]), tmp_path / "out.jsonl"
    ended = shell(str(source), "-o", str(output), "--num-items", "3", "--json")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["read"], report["kept"], report["dropped"]) == (4, 3, {"no positive": 1})
    assert report["outputs"] == [str(output)]
    assert report["seconds"] > 0
    assert report["peak_memory_mb"] > 0


def test_the_command_ends_bad_input_with_one_line_and_code_1(tmp_path: Path) -> None:
    source = tmp_path / "source.json"
    source.write_bytes(b"[" + GOOD)
    ended = shell(str(source), "-o", str(tmp_path / "out.jsonl"))
    assert ended.returncode == 1
    [line] = ended.stderr.decode().splitlines()
    assert f"{source}:byte {len(GOOD) + 1}: " in line
    assert files_in(tmp_path) == {"source.json"}


# --- the field's own files ------------------------------------------------------------------------


def rows_in(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) as file:
        return json.load(file)


@with_shared
@pytest.mark.parametrize("name", ["nq3_tiny", "squad1_tiny"])
def test_dprs_own_samples_are_selected_whole(tmp_path: Path, name: str) -> None:
    output = tmp_path / "out.jsonl"
    source = SHARED / f"nq_tiny/{name}.json.gz"
    report = select_data(SelectSettings(sources=(str(source),), output=str(output)))
    assert (report.read, report.kept, report.dropped) == (10, 10, {})
    assert [json.loads(line) for line in output.read_bytes().splitlines()] == rows_in(source)


@with_shared
def test_squad_rows_without_hard_negatives_are_counted(tmp_path: Path) -> None:
    source = SHARED / "squad/retriever-dev.json.gz"
    rows = rows_in(source)
    lacking = sum(not one["hard_negative_ctxs"] for one in rows)
    settings = SelectSettings(
        sources=(str(source),),
        output=str(tmp_path / "out.jsonl"),
        require=("positive", "hard_negative"),
    )
    report = select_data(settings)
    assert (report.read, report.kept) == (1280, 1280 - lacking)
    assert report.dropped == ({"no hard negative": lacking} if lacking else {})
