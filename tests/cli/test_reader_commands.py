"""A reader where a retriever is meant, and the other way round: one line that says which it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import call
from tests.interop.foreign import convert, save_dpr_reader


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    save_dpr_reader(folder / "hf")
    convert(source=folder / "hf", output_dir=folder / "reader")
    return folder / "reader"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"id": "0", "question": "who", "answers": ["a"]}) + "\n")
    return path


def error(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line.removeprefix("Error: ")


def test_a_reader_is_refused_as_a_retriever_by_name(
    reader, questions, small_index, tiny_passages, tiny_examples, tmp_path
):
    out = ("--output-dir", tmp_path / "out")
    texts = ("--passages", tiny_passages)
    search = ("search", "--index", small_index, "--questions", questions)
    holds = f"{reader}: holds reader, not retriever; name another folder"
    is_one = f"{reader}: is a reader, which "
    for words, told in {
        ("encode-corpus", "--retriever", reader, *texts, *out): holds,
        ("audit", "--retriever", reader, *texts, "--questions", questions, *out): holds,
        ("explain", "--retriever", reader, "--question", "a", "--passage", "b"): is_one,
        (*search, "--retriever", reader): is_one,
        ("evaluate", *search[1:], "--retriever", reader, *out): is_one,
        ("train", "--train-file", tiny_examples, "--init", reader, *out): is_one,
        (
            "train",
            "--train-file",
            tiny_examples,
            "--init",
            reader,
            "--kind",
            "colbert",
            *out,
        ): is_one,
        ("convert", reader, "--to", "onnx-copy"): is_one,
        ("convert", reader, "--to", "hf-dpr", *out): is_one,
    }.items():
        assert error(*words).startswith(told)
    foreign = reader.parent / "hf"
    assert f"{foreign}: is a reader (hf-dpr-reader)" in error(
        "train", "--train-file", tiny_examples, "--init", foreign, *out
    )


def test_a_retriever_is_refused_as_a_reader_by_name(small_retriever, tmp_path):
    told = error(
        "convert", small_retriever, "--to", "hf-dpr-reader", "--output-dir", tmp_path / "o"
    )
    assert told.startswith(f"{small_retriever}: is a bi-encoder, which has no form hf-dpr-reader")


def test_info_checks_a_reader_by_its_logits_and_by_its_source(reader):
    shown = call("info", "--check", reader, "--source", reader.parent / "hf")
    assert shown.exit_code == 0, shown.stderr
    assert "largest difference of its probes' logits: 0" in shown.stdout
    assert "largest difference from the source: " in shown.stdout
