import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dprkit.data.folds import fold_of
from dprkit.data.selection import select_data
from dprkit.embeddings.encode import encode_corpus
from dprkit.errors import DivergedError, InputError, MemoryShortage, MismatchError, SettingsError
from dprkit.evaluation.evaluate import evaluate
from dprkit.indexes.build import index
from dprkit.models.config import load_config
from dprkit.models.retriever import load_retriever
from dprkit.progress import Progress, Run
from dprkit.recipes import load_recipe
from dprkit.settings import (
    EncodeSettings,
    EvaluateSettings,
    IndexSettings,
    SelectSettings,
    TrainSettings,
)
from dprkit.store.manifests import read_manifest, read_progress
from dprkit.training.train import train
from tests.conftest import SMALL, call


@pytest.fixture(scope="module")
def sets(tmp_path_factory, tiny_examples):
    """A folder with train.jsonl and valid.jsonl, 32 and 16 rows."""
    folder = tmp_path_factory.mktemp("sets")
    split = {"train": 32, "valid": 16}
    select_data(SelectSettings(sources=(str(tiny_examples),), split=split, output_dir=str(folder)))
    return folder


def small(sets, output, **more):
    return TrainSettings(
        train_file=(str(sets / "train.jsonl"),),
        output_dir=str(output),
        **{**SMALL, "max_epochs": 3, **more},
    )


def content(folder):
    return {name: f for name, f in read_manifest(folder).files.items() if f.content}


class StopAtStep(Progress):
    """A user who presses Ctrl-C at some step."""

    def __init__(self, step):
        self.left = step

    def advance(self, count, facts=None):
        if facts:
            self.left -= count
            if self.left <= 0:
                raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 6])
def test_a_stopped_training_ends_with_the_same_bytes(sets, tmp_path, stop):
    train(small(sets, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(small(sets, tmp_path / "broken"), Run(StopAtStep(stop)))
    train(small(sets, tmp_path / "broken"))
    assert content(tmp_path / "whole") == content(tmp_path / "broken")

    def figures(name):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [{k: v for k, v in row.items() if k != "questions_per_second"} for row in rows]

    assert figures("whole") == figures("broken")


def test_a_fold_that_is_left_out_is_as_if_it_were_not_in_the_file(sets, tmp_path):
    rows = (sets / "train.jsonl").read_text().splitlines(keepends=True)
    kept = [row for row in rows if fold_of(json.loads(row)["question"], 3) != 2]
    assert 0 < len(kept) < len(rows)
    (tmp_path / "train.jsonl").write_text("".join(kept))
    train(small(tmp_path, tmp_path / "by hand", max_epochs=1))
    report = train(
        small(sets, tmp_path / "fold", max_epochs=1, leave_out="2/3", valid_every="never")
    )
    assert content(tmp_path / "fold") == content(tmp_path / "by hand")
    assert report.examples == len(kept)
    [note] = report.notes
    assert note == f"fold 2/3 is left out: {32 - len(kept)} of 32 examples are not trained on"
    assert read_manifest(tmp_path / "fold").settings["leave_out"] == "2/3"
    with pytest.raises(SettingsError, match="there are 3; give 1/3 to 3/3"):
        train(small(sets, tmp_path / "other", leave_out="4/3"))


def test_the_seed_decides_everything(sets, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(small(sets, tmp_path / name, seed=seed, max_epochs=1))
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "a") != content(tmp_path / "c")


def test_metrics_have_a_line_a_step_and_a_line_a_validation(sets, tmp_path):
    report = train(small(sets, tmp_path / "m"))
    rows = [json.loads(line) for line in (tmp_path / "m/metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    validations = [row for row in rows if "valid" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert set(steps[0]) == {"step", "epoch", "loss", "accuracy", "lr", "questions_per_second"}
    assert [row["step"] for row in validations] == [0, 2, 4, 6]
    assert report.steps == 6
    best = min(validations, key=lambda row: row["valid"]["average_rank"])
    assert report.valid == best["valid"]


def test_the_best_epoch_is_the_retriever_and_the_last_lies_beside_it(sets, tmp_path):
    report = train(small(sets, tmp_path / "m", best_by="loss", lr=0.5, max_epochs=2))
    last = tmp_path / "m" / "last"
    assert (report.best_epoch == 2) != last.is_dir()
    if last.is_dir():
        best, worse = (
            load_file(folder / "question_encoder/model.safetensors")
            for folder in (tmp_path / "m", last)
        )
        assert any(not np.array_equal(best[key], worse[key]) for key in best)
        assert load_retriever(last).encode_questions(["a"]).shape == (1, 8)


def test_max_steps_ends_training_in_the_middle_of_an_epoch(sets, tmp_path):
    report = train(small(sets, tmp_path / "m", max_steps=3))
    assert (report.steps, report.epochs) == (3, 2)


def test_zero_epochs_write_the_starting_model(small_retriever, sets, tmp_path):
    """Continuing from a retriever without training changes nothing."""
    report = train(
        TrainSettings(init=str(small_retriever), max_epochs=0, output_dir=str(tmp_path / "m"))
    )
    one, other = (load_retriever(f) for f in (small_retriever, tmp_path / "m"))
    np.testing.assert_array_equal(*(r.encode_questions(["a b c"]) for r in (one, other)))
    assert (report.steps, load_config(tmp_path / "m")) == (0, load_config(small_retriever))


def test_a_transformer_can_be_the_start(small_retriever, sets, tmp_path):
    """Any Hugging Face folder: here the question tower of another retriever."""
    start = small_retriever / "question_encoder"
    settings = small(
        sets,
        tmp_path / "m",
        init=str(start),
        projection=None,
        shared=True,
        pooling="mean",
        similarity="cosine",
        max_epochs=1,
    )
    train(settings)
    assert not (tmp_path / "m" / "passage_encoder").exists()
    vectors = load_retriever(tmp_path / "m").encode_passages([("title", "text")])
    assert vectors.shape == (1, 16)
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)
    assert load_config(tmp_path / "m").temperature == 0.05


def test_a_retriever_cannot_change_its_shape(small_retriever, tmp_path):
    with pytest.raises(MismatchError, match="has similarity 'dot', which cannot become 'cosine'"):
        train(
            TrainSettings(
                init=str(small_retriever),
                similarity="cosine",
                max_epochs=0,
                output_dir=str(tmp_path / "m"),
            )
        )


def test_a_start_that_is_not_there_is_named_with_the_nearest_one(small_retriever, tmp_path):
    wrong = str(small_retriever.with_name("modle"))
    with pytest.raises(SettingsError, match="no such folder; did you mean 'model'"):
        train(TrainSettings(init=wrong, max_epochs=0, output_dir=str(tmp_path / "m")))


def test_a_length_beyond_the_model_is_refused(sets, tmp_path):
    with pytest.raises(SettingsError, match="reads at most 512 tokens"):
        train(small(sets, tmp_path / "m", passage_max_length=600))


def recall_at_5(retriever, questions, passages, folder):
    encode_corpus(
        EncodeSettings(
            retriever=str(retriever), passages=str(passages), output_dir=str(folder / "e")
        )
    )
    index(IndexSettings(embeddings=str(folder / "e"), output_dir=str(folder / "i")))
    report = evaluate(
        EvaluateSettings(
            index=str(folder / "i"), questions=str(questions), output_dir=str(folder / "r")
        )
    )
    return report.metrics["passage_recall"]["5"]


@pytest.mark.slow
def test_the_tiny_recipe_learns(tmp_path, tiny_passages):
    """Loss falls over 10 epochs; recall@5 of the valid questions rises far above untrained."""
    recipe = load_recipe(recipe="tiny")
    select, _ = recipe.stage("select-data", {"output_dir": str(tmp_path / "data")})
    select_data(select)
    recalls = {}
    for epochs in (0, 10):
        folder = tmp_path / str(epochs)
        flags = {
            "train_file": (str(tmp_path / "data/train.jsonl"),),
            "output_dir": str(folder / "model"),
            "max_epochs": epochs,
        }
        settings, _ = recipe.stage("train", flags)
        report = train(settings)
        valid = tmp_path / "data/valid.jsonl"
        recalls[epochs] = recall_at_5(folder / "model", valid, tiny_passages, folder)
    assert report.losses[-1] < 0.3 * report.losses[0]
    assert recalls[10] > recalls[0] + 0.3


def test_a_loss_that_is_no_number_ends_training(sets, tmp_path):
    with pytest.raises(
        DivergedError, match=r"the loss is nan of step 2 \(rows .*diverged; .*lower --lr"
    ):
        train(small(sets, tmp_path / "m", lr=1e30))


def test_a_step_that_does_not_fit_names_the_setting_and_keeps_the_state(
    sets, tmp_path, monkeypatch
):
    """The allocator's own refusal, at the third step."""
    from dprkit.training.gradients import GradientEngine

    backward, calls = GradientEngine.backward, []

    def greedy(self, *rest, **more):
        calls.append(1)
        if len(calls) == 3:
            torch.empty(1 << 55)
        return backward(self, *rest, **more)

    monkeypatch.setattr(GradientEngine, "backward", greedy)
    with pytest.raises(MemoryShortage, match=r"at step 3 \(16 questions.*--chunk-size"):
        train(small(sets, tmp_path / "m"))
    monkeypatch.undo()
    assert read_progress(tmp_path / "m").state["step"] == 2
    train(small(sets, tmp_path / "m"))
    train(small(sets, tmp_path / "whole"))
    assert content(tmp_path / "m") == content(tmp_path / "whole")


class StopInValidation(Progress):
    """A user who presses Ctrl-C while a validation of step 4 runs."""

    def __init__(self, monkeypatch):
        from dprkit.training.validation import Validator

        self.calls = 0
        figures = Validator.__call__

        def counting(validator):
            self.calls += 1
            if self.calls == 3:  # before training, after steps 2 and 4
                raise KeyboardInterrupt
            return figures(validator)

        monkeypatch.setattr(Validator, "__call__", counting)


def test_a_validation_that_was_stopped_is_made_again(sets, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        train(small(sets, tmp_path / "broken"), Run(StopInValidation(patch)))
    assert read_progress(tmp_path / "broken").state["step"] == 4
    train(small(sets, tmp_path / "broken"))
    train(small(sets, tmp_path / "whole"))
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    for name in ("epochs.jsonl", "metrics.jsonl"):
        both = [(tmp_path / run / name).read_text().splitlines() for run in ("broken", "whole")]
        assert len(both[0]) == len(both[1])


def test_the_recipe_of_the_model_card_trains_the_same_model(sets, tmp_path):
    settings = small(sets, tmp_path / "m", title_join=" ", symmetric=True)
    train(settings)
    card = (tmp_path / "m/README.md").read_text()
    (tmp_path / "again.yaml").write_text(card.partition("```yaml\n")[2].partition("```")[0])
    words = ("train", "--config", tmp_path / "again.yaml", "--output-dir", tmp_path / "again")
    assert call(*words, "--quiet").exit_code == 0
    assert content(tmp_path / "again") == content(tmp_path / "m")


def test_training_ends_when_validation_gets_no_better(sets, tmp_path):
    """A learning rate of nothing: the first validation stays the best."""
    report = train(
        small(sets, tmp_path / "m", lr=1e-30, valid_every="1", patience=3, max_epochs=50)
    )
    assert (report.steps, report.best_step) == (3, 0)
    assert len((tmp_path / "m/epochs.jsonl").read_text().splitlines()) == 2
    assert "3 steps" in (tmp_path / "m/README.md").read_text()


def test_a_gradient_that_is_no_number_keeps_the_last_good_state(sets, tmp_path, monkeypatch):
    """The loss is finite, the gradient is not: nothing of it gets into the weights."""
    from dprkit.training.gradients import GradientEngine

    backward, calls = GradientEngine.backward, []

    def poisoned(self, *rest, **more):
        outcome = backward(self, *rest, **more)
        calls.append(1)
        if len(calls) == 4:
            next(self.model.parameters()).grad[0] = torch.inf
        return outcome

    monkeypatch.setattr(GradientEngine, "backward", poisoned)
    with pytest.raises(DivergedError, match=r"gradient is (nan|inf).* step 4 .*of step 2 is kept"):
        train(small(sets, tmp_path / "m"))
    monkeypatch.undo()
    train(small(sets, tmp_path / "m"))
    train(small(sets, tmp_path / "whole"))
    assert content(tmp_path / "m") == content(tmp_path / "whole")


def test_epochs_have_a_line_with_figures_of_training_and_validation(sets, tmp_path):
    train(small(sets, tmp_path / "m"))
    lines = [json.loads(line) for line in (tmp_path / "m/epochs.jsonl").read_text().splitlines()]
    steps = [json.loads(x) for x in (tmp_path / "m/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    first = [row["loss"] for row in steps if row.get("epoch") == 0 and "loss" in row]
    assert lines[0]["train/loss"] == pytest.approx(sum(first) / 2, rel=1e-6)
    after = next(row["valid"] for row in steps if "valid" in row and row["step"] == 2)
    assert lines[0]["valid/average_rank"] == after["average_rank"]
    assert (tmp_path / "m/curves.svg").read_bytes().startswith(b"<?xml")


def test_tensorboard_events_stay(sets, tmp_path):
    pytest.importorskip("tensorboard")
    train(small(sets, tmp_path / "m", tensorboard=True, max_epochs=1))
    (events,) = (tmp_path / "m/tensorboard").iterdir()
    assert events.stat().st_size > 100


@pytest.mark.parametrize(
    "more",
    [
        {"chunk_size": "4"},
        {"chunk_size": "auto"},
        {"activation_checkpointing": True},
        {"symmetric": True, "learn_temperature": True},
        {"layer_decay": 0.9, "schedule": "cosine", "weight_decay": 0.01},
        {"mask_answers": True, "negatives": 1, "hard_negatives_by": "score"},
        {"precision": "bf16"},
        {"lora_rank": 2},
        {"separate_heads": True},
        {"num_workers": 1},
    ],
    ids=str,
)
def test_every_way_of_training_stops_and_goes_on(sets, tmp_path, more):
    """One epoch, stopped after its first step; the retriever is the one of a run unbroken."""
    if "lora_rank" in more:
        pytest.importorskip("peft")
    more = {"max_epochs": 1, "valid_every": "never", "dropout": 0.1} | more
    with pytest.raises(KeyboardInterrupt):
        train(small(sets, tmp_path / "broken", **more), Run(StopAtStep(1)))
    train(small(sets, tmp_path / "broken", **more))
    report = train(small(sets, tmp_path / "whole", **more))
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert report.steps == 2
    assert load_retriever(tmp_path / "whole").encode_questions(["a b"]).shape == (1, 8)
    if "learn_temperature" in more:
        assert load_config(tmp_path / "whole").temperature != 1.0


def test_chunks_fit_the_free_memory(small_retriever):
    from dprkit.models.retriever_folder import load_bi_encoder
    from dprkit.training.gradients import GradientEngine
    from dprkit.training.step_memory import chunk_that_fits

    engine = GradientEngine(load_bi_encoder(small_retriever)[0].train())
    batch = [[7] * 20] * 64, [[9] * 100] * 128
    assert chunk_that_fits(engine, batch, 1 << 40) is None
    sizes = [chunk_that_fits(engine, batch, free) for free in (1 << 16, 1 << 23, 1 << 24)]
    assert 1 <= sizes[0] <= sizes[1] <= sizes[2] <= 20


def test_heads_that_do_not_divide_the_width_are_refused(sets, tmp_path):
    with pytest.raises(SettingsError, match="--scratch-heads 3 does not divide"):
        train(small(sets, tmp_path / "m", scratch_heads=3))


def test_a_half_done_model_cannot_be_loaded_as_a_retriever(sets, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(small(sets, tmp_path / "m"), Run(StopAtStep(5)))
    assert not (tmp_path / "m" / "retriever.yaml").exists()


def test_another_hub_name_is_another_start(tmp_path):
    """Names of a hub are no files, so they count by themselves."""
    settings = TrainSettings(init="no-such/model-a", max_epochs=0, output_dir=str(tmp_path / "m"))
    with pytest.raises(InputError, match="no such folder here"):
        train(settings)
    record = json.dumps({"init": "no-such/model-a"})
    assert record[1:-1] in _recorded(settings)


def _recorded(settings):
    from dprkit.training.resolved_settings import more_to_record, with_defaults

    return json.dumps(more_to_record(with_defaults(settings)))


def test_resolved_settings_have_every_default(tmp_path):
    """None is left only where a model that may say it has not been read yet."""
    from dprkit.training.distill_settings import OF_DISTILL
    from dprkit.training.resolved_settings import SHAPE, resolve
    from dprkit.training.retriever_kinds import COLBERT_ALONE, PREFIXES

    other = {*COLBERT_ALONE, "skip", "projection_init", *PREFIXES}
    unasked = {*OF_DISTILL, "objective", "teacher", "mask_margin", "freeze"}
    unasked |= {"leave_out", "left_out", "matryoshka", "end_token", "whiten"}

    scratch = resolve(TrainSettings(train_file=(str(tmp_path / "t.jsonl"),)))
    absent = {name for name in scratch.__struct_fields__ if getattr(scratch, name) is None}
    absent -= unasked
    assert absent == {"dropout", "distill_temperature", *other}
    assert (scratch.lr, scratch.batch_size, scratch.projection) == (1e-3, 8, 20)
    assert (scratch.question_max_length, scratch.passage_max_length) == (64, 256)
    hub = resolve(TrainSettings(init="some/model", max_steps=5, lora_rank=4, similarity="cosine"))
    absent = {name for name in hub.__struct_fields__ if getattr(hub, name) is None}
    assert absent - unasked <= {
        "dropout",
        "projection",
        "temperature",
        "distill_temperature",
        *SHAPE,
        *other,
    }
    assert (hub.lr, hub.batch_size, hub.lora_alpha, hub.max_steps) == (2e-5, 32, 8, 5)
    assert (hub.recorded.max_epochs, hub.recorded.lora_alpha, hub.recorded.patience) == (None,) * 3
