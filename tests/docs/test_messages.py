"""What dprkit's own messages tell to type next works when it is typed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dprkit.cli.reference import reference
from tests.docs import place
from tests.docs.conftest import Shell

ROOT = Path(__file__).parents[2]
OTHERS = {"--help", "--version", "--nproc-per-node"}


@pytest.fixture
def shell(world, tmp_path) -> Shell:
    """In a folder with all artifacts; nothing that is typed is changed."""
    place.copied(world.template, tmp_path / "at", place.ARTIFACTS)
    return Shell(tmp_path / "at", world.env)


def told(shell: Shell, command: str, code: int) -> str:
    """What a command says on both streams."""
    done = shell.type(f"set +e; {command}; echo $? > $WORK/code")
    assert Path(shell.env["WORK"], "code").read_text() == f"{code}\n", done.stderr
    return done.stdout + done.stderr


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def test_the_index_that_is_recommended_is_built_and_searched(shell):
    tune = "dprkit tune-index --embeddings emb --questions dev.qa.csv --output-dir tuning"
    command = found(r"recommended: (dprkit index .*)", told(shell, f"{tune} --types flat,sq8", 0))
    told(shell, command, 0)
    index = found(r"--output-dir (\S+)", command)
    told(shell, f"dprkit search --index {index} --questions dev.qa.csv -o found.jsonl", 0)


def test_the_command_that_init_ends_with_runs(shell):
    said = told(shell, "dprkit init my-experiment", 0)
    follow, look = re.findall(r"(?:Then: |\()((?:cd \S+ && )?dprkit [\w ]*\w)", said)
    told(shell, f"{follow} --set train.max_steps=1", 0)
    told(shell, look.removesuffix(" shows the settings"), 0)


def test_a_damaged_index_is_made_again_as_the_refusal_says(shell):
    told(shell, "truncate -s 100 index/index.faiss", 0)
    search = "dprkit search --index index --questions dev.qa.csv -o found.jsonl"
    flag = found(r"make the index again with (--restart)", told(shell, search, 1))
    told(shell, f"dprkit index --embeddings emb --output-dir index {flag}", 0)
    told(shell, search, 0)


def test_damaged_embeddings_are_made_again_as_the_refusal_says(shell):
    told(shell, "truncate -s 100 emb/vectors-00000.npy", 0)
    index = "dprkit index --embeddings emb --type sq8 --output-dir other"
    command = found(r"(dprkit encode-corpus --repair)", told(shell, index, 1))
    of = "--retriever model --passages psgs_w100.tsv.gz --output-dir emb"
    told(shell, f"{command} {of}", 0)
    told(shell, index, 0)


def test_an_index_of_words_is_updated_as_the_refusal_says(shell):
    made = "--passages psgs_w100.tsv.gz --output-dir words"
    told(shell, f"dprkit index --type bm25 {made}", 0)
    update = "dprkit update-index --index words --add new-emb --output-dir words-2"
    command = found(r"(dprkit index --type bm25)", told(shell, update, 1))
    told(shell, f"cat new.tsv > all.tsv; {command} --passages all.tsv --output-dir words-2", 0)


def test_a_checkpoint_is_trained_from_as_the_refusal_says(shell):
    train = "dprkit train --train-file nq.jsonl --max-steps 1 --output-dir trained --init"
    command = found(r"(dprkit convert .*MODEL),", told(shell, f"{train} hf_bert_base.cp", 1))
    told(shell, command, 0)
    told(shell, f"{train} MODEL", 0)


def test_run_without_a_recipe_names_one_that_runs(shell):
    recipe = found(r"(--recipe \w+)", told(shell, "dprkit run", 1))
    told(shell, f"dprkit run {recipe} --set train.max_steps=2", 0)


def test_the_command_that_info_shows_finds_its_output_up_to_date(shell):
    command = found(r"(dprkit index .*)", told(shell, "dprkit info index", 0))
    assert "up to date" in told(shell, command, 0)


def strings(path: Path) -> Iterator[str]:
    """The texts in a module but its docstrings; what is filled in stands as {}."""
    tree = ast.parse(path.read_text())
    passed = {
        id(part)
        for node in ast.walk(tree)
        for part in ([node.value] if isinstance(node, ast.Expr) else getattr(node, "values", []))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and id(node) not in passed:
            yield str(node.value)


def test_the_commands_and_flags_that_messages_name_exist():
    known = reference()
    flags = set(re.findall(r"--[a-z][a-z0-9-]+", known)) | OTHERS
    commands = set(re.findall(r"^## dprkit (\S+)", known, re.MULTILINE))
    texts = [text for path in (ROOT / "dprkit").rglob("*.py") for text in strings(path)]
    named = {flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)}
    assert {flag for flag in named if not flag.endswith("-")} <= flags
    typed = {name for text in texts for name in re.findall(r"dprkit ([a-z-]+)(?= --| again)", text)}
    assert typed and typed <= commands
