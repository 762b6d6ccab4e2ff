"""The page without its data: one script of all modules, a policy that knows it, the libraries."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dprkit.report.page import LIBRARIES, STYLES, WEB, frame, joined

DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
TOGETHER = re.compile(r"^(?:export )?const [\[{]([^=]*)[\]}] =", re.MULTILINE)


def test_all_modules_are_in_the_page_once_and_without_imports():
    script = joined()
    for path in WEB.glob("*.mjs"):
        first = path.read_text().splitlines()[0]
        assert script.count(first) == 1, path.name
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)


def test_no_two_modules_declare_one_name():
    names = []
    for path in WEB.glob("*.mjs"):
        text = path.read_text()
        names += DECLARED.findall(text)
        names += [name for found in TOGETHER.findall(text) for name in re.findall(r"\w+", found)]
    assert {name for name in names if names.count(name) > 1} == set()


def test_a_module_says_what_it_is_for_and_is_short():
    for path in WEB.glob("*.mjs"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("// "), path.name
        assert len(lines) < 200, path.name
        assert max(map(len, lines)) <= 120, path.name


def test_every_style_and_library_is_in_the_page():
    here = {path.relative_to(WEB).as_posix() for path in WEB.rglob("*.css")}
    assert here == set(STYLES)
    assert {path.name for path in WEB.glob("vendor/*.js")} == set(LIBRARIES)


def test_nothing_in_the_page_can_end_its_script_or_style():
    for path in [*WEB.rglob("*.js"), *WEB.rglob("*.mjs"), *WEB.rglob("*.css")]:
        assert not re.search(r"</script|</style|<!--", path.read_text(), re.IGNORECASE), path.name


def test_the_policy_knows_each_script_and_style_by_its_hash():
    page = frame("a title")
    text = (page.head + page.middle + page.tail).decode()
    policy = re.search(r'content="(default-src[^"]*)"', text)[1]
    for tag in ("script", "style"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert found
        for part in found:
            digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_page_names_no_address_that_a_browser_would_load():
    page = frame("a title")
    text = (page.head + page.middle).decode()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text)
    assert "sourceMappingURL" not in text
    assert not re.search(r"\b(fetch|XMLHttpRequest|importScripts)\(", text)


def test_a_title_is_text():
    head = frame('<script>"a" & b</script> {{style}}').head.decode()
    assert "<title>&lt;script&gt;&quot;a&quot; &amp; b&lt;/script&gt; {{style}}</title>" in head
    assert head.count("<script>") == 1


def test_the_libraries_are_those_of_the_list_with_their_licences():
    listed = (WEB / "vendor" / "VENDORED").read_text()
    rows = re.findall(r"^(\w+) +([\d.]+) +([\w.-]+) +(\S+) +\S+ +([0-9a-f]{64})$", listed, re.M)
    assert {row[3] for row in rows} == {
        path.name for path in (WEB / "vendor").iterdir() if path.suffix in {".js", ".css"}
    }
    for name, _, _, file, digest in rows:
        assert hashlib.sha256((WEB / "vendor" / file).read_bytes()).hexdigest() == digest
        licence = (WEB / "vendor" / f"LICENSE-{name}").read_text()
        assert licence in frame("a title").middle.decode()


def test_the_modules_pass_their_own_tests():
    node = shutil.which("node")
    version = node and subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    if not version or int(re.match(r"v(\d+)", version)[1]) < 20:
        pytest.skip("node 20 or later is not installed")
    tests = sorted(map(str, (Path(__file__).parent / "web").glob("*.test.mjs")))
    ran = subprocess.run([node, "--test", *tests], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout
