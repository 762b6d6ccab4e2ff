"""Training that is killed, stopped, resumed and changed, by the commands a user types."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from dprkit.store.manifests import read_manifest
from tests.conftest import DPRKIT, call, environment, shell

TINY = (
    *("--set", "train.scratch_hidden_size=16", "--set", "train.scratch_vocab_size=400"),
    *("--projection", 8, "--batch-size", 8, "--checkpoint-every", 7, "--lr", "1e-3"),
    *("--valid-hard-negatives", 1, "--valid-negatives", 1, "--valid-every", 20),
)


def training(folder, *more, epochs=20):
    """`dprkit train` on 32 rows, four steps an epoch, into `folder`."""
    return ["train", "--output-dir", folder, "--max-epochs", epochs, *TINY, *more]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with runs/tiny/data of 32 training rows, and m/, trained without a break."""
    folder = tmp_path_factory.mktemp("training")
    run(folder, "select-data", "--split", "train=32,valid=8", "--quiet")
    run(folder, *training("m"))
    return folder


def run(folder, *words, code=0):
    result = shell(*words, cwd=folder)
    assert result.returncode == code, result.stderr
    return result


def steps_written(folder):
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b'"lr"') if path.exists() else 0


def wait_for(process, ready, seconds=120):
    """Wait until `ready()` while the process runs."""
    end = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def stop_at(folder, output, step, number, *more):
    """Start training and send it a signal when it has done `step` steps; its exit code, stderr."""
    words = [*DPRKIT, *map(str, training(output, *more))]
    process = subprocess.Popen(
        words, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    )
    wait_for(process, lambda: steps_written(folder / output) >= step)
    process.send_signal(number)
    errors = process.communicate(timeout=90)[1]
    return process.returncode, errors


@pytest.fixture(scope="module")
def half_done(place):
    """Copies of a training that was killed after its twelfth step, by the name of the copy."""
    assert stop_at(place, "half", 12, signal.SIGKILL)[0] == -signal.SIGKILL

    def copy(name):
        shutil.copytree(place / "half", place / name)
        return name

    return copy


def content(folder):
    return {name: f.sha256 for name, f in read_manifest(folder).files.items() if f.content}


def lines_of(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "questions_per_second"} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 33])
def test_a_killed_training_ends_with_the_same_bytes(place, step):
    assert stop_at(place, f"killed-{step}", step, signal.SIGKILL)[0] == -signal.SIGKILL
    run(place, *training(f"killed-{step}"))
    assert made(place / f"killed-{step}") == made(place / "m")


def test_a_training_that_is_half_done_ends_with_the_same_bytes(place, half_done):
    run(place, *training(half_done("killed")))
    assert made(place / "killed") == made(place / "m")


def made(folder):
    return content(folder), lines_of(folder)


@pytest.mark.slow
def test_two_killed_processes_end_with_the_bytes_of_two_that_were_not(place):
    pair = ("--num-processes", 2)
    run(place, *training("pair", *pair))
    for step in (3, 25):
        assert stop_at(place, "pair-killed", step, signal.SIGKILL, *pair)[0] == -signal.SIGKILL
    run(place, *training("pair-killed", *pair))
    assert content(place / "pair-killed") == content(place / "pair")
    near(place / "pair", place / "m")


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_processes(place):
    stop_at(place, "moved", 30, signal.SIGKILL, "--num-processes", 2)
    run(place, *training("moved", "--num-processes", 1))
    near(place / "moved", place / "m")


def near(one, other):
    for tower in ("question_encoder", "passage_encoder"):
        weights = [load_file(folder / tower / "model.safetensors") for folder in (one, other)]
        for name in weights[0]:
            np.testing.assert_allclose(weights[0][name], weights[1][name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_stopped_training_saves_and_repeats_no_step(place, number, code):
    name = f"stopped-{code}"
    assert stop_at(place, name, 12, number, "--checkpoint-every", "never")[0] == code
    saved = json.loads((place / name / "progress.json").read_text())["state"]["step"]
    assert saved >= steps_written(place / name) - 1 >= 11
    run(place, *training(name))
    assert content(place / name) == content(place / "m")


@pytest.mark.slow
def test_two_stopped_processes_save_too(place):
    pair = ("--num-processes", 2, "--checkpoint-every", "never")
    assert stop_at(place, "stopped-pair", 12, signal.SIGTERM, *pair)[0] == 143
    saved = json.loads((place / "stopped-pair/progress.json").read_text())["state"]["step"]
    assert saved >= 11
    run(place, *training("stopped-pair"))
    near(place / "stopped-pair", place / "m")


def test_a_changed_setting_is_refused_and_more_epochs_are_explained(place, half_done):
    refused = run(place, *training(half_done("changed"), "--lr", "1e-2"), code=1)
    assert "half done with other settings or inputs: lr was 0.001 and is 0.01" in refused.stderr
    longer = run(place, *training("changed", "--num-workers", 1, epochs=25))
    assert "training ends after step 100 instead of 80" in longer.stderr
    assert read_manifest(place / "changed").counts["steps"] == 100


def test_two_trainers_cannot_share_an_output(place):
    words = [*DPRKIT, *map(str, training("shared", epochs=2000))]
    first = subprocess.Popen(words, cwd=place, env=environment(), stderr=subprocess.DEVNULL)
    try:
        wait_for(first, lambda: steps_written(place / "shared") >= 1)
        second = run(place, *training("shared", epochs=2000), code=75)
    finally:
        first.kill()
        first.wait()
    assert "in use by pid" in second.stderr


def test_a_model_that_does_not_fit_ends_in_one_line(place):
    """A process that may have 4 GB of addresses cannot hold a width of 65,536."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    words = [
        *DPRKIT,
        *map(str, training("large", *("--set", "train.scratch_hidden_size=65536"), epochs=1)),
    ]
    done = subprocess.run(
        words, cwd=place, env=environment(), preexec_fn=limit, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: out of memory")


def test_accumulation_is_refused_with_the_better_way(place):
    refused = run(place, *training("m", "--gradient-accumulation-steps", 4), code=1)
    assert "--chunk-size" in refused.stderr


def test_torchrun_starts_it_as_well(place):
    torchrun = [DPRKIT[0], "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "dprkit"]
    words = [*torchrun, *map(str, training("torchrun", epochs=2)), "--json"]
    env = environment(GLOO_SOCKET_IFNAME="lo")
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 8
    assert os.path.isfile(place / "torchrun/manifest.json")


# --- what is in a batch ---------------------------------------------------------------------------


def asking(question, *positives, hard=()):
    """A training row."""
    return {
        "question": question,
        "answers": ["it"],
        "positive_ctxs": [{"title": "", "text": text} for text in positives],
        "hard_negative_ctxs": [{"title": "", "text": text} for text in hard],
    }


def saved(folder, name, rows):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


SMALLER = ("--set", "train.scratch_hidden_size=16", "--set", "train.scratch_vocab_size=400")
SMALLER += ("--projection", 8)
SHAPE = (*SMALLER, "--max-epochs", 0)


def trained(folder, output, files, *more):
    """Train a small model in this process; the command's result, and the lines of its steps."""
    names = [word for file in files for word in ("--train-file", file)]
    result = call("train", *names, *SMALLER, "--output-dir", folder / output, *more)
    assert result.exit_code == 0, result.stderr
    lines = (folder / output / "metrics.jsonl").read_text().splitlines()
    steps = [line for line in map(json.loads, lines) if "lr" in line]
    return result, steps


LONELY = "2 of 2 questions have no negative: raise --batch-size or give negatives"


@pytest.mark.parametrize("more", [(), ("--symmetric",), ("--mask-answers",)])
def test_rows_of_the_same_question_are_not_each_others_negatives(tmp_path, more):
    rows = [asking("Who wrote  it", "one wrote that"), asking("who wrote it", "two did")]
    file = saved(tmp_path, "t.jsonl", rows)
    result, steps = trained(
        tmp_path, "m", [file], "--batch-size", 2, "--max-epochs", 2, "-q", *more
    )
    assert [step["loss"] for step in steps] == [0.0, 0.0]
    assert result.stderr.count(LONELY) == 1
    other = saved(tmp_path, "o.jsonl", [rows[0], asking("who wrote that", "two did")])
    result, steps = trained(
        tmp_path, "n", [other], "--batch-size", 2, "--max-epochs", 1, "-q", *more
    )
    assert steps[0]["loss"] > 0.1
    assert "no negative" not in result.stderr


def test_a_hard_negative_that_is_a_positive_in_another_file_is_none(tmp_path):
    """b.jsonl's row of the question is in no batch of a.jsonl's rows."""
    one = saved(tmp_path, "a.jsonl", [asking("who wrote it", "one did", hard=["two did"])])
    two = saved(tmp_path, "b.jsonl", [asking("WHO wrote it", "two did", hard=["three did"])])
    words = ("--mix", "one-file", "--loss-weights", "1,2", "--max-epochs", 1, "-q")
    result, steps = trained(tmp_path, "m", [one, two], *words)
    assert sorted(step["loss"] > 0 for step in steps) == [False, True]
    assert "1 of 2 questions have no negative" in result.stderr
    _, steps = trained(tmp_path, "n", [one], "--max-epochs", 1)
    assert steps[0]["loss"] > 0


def test_no_question_is_left_alone_in_the_last_batch(tmp_path):
    rows = [asking(f"question {n}", f"passage number {n}") for n in range(9)]
    file = saved(tmp_path, "t.jsonl", rows)
    result, steps = trained(tmp_path, "m", [file], "--batch-size", 8, "--max-epochs", 1, "-q")
    assert [
        round(step["accuracy"] * size, 6) % 1 for step, size in zip(steps, (5, 4), strict=True)
    ] == [0, 0]
    assert len(steps) == 2 and all(step["loss"] > 0 for step in steps)
    assert "negative" not in result.stderr
    result, steps = trained(tmp_path, "n", [file], "--batch-size", 1, "--max-epochs", 1, "--json")
    told = "9 of 9 questions have no negative: raise --batch-size or give negatives"
    assert told in result.stderr
    assert json.loads(result.stdout)["notes"] == [told]
    assert told in (tmp_path / "n" / "README.md").read_text()


def test_a_run_that_keeps_the_untrained_weights_says_so(tmp_path):
    rows = [asking(f"question {n}", f"passage number {n}") for n in range(4)]
    file = saved(tmp_path, "train.jsonl", rows)
    saved(tmp_path, "valid.jsonl", [asking(f"valid {n}", f"number {n} passage") for n in range(3)])
    words = ("--max-steps", 1, "--lr", "1e-12")
    result, _ = trained(tmp_path, "m", [file], *words, "--json", "-q")
    told = "the weights that are kept are the untrained ones"
    assert told in result.stderr
    report = json.loads(result.stdout)
    assert (report["untrained"], report["best_step"]) == (True, 0)
    assert told in report["notes"][0] and told in (tmp_path / "m" / "README.md").read_text()
    start = call("train", "--train-file", file, "--output-dir", tmp_path / "start", *SHAPE)
    assert start.exit_code == 0, start.stderr
    for tower in ("question_encoder", "passage_encoder"):
        kept, began = (tmp_path / one / tower / "model.safetensors" for one in ("m", "start"))
        assert kept.read_bytes() == began.read_bytes()
    again = call("train", "--train-file", file, "--output-dir", tmp_path / "m", *words, *SMALLER)
    assert "up to date" in again.stderr and "untrained" in again.stderr
    result, _ = trained(
        tmp_path, "n", [file], "--max-epochs", 5, "--json", "--valid-every", "never"
    )
    assert json.loads(result.stdout)["untrained"] is False


def test_the_highest_rate_of_a_short_run_is_the_one_asked_for(tmp_path):
    file = saved(tmp_path, "t.jsonl", [asking(f"q {n}", f"passage {n}") for n in range(4)])
    for more in ((), ("--warmup", 10), ("--schedule", "cosine"), ("--warmup", "0.5")):
        _, steps = trained(
            tmp_path, "m", [file], "--max-steps", 3, "--lr", "2e-5", "--restart", *more
        )
        assert max(step["lr"] for step in steps) == 2e-5


@pytest.mark.slow
def test_what_two_processes_have_to_say_is_told(tmp_path):
    rows = [asking("who wrote it", "one wrote that"), asking("who wrote it", "two did")]
    saved(tmp_path, "t.jsonl", rows)
    words = ("--max-epochs", 1, "--num-processes", 2, *SMALLER)
    result = run(tmp_path, "train", "--train-file", "t.jsonl", "--output-dir", "m", *words, "-q")
    assert result.stderr.count(LONELY) == 1
