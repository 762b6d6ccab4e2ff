"""Every command that a page, a help, a recipe or a model card shows runs as it is typed.

A page is tried from its first command to its last, in a folder that has the files which it names
(place.py). What cannot be typed as it is stands in CANNOT (conftest.py). A command that names
anything else fails here: give it a file in place.py, or mend the page.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from dprkit.cli.help import parts as parts_of_help
from tests.docs import place
from tests.docs.conftest import Shell
from tests.docs.pages import Part, parts

ROOT = Path(__file__).parents[2]
HAS = {
    "README.md": (),
    "Makefile": ("runs",),
    "docs/guide.md": (),
    "docs/recipes.md": (),
    "docs/your-data.md": ("model",),
    "docs/training.md": ("model", "emb", "index"),
    "docs/late-interaction.md": (),
    "docs/distillation.md": (),
    "docs/corpora.md": ("model",),
    "docs/contributing.md": (),
    "docs/evaluation.md": ("model", "emb", "index", "runs", *place.TRAININGS),
    "docs/formats.md": ("model", "emb", "index"),
    "docs/performance.md": ("runs",),
    "docs/python.md": ("model", "emb", "index"),
    "docs/log.md": ("runs",),
    **{f"configs/{path.name}": () for path in sorted((ROOT / "configs").glob("*.yaml"))},
}
"""Page -> the artifacts that its reader has already."""
OF_DOCS = ("corpora", "distillation", "evaluation", "late-interaction", "recipes", "training")
OF_DOCS += ("your-data", "guide")
LONG = {*(f"docs/{n}.md" for n in OF_DOCS), "configs/rdr-nq.yaml", "configs/rdr-squad.yaml"}
"""Pages whose commands take longer than ten seconds; those of the README are tried all the same."""
ELSEWHERE = {"docs/cli.md"}
"""Its examples do not follow from each other: each is tried alone."""


def pages() -> set[str]:
    found = [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]
    return {str(path.relative_to(ROOT)) for path in [*found, *(ROOT / "configs").glob("*.yaml")]}


def text_of(page: str) -> str:
    """A page; of the Makefile what its users see."""
    text = (ROOT / page).read_text()
    if page == "Makefile":
        hints = re.findall(r'^\t@echo "(.*)"$', text.replace("$(BIN)/dprkit", "dprkit"), re.M)
        return "\n".join(hints)
    return text


def before(page: str) -> list[Part]:
    """What the comments of a recipe take for done: its stages before training."""
    recipe = yaml.safe_load((ROOT / page).read_text()) if page.endswith(".yaml") else {}
    stages = [stage for stage in ("download", "select-data") if stage in recipe]
    return [Part("shell", f"dprkit {stage} --recipe {Path(page).stem}") for stage in stages]


def try_all(shell: Shell, tried: list[Part]) -> None:
    for part in tried:
        done = shell.do(part)
        assert done.returncode == 0, f"{part.text}\n{done.stdout}\n{done.stderr}"
        assert "Error" not in done.stderr, f"{part.text}\n{done.stderr}"


def test_every_page_is_tried():
    assert pages() == HAS.keys() | ELSEWHERE


def test_a_command_that_names_a_file_which_is_not_there_fails(world, tmp_path):
    shown = parts(
        "Text.\n\n    dprkit info \\\n        nowhere   # look\n\nand `dprkit info elsewhere`."
    )
    assert [part.text.split()[-1] for part in shown] == ["look", "elsewhere"]
    for part in shown:
        with pytest.raises(AssertionError, match=r"nowhere|elsewhere"):
            try_all(Shell(tmp_path, world.env), [part])


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG)) for page in HAS]
)
def test_the_commands_of_a_page_run_one_after_the_other(page, world, tmp_path):
    place.copied(world.template, tmp_path / "at", HAS[page])
    try_all(Shell(tmp_path / "at", world.env), [*before(page), *parts(text_of(page))])


@pytest.mark.slow
@pytest.mark.parametrize("page", HAS)
def test_the_commands_of_a_page_run_on_several_processes_too(page, world, tmp_path):
    place.copied(world.template, tmp_path / "at", HAS[page])
    shell = Shell(tmp_path / "at", world.env, quick=False)
    if any(shell.typed(p.text) != Shell(shell.at, {}).typed(p.text) for p in parts(text_of(page))):
        try_all(shell, [*before(page), *parts(text_of(page))])


@pytest.mark.parametrize("made", ["train", "convert"])
def test_the_commands_and_the_code_of_a_model_card_run(made, world, tmp_path):
    """Its recipe is pasted in tests/training/test_train.py."""
    place.copied(world.template, tmp_path / "at", ("model",))
    shell = Shell(tmp_path / "at", world.env)
    if made == "convert":
        shutil.rmtree(shell.at / "model")
        try_all(shell, [Part("shell", "dprkit convert bert-base-uncased --output-dir model")])
    shown = [part for part in parts((shell.at / "model/README.md").read_text())]
    assert len(shown) == {"train": 6, "convert": 2}[made]
    try_all(shell, [part for part in shown if part.kind != "yaml"])


def examples() -> list[str]:
    """The examples of --help, of dprkit itself and of each command.

    Those of push need a server: tests/cli/test_push.py has one.
    """
    import typer

    from dprkit.cli.app import app

    def under(command: object) -> list[str]:
        inner = getattr(command, "commands", {}).values()
        return [*parts_of_help(command)[1], *(one for each in inner for one in under(each))]

    return under(typer.main.get_command(app))


NEEDS_DATA = ("dprkit export-data data", "dprkit init mine --from data")
"""Examples that begin with what the example of import-data makes."""


@pytest.mark.parametrize("example", [e for e in dict.fromkeys(examples()) if " push " not in e])
def test_the_example_of_a_help_runs(example, world, tmp_path):
    place.copied(world.template, tmp_path / "at", place.ARTIFACTS)
    shell = Shell(tmp_path / "at", world.env)
    if made := re.search(r"(?:--output-dir|-o) (\S+)", example):
        shutil.rmtree(shell.at / made[1], ignore_errors=True)
    if "dprkit run" in example:
        shutil.rmtree(shell.at / "runs")
    if example.startswith(NEEDS_DATA):
        example = f"dprkit import-data pairs.csv --output-dir data\n{example}"
    try_all(shell, [Part("shell", example)])
