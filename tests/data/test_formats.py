"""Which format a file has is told by its content, and looking ahead takes nothing from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dprkit.data import passages, questions, rankings, streams
from dprkit.data.formats import Format, is_any, read_records
from dprkit.data.streams import open_stream, read_lines

QUESTION = '{"id": "1", "question": "who", "ctxs": []}'
CASES = [
    (passages, '{"_id": "1", "text": "x"}', "jsonl, BEIR's corpus.jsonl, a JSON array"),
    (
        passages,
        '1\t"x"\tX',
        "DPR's psgs_w100.tsv, MS MARCO's collection.tsv, csv with a header",
    ),
    (questions, QUESTION, "jsonl, BEIR's queries.jsonl, KILT, DPR's examples"),
    (questions, "id,question\n1,who", "csv or tsv with a header, MS MARCO's queries.tsv"),
    (questions, "1\twho", "csv or tsv with a header, MS MARCO's queries.tsv"),
    (questions, "who\t['x']", "DPR's qa.csv, plain lines"),
    (rankings, '{"1": {"question": "who", "contexts": []}}', "Pyserini's DPR run"),
    (rankings, QUESTION, "results.jsonl, DPR's JSON array"),
    (rankings, "1 Q0 2 1 0.5 run", "a TREC run"),
]


@pytest.mark.parametrize(("module", "text", "name"), CASES)
def test_the_first_format_that_fits_reads_the_whole_file(
    tmp_path: Path, module: Any, text: str, name: str
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    formats: Sequence[Format[Any]] = module.FORMATS
    stream = open_stream(path)
    assert next(each.name for each in formats if each.fits(stream)) == name
    assert len(list(read_records(stream, formats))) == 1
    assert formats[-1].fits is is_any


def test_what_is_read_ahead_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CHUNK", 3)
    path = tmp_path / "lines"
    path.write_text("".join(f"line {n}\n" for n in range(20)))
    stream = open_stream(path)
    assert [next(read_lines(stream.ahead())).raw for _ in range(3)] == [b"line 0"] * 3
    assert len(list(read_lines(stream.ahead()))) == 20
    assert [row.raw.decode() for row in read_lines(stream)] == [f"line {n}" for n in range(20)]
