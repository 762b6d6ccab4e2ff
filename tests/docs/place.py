"""The folder in which a page is tried: it has the files that the pages name, all of them small."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

from dprkit.settings import bundled
from tests.conftest import write_colbert, write_reader
from tests.docs.foreign_place import write_foreign
from tests.interop.foreign import (
    save_bert,
    save_cross_encoder,
    save_dpr_pair,
    save_sentence_transformer,
)

REMOTE = {
    "data.retriever.nq-train": "nq-train.json.gz",
    "data.retriever.nq-adv-hn-train": "nq-train.json.gz",
    "data.retriever.nq-dev": "nq-dev.json.gz",
    "data.retriever.squad1-train": "nq-train.json.gz",
    "data.retriever.squad1-dev": "nq-dev.json.gz",
    "data.retriever.qas.nq-dev": "nq-test.qa.csv",
    "data.retriever.qas.nq-test": "nq-test.qa.csv",
    "data.wikipedia_split.psgs_w100": "psgs_w100.tsv.gz",
}
"""Name in the catalog -> the file of the server that stands for it."""
MADE = (
    "dprkit train --train-file nq.jsonl --max-epochs 0 --scratch-hidden-size 16 "
    "--scratch-vocab-size 600 --projection 8 --output-dir model",
    "dprkit encode-corpus --retriever model --passages psgs_w100.tsv.gz --output-dir emb",
    "dprkit encode-corpus --retriever model --passages new.tsv --output-dir new-emb",
    "dprkit index --embeddings emb --output-dir index",
    "dprkit export-embeddings --embeddings emb --to dpr --output-dir exported",
    "mv exported/passages_0.pkl wiki_passages_0",
    "dprkit run --recipe tiny --set train.max_steps=2",
    "cp -r runs/tiny runs/nq",
    "dprkit evaluate --index index --questions dev.questions.jsonl --output-dir results-dense",
    "for name in results-bm25 base-1 base-2 base-3 new-1 new-2 new-3; do "
    "cp -r results-dense $name; done",
)
"""The artifacts that pages begin with."""
TRAININGS = ("base-1", "base-2", "base-3", "new-1", "new-2", "new-3")
RESULTS = ("results-dense", "results-bm25", *TRAININGS)
ARTIFACTS = ("model", "emb", "new-emb", "index", "exported", "wiki_passages_0", "runs", *RESULTS)


LONG = 80
"""Characters of a passage: the models here read letters, one a token."""


def rows(count: int) -> list[dict[str, Any]]:
    """The first training examples of the tiny set, with short passages."""
    own = json.loads(bundled("bundled:tiny/examples.json").read_bytes())[:count]
    for row in own:
        for name in ("positive_ctxs", "negative_ctxs", "hard_negative_ctxs"):
            row[name] = [{**passage, "text": passage["text"][:LONG]} for passage in row[name]]
    return own


def pack(path: str, text: str) -> None:
    Path(path).write_bytes(gzip.compress(text.encode(), 1))


def lines(values: list[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def write_inputs() -> None:
    """Write the files that the pages name, into the current folder."""
    few = rows(40)
    read = csv.reader(bundled("bundled:tiny/passages.tsv").read_text().splitlines(), delimiter="\t")
    cells = [(id, text[:LONG], title) for id, text, title in read]
    corpus = "".join(f'{id}\t"{text}"\t{title}\n' for id, text, title in cells)
    for name in ("my-train", "nq-train", "nq-dev", "a", "b"):
        pack(f"{name}.json.gz", json.dumps(few))
    for name in ("nq", "train", "valid"):
        Path(f"{name}.jsonl").write_text(lines(few[:20]))
    pack("psgs_w100.tsv.gz", corpus)
    Path("passages.tsv").write_text(corpus)
    Path("new.tsv").write_text('id\ttext\ttitle\nn1\t"A new river."\tRiver\nn2\t"A hill."\tHill\n')
    Path("ids.txt").write_text("3\n7\n")
    Path("questions.txt").write_text("who wrote hamlet\nhow tall is mount kilimanjaro\n")
    for name in ("nq-test", "dev"):
        with open(f"{name}.qa.csv", "w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows(
                [row["question"], str(row["answers"])] for row in few[:20]
            )
    asked = [
        {
            "question": row["question"],
            "answers": row["answers"],
            "passage_ids": [row["positive_ctxs"][0]["passage_id"]],
        }
        for row in rows(60)
    ]
    Path("train.questions.jsonl").write_text(lines(asked[:20]))
    Path("dev.questions.jsonl").write_text(lines(asked[20:]))
    write_of_others(asked)
    write_foreign(rows(60), cells[1:])


def write_of_others(asked: list[dict[str, Any]]) -> None:
    """Rankings as DPR has them, BEIR's judgements, DPR's models, and models that rerank."""
    from tests.interop.test_interop_files import save_cp

    found = [{"id": "wiki:1", "title": "", "text": "hamlet", "score": "1.5", "has_answer": False}]
    judged = [{key: row[key] for key in ("question", "answers")} | {"ctxs": found} for row in asked]
    pack("their-output.json.gz", json.dumps(judged))
    Path("queries.jsonl").write_text('{"_id": "q1", "text": "who wrote hamlet"}\n')
    Path("qrels").mkdir()
    Path("qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\t21\t1\nq1\t22\t0\n")
    Path("run.trec").write_text("q1 Q0 22 1 2.5 bm25\nq1 Q0 21 2 1.5 bm25\n")
    Path("scifact").mkdir()
    for name in ("queries.jsonl", "qrels"):
        Path("scifact", name).symlink_to(Path(name).absolute())
    corpus = [{"_id": str(id_), "title": "", "text": f"hamlet {id_}"} for id_ in range(20, 25)]
    Path("scifact/corpus.jsonl").write_text(lines(corpus))
    pair = Path("pair")
    save_dpr_pair(pair)
    (pair / "question").rename("Q")
    (pair / "passage").rename("P")
    save_cp(Path("hf_bert_base.cp"), {"pretrained_model_cfg": "bert-base-uncased"})
    save_cross_encoder(Path("cross-encoder"))
    examples = bundled("bundled:tiny/examples.json")
    write_colbert(Path("colbert"), examples)
    write_reader(Path("reader"), examples)


def write_hub(folder: Path) -> None:
    """What the hub's cache has after the models that pages name were fetched."""
    from tests.interop.decoder_folders import save_sentence_model
    from tests.interop.late_folders import save_stanford

    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    modules = [("Pooling", pooling), ("Normalize", {})]
    names = ("bert-base-uncased", "sentence-transformers/all-MiniLM-L6-v2")
    names = (*names, "Qwen/Qwen3-Embedding-0.6B")
    save_dpr_pair(folder / "pair")
    pair = {f"soheeyang/rdr-{n}_encoder-single-nq-base": n for n in ("question", "ctx")}
    for name in (*names, "colbert-ir/colbertv2.0", *pair):
        own = folder / f"models--{name.replace('/', '--')}"
        (own / "refs").mkdir(parents=True)
        (own / "refs/main").write_text("0" * 40)
        model = own / "snapshots" / ("0" * 40)
        if name in pair:
            half = "question" if pair[name] == "question" else "passage"
            model.parent.mkdir()
            (folder / "pair" / half).rename(model)
            continue
        if "MiniLM" in name:
            save_sentence_transformer(model, modules=modules)
        elif "Qwen3" in name:
            save_sentence_model(model, "qwen3")
        elif "colbert" in name:
            save_stanford(model)
        else:
            save_bert(model)


def write_remote(folder: Path, url: str) -> None:
    """The catalog of a server that has the files which the recipes download."""
    names = {name: {"url": f"{url}/{file}"} for name, file in REMOTE.items()}
    for entry in names.values():
        suffixes = Path(entry["url"]).suffixes
        packed = suffixes[-1] == ".gz"
        entry |= {"ext": suffixes[-1 - packed], **({"compressed": True} if packed else {})}
    (folder / "catalog.yaml").write_text(json.dumps(names))


def copied(template: Path, folder: Path, artifacts: tuple[str, ...]) -> Path:
    """A copy of the template in `folder`, with these of the artifacts only."""
    left = [name for name in ARTIFACTS if name not in artifacts]
    shutil.copytree(
        template, folder, ignore=lambda at, _: left if at == os.fspath(template) else []
    )
    return folder
