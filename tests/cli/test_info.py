"""info: what an artifact is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import FOLDERS, call


@pytest.mark.parametrize("folder", FOLDERS.values())
def test_info_tells_what_an_artifact_is_and_was_made_from(work, folder):
    manifest = json.loads(Path(f"runs/dprkit/{folder}/manifest.json").read_bytes())
    text = call("info", f"runs/dprkit/{folder}").stdout
    assert text.splitlines()[0] == f"{manifest['kind']}  {manifest['identity']}"
    for name, known in manifest["inputs"].items():
        assert f"  {name}: {known['path']}  {known['identity']}\n" in text
    for name, record in manifest["files"].items():
        assert f"{record['bytes']:,}  {record['sha256'][:12]}  {name}\n" in text
    found = json.loads(call("info", f"runs/dprkit/{folder}", "--json").stdout)
    assert found["finished"] is True
    assert {key: found[key] for key in manifest} == manifest


def test_info_tells_of_an_unfinished_artifact(work):
    folder = Path("runs/dprkit/index")
    (folder / "manifest.json").unlink()
    progress = {"kind": "index", "settings": {}, "inputs": {}, "files": {}, "state": {"a": 1}}
    (folder / "progress.json").write_text(json.dumps(progress))
    text = call("info", folder).stdout
    assert text.startswith("index, unfinished: run the command that makes it again to go on\n")
    found = json.loads(call("info", folder, "--json").stdout)
    assert (found["finished"], found["state"]) == (False, {"a": 1})


def test_info_does_not_change_anything(work):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    call("info", "runs/dprkit/model")
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_info_prints_figures_as_words(work):
    shown = call("info", "runs/dprkit/model").stdout
    counts = shown.partition("\ncounts\n")[2].partition("\nsettings\n")[0]
    assert not set("{}[]()'") & set(counts)
    assert re.search(r"^  losses: \d\.\d{1,3}, \d\.\d{1,3}$", counts, re.MULTILINE)
    assert re.search(r"^  valid: questions 8, .*loss \d\.\d{1,3}, ", counts, re.MULTILINE)
    command = re.search(r"^made by dprkit [\d.]+: (dprkit.*)$", shown, re.MULTILINE)
    assert command


@pytest.mark.parametrize("state", [*FOLDERS.values(), "unfinished"])
def test_info_never_shows_a_value_as_python_writes_it(work, state):
    folder = Path("runs/dprkit", state)
    if state == "unfinished":
        folder.mkdir()
        record = {"kind": "index", "settings": {}, "inputs": {}, "files": {}}
        (folder / "progress.json").write_text(json.dumps(record))
    python = r"\b(None|True|False|nan|inf)\b|[\[({]'|'[])}]|<[\w.]+ object"
    for words in ((), ("--json",), ("--check",) * (state != "unfinished")):
        result = call("info", *words, folder)
        assert result.exit_code == 0
        assert not re.search(python, result.stdout)


def test_info_gives_each_group_of_figures_a_line(work):
    lines = call("info", "runs/dprkit/results").stdout.splitlines()
    at = lines.index("  metrics:")
    assert re.fullmatch(r"    answer_recall: 1 [\d.]+, 5 [\d.]+", lines[at + 1])
    assert "  notes: none" in lines
