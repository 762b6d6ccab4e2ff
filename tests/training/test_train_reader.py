"""`train-reader`: what it learns and refuses, and that a stopped run ends with the same bytes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dprkit.data.reader_rows import ReaderFile
from dprkit.errors import SettingsError
from dprkit.models.reading import load_reader
from dprkit.progress import Run
from dprkit.settings import TrainReaderSettings
from dprkit.store.manifests import read_manifest
from dprkit.training.reader_batches import Draw, ReaderMixture, drawn
from dprkit.training.train_reader import train_reader
from tests.conftest import DPRKIT, call, environment
from tests.interop.foreign import save_bert
from tests.training.test_train import StopAtStep, content

SMALL = {"passages": 3, "passage_max_length": 24, "dropout": 0.1, "batch_size": 8, "lr": 0.02}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]


def example(dice: random.Random, number: int) -> dict:
    """An answer is one of x y z behind a k; texts are of other letters."""

    def text(answer: str = "") -> str:
        words = dice.choices("abcdefgh", k=dice.randint(4, 9))
        if answer:
            words[dice.randrange(len(words)) :] = ["k", answer, *dice.choices("abcdefgh", k=2)]
        return " ".join(words)

    answer = dice.choice("xyz")
    negatives = [{"title": "c", "text": text(), "passage_id": f"n{number}-{i}"} for i in range(4)]
    return {
        "question": f"who {' '.join(dice.choices('abcd', k=3))}",
        "answers": [answer],
        "positive_ctxs": [{"title": "c", "text": text(answer), "passage_id": f"p{number}"}],
        "hard_negative_ctxs": negatives,
    }


def as_results(row: dict, number: int) -> dict:
    passages = [*row["positive_ctxs"], *row["hard_negative_ctxs"]]
    ctxs = [
        {"id": p["passage_id"], "title": p["title"], "text": p["text"], "score": -i}
        for i, p in enumerate(passages)
    ]
    return {"id": str(number), "question": row["question"], "answers": row["answers"], "ctxs": ctxs}


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with start/, a BERT, with train.jsonl, valid.jsonl, and both as results."""
    folder = tmp_path_factory.mktemp("reader")
    save_bert(folder / "start")
    dice = random.Random(3)
    for name, count in (("train", 64), ("valid", 24)):
        rows = [example(dice, number) for number in range(count)]
        write(folder / f"{name}.jsonl", rows)
        write(folder / f"{name}-results.jsonl", [as_results(r, i) for i, r in enumerate(rows)])
    return folder


@pytest.fixture(scope="module")
def trained(place):
    """A reader that was trained by the command, and what it said."""
    result = train(place, "trained", "--max-epochs", 12, "--valid-every", 48)
    assert result.exit_code == 0, result.stderr
    return place / "trained", json.loads(result.stdout)


def train(place, output, *more, files=("train.jsonl",), as_json=True):
    given = [word for file in files for word in ("--train-file", place / file)]
    start = ("--init", place / "start", "--output-dir", place / output, *["--json"] * as_json)
    return call("train-reader", *given, *start, *FLAGS, *more)


def settings(place, output, **more) -> TrainReaderSettings:
    base = {"max_epochs": 2, "valid_every": "5", "checkpoint_every": "never"} | SMALL | more
    where = {"init": str(place / "start"), "output_dir": str(place / output)}
    return TrainReaderSettings(**{"train_file": (str(place / "train.jsonl"),)} | where | base)


# --- what it learns -------------------------------------------------------------------------------


def test_a_trained_reader_answers(place, trained):
    folder, report = trained
    assert report["valid_before"]["exact_match"] < 0.5 < 0.9 < report["valid"]["exact_match"]
    assert report["valid"]["accuracy"] > 0.9 and report["questions"] == 64
    assert report["losses"][-1] < 0.3 * report["losses"][0]
    assert {"README.md", "curves.svg", "metrics.jsonl"} <= {p.name for p in folder.iterdir()}
    assert "train-reader:" in (folder / "README.md").read_text()
    assert call("info", folder, "--check").exit_code == 0
    question = write(place / "asked.jsonl", [as_results(example(random.Random(9), 1), 1)])
    read = call("read", "--reader", folder, "--results", question, "-o", place / "answers.jsonl")
    assert read.exit_code == 0, read.stderr
    (line,) = (place / "answers.jsonl").read_text().splitlines()
    answer = json.loads(line)
    assert [best["text"] for best in answer["best"]][:1] == answer["answers"]


def test_it_is_left_alone_when_it_is_up_to_date_and_tells_the_same(place, trained):
    before = (trained[0] / "manifest.json").read_bytes()
    told = train(place, "trained", "--max-epochs", 12, "--valid-every", 48, as_json=False)
    assert told.exit_code == 0, told.stderr
    assert "gold_exact_match" in told.stdout + told.stderr
    assert (trained[0] / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_results_teach_what_the_same_examples_teach(place):
    made = [
        train_reader(settings(place, name, valid_every="never", max_steps=3, **more))
        for name, more in (
            ("of-examples", {}),
            ("of-results", {"train_file": (str(place / "train-results.jsonl"),)}),
        )
    ]
    assert made[0].losses == made[1].losses
    assert content(place / "of-examples") == content(place / "of-results")


def test_a_reader_goes_on_from_a_reader(place, trained):
    done = train(place, "goes-on", "--init", trained[0], "--max-epochs", 0)
    assert done.exit_code == 0, done.stderr
    heads = [load_file(folder / "heads.safetensors") for folder in (place / "goes-on", trained[0])]
    assert all(np.array_equal(heads[0][name], heads[1][name]) for name in heads[0])


@pytest.mark.slow
def test_a_fold_is_left_out(place):
    done = train(place, "part", "--leave-out", "1/2", "--max-steps", 1, "--valid-every", "never")
    report = json.loads(done.stdout)
    assert 10 < report["questions"] < 54
    assert f"fold 1/2 is left out: {64 - report['questions']} of 64 questions" in done.stderr


def test_a_file_with_a_weight_is_seen_more_often(place):
    files = [ReaderFile(place / name) for name in ("train.jsonl", "valid-results.jsonl")]
    usable = [np.arange(4, 64), np.arange(24)]
    mixture = ReaderMixture(files, [2, 0.5], usable)
    epochs = [mixture.epoch(number, seed=0) for number in range(2)]
    for rows in epochs:
        own = [np.sort(rows[rows[:, 0] == file, 1]) for file in (0, 1)]
        assert np.array_equal(own[0], np.repeat(usable[0], 2))
        assert len(own[1]) == len(set(own[1])) == 12
    assert not np.array_equal(*epochs) and len(mixture) == 132
    with pytest.raises(SettingsError, match="leaves none of its 24 rows"):
        ReaderMixture(files[1:], [0.01], usable[1:])


# --- which passages -------------------------------------------------------------------------------


def test_the_passages_of_a_question_change_with_the_epoch_and_keep_their_rules(place, trained):
    row = ReaderFile(place / "train.jsonl")[0]
    tokens = load_reader(trained[0]).tokens
    draws = [drawn(row, Draw(3, 0), tokens, (0, 0, epoch)) for epoch in range(8)]
    assert all(draw.positive == row.positives[0] and len(draw.passages) == 3 for draw in draws)
    assert all(not {"x", "y", "z"} & set(p.text.split()) for d in draws for p in d.negatives)
    assert len({tuple(p.id for p in draw.negatives) for draw in draws}) > 3
    again = drawn(row, Draw(3, 0), tokens, (0, 0, 5))
    assert [p.id for p in again.passages] == [p.id for p in draws[5].passages]
    top = [drawn(row, Draw(2, 0, among=1), tokens, (0, 0, epoch)) for epoch in range(4)]
    assert {draw.negatives[0].id for draw in top} == {row.negatives[0].id}


def test_a_positive_that_the_length_cuts_is_passed_over_for_one_that_has_its_answer(
    tmp_path, trained
):
    row = example(random.Random(1), 0)
    cut = {"title": "", "text": "a " * 40 + row["answers"][0], "passage_id": "cut"}
    row["positive_ctxs"] = [cut, *row["positive_ctxs"]]
    (row,) = ReaderFile(write(tmp_path / "a.jsonl", [row]))
    tokens = load_reader(trained[0]).tokens
    assert row.gold == 1 and row.positives[0].id == "cut"
    assert drawn(row, Draw(3, 0), tokens, (1,)).positive.id == "p0"


# --- a stopped run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stop", [pytest.param(1, marks=pytest.mark.slow), 5, pytest.param(9, marks=pytest.mark.slow)]
)
def test_a_stopped_training_ends_with_the_same_bytes(place, stop):
    train_reader(settings(place, "whole"))
    with pytest.raises(KeyboardInterrupt):
        train_reader(settings(place, f"broken-{stop}"), Run(StopAtSteps(stop)))
    train_reader(settings(place, f"broken-{stop}"))
    assert content(place / "whole") == content(place / f"broken-{stop}")


class StopAtSteps(StopAtStep):
    """Counts steps alone: questions that are looked at come without figures."""


@pytest.mark.slow
def test_workers_make_the_same_batches(place):
    train_reader(settings(place, "whole"))
    train_reader(settings(place, "by-workers", num_workers=1))
    assert content(place / "whole") == content(place / "by-workers")


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_bytes(place):
    train_reader(settings(place, "whole"))
    given = ("--train-file", "train.jsonl", "--init", "start", "--output-dir", "killed", *FLAGS)
    more = ("--max-epochs", "2", "--valid-every", "5", "--checkpoint-every", "2")
    words = [*DPRKIT, "train-reader", *given, *more]
    process = subprocess.Popen(words, cwd=place, env=environment(), stderr=subprocess.DEVNULL)
    metrics = place / "killed/metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("loss") > 6):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    subprocess.run(words, cwd=place, env=environment(), check=True, capture_output=True)
    assert content(place / "whole") == content(place / "killed")


@pytest.mark.slow
def test_two_processes_and_gradient_caching_learn_what_one_graph_learns(place):
    few = {"max_epochs": 1, "max_steps": 4, "lr": 0.003, "valid_every": "never"}
    train_reader(settings(place, "plain", dropout=0.0, **few))
    train_reader(settings(place, "cached", chunk_size="4", dropout=0.0, **few))
    given = ("--train-file", "train.jsonl", "--init", "start", "--output-dir", "two", *FLAGS)
    more = [f"--{name.replace('_', '-')}={value}" for name, value in few.items()]
    words = [*DPRKIT, "train-reader", *given, *more, "--dropout", "0", "--num-processes", "2"]
    subprocess.run(words, cwd=place, env=environment(), check=True, capture_output=True)
    for name in ("two", "cached"):
        losses = [read_manifest(place / other).counts["losses"] for other in (name, "plain")]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        np.testing.assert_allclose(said(place / name), said(place / "plain"), atol=1e-4)


def said(folder: Path) -> np.ndarray:
    """What a reader says of some passages, but for what is the same of all tokens or passages.

    Some weights, such as the last bias, change that alone: their gradients are but rounding.
    """
    row = example(random.Random(2), 0)
    passages = [(p["title"], p["text"]) for p in row["hard_negative_ctxs"]]
    found = load_reader(folder).logits([row["question"]] * len(passages), passages)
    relevance = np.array([one.relevance for one in found])
    sides = [side - side.mean() for one in found for side in (one.start, one.end)]
    return np.concatenate([relevance - relevance.mean(), *sides])


# --- bad input ------------------------------------------------------------------------------------


def changed(row: dict, **fields: object) -> dict:
    return row | fields


@pytest.mark.parametrize(
    ("rows", "more", "told"),
    [
        (lambda row: [changed(row, answers=["w"])] * 2, (), "2 have no passage with one of their"),
        (lambda row: [changed(row, answers=[])], (), "1 name no answer"),
        (lambda row: [row], ("--init", "nothing/here"), "nothing/here"),
        (lambda row: [row], ("--span-weight", 0, "--relevance-weight", 0), "nothing is learned"),
        (lambda row: [row], ("--leave-out", "3/2"), "--leave-out 3/2"),
        (lambda row: [row], ("--passage-max-length", 301), "at most 300 tokens"),
        (lambda row: [row], ("--valid-every", "never", "--patience", 2), "--patience counts"),
        (lambda row: [{"id": "1", "question": "q", "ctxs": [{"id": "a", "score": 1}]}], (), ":1: "),
        (lambda row: [row, changed(row, answers=["."])], (), "a.jsonl"),
        (lambda row: [changed(row, positive_ctxs=5)], (), "a.jsonl:1: the field positive_ctxs"),
    ],
)
def test_bad_input_is_told_in_a_line(place, tmp_path, rows, more, told):
    write(tmp_path / "a.jsonl", rows(example(random.Random(5), 1)))
    start = ("--init", place / "start", "--output-dir", tmp_path / "r", "--max-steps", 1)
    result = call("train-reader", "--train-file", tmp_path / "a.jsonl", *start, *FLAGS, *more)
    if told != "a.jsonl":  # "." is an answer with a sign, which no text here has
        assert result.exit_code != 0 and told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_start_is_needed(tmp_path):
    result = call("train-reader", "--train-file", "a.jsonl", "--output-dir", tmp_path / "r")
    assert result.exit_code != 0 and "--init" in result.stderr


def test_rows_that_teach_nothing_are_counted_and_lists_of_one_passage_teach_spans(place):
    dice = random.Random(7)
    rows = [example(dice, number) for number in range(6)]
    rows[1]["hard_negative_ctxs"] = []
    rows[2] = {**as_results(rows[2], 2), "ctxs": as_results(rows[2], 2)["ctxs"][:1]}
    rows[3]["answers"] = ["w"]
    for part in rows[4]["hard_negative_ctxs"]:
        part["text"] = rows[4]["positive_ctxs"][0]["text"]  # all hold the answer
    write(place / "odd.jsonl", [rows[0], *rows[3:]])
    write(place / "odd-single.jsonl", [rows[1]])
    write(place / "odd-results.jsonl", [rows[2]])
    files = ("odd.jsonl", "odd-single.jsonl", "odd-results.jsonl")
    result = train(place, "odd", "--max-steps", 2, "--valid-every", "never", files=files)
    report = json.loads(result.stdout)
    assert report["questions"] == 5 and report["dropped"] == 1
    assert "1 have no passage with one of their answers (odd.jsonl:2)" in result.stderr
    assert result.stderr.count("have no passage without an answer") == 3
    assert all(np.isfinite(report["losses"]))


def test_a_passage_that_a_row_has_twice_is_read_once_in_a_validation(place):
    rows = [json.loads(line) for line in (place / "valid.jsonl").read_text().splitlines()]
    for row in rows:
        row["negative_ctxs"] = row["hard_negative_ctxs"]
    write(place / "twice.jsonl", rows)
    found = []
    for name in ("valid", "twice"):
        file = place / f"{name}.jsonl"
        more = ("--valid-file", file, "--valid-passages", 9, "--max-steps", 1, "--valid-every", 1)
        result = train(place, f"read-{name}", *more)
        assert result.exit_code == 0, result.stderr
        before = json.loads(result.stdout)["valid_before"]
        found.append([before[figure] for figure in ("exact_match", "f1", "accuracy")])
    assert found[0] == found[1]
