import re
from pathlib import Path

import pytest

from dprkit.cli.reference import reference
from dprkit.recipes import load_recipe, recipe_names
from dprkit.settings import STAGES, bundled, fields_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_in(page):
    """Every `dprkit ...` command of a page, its continuation lines joined."""
    text = page.read_text().replace("\\\n", " ")
    return re.findall(r"^(?:    |.*[|&] )(dprkit [^|#\n]+)", text, re.M)


def test_the_command_reference_is_that_of_the_code():
    assert (ROOT / "docs/cli.md").read_text() == reference(), "run: make docs"


@pytest.mark.parametrize("name", sorted({*STAGES, "run", "init", "info", "config show"}))
def test_every_command_is_in_the_reference_with_an_example(name):
    section = reference().partition(f"## dprkit {name}\n")[2].partition("\n## ")[0]
    assert f"    dprkit {name}" in section
    assert "For example:" in section


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_that_the_pages_use_exist(page):
    known = set(re.findall(r"--[a-z][a-z-]+", reference())) | {"--help", "--version"}
    used = {
        flag for command in commands_in(page) for flag in re.findall(r"--[a-z][a-z-]+", command)
    }
    assert used <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_its_settings_convert(name):
    recipe = load_recipe(recipe=name)
    for stage in recipe.written:
        settings, origins = recipe.stage(stage, {})
        written = recipe.written[stage]
        assert {name for name, origin in origins.items() if origin == recipe.source} == set(written)
        assert isinstance(settings, STAGES[stage])


def test_every_setting_has_a_sentence():
    for stage, settings in STAGES.items():
        for setting in fields_of(settings).values():
            assert re.fullmatch(r"[A-Z].*[.)]", setting.sentence), f"{stage}.{setting.name}"


def test_the_files_a_recipe_ships_with_are_there():
    for path in ("bundled:tiny/examples.json", "bundled:tiny/passages.tsv"):
        assert bundled(path).is_file()
