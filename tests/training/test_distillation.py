"""Learning from a teacher's scores, by the commands: what is read, told and refused."""

import json

import numpy as np
import pytest

from dprkit.data.examples_by_row import ExampleFile
from dprkit.training.batches import Draw, Mixture, make_batch
from tests.conftest import call

SMALLER = ("--set", "train.scratch_hidden_size=16", "--set", "train.scratch_vocab_size=400")
FAST = (*SMALLER, "--batch-size", 8, "--hard-negatives", 2, "--valid-every", "never")


@pytest.fixture(scope="module")
def rows(tiny_examples):
    """24 rows with two hard negatives; as they are in the shipped file."""
    rows = json.loads(tiny_examples.read_text())
    return [row for row in rows if len(row["hard_negative_ctxs"]) > 1][:24]


def write(path, rows, score):
    """The rows with `score(row, passage's number)` as the teacher's; None leaves it out."""
    made = []
    for number, row in enumerate(rows):
        row = json.loads(json.dumps(row))
        for place, passage in enumerate((row["positive_ctxs"][0], *row["hard_negative_ctxs"])):
            if (value := score(number, place)) is not None:
                passage["teacher_score"] = value
        made.append(json.dumps(row))
    path.write_text("\n".join(made))
    return path


def train(path, output, *more):
    return call("train", "--train-file", path, "--output-dir", output, *FAST, *more)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["bi-encoder", "colbert"])
def test_a_model_comes_nearer_to_its_teacher(rows, tmp_path, kind):
    """A teacher that likes the positive least: the labels alone would teach the opposite."""
    size = ("--embedding-size", 8) if kind == "colbert" else ("--projection", 8)
    path = write(tmp_path / "t.jsonl", rows, lambda row, place: float(2 * place))
    more = ("--distill-weight", 1, "--max-epochs", 20, "--lr", "1e-2", "--kind", kind, *size)
    result = train(path, tmp_path / "m", *more)
    assert result.exit_code == 0, result.stderr
    losses = [line["loss"] for line in metrics(tmp_path / "m")]
    assert np.mean(losses[-6:]) < 0.75 * np.mean(losses[:3])


def test_without_a_weight_the_scores_of_a_teacher_change_nothing(rows, tmp_path):
    plain = write(tmp_path / "plain.jsonl", rows, lambda row, place: None)
    scored = write(tmp_path / "scored.jsonl", rows, lambda row, place: float(place))
    for name, path in (("a", plain), ("b", scored)):
        assert train(path, tmp_path / name, "--max-steps", 3).exit_code == 0
    one, other = (
        (tmp_path / name / "question_encoder/model.safetensors").read_bytes() for name in "ab"
    )
    assert one == other


def test_the_teacher_s_scores_stand_in_the_columns_of_a_question_s_own_passages(rows, tmp_path):
    path = write(tmp_path / "t.jsonl", rows, lambda row, place: 100.0 * row + place)
    mixture = Mixture([ExampleFile(path)], [1.0])
    batch = make_batch(mixture, [(0, 3), (0, 5)], 0, Draw(1, 0, None))
    scores = batch.teacher_scores()
    known = np.isfinite(scores)
    assert known.tolist() == [[True, True, False, False], [False, False, True, True]]
    assert scores[known].tolist() == [300, 301, 500, 501]
    np.testing.assert_array_equal(batch.targets((), taught=True)["teacher"], scores)
    assert "teacher" not in batch.targets(())


def test_questions_without_a_teacher_s_scores_are_counted_and_told(rows, tmp_path):
    path = write(tmp_path / "t.jsonl", rows, lambda row, place: float(place) if row > 4 else None)
    result = train(path, tmp_path / "m", "--max-steps", 1, "--distill-weight", 0.5)
    assert result.exit_code == 0, result.stderr
    told = " ".join(result.stderr.split())
    assert "5 of the first 24 questions have teacher's scores for fewer than two" in told


def test_files_without_any_teacher_s_scores_are_refused(rows, tmp_path):
    path = write(tmp_path / "t.jsonl", rows, lambda row, place: None)
    result = train(path, tmp_path / "m", "--max-steps", 1, "--distill-weight", 0.5)
    assert result.exit_code == 1
    assert "of the first 24 questions none has a teacher_score for two" in result.stderr


@pytest.mark.parametrize(
    ("spread", "more", "told"),
    [
        (500.0, (), "the teacher's scores are so far apart at the temperature 1"),
        (500.0, ("--teacher-temperature", 250), ""),
        (1e-4, (), "the teacher's scores are so close together at the temperature 1"),
        (1e-4, ("--distill-loss", "listwise"), ""),
        (1.0, ("--distill-temperature", 1e-6), "the model's scores are so far apart"),
    ],
)
def test_spreads_that_teach_nothing_are_told(rows, tmp_path, spread, more, told):
    path = write(tmp_path / "t.jsonl", rows, lambda row, place: spread * place)
    result = train(path, tmp_path / "m", "--max-steps", 1, "--distill-weight", 0.5, *more)
    assert result.exit_code == 0, result.stderr
    words = " ".join(result.stderr.split())
    assert told in words if told else "apart" not in words and "together" not in words
