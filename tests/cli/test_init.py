"""init: a recipe to edit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dprkit.recipes import load_recipe, recipe_names
from dprkit.settings import STAGES, fields_of
from tests.conftest import call, in_force


@pytest.mark.parametrize("name", recipe_names())
def test_init_writes_a_recipe_with_the_same_effective_settings(empty, name):
    result = call("init", "--recipe", name)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "-> dprkit.yaml" in result.stderr
    mine, shipped = in_force(), in_force("--recipe", name)
    for stage, settings in shipped.items():
        for key, was in settings.items():
            found = mine[stage][key]
            moved = json.dumps(was["value"]).replace(f"runs/{name}/", "runs/my experiment ü/")
            assert found["value"] == json.loads(moved), (stage, key)


def test_init_comments_every_setting_and_any_of_them_can_be_uncommented(empty):
    call("init")
    lines = Path("dprkit.yaml").read_text().splitlines()
    stages = load_recipe().written
    for stage in stages:
        for key in fields_of(STAGES[stage]):
            assert any(line.lstrip("# ").startswith(f"{key}: ") for line in lines), (stage, key)
    starts = {f"{key}:" for stage in stages for key in fields_of(STAGES[stage])}
    plain = [
        line.replace("  # ", "  ", 1)
        if line.startswith("  # ") and line.split()[1] in starts
        else line
        for line in lines
    ]
    Path("all.yaml").write_text("\n".join(plain))
    recipe = load_recipe("all.yaml")
    for stage in stages:
        assert set(recipe.written[stage]) == set(fields_of(STAGES[stage]))
        recipe.stage(stage, {})


def test_init_says_what_to_change_for_data_of_ones_own_and_what_comes_next(empty):
    said = call("init", "mine x").stderr.splitlines()
    assert said == [
        "  -> mine x/dprkit.yaml",
        "For data of your own, change the lines marked CHANGE: select-data.sources, "
        "select-data.split, encode-corpus.passages.",
        "Then: cd 'mine x' && dprkit run        (dprkit config show shows the settings)",
    ]
    lines = Path("mine x/dprkit.yaml").read_text().splitlines()
    marked = [line.split()[0] for line in lines if line.endswith("# CHANGE")]
    assert marked == ["sources:", "split:", "passages:"]
    assert all(line.endswith("# CHANGE") for line in lines if "bundled:" in line)
    assert json.loads(call("init", "b", "--json").stdout)["change"][0] == "select-data.sources"


def test_init_writes_the_yaml_file_that_it_is_given(empty):
    said = call("init", "far/a.yaml").stderr
    assert "Then: cd far && dprkit run --config a.yaml" in said
    assert (os.listdir(), os.listdir("far")) == (["far"], ["a.yaml"])
    assert load_recipe("far/a.yaml").name == "a"
    refused = call("init", "far/a.yaml")
    assert refused.stderr == "Error: far/a.yaml: already there; move it away first\n"


def test_init_refuses_to_overwrite(empty):
    Path("dprkit.yaml").write_text("train: {lr: 1}")
    result = call("init")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: dprkit.yaml: already there; move it away first\n"
    assert Path("dprkit.yaml").read_text() == "train: {lr: 1}"


def test_init_does_not_write_through_a_dangling_link(empty):
    Path("dprkit.yaml").symlink_to("target")
    assert call("init").exit_code == 1
    assert not Path("target").exists()


def test_init_makes_a_folder_that_is_not_there(empty):
    assert call("init", "far/away", "--quiet").exit_code == 0
    assert load_recipe("far/away/dprkit.yaml").name == "away"


@pytest.mark.parametrize(
    "folder",
    ["123", "null", "yes", "a: b", "x - y", "'q'", "#", "2026-01-01", "*a", "\u2028", "a\nb"],
)
def test_init_in_a_folder_of_any_name_can_be_loaded_again(empty, folder):
    assert call("init", folder).exit_code == 0
    assert load_recipe(f"{folder}/dprkit.yaml").name == folder


def test_init_with_an_unknown_recipe_makes_nothing(empty):
    result = call("init", "--recipe", "tinny")
    assert result.exit_code == 1
    assert "did you mean 'tiny'?" in result.stderr
    assert os.listdir() == []


def test_a_recipe_that_init_writes_keeps_the_order_of_its_sets():
    """Sets are filled in their order: another order is another split."""
    from dprkit.new_recipe import commented

    assert "split: {train: 120, valid: 60, test: 60}" in commented(load_recipe(recipe="tiny"), "x")
