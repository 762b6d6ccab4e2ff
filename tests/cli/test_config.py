"""config show: every setting in force."""

from __future__ import annotations

from pathlib import Path

from dprkit.settings import STAGES
from tests.conftest import call, in_force


def test_config_show_names_every_setting_its_value_and_its_origin(empty):
    Path("dprkit.yaml").write_text("name: mine\ntrain: {lr: 0.5}\nselect-data: {output: x}\n")
    text = call("config", "show", "--set", "train.seed=3").stdout
    assert text.startswith("name: mine  # dprkit.yaml\n")
    train = text.partition("\ntrain:\n")[2].partition("\ntrain-reader:")[0]
    lines = {line.split(":")[0].strip(): line.split("#")[-1].strip() for line in train.splitlines()}
    assert lines["lr"] == "dprkit.yaml"
    assert lines["seed"] == "--set"
    assert lines["output_dir"] == "workspace"
    assert lines["batch_size"] == "default"
    for stage in STAGES:
        assert f"\n{stage}:\n" in text


def test_what_config_show_prints_is_a_recipe(empty):
    Path("again.yaml").write_text(call("config", "show", "--recipe", "tiny").stdout)
    mine, shipped = in_force("--config", "again.yaml"), in_force("--recipe", "tiny")
    for stage in shipped:
        assert {k: v["value"] for k, v in mine[stage].items()} == {
            k: v["value"] for k, v in shipped[stage].items()
        }


def test_config_show_of_one_stage(empty):
    text = call("config", "show", "index").stdout
    assert text.splitlines()[1] == "index:"
    assert "train:" not in text
    assert set(in_force("index")) == {"index"}


def test_config_show_tells_what_was_replaced(empty):
    Path("dprkit.yaml").write_text("select-data: {split: {a: 3}}")
    shown = in_force("--set", "select-data.output=x")["select-data"]
    assert shown["split"] == {"value": None, "from": "replaced by output"}
