import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
import typer

import dprkit
from dprkit import records
from dprkit.cli.app import app
from dprkit.cli.help import parts
from dprkit.cli.reference import reference
from dprkit.pipeline.stages import FUNCTIONS
from dprkit.recipes import load_recipe, recipe_names
from dprkit.settings import STAGES, bundled, fields_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = [page for page in PAGES if page.name not in ("log.md", "contributing.md")]
RIDDLES = re.compile(
    r"\b(twins?|sketch(es)?|grounds?|former|formerly|hitherto|anew|thereof|therein|maybe|"
    r"in its stead|as ever|as of old|what they say|what it says|so many|will not do|no finite)\b",
    re.IGNORECASE,
)
"""Words that a reader whose first language is not English stumbles over, or that mean nothing."""


def every_command(command, path):
    """Each command below `command` with its words."""
    for name, inner in getattr(command, "commands", {}).items():
        yield f"{path} {name}", inner
        yield from every_command(inner, f"{path} {name}")


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
        assert isinstance(settings, STAGES[recipe.kind_of(stage)])


def test_every_command_and_option_has_sentences_in_plain_words():
    texts = {
        f"{stage}.{name}": setting.sentence
        for stage, settings in STAGES.items()
        for name, setting in fields_of(settings).items()
    }
    for path, command in every_command(typer.main.get_command(app), "dprkit"):
        texts[path], _ = parts(command)
        texts |= {f"{path} {p.name}": p.help or "" for p in command.params if p.name != "help"}
    assert len(texts) > 300
    for name, text in texts.items():
        assert re.fullmatch(r"(?s)[A-Z].*([.)]|\[default: .*\])", text), f"{name}: {text}"
        assert not RIDDLES.search(text), f"{name}: {text}"


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_the_pages_keep_to_plain_words(page):
    text = re.sub(r"`[^`]*`", "", page.read_text())
    assert not [line for line in text.splitlines() if RIDDLES.search(line)]


def test_the_page_on_python_has_each_public_name_and_the_fields_of_each_record():
    page = (ROOT / "docs/python.md").read_text()
    public = set(dprkit.__all__) - {"__version__"}
    assert public <= set(re.findall(r"^## (\w+)$", page, re.M))
    code = "".join(re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S))
    code = re.sub(r"^from .*", "", code, flags=re.M)
    assert public == set(re.findall(r"dprkit\.(\w+)", code))
    rows = re.findall(r"^\| `([A-Z]\w+)` \| (`.*`) \|$", page, re.M)
    named = {record: tuple(fields.strip("`").split("`, `")) for record, fields in rows}
    assert named.keys() == {"Passage", "Question", "Candidate", "Example", "Hit", "Ranking"}
    for record, fields in named.items():
        assert fields == getattr(records, record).__struct_fields__


def test_the_page_on_python_has_each_stage_with_its_function_settings_and_report():
    page = (ROOT / "docs/python.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| `([\w.]+)` \| `(\w+)` \| `(\w+)` \|$", page, re.M)
    assert [command for command, *_ in rows] == list(STAGES) == list(FUNCTIONS)
    for command, path, settings, report in rows:
        module, _, name = path.rpartition(".")
        function = getattr(import_module(module), name)
        assert function is FUNCTIONS[command].function
        names = list(inspect.signature(function).parameters)
        assert names[:2] == ["settings", "run"]
        assert STAGES[command].__name__ == settings
        types = function.__annotations__
        assert (types["settings"], types["run"]) == (settings, "Run")
        assert types["return"].split(" | ")[0] == report


def test_the_files_a_recipe_ships_with_are_there():
    for path in ("bundled:tiny/examples.json", "bundled:tiny/passages.tsv"):
        assert bundled(path).is_file()


def test_the_files_that_contributing_names_are_there():
    text = (ROOT / "docs/contributing.md").read_text().partition("**Things that are planned:**")[0]
    named = set(re.findall(r"\b(?:dprkit/)?(\w+/[\w/]+\.py)", text)) - {"indexes/brute.py"}
    assert len(named) > 20
    for name in named:
        assert (ROOT / "dprkit" / name).exists() or (ROOT / name).exists(), name
