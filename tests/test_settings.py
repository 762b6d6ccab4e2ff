from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprkit.errors import SettingsError
from dprkit.indexes.kinds import unused_settings
from dprkit.settings import (
    STAGES,
    EncodeSettings,
    EvaluateSettings,
    IndexSettings,
    SelectSettings,
    TrainSettings,
    bundled,
    fields_of,
    real_path,
    record_of,
    required,
    values,
)
from dprkit.settings.fields import help_of


def convert(stage, name, value, origin):
    return values.convert(fields_of(STAGES[stage])[name], value, origin, stage)


@pytest.mark.parametrize("stage", STAGES)
def test_every_default_is_a_value_its_own_setting_takes(stage):
    for setting in fields_of(STAGES[stage]).values():
        assert msgspec.convert(setting.default, setting.type) == setting.default, setting.name
    STAGES[stage]()


@pytest.mark.parametrize("stage", STAGES)
def test_settings_cannot_be_changed(stage):
    settings = STAGES[stage]()
    with pytest.raises(AttributeError, match="immutable"):
        setattr(settings, next(iter(fields_of(STAGES[stage]))), None)


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_setting_replaces_is_a_setting_of_the_same_stage(stage):
    fields = fields_of(STAGES[stage])
    replaced = {name for setting in fields.values() for name in setting.replaces.split()}
    assert replaced <= set(fields)


@pytest.mark.parametrize(
    ("stage", "name", "given", "value"),
    [
        ("select-data", "num_items", "500", 500),
        ("select-data", "sources", ["a.json", "-"], ("a.json", "-")),
        ("select-data", "sources", "a, b.json", ("a, b.json",)),  # a path may have a comma
        ("select-data", "require", "positive,hard_negative", ("positive", "hard_negative")),
        ("select-data", "require", [], ()),
        ("select-data", "split", "train=5, valid=2", {"train": 5, "valid": 2}),
        ("select-data", "split", {"train": 5}, {"train": 5}),
        ("select-data", "split", "a=80%, b=2.5%,c=rest", {"a": "80%", "b": "2.5%", "c": "rest"}),
        ("select-data", "split", {"a": "80%", "b": 5}, {"a": "80%", "b": 5}),
        ("select-data", "shuffle", True, True),
        ("select-data", "shuffle", "false", False),
        ("select-data", "num_items", None, None),
        ("select-data", "seed", "-1", -1),
        ("train", "lr", "2e-5", 2e-5),
        ("train", "lr", 1, 1.0),
        ("train", "max_epochs", "0", 0),
        ("train", "title_join", ". ", ". "),
        ("train", "similarity", "cosine", "cosine"),
        ("train", "valid_file", "bundled:tiny/passages.tsv", "(bundled)"),
        ("evaluate", "topk", "1,5,20,100", (1, 5, 20, 100)),
        ("evaluate", "topk", "5", (5,)),
        ("evaluate", "topk", 5, (5,)),
        ("evaluate", "topk", [1, "5"], (1, 5)),
    ],
)
def test_text_becomes_the_type_of_the_setting(stage, name, given, value):
    if value == "(bundled)":
        value = str(bundled("tiny/passages.tsv"))
    found = convert(stage, name, given, "flag")
    assert found == value
    assert type(found) is type(value)


@given(st.lists(st.integers(1, 10**6), min_size=1))
def test_any_list_of_depths_can_be_typed(depths):
    assert convert("evaluate", "topk", ",".join(map(str, depths)), "flag") == tuple(depths)


@pytest.mark.parametrize(
    ("stage", "name", "given", "problem"),
    [
        ("select-data", "num_items", 0, "--num-items: 0 is not valid: expected int >= 1"),
        ("select-data", "num_items", -3, "--num-items: -3 is not valid: expected int >= 1"),
        ("select-data", "num_items", "5.5", "--num-items: '5.5' is not valid: expected int"),
        ("select-data", "offset", -1, "--offset: -1 is not valid: expected int >= 0"),
        ("select-data", "require", "positives", "invalid enum value 'positives'"),
        ("select-data", "split", "train", "expected sets such as train=500,valid=10%,test=rest"),
        ("select-data", "split", "train=", "expected sets such as train=500,valid=10%"),
        ("select-data", "split", "=5", "expected sets such as train=500,valid=10%"),
        ("select-data", "split", "train=0", "expected int >= 1"),
        ("select-data", "split", "train=many", "expected sets such as train=500,valid=10%"),
        ("select-data", "split", {"train": "5 %"}, "expected sets such as train=500,valid=10%"),
        ("select-data", "split", {"train": None}, "expected sets such as train=500,valid=10%"),
        ("select-data", "split", "train=-5%", "expected sets such as train=500,valid=10%"),
        ("select-data", "split", "train=5,,valid=5", "expected sets such as train=500,valid=10%"),
        ("select-data", "shuffle", "maybe", "expected bool"),
        ("select-data", "sources", ["b\udcff.json"], r"SOURCES: .+ is not UTF-8; rename the file"),
        ("train", "train_file", "b\udcff", r"--train-file: 'b\\udcff' is not UTF-8; rename"),
        ("train", "lr", "0", r"--lr: '0' is not valid: expected float > 0.0"),
        ("train", "lr", "nan", r"--lr: 'nan' is not valid: expected float > 0.0"),
        ("train", "lr", float("inf"), "--lr: inf is not valid: expected a finite number"),
        ("train", "output_dropout", 1.0, "expected float < 1.0"),
        (
            "train",
            "pooling",
            "median",
            "--pooling: 'median' is not valid: invalid enum value 'median'",
        ),
        ("train", "scratch_vocab_size", 10, "expected int >= 300"),
        ("train", "batch_size", [8], r"--batch-size: \[8\] is not valid: expected int"),
        ("evaluate", "topk", "5,abc", "--topk: '5,abc' is not valid: expected int"),
        ("evaluate", "topk", "0", "--topk: '0' is not valid: expected int >= 1"),
        ("evaluate", "topk", "1,,5", "expected int"),
        ("evaluate", "topk", "", "expected int"),
        ("evaluate", "topk", [], r"--topk: \[\] is not valid: expected array of length >= 1"),
        ("search", "topk", 0, "--topk: 0 is not valid: expected int >= 1"),
        ("encode-corpus", "shard_size", 0, "--shard-size: 0 is not valid: expected int >= 1"),
    ],
)
def test_a_value_that_will_not_do_is_named_with_what_would(stage, name, given, problem):
    with pytest.raises(SettingsError, match=problem):
        convert(stage, name, given, "flag")


def test_an_error_tells_where_the_value_came_from():
    with pytest.raises(SettingsError, match=r"^train.lr \(my.yaml\): 'x' is not valid: "):
        convert("train", "lr", "x", "my.yaml")


def test_a_manifest_keeps_no_paths():
    settings = SelectSettings(sources=("a",), output_dir="b", exclude=("c",), num_items=3, seed=7)
    kept = record_of(settings)
    assert kept["num_items"] == 3
    assert kept["seed"] == 7
    assert not {"sources", "output", "output_dir", "exclude", "passages_out"} & set(kept)
    assert record_of(EncodeSettings(retriever="x")) == record_of(EncodeSettings(retriever="y"))
    assert record_of(TrainSettings(init="x")) == record_of(TrainSettings(init="y"))


def test_a_manifest_keeps_what_changes_the_result():
    kept = record_of(EvaluateSettings(topk=(3,), match="regex", index="x"))
    assert (kept["topk"], kept["match"]) == ((3,), "regex")
    assert "index" not in kept


def test_bundled_names_stand_for_files_that_are_there():
    assert real_path("plain/path") == "plain/path"
    assert bundled("tiny.yaml").is_file()
    assert real_path("bundled:tiny/examples.json") == str(bundled("tiny/examples.json"))
    assert bundled("tiny/examples.json").is_file()


def test_a_path_that_is_needed_is_asked_for_by_its_flag():
    assert required("x", "--index", "index") == "x"
    with pytest.raises(SettingsError, match=r"^no index given; name it with --index$"):
        required(None, "--index", "index")


def test_a_setting_of_another_type_of_index_makes_no_other_index():
    def kept(**settings):
        return record_of(IndexSettings(**settings), unused_settings(settings["type"]))

    assert kept(type="flat") == kept(type="flat", k1=1.2, uri="x", max_ram="8GB")
    for other in ({"k1": 1.2}, {"stemmer": "none"}):
        assert kept(type="bm25", **other) != kept(type="bm25")


@pytest.mark.parametrize("stage", STAGES)
def test_the_docstring_of_a_stage_describes_its_settings_and_no_others(stage):
    described = re.findall(r"^        (\w+): ", STAGES[stage].__doc__, re.MULTILINE)
    assert len(described) == len(set(described))
    assert set(described) <= set(fields_of(STAGES[stage]))
    assert all(setting.sentence for setting in fields_of(STAGES[stage]).values())
    assert "Settings:" not in help_of(STAGES[stage])
