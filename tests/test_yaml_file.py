from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dprkit.errors import FormatError, InputError
from dprkit.yaml_file import read_yaml

PATH = Path("a.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(text, **how):
    PATH.write_text(text)
    return read_yaml(PATH, **how)


def test_every_key_has_its_line_and_its_value():
    document = read("a: 1\n# note\nb:\n  c: [1, 2]\n  d: {e: x}\n")
    assert document.value == {"a": 1, "b": {"c": [1, 2], "d": {"e": "x"}}}
    assert document.lines == {
        ("a",): 1,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "d"): 5,
        ("b", "d", "e"): 5,
    }
    assert str(document.fault("is not valid", "b", "c")) == "a.yaml:4: is not valid"
    assert str(document.fault("is not valid")) == "a.yaml:1: is not valid"


def test_keys_are_texts_as_they_are_written():
    assert read("on: yes\n1: 2\nnull: 3").value == {"on": True, "1": 2, "null": 3}


@pytest.mark.parametrize("text", ["", "# nothing", "---", "null", "~"])
def test_a_file_without_a_value_holds_none(text):
    assert read(text).value is None


def test_a_key_that_is_there_twice_is_refused_at_any_depth():
    with pytest.raises(FormatError, match=r"^a\.yaml:3: 'b' is there twice, first in line 2$"):
        read("a:\n  b: 1\n  b: 2")
    with pytest.raises(FormatError, match="'x_y' is there twice"):
        read("x-y: 1\nx_y: 2", same=lambda key: key.replace("-", "_"))
    assert read("x-y: 1\nx_y: 2").value == {"x-y": 1, "x_y": 2}


def test_anchors_and_merges_are_followed_once():
    document = read("a: &x {b: 1}\nc: {<<: *x, d: 2}\ne: *x\n")
    assert document.value == {"a": {"b": 1}, "c": {"b": 1, "d": 2}, "e": {"b": 1}}
    circle = read("a: &x {b: *x}").value
    assert circle["a"] is circle["a"]["b"]
    levels = [f"a{n}: &a{n} {{b: *a{n - 1}, c: *a{n - 1}}}" for n in range(1, 40)]
    begin = time.perf_counter()
    assert len(read("\n".join(["a0: &a0 {b: 1}", *levels])).value) == 40  # 2**40 ways
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: {c", "a.yaml:2: not YAML: "),
        ("a: 1\n\tb: 2", r"a.yaml:2: not YAML: found character '\\t'"),
        ("a: *b", "a.yaml:1: not YAML: found undefined alias"),
        ("a: 1\n--- \nb: 2", "a.yaml:2: not YAML: but found another document"),
        ("a: 2026-13-45", "a.yaml:1: not YAML: month must be in 1..12"),
        ("a: !!python/object/apply:os.abort []", "a.yaml:1: not YAML: could not determine a"),
        ("[" * 5000, "a.yaml:1: not YAML: too many brackets in each other"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text, problem):
    with pytest.raises(FormatError, match=f"^{problem}"):
        read(text)


def test_a_file_that_cannot_be_read_or_decoded_is_told():
    PATH.write_bytes(b"a: \xe4")
    with pytest.raises(FormatError, match=r"^a\.yaml:1: not UTF-8 text; save it as UTF-8$"):
        read_yaml(PATH)
    with pytest.raises(InputError, match="no such file"):
        read_yaml(Path("gone.yaml"))


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.booleans())))
def test_what_pyyaml_writes_is_read_with_and_without_its_c_library(values):
    text = yaml.safe_dump(values)
    fast = read(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        assert read(text) == fast
    assert fast.value == values
