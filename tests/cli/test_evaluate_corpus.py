"""evaluate --corpus: a model of another system is converted, encoded, indexed and judged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dprkit.data.examples import read_examples
from dprkit.data.passages import read_passages
from dprkit.records import Passage
from tests.conftest import call
from tests.interop.foreign import save_dpr_pair, word_pieces

QUESTIONS, DEPTH = 6, 5


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_examples: Path, tiny_passages: Path
) -> Path:
    """A corpus, questions that name their gold passages, and a random DPR pair."""
    monkeypatch.chdir(tmp_path)
    examples = list(read_examples(tiny_examples))[:QUESTIONS]
    wanted = {passage.id for one in examples for passage in (*one.positives, *one.hard_negatives)}
    lines = tiny_passages.read_text().splitlines(keepends=True)
    kept = [line for line in lines[1:] if line.partition("\t")[0] in wanted]
    Path("corpus.tsv").write_text("".join([lines[0], *kept]))
    questions = [
        {"id": f"q{n}", "question": one.question, "passage_ids": [p.id for p in one.positives]}
        for n, one in enumerate(examples)
    ]
    Path("dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    (tmp_path / "pair").mkdir()
    return tmp_path


def measured(*flags: object) -> dict[str, Any]:
    words = ("--corpus", "corpus.tsv", "--questions", "dev.jsonl", "--topk", DEPTH, "--json")
    result = call("evaluate", *words, "--output-dir", "out", *flags)
    assert result.exit_code == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def vector(model: torch.nn.Module, text: Any) -> torch.Tensor:
    """What transformers' class makes of a text, or of a title and a text."""
    tokenizer = word_pieces()
    tokenizer.enable_truncation(256)
    ids = tokenizer.encode(*([text] if isinstance(text, str) else text)).ids
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([ids])).pooler_output[0]
    return found


def best(pair: dict[str, torch.nn.Module], question: str, passages: list[Passage]) -> list[str]:
    """The ids of the passages that transformers' own classes put first."""
    vectors = torch.stack([vector(pair["passage"], (one.title, one.text)) for one in passages])
    scores = vectors @ vector(pair["question"], question)
    return [passages[row].id for row in scores.argsort(descending=True)[:DEPTH]]


def test_one_command_measures_a_dpr_pair_as_transformers_own_classes_rank(folder: Path) -> None:
    pair = save_dpr_pair(folder / "pair")
    report = measured("--retriever", "pair/question,pair/passage")
    passages = list(read_passages("corpus.tsv"))
    rows = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert len(rows) == report["questions"] == QUESTIONS
    ranked = [best(pair, row["question"], passages) for row in rows]
    assert [[ctx["id"] for ctx in row["ctxs"]][:DEPTH] for row in rows] == ranked
    shares = [
        len({*row["gold"]} & {*ids}) / len(row["gold"])
        for row, ids in zip(rows, ranked, strict=True)
    ]
    recall = report["metrics"]["passage_recall"][str(DEPTH)]
    assert recall == pytest.approx(sum(shares) / QUESTIONS)


@pytest.mark.slow
def test_what_was_made_for_it_is_used_again(folder: Path) -> None:
    save_dpr_pair(folder / "pair")
    os.rename("pair/question", "pair/question_encoder")
    os.rename("pair/passage", "pair/ctx_encoder")  # as a pair in one folder has them
    assert measured("--retriever", "pair")["up_to_date"] is False
    made = [Path("out", name, "manifest.json") for name in ("retriever", "embeddings", "index")]
    stamps = [path.stat().st_mtime_ns for path in made]
    assert measured("--retriever", "pair")["up_to_date"] is True
    assert measured("--retriever", "pair", "--topk", "1")["up_to_date"] is False
    assert [path.stat().st_mtime_ns for path in made] == stamps
    again = call("evaluate", "--index", "out/index", "--questions", "dev.jsonl", "--topk", "1")
    assert again.exit_code == 0, again.stderr  # the parts are artifacts as any others
    Path("own.yaml").write_text(
        "evaluate: {corpus: corpus.tsv, questions: dev.jsonl, retriever: pair, topk: [5]}\n"
    )
    told = json.loads(call("run", "--config", "own.yaml", "--json").stdout)
    assert told["stages"]["evaluate"]["questions"] == QUESTIONS
    status = json.loads(call("run", "--config", "own.yaml", "--status", "--json").stdout)
    assert status["stages"]["evaluate"]["state"] == "up to date"


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ((), "no model to measure given; name it with --retriever"),
        (("--retriever", "a,b,c"), "the question's and the passage's encoder with a comma between"),
        (("--retriever", "./a"), "./a: no such file or folder"),
        (
            ("--retriever", "pair/passage,pair/question"),
            "or behind the comma of --retriever QUESTION,PASSAGE",
        ),
        (("--retriever", "pair", "--index", "i"), "leave it or --index out"),
        (("--retriever", "pair", "--passages", "corpus.tsv"), "leave --passages out"),
        (("--retriever", "pair", "--questions", "-"), "is read twice where a corpus is encoded"),
    ],
)
def test_what_does_not_go_together_is_refused(
    folder: Path, flags: tuple[str, ...], problem: str
) -> None:
    if "pair/passage,pair/question" in flags:
        save_dpr_pair(folder / "pair")
    words = ("--corpus", "corpus.tsv", "--questions", "dev.jsonl", *flags)
    result = call("evaluate", *words, input="")
    assert result.exit_code == 1
    assert problem in result.stderr.splitlines()[-1]
