"""The files of other tools that docs/your-data.md imports, made of the tiny set."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any


def lines(values: list[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def write_foreign(rows: list[dict[str, Any]], corpus: list[tuple[str, str, str]]) -> None:
    """Write them into the current folder.

    `rows`: training examples in DPR's form; `corpus`: id, text and title of passages.
    """
    _tables(rows)
    _texts()
    _benchmarks(rows, corpus)
    _articles(rows)


def _positive(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = row["positive_ctxs"][0]
    return found


def _tables(rows: list[dict[str, Any]]) -> None:
    names = {"pairs.csv": ("question", "answer", "positive", "positive_title")}
    names["faq.csv"] = ("Asked", "Answer", "Reply", "Title")
    table = [
        (row["question"], row["answers"][0], _positive(row)["text"], _positive(row)["title"])
        for row in rows
    ]
    for name, header in names.items():
        with open(name, "w", newline="") as file:
            csv.writer(file).writerows([header, *table])
    triplets = [
        (q, text, row["hard_negative_ctxs"][0]["text"])
        for row, (q, _, text, _) in zip(rows, table, strict=True)
    ]
    keys = ("anchor", "positive", "negative")
    Path("triplets.jsonl").write_text(
        lines([dict(zip(keys, values, strict=True)) for values in triplets])
    )
    _parquet([dict(zip(keys, values, strict=True)) for values in triplets])


def _parquet(rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, "pairs.parquet")
    Path("saved").mkdir()
    pyarrow.parquet.write_table(table, "saved/train-00000-of-00001.parquet")


def _texts() -> None:
    Path("notes").mkdir()
    Path("notes/guide.md").write_text(
        "# Guide\n\nOf it all.\n\n## Install\n\nStep one. Step two.\n"
    )
    Path("notes/page.html").write_text("<nav>Menu</nav><main><h1>A page</h1><p>Its text.</main>")
    Path("notes/plain.txt").write_text("The river is long. It is wide.\n\nIt ends.\n")


def _benchmarks(rows: list[dict[str, Any]], corpus: list[tuple[str, str, str]]) -> None:
    """BEIR, MS MARCO, TREC, NQ-open, DPR."""
    passages = [{"_id": id_, "title": title, "text": text} for id_, text, title in corpus]
    asked = [{"_id": f"q{n}", "text": row["question"]} for n, row in enumerate(rows)]
    judged = [(f"q{n}", _positive(row)["passage_id"]) for n, row in enumerate(rows)]
    head = "query-id\tcorpus-id\tscore\n"
    with zipfile.ZipFile("scifact.zip", "w") as archive:
        archive.writestr("scifact/corpus.jsonl", lines(passages))
        archive.writestr("scifact/queries.jsonl", lines(asked))
        for split, some in (("train", judged[:20]), ("test", judged[20:])):
            text = head + "".join(f"{q}\t{p}\t1\n" for q, p in some)
            archive.writestr(f"scifact/qrels/{split}.tsv", text)
    numbers = list(enumerate(rows))
    tsv = "".join(f"{id_}\t{text}\n" for id_, text, _ in corpus)
    Path("collection.tsv").write_text(tsv)
    Path("queries.dev.small.tsv").write_text("".join(f"{n}\t{r['question']}\n" for n, r in numbers))
    trec = "".join(f"{n} 0 {_positive(r)['passage_id']} 1\n" for n, r in numbers)
    Path("qrels.dev.small.tsv").write_text(trec.replace(" ", "\t"))
    Path("qrels.txt").write_text(trec)
    topics = (f"<top>\n<num> Number: {n}\n<title> {r['question']}\n</top>\n" for n, r in numbers)
    Path("topics.txt").write_text("".join(topics))
    Path("corpus.jsonl").write_text(lines(passages))
    answered = [{"question": row["question"], "answer": row["answers"]} for row in rows]
    Path("NQ-open.dev.jsonl").write_text(lines(answered))
    Path("biencoder-nq-dev.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    with open("nq-dev.qa.csv", "w", newline="") as file:
        table = [(row["question"], str(row["answers"])) for row in rows]
        csv.writer(file, delimiter="\t").writerows(table)


def _articles(rows: list[dict[str, Any]]) -> None:
    """SQuAD and KILT: every question has an article of its own."""
    data, pages, asked = [], [], []
    for number, row in enumerate(rows):
        text, title = _positive(row)["text"], f"Article {number}"
        answer = {"text": text[:5], "answer_start": 0}
        qa = {"id": f"q{number}", "question": row["question"], "answers": [answer]}
        data.append({"title": title, "paragraphs": [{"context": text, "qas": [qa]}]})
        page = str(number + 10)
        pages.append(
            {"_id": page, "wikipedia_id": page, "wikipedia_title": title, "text": [title, text]}
        )
        found = [{"wikipedia_id": page, "start_paragraph_id": 1, "end_paragraph_id": 1}]
        output = [{"answer": row["answers"][0], "provenance": found}]
        asked.append({"id": f"q{number}", "input": row["question"], "output": output})
    Path("dev-v2.0.json").write_text(json.dumps({"version": "v2.0", "data": data}))
    Path("kilt_knowledgesource.json").write_text(lines(pages))
    Path("nq-dev-kilt.jsonl").write_text(lines(asked))
