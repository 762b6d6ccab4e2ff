"""The kind `texts`: folders of texts become passages."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from dprkit.errors import InputError
from dprkit.imports.items import Tally
from dprkit.imports.texts import fits, items
from dprkit.settings import ImportSettings
from tests.conftest import call

MARKDOWN = """\
---
title: "Of the front matter"
---
Before [any](http://x) *heading*.

# The guide

Intro with `code`.

## Install & run

Step one.

```sh
# no heading
run it
```

| a | b |
|---|---|
| 1 | 2 |

Install & run
-------------

Again, <b>in</b> short.

### Details

<div>Raw <i>markup</i></div>
"""
HTML = """\
<!doctype html><title>Page &mdash; Site</title><style>p {}</style>
<nav>Menu <h2>Not this</h2></nav>
<main><section id="top"><h1>The  page<a href="#top">¶</a></h1><p>One <b>bo</b>ld&nbsp;word<br>two
<h2 id="list">A list</h2><ul><li>first<li>second</ul><pre>x\n  y</pre>
<table><tr><th>k<td>v</table></section></main><footer>Imprint</footer><script>let x</script>
"""


def passages(path: Path, tally: Tally | None = None, **settings) -> list[tuple[str, str, str]]:
    found = items(path, ImportSettings(**settings), tally or Tally())
    return [(p.id, p.title, p.text) for p in found]


@pytest.fixture
def docs(empty: Path) -> Path:
    Path("docs/sub").mkdir(parents=True)
    Path("docs/guide.md").write_text(MARKDOWN)
    Path("docs/sub/page.html").write_text(HTML)
    Path("docs/my notes_2.txt").write_text("One\ntwo.\n\n\nThree.\n")
    row = {"_id": 7, "title": "A row", "contents": "Text of\na row."}
    Path("docs/rows.jsonl").write_text(json.dumps(row) + '\n{"text": "No id."}\n{"title": "t"}\n')
    return Path("docs")


def test_headings_give_titles_and_places(docs):
    guide, page = "docs/guide.md#", "docs/sub/page.html#"
    assert passages(docs) == [
        (f"{guide}1", "Of the front matter", "Before any heading."),
        (f"{guide}the-guide:1", "The guide", "Intro with code."),
        (
            f"{guide}install--run:1",
            "The guide > Install & run",
            "Step one. # no heading run it a b 1 2",
        ),
        (f"{guide}install--run-1:1", "The guide > Install & run", "Again, in short."),
        (f"{guide}details:1", "The guide > Install & run > Details", "Raw markup"),
        ("docs/my%20notes_2.txt#1", "my notes 2", "One two. Three."),
        ("docs/rows.jsonl#7:1", "A row", "Text of a row."),
        ("docs/rows.jsonl#2:1", "", "No id."),
        (f"{page}top:1", "The page", "One bold word two"),
        (f"{page}list:1", "The page > A list", "first second x y k v"),
    ]


def test_an_id_depends_on_its_file_alone_and_a_section_on_nothing_else(docs):
    before = passages(docs, split_passages="words=2")
    Path("docs/a.md").write_text("# The guide\nNew.")
    Path("docs/guide.md").write_text(MARKDOWN.replace("Intro with", "A longer intro with"))
    after = dict((id_, text) for id_, _, text in passages(docs, split_passages="words=2"))
    for id_, _, text in before:
        assert "the-guide" in id_ or after[id_] == text
    assert after["docs/a.md#the-guide:1"] == "New."
    assert after["docs/guide.md#the-guide:2"] == "intro with"


def test_files_that_are_no_texts_are_left_out_and_counted(docs):
    for name in ("guide.md", "my notes_2.txt", "rows.jsonl", "sub/page.html"):
        (docs / name).unlink()
    Path("docs/latin.txt").write_bytes("one\ntwo caf\xe9\n".encode("latin-1"))
    Path("docs/utf16.txt").write_bytes("in café\n".encode("utf-16"))
    Path("docs/page.htm").write_bytes(
        '<meta http-equiv=x content="text/html; charset=ISO-8859-1"><p>“café”'.encode("cp1252")
    )
    Path("docs/marked.md").write_bytes(b"\xef\xbb\xbf# T\nx")
    Path("docs/binary.txt").write_bytes(random.Random(0).randbytes(999) + b"\0")
    Path("docs/paper.txt").write_bytes(b"%PDF-1.7\n1 0 obj")
    Path("docs/cut.txt.gz").write_bytes(b"\x1f\x8b\x08\0\0")
    Path("docs/empty.txt").write_text(" \n")
    Path("docs/picture.png").write_text("x")
    Path("docs/.git").mkdir()
    os.symlink("nowhere", "docs/dead.txt")
    os.symlink("self.txt", "docs/self.txt")
    os.symlink("..", "docs/sub/up")
    os.symlink("../marked.md", "docs/sub/link.md")
    os.mkfifo("docs/pipe.txt")
    tally = Tally()
    found = passages(docs, tally)
    assert {(id_, text) for id_, _, text in found} == {
        ("docs/utf16.txt#1", "in café"),
        ("docs/page.htm#1", "“café”"),
        ("docs/marked.md#t:1", "x"),
        ("docs/sub/link.md#t:1", "x"),
    }
    assert {why: (d.count, d.first) for why, d in tally.dropped.items()} == {
        "hidden: its name begins with a dot": (1, "docs/.git"),
        "not a text": (2, "docs/binary.txt"),
        "a packed file that is damaged": (
            1,
            "docs/cut.txt.gz:byte 0: the gzip file is cut off; fetch it again",
        ),
        "a link that leads nowhere": (2, "docs/dead.txt"),
        "a file without text": (1, "docs/empty.txt"),
        "not in UTF-8": (1, "docs/latin.txt:2"),
        "a file of another kind (read: .txt, .md, .html, .jsonl)": (1, "docs/picture.png"),
        "no regular file": (1, "docs/pipe.txt"),
        "a link to a folder; name the folder as a source of its own": (1, "docs/sub/up"),
    }


def test_a_folder_without_texts_is_refused_with_what_is_there(empty):
    Path("docs").mkdir()
    with pytest.raises(InputError, match=r"^docs: no text in it; .txt, .md"):
        passages(Path("docs"))
    Path("docs/a.pdf").write_text("x")
    with pytest.raises(InputError, match=r"no text in it \(1 a file of another kind .*a.pdf\)"):
        passages(Path("docs"))
    refused = call("import-data", "docs", "--kind", "texts", "--output-dir", "data")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: docs: no text in it (1 a file of another kind")


def test_which_sources_are_texts(docs):
    Path("q.txt").write_text("id\tquestion\n1\twho?\n")
    Path("csv.txt").write_text("question,answer\nwho,me\n")
    Path("prose.txt").write_text("Well, this is it.\nYes, it is.\n")
    Path("empty").mkdir()
    of = (docs, Path("docs/guide.md"), Path("docs/sub/page.html"), Path("prose.txt"))
    assert all(map(fits, of))
    others = ("docs/rows.jsonl", "q.txt", "csv.txt", "empty")
    assert not any(map(fits, map(Path, others)))


def test_a_book_and_a_page_with_a_head_of_its_own_are_no_data_sets(empty):
    Path("book.txt").write_text("Contents\n\nChapter 1. It begins.\n")
    Path("docs").mkdir()
    Path("docs/README.md").write_text("---\ntitle: A tool: what it is\n---\nIt is a tool.\n")
    for source, text in (("book.txt", "Contents Chapter 1. It begins."), ("docs", "It is a tool.")):
        said = call("import-data", source, "--output-dir", f"of-{source}")
        assert said.exit_code == 0, said.stderr
        rows = Path(f"of-{source}/passages.jsonl").read_text().splitlines()
        assert [json.loads(row)["text"] for row in rows] == [text]


def test_rows_alone_are_split_where_they_are_said_to_be_texts(docs):
    words = (
        "import-data",
        "docs/rows.jsonl",
        "--split-passages",
        "words=2",
        "--output-dir",
        "data",
    )
    refused = call(*words)
    assert refused.exit_code == 1
    assert "--split-passages: is for splitting texts, and the sources are " in refused.stderr
    assert "--kind texts for JSON rows of texts" in refused.stderr
    assert call(*words, "--kind", "texts").exit_code == 0
    ids = [json.loads(row)["id"] for row in Path("data/passages.jsonl").read_text().splitlines()]
    assert ids == ["rows.jsonl#7:1", "rows.jsonl#7:2", "rows.jsonl#2:1"]


def test_a_line_of_any_length_is_read_in_pieces(empty, monkeypatch):
    monkeypatch.setattr("dprkit.imports.text_files.LINE", 1000)
    monkeypatch.setattr("dprkit.imports.sections.PARAGRAPH", 1000)
    words = [f"word{number}" for number in range(100_000)]
    Path("one.txt").write_text(" ".join(words))
    found = [text for _, _, text in passages(Path("one.txt"), split_passages="words=64")]
    assert found == [" ".join(words[start : start + 64]) for start in range(0, 100_000, 64)]


def test_the_passages_of_a_folder_are_indexed_and_found(docs):
    done = call(
        *("import-data", docs, "--split-passages", "sentences=1", "--output-dir", "data", "--json")
    )
    report = json.loads(done.stdout)
    assert report["written"] == {"passages": len(passages(docs, split_passages="sentences=1"))}
    assert report["dropped"]["a row without text"] == {"count": 1, "first": "docs/rows.jsonl:3"}
    call("index", "--type", "bm25", "--passages", "data/passages.jsonl", "--output-dir", "index")
    Path("q.txt").write_text("step one\n")
    call("search", "--index", "index", "--questions", "q.txt", "-o", "out.jsonl", "--topk", "1")
    (found,) = map(json.loads, Path("out.jsonl").read_text().splitlines())
    assert found["ctxs"][0]["id"] == "docs/guide.md#install--run:1"
    again = call("import-data", docs, "--split-passages", "sentences=1", "--output-dir", "data")
    assert "up to date" in again.stderr
    Path("docs/new.txt").write_text("New.")
    changed = call("import-data", docs, "--split-passages", "sentences=1", "--output-dir", "data")
    assert f"{report['written']['passages'] + 1} passages" in changed.stderr
