"""train --objective distill by the command: its flags, what it tells, refuses and records."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from dprkit.progress import Run
from dprkit.settings import TrainSettings
from dprkit.store.manifests import read_manifest
from dprkit.training.distill_settings import without_teacher
from dprkit.training.train import train as train_stage
from tests.conftest import call, shell
from tests.training.test_train import StopAtStep, content

FAST = ("--batch-size", 8, "--valid-every", "never", "--lr", "3e-3")
DISTILL = ("--objective", "distill", "--candidates", 4)


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def scored(tmp_path_factory, tiny_examples):
    """24 rows whose teacher likes the second passage best; every fifth has one passage alone."""
    rows = json.loads(tiny_examples.read_text())
    rows = [row for row in rows if len(row["hard_negative_ctxs"]) > 1][:24]
    random = np.random.default_rng(4)
    for number, row in enumerate(rows):
        row["negative_ctxs"] = row["negative_ctxs"][:2]
        if number % 5 == 4:
            row["hard_negative_ctxs"], row["negative_ctxs"] = [], []
        passages = [*row["positive_ctxs"], *row["hard_negative_ctxs"], *row["negative_ctxs"]]
        for place, passage in enumerate(passages):
            passage["teacher_score"] = float(random.normal() + 3 * (place == 1))
    path = tmp_path_factory.mktemp("scored") / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def settings(path, start, output, **more):
    common = {"batch_size": 8, "valid_every": "never", "lr": 3e-3, "objective": "distill"}
    given = {**common, "candidates": 4, "teacher_temperature": "auto", **more}
    return TrainSettings(train_file=(str(path),), init=str(start), output_dir=str(output), **given)


def train(path, start, output, *more):
    words = ("train", "--train-file", path, "--init", start, "--output-dir", output)
    return call(*words, *FAST, *more)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        slow("small_retriever", ("--distill-loss", "kl-reverse", "--candidates-by", "first")),
        slow("small_retriever", ("--distill-loss", "margin-mse", "--distill-temperature", 2)),
        ("small_colbert", ("--distill-loss", "listwise", "--contrastive-weight", 0.5)),
        slow("small_colbert", ("--candidates-by", "uniform", "--contrastive-weight", 0)),
    ],
)
def test_each_loss_comes_down_for_both_kinds(request, scored, tmp_path, kind, flags):
    start = request.getfixturevalue(kind)
    result = train(scored, start, tmp_path / "m", *DISTILL, *flags, "--max-epochs", 8)
    assert result.exit_code == 0, result.stderr
    steps = metrics(tmp_path / "m")
    losses = [step["distill"] for step in steps]
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    share = float(dict(zip(flags[::2], flags[1::2], strict=True)).get("--contrastive-weight", 0.2))
    for step in steps:
        total = share * step["contrastive"] + (1 - share) * step["distill"]
        assert step["loss"] == pytest.approx(total, rel=1e-4)


def test_the_temperature_is_chosen_told_and_recorded(scored, small_retriever, tmp_path):
    """And the model can be trained on."""
    auto = ("--teacher-temperature", "auto", "--teacher-entropy", 0.4, "--json", "--max-steps", 1)
    result = train(scored, small_retriever, tmp_path / "m", *DISTILL, *auto)
    assert result.exit_code == 0, result.stderr
    teacher = json.loads(result.stdout)["teacher"]
    assert teacher["entropy_share"] == pytest.approx(0.4, abs=1e-3)
    assert teacher["lists"] == 20 and 0 < teacher["first_is_positive"] < 0.6
    told = " ".join(result.stderr.split())
    assert f"the teacher's lists at the temperature {teacher['temperature']:g}: " in told
    assert "(40%); its first is a positive in" in told
    assert "4 of the first 24 questions have teacher's scores for fewer than two" in told
    notes = read_manifest(tmp_path / "m").counts["notes"]
    assert any("the teacher's lists" in note for note in notes)
    later = ("--mask-margin", 0.0, "--max-steps", 1)
    assert train(scored, tmp_path / "m", tmp_path / "later", *later).exit_code == 0


def test_a_stopped_training_ends_with_the_same_bytes(scored, small_retriever, tmp_path):
    """Chunks, the chosen temperature and masked negatives too."""
    more = {"max_steps": 5, "chunk_size": "5", "mask_margin": 0.05, "distill_loss": "margin-mse"}
    train_stage(settings(scored, small_retriever, tmp_path / "whole", **more))
    broken = settings(scored, small_retriever, tmp_path / "broken", **more)
    with pytest.raises(KeyboardInterrupt):
        train_stage(broken, Run(StopAtStep(2)))
    train_stage(broken)
    assert content(tmp_path / "whole") == content(tmp_path / "broken")


def weights(folder):
    return load_file(folder / "question_encoder/model.safetensors")


@pytest.mark.slow
def test_chunks_change_nothing(scored, small_retriever, tmp_path):
    for name, size in (("whole", None), ("chunks", "3")):
        more = {"max_steps": 3, "chunk_size": size, "mask_margin": 0.0, "dropout": 0.0}
        train_stage(settings(scored, small_retriever, tmp_path / name, **more))
    whole, chunks = metrics(tmp_path / "whole"), metrics(tmp_path / "chunks")
    for one, other in zip(whole, chunks, strict=True):
        assert one["masked"] == other["masked"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["distill"] == pytest.approx(other["distill"], rel=1e-4)
    assert sum(step["masked"] for step in whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["small_retriever", "small_colbert"])
def test_two_processes_train_as_one(request, scored, tmp_path, kind):
    start = request.getfixturevalue(kind)
    more = ("--objective", "distill", "--teacher-temperature", "auto", "--mask-margin", "0.01")
    for name, count in (("one", 1), ("two", 2)):
        words = ("train", "--train-file", scored, "--init", start, "--output-dir", name, *FAST)
        result = shell(
            *map(str, (*words, *more, "--max-steps", 4, "--num-processes", count)),
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], atol=2e-5)
    masked = [[step["masked"] for step in metrics(tmp_path / name)] for name in ("one", "two")]
    assert masked[0] == masked[1]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["NaN", "1e999", '"nan"', '"high"'])
def test_a_score_that_is_no_number_is_refused_by_its_place(
    scored, small_retriever, tmp_path, score
):
    lines = scored.read_text().splitlines()
    row = json.loads(lines[2])
    row["positive_ctxs"][0]["teacher_score"] = "HERE"
    lines[2] = json.dumps(row).replace('"HERE"', score)
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(lines))
    result = train(path, small_retriever, tmp_path / "m", *DISTILL)
    assert result.exit_code == 1 and f"{path}:3" in result.stderr, result.stderr


def test_lists_of_positives_alone_are_learned(small_retriever, tmp_path):
    """The teacher tells even those apart; the labels do not."""
    contexts = [
        [{"text": f"{name} {number}", "teacher_score": float(number)} for number in range(3)]
        for name in ("alpha", "beta")
    ]
    path = tmp_path / "t.jsonl"
    rows = [{"question": f"q{i}", "positive_ctxs": own} for i, own in enumerate(contexts)]
    path.write_text("\n".join(map(json.dumps, rows)))
    result = train(path, small_retriever, tmp_path / "m", *DISTILL, "--max-steps", 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["teacher"]["first_is_positive"] == 1
    assert metrics(tmp_path / "m")[0]["distill"] > 0


@pytest.mark.parametrize(("holes", "code"), [(24, 1), (9, 0)])
def test_margins_to_positives_without_a_score_are_told(
    holes, code, scored, small_retriever, tmp_path
):
    rows = [json.loads(line) for line in scored.read_text().splitlines()]
    for row in rows[:holes]:
        for positive in row["positive_ctxs"]:
            positive.pop("teacher_score", None)
    path = tmp_path / "holes.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    flags = (*DISTILL, "--distill-loss", "margin-mse", "--max-steps", 1)
    result = train(path, small_retriever, tmp_path / "m", *flags)
    assert result.exit_code == code, result.stderr
    told = " ".join(result.stderr.split())
    if code:
        assert "--distill-loss margin-mse: none of" in told
        kl = train(path, small_retriever, tmp_path / "kl", *DISTILL, "--max-steps", 1)
        assert "%); no positive has a score" in " ".join(kl.stderr.split())
    else:
        assert re.search(r"in \d+ of \d+ lists the positive has no teacher's score", told)
        assert "lists with a scored positive, another passage in" in told


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("--teacher-temperature 2", "--teacher-temperature is a setting of --objective distill"),
        ("--distill-temperature 2", "--distill-temperature is a setting of --objective distill"),
        ("--candidates 4", "--candidates is a setting of --objective distill"),
        ("--distill-loss kl", "--distill-loss is a setting of --objective distill"),
        ("--candidates-by first", "--candidates-by is a setting of --objective distill"),
        ("--contrastive-weight .5", "--contrastive-weight is a setting of --objective distill"),
        ("--teacher-temperature auto", "--teacher-temperature is a setting of --objective"),
        ("--objective contrastive --distill-weight 1", "--objective contrastive has no teacher"),
        ("--distill-weight .5 --contrastive-weight .5", "both say how the loss is shared"),
        ("--objective distill --teacher-entropy .5", "is what --teacher-temperature auto aims at"),
        ("--objective distill --teacher-temperature warm", "--teacher-temperature: 'warm'"),
        ("--objective distill --candidates 1", "--candidates: 1 is not valid"),
    ],
)
def test_settings_that_contradict_are_refused(scored, small_retriever, tmp_path, flags, problem):
    result = train(scored, small_retriever, tmp_path / "m", *flags.split())
    assert result.exit_code == 1 and problem in result.stderr, result.stderr


@pytest.mark.slow
def test_a_plan_tries_rows_that_have_no_scores_yet(tmp_path, tiny_examples, small_retriever):
    """With as many passages a question as there will be."""
    how = {"objective": "distill", "candidates": 4, "teacher_temperature": "auto", "max_steps": 2}
    plain = without_teacher(TrainSettings(**how))
    assert plain == TrainSettings(hard_negatives=3, max_steps=2)
    assert without_teacher(TrainSettings(max_steps=2)) == TrainSettings(max_steps=2)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"select-data: {{sources: [{tiny_examples}], split: {{train: 24}}, output_dir: d}}\n"
        f"train: {{train_file: [d/train.jsonl], init: {small_retriever}, objective: distill, "
        "candidates: 4, batch_size: 8, max_steps: 2, valid_every: never, output_dir: m}\n"
    )
    result = call("plan", "--config", recipe)
    assert result.exit_code == 0, result.stderr
    assert "2 steps of 8 questions" in result.stdout
